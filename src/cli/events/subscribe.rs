//! `chronon subscribe`.

use std::io::IsTerminal as _;

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::{ServerArgs, block_on, connect, time};
use crate::cli::{Answer, Format, print};
use crate::client::events::Subscribe;
use crate::gateway::proto::cronos_db as pb;

/// Consume a topic as a member of a consumer group.
#[derive(Args, Debug)]
pub(in crate::cli) struct SubscribeArgs {
    /// The topic.
    topic: String,
    /// The consumer group; it is made when there is none.
    #[arg(long)]
    group: String,
    /// Whether what was shown is acknowledged.
    #[arg(long, value_enum, default_value_t = Acks::Auto)]
    ack: Acks,
    /// Deliveries that may be open at once.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    credits: i32,
    /// End after so many deliveries.
    #[arg(long)]
    count: Option<u64>,
    /// Of a group that is made now: one delivery of a key at a time.
    #[arg(long)]
    ordered: bool,
    /// Of a group that is made now: begin with what comes from now on.
    #[arg(long)]
    latest: bool,
    /// Of a group that is made now: attempts until a delivery is a dead letter; 0 is without end.
    #[arg(long, default_value_t = 0)]
    max_deliver: u32,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Acks {
    /// As soon as it was shown.
    Auto,
    /// Never: it is delivered again.
    Manual,
}

pub(in crate::cli) fn subscribe(args: &SubscribeArgs, output: Format) -> anyhow::Result<Answer> {
    block_on(async {
        let wanted = Subscribe::new(&args.topic, &args.group).credits(args.credits);
        let wanted = if args.ordered { wanted.ordered(true) } else { wanted };
        let wanted = if args.latest { wanted.latest() } else { wanted };
        let wanted = if args.max_deliver > 0 { wanted.max_deliver(args.max_deliver) } else { wanted };
        let mut deliveries = connect(&args.server).await?.subscribe(wanted)?;
        if std::io::stderr().is_terminal() && output == Format::Text {
            eprintln!("waiting for events of {} as a member of {}; Ctrl-C ends it", args.topic, args.group);
        }
        let mut count = 0;
        while args.count.is_none_or(|most| count < most) {
            let delivered = deliveries.next().await.context("the subscription has ended")??;
            print(output, &shown(delivered.message()));
            count += 1;
            if args.ack == Acks::Auto
                && let Err(error) = delivered.ack().await
            {
                eprintln!("not acknowledged: {error}");
            }
        }
        Ok(Answer { text: format!("{count} deliveries"), json: json!({ "deliveries": count }) })
    })
}

fn shown(delivery: &pb::Delivery) -> Answer {
    let event = delivery.event.clone().unwrap_or_default();
    let payload = String::from_utf8_lossy(&event.payload).into_owned();
    let again = if delivery.attempt > 1 { format!(" (attempt {})", delivery.attempt) } else { String::new() };
    let json = json!({
        "id": event.message_id, "payload": payload, "due": event.schedule_ts, "partition": event.partition_id,
        "offset": event.offset, "attempt": delivery.attempt, "delivery_id": delivery.delivery_id, "meta": event.meta,
    });
    Answer { text: format!("{} {} {payload}{again}", time(event.schedule_ts), event.message_id), json }
}

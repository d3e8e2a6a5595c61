//! `chronon subscribe`.

use std::io::IsTerminal as _;

use clap::{Args, ValueEnum};
use serde_json::json;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::{ServerArgs, answer, block_on, connect, time};
use crate::cli::{Answer, Format, print};
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::event_service_client::EventServiceClient;

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
        let channel = connect(&args.server).await?;
        let (wishes, requests) = tokio::sync::mpsc::channel(1);
        wishes
            .send(pb::SubscribeRequest {
                consumer_group: args.group.clone(),
                topic: args.topic.clone(),
                partition_id: -1,
                start_offset: if args.latest { -1 } else { 0 },
                max_buffer_size: args.credits,
                mode: if args.ordered { pb::GroupMode::Ordered } else { pb::GroupMode::Shared }.into(),
                max_deliver: args.max_deliver,
                ..pb::SubscribeRequest::default()
            })
            .await?;
        let mut client = EventServiceClient::new(channel.clone());
        let mut deliveries = answer(&args.server, client.subscribe(ReceiverStream::new(requests))).await?;
        let (acks, acked) = tokio::sync::mpsc::channel(1024);
        let mut client = EventServiceClient::new(channel);
        let mut answers = answer(&args.server, client.ack(ReceiverStream::new(acked))).await?;
        if std::io::stderr().is_terminal() && output == Format::Text {
            eprintln!("waiting for events of {} as a member of {}; Ctrl-C ends it", args.topic, args.group);
        }
        let mut count = 0;
        while args.count.is_none_or(|most| count < most) {
            let delivered = deliveries.next().await;
            let Some(delivery) = delivered else { anyhow::bail!("the node has ended the subscription") };
            let delivery = delivery.map_err(|status| anyhow::anyhow!("{}", status.message()))?;
            print(output, &shown(&delivery));
            count += 1;
            if args.ack == Acks::Auto {
                let ack = pb::AckRequest {
                    delivery_id: delivery.delivery_id,
                    success: true,
                    ..pb::AckRequest::default()
                };
                acks.send(ack).await?;
                let settled = answers.next().await;
                let Some(Ok(settled)) = settled else { anyhow::bail!("the node takes no acknowledgements") };
                if !settled.success {
                    eprintln!("not acknowledged: {}", settled.error);
                }
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

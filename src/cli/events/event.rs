//! `chronon event`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::{ServerArgs, answer, block_on, connect, time};
use crate::cli::Answer;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::lifecycle_service_client::LifecycleServiceClient;

/// Ask for the fate of an event.
#[derive(Args, Debug)]
pub(in crate::cli) struct EventArgs {
    #[command(subcommand)]
    verb: EventVerb,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum EventVerb {
    /// Where an event stands, and why.
    Show {
        topic: String,
        id: String,
        /// Its meta `partition_key`, if it has one.
        #[arg(long, default_value = "")]
        partition_key: String,
    },
}

pub(in crate::cli) fn event(args: &EventArgs) -> anyhow::Result<Answer> {
    let EventVerb::Show { topic, id, partition_key } = &args.verb;
    let request = ext::GetEventRequest {
        topic: topic.clone(),
        message_id: id.clone(),
        partition_key: partition_key.clone(),
    };
    let fate = block_on(async {
        let mut client = LifecycleServiceClient::new(connect(&args.server).await?);
        answer(&args.server, client.get_event(request)).await
    })?;
    anyhow::ensure!(fate.found, "no event {id} of topic {topic} is remembered");
    let mut text = format!("{}: {}", fate.state, fate.why);
    if fate.schedule_ts > 0 {
        text.push_str(&format!("\ndue {}", time(fate.schedule_ts)));
    }
    for delivery in &fate.deliveries {
        text.push_str(&format!("\n{}: {}", delivery.consumer_group, delivery.state));
        if delivery.attempts > 0 {
            text.push_str(&format!(", attempt {}", delivery.attempts));
        }
        if !delivery.why.is_empty() {
            text.push_str(&format!(", {}", delivery.why));
        }
    }
    let delivery = |delivery: &ext::DeliveryFate| {
        json!({
            "group": delivery.consumer_group, "state": delivery.state, "attempts": delivery.attempts,
            "until": delivery.until_ts, "why": delivery.why,
        })
    };
    let json = json!({
        "state": fate.state, "why": fate.why, "offset": fate.offset, "partition": fate.partition_id,
        "accepted": fate.accepted_ts, "due": fate.schedule_ts,
        "deliveries": fate.deliveries.iter().map(delivery).collect::<Vec<Value>>(),
    });
    Ok(Answer { text, json })
}

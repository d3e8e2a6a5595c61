//! `chronon topic`.

use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::Table;
use serde_json::{Value, json};

use super::{ServerArgs, answer, block_on, connect, span_millis};
use crate::cli::Answer;
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::consumer_group_service_client::ConsumerGroupServiceClient;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::topic_service_client::TopicServiceClient;

/// Make topics, and look at them.
#[derive(Args, Debug)]
pub(in crate::cli) struct TopicArgs {
    #[command(subcommand)]
    verb: TopicVerb,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum TopicVerb {
    /// Make a topic; one that there is already stays as it is.
    Create {
        topic: String,
        /// How many partitions it has, for good [default: as many as the cluster has groups for them].
        #[arg(long, default_value_t = 0)]
        partitions: u32,
        /// A message id is remembered for so long.
        #[arg(long, value_parser = humantime::parse_duration)]
        dedup_window: Option<Duration>,
        /// Message ids that a partition remembers.
        #[arg(long, default_value_t = 0)]
        dedup_ids: u64,
        /// Refuse events when there are too many message ids, instead of forgetting the oldest.
        #[arg(long)]
        strict: bool,
        /// Events of a partition that may wait for their time.
        #[arg(long, default_value_t = 0)]
        pending: u64,
    },
    /// The names of all topics.
    List,
    /// A topic, its partitions and its consumer groups.
    Describe { topic: String },
}

pub(in crate::cli) fn topic(args: &TopicArgs) -> anyhow::Result<Answer> {
    block_on(async {
        let channel = connect(&args.server).await?;
        let mut client = TopicServiceClient::new(channel.clone());
        match &args.verb {
            TopicVerb::Create { topic, partitions, dedup_window, dedup_ids, strict, pending } => {
                let request = ext::CreateTopicRequest {
                    topic: topic.clone(),
                    partitions: *partitions,
                    payload_bytes_max: 0,
                    dedup_window_ms: dedup_window.map(span_millis).transpose()?.unwrap_or_default(),
                    dedup_ids_max: *dedup_ids,
                    strict: *strict,
                    pending_max: *pending,
                };
                let made = answer(&args.server, client.create_topic(request)).await?;
                Ok(Answer {
                    text: format!("topic {} is there", made.topic),
                    json: json!({ "topic": made.topic }),
                })
            }
            TopicVerb::List => {
                let listed = answer(&args.server, client.list_topics(ext::ListTopicsRequest {})).await?;
                Ok(Answer { text: listed.topics.join("\n"), json: json!(listed.topics) })
            }
            TopicVerb::Describe { topic } => {
                let request = ext::DescribeTopicRequest { topic: topic.clone() };
                let info = answer(&args.server, client.describe_topic(request)).await?;
                let mut client = ConsumerGroupServiceClient::new(channel);
                let request = pb::ListConsumerGroupsRequest { topic: topic.clone() };
                let groups = answer(&args.server, client.list_consumer_groups(request)).await?.groups;
                Ok(described(&info, &groups))
            }
        }
    })
}

fn described(info: &ext::TopicInfo, groups: &[pb::ConsumerGroupMetadata]) -> Answer {
    let mut partitions = Table::new();
    partitions.set_header(["partition", "published", "became ready", "scheduled", "ready", "ids"]);
    for row in &info.partitions {
        let cells = [
            i64::from(row.partition_id),
            row.next_offset,
            row.next_ready_seq,
            row.scheduled,
            row.ready,
            row.message_ids,
        ];
        partitions.add_row(cells);
    }
    let mut consumers = Table::new();
    consumers.set_header(["consumer group", "lag", "open", "resting", "dead", "members"]);
    for group in groups {
        let counts = [group.lag, group.open, group.resting, group.dead, i64::from(group.members)];
        let cells = counts.iter().map(ToString::to_string);
        consumers.add_row(std::iter::once(group.group_id.clone()).chain(cells));
    }
    let row = |row: &ext::PartitionState| {
        json!({
            "partition": row.partition_id, "published": row.next_offset, "became_ready": row.next_ready_seq,
            "scheduled": row.scheduled, "ready": row.ready, "ids": row.message_ids,
        })
    };
    let group = |group: &pb::ConsumerGroupMetadata| {
        json!({
            "group": group.group_id, "lag": group.lag, "open": group.open, "resting": group.resting,
            "dead": group.dead, "members": group.members,
        })
    };
    let json = json!({
        "topic": info.topic,
        "partitions": info.partitions.iter().map(row).collect::<Vec<Value>>(),
        "groups": groups.iter().map(group).collect::<Vec<Value>>(),
    });
    Answer { text: format!("{}\n{partitions}\n{consumers}", info.topic), json }
}

//! `chronon topic`.

use std::time::Duration;

use clap::{Args, Subcommand};
use comfy_table::Table;
use serde_json::{Value, json};

use super::consumers::{Of, describe};
use super::{ServerArgs, block_on, connect, span_millis};
use crate::cli::Answer;
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::consumer_group_service_client::ConsumerGroupServiceClient;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::topic_service_client::TopicServiceClient;

/// Make topics, change them, and look at them.
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
        /// Let go of what has been ready for so long.
        #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
        retain_age: Option<Duration>,
        /// Let go of the oldest while the events of a partition have more bytes.
        #[arg(long, value_name = "BYTES", default_value_t = 0, hide_default_value = true)]
        retain_bytes: u64,
        /// What a consumer group has not settled goes by its age and bytes as well.
        #[arg(long)]
        expire_unsettled: bool,
    },
    /// The names of all topics.
    List,
    /// A topic, its partitions and its consumer groups.
    Describe { topic: String },
    /// Have a topic behave otherwise from now on; what is not said stays as it is.
    #[command(group = clap::ArgGroup::new("change").required(true).multiple(true))]
    Alter {
        topic: String,
        /// Bytes of a payload.
        #[arg(long, group = "change")]
        payload_bytes: Option<u32>,
        /// A message id is remembered for so long.
        #[arg(long, group = "change", value_parser = humantime::parse_duration)]
        dedup_window: Option<Duration>,
        /// Message ids that a partition remembers.
        #[arg(long, group = "change")]
        dedup_ids: Option<u64>,
        /// Whether events are refused when there are too many message ids, instead of forgetting the oldest.
        #[arg(long, group = "change")]
        strict: Option<bool>,
        /// Events of a partition that may wait for their time.
        #[arg(long, group = "change")]
        pending: Option<u64>,
        /// Events that every consumer group has settled and that a partition keeps for groups that come later.
        #[arg(long, group = "change")]
        kept: Option<u64>,
        /// Dead letters that a consumer group keeps in a partition.
        #[arg(long, group = "change")]
        dead: Option<u32>,
        /// Let go of what has been ready for so long; 0s keeps it.
        #[arg(long, group = "change", value_name = "SPAN", value_parser = humantime::parse_duration)]
        retain_age: Option<Duration>,
        /// Let go of the oldest while the events of a partition have more bytes; 0 keeps them.
        #[arg(long, group = "change", value_name = "BYTES")]
        retain_bytes: Option<u64>,
        /// Whether what a consumer group has not settled goes by its age and bytes as well.
        #[arg(long, group = "change")]
        expire_unsettled: Option<bool>,
    },
    /// A consumer group, and how far behind it is in each partition.
    Lag(Of),
    /// Deliver nothing of a topic until it is resumed; what is published is accepted, and waits.
    Pause { topic: String },
    /// Have a topic that pauses go on.
    Resume { topic: String },
    /// Delete a topic with its timers, recurring schedules, consumer groups and endpoints.
    Delete {
        topic: String,
        /// The topic's name once more.
        #[arg(long, value_name = "TOPIC")]
        confirm: String,
    },
}

pub(in crate::cli) fn topic(args: &TopicArgs) -> anyhow::Result<Answer> {
    block_on(async {
        let events = connect(&args.server).await?;
        match &args.verb {
            TopicVerb::Create {
                topic,
                partitions,
                dedup_window,
                dedup_ids,
                strict,
                pending,
                retain_age,
                retain_bytes,
                expire_unsettled,
            } => {
                let request = ext::CreateTopicRequest {
                    topic: topic.clone(),
                    partitions: *partitions,
                    payload_bytes_max: 0,
                    dedup_window_ms: dedup_window.map(span_millis).transpose()?.unwrap_or_default(),
                    dedup_ids_max: *dedup_ids,
                    strict: *strict,
                    pending_max: *pending,
                    retain_age_ms: retain_age.map(span_millis).transpose()?.unwrap_or_default(),
                    retain_bytes: *retain_bytes,
                    expires_unsettled: *expire_unsettled,
                };
                let made = events
                    .call(request, |channel, request| async move {
                        TopicServiceClient::new(channel).create_topic(request).await
                    })
                    .await?;
                Ok(Answer {
                    text: format!("topic {} is there", made.topic),
                    json: json!({ "topic": made.topic }),
                })
            }
            TopicVerb::List => {
                let request = ext::ListTopicsRequest {};
                let listed = events
                    .call(request, |channel, request| async move {
                        TopicServiceClient::new(channel).list_topics(request).await
                    })
                    .await?;
                Ok(Answer { text: listed.topics.join("\n"), json: json!(listed.topics) })
            }
            TopicVerb::Describe { topic } => {
                let request = ext::DescribeTopicRequest { topic: topic.clone() };
                let info = events
                    .call(request, |channel, request| async move {
                        TopicServiceClient::new(channel).describe_topic(request).await
                    })
                    .await?;
                let request = pb::ListConsumerGroupsRequest { topic: topic.clone() };
                let groups = events
                    .call(request, |channel, request| async move {
                        ConsumerGroupServiceClient::new(channel).list_consumer_groups(request).await
                    })
                    .await?
                    .groups;
                Ok(described(&info, &groups))
            }
            TopicVerb::Alter {
                topic,
                payload_bytes,
                dedup_window,
                dedup_ids,
                strict,
                pending,
                kept,
                dead,
                retain_age,
                retain_bytes,
                expire_unsettled,
            } => {
                let request = ext::AlterTopicRequest {
                    topic: topic.clone(),
                    payload_bytes_max: *payload_bytes,
                    dedup_window_ms: dedup_window.map(span_millis).transpose()?,
                    dedup_ids_max: *dedup_ids,
                    strict: *strict,
                    pending_max: *pending,
                    kept_max: *kept,
                    dead_max: *dead,
                    retain_age_ms: retain_age.map(span_millis).transpose()?,
                    retain_bytes: *retain_bytes,
                    expires_unsettled: *expire_unsettled,
                };
                let alter = |channel, request| async move {
                    TopicServiceClient::new(channel).alter_topic(request).await
                };
                Ok(altered(&events.call(request, alter).await?))
            }
            TopicVerb::Lag(of) => describe(&events, of.clone()).await,
            TopicVerb::Pause { topic } => {
                let request = ext::PauseTopicRequest { topic: topic.clone() };
                let pause = |channel, request| async move {
                    TopicServiceClient::new(channel).pause_topic(request).await
                };
                Ok(altered(&events.call(request, pause).await?))
            }
            TopicVerb::Resume { topic } => {
                let request = ext::PauseTopicRequest { topic: topic.clone() };
                let resume = |channel, request| async move {
                    TopicServiceClient::new(channel).resume_topic(request).await
                };
                Ok(altered(&events.call(request, resume).await?))
            }
            TopicVerb::Delete { topic, confirm } => {
                let request = ext::DeleteTopicRequest { topic: topic.clone(), confirm: confirm.clone() };
                let delete = |channel, request| async move {
                    TopicServiceClient::new(channel).delete_topic(request).await
                };
                let gone = events.call(request, delete).await?;
                let text = format!(
                    "topic {topic} is deleted, with {} events that were not due, {} that were ready and {} dead letters",
                    gone.scheduled, gone.ready, gone.dead
                );
                let json = json!({
                    "topic": topic, "scheduled": gone.scheduled, "ready": gone.ready, "dead": gone.dead,
                });
                Ok(Answer { text, json })
            }
        }
    })
}

fn altered(info: &ext::TopicInfo) -> Answer {
    let window = Duration::from_millis(u64::try_from(info.dedup_window_ms).unwrap_or_default());
    let age = Duration::from_millis(u64::try_from(info.retain_age_ms).unwrap_or_default());
    let text = format!(
        "topic {}, revision {}{}: payloads of {} bytes, {} message ids for {}{}, {} pending, {} kept{}{}{}, {} dead letters",
        info.topic,
        info.revision,
        if info.paused { ", which pauses" } else { "" },
        info.payload_bytes_max,
        info.dedup_ids_max,
        humantime::format_duration(window),
        if info.strict { ", strictly" } else { "" },
        info.pending_max,
        info.kept_max,
        if age.is_zero() { String::new() } else { format!(" for {}", humantime::format_duration(age)) },
        if info.retain_bytes == 0 { String::new() } else { format!(" of {} bytes", info.retain_bytes) },
        if info.expires_unsettled { ", settled or not" } else { "" },
        info.dead_max,
    );
    let json = json!({
        "topic": info.topic, "revision": info.revision, "payload_bytes": info.payload_bytes_max,
        "dedup_window_ms": info.dedup_window_ms, "dedup_ids": info.dedup_ids_max, "strict": info.strict,
        "pending": info.pending_max, "kept": info.kept_max, "dead": info.dead_max,
        "retain_age_ms": info.retain_age_ms, "retain_bytes": info.retain_bytes,
        "expires_unsettled": info.expires_unsettled, "paused": info.paused,
    });
    Answer { text, json }
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
        "topic": info.topic, "paused": info.paused,
        "partitions": info.partitions.iter().map(row).collect::<Vec<Value>>(),
        "groups": groups.iter().map(group).collect::<Vec<Value>>(),
    });
    Answer { text: format!("{}\n{partitions}\n{consumers}", info.topic), json }
}

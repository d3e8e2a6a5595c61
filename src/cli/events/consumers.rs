//! `chronon consumers`.

use std::time::Duration;

use clap::{ArgGroup, Args, Subcommand};
use comfy_table::Table;
use serde_json::{Value, json};

use super::{ServerArgs, block_on, connect, millis_of, span_millis};
use crate::cli::Answer;
use crate::client::events::Events;
use crate::gateway::proto::cronos_db::GroupMode;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::group_service_client::GroupServiceClient;
use crate::gateway::proto::ext::seek_group_request::To;

/// See to consumer groups.
#[derive(Args, Debug)]
pub(in crate::cli) struct ConsumersArgs {
    #[command(subcommand)]
    verb: ConsumersVerb,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum ConsumersVerb {
    /// All consumer groups, or those of a topic.
    List { topic: Option<String> },
    /// A consumer group, and how far behind it is in each partition.
    Describe(Of),
    /// Deliver nothing to a consumer group until it is resumed; what is open may be settled.
    Pause(Of),
    /// Have a consumer group that pauses go on.
    Resume(Of),
    /// Have a consumer group begin at another place: what is open is over, what lies behind the place comes once more.
    Seek {
        #[command(flatten)]
        of: Of,
        /// The beginning or the end, a time at which events became ready, or a place of each partition's ready sequence.
        #[arg(long, value_name = "beginning|end|RFC3339|OFFSET", value_parser = to)]
        to: To,
        /// One partition, by its id [default: all].
        #[arg(long, value_name = "ID")]
        partition: Option<i32>,
    },
    /// Have a consumer group behave otherwise from now on; what is not said stays as it is.
    #[command(group = ArgGroup::new("change").required(true).multiple(true))]
    Alter {
        #[command(flatten)]
        of: Of,
        /// Attempts until a delivery is a dead letter; 0 is without end.
        #[arg(long, group = "change", value_name = "N")]
        max_deliver: Option<u32>,
        /// A delivery that is not settled for so long has failed.
        #[arg(long, group = "change", value_name = "SPAN", value_parser = humantime::parse_duration)]
        ack_timeout: Option<Duration>,
        /// A delivery rests for so long after its first failure, twice as long after each further one.
        #[arg(long, group = "change", value_name = "SPAN", value_parser = humantime::parse_duration)]
        backoff: Option<Duration>,
        /// And no longer than this.
        #[arg(long, group = "change", value_name = "SPAN", value_parser = humantime::parse_duration)]
        backoff_max: Option<Duration>,
    },
    /// Delete a consumer group and its dead letters; what nobody else has settled waits for a group that comes later.
    Delete {
        #[command(flatten)]
        of: Of,
        /// Although it has members: their subscriptions end.
        #[arg(long)]
        force: bool,
    },
}

/// Which consumer group.
#[derive(Args, Clone, Debug)]
pub(super) struct Of {
    /// The topic.
    topic: String,
    /// The consumer group.
    group: String,
}

pub(in crate::cli) fn consumers(args: &ConsumersArgs) -> anyhow::Result<Answer> {
    block_on(async {
        let events = connect(&args.server).await?;
        match &args.verb {
            ConsumersVerb::List { topic } => {
                let request = ext::ListGroupsRequest { topic: topic.clone().unwrap_or_default() };
                let list = |channel, request| async move {
                    GroupServiceClient::new(channel).list_groups(request).await
                };
                Ok(listed(&events.call(request, list).await?.groups))
            }
            ConsumersVerb::Describe(of) => describe(&events, of.clone()).await,
            ConsumersVerb::Pause(of) => {
                let pause = |channel, request| async move {
                    GroupServiceClient::new(channel).pause_group(request).await
                };
                Ok(behaves(&events.call(request(of), pause).await?))
            }
            ConsumersVerb::Resume(of) => {
                let resume = |channel, request| async move {
                    GroupServiceClient::new(channel).resume_group(request).await
                };
                Ok(behaves(&events.call(request(of), resume).await?))
            }
            ConsumersVerb::Seek { of: Of { topic, group }, to, partition } => {
                let (topic, consumer_group) = (topic.clone(), group.clone());
                let request =
                    ext::SeekGroupRequest { topic, consumer_group, to: Some(*to), partition_id: *partition };
                let seek = |channel, request| async move {
                    GroupServiceClient::new(channel).seek_group(request).await
                };
                Ok(sought(group, &events.call(request, seek).await?.partitions))
            }
            ConsumersVerb::Alter { of, max_deliver, ack_timeout, backoff, backoff_max } => {
                let ms = |span: &Option<Duration>| span.map(span_ms).transpose();
                let request = ext::AlterGroupRequest {
                    topic: of.topic.clone(),
                    consumer_group: of.group.clone(),
                    max_deliver: *max_deliver,
                    ack_timeout_ms: ms(ack_timeout)?,
                    backoff_ms: ms(backoff)?,
                    backoff_max_ms: ms(backoff_max)?,
                };
                let alter = |channel, request| async move {
                    GroupServiceClient::new(channel).alter_group(request).await
                };
                Ok(behaves(&events.call(request, alter).await?))
            }
            ConsumersVerb::Delete { of: Of { topic, group }, force } => {
                let (topic, consumer_group) = (topic.clone(), group.clone());
                let request = ext::DeleteGroupRequest { topic, consumer_group, force: *force };
                let delete = |channel, request| async move {
                    GroupServiceClient::new(channel).delete_group(request).await
                };
                let gone = events.call(request, delete).await?;
                let text = format!(
                    "consumer group {group} is deleted: {} deliveries are over, {} dead letters are gone",
                    gone.closed, gone.dead
                );
                Ok(Answer { text, json: json!({ "group": group, "closed": gone.closed, "dead": gone.dead }) })
            }
        }
    })
}

/// A consumer group, and how far behind it is.
pub(super) async fn describe(events: &Events, of: Of) -> anyhow::Result<Answer> {
    let request = ext::DescribeGroupRequest { topic: of.topic, consumer_group: of.group };
    let describe =
        |channel, request| async move { GroupServiceClient::new(channel).describe_group(request).await };
    Ok(lag(&events.call(request, describe).await?))
}

fn request(of: &Of) -> ext::GroupRequest {
    ext::GroupRequest { topic: of.topic.clone(), consumer_group: of.group.clone() }
}

fn to(text: &str) -> Result<To, String> {
    match text {
        "beginning" => return Ok(To::Beginning(true)),
        "end" => return Ok(To::End(true)),
        _ => {}
    }
    if let Ok(place) = text.parse::<u32>() {
        return Ok(To::ReadySeq(i64::from(place)));
    }
    let time = humantime::parse_rfc3339_weak(text).map_err(|error| {
        format!("neither beginning, end, an offset nor a time such as 2026-12-24T18:00:00Z: {error}")
    })?;
    millis_of(time).map(To::ReadyTs).map_err(|error| error.to_string())
}

fn span_ms(span: Duration) -> anyhow::Result<u32> {
    let ms = u32::try_from(span_millis(span)?);
    ms.map_err(|_| anyhow::anyhow!("{} is too long: 49 days at most", humantime::format_duration(span)))
}

fn word(info: &ext::GroupInfo) -> &'static str {
    if info.mode() == GroupMode::Ordered { "ordered" } else { "shared" }
}

fn behaves(info: &ext::GroupInfo) -> Answer {
    let span = |ms: u32| humantime::format_duration(Duration::from_millis(u64::from(ms))).to_string();
    let text = format!(
        "consumer group {} is {}{}: {} attempts, {} to settle, rests {} to {}",
        info.consumer_group,
        word(info),
        if info.paused { ", and pauses" } else { "" },
        if info.max_deliver == 0 { "any number of".to_owned() } else { info.max_deliver.to_string() },
        span(info.ack_timeout_ms),
        span(info.backoff_ms),
        span(info.backoff_max_ms),
    );
    Answer { text, json: json_of(info) }
}

fn json_of(info: &ext::GroupInfo) -> Value {
    let row = |row: &ext::GroupPartition| {
        json!({
            "partition": row.partition_id, "committed": row.committed_offset, "lag": row.lag, "open": row.open,
            "resting": row.resting, "dead": row.dead, "dead_dropped": row.dead_dropped, "members": row.members,
        })
    };
    let total: i64 = info.partitions.iter().map(|row| row.lag).sum();
    json!({
        "topic": info.topic, "group": info.consumer_group, "mode": word(info), "paused": info.paused,
        "max_deliver": info.max_deliver, "ack_timeout_ms": info.ack_timeout_ms, "backoff_ms": info.backoff_ms,
        "backoff_max_ms": info.backoff_max_ms, "lag": total,
        "partitions": info.partitions.iter().map(row).collect::<Vec<Value>>(),
    })
}

fn listed(groups: &[ext::GroupInfo]) -> Answer {
    let mut table = Table::new();
    table.set_header([
        "topic",
        "consumer group",
        "mode",
        "lag",
        "open",
        "resting",
        "dead",
        "members",
        "pauses",
    ]);
    for info in groups {
        let sum =
            |of: fn(&ext::GroupPartition) -> i64| info.partitions.iter().map(of).sum::<i64>().to_string();
        table.add_row([
            info.topic.clone(),
            info.consumer_group.clone(),
            word(info).to_owned(),
            sum(|row| row.lag),
            sum(|row| row.open),
            sum(|row| row.resting),
            sum(|row| row.dead),
            info.partitions.iter().map(|row| row.members).max().unwrap_or_default().to_string(),
            if info.paused { "yes" } else { "no" }.to_owned(),
        ]);
    }
    Answer { text: table.to_string(), json: json!(groups.iter().map(json_of).collect::<Vec<Value>>()) }
}

fn lag(info: &ext::GroupInfo) -> Answer {
    let mut table = Table::new();
    table.set_header(["partition", "committed", "lag", "open", "resting", "dead", "members"]);
    for row in &info.partitions {
        let ext::GroupPartition { committed_offset, lag, open, resting, dead, .. } = *row;
        table.add_row([
            i64::from(row.partition_id),
            committed_offset,
            lag,
            open,
            resting,
            dead,
            i64::from(row.members),
        ]);
    }
    let total: i64 = info.partitions.iter().map(|row| row.lag).sum();
    let pauses = if info.paused { ", and pauses" } else { "" };
    let text = format!("{} is {total} events behind{pauses}\n{table}", info.consumer_group);
    Answer { text, json: json_of(info) }
}

fn sought(group: &str, partitions: &[ext::SoughtPartition]) -> Answer {
    let mut table = Table::new();
    table.set_header(["partition", "begins with", "deliveries over"]);
    for row in partitions {
        table.add_row([i64::from(row.partition_id), row.ready_seq, row.closed]);
    }
    let row = |row: &ext::SoughtPartition| json!({ "partition": row.partition_id, "ready_seq": row.ready_seq, "closed": row.closed });
    let json = json!({ "group": group, "partitions": partitions.iter().map(row).collect::<Vec<Value>>() });
    Answer { text: format!("consumer group {group} begins anew\n{table}"), json }
}

//! `chronon publish`, `subscribe`, `topic`, `event`, `schedule`, `dlq`: clients of the gRPC interface.

use std::io::{IsTerminal as _, Read as _};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::{Args, Subcommand, ValueEnum};
use comfy_table::Table;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};

use super::{Answer, Format};
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::consumer_group_service_client::ConsumerGroupServiceClient;
use crate::gateway::proto::cronos_db::event_service_client::EventServiceClient;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::dead_letter_service_client::DeadLetterServiceClient;
use crate::gateway::proto::ext::lifecycle_service_client::LifecycleServiceClient;
use crate::gateway::proto::ext::schedule_service_client::ScheduleServiceClient;
use crate::gateway::proto::ext::topic_service_client::TopicServiceClient;

/// Whom to ask.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// Where a node serves gRPC.
    #[arg(long, global = true, env = "CHRONON_SERVER", default_value = "http://127.0.0.1:9000")]
    server: String,
    /// How long to wait for an answer, as in 10s.
    #[arg(long, global = true, env = "CHRONON_WAIT", default_value = "10s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

/// Publish an event: now, after a while, or at a time.
#[derive(Args, Debug)]
pub(super) struct PublishArgs {
    /// The topic.
    topic: String,
    /// What it says; `-` reads it from standard input.
    payload: String,
    /// It is due after this span, as in 10s or 2h 30m.
    #[arg(long = "in", value_name = "SPAN", value_parser = humantime::parse_duration, conflicts_with = "at")]
    after: Option<Duration>,
    /// It is due at this time, as in 2026-12-24T18:00:00Z.
    #[arg(long, value_name = "RFC3339", value_parser = humantime::parse_rfc3339_weak)]
    at: Option<SystemTime>,
    /// Its name, by which it is accepted once; drawn when there is none.
    #[arg(long)]
    id: Option<String>,
    /// What is not to overtake what, for consumer groups that keep order.
    #[arg(long, default_value = "")]
    key: String,
    /// For its consumers, as in colour=red; may be repeated.
    #[arg(long = "meta", value_name = "K=V", value_parser = pair)]
    meta: Vec<(String, String)>,
    #[command(flatten)]
    server: ServerArgs,
}

/// Consume a topic as a member of a consumer group.
#[derive(Args, Debug)]
pub(super) struct SubscribeArgs {
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

/// Make topics, and look at them.
#[derive(Args, Debug)]
pub(super) struct TopicArgs {
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

/// Ask for the fate of an event.
#[derive(Args, Debug)]
pub(super) struct EventArgs {
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

/// See to events that are not due yet.
#[derive(Args, Debug)]
pub(super) struct ScheduleArgs {
    #[command(subcommand)]
    verb: ScheduleVerb,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum ScheduleVerb {
    /// What is due next.
    List { topic: String },
    /// Take an event back.
    Cancel { topic: String, id: String },
    /// Have an event be due at another time.
    Reschedule {
        topic: String,
        id: String,
        /// After this span from now, as in 10s.
        #[arg(long = "in", value_name = "SPAN", value_parser = humantime::parse_duration, conflicts_with = "at", required_unless_present = "at")]
        after: Option<Duration>,
        /// At this time, as in 2026-12-24T18:00:00Z.
        #[arg(long, value_name = "RFC3339", value_parser = humantime::parse_rfc3339_weak)]
        at: Option<SystemTime>,
    },
}

/// See to deliveries that were given up.
#[derive(Args, Debug)]
pub(super) struct DlqArgs {
    #[command(subcommand)]
    verb: DlqVerb,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum DlqVerb {
    /// Dead letters of a consumer group.
    List { topic: String, group: String },
    /// Deliver them again, all that are dead now or those that are named as PARTITION:SEQUENCE.
    Redrive { topic: String, group: String, letters: Vec<String> },
    /// Forget them, those that are named as PARTITION:SEQUENCE.
    Discard {
        topic: String,
        group: String,
        #[arg(required = true)]
        letters: Vec<String>,
    },
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a pair is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Runs what talks to a server.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn connect(args: &ServerArgs) -> anyhow::Result<Channel> {
    let endpoint = Endpoint::from_shared(args.server.clone())
        .with_context(|| format!("--server {:?} is not a URL such as http://127.0.0.1:9000", args.server))?;
    let endpoint = endpoint.connect_timeout(args.wait);
    endpoint.connect().await.with_context(|| format!("no node serves gRPC at {}", args.server))
}

/// An answer that must come in time.
async fn answer<T>(
    args: &ServerArgs,
    asked: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> anyhow::Result<T> {
    let answered = tokio::time::timeout(args.wait, asked).await;
    let answered = answered.map_err(|_| anyhow::anyhow!("no answer within {:?}", args.wait))?;
    answered.map(tonic::Response::into_inner).map_err(|status| anyhow::anyhow!("{}", status.message()))
}

pub(super) fn publish(args: &PublishArgs) -> anyhow::Result<Answer> {
    let payload = if args.payload == "-" {
        let mut read = Vec::new();
        std::io::stdin().lock().read_to_end(&mut read).context("standard input cannot be read")?;
        read
    } else {
        args.payload.clone().into_bytes()
    };
    let message_id = match &args.id {
        Some(id) => id.clone(),
        None => {
            let mut drawn = [0; 16];
            getrandom::fill(&mut drawn).map_err(|error| anyhow::anyhow!("no random bytes: {error}"))?;
            format!("{:032x}", u128::from_be_bytes(drawn))
        }
    };
    let schedule_ts = millis(args.at.unwrap_or_else(SystemTime::now))?;
    let delay_ms = args.after.map(span_millis).transpose()?.unwrap_or_default();
    let event = pb::Event {
        message_id: message_id.clone(),
        schedule_ts,
        delay_ms,
        payload: payload.into(),
        topic: args.topic.clone(),
        meta: args.meta.iter().cloned().collect(),
        ordering_key: args.key.clone(),
        ..pb::Event::default()
    };
    let published = block_on(async {
        let mut client = EventServiceClient::new(connect(&args.server).await?);
        let request = pb::PublishRequest { event: Some(event), allow_duplicate: false };
        answer(&args.server, client.publish(request)).await
    })?;
    let is_duplicate = published.status() == pb::PublishStatus::Duplicate;
    anyhow::ensure!(published.success || is_duplicate, "{}", published.error);
    let (partition, offset) = (published.partition_id, published.offset);
    let text = if is_duplicate {
        format!("{message_id} was accepted before: partition {partition}, offset {offset}")
    } else {
        let due = time(published.schedule_ts);
        format!("{message_id} is accepted: partition {partition}, offset {offset}, due {due}")
    };
    let json = json!({
        "id": message_id, "status": if is_duplicate { "duplicate" } else { "accepted" },
        "partition": partition, "offset": offset, "due": published.schedule_ts,
    });
    Ok(Answer { text, json })
}

pub(super) fn subscribe(args: &SubscribeArgs, output: Format) -> anyhow::Result<Answer> {
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
            super::print(output, &shown(&delivery));
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

pub(super) fn topic(args: &TopicArgs) -> anyhow::Result<Answer> {
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

pub(super) fn event(args: &EventArgs) -> anyhow::Result<Answer> {
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

pub(super) fn schedule(args: &ScheduleArgs) -> anyhow::Result<Answer> {
    block_on(async {
        let mut client = ScheduleServiceClient::new(connect(&args.server).await?);
        let (changed, what) = match &args.verb {
            ScheduleVerb::List { topic } => {
                let request = ext::ListScheduledRequest { topic: topic.clone(), limit: 0 };
                let events = answer(&args.server, client.list_scheduled(request)).await?.events;
                let line = |event: &pb::Event| format!("{} {}", time(event.schedule_ts), event.message_id);
                let text = events.iter().map(line).collect::<Vec<String>>().join("\n");
                let row = |event: &pb::Event| json!({ "id": event.message_id, "due": event.schedule_ts });
                return Ok(Answer { text, json: events.iter().map(row).collect() });
            }
            ScheduleVerb::Cancel { topic, id } => {
                let request = ext::CancelRequest {
                    topic: topic.clone(),
                    message_id: id.clone(),
                    partition_key: String::new(),
                };
                (answer(&args.server, client.cancel(request)).await?, format!("{id} is cancelled"))
            }
            ScheduleVerb::Reschedule { topic, id, after, at } => {
                let request = ext::RescheduleRequest {
                    topic: topic.clone(),
                    message_id: id.clone(),
                    partition_key: String::new(),
                    schedule_ts: at.map(millis).transpose()?.unwrap_or_default(),
                    delay_ms: after.map(span_millis).transpose()?.unwrap_or_default(),
                };
                let changed = answer(&args.server, client.reschedule(request)).await?;
                let what = format!("{id} is due {}", time(changed.schedule_ts));
                (changed, what)
            }
        };
        anyhow::ensure!(changed.success, "{}", changed.error);
        Ok(Answer { text: what, json: json!({ "offset": changed.offset, "due": changed.schedule_ts }) })
    })
}

pub(super) fn dlq(args: &DlqArgs) -> anyhow::Result<Answer> {
    block_on(async {
        let mut client = DeadLetterServiceClient::new(connect(&args.server).await?);
        let request = |topic: &String, group: &String, letters: &[String]| {
            let letters = letters.iter().map(|letter| letter_name(letter)).collect::<anyhow::Result<_>>()?;
            Ok::<_, anyhow::Error>(ext::ReviveRequest {
                topic: topic.clone(),
                consumer_group: group.clone(),
                letters,
            })
        };
        match &args.verb {
            DlqVerb::List { topic, group } => {
                let request =
                    ext::ListDeadRequest { topic: topic.clone(), consumer_group: group.clone(), limit: 0 };
                let letters = answer(&args.server, client.list(request)).await?.letters;
                let name = |letter: &ext::DeadLetter| {
                    let event = letter.event.clone().unwrap_or_default();
                    (format!("{}:{}", event.partition_id, letter.ready_seq), event.message_id)
                };
                let line = |letter: &ext::DeadLetter| {
                    let (place, id) = name(letter);
                    format!(
                        "{place} {id} died {} after {} attempts: {}",
                        time(letter.died_ts),
                        letter.attempts,
                        letter.why
                    )
                };
                let row = |letter: &ext::DeadLetter| {
                    let (place, id) = name(letter);
                    json!({ "letter": place, "id": id, "attempts": letter.attempts, "died": letter.died_ts, "why": letter.why })
                };
                let text = letters.iter().map(line).collect::<Vec<String>>().join("\n");
                Ok(Answer { text, json: letters.iter().map(row).collect() })
            }
            DlqVerb::Redrive { topic, group, letters } => {
                let revived = answer(&args.server, client.redrive(request(topic, group, letters)?)).await?;
                let text = format!("{} are delivered again", revived.count);
                Ok(Answer { text, json: json!({ "redriven": revived.count }) })
            }
            DlqVerb::Discard { topic, group, letters } => {
                let revived = answer(&args.server, client.discard(request(topic, group, letters)?)).await?;
                let text = format!("{} are forgotten", revived.count);
                Ok(Answer { text, json: json!({ "discarded": revived.count }) })
            }
        }
    })
}

fn letter_name(text: &str) -> anyhow::Result<ext::LetterName> {
    let parts = text.split_once(':').and_then(|(partition, seq)| {
        Some(ext::LetterName { partition_id: partition.parse().ok()?, ready_seq: seq.parse().ok()? })
    });
    parts.with_context(|| format!("a letter is PARTITION:SEQUENCE, as in 1000:7, and not {text:?}"))
}

fn time(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    match SystemTime::UNIX_EPOCH.checked_add(since) {
        Some(at) if ms < YEAR_10_000_MS => humantime::format_rfc3339_millis(at).to_string(),
        _ => format!("{ms} ms"),
    }
}

fn millis(at: SystemTime) -> anyhow::Result<i64> {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).context("a time is after 1970")?;
    span_millis(since)
}

fn span_millis(span: Duration) -> anyhow::Result<i64> {
    i64::try_from(span.as_millis()).context("that is further away than an event can be")
}

/// Beyond it a time has no form.
const YEAR_10_000_MS: i64 = 253_402_300_800_000;

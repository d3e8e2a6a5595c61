//! `chronon event`.

use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use super::{ANSWER_BYTES_MAX, ServerArgs, block_on, connect, time};
use crate::cli::{Answer, Format, print};
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::lifecycle_service_client::LifecycleServiceClient;

/// Ask for the fate of events.
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
    Show(NameArgs),
    /// The same, and again whenever it changes, until nothing is to come.
    Watch(NameArgs),
    /// Events of a topic that are in a state.
    List {
        topic: String,
        /// Which; all but scheduled, ready and processed take a consumer group, which alone can tell.
        #[arg(long, value_enum)]
        state: State,
        /// In this consumer group.
        #[arg(long, default_value = "", required_if_eq_any([("state", "buffered"), ("state", "processing"), ("state", "failed-retryable"), ("state", "dead")]))]
        group: String,
        /// So many at most.
        #[arg(long, default_value_t = 100)]
        limit: usize,
    },
}

#[derive(Args, Debug)]
struct NameArgs {
    topic: String,
    id: String,
    /// Its meta `partition_key`, if it has one.
    #[arg(long, default_value = "")]
    partition_key: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum State {
    /// Not due yet.
    Scheduled,
    /// Due, and not settled by every consumer group.
    Ready,
    /// It waits for a consumer with room.
    Buffered,
    /// A consumer has it.
    Processing,
    /// It failed, and is tried again.
    FailedRetryable,
    /// It was given up: a dead letter.
    Dead,
    /// Settled by the consumer group, or by all of them, and kept for those that come later.
    Processed,
}

pub(in crate::cli) fn event(args: &EventArgs, output: Format) -> anyhow::Result<Answer> {
    match &args.verb {
        EventVerb::Show(name) => show(name, &args.server),
        EventVerb::Watch(name) => watch(name, &args.server, output),
        EventVerb::List { topic, state, group, limit } => list(topic, *state, group, *limit, &args.server),
    }
}

fn show(name: &NameArgs, server: &ServerArgs) -> anyhow::Result<Answer> {
    let request = name.request();
    let fate = block_on(async {
        let events = connect(server).await?;
        let get =
            |channel, request| async move { LifecycleServiceClient::new(channel).get_event(request).await };
        Ok(events.call(request, get).await?)
    })?;
    anyhow::ensure!(fate.found, "no event {} of topic {} is remembered", name.id, name.topic);
    Ok(told(&fate))
}

fn watch(name: &NameArgs, server: &ServerArgs, output: Format) -> anyhow::Result<Answer> {
    let request = name.request();
    block_on(async {
        let events = connect(server).await?;
        let watch =
            |channel, request| async move { LifecycleServiceClient::new(channel).watch_event(request).await };
        let mut fates = events.call(request, watch).await?;
        let mut count = 0;
        let answered = |answer: Result<_, tonic::Status>| {
            answer.map_err(|status| anyhow::anyhow!("{}", status.message()))
        };
        while let Some(fate) = answered(fates.message().await)? {
            anyhow::ensure!(
                fate.found,
                "no event {} of topic {} is remembered any more",
                name.id,
                name.topic
            );
            print(output, &told(&fate));
            count += 1;
        }
        Ok(Answer { text: format!("it has ended, in {count} steps"), json: json!({ "steps": count }) })
    })
}

fn list(topic: &str, state: State, group: &str, limit: usize, server: &ServerArgs) -> anyhow::Result<Answer> {
    let mut listed: Vec<ext::ListedEvent> = Vec::new();
    block_on(async {
        let events = connect(server).await?;
        let mut page = String::new();
        while listed.len() < limit {
            let request = ext::ListByStateRequest {
                topic: topic.to_owned(),
                state: state.word().to_owned(),
                consumer_group: group.to_owned(),
                limit: u32::try_from(limit - listed.len()).unwrap_or(u32::MAX),
                page,
            };
            let list = |channel, request| async move {
                LifecycleServiceClient::new(channel)
                    .max_decoding_message_size(ANSWER_BYTES_MAX)
                    .list_by_state(request)
                    .await
            };
            let answer = events.call(request, list).await?;
            listed.extend(answer.events);
            page = answer.next_page;
            if page.is_empty() {
                break;
            }
        }
        Ok(())
    })?;
    let text = listed.iter().map(line).collect::<Vec<String>>().join("\n");
    Ok(Answer { text, json: listed.iter().map(row).collect() })
}

fn line(listed: &ext::ListedEvent) -> String {
    let event = listed.event.clone().unwrap_or_default();
    let mut line = event.message_id;
    if event.schedule_ts > 0 {
        line = format!("{} {line}", time(event.schedule_ts));
    }
    for delivery in listed.delivery.iter().filter(|delivery| !delivery.why.is_empty()) {
        line.push_str(&format!(": {}", delivery.why));
    }
    line
}

fn row(listed: &ext::ListedEvent) -> Value {
    let event = listed.event.clone().unwrap_or_default();
    json!({
        "id": event.message_id, "due": event.schedule_ts, "partition": event.partition_id, "offset": event.offset,
        "ready_seq": listed.ready_seq, "delivery": listed.delivery.as_ref().map(delivery),
    })
}

/// A fate in both forms.
fn told(fate: &ext::EventFate) -> Answer {
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
    let json = json!({
        "state": fate.state, "why": fate.why, "offset": fate.offset, "partition": fate.partition_id,
        "accepted": fate.accepted_ts, "due": fate.schedule_ts,
        "deliveries": fate.deliveries.iter().map(delivery).collect::<Vec<Value>>(),
    });
    Answer { text, json }
}

fn delivery(delivery: &ext::DeliveryFate) -> Value {
    json!({
        "group": delivery.consumer_group, "state": delivery.state, "attempts": delivery.attempts,
        "until": delivery.until_ts, "why": delivery.why,
    })
}

impl NameArgs {
    fn request(&self) -> ext::GetEventRequest {
        ext::GetEventRequest {
            topic: self.topic.clone(),
            message_id: self.id.clone(),
            partition_key: self.partition_key.clone(),
        }
    }
}

impl State {
    /// As the cluster calls it.
    fn word(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Ready => "READY",
            Self::Buffered => "BUFFERED",
            Self::Processing => "PROCESSING",
            Self::FailedRetryable => "FAILED_RETRYABLE",
            Self::Dead => "DEAD",
            Self::Processed => "PROCESSED",
        }
    }
}

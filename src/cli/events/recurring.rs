//! Recurring schedules: `publish --cron`, `publish --every`, and the verbs of `chronon schedule` about them.

use std::time::SystemTime;

use anyhow::Context as _;
use clap::Subcommand;
use serde_json::{Value, json};

use super::{connect, span_millis, time};
use crate::cli::Answer;
use crate::client::events::{Events, NewEvent};
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::schedule_service_client::ScheduleServiceClient;

/// What is done with one schedule.
#[derive(Debug, Subcommand)]
pub(super) enum RecurringVerb {
    /// The recurring schedules of a topic.
    Recurring { topic: String },
    /// Have a recurring schedule pause: what it has planned is taken back.
    Pause { topic: String, name: String },
    /// Have it go on from now.
    Resume { topic: String, name: String },
    /// Publish one occurrence now, beside those that are planned.
    Run { topic: String, name: String },
    /// Publish, now, the occurrences of a time that is over, but for those that were there.
    Backfill {
        topic: String,
        name: String,
        /// As in 2026-12-24T18:00:00Z.
        #[arg(long, value_name = "RFC3339", value_parser = humantime::parse_rfc3339_weak)]
        from: SystemTime,
        #[arg(long, value_name = "RFC3339", value_parser = humantime::parse_rfc3339_weak)]
        to: SystemTime,
    },
    /// Delete a recurring schedule: what it has planned is taken back.
    Delete { topic: String, name: String },
}

/// A schedule as it is to be.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub name: String,
    /// A cron expression and its zone, or none.
    pub cron: Option<(String, String)>,
    pub every_ms: u64,
}

/// Makes a schedule, or changes one.
pub(super) async fn set(events: &Events, event: NewEvent, wanted: Wanted) -> anyhow::Result<Answer> {
    let (cron, zone) = wanted.cron.unwrap_or_default();
    let event = Some(event.named(&wanted.name).into_message()?);
    let request =
        ext::SetRecurringRequest { event, name: wanted.name, cron, zone, every_ms: wanted.every_ms };
    let set =
        |channel, request| async move { ScheduleServiceClient::new(channel).set_recurring(request).await };
    Ok(answer(&events.call(request, set).await?))
}

pub(super) async fn run(server: &super::ServerArgs, verb: &RecurringVerb) -> anyhow::Result<Answer> {
    let events = connect(server).await?;
    let request =
        |topic: &String, name: &String| ext::RecurringRequest { topic: topic.clone(), name: name.clone() };
    match verb {
        RecurringVerb::Recurring { topic } => {
            let request = ext::ListRecurringRequest { topic: topic.clone() };
            let list = |channel, request| async move {
                ScheduleServiceClient::new(channel).list_recurring(request).await
            };
            let schedules = events.call(request, list).await?.schedules;
            let text = schedules.iter().map(line).collect::<Vec<String>>().join("\n");
            Ok(Answer { text, json: schedules.iter().map(row).collect() })
        }
        RecurringVerb::Pause { topic, name } => {
            let pause = |channel, request| async move {
                ScheduleServiceClient::new(channel).pause_recurring(request).await
            };
            Ok(answer(&events.call(request(topic, name), pause).await?))
        }
        RecurringVerb::Resume { topic, name } => {
            let resume = |channel, request| async move {
                ScheduleServiceClient::new(channel).resume_recurring(request).await
            };
            Ok(answer(&events.call(request(topic, name), resume).await?))
        }
        RecurringVerb::Run { topic, name } => {
            let trigger = |channel, request| async move {
                ScheduleServiceClient::new(channel).trigger_recurring(request).await
            };
            let published = events.call(request(topic, name), trigger).await?;
            anyhow::ensure!(published.success, "{}", published.error);
            let (partition, offset) = (published.partition_id, published.offset);
            let text = format!("an occurrence of {name} is accepted: partition {partition}, offset {offset}");
            Ok(Answer { text, json: json!({ "partition": partition, "offset": offset }) })
        }
        RecurringVerb::Backfill { topic, name, from, to } => {
            let (topic, name) = (topic.clone(), name.clone());
            let request = ext::BackfillRequest { topic, name, from_ts: millis(*from)?, to_ts: millis(*to)? };
            let backfill = |channel, request| async move {
                ScheduleServiceClient::new(channel).backfill_recurring(request).await
            };
            let filled = events.call(request, backfill).await?;
            let (published, duplicates) = (filled.published_count, filled.duplicate_count);
            let text = format!("{published} occurrences are published, {duplicates} were there");
            Ok(Answer { text, json: json!({ "published": published, "duplicates": duplicates }) })
        }
        RecurringVerb::Delete { topic, name } => {
            let delete = |channel, request| async move {
                ScheduleServiceClient::new(channel).delete_recurring(request).await
            };
            events.call(request(topic, name), delete).await?;
            Ok(Answer { text: format!("{name} is deleted"), json: json!({ "topic": topic, "name": name }) })
        }
    }
}

fn answer(schedule: &ext::Recurring) -> Answer {
    Answer { text: line(schedule), json: row(schedule) }
}

fn line(schedule: &ext::Recurring) -> String {
    let ext::Recurring { name, cron, zone, every_ms, paused, next_ts, .. } = schedule;
    let rule = if cron.is_empty() { format!("every {every_ms} ms") } else { format!("{cron} {zone}") };
    match next_ts.first() {
        Some(next) => format!("{name}: {rule}, next at {}", time(*next)),
        None if *paused => format!("{name}: {rule}, paused"),
        None => format!("{name}: {rule}, never again"),
    }
}

fn row(schedule: &ext::Recurring) -> Value {
    json!({
        "topic": schedule.topic, "name": schedule.name, "cron": schedule.cron, "zone": schedule.zone,
        "every_ms": schedule.every_ms, "paused": schedule.paused, "next": schedule.next_ts,
    })
}

fn millis(at: SystemTime) -> anyhow::Result<i64> {
    span_millis(at.duration_since(SystemTime::UNIX_EPOCH).context("a time is after 1970")?)
}

//! `chronon schedule`.

use std::time::{Duration, SystemTime};

use clap::{Args, Subcommand};
use serde_json::json;

use super::recurring::{self, RecurringVerb};
use super::{ANSWER_BYTES_MAX, ServerArgs, block_on, connect, time};
use crate::cli::Answer;
use crate::client::events::{Changed, Due};
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::schedule_service_client::ScheduleServiceClient;

/// See to events that are not due yet, and to recurring schedules.
#[derive(Args, Debug)]
pub(in crate::cli) struct ScheduleArgs {
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
    #[command(flatten)]
    Recurring(RecurringVerb),
}

pub(in crate::cli) fn schedule(args: &ScheduleArgs) -> anyhow::Result<Answer> {
    block_on(async {
        let events = connect(&args.server).await?;
        match &args.verb {
            ScheduleVerb::List { topic } => {
                let request = ext::ListScheduledRequest { topic: topic.clone(), limit: 0 };
                let events = events
                    .call(request, |channel, request| async move {
                        ScheduleServiceClient::new(channel)
                            .max_decoding_message_size(ANSWER_BYTES_MAX)
                            .list_scheduled(request)
                            .await
                    })
                    .await?
                    .events;
                let line = |event: &pb::Event| format!("{} {}", time(event.schedule_ts), event.message_id);
                let text = events.iter().map(line).collect::<Vec<String>>().join("\n");
                let row = |event: &pb::Event| json!({ "id": event.message_id, "due": event.schedule_ts });
                Ok(Answer { text, json: events.iter().map(row).collect() })
            }
            ScheduleVerb::Cancel { topic, id } => {
                let changed = events.cancel(topic, id).await?;
                Ok(answer(format!("{id} is cancelled"), changed))
            }
            ScheduleVerb::Reschedule { topic, id, after, at } => {
                let due = match at {
                    Some(at) => Due::At(*at),
                    None => Due::In(after.unwrap_or_default()),
                };
                let changed = events.reschedule(topic, id, due).await?;
                Ok(answer(format!("{id} is due {}", time(changed.due_ms)), changed))
            }
            ScheduleVerb::Recurring(verb) => recurring::run(&args.server, verb).await,
        }
    })
}

fn answer(text: String, changed: Changed) -> Answer {
    Answer { text, json: json!({ "offset": changed.offset, "due": changed.due_ms }) }
}

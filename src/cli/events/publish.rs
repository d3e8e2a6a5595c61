//! `chronon publish`.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{ServerArgs, block_on, connect, recurring, time};
use crate::cli::Answer;
use crate::client::events::{Due, NewEvent, draw_name};

/// Publish an event: now, after a while, or at a time.
#[derive(Args, Debug)]
pub(in crate::cli) struct PublishArgs {
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
    /// Publish it again and again, as a cron expression says: minute, hour, day, month, weekday.
    #[arg(long, value_name = "EXPR", conflicts_with_all = ["after", "at", "every"], requires = "id")]
    cron: Option<String>,
    /// The time zone of the cron expression, as in Europe/Berlin.
    #[arg(long, value_name = "ZONE", default_value = "UTC", requires = "cron")]
    zone: String,
    /// Publish it again and again, each time this span is over, as in 15m.
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration, conflicts_with_all = ["after", "at"], requires = "id")]
    every: Option<Duration>,
    /// It is of use for this span after it is due, as in 5m; then it is delivered no more.
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
    /// Its name, or that of its schedule, by which it is accepted once; drawn when there is none.
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

pub(in crate::cli) fn publish(args: &PublishArgs) -> anyhow::Result<Answer> {
    let payload = if args.payload == "-" {
        let mut read = Vec::new();
        std::io::stdin().lock().read_to_end(&mut read).context("standard input cannot be read")?;
        read
    } else {
        args.payload.clone().into_bytes()
    };
    let message_id = args.id.clone().map_or_else(draw_name, Ok)?;
    let due = match (args.after, args.at) {
        (Some(after), _) => Due::In(after),
        (None, at) => Due::At(at.unwrap_or_else(SystemTime::now)),
    };
    let event = NewEvent::new(&args.topic, payload).named(&message_id).due(due).key(&args.key);
    let event = args.ttl.into_iter().fold(event, NewEvent::ttl);
    let event = args.meta.iter().fold(event, |event, (key, value)| event.meta(key, value));
    if args.cron.is_some() || args.every.is_some() {
        let every_ms =
            u64::try_from(args.every.unwrap_or_default().as_millis()).context("that is too long")?;
        let cron = args.cron.clone().map(|cron| (cron, args.zone.clone()));
        let wanted = recurring::Wanted { name: message_id, cron, every_ms };
        return block_on(async { recurring::set(&connect(&args.server).await?, event, wanted).await });
    }
    let published = block_on(async { Ok(connect(&args.server).await?.publish(event).await?) })?;
    let (partition, offset) = (published.partition, published.offset);
    let is_duplicate = published.is_duplicate;
    let text = if is_duplicate {
        format!("{message_id} was accepted before: partition {partition}, offset {offset}")
    } else {
        let due = time(published.due_ms.unwrap_or_default());
        format!("{message_id} is accepted: partition {partition}, offset {offset}, due {due}")
    };
    let json = json!({
        "id": message_id, "status": if is_duplicate { "duplicate" } else { "accepted" },
        "partition": partition, "offset": offset, "due": published.due_ms.unwrap_or_default(),
    });
    Ok(Answer { text, json })
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a pair is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

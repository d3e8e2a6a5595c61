//! `chronon publish`.

use std::io::Read as _;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::{ServerArgs, answer, block_on, connect, millis, span_millis, time};
use crate::cli::Answer;
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::event_service_client::EventServiceClient;

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
    /// It is of use for this span after it is due, as in 5m; then it is delivered no more.
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    ttl: Option<Duration>,
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

pub(in crate::cli) fn publish(args: &PublishArgs) -> anyhow::Result<Answer> {
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
        ttl_ms: args.ttl.map(span_millis).transpose()?.unwrap_or_default(),
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

fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("a pair is KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

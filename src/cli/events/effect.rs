//! `chronon effect`, as far as it is about topics: what workers claim, and what has not ended.

use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use serde_json::json;

use super::dlq::letter_name;
use super::{ANSWER_BYTES_MAX, ServerArgs, block_on, connect, span_millis, time};
use crate::cli::Answer;
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::effect_service_client::EffectServiceClient;

/// What a worker claims.
#[derive(Args, Debug)]
pub(in crate::cli) struct ClaimArgs {
    topic: String,
    /// The consumer group, which is made if there is none; `endpoint:NAME` is that of an endpoint.
    consumer_group: String,
    /// The worker's name: what it holds stays with it under that name.
    #[arg(long, default_value = "cli")]
    worker: String,
    /// So many at most, up to 1,000.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    count: u32,
    /// Wait for this span until there is one; a minute at most.
    #[arg(long = "within", value_name = "SPAN", value_parser = humantime::parse_duration)]
    within: Option<Duration>,
    /// Of a consumer group that is made by it: others may have what was not finished after this span [default: 30s].
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    lease: Option<Duration>,
    /// Of a consumer group that is made by it: what fails so often is a dead letter [default: without end].
    #[arg(long, default_value_t = 0, hide_default_value = true)]
    attempts: u32,
}

/// A delivery that was claimed.
#[derive(Args, Debug)]
pub(in crate::cli) struct DeliveryArgs {
    /// As `chronon effect claim` tells it.
    delivery: String,
}

/// A delivery that failed.
#[derive(Args, Debug)]
pub(in crate::cli) struct FailArgs {
    /// As `chronon effect claim` tells it.
    delivery: String,
    /// Why, for whoever looks.
    #[arg(default_value = "")]
    error: String,
    /// Do not try it again: it is a dead letter.
    #[arg(long, conflicts_with = "retry_in")]
    give_up: bool,
    /// Try it again after this span, and not after the group's back-off.
    #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
    retry_in: Option<Duration>,
}

/// Dead letters.
#[derive(Args, Debug)]
pub(in crate::cli) struct RetryArgs {
    topic: String,
    consumer_group: String,
    /// As PARTITION:SEQUENCE; all that are dead when none is named.
    letters: Vec<String>,
}

/// Dead letters.
#[derive(Args, Debug)]
pub(in crate::cli) struct AbandonArgs {
    topic: String,
    consumer_group: String,
    /// As PARTITION:SEQUENCE.
    #[arg(required = true)]
    letters: Vec<String>,
}

pub(in crate::cli) fn claim(args: &ClaimArgs, server: &ServerArgs) -> anyhow::Result<Answer> {
    let within = args.within.unwrap_or_default();
    let request = ext::ClaimRequest {
        topic: args.topic.clone(),
        consumer_group: args.consumer_group.clone(),
        worker: args.worker.clone(),
        count: args.count,
        wait_ms: ms(within)?,
        lease_ms: ms(args.lease.unwrap_or_default())?,
        max_deliver: args.attempts,
        ..ext::ClaimRequest::default()
    };
    // An answer may take as long as it is waited for.
    let server = ServerArgs { wait: server.wait.saturating_add(within), ..server.clone() };
    let claimed = block_on(async {
        let events = connect(&server).await?;
        let ask = |channel, request| async move {
            EffectServiceClient::new(channel).max_decoding_message_size(ANSWER_BYTES_MAX).claim(request).await
        };
        Ok(events.call(request, ask).await?.deliveries)
    })?;
    let line = |delivery: &pb::Delivery| {
        let event = delivery.event.clone().unwrap_or_default();
        let until = time(delivery.lease_expires_ts);
        let (id, attempt) = (&delivery.delivery_id, delivery.attempt);
        format!("{id} {} attempt {attempt}, until {until}: {}", event.message_id, text(&event.payload))
    };
    let row = |delivery: &pb::Delivery| {
        let event = delivery.event.clone().unwrap_or_default();
        json!({
            "delivery": delivery.delivery_id, "id": event.message_id, "payload": text(&event.payload), "meta": event.meta,
            "attempt": delivery.attempt, "fencing_token": delivery.fencing_token, "until": delivery.lease_expires_ts,
        })
    };
    let lines: Vec<String> = claimed.iter().map(line).collect();
    Ok(Answer { text: lines.join("\n"), json: claimed.iter().map(row).collect() })
}

pub(in crate::cli) fn renew(args: &DeliveryArgs, server: &ServerArgs) -> anyhow::Result<Answer> {
    let request = ext::RenewRequest { delivery_id: args.delivery.clone() };
    let renewed = block_on(async {
        let ask = |channel, request| async move { EffectServiceClient::new(channel).renew(request).await };
        Ok(connect(server).await?.call(request, ask).await?)
    })?;
    settled(&args.delivery, "is renewed", renewed)
}

pub(in crate::cli) fn complete(args: &DeliveryArgs, server: &ServerArgs) -> anyhow::Result<Answer> {
    let request = ext::CompleteRequest { delivery_id: args.delivery.clone() };
    let completed = block_on(async {
        let ask = |channel, request| async move { EffectServiceClient::new(channel).complete(request).await };
        Ok(connect(server).await?.call(request, ask).await?)
    })?;
    settled(&args.delivery, "is done", completed)
}

pub(in crate::cli) fn fail(args: &FailArgs, server: &ServerArgs) -> anyhow::Result<Answer> {
    let FailArgs { delivery, error, give_up, retry_in } = args;
    let request = ext::FailRequest {
        delivery_id: delivery.clone(),
        error: error.clone(),
        give_up: *give_up,
        retry_delay_ms: ms(retry_in.unwrap_or_default())?,
    };
    let failed = block_on(async {
        let ask = |channel, request| async move { EffectServiceClient::new(channel).fail(request).await };
        Ok(connect(server).await?.call(request, ask).await?)
    })?;
    settled(delivery, if *give_up { "is given up" } else { "is tried again" }, failed)
}

/// What a consumer group has not ended: open, resting, dead.
pub(in crate::cli) fn unended(
    (topic, consumer_group): (&str, &str),
    server: &ServerArgs,
) -> anyhow::Result<Answer> {
    let listed = block_on(async {
        let events = connect(server).await?;
        let (mut listed, mut page) = (Vec::new(), String::new());
        loop {
            let (topic, consumer_group) = (topic.to_owned(), consumer_group.to_owned());
            let limit = LISTED_AT_ONCE;
            let state = String::new();
            let request = ext::ListEffectsRequest { topic, consumer_group, state, limit, page };
            let ask = |channel, request| async move {
                EffectServiceClient::new(channel)
                    .max_decoding_message_size(ANSWER_BYTES_MAX)
                    .list(request)
                    .await
            };
            let answer = events.call(request, ask).await?;
            listed.extend(answer.events);
            page = answer.next_page;
            if page.is_empty() {
                return Ok(listed);
            }
        }
    })?;
    let place = |listed: &ext::ListedEvent| {
        let event = listed.event.clone().unwrap_or_default();
        (format!("{}:{}", event.partition_id, listed.ready_seq), event.message_id)
    };
    let line = |listed: &ext::ListedEvent| {
        let ((place, id), fate) = (place(listed), listed.delivery.clone().unwrap_or_default());
        let ext::DeliveryFate { state, attempts, until_ts, why, .. } = fate;
        format!("{place} {id} {state} attempts {attempts}, {}: {why}", time(until_ts))
    };
    let row = |listed: &ext::ListedEvent| {
        let ((place, id), fate) = (place(listed), listed.delivery.clone().unwrap_or_default());
        let ext::DeliveryFate { state, attempts, until_ts, why, .. } = fate;
        json!({ "letter": place, "id": id, "state": state, "attempts": attempts, "ts": until_ts, "why": why })
    };
    let lines: Vec<String> = listed.iter().map(line).collect();
    let text = if lines.is_empty() { "none".to_owned() } else { lines.join("\n") };
    Ok(Answer { text, json: listed.iter().map(row).collect() })
}

pub(in crate::cli) fn retry(args: &RetryArgs, server: &ServerArgs) -> anyhow::Result<Answer> {
    let RetryArgs { topic, consumer_group, letters } = args;
    let request = revive(topic, consumer_group, letters)?;
    let revived = block_on(async {
        let ask = |channel, request| async move { EffectServiceClient::new(channel).retry(request).await };
        Ok(connect(server).await?.call(request, ask).await?)
    })?;
    let text = format!("{} are delivered again", revived.count);
    Ok(Answer { text, json: json!({ "retried": revived.count }) })
}

pub(in crate::cli) fn abandon(args: &AbandonArgs, server: &ServerArgs) -> anyhow::Result<Answer> {
    let AbandonArgs { topic, consumer_group, letters } = args;
    let request = revive(topic, consumer_group, letters)?;
    let revived = block_on(async {
        let ask = |channel, request| async move { EffectServiceClient::new(channel).abandon(request).await };
        Ok(connect(server).await?.call(request, ask).await?)
    })?;
    let text = format!("{} are forgotten", revived.count);
    Ok(Answer { text, json: json!({ "abandoned": revived.count }) })
}

fn revive(topic: &str, consumer_group: &str, letters: &[String]) -> anyhow::Result<ext::ReviveRequest> {
    let letters = letters.iter().map(|letter| letter_name(letter)).collect::<anyhow::Result<_>>()?;
    Ok(ext::ReviveRequest { topic: topic.to_owned(), consumer_group: consumer_group.to_owned(), letters })
}

fn settled(delivery: &str, how: &str, answer: ext::SettleResponse) -> anyhow::Result<Answer> {
    let ext::SettleResponse { success, error } = answer;
    anyhow::ensure!(success, "delivery {delivery}: {error}");
    Ok(Answer { text: format!("{delivery} {how}"), json: json!({ "delivery": delivery, "success": true }) })
}

/// A payload for a person: text as it is, anything else in hex.
fn text(payload: &[u8]) -> String {
    match std::str::from_utf8(payload) {
        Ok(text) => text.to_owned(),
        Err(_) => payload.iter().map(|byte| format!("{byte:02x}")).collect(),
    }
}

fn ms(span: Duration) -> anyhow::Result<u32> {
    u32::try_from(span_millis(span)?).context("a span has 49 days at most")
}

/// Of one page.
const LISTED_AT_ONCE: u32 = 1000;

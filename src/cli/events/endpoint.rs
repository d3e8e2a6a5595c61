//! `chronon endpoint`.

use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use comfy_table::Table;
use serde_json::{Value, json};

use super::{ServerArgs, block_on, connect, span_millis};
use crate::cli::Answer;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::effect_service_client::EffectServiceClient;
use crate::gateway::proto::ext::endpoint_breaker::State;

/// Have the events of a topic posted to a URL, or published to another topic.
#[derive(Args, Debug)]
pub(in crate::cli) struct EndpointArgs {
    #[command(subcommand)]
    verb: EndpointVerb,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum EndpointVerb {
    /// Make an endpoint, or change the target, concurrency, rate, breaker and secrets of one.
    Set {
        topic: String,
        name: String,
        /// A URL, which the key `webhooks` of the nodes must allow, or `topic:NAME`.
        target: String,
        /// Events of a partition that are posted at once [default: 8].
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        concurrency: u32,
        /// A post that has no answer for this span has failed [default: 10s].
        #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
        timeout: Option<Duration>,
        /// Post events of one ordering key one after the other.
        #[arg(long)]
        ordered: bool,
        /// An event is posted so often, then it is a dead letter [default: 20].
        #[arg(long, default_value_t = 0, hide_default_value = true)]
        attempts: u32,
        /// It rests for this span after a failure, twice as long after each further one [default: 1s].
        #[arg(long, value_name = "SPAN", value_parser = humantime::parse_duration)]
        backoff: Option<Duration>,
        /// Events that are posted in a second, of all partitions [default: as fast as they come].
        #[arg(long, value_name = "PER_SECOND", default_value_t = 0, hide_default_value = true)]
        rate: u32,
        /// Leave the target alone for a while after so many failures in a row; 0 is never.
        #[arg(long, value_name = "FAILURES", default_value_t = 5)]
        breaker: u32,
        /// Sign what is posted with this, the newest first: `whsec_` and base64 of 24 to 64 bytes; may be repeated.
        #[arg(
            long = "secret",
            value_name = "SECRET",
            env = "CHRONON_SECRETS",
            hide_env_values = true,
            value_delimiter = ','
        )]
        secrets: Vec<String>,
    },
    /// Post there no more. What was not posted stays with the consumer group `endpoint:NAME`.
    Remove { topic: String, name: String },
    /// The endpoints of a topic, or of all.
    List { topic: Option<String> },
}

pub(in crate::cli) fn endpoint(args: &EndpointArgs) -> anyhow::Result<Answer> {
    block_on(async {
        let events = connect(&args.server).await?;
        match &args.verb {
            EndpointVerb::Set {
                topic,
                name,
                target,
                concurrency,
                timeout,
                ordered,
                attempts,
                backoff,
                rate,
                breaker,
                secrets,
            } => {
                let endpoint = ext::Endpoint {
                    topic: topic.clone(),
                    name: name.clone(),
                    target: target.clone(),
                    concurrency: *concurrency,
                    timeout_ms: ms(*timeout)?,
                    ordered: *ordered,
                    attempts_max: *attempts,
                    backoff_ms: ms(*backoff)?,
                    backoff_max_ms: 0,
                    rate_per_s: *rate,
                    breaker_failures: Some(*breaker),
                    breaker: None,
                };
                let request = ext::SetEndpointRequest { endpoint: Some(endpoint), secrets: secrets.clone() };
                let set = events
                    .call(request, |channel, request| async move {
                        EffectServiceClient::new(channel).set_endpoint(request).await
                    })
                    .await?;
                Ok(Answer {
                    text: format!("events of {topic} are posted to {} as endpoint {name}", set.target),
                    json: row(&set),
                })
            }
            EndpointVerb::Remove { topic, name } => {
                let request = ext::RemoveEndpointRequest { topic: topic.clone(), name: name.clone() };
                events
                    .call(request, |channel, request| async move {
                        EffectServiceClient::new(channel).remove_endpoint(request).await
                    })
                    .await?;
                let text = format!("events of {topic} are posted to endpoint {name} no more");
                Ok(Answer { text, json: json!({ "topic": topic, "name": name }) })
            }
            EndpointVerb::List { topic } => {
                let request = ext::ListEndpointsRequest { topic: topic.clone().unwrap_or_default() };
                let endpoints = events
                    .call(request, |channel, request| async move {
                        EffectServiceClient::new(channel).list_endpoints(request).await
                    })
                    .await?
                    .endpoints;
                let mut table = Table::new();
                table.set_header([
                    "topic", "endpoint", "target", "at once", "a second", "attempts", "breaker",
                ]);
                for endpoint in &endpoints {
                    let (concurrency, attempts) =
                        (endpoint.concurrency.to_string(), endpoint.attempts_max.to_string());
                    let rate = match endpoint.rate_per_s {
                        0 => "-".to_owned(),
                        rate => rate.to_string(),
                    };
                    let ext::Endpoint { topic, name, target, .. } = endpoint;
                    let breaker = breaker(endpoint);
                    table.add_row([topic, name, target, &concurrency, &rate, &attempts, &breaker]);
                }
                let json = endpoints.iter().map(row).collect();
                Ok(Answer { text: table.to_string(), json })
            }
        }
    })
}

fn row(endpoint: &ext::Endpoint) -> Value {
    json!({
        "topic": endpoint.topic, "name": endpoint.name, "target": endpoint.target,
        "concurrency": endpoint.concurrency, "timeout_ms": endpoint.timeout_ms, "ordered": endpoint.ordered,
        "attempts_max": endpoint.attempts_max, "backoff_ms": endpoint.backoff_ms,
        "rate_per_s": endpoint.rate_per_s, "breaker_failures": endpoint.breaker_failures,
        "breaker": endpoint.breaker.as_ref().map(|breaker| json!({
            "state": breaker.state().as_str_name().to_lowercase(), "node": breaker.node,
            "failures": breaker.failures, "open_ms": breaker.open_ms,
        })),
    })
}

/// How the node says that has the most to complain of.
fn breaker(endpoint: &ext::Endpoint) -> String {
    let Some(breaker) = &endpoint.breaker else { return "-".to_owned() };
    match breaker.state() {
        State::Unknown => "unknown".to_owned(),
        State::Closed => "closed".to_owned(),
        State::HalfOpen => format!("half-open after {} failures", breaker.failures),
        State::Open => {
            let rest = Duration::from_secs(breaker.open_ms.div_ceil(1000));
            format!("open for {} after {} failures", humantime::format_duration(rest), breaker.failures)
        }
    }
}

/// Zero is what is usual.
fn ms(span: Option<Duration>) -> anyhow::Result<u32> {
    let ms = span.map(span_millis).transpose()?.unwrap_or_default();
    u32::try_from(ms).context("a span of an endpoint has 49 days at most")
}

//! The verbs of the event database: clients of the gRPC interface.

mod consumers;
mod dlq;
pub(super) mod effect;
mod endpoint;
mod event;
mod publish;
mod recurring;
mod replay;
mod schedule;
mod subscribe;
mod topic;

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;

use crate::client::events::Events;

pub(super) use consumers::{ConsumersArgs, consumers};
pub(super) use dlq::{DlqArgs, dlq};
pub(super) use endpoint::{EndpointArgs, endpoint};
pub(super) use event::{EventArgs, event};
pub(super) use publish::{PublishArgs, publish};
pub(super) use replay::{ReplayArgs, replay};
pub(super) use schedule::{ScheduleArgs, schedule};
pub(super) use subscribe::{SubscribeArgs, subscribe};
pub(super) use topic::{TopicArgs, topic};

/// Whom to ask.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// Where nodes serve gRPC, separated by commas: the next one is asked when one does not answer.
    #[arg(
        long,
        global = true,
        env = "CHRONON_SERVER",
        value_delimiter = ',',
        default_value = "http://127.0.0.1:9000"
    )]
    server: Vec<String>,
    /// How long to wait for an answer, as in 10s.
    #[arg(long, global = true, env = "CHRONON_WAIT", default_value = "10s", value_parser = humantime::parse_duration)]
    wait: Duration,
}

/// Runs what talks to a server.
fn block_on<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(work)
}

async fn connect(args: &ServerArgs) -> anyhow::Result<Events> {
    Ok(Events::connect(args.server.iter().cloned(), args.wait).await?)
}

fn time(ms: i64) -> String {
    let since = Duration::from_millis(u64::try_from(ms).unwrap_or_default());
    match SystemTime::UNIX_EPOCH.checked_add(since) {
        Some(at) if ms < YEAR_10_000_MS => humantime::format_rfc3339_millis(at).to_string(),
        _ => format!("{ms} ms"),
    }
}

/// A time in milliseconds since the Unix epoch.
fn millis_of(at: SystemTime) -> anyhow::Result<i64> {
    span_millis(at.duration_since(SystemTime::UNIX_EPOCH).context("a time is after 1970")?)
}

fn span_millis(span: Duration) -> anyhow::Result<i64> {
    i64::try_from(span.as_millis()).context("that is further away than an event can be")
}

/// Beyond it a time has no form.
const YEAR_10_000_MS: i64 = 253_402_300_800_000;
/// Of an answer that lists events.
const ANSWER_BYTES_MAX: usize = 64 << 20;

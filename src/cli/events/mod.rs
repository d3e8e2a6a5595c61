//! The verbs of the event database: clients of the gRPC interface.

mod dlq;
mod endpoint;
mod event;
mod publish;
mod replay;
mod schedule;
mod subscribe;
mod topic;

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use clap::Args;
use tonic::transport::{Channel, Endpoint};

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
    /// Where a node serves gRPC.
    #[arg(long, global = true, env = "CHRONON_SERVER", default_value = "http://127.0.0.1:9000")]
    server: String,
    /// How long to wait for an answer, as in 10s.
    #[arg(long, global = true, env = "CHRONON_WAIT", default_value = "10s", value_parser = humantime::parse_duration)]
    wait: Duration,
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

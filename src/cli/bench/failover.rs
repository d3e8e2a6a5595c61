//! Failover: the primary is killed, again and again, and a client writes all the time.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chronon_core::codec;
use chronon_core::register::RegisterCommand;
use chronon_core::types::Blob;
use clap::Args;
use hdrhistogram::Histogram;
use serde_json::json;

use super::load::REGISTERS;
use super::{Answer, Folder, LocalCluster, READY_WAIT};
use crate::client::{ClientConfig, SessionPool};
use crate::server::status::StatusReport;

/// Three processes on this machine: from the death of the primary to the next acknowledged write.
#[derive(Args, Debug)]
pub(in crate::cli) struct FailoverArgs {
    /// How often the primary is killed.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    kills: u32,
    /// A folder on the disk to be used; a new one in it is used, and removed afterwards.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

pub(super) fn run(args: &FailoverArgs) -> anyhow::Result<Answer> {
    let folder = Folder::create(&args.dir)?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut cluster = LocalCluster::format(&program, &folder.0, 3)?;
    cluster.start_all()?;
    let mut histogram = Histogram::<u64>::new(3)?;
    for kill in 1..=args.kills {
        let reports = cluster.wait_ready(READY_WAIT)?;
        let primary = reports.iter().position(leads).context("every node is ready, and none leads")?;
        let silence = silence_after_killing(&mut cluster, primary)?;
        histogram.record(u64::try_from(silence.as_micros())?)?;
        cluster.start(primary)?;
        if kill % REPORT_EVERY == 0 {
            eprintln!("{kill} of {} kills ...", args.kills);
        }
    }
    let ms = |quantile| histogram.value_at_quantile(quantile) as f64 / 1000.0;
    let (p50, p95, max) = (ms(0.5), ms(0.95), ms(1.0));
    Ok(Answer {
        text: format!(
            "{} primaries of three killed; until the next acknowledged write: p50 {p50:.0} ms, p95 {p95:.0} ms, max {max:.0} ms",
            args.kills
        ),
        json: json!({ "kills": args.kills, "p50_ms": p50, "p95_ms": p95, "max_ms": max }),
    })
}

fn leads(report: &StatusReport) -> bool {
    report.groups.iter().any(|group| group.group == REGISTERS.get() && group.role == "primary")
}

/// From the kill to the answer to a write that is asked right after it. The client goes to another node when it is not answered soon.
fn silence_after_killing(cluster: &mut LocalCluster, primary: usize) -> anyhow::Result<Duration> {
    let config = ClientConfig { attempt_timeout: ATTEMPT, ..ClientConfig::new(cluster.addresses()) };
    let mut pool = SessionPool::new(config, REGISTERS, 1)?;
    let write = Blob::from(codec::encode(&RegisterCommand::Write {
        key: Blob::from(b"failover".to_vec()),
        value: Blob::from(vec![7; 256]),
    }));
    ask(&mut pool, &write).context("the cluster is ready, and does not answer")?;
    cluster.kill(primary);
    let killed = Instant::now();
    ask(&mut pool, &write).context("the others did not go on")?;
    Ok(killed.elapsed())
}

fn ask(pool: &mut SessionPool, write: &Blob) -> anyhow::Result<()> {
    pool.submit(0, write.clone())?;
    let mut completions = Vec::new();
    while completions.is_empty() {
        pool.poll(Duration::from_millis(1), &mut completions);
    }
    completions.into_iter().try_for_each(|completion| completion.result.map(|_| ()))?;
    Ok(())
}

/// How long a client waits for one node: less than a failover takes.
const ATTEMPT: Duration = Duration::from_millis(50);
const REPORT_EVERY: u32 = 20;

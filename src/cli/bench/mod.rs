//! `chronon bench`: what this machine and this build give, beside what the disk alone gives in the same run.

mod closed_loop;
mod failover;
mod flush_rate;
mod journal;
mod load;
mod member;
mod paced;
mod publish;
mod reads;
mod snapshot;
mod timers;
mod yardstick;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;

use super::Answer;
use super::local_cluster::LocalCluster;
use closed_loop::Figure;
use flush_rate::FlushRate;

#[derive(Debug, Subcommand)]
pub(super) enum BenchVerb {
    /// Three processes on this machine: writes a second that a quorum has on disk before each reply, and reads a second that
    /// show all of them.
    Cluster(ClusterArgs),
    /// The journal of one node: appends a second, bytes a second, processor time and recovery, each beside the raw limit.
    Journal(journal::JournalArgs),
    /// From the death of a primary to the next acknowledged write.
    Failover(failover::FailoverArgs),
    /// Three processes on this machine: events a second that a quorum has on disk before each answer, and deliveries a second.
    Publish(publish::PublishArgs),
    /// How long a command waits while a snapshot of a large state is written.
    Snapshot(snapshot::SnapshotArgs),
    /// Events that are due later: what many of them cost a replica, and how late three processes on this machine are with them.
    Timers(timers::TimersArgs),
}

/// Three processes on this machine: writes a second that a quorum has on disk before each reply.
#[derive(Args, Debug)]
pub(super) struct ClusterArgs {
    /// Seconds to measure each window.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Writes in flight, then reads; a line each.
    #[arg(long, value_delimiter = ',', default_value = "1,16,64,256", value_parser = clap::value_parser!(u32).range(1..=4096))]
    windows: Vec<u32>,
    /// Connections that share a window of writes.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=6))]
    connections: u32,
    /// A folder on the disk to be measured; a new one in it is used, and removed afterwards.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// A program to compare with, run three times a window as `PATH b PORT FILE`, `PATH p PORT FILE` and
    /// `PATH c PORT WINDOW SECONDS`; the last prints a line such as `w=16 40000/s p50 0.40 ms p99 0.80 ms`.
    #[arg(long)]
    yardstick: Option<PathBuf>,
}

/// One line of the table.
struct Row {
    window: u32,
    chronon: Figure,
    reads: Figure,
    yardstick: Option<Figure>,
}

pub(super) fn run(verb: &BenchVerb) -> anyhow::Result<Answer> {
    match verb {
        BenchVerb::Cluster(args) => cluster(args),
        BenchVerb::Journal(args) => journal::run(args),
        BenchVerb::Failover(args) => failover::run(args),
        BenchVerb::Publish(args) => publish::run(args),
        BenchVerb::Snapshot(args) => snapshot::run(args),
        BenchVerb::Timers(args) => timers::run(args),
    }
}

fn cluster(args: &ClusterArgs) -> anyhow::Result<Answer> {
    let folder = Folder::create(&args.dir)?;
    let before = FlushRate::measure(&folder.0)?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut cluster = LocalCluster::format(&program, &folder.0, 3)?;
    cluster.start_all()?;
    cluster.wait_ready(READY_WAIT)?;
    let mut rows = Vec::new();
    for window in &args.windows {
        eprintln!("{window} in flight ...");
        let yardstick = match &args.yardstick {
            Some(path) => Some(yardstick::measure(path, &folder.0, *window, args.seconds)?),
            None => None,
        };
        let (connections, span) = (args.connections.min(*window), Duration::from_secs(args.seconds));
        let chronon = load::measure(cluster.addresses(), *window, connections, span)
            .with_context(|| format!("{window} in flight; the nodes' logs were in {}", folder.0.display()))?;
        let reads = reads::measure(&cluster.addresses(), *window, span)?;
        rows.push(Row { window: *window, chronon, reads, yardstick });
    }
    drop(cluster);
    let after = FlushRate::measure(&folder.0)?;
    Ok(Answer { text: text(&rows, before, after), json: as_json(&rows, before, after) })
}

fn text(rows: &[Row], before: FlushRate, after: FlushRate) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header([
        "in flight",
        "writes/s",
        "p50 ms",
        "p99 ms",
        "max ms",
        "reads/s",
        "p99 ms",
        "yardstick/s",
        "p99 ms",
        "ratio",
    ]);
    for Row { window, chronon, reads, yardstick } in rows {
        let ms = |ms: f64| format!("{ms:.2}");
        let mut cells = vec![
            window.to_string(),
            format!("{:.0}", chronon.per_second),
            ms(chronon.p50_ms),
            ms(chronon.p99_ms),
            ms(chronon.max_ms),
            format!("{:.0}", reads.per_second),
            ms(reads.p99_ms),
        ];
        if let Some(yardstick) = yardstick {
            cells.push(format!("{:.0}", yardstick.per_second));
            cells.push(ms(yardstick.p99_ms));
            cells.push(format!("{:.2}", chronon.per_second / yardstick.per_second));
        }
        table.add_row(cells);
    }
    let spoiled = if before.is_spoiled() || after.is_spoiled() {
        "\nThe disk is busy or slow (p50 above 0.3 ms): this run is spoiled."
    } else {
        ""
    };
    format!(
        "Three processes, 256-byte writes, on the disks of a quorum before each reply; linearizable reads of all nodes alike.\n{table}\n\
         4 KiB write and fdatasync alone: before {before}; after {after}{spoiled}"
    )
}

fn as_json(rows: &[Row], before: FlushRate, after: FlushRate) -> serde_json::Value {
    let rows = rows.iter().map(|row| {
        let ratio = row.yardstick.map(|yardstick| row.chronon.per_second / yardstick.per_second);
        json!({ "window": row.window, "chronon": row.chronon, "reads": row.reads, "yardstick": row.yardstick, "ratio": ratio })
    });
    let rows: Vec<serde_json::Value> = rows.collect();
    json!({ "rows": rows, "flush_before": before, "flush_after": after,
            "spoiled": before.is_spoiled() || after.is_spoiled() })
}

/// A new folder, removed when it is dropped.
struct Folder(PathBuf);

impl Folder {
    fn create(parent: &Path) -> anyhow::Result<Self> {
        let path = parent.join(format!("chronon-bench-{}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        let path = path.canonicalize().with_context(|| format!("cannot find {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // Best effort: what is left lies where its name tells what it is.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// How long three nodes may take to be ready.
const READY_WAIT: Duration = Duration::from_secs(30);

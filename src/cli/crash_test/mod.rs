//! `chronon crash-test`: a node that is really killed in the middle of writes, again and again, and what it recovers held
//! against what it had acknowledged.
//!
//! ```text
//! clean    DIR becomes the directory of a test: one node, formatted
//! write    the node runs, sessions write, the node is killed; what was asked and acknowledged is noted
//! recover  the node runs again: is all there that was acknowledged, and nothing that was never asked?
//! test     clean, then rounds of write and recover, with damage done in between if it is asked for
//! ```

mod damage;
mod draw;
mod kill;
mod notes;
mod work;

use std::fmt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;

use super::Answer;
use super::local_cluster::LocalCluster;
use super::loop_disk::LoopDisk;
use crate::server::backend::Backend;
use damage::Damage;
use draw::Draw;
use kill::{Kill, Moment};
use notes::Notes;
use work::Found;

/// Kill a node in the middle of writes, and see what it recovers.
#[derive(Debug, Subcommand)]
pub(super) enum CrashTestVerb {
    /// Make a directory for the test: one node, formatted; what a test left there before is removed.
    Clean(PlaceArgs),
    /// Run the node, write, and kill it.
    Write(RunArgs),
    /// Run the node again, and hold what it recovered against what it had acknowledged.
    Recover(RunArgs),
    /// All of that, many times over.
    Test(TestArgs),
}

#[derive(Args, Debug)]
pub(super) struct PlaceArgs {
    /// The test's directory, on the disk to be tested.
    dir: PathBuf,
}

#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The test's directory, as `crash-test clean` made it.
    dir: PathBuf,
    /// What drives the disk: io_uring or sync.
    #[arg(long, default_value_t)]
    disk: Backend,
    /// Draws when the node is killed, and what is damaged.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args, Debug)]
pub(super) struct TestArgs {
    /// A directory on the disk to be tested; a new one in it is used, and removed when all held.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// What drives the disk, one test each: io_uring, sync.
    #[arg(long, value_delimiter = ',', default_value = "io_uring,sync")]
    disk: Vec<Backend>,
    /// Times that the node is killed, on each.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rounds: u64,
    /// Draws when the node is killed, and what is damaged.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What is done to the node's files before each recovery. What was acknowledged must then be there, or the node must
    /// say what is lost.
    #[arg(long, value_enum)]
    fault: Option<Damage>,
    /// Where the node keeps its data, such as the top of a filesystem of its own; it must be empty. By default within the
    /// test's directory.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Cut the power of the node's disk right before the node is killed: what nobody synced is gone. The disk is an XFS
    /// filesystem in a file in DIR, which takes root and xfsprogs. One cut in four comes while the node starts.
    #[arg(long, conflicts_with_all = ["data_dir", "before_kill", "after_kill"])]
    power_cut: bool,
    /// A shell command that is run right before the node is killed, such as one that cuts the power of its disk.
    #[arg(long, value_name = "COMMAND", requires = "data_dir")]
    before_kill: Option<String>,
    /// A shell command that is run after the node was killed, such as one that mounts its disk again.
    #[arg(long, value_name = "COMMAND", requires = "data_dir")]
    after_kill: Option<String>,
}

pub(super) fn run(verb: &CrashTestVerb) -> anyhow::Result<Answer> {
    match verb {
        CrashTestVerb::Clean(args) => {
            clean(&args.dir, None)?;
            let text = format!("{}: one node, formatted; nothing is written yet", args.dir.display());
            Ok(Answer { text, json: json!({ "dir": args.dir }) })
        }
        CrashTestVerb::Write(args) => {
            let mut notes = Notes::read(&args.dir)?;
            let mut draw = Draw::new(args.seed, notes.round());
            let written = write(&args.dir, args.disk, &mut draw, &Kill::PLAIN, &mut notes)?;
            let text = format!("{written} writes acknowledged before the node was killed");
            Ok(Answer { text, json: json!({ "acknowledged": written }) })
        }
        CrashTestVerb::Recover(args) => {
            let mut notes = Notes::read(&args.dir)?;
            let tally = match recover(&args.dir, args.disk, &mut notes)? {
                Recovered::All(tally) => tally,
                Recovered::Told(what) => anyhow::bail!("the node says that it has lost something: {what}"),
            };
            let text = format!("all that was acknowledged is there; of what was not, {tally}");
            Ok(Answer { text, json: json!({ "survived": tally.survived, "gone": tally.gone }) })
        }
        CrashTestVerb::Test(args) => test(args),
    }
}

/// What became of writes that were asked for and not acknowledged: both is right.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    survived: u64,
    gone: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} had happened and {} had not", self.survived, self.gone)
    }
}

enum Recovered {
    /// Everything that was acknowledged.
    All(Tally),
    /// Not everything, and the node said so.
    Told(String),
}

fn test(args: &TestArgs) -> anyhow::Result<Answer> {
    let mut lines = Vec::new();
    let mut results = Vec::new();
    for backend in &args.disk {
        let summary =
            if args.power_cut { on_loop_disk(args, *backend)? } else { on_disk_of_dir(args, *backend)? };
        lines.push(summary.to_string());
        results.push(summary.as_json());
    }
    Ok(Answer { text: lines.join("\n"), json: json!({ "seed": args.seed, "disks": results }) })
}

/// Kills the node of a new directory, and removes that when all held.
fn on_disk_of_dir(args: &TestArgs, backend: Backend) -> anyhow::Result<Summary> {
    let data = args.data_dir.as_deref();
    let kill = Kill::Shell { before: args.before_kill.as_deref(), after: args.after_kill.as_deref() };
    let summary = in_new_dir(args, backend, data, &kill)?;
    if let Some(data) = data {
        empty(data).with_context(|| format!("cannot empty {}", data.display()))?;
    }
    Ok(summary)
}

/// The same with its data on a disk of its own, whose power is cut.
fn on_loop_disk(args: &TestArgs, backend: Backend) -> anyhow::Result<Summary> {
    let folder = args.dir.join(format!("chronon-crash-test-{}-{backend}-disk", std::process::id()));
    let disk = LoopDisk::make(&folder)?;
    let summary = in_new_dir(args, backend, Some(disk.top()), &Kill::PowerCut(&disk))
        .with_context(|| format!("on the filesystem in {}", disk.image().display()))?;
    drop(disk);
    std::fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    Ok(summary)
}

fn in_new_dir(
    args: &TestArgs,
    backend: Backend,
    data: Option<&Path>,
    kill: &Kill<'_>,
) -> anyhow::Result<Summary> {
    let dir = args.dir.join(format!("chronon-crash-test-{}-{backend}", std::process::id()));
    let summary = rounds(args, backend, &dir, data, kill).with_context(|| {
        format!("{backend}, seed {}; what the node left is in {}", args.seed, dir.display())
    })?;
    std::fs::remove_dir_all(&dir).with_context(|| format!("cannot remove {}", dir.display()))?;
    Ok(summary)
}

/// What the rounds on one disk came to.
struct Summary {
    backend: Backend,
    by_power_cut: bool,
    rounds: u64,
    acknowledged: u64,
    unacknowledged: Tally,
    damaged: u64,
    told: u64,
    took: Duration,
}

fn rounds(
    args: &TestArgs,
    backend: Backend,
    dir: &Path,
    data: Option<&Path>,
    kill: &Kill<'_>,
) -> anyhow::Result<Summary> {
    let began = Instant::now();
    let mut summary = Summary {
        backend,
        by_power_cut: args.power_cut,
        rounds: args.rounds,
        acknowledged: 0,
        unacknowledged: Tally::default(),
        damaged: 0,
        told: 0,
        took: Duration::ZERO,
    };
    clean(dir, data)?;
    let mut notes = Notes::read(dir)?;
    for round in 1..=args.rounds {
        let place = || format!("round {round}");
        let mut draw = Draw::new(args.seed, round);
        summary.acknowledged += write(dir, backend, &mut draw, kill, &mut notes).with_context(place)?;
        let damage = match args.fault {
            Some(damage) => {
                damage.apply(&data_dir(dir), notes.acknowledged_op(), &mut draw).with_context(place)?
            }
            None => None,
        };
        summary.damaged += u64::from(damage.is_some());
        let place = || match &damage {
            Some(what) => format!("round {round}, after damage to {what}"),
            None => place(),
        };
        match recover(dir, backend, &mut notes).with_context(place)? {
            Recovered::All(tally) => {
                summary.unacknowledged.survived += tally.survived;
                summary.unacknowledged.gone += tally.gone;
            }
            Recovered::Told(what) => {
                // It had reason to, or it is a loss all the same.
                let reason = damage.is_some() && args.fault != Some(Damage::TornBatch);
                anyhow::ensure!(
                    reason,
                    "{}: nothing durable was damaged, and the node says: {what}",
                    place()
                );
                summary.told += 1;
                clean(dir, data)?;
                notes = Notes::read(dir)?;
            }
        }
        if round % 10 == 0 {
            eprintln!(
                "{backend}: {round} of {} rounds, {} writes acknowledged",
                args.rounds, summary.acknowledged
            );
        }
    }
    summary.took = began.elapsed();
    Ok(summary)
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { backend, by_power_cut, rounds, acknowledged, unacknowledged, damaged, told, took } = self;
        let killed = if *by_power_cut { "power cut" } else { "killed" };
        write!(
            f,
            "{backend}: {killed} {rounds} times in {:.0} s; {acknowledged} writes acknowledged, none lost, nothing invented; \
             of those in flight, {unacknowledged}",
            took.as_secs_f64()
        )?;
        if *damaged > 0 {
            write!(
                f,
                "; files damaged {damaged} times, of which the node told {told} and made up for the rest"
            )?;
        }
        Ok(())
    }
}

impl Summary {
    fn as_json(&self) -> serde_json::Value {
        json!({
            "disk": self.backend.to_string(), "power_cut": self.by_power_cut, "rounds": self.rounds,
            "acknowledged": self.acknowledged,
            "survived": self.unacknowledged.survived, "gone": self.unacknowledged.gone,
            "damaged": self.damaged, "told": self.told, "seconds": self.took.as_secs_f64(),
        })
    }
}

/// Makes `dir` the directory of a test. It is new, empty, or one that a test left. The node's data are in `data`, if it is
/// given: what a test left there is removed, anything else refused.
fn clean(dir: &Path, data: Option<&Path>) -> anyhow::Result<()> {
    let was_test = Notes::remove_test(dir)?;
    std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    if let Some(data) = data {
        let data = data.canonicalize().with_context(|| format!("cannot find {}", data.display()))?;
        if was_test {
            empty(&data).with_context(|| format!("cannot empty {}", data.display()))?;
        }
        std::os::unix::fs::symlink(&data, data_dir(dir)).context("cannot link to the data directory")?;
    }
    LocalCluster::format(&program()?, dir, 1)?;
    Notes::new().save(dir)
}

/// Removes what is in a data directory, and leaves the directory: it may be the top of a filesystem.
fn empty(data: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_dir() { std::fs::remove_dir_all(path)? } else { std::fs::remove_file(path)? }
    }
    Ok(())
}

/// Runs the node, and writes until it is killed; how many writes it acknowledged.
fn write(
    dir: &Path,
    backend: Backend,
    draw: &mut Draw,
    kill: &Kill<'_>,
    notes: &mut Notes,
) -> anyhow::Result<u64> {
    let mut cluster = start(dir, backend)?;
    notes.begin_round();
    let written = match kill.moment(draw) {
        Moment::InItsStart(patience) => {
            thread::sleep(patience);
            kill.before().map(|()| 0)
        }
        Moment::AmongWrites(patience) => {
            cluster.wait_ready(READY_WAIT)?;
            work::write(&mut cluster, patience, kill, notes)
        }
    };
    drop(cluster);
    kill.after()?;
    notes.save(dir)?;
    written
}

/// Runs the node, and holds what it has against the notes.
fn recover(dir: &Path, backend: Backend, notes: &mut Notes) -> anyhow::Result<Recovered> {
    let mut cluster = start(dir, backend)?;
    match work::read(&mut cluster, READY_WAIT)? {
        Found::Values(values) => {
            let tally = notes.judge(&values)?;
            notes.save(dir)?;
            Ok(Recovered::All(tally))
        }
        Found::Told(what) => Ok(Recovered::Told(what)),
    }
}

fn start(dir: &Path, backend: Backend) -> anyhow::Result<LocalCluster> {
    let mut cluster = LocalCluster::at(&program()?, dir, 1)?.on(backend);
    cluster.start(0)?;
    Ok(cluster)
}

fn data_dir(dir: &Path) -> PathBuf {
    dir.join("node-1")
}

fn program() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find this program")
}

/// How long a node may take to be ready.
const READY_WAIT: Duration = Duration::from_secs(20);

//! What the test asks a node: writes in the middle of which it is killed, and reads of what is there afterwards.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use chronon_core::codec;
use chronon_core::register::{RegisterAnswer, RegisterCommand};
use chronon_core::types::{Blob, GroupId};

use super::kill::Kill;
use super::notes::{KEYS, Notes, value};
use crate::cli::local_cluster::LocalCluster;
use crate::client::{self, ClientConfig, Completion, SessionPool};

/// What a node has after it was killed.
pub(super) enum Found {
    /// The value of each key.
    Values(Vec<Option<Vec<u8>>>),
    /// It says that it lost something, and what.
    Told(String),
}

/// Writes, and kills the node in the middle of it, `patience` after the first answer; how many writes were acknowledged.
pub(super) fn write(
    cluster: &mut LocalCluster,
    patience: Duration,
    kill: &Kill<'_>,
    notes: &mut Notes,
) -> anyhow::Result<u64> {
    let mut writers = Writers::start(cluster, notes)?;
    let counts = AtomicBool::new(true);
    // Sessions are open once there is an answer.
    while writers.acknowledged == 0 {
        writers.go_on(&counts)?;
    }
    thread::scope(|scope| {
        // Somebody else kills it: between two rounds of the writers nothing is on its way.
        let killer = scope.spawn(|| {
            thread::sleep(patience);
            counts.store(kill.leaves_answers_true(), Ordering::SeqCst);
            kill.before()?;
            cluster.kill(0);
            anyhow::Ok(())
        });
        while !killer.is_finished() {
            writers.go_on(&counts)?;
        }
        killer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    // Answers that were under way count, for they were given.
    writers.go_on(&counts)?;
    Ok(writers.acknowledged)
}

/// Sessions, each of which writes to a key of its own, one write after the other.
struct Writers<'a> {
    pool: SessionPool,
    notes: &'a mut Notes,
    acknowledged: u64,
    completions: Vec<Completion>,
}

impl<'a> Writers<'a> {
    fn start(cluster: &LocalCluster, notes: &'a mut Notes) -> anyhow::Result<Self> {
        let mut pool = pool(cluster, Duration::from_secs(30))?;
        for key in 0..KEYS {
            pool.submit(key, write_of(key, notes.ask(key)))?;
        }
        Ok(Self { pool, notes, acknowledged: 0, completions: Vec::new() })
    }

    /// Notes what is acknowledged, if that counts when it is heard, and writes on.
    fn go_on(&mut self, counts: &AtomicBool) -> anyhow::Result<()> {
        self.pool.poll(Duration::from_millis(1), &mut self.completions);
        for Completion { session: key, result, .. } in self.completions.drain(..) {
            let (op, _) = result.context("a write failed")?;
            if counts.load(Ordering::SeqCst) {
                self.notes.acknowledge(key, op);
                self.acknowledged += 1;
            }
            self.pool.submit(key, write_of(key, self.notes.ask(key)))?;
        }
        Ok(())
    }
}

/// Reads every key.
pub(super) fn read(cluster: &mut LocalCluster, patience: Duration) -> anyhow::Result<Found> {
    let mut pool = pool(cluster, patience)?;
    for key in 0..KEYS {
        pool.submit(key, Blob::from(codec::encode(&RegisterCommand::Read { key: name(key) })))?;
    }
    let mut values = vec![None; KEYS];
    let (mut left, mut completions) = (KEYS, Vec::new());
    while left > 0 {
        pool.poll(Duration::from_millis(50), &mut completions);
        if let Some(told) = told(cluster)? {
            return Ok(Found::Told(told));
        }
        for Completion { session, result, .. } in completions.drain(..) {
            let (_, answer) = result.context("a read failed")?;
            match codec::decode(answer.as_slice())? {
                RegisterAnswer::Value(value) => {
                    values[session] = value.map(|value| value.as_slice().to_vec())
                }
                other => anyhow::bail!("a read was answered by {other:?}"),
            }
            left -= 1;
        }
    }
    Ok(Found::Values(values))
}

/// What the node says is lost: with its last words, or in its status.
fn told(cluster: &mut LocalCluster) -> anyhow::Result<Option<String>> {
    if cluster.ended(0).is_some() {
        let log = cluster.log(0);
        let text = std::fs::read_to_string(&log).with_context(|| format!("cannot read {}", log.display()))?;
        let last = text.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        // Any other end is none of its own choice.
        anyhow::ensure!(last.contains("the data directory cannot be used"), "the node ended with: {last}");
        return Ok(Some(last.to_owned()));
    }
    let Ok(report) = client::status(cluster.addresses()[0], Duration::from_secs(1)) else { return Ok(None) };
    let missing = report.groups.iter().find_map(|group| Some((group.group, group.missing?)));
    Ok(missing.map(|(group, op)| format!("group {group} wants op {op}, which no replica has")))
}

fn pool(cluster: &LocalCluster, patience: Duration) -> anyhow::Result<SessionPool> {
    let config = ClientConfig { request_timeout: patience, ..ClientConfig::new(cluster.addresses()) };
    Ok(SessionPool::new(config, REGISTERS, KEYS)?)
}

fn write_of(key: usize, number: u64) -> Blob {
    let value = Blob::from(value(key, number));
    Blob::from(codec::encode(&RegisterCommand::Write { key: name(key), value }))
}

fn name(key: usize) -> Blob {
    Blob::from(format!("key {key}").into_bytes())
}

/// The group of registers that a local cluster has.
const REGISTERS: GroupId = GroupId::new(1);

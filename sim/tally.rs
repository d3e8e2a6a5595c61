//! What there was of everything in a run.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::sink::Verdict;

/// Counts of one run, or of many.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tally {
    /// Client operations that were acknowledged.
    pub committed: u64,
    /// Client operations that were given up.
    pub abandoned: u64,
    /// Acknowledged operations that were asked for once more, and answered.
    pub repeated: u64,
    /// Requests sent, repetitions included.
    pub requests: u64,
    /// Messages sent between nodes.
    pub messages: u64,
    /// Messages lost, clients' included.
    pub lost: u64,
    /// Messages that arrived twice, clients' included.
    pub duplicated: u64,
    /// Messages that came again long after.
    pub echoed: u64,
    /// Disk operations submitted.
    pub disk_ops: u64,
    /// Flushes that rotted.
    pub rotted: u64,
    /// Nodes that stopped over what rotted, and said what.
    pub halts: u64,
    /// Disks that were wiped or put back.
    #[serde(default)]
    pub disks_lost: u64,
    /// The longest that a data directory ever was, in bytes.
    #[serde(default)]
    pub disk_bytes_max: u64,
    /// The most commands that one entry held.
    #[serde(default)]
    pub entry_commands_max: u64,
    /// Runs beyond the fault budget.
    pub beyond_budget: u64,
    /// Those of them that ended in a stall, or with a node that had stopped.
    pub stalled: u64,
    /// Processes started.
    pub starts: u64,
    /// Processes that died.
    pub crashes: u64,
    /// Views that began, beyond the first of each group.
    pub view_changes: u64,
    /// Faults of the plan, by kind.
    pub faults: BTreeMap<Cow<'static, str>, u64>,
    /// Attempts at side effects, by what became of them.
    #[serde(default)]
    pub attempts: BTreeMap<Cow<'static, str>, u64>,
    /// What became of events, deliveries and their consumers.
    #[serde(default)]
    pub fates: BTreeMap<Cow<'static, str>, u64>,
}

impl Tally {
    /// Counts a fault.
    pub fn fault(&mut self, word: &'static str) {
        *self.faults.entry(Cow::Borrowed(word)).or_default() += 1;
    }

    /// Counts an attempt at a side effect.
    pub fn side_effect(&mut self, verdict: Verdict) {
        *self.attempts.entry(Cow::Borrowed(verdict.word())).or_default() += 1;
    }

    /// Counts what became of events.
    pub fn fate(&mut self, word: &'static str, count: u64) {
        *self.fates.entry(Cow::Borrowed(word)).or_default() += count;
    }

    /// Adds another run's counts.
    pub fn merge(&mut self, other: &Self) {
        self.committed += other.committed;
        self.abandoned += other.abandoned;
        self.repeated += other.repeated;
        self.requests += other.requests;
        self.messages += other.messages;
        self.lost += other.lost;
        self.duplicated += other.duplicated;
        self.echoed += other.echoed;
        self.disk_ops += other.disk_ops;
        self.rotted += other.rotted;
        self.halts += other.halts;
        self.disks_lost += other.disks_lost;
        self.disk_bytes_max = self.disk_bytes_max.max(other.disk_bytes_max);
        self.entry_commands_max = self.entry_commands_max.max(other.entry_commands_max);
        self.beyond_budget += other.beyond_budget;
        self.stalled += other.stalled;
        self.starts += other.starts;
        self.crashes += other.crashes;
        self.view_changes += other.view_changes;
        for (word, count) in &other.faults {
            *self.faults.entry(word.clone()).or_default() += count;
        }
        for (word, count) in &other.attempts {
            *self.attempts.entry(word.clone()).or_default() += count;
        }
        for (word, count) in &other.fates {
            *self.fates.entry(word.clone()).or_default() += count;
        }
    }
}

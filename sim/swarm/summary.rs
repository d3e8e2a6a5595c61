//! What came of many runs.

use std::collections::BTreeMap;
use std::fmt::{self, Write};

use super::record::Record;
use crate::config::OPERATIONS_MIN;
use crate::marks::MarkTally;
use crate::oracle::Counts;
use crate::run::{CauseKey, NOTHING_COMPARED, gravest, gravity};
use crate::tally::Tally;

/// What came of a swarm, or of several shards of one.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Summary {
    runs: u64,
    failures: BTreeMap<CauseKey, Failures>,
    simulated_ns: Vec<u64>,
    simulated_sum_ns: u128,
    committed: Vec<u64>,
    wall_us: Vec<u64>,
    steps: Vec<u64>,
    groups: Vec<u64>,
    nodes: Vec<u64>,
    tally: Tally,
    counts: Counts,
    marks: MarkTally,
}

/// The failures of one cause.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
struct Failures {
    count: u64,
    /// The lowest seeds, each with what it failed by and what replays it: the same whatever the order of the runs.
    first: BTreeMap<u64, (String, String)>,
}

impl Summary {
    /// Adds a run. True when it failed by a cause that was not there before.
    pub fn add(&mut self, record: &Record) -> bool {
        self.runs += 1;
        self.simulated_ns.push(record.simulated_ns);
        self.simulated_sum_ns += u128::from(record.simulated_ns);
        self.committed.push(record.tally.committed);
        self.wall_us.push(record.wall_us);
        self.steps.push(record.steps);
        self.groups.push(record.groups);
        self.nodes.push(u64::from(record.nodes));
        self.tally.merge(&record.tally);
        self.counts.merge(&record.compared);
        self.marks.add(&record.marks);
        self.add_failure(record)
    }

    /// Adds what was wrong with a run that is counted already. True when its cause was not there before.
    pub(super) fn add_failure(&mut self, record: &Record) -> bool {
        let Some(key) = record.key() else { return false };
        let cause = record.cause.clone().unwrap_or_default();
        self.fail(key, record.seed, cause, record.replay.clone())
    }

    /// Adds a failure that is not of one run alone. True when its cause was not there before.
    pub(super) fn fail(&mut self, key: CauseKey, seed: u64, cause: String, replay: String) -> bool {
        let failures = self.failures.entry(key).or_default();
        failures.count += 1;
        failures.first.insert(seed, (cause, replay));
        if failures.first.len() > SEEDS_SHOWN_MAX {
            failures.first.pop_last();
        }
        failures.count == 1
    }

    /// Runs so far.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Failures so far.
    pub fn failed(&self) -> u64 {
        self.failures.values().map(|failures| failures.count).sum()
    }

    /// Simulated seconds so far.
    pub fn simulated_secs(&self) -> f64 {
        self.simulated_sum_ns as f64 / 1e9
    }

    /// The exit status: the gravest failure's. Where nothing was run, nothing was compared.
    pub fn exit_code(&self) -> u8 {
        if self.runs == 0 { NOTHING_COMPARED } else { gravest(self.failures.keys().map(|key| key.exit)) }
    }

    /// The causes, the gravest first, and of those the most frequent.
    fn causes(&self) -> Vec<(&CauseKey, &Failures)> {
        let mut causes: Vec<_> = self.failures.iter().collect();
        causes.sort_by_key(|(key, failures)| (gravity(key.exit), u64::MAX - failures.count));
        causes
    }

    /// As one JSON object.
    pub fn to_json(&self) -> serde_json::Value {
        let spread = |values: &[u64], scale: f64| {
            let [low, middle, high] = spread_of(values).map(|value| value as f64 / scale);
            serde_json::json!({ "min": low, "median": middle, "max": high })
        };
        let failures: Vec<_> =
            self.causes().into_iter().map(|(key, failures)| failures.to_json(key)).collect();
        let faults: serde_json::Map<_, _> =
            self.tally.faults.iter().map(|(word, count)| (word.to_string(), (*count).into())).collect();
        let compared: serde_json::Map<_, _> =
            self.counts.iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
        serde_json::json!({
            "type": "summary",
            "runs": self.runs,
            "failed": self.failed(),
            "exit": self.exit_code(),
            "simulated_secs": spread(&self.simulated_ns, 1e9),
            "committed": spread(&self.committed, 1.0),
            "seed_wall_secs": spread(&self.wall_us, 1e6),
            "steps": spread(&self.steps, 1.0),
            "groups": spread(&self.groups, 1.0),
            "nodes": spread(&self.nodes, 1.0),
            "view_changes": self.tally.view_changes,
            "crashes": self.tally.crashes,
            "faults": faults,
            "attempts": &self.tally.attempts,
            "fates": &self.tally.fates,
            "compared": compared,
            "marks": self.marks.to_json(),
            "failures": failures,
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: [(&str, &[u64], f64); 6] = [
            ("simulated seconds", &self.simulated_ns, 1e9),
            ("committed operations", &self.committed, 1.0),
            ("wall seconds", &self.wall_us, 1e6),
            ("steps", &self.steps, 1.0),
            ("groups", &self.groups, 1.0),
            ("nodes", &self.nodes, 1.0),
        ];
        writeln!(f, "{:<22}{:>12}{:>12}{:>12}", "a seed", "median", "min", "max")?;
        for (name, values, scale) in rows {
            let [low, middle, high] = spread_of(values).map(|value| value as f64 / scale);
            writeln!(f, "{name:<22}{middle:>12.3}{low:>12.3}{high:>12.3}")?;
        }
        let several = self.groups.iter().filter(|groups| **groups > 1).count();
        let few = self.committed.iter().filter(|committed| **committed < OPERATIONS_MIN).count();
        writeln!(
            f,
            "{several} of {} seeds run several groups; {few} commit fewer than {OPERATIONS_MIN}",
            self.runs
        )?;
        let Tally { view_changes, crashes, starts, messages, lost, duplicated, echoed, .. } = &self.tally;
        writeln!(f, "view changes {view_changes}, crashes {crashes}, starts {starts}")?;
        writeln!(
            f,
            "messages {messages}, lost {lost}, doubled {duplicated}, echoed {echoed}, disk ops {}",
            self.tally.disk_ops
        )?;
        let Tally { committed, repeated, abandoned, .. } = &self.tally;
        writeln!(f, "operations: committed {committed}, asked again {repeated}, abandoned {abandoned}")?;
        writeln!(
            f,
            "faults:{}",
            listed(self.tally.faults.iter().map(|(word, count)| (word.as_ref(), *count)))
        )?;
        writeln!(
            f,
            "attempts at side effects:{}",
            listed(self.tally.attempts.iter().map(|(word, count)| (word.as_ref(), *count)))
        )?;
        let fates = self.tally.fates.iter().map(|(word, count)| (word.as_ref(), *count));
        writeln!(f, "fates of events:{}", listed(fates))?;
        let Tally { rotted, disks_lost, beyond_budget, stalled, halts, .. } = &self.tally;
        writeln!(
            f,
            "flushes rotted {rotted}, disks lost {disks_lost}; beyond the fault budget: {beyond_budget} seeds, of which {stalled} ended with a \
             stall or a halt that says what is lost ({halts} halts)"
        )?;
        writeln!(f, "compared:{}", listed(self.counts.iter()))?;
        writeln!(f, "{}", self.marks)?;
        for (key, failures) in self.causes() {
            failures.show(key, f)?;
        }
        let verdict = match (self.runs, self.failures.is_empty()) {
            (0, _) => "nothing was run, nothing compared",
            (_, true) => "all held",
            (_, false) => "FAILED",
        };
        let causes = match self.failures.len() {
            0 => String::new(),
            1 => " of one cause".to_owned(),
            several => format!(" of {several} causes"),
        };
        write!(f, "{} seeds, {} failed{causes}: {verdict}", self.runs, self.failed())
    }
}

impl Failures {
    fn show(&self, key: &CauseKey, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let CauseKey { exit, kind, site } = key;
        let seeds: Vec<String> = self.first.keys().map(u64::to_string).collect();
        let more = if self.count > seeds.len() as u64 { ", ..." } else { "" };
        writeln!(
            f,
            "FAILED {} x {kind} at {site} (exit {exit}): seeds {}{more}",
            self.count,
            seeds.join(", ")
        )?;
        if let Some((cause, replay)) = self.first.values().next() {
            writeln!(f, "  {cause}")?;
            writeln!(f, "  replay: {replay}")?;
        }
        Ok(())
    }

    fn to_json(&self, key: &CauseKey) -> serde_json::Value {
        let CauseKey { exit, kind, site } = key;
        let (cause, replay) = self.first.values().next().cloned().unwrap_or_default();
        serde_json::json!({
            "exit": exit,
            "kind": kind,
            "site": site,
            "count": self.count,
            "first_seeds": self.first.keys().collect::<Vec<_>>(),
            "cause": cause,
            "replay": replay,
        })
    }
}

fn listed<'a>(counts: impl Iterator<Item = (&'a str, u64)>) -> String {
    counts.fold(String::new(), |mut text, (name, count)| {
        let _ = write!(text, " {name} {count}");
        text
    })
}

/// Least, middle and greatest.
fn spread_of(values: &[u64]) -> [u64; 3] {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    match (sorted.first(), sorted.last()) {
        (Some(first), Some(last)) => [*first, sorted[sorted.len() / 2], *last],
        _ => [0; 3],
    }
}

/// Seeds of a cause that are named.
const SEEDS_SHOWN_MAX: usize = 8;

#[cfg(test)]
mod tests {
    use super::spread_of;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(spread_of(&[5, 1, 9]), [1, 5, 9]);
        assert_eq!(spread_of(&[]), [0; 3]);
    }
}

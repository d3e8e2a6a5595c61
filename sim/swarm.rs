//! Many seeds, on several threads, and what came of them.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use chronon_core::kernel::ChrApplication;

use crate::config::OPERATIONS_MIN;
use crate::marks::MarkTally;
use crate::oracle::Counts;
use crate::run::{Report, Simulation, gravest};
use crate::units::Shard;
use crate::workload::Workload;
use crate::world::Tally;

/// Which seeds to run, and how.
#[derive(Clone, Copy, Debug)]
pub struct SwarmPlan {
    /// The first seed.
    pub start: u64,
    /// How many; no end when there is none.
    pub seeds: Option<u64>,
    /// For how long; no end when there is none.
    pub time: Option<Duration>,
    /// Threads.
    pub jobs: usize,
    /// Which of the seeds.
    pub shard: Option<Shard>,
    /// Run each twice and compare.
    pub check_determinism: bool,
}

impl SwarmPlan {
    /// Seeds to run, when their number is known.
    pub fn total(&self) -> Option<u64> {
        let seeds = self.seeds?;
        let Some(shard) = self.shard else { return Some(seeds) };
        Some((self.start..self.start.saturating_add(seeds)).filter(|seed| shard.takes(*seed)).count() as u64)
    }
}

/// What came of a swarm.
#[derive(Clone, Debug, Default)]
pub struct Summary {
    runs: u64,
    failures: BTreeMap<(u8, &'static str), Vec<u64>>,
    simulated_ns: Vec<u64>,
    committed: Vec<u64>,
    wall_us: Vec<u64>,
    steps: Vec<u64>,
    groups: Vec<u64>,
    nodes: Vec<u64>,
    tally: Tally,
    counts: Counts,
    marks: MarkTally,
}

impl Summary {
    /// Adds a run.
    pub fn add(&mut self, report: &Report) {
        self.runs += 1;
        if let Some(cause) = &report.cause {
            self.failures.entry((cause.exit_code(), cause.word())).or_default().push(report.seed);
        }
        self.simulated_ns.push(report.simulated.as_nanos());
        self.committed.push(report.tally.committed);
        self.wall_us.push(u64::try_from(report.wall.as_micros()).unwrap_or(u64::MAX));
        self.steps.push(report.steps);
        self.groups.push(report.groups as u64);
        self.nodes.push(u64::from(report.nodes));
        self.tally.merge(&report.tally);
        self.counts.merge(&report.counts);
        self.marks.add(&report.marks);
    }

    /// Runs so far.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// Failed runs so far.
    pub fn failed(&self) -> usize {
        self.failures.values().map(Vec::len).sum()
    }

    /// Simulated seconds so far.
    pub fn simulated_secs(&self) -> f64 {
        self.simulated_ns.iter().map(|ns| *ns as f64 / 1e9).sum()
    }

    /// The exit status: the gravest failure's.
    pub fn exit_code(&self) -> u8 {
        gravest(self.failures.keys().map(|(code, _)| *code))
    }

    /// As one JSON object.
    pub fn to_json(&self, wall: Duration) -> serde_json::Value {
        let spread = |values: &[u64], scale: f64| {
            let [low, middle, high] = spread_of(values).map(|value| value as f64 / scale);
            serde_json::json!({ "min": low, "median": middle, "max": high })
        };
        let failures: Vec<_> = self
            .failures
            .iter()
            .map(|((code, word), seeds)| serde_json::json!({ "exit": code, "kind": word, "seeds": seeds }))
            .collect();
        let faults: serde_json::Map<_, _> =
            self.tally.faults.iter().map(|(word, count)| ((*word).to_owned(), (*count).into())).collect();
        let compared: serde_json::Map<_, _> =
            self.counts.iter().map(|(name, count)| (name.to_owned(), count.into())).collect();
        serde_json::json!({
            "type": "summary",
            "runs": self.runs,
            "failed": self.failed(),
            "exit": self.exit_code(),
            "wall_secs": wall.as_secs_f64(),
            "simulated_secs": spread(&self.simulated_ns, 1e9),
            "committed": spread(&self.committed, 1.0),
            "seed_wall_secs": spread(&self.wall_us, 1e6),
            "steps": spread(&self.steps, 1.0),
            "groups": spread(&self.groups, 1.0),
            "nodes": spread(&self.nodes, 1.0),
            "view_changes": self.tally.view_changes,
            "crashes": self.tally.crashes,
            "faults": faults,
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
        let Tally { view_changes, crashes, starts, messages, lost, duplicated, .. } = &self.tally;
        writeln!(f, "view changes {view_changes}, crashes {crashes}, starts {starts}")?;
        writeln!(
            f,
            "messages {messages}, lost {lost}, doubled {duplicated}, disk ops {}",
            self.tally.disk_ops
        )?;
        let Tally { committed, repeated, abandoned, .. } = &self.tally;
        writeln!(f, "operations: committed {committed}, asked again {repeated}, abandoned {abandoned}")?;
        writeln!(f, "faults:{}", listed(self.tally.faults.iter().map(|(word, count)| (*word, *count))))?;
        // None of these faults takes from a disk what a barrier covered: no copy of an entry is ever harmed.
        writeln!(f, "beyond the fault budget: no seed (these faults harm no durable copy)")?;
        writeln!(f, "compared:{}", listed(self.counts.iter()))?;
        writeln!(f, "{}", self.marks)?;
        for ((code, word), seeds) in &self.failures {
            let shown: Vec<String> = seeds.iter().take(8).map(u64::to_string).collect();
            let more = if seeds.len() > 8 { ", ..." } else { "" };
            writeln!(f, "FAILED {} x {word} (exit {code}): seeds {}{more}", seeds.len(), shown.join(", "))?;
        }
        let verdict = if self.failures.is_empty() { "all held" } else { "FAILED" };
        write!(f, "{} seeds, {} failed: {verdict}", self.runs, self.failed())
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

/// Runs a swarm; every report goes to `tell` as it comes.
pub fn swarm<A, W>(
    simulation: &Simulation<A, W>,
    plan: &SwarmPlan,
    mut tell: impl FnMut(&Report, &Summary),
) -> Summary
where
    A: ChrApplication,
    W: Workload<A>,
    Simulation<A, W>: Sync,
{
    let began = Instant::now();
    let end = plan.seeds.map(|seeds| plan.start.saturating_add(seeds));
    let next = AtomicU64::new(plan.start);
    let mut summary = Summary::default();
    thread::scope(|scope| {
        // Bounded, so that a swarm without end does not pile reports up.
        let (sender, reports) = mpsc::sync_channel(plan.jobs.max(1));
        for _ in 0..plan.jobs.max(1) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let over = plan.time.is_some_and(|time| began.elapsed() >= time);
                    if over || end.is_some_and(|end| seed >= end) {
                        break;
                    }
                    if plan.shard.is_some_and(|shard| !shard.takes(seed)) {
                        continue;
                    }
                    let config = simulation.config_of_seed(seed);
                    let report = if plan.check_determinism {
                        simulation.check_determinism(config)
                    } else {
                        simulation.run(config, None)
                    };
                    if sender.send(report).is_err() {
                        break;
                    }
                }
            });
        }
        drop(sender);
        for report in reports {
            summary.add(&report);
            tell(&report, &summary);
        }
    });
    summary
}

#[cfg(test)]
mod tests {
    use super::{SwarmPlan, spread_of};
    use crate::units::Shard;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(spread_of(&[5, 1, 9]), [1, 5, 9]);
        assert_eq!(spread_of(&[]), [0; 3]);
    }

    #[test]
    fn a_shard_knows_how_many_seeds_it_has() {
        let shard = Some(Shard { index: 2, of: 3 });
        let plan =
            SwarmPlan { start: 1, seeds: Some(10), time: None, jobs: 1, shard, check_determinism: false };
        // 1, 4, 7 and 10 leave a rest of 1.
        assert_eq!(plan.total(), Some(4));
    }
}

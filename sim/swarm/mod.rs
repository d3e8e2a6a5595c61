//! Many seeds, on several threads, and what came of them.
//!
//! ```text
//!  Seeds -> swarm -> Report -> Record -> Summary
//!                                |  ^
//!                          results.jsonl
//! ```
//!
//! A [`Record`] is all that is kept of a run. It is what a results file holds a line of, so a summary of a swarm that
//! was cut off and went on, or of many shards, is made of the same things as that of a swarm that just ran.

mod merge;
mod ranges;
pub(crate) mod record;
mod results;
mod seeds;
mod summary;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use chronon_core::kernel::ChrApplication;

use crate::run::{Report, Simulation};
use crate::workload::Workload;

pub use merge::{Merged, merge};
pub use ranges::Ranges;
pub use record::Record;
pub use results::{Header, Past, open, read};
pub use seeds::Seeds;
pub use summary::Summary;

/// Which seeds to run, and how.
#[derive(Clone, Debug)]
pub struct SwarmPlan {
    /// Which.
    pub seeds: Seeds,
    /// Those of them that are not run, because they were.
    pub done: BTreeSet<u64>,
    /// For how long; no end when there is none.
    pub time: Option<Duration>,
    /// Threads.
    pub jobs: usize,
    /// Run each twice and compare.
    pub check_determinism: bool,
}

impl SwarmPlan {
    /// Seeds to run, when their number is known.
    pub fn total(&self) -> Option<u64> {
        let done = self.done.iter().filter(|seed| self.seeds.contains(**seed)).count();
        Some(self.seeds.count()? - done as u64)
    }
}

/// Runs a swarm until its seeds or its time are used up, or `stop` is set. Every report goes to `tell` as it comes;
/// after `stop`, each thread still finishes the run that it is in.
pub fn swarm<A, W>(
    simulation: &Simulation<A, W>,
    plan: &SwarmPlan,
    stop: &AtomicBool,
    mut tell: impl FnMut(&Report),
) where
    A: ChrApplication,
    W: Workload<A>,
    Simulation<A, W>: Sync,
{
    let began = Instant::now();
    let over = || stop.load(Ordering::Relaxed) || plan.time.is_some_and(|time| began.elapsed() >= time);
    let seeds = Mutex::new(plan.seeds.iter().filter(|seed| !plan.done.contains(seed)));
    let next = || seeds.lock().unwrap_or_else(PoisonError::into_inner).next();
    thread::scope(|scope| {
        // Bounded, so that a swarm without end does not pile reports up.
        let (sender, reports) = mpsc::sync_channel(plan.jobs.max(1));
        for _ in 0..plan.jobs.max(1) {
            let sender = sender.clone();
            scope.spawn(move || {
                while !over()
                    && let Some(seed) = next()
                    && sender.send(run(simulation, plan, seed)).is_ok()
                {}
            });
        }
        drop(sender);
        for report in reports {
            tell(&report);
        }
    });
}

fn run<A, W>(simulation: &Simulation<A, W>, plan: &SwarmPlan, seed: u64) -> Report
where
    A: ChrApplication,
    W: Workload<A>,
{
    let config = simulation.config_of_seed(seed);
    if plan.check_determinism { simulation.check_determinism(config) } else { simulation.run(config, None) }
}

#[cfg(test)]
mod tests;

//! The smallest run that still fails in the same way: delta debugging (Zeller, Hildebrandt 2002) over the plan.
//!
//! ```text
//! what comes after the failure -> faults -> groups, clients, nodes -> faults again -> what is not as usual
//!   -> each fault weaker, shorter, at a round moment -> fewer requests -> earlier -> from the start, until nothing helps
//! ```
//!
//! Every candidate is run; it is taken when it breaks what the first run broke. Draws are keyed, so what is left over
//! keeps its fate, and most candidates that leave out what does not matter fail at the very same step. Candidates are
//! tried on all cores, and the first in order that fails is taken: without a limit on time the result does not depend on
//! the machine.

mod candidates;
mod weaken;

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::WorldConfig;
use crate::run::{Cause, Report};
use crate::time::WorldTime;

/// How long to go on, and how.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Threads.
    pub jobs: usize,
    /// For how long; no end when there is none.
    pub time: Option<Duration>,
}

/// What is left of a failing run.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The run.
    pub config: WorldConfig,
    /// How it fails.
    pub cause: Cause,
    /// When.
    pub at: WorldTime,
    /// Runs that were tried.
    pub tried: u64,
    /// True when nothing that could be left out was left in; false when the time was up before.
    pub finished: bool,
}

/// What a run consists of.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Size {
    /// Faults of the plan.
    pub faults: usize,
    /// Nodes.
    pub nodes: usize,
    /// Groups.
    pub groups: usize,
    /// Clients.
    pub clients: usize,
}

impl Size {
    /// The size of a run.
    pub fn of(config: &WorldConfig) -> Self {
        Self {
            faults: config.plan.len(),
            nodes: config.nodes.len(),
            groups: config.groups.len(),
            clients: config.client_ids().len(),
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug)]
pub struct Standing {
    /// What is left.
    pub size: Size,
    /// Runs that were tried.
    pub tried: u64,
}

/// Whether a cause can be shrunk: what a scenario expects and what a second run would show cannot.
pub fn is_shrinkable(cause: &Cause) -> bool {
    matches!(cause, Cause::World(_) | Cause::Panic { .. })
}

/// Shrinks `config`, which fails as `first` tells. `run` runs a candidate; `tell` hears of every success; `stop`
/// ends it.
pub fn shrink(
    run: &(dyn Fn(WorldConfig) -> Report + Sync),
    config: WorldConfig,
    first: (Cause, WorldTime),
    effort: Effort,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(Standing),
) -> Shrunk {
    let (cause, at) = first;
    let deadline = effort.time.map(|time| Instant::now() + time);
    let trials = Trials { run, stop, deadline, jobs: effort.jobs.max(1) };
    let mut search = Search { trials, tell, config, cause, at, tried: 0 };
    while search.round() && !trials.are_over() {}
    let finished = !trials.are_over();
    let Search { config, cause, at, tried, .. } = search;
    Shrunk { config, cause, at, tried, finished }
}

struct Search<'a> {
    trials: Trials<'a>,
    tell: &'a mut dyn FnMut(Standing),
    /// The smallest run so far, how it fails, and when.
    config: WorldConfig,
    cause: Cause,
    at: WorldTime,
    tried: u64,
}

/// How candidates are tried.
#[derive(Clone, Copy)]
struct Trials<'a> {
    run: &'a (dyn Fn(WorldConfig) -> Report + Sync),
    stop: &'a AtomicBool,
    deadline: Option<Instant>,
    jobs: usize,
}

impl Search<'_> {
    /// Every way of making it smaller, once; whether any did.
    fn round(&mut self) -> bool {
        let mut smaller = self.one_of(candidates::ends_at(&self.config, self.at));
        smaller |= self.drop_faults();
        smaller |= self.repeat(candidates::fewer_groups);
        smaller |= self.repeat(candidates::fewer_clients);
        smaller |= self.repeat(candidates::fewer_changes);
        smaller |= self.repeat(candidates::fewer_nodes);
        smaller |= self.one_of(candidates::ends_at(&self.config, self.at));
        smaller |= self.drop_faults();
        for usual in candidates::as_usual(&self.config) {
            smaller |= self.one_of(vec![usual(&self.config)]);
        }
        smaller |= self.weaken_faults();
        smaller |= self.one_of(candidates::fewer_requests(&self.config));
        smaller |= self.repeat(candidates::earlier);
        smaller
    }

    /// Leaves out ever smaller parts of the plan (ddmin without its subsets, which a failure that needs several faults
    /// rarely likes).
    fn drop_faults(&mut self) -> bool {
        let before = self.config.plan.len();
        let mut parts = 1;
        while !self.config.plan.is_empty() {
            let faults = self.config.plan.len();
            let part = faults.div_ceil(parts);
            let without =
                |first: usize| self.config.with_faults(|place| place < first || place >= first + part);
            let tries = (0..faults).step_by(part).map(without).collect();
            if !self.one_of(tries) {
                if part == 1 {
                    break;
                }
                parts = (parts * 2).min(faults);
            }
        }
        self.config.plan.len() < before
    }

    fn weaken_faults(&mut self) -> bool {
        let mut smaller = false;
        let mut place = 0;
        while place < self.config.plan.len() {
            // A weaker fault may be weakened again.
            while self.one_of(weaken::weaker(&self.config, place)) {
                smaller = true;
            }
            place += 1;
        }
        smaller
    }

    fn repeat(&mut self, candidates: impl Fn(&WorldConfig) -> Vec<WorldConfig>) -> bool {
        let mut smaller = false;
        while self.one_of(candidates(&self.config)) {
            smaller = true;
        }
        smaller
    }

    /// Takes the first of `candidates` that fails in the same way; whether there is one.
    fn one_of(&mut self, candidates: Vec<WorldConfig>) -> bool {
        let candidates: Vec<WorldConfig> =
            candidates.into_iter().filter(|candidate| *candidate != self.config).collect();
        let (tried, found) = self.trials.first_that_fails(&candidates, &self.cause);
        self.tried += tried;
        let Some((index, report)) = found else { return false };
        let Some(cause) = report.cause else { return false };
        self.config = candidates[index].clone();
        (self.cause, self.at) = (cause, report.simulated);
        (self.tell)(Standing { size: Size::of(&self.config), tried: self.tried });
        true
    }
}

impl Trials<'_> {
    /// Runs candidates on all cores, in order, until the first is known that fails like `cause`; and how many it ran.
    fn first_that_fails(self, candidates: &[WorldConfig], cause: &Cause) -> (u64, Option<(usize, Report)>) {
        let next = AtomicUsize::new(0);
        let lowest = AtomicUsize::new(usize::MAX);
        let work = || {
            let mut tried = 0;
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(candidate) = candidates.get(index) else { return (tried, None) };
                if lowest.load(Ordering::Relaxed) < index || self.are_over() {
                    return (tried, None);
                }
                tried += 1;
                let report = (self.run)(candidate.clone());
                if report.cause.as_ref().is_some_and(|other| other.is_like(cause)) {
                    lowest.fetch_min(index, Ordering::Relaxed);
                    // Indices rise: what comes later is of no use.
                    return (tried, Some((index, report)));
                }
            }
        };
        let jobs = self.jobs.min(candidates.len());
        let ran: Vec<_> = thread::scope(|scope| {
            let workers: Vec<_> = (0..jobs).map(|_| scope.spawn(work)).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect()
        });
        let tried = ran.iter().map(|(tried, _)| tried).sum();
        (tried, ran.into_iter().filter_map(|(_, found)| found).min_by_key(|(index, _)| *index))
    }

    fn are_over(self) -> bool {
        self.stop.load(Ordering::Relaxed) || self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

#[cfg(test)]
mod tests;

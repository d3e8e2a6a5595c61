//! Which parts of a failing run are needed: each is left out once.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use chronon_core::kernel::ChrApplication;

use crate::config::WorldConfig;
use crate::run::{Cause, Report, Simulation};
use crate::workload::Workload;

/// A part of a run, and what happens without it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Part {
    /// The part.
    pub what: String,
    /// Whether the failure needs it.
    pub need: Need,
}

/// Whether a failure needs a part of the run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Need {
    /// Without it all holds.
    Holds,
    /// Without it something else breaks.
    Otherwise(&'static str),
    /// Without it the same breaks.
    Not,
}

impl Need {
    /// The verdict for people.
    pub fn word(&self) -> String {
        match self {
            Self::Holds => "needed".to_owned(),
            Self::Otherwise(kind) => format!("else {kind}"),
            Self::Not => "not needed".to_owned(),
        }
    }
}

/// Leaves out each fault, client, group and source of noise once.
pub(super) fn parts<A, W>(
    simulation: &Simulation<A, W>,
    config: &WorldConfig,
    judge: &(dyn Fn(Report) -> Report + Sync),
    cause: &Cause,
    jobs: usize,
) -> Vec<Part>
where
    A: ChrApplication,
    W: Workload<A>,
    Simulation<A, W>: Sync,
{
    let tries = without_each(config);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut judged = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some((what, smaller)) = tries.get(index) else { return judged };
            let report = judge(simulation.run(smaller.clone(), None));
            let need = match &report.cause {
                None => Need::Holds,
                Some(other) if other.is_like(cause) => Need::Not,
                Some(other) => Need::Otherwise(other.word()),
            };
            judged.push((index, Part { what: what.clone(), need }));
        }
    };
    let mut judged: Vec<(usize, Part)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(work)).collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap_or_else(|panic| resume_unwind(panic)))
            .collect()
    });
    judged.sort_by_key(|(index, _)| *index);
    judged.into_iter().map(|(_, part)| part).collect()
}

fn without_each(config: &WorldConfig) -> Vec<(String, WorldConfig)> {
    let mut tries = Vec::new();
    for (place, fault) in config.plan.iter().enumerate() {
        let what = format!("the fault at {}: {}", fault.at, fault.what);
        tries.push((what, config.with_faults(|other| other != place)));
    }
    for client in config.client_ids() {
        tries.extend(config.without_client(client).map(|smaller| (format!("client {client}"), smaller)));
    }
    for init in &config.groups {
        let what = format!("group {}", init.group);
        tries.extend(config.without_group(init.group).map(|smaller| (what, smaller)));
    }
    let mut quiet = |what: &str, change: fn(&mut WorldConfig)| {
        let mut smaller = config.clone();
        change(&mut smaller);
        if smaller != *config {
            tries.push((what.to_owned(), smaller));
        }
    };
    quiet("messages that links lose", |config| config.net.loss_ppm = 0);
    quiet("messages that arrive twice", |config| config.net.duplicate_ppm = 0);
    quiet("clocks that drift and differ", |config| config.clocks = Default::default());
    quiet("requests that are sent once more", |config| config.clients.repeat_ppm = 0);
    tries
}

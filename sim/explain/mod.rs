//! A failing run in words: what happened, in order, which promise it broke, and which parts of it are needed.

mod needs;
mod story;

use std::fmt;
use std::sync::mpsc;

use chronon_core::kernel::ChrApplication;
use chronon_core::types::GroupId;

use crate::config::WorldConfig;
use crate::oracle::promise_of;
use crate::run::{Cause, Report, Simulation};
use crate::time::WorldTime;
use crate::workload::Workload;
use crate::world::Failure;
pub use needs::{Need, Part};
pub use story::Told;

/// A run in words.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// What was run.
    pub setup: String,
    /// What happened, in order.
    pub story: Vec<Told>,
    /// How it ended.
    pub report: Report,
    /// The promise that was broken; none when all held or no invariant broke.
    pub promise: Option<&'static str>,
    /// The last step before the end, as the trace shows it.
    pub last_step: String,
    /// What happens without each part; empty when all held.
    pub parts: Vec<Part>,
}

/// Runs `config` and tells what happened. `judge` has the last word on a run: a scenario may expect something.
pub fn explain<A, W>(
    simulation: &Simulation<A, W>,
    config: &WorldConfig,
    judge: &(dyn Fn(Report) -> Report + Sync),
    jobs: usize,
) -> Explanation
where
    A: ChrApplication,
    W: Workload<A>,
    Simulation<A, W>: Sync,
{
    let (listener, told) = mpsc::channel();
    let mut last = String::new();
    let mut keep = |line: &str| line.clone_into(&mut last);
    let narrator = Box::new(story::Narrator::new(listener));
    let report = judge(simulation.run_beside(config.clone(), Some(narrator), Some(&mut keep)));
    let mut story = fault_story(config, report.simulated);
    story.extend(told);
    // What a fault does is told after the fault.
    story.sort_by_key(|told| told.at);
    if let Some(group) = group_of(report.cause.as_ref()) {
        story.retain(|told| told.group.is_none_or(|other| other == group));
    }
    let promise = report.cause.as_ref().and_then(|cause| promise_of(cause.word()));
    let last_step = shortened(&last);
    let parts = match &report.cause {
        Some(cause) => needs::parts(simulation, config, judge, cause, jobs),
        None => Vec::new(),
    };
    Explanation { setup: setup(config), story, report, promise, last_step, parts }
}

/// Characters of a line of the trace that are shown.
const SHOWN_MAX: usize = 600;

/// Each line of a step up to a bound: entries are long.
fn shortened(step: &str) -> String {
    let cut = |line: &str| match line.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{} ...", &line[..end]),
        None => line.to_owned(),
    };
    step.lines().map(cut).collect::<Vec<_>>().join("\n")
}

/// The group in which an invariant broke.
fn group_of(cause: Option<&Cause>) -> Option<GroupId> {
    match cause? {
        Cause::World(Failure::Violation(violation)) => violation.group,
        _ => None,
    }
}

fn setup(config: &WorldConfig) -> String {
    let groups: Vec<String> = config
        .groups
        .iter()
        .map(|init| {
            let voters: Vec<String> = init.voters.iter().map(ToString::to_string).collect();
            format!("group {} ({}) on nodes {}", init.group, init.kind, voters.join(", "))
        })
        .collect();
    let clients: Vec<String> = config.client_ids().iter().map(ToString::to_string).collect();
    format!("{}; clients {}; {} faults planned", groups.join("; "), clients.join(", "), config.plan.len())
}

/// The faults of the plan that began before the end, and when they were over.
fn fault_story(config: &WorldConfig, end: WorldTime) -> Vec<Told> {
    let mut story = Vec::new();
    for fault in config.plan.iter().filter(|fault| fault.at <= end) {
        story.push(Told { at: fault.at, group: None, what: format!("fault: {}", fault.what) });
        // Who was killed tells itself when it is back.
        let Some(for_ns) = fault.what.clone().span_mut().copied().filter(|_| !fault.what.kills()) else {
            continue;
        };
        let at = fault.at.after(for_ns);
        if at <= end && at.as_nanos() < config.faults_ns {
            story.push(Told { at, group: None, what: format!("over: {}", fault.what) });
        }
    }
    story
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.setup)?;
        let (first, last) = (STORY_FIRST, STORY_LAST);
        let left_out = self.story.len().saturating_sub(first + last);
        for (place, Told { at, what, .. }) in self.story.iter().enumerate() {
            if left_out > 0 && place == first {
                writeln!(
                    f,
                    "{:>14}  ({left_out} lines left out; shrink the run to see what matters)",
                    "..."
                )?;
            }
            if left_out == 0 || place < first || place >= first + left_out {
                writeln!(f, "{:>14}  {what}", at.to_string())?;
            }
        }
        let at = self.report.simulated.to_string();
        let Some(cause) = &self.report.cause else {
            return write!(f, "{at:>14}  the run ends: all held");
        };
        writeln!(f, "{at:>14}  FAILED {cause}")?;
        if let Some(promise) = self.promise {
            writeln!(f, "\nThe promise of {}: {promise}.", cause.word())?;
        }
        if !self.last_step.is_empty() {
            writeln!(f, "\nThe last step:\n{}", self.last_step)?;
        }
        writeln!(f, "\nWithout each part of it:")?;
        for part in &self.parts {
            writeln!(f, "  {:<12} {}", part.need.word(), part.what)?;
        }
        let needed = self.parts.iter().filter(|part| part.need != Need::Not).count();
        write!(f, "{needed} of {} parts are needed", self.parts.len())
    }
}

/// Lines of a long story that are shown from its beginning, and from its end.
const STORY_FIRST: usize = 8;
const STORY_LAST: usize = 60;

#[cfg(test)]
mod tests;

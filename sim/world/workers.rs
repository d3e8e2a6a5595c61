//! The world's workers: they pull side effects, execute them at the sinks, and say how that ended; some die with what they have, some
//! are slower than their leases, and some renew them.
//!
//! ```text
//! looks -> a node grants -> the sink -> the worker says how it ended -> recorded, or a lease that is none any more
//! ```

use std::collections::BTreeMap;

use chronon_core::kernel::{Attempt, AttemptResult, ChrApplication, Held};
use chronon_core::node::{Input, Route, Wish, Work, WorkAnswer};
use chronon_core::types::{GroupId, Nanos};

use super::{Item, World};
use crate::oracle::{Observed, Violation};
use crate::random::{Draw, Purpose};
use crate::sink::Fate;
use crate::time::{MILLISECOND, SECOND};
use crate::workload::Workload;

/// What workers have asked and not heard of.
#[derive(Clone, Debug, Default)]
pub(super) struct Workers {
    asked: BTreeMap<GroupId, u64>,
    open: BTreeMap<u64, (GroupId, Asked)>,
}

#[derive(Clone, Debug)]
enum Asked {
    /// For something to do.
    Claim,
    /// For more time.
    Renewal,
    /// To note how this attempt ended.
    End(Box<(Attempt, AttemptResult)>),
}

/// A side effect that a worker has.
#[derive(Clone, Debug)]
pub(super) struct Working {
    /// Who granted it.
    machine: usize,
    group: GroupId,
    attempt: Attempt,
    fate: Fate,
    lease: Nanos,
}

/// A step of a worker.
#[derive(Clone, Debug)]
pub(super) enum WorkerStep {
    /// It reaches the sink.
    Executes(Working),
    /// It is in the middle of it.
    Renews(Working),
    /// It is done.
    Ends(Working, AttemptResult),
}

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// Somebody asks any node of the group for something to do.
    pub(super) fn worker_looks(&mut self, group: usize, look: u64) {
        let init = &self.config.groups[group];
        let id = init.group;
        let mut draw = self.randomness.draw(Purpose::Worker, u64::from(id.get()), &[look]);
        let node = *draw.pick(&self.members(init));
        let queues = self.workload.queues(init);
        if queues.is_empty() {
            return;
        }
        let queue = (*draw.pick(queues)).to_owned();
        let wish = Wish::Claim { queue, most: draw.between(1, 16) as u32, lease: lease_of(&mut draw) };
        // Whoever is told that another leads goes there at once, and so it is as if it had known.
        let led = (0..self.machines.len()).find(|index| self.leads(*index, id));
        let machine = led.filter(|_| draw.below(8) > 0).unwrap_or_else(|| self.machine_of(node));
        self.ask_for_work(machine, id, wish, Asked::Claim);
        let next = self.now.after(draw.between(LOOK_NS / 2, LOOK_NS));
        self.agenda.put(next, Item::WorkerLooks { group, look: look + 1 });
    }

    fn ask_for_work(&mut self, machine: usize, group: GroupId, wish: Wish, asked: Asked) {
        if self.machines[machine].process.is_none() || self.is_lost(self.machines[machine].node) {
            return;
        }
        let asked_so_far = self.workers.asked.entry(group).or_default();
        *asked_so_far += 1;
        // Counted by group, so that what happens in one leaves the others as they are.
        let number = u64::from(group.get()) << GROUP_BITS | *asked_so_far;
        self.workers.open.insert(number, (group, asked));
        let work = Work { number, group, wish };
        self.step_node(machine, Input::Work { route: Route(WORKERS | number), work });
    }

    /// A worker is answered.
    pub(super) fn worked(&mut self, machine: usize, number: u64, answer: WorkAnswer) {
        let node = self.machines[machine].node;
        let Some((group, asked)) = self.workers.open.remove(&number) else {
            let what = format!("request {number} of a worker is answered, and nobody waits for that");
            self.judges.report(Violation::new("Addressed", what).at(node));
            return;
        };
        match (asked, answer) {
            (Asked::Claim, WorkAnswer::Granted(attempts)) => {
                for attempt in attempts {
                    self.granted(machine, group, attempt);
                }
            }
            (Asked::End(ended), WorkAnswer::Recorded) => {
                let (attempt, result, op) = (&ended.0, &ended.1, self.applied(node, group));
                self.judges.see(self.now, &Observed::Recorded { node, group, op, attempt, result });
            }
            (Asked::Renewal, WorkAnswer::Renewed)
            | (Asked::Renewal | Asked::End(_), WorkAnswer::Stale { .. })
            | (Asked::End(_), WorkAnswer::Unknown)
            | (
                _,
                WorkAnswer::NotPrimary { .. }
                | WorkAnswer::Busy
                | WorkAnswer::UnknownGroup
                | WorkAnswer::Halted(_),
            ) => {}
            (asked, answer) => {
                let what = format!("a worker that asked {asked:?} is answered with {answer}");
                self.judges.report(Violation::new("Addressed", what).at(node).of(group));
            }
        }
    }

    fn granted(&mut self, machine: usize, group: GroupId, attempt: Attempt) {
        let fate = self.sinks.fate(&attempt);
        let mut draw = self.draw_of_work(&attempt);
        let (renews, lease) = (draw.coin(), lease_of(&mut draw));
        let working = Working { machine, group, attempt, fate, lease };
        if renews {
            let soon = self.now.after(draw.below(LEASES_NS.1));
            self.agenda.put(soon, Item::Worker(Box::new(WorkerStep::Renews(working.clone()))));
        }
        let at = self.now.after(working.fate.arrives_ns);
        self.agenda.put(at, Item::Worker(Box::new(WorkerStep::Executes(working))));
    }

    pub(super) fn worker_steps(&mut self, step: WorkerStep) {
        match step {
            WorkerStep::Executes(working) => self.worker_executes(working),
            WorkerStep::Renews(Working { machine, group, attempt, lease, .. }) => {
                let wish = Wish::Renew { held: held(&attempt), lease };
                self.ask_for_work(machine, group, wish, Asked::Renewal);
            }
            WorkerStep::Ends(Working { machine, group, attempt, .. }, result) => {
                let wish = Wish::End { held: held(&attempt), result: result.clone() };
                let times = if self.draw_of_work(&attempt).below(8) == 0 { 2 } else { 1 };
                for _ in 0..times {
                    let asked = Asked::End(Box::new((attempt.clone(), result.clone())));
                    self.ask_for_work(machine, group, wish.clone(), asked);
                }
            }
        }
    }

    fn worker_executes(&mut self, working: Working) {
        let Working { machine, group, ref attempt, ref fate, .. } = working;
        let (verdict, result) = self.sinks.take(self.now, group, attempt, fate);
        self.tally.side_effect(verdict);
        let node = self.machines[machine].node;
        self.judges.see(self.now, &Observed::Executed { node, group, attempt, verdict });
        // Some workers die with what they have.
        if let Some(returns_ns) = fate.returns_ns {
            let at = self.now.after(returns_ns);
            self.agenda.put(at, Item::Worker(Box::new(WorkerStep::Ends(working, result))));
        }
    }

    fn draw_of_work(&self, attempt: &Attempt) -> Draw {
        let Attempt { place, number, token, .. } = attempt;
        let about = [u64::from(place.index), u64::from(*number), token.0];
        self.randomness.draw(Purpose::Worker, place.op.get(), &about)
    }
}

fn held(attempt: &Attempt) -> Held {
    Held { place: attempt.place, number: attempt.number, token: attempt.token }
}

fn lease_of(draw: &mut Draw) -> Nanos {
    Nanos::from_nanos(draw.between(LEASES_NS.0, LEASES_NS.1))
}

/// Routes of workers are none of others.
const WORKERS: u64 = 1 << 61;
/// No group's workers ask more than this many bits count.
const GROUP_BITS: u32 = 40;
/// Between two looks of the workers of a group, at most.
const LOOK_NS: u64 = 200 * MILLISECOND;
/// Leases, from the shortest to the longest.
const LEASES_NS: (u64, u64) = (150 * MILLISECOND, 3 * SECOND);

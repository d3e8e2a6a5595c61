//! Workers that pull the group's side effects: only a primary that may act grants them, and hears of their ends.

use super::Group;
use crate::kernel::{Caller, ChrApplication, Pace, Recorded};
use crate::node::door::{Effect, Effects, Route, Wish, WorkAnswer};
use crate::types::{Mark, Marks, Monotonic};

impl<A: ChrApplication> Group<A> {
    /// The answer to a worker; `None` when it comes once how an attempt ended is recorded.
    pub(in crate::node) fn work(
        &mut self,
        (now, pace): (Monotonic, Pace),
        caller: Caller,
        wish: Wish,
        marks: &mut impl Marks,
    ) -> Option<WorkAnswer> {
        if let Some(halt) = &self.halted {
            return Some(WorkAnswer::Halted(halt.clone()));
        }
        if !self.replica.leads() {
            let (view, _) = self.replica.views();
            return Some(WorkAnswer::NotPrimary { view, primary: self.replica.primary() });
        }
        if !self.side_effects.has_authority() {
            return Some(WorkAnswer::Busy);
        }
        let done = match wish {
            Wish::Claim { queue, most, lease } => {
                let of = (self.executor.init(), self.executor.outbox());
                let granted = self.side_effects.claim((now, lease), (&queue, most), of);
                return Some(WorkAnswer::Granted(granted));
            }
            Wish::Renew { held, lease } => {
                self.side_effects.renew((now, lease), held).map(|()| Some(WorkAnswer::Renewed))
            }
            Wish::End { held, result } => self.side_effects.end(held, result, caller, pace).map(|()| None),
        };
        done.unwrap_or_else(|why| {
            marks.hit(Mark::LeaseStale);
            Some(WorkAnswer::Stale { why })
        })
    }

    /// Answers the workers whose ends are recorded, or may never be.
    pub(super) fn answer_workers(&mut self, effects: &mut Effects) {
        let group = self.id();
        let answers = self.side_effects.take_told().map(|(Caller { route, number }, recorded)| {
            let answer = match recorded {
                Recorded::Yes => WorkAnswer::Recorded,
                Recorded::Unknown => WorkAnswer::Unknown,
            };
            Effect::Worked { route: Route(route), group, number, answer }
        });
        effects.extend(answers);
    }
}

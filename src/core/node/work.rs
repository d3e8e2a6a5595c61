//! Workers that pull side effects.

use super::door::{Effect, Route, Work, WorkAnswer};
use super::{Effects, Life, Node, pace};
use crate::kernel::{Caller, ChrApplication};
use crate::types::Marks;

impl<A: ChrApplication, M: Marks> Node<A, M> {
    /// A worker wants something.
    pub(super) fn on_work(&mut self, route: Route, work: Work, effects: &mut Effects) {
        let Work { number, group, wish } = work;
        let mut answer = match &self.life {
            Life::Halted(_) => return,
            Life::Running(running) if running.amnesia.is_none() => {
                let waits = running.waiting.contains_key(&group);
                Some(if waits { WorkAnswer::Busy } else { WorkAnswer::UnknownGroup })
            }
            Life::Unborn | Life::Recovering | Life::Running(_) => Some(WorkAnswer::Busy),
        };
        if self.amnesia().is_none() {
            let (now, pace) = (self.now.monotonic, pace(&self.config));
            self.with_group(group, effects, |group, turn| {
                answer = group.work((now, pace), Caller { route: route.0, number }, wish, turn.marks);
            });
        }
        effects.extend(answer.map(|answer| Effect::Worked { route, group, number, answer }));
    }
}

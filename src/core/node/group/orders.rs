//! What operators have put into a group's log.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use super::Group;
use crate::codec;
use crate::consensus::Turn;
use crate::kernel::{ChrApplication, Outcome, Schema};
use crate::node::door::{Answer, Deed, Effect, Effects, Reply, Route};
use crate::types::{Blob, ClientId, EntryKind, Mark, Marks, NodeId, Op, RequestNumber};

impl<A: ChrApplication> Group<A> {
    /// An operator wants something; the answer, unless an entry was prepared that does it. `least` is the voter that knows the
    /// earliest schema.
    pub(in crate::node) fn order(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        route: Route,
        deed: Deed,
        least: Option<(NodeId, Option<Schema>)>,
    ) -> Option<Answer> {
        if self.is_arriving() {
            return Some(Answer::Busy);
        }
        if !self.replica.leads() {
            return Some(self.not_primary());
        }
        let (kind, payload) = match self.carry_out(deed, least) {
            Ok(entry) => entry,
            Err(answer) => return Some(answer),
        };
        if !self.replica.can_propose(turn.limits) {
            return Some(Answer::Busy);
        }
        let Some(time) = self.replica.next_timestamp(turn.now, turn.clock, turn.timeouts) else {
            turn.marks.hit(Mark::ClockHeldBack);
            return Some(Answer::Busy);
        };
        turn.marks.hit(if kind == EntryKind::Skip { Mark::SkipPrepared } else { Mark::ActivationPrepared });
        let op = self.replica.propose(turn, time, kind, payload.into());
        self.ordered.push((op, route));
        None
    }

    /// The entry by which it is done, or why it cannot be.
    fn carry_out(
        &self,
        deed: Deed,
        least: Option<(NodeId, Option<Schema>)>,
    ) -> Result<(EntryKind, Vec<u8>), Answer> {
        let declined = |why: String| Answer::Declined { why };
        match (deed, &self.halted) {
            (Deed::Skip(place), Some(halt)) if halt.skippable && halt.place == place => {
                Ok((EntryKind::Skip, codec::encode(&place)))
            }
            (_, Some(halt)) => Err(Answer::Halted(halt.clone())),
            (Deed::Skip(_), None) => Err(declined("the group does not stand still here".into())),
            (Deed::Activate(to), None) => {
                let in_force = self.executor.schema();
                if to <= in_force {
                    return Err(declined(format!("schema {in_force} is in force; a later one is allowed")));
                }
                match least.filter(|(_, known)| *known < Some(to)) {
                    None => Ok((EntryKind::Activation, codec::encode(&to))),
                    Some((node, None)) => {
                        Err(declined(format!("node {node} has not said yet which schema it knows")))
                    }
                    Some((node, Some(known))) => Err(declined(format!(
                        "node {node} knows schema {known} at most: start a newer build there"
                    ))),
                }
            }
        }
    }

    /// The answer to an operator.
    pub(in crate::node) fn reply_to_operator(&self, answer: Answer) -> Reply {
        self.reply(ClientId::new(0), RequestNumber::new(0), answer)
    }

    pub(super) fn answer_operators(&mut self, effects: &mut Effects) {
        let applied = self.replica.applied();
        let is_done = |(op, _): &mut (Op, Route)| *op <= applied;
        let done: Vec<_> = self.ordered.extract_if(.., is_done).collect();
        for (op, route) in done {
            let outcome = Outcome::Done(Blob::default());
            let reply = self.reply_to_operator(Answer::Committed { op, outcome });
            effects.push(Effect::Reply { route, reply });
        }
    }
}

//! What operators want of a group: nearly all of it is put into its log.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use super::Group;
use crate::codec;
use crate::consensus::vsr::{NoHandOver, NotNow};
use crate::consensus::{Limits, Turn};
use crate::kernel::{ChrApplication, EventPlace, Outcome, Schema, SideEffectId};
use crate::node::door::{Answer, Deed, Effect, Effects, Reply, Route};
use crate::types::{
    Blob, ClientId, EntryKind, Hash, Mark, Marks, MembershipChange, NodeId, Op, RequestNumber, Timestamp,
};

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
        if let (Some(halt), false) = (&self.halted, matches!(deed, Deed::Skip(_))) {
            return Some(Answer::Halted(halt.clone()));
        }
        let prepared = match (deed, self.may_prepare(turn)) {
            (Deed::Lead(node), _) => Err(self.hand_over(turn, node)),
            (_, Err(answer)) => Err(answer),
            (Deed::Skip(place), Ok(time)) => self.may_skip(place).map(|()| {
                turn.marks.hit(Mark::SkipPrepared);
                self.replica.propose(turn, time, EntryKind::Skip, codec::encode(&place).into())
            }),
            (Deed::Activate(to), Ok(time)) => self.may_activate(to, least).map(|()| {
                turn.marks.hit(Mark::ActivationPrepared);
                self.replica.propose(turn, time, EntryKind::Activation, codec::encode(&to).into())
            }),
            (Deed::Change(change), Ok(time)) => self.change(turn, time, &change),
            (Deed::Redrive(id), Ok(time)) => self.may_redrive(id, turn.limits).map(|()| {
                turn.marks.hit(Mark::RedrivePrepared);
                self.replica.propose(turn, time, EntryKind::Redrive, codec::encode(&id).into())
            }),
            (Deed::Discard(id), Ok(time)) => self.check_dead(id).map(|()| {
                turn.marks.hit(Mark::DiscardPrepared);
                self.replica.propose(turn, time, EntryKind::Discard, codec::encode(&id).into())
            }),
        };
        match prepared {
            Ok(op) => self.ordered.extend(self.replica.hash_at(op).map(|hash| (op, hash, route))),
            Err(answer) => return Some(answer),
        }
        None
    }

    /// What an entry that an operator wants is stamped with, unless none can be prepared now.
    fn may_prepare(&self, turn: &mut Turn<'_, impl Marks>) -> Result<Timestamp, Answer> {
        if !self.replica.can_propose(turn.limits) {
            return Err(Answer::Busy);
        }
        let time = self.replica.next_timestamp(turn.now, turn.clock, turn.timeouts);
        if time.is_none() {
            turn.marks.hit(Mark::ClockHeldBack);
        }
        time.ok_or(Answer::Busy)
    }

    fn hand_over(&mut self, turn: &mut Turn<'_, impl Marks>, node: NodeId) -> Answer {
        let declined = |why| Answer::Declined { why };
        let not_yet = |why| Answer::NotYet { why };
        match self.replica.hand_over(turn, node) {
            Ok(()) => not_yet(format!("the group is being handed over to node {node}")),
            Err(NoHandOver::NoVoter) => declined(format!(
                "node {node} has no vote: {} have one",
                named(&self.replica.membership().voters)
            )),
            Err(NoHandOver::Leads) => declined(format!("node {node} leads the group already")),
            Err(NoHandOver::Changing) => not_yet("a change of the membership is on its way".into()),
            Err(NoHandOver::Silent) => not_yet(format!("node {node} is not heard of")),
            Err(NoHandOver::Lags { ops }) => not_yet(format!("node {node} lacks {ops} entries still")),
            Err(NoHandOver::Rests) => not_yet(format!(
                "node {node} did not come to hold the whole log in time; it is tried again soon"
            )),
        }
    }

    fn change(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        time: Timestamp,
        change: &MembershipChange,
    ) -> Result<Op, Answer> {
        let prepared = self.replica.propose_change(turn, time, change);
        turn.marks.hit(if prepared.is_ok() { Mark::MembershipPrepared } else { Mark::MembershipDeclined });
        prepared.map_err(|why| match why {
            NotNow::Busy => Answer::Busy,
            NotNow::Lags { ops } => {
                Answer::NotYet { why: format!("the learner that is to vote lacks {ops} entries still") }
            }
            NotNow::Lacks { node } => Answer::NotYet {
                why: format!(
                    "all that the group keeps is not known yet to be with those that are to vote: node {node} has to fetch \
                     it, or others from node {node}"
                ),
            },
            NotNow::Refused(error) => Answer::Declined { why: error.to_string() },
        })
    }

    fn may_skip(&self, place: EventPlace) -> Result<(), Answer> {
        match &self.halted {
            Some(halt) if halt.skippable && halt.place == place => Ok(()),
            Some(halt) => Err(Answer::Halted(halt.clone())),
            None => Err(Answer::Declined { why: "the group does not stand still here".into() }),
        }
    }

    fn may_activate(&self, to: Schema, least: Option<(NodeId, Option<Schema>)>) -> Result<(), Answer> {
        let declined = |why: String| Err(Answer::Declined { why });
        let in_force = self.executor.schema();
        if to <= in_force {
            return declined(format!("schema {in_force} is in force; a later one is allowed"));
        }
        match least.filter(|(_, known)| *known < Some(to)) {
            None => Ok(()),
            Some((node, None)) => declined(format!("node {node} has not said yet which schema it knows")),
            Some((node, Some(known))) => {
                declined(format!("node {node} knows schema {known} at most: start a newer build there"))
            }
        }
    }

    /// An operator that asks again, for it heard no answer, may find that the side effect was redriven meanwhile, and is told that
    /// it is.
    fn may_redrive(&self, id: SideEffectId, limits: &Limits) -> Result<(), Answer> {
        let outbox = self.executor.outbox();
        if !outbox.is_redriven(id) {
            self.check_dead(id)?;
        }
        // What is redriven has its place among what has not ended, and must not take more than there are.
        if outbox.is_full(limits.outbox_max, limits.outbox_bytes_max) {
            return Err(Answer::Busy);
        }
        Ok(())
    }

    /// Whether there is such a dead side effect.
    fn check_dead(&self, id: SideEffectId) -> Result<(), Answer> {
        if self.executor.outbox().dead().get(id).is_some() {
            return Ok(());
        }
        let why = format!(
            "no side effect {id} is dead: it has not been given up, or was discarded, or took effect; \
             `chronon effect list` names those that are"
        );
        Err(Answer::Declined { why })
    }

    /// The answer to an operator.
    pub(in crate::node) fn reply_to_operator(&self, answer: Answer) -> Reply {
        self.reply(ClientId::new(0), RequestNumber::new(0), answer)
    }

    pub(super) fn answer_operators(&mut self, effects: &mut Effects) {
        let applied = self.replica.applied();
        let is_over = |(op, ..): &mut (Op, Hash, Route)| *op <= applied;
        let over: Vec<_> = self.ordered.extract_if(.., is_over).collect();
        // Another entry may have taken its place, in a view that this node has not led.
        for (op, _, route) in
            over.into_iter().filter(|(op, hash, _)| self.replica.hash_at(*op) == Some(*hash))
        {
            let outcome = Outcome::Done(Blob::default());
            let reply = self.reply_to_operator(Answer::Committed { op, outcome });
            effects.push(Effect::Reply { route, reply });
        }
    }
}

/// Nodes in a row.
fn named(nodes: &[NodeId]) -> String {
    let names: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    names.join(", ")
}

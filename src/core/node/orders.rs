//! What operators want done: an entry of the group's log, like any other.

use super::door::{Answer, Effect, Order, Reply, Route};
use super::{Effects, Life, Node};
use crate::kernel::{ChrApplication, Schema};
use crate::types::{ClientId, GroupId, Marks, NodeId, RequestNumber};

impl<A: ChrApplication, M: Marks> Node<A, M> {
    /// An operator wants something of a group.
    pub(super) fn on_order(&mut self, route: Route, order: Order, effects: &mut Effects) {
        let Order { group: id, deed } = order;
        let answer = match &self.life {
            Life::Halted(_) => return,
            Life::Running(running) if running.amnesia.is_none() => {
                let waits = running.waiting.contains_key(&id);
                if waits { Answer::Busy } else { Answer::UnknownGroup }
            }
            Life::Unborn | Life::Recovering | Life::Running(_) => Answer::Busy,
        };
        let mut reply =
            Some(Reply { group: id, client: ClientId::new(0), number: RequestNumber::new(0), answer });
        let least = self.least_schema(id);
        if self.amnesia().is_none() {
            self.with_group(id, effects, |group, turn| {
                reply = group.order(turn, route, deed, least).map(|answer| group.reply_to_operator(answer));
            });
        }
        effects.extend(reply.map(|reply| Effect::Reply { route, reply }));
    }

    /// The voter of a group whose build knows the earliest schema; one that has not said so before all others.
    fn least_schema(&self, id: GroupId) -> Option<(NodeId, Option<Schema>)> {
        let Life::Running(running) = &self.life else { return None };
        let voters = &self.group(id)?.replica.membership().voters;
        let known = |voter: &NodeId| {
            let own = (*voter == self.config.node).then_some(A::SCHEMA);
            (*voter, own.or_else(|| running.heartbeats.schema(*voter)))
        };
        voters.iter().map(known).min_by_key(|(_, schema)| *schema)
    }
}

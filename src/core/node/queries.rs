//! Questions about a group's state that wait: for a read index, and then for the state to reach it.

use alloc::collections::VecDeque;

use super::{Effects, Life, Node};
use crate::codec;
use crate::consensus::vsr::{ReadTicket, VsrNode};
use crate::kernel::{ANSWER_BYTES_MAX, ChrApplication, DeadQuery, Executor, Halt};
use crate::node::door::{About, Effect, Freshness, Query, QueryAnswer, Route};
use crate::types::{Blob, GroupId, Mark, Marks, Monotonic, Nanos, u64_of};

/// Those of one group, oldest first: who asked earlier is answered no later.
#[derive(Clone)]
pub(in crate::node) struct Queries<A: ChrApplication>(VecDeque<Waiting<A>>);

#[derive(Clone)]
struct Waiting<A: ChrApplication> {
    route: Route,
    number: u64,
    request: Asked<A>,
    ticket: ReadTicket,
    since: Monotonic,
}

/// A question that was read.
#[derive(Clone)]
enum Asked<A: ChrApplication> {
    State(A::QueryRequest),
    Dead(DeadQuery),
}

impl<A: ChrApplication> Asked<A> {
    fn read(query: &Query) -> Result<Self, QueryAnswer> {
        let body = query.body.as_slice();
        let read = match query.about {
            About::State => codec::decode(body).map(Self::State),
            About::Dead => codec::decode(body).map(Self::Dead),
        };
        read.map_err(|_| QueryAnswer::Malformed)
    }
}

impl<A: ChrApplication> Default for Queries<A> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<A: ChrApplication> Queries<A> {
    /// Answers those whose index is confirmed and applied.
    pub(in crate::node) fn settle(
        &mut self,
        replica: &VsrNode,
        executor: &Executor<A>,
        effects: &mut Effects,
        marks: &mut impl Marks,
    ) {
        let mut is_ready = |waiting: &mut Waiting<A>| match replica.read_index(waiting.ticket) {
            Some(index) if index > executor.applied() => {
                marks.hit(Mark::QueryWaitsToBeApplied);
                false
            }
            index => index.is_some(),
        };
        while let Some(Waiting { route, number, request, .. }) = self.0.pop_front_if(&mut is_ready) {
            effects.push(Effect::Answer { route, number, answer: answer(executor, request) });
        }
    }

    /// Tells all of them that the replica stands still.
    pub(in crate::node) fn halt(&mut self, halt: &Halt, effects: &mut Effects) {
        for Waiting { route, number, .. } in self.0.drain(..) {
            effects.push(Effect::Answer { route, number, answer: QueryAnswer::Halted(halt.clone()) });
        }
    }

    /// Turns away those that have waited for so long.
    fn give_up(&mut self, now: Monotonic, patience: Nanos, effects: &mut Effects, marks: &mut impl Marks) {
        let is_over = |waiting: &mut Waiting<A>| now.since(waiting.since) >= patience;
        while let Some(Waiting { route, number, .. }) = self.0.pop_front_if(is_over) {
            marks.hit(Mark::QueryGivenUp);
            effects.push(Effect::Answer { route, number, answer: QueryAnswer::Busy });
        }
    }
}

fn answer<A: ChrApplication>(executor: &Executor<A>, asked: Asked<A>) -> QueryAnswer {
    let body = match asked {
        Asked::State(request) => match executor.query(request) {
            Ok(response) => codec::encode(&response),
            Err(what) => return QueryAnswer::Panicked { what },
        },
        Asked::Dead(question) => codec::encode(&executor.outbox().dead().query(&question)),
    };
    if u64_of(body.len()) > u64::from(ANSWER_BYTES_MAX) {
        return QueryAnswer::TooLong { max: ANSWER_BYTES_MAX };
    }
    QueryAnswer::State { op: executor.applied(), body: Blob::from(body) }
}

impl<A: ChrApplication, M: Marks> Node<A, M> {
    pub(super) fn on_query(&mut self, route: Route, query: &Query, effects: &mut Effects) {
        if matches!(self.life, Life::Halted(_)) {
            return;
        }
        if let Err(answer) = self.take_query(route, query, effects) {
            effects.push(Effect::Answer { route, number: query.number, answer });
        }
    }

    /// Has the question wait for its index; what it is answered at once otherwise.
    fn take_query(&mut self, route: Route, query: &Query, effects: &mut Effects) -> Result<(), QueryAnswer> {
        if !self.may_show(query.group) {
            return Err(QueryAnswer::Busy);
        }
        let group = self.group(query.group).ok_or(QueryAnswer::UnknownGroup)?;
        let request = Asked::read(query)?;
        // The disk may have been wiped, and what this node has shown before be gone from it: a quorum knows.
        if group.is_arriving() {
            self.marks.hit(Mark::QueryBeforeArrival);
            return Err(QueryAnswer::Busy);
        }
        if let Some(halt) = group.halted() {
            return Err(QueryAnswer::Halted(halt.clone()));
        }
        if query.freshness == Freshness::Stale {
            return Err(answer(group.executor(), request));
        }
        if u64_of(group.queries.0.len()) >= u64::from(self.config.limits.queue_requests_max) {
            self.marks.hit(Mark::QueriesFull);
            return Err(QueryAnswer::Busy);
        }
        self.with_group(query.group, effects, |group, turn| {
            let (ticket, since) = (group.replica.ask_read_index(turn), turn.now.monotonic);
            group.queries.0.push_back(Waiting { route, number: query.number, request, ticket, since });
        });
        Ok(())
    }

    /// Whether the node runs, on a disk that nobody has disowned, and the group, if it is one of its, is not to come from a peer.
    fn may_show(&self, group: GroupId) -> bool {
        let Life::Running(running) = &self.life else { return false };
        running.amnesia.is_none() && !running.waiting.contains_key(&group)
    }

    /// Turns away what no quorum has confirmed for long.
    pub(super) fn give_up_queries(&mut self, effects: &mut Effects) {
        let (now, patience) = (self.now.monotonic, self.config.timeouts.abdicate);
        let Life::Running(running) = &mut self.life else { return };
        for group in &mut running.groups {
            group.queries.give_up(now, patience, effects, &mut self.marks);
        }
    }
}

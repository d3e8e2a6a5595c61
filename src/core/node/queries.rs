//! Questions about a group's state that wait: for a read index, and then for the state to reach it.

use alloc::collections::VecDeque;
use alloc::vec::Vec;

use super::{Effects, Life, Node};
use crate::codec;
use crate::consensus::vsr::{ReadTicket, VsrNode};
use crate::kernel::{ANSWER_BYTES_MAX, ChrApplication, DeadQuery, Executor, Halt};
use crate::node::door::{About, Effect, Freshness, Query, QueryAnswer, Route};
use crate::types::{Blob, GroupId, Mark, Marks, Monotonic, Nanos, Op, u64_of};

/// Those of one group.
#[derive(Clone)]
pub(in crate::node) struct Queries<A: ChrApplication> {
    /// Oldest first: who asked earlier is answered no later.
    waiting: VecDeque<Waiting<A>>,
    /// Who waits for news.
    awaiting: Vec<Awaiting<A>>,
    /// Up to here the state has had none for them.
    looked_at: Op,
}

#[derive(Clone)]
struct Waiting<A: ChrApplication> {
    route: Route,
    number: u64,
    request: Asked<A>,
    ticket: ReadTicket,
    since: Monotonic,
}

#[derive(Clone)]
struct Awaiting<A: ChrApplication> {
    route: Route,
    number: u64,
    request: Asked<A>,
    until: Monotonic,
}

/// A question that was read.
#[derive(Clone)]
enum Asked<A: ChrApplication> {
    State(A::QueryRequest),
    Dead(DeadQuery),
}

impl<A: ChrApplication> Asked<A> {
    /// Whether there is something to be told; a panic is.
    fn has_news(&self, executor: &Executor<A>) -> bool {
        match self {
            Self::State(request) => executor.has_news(request).unwrap_or(true),
            Self::Dead(_) => true,
        }
    }

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
        Self { waiting: VecDeque::new(), awaiting: Vec::new(), looked_at: Op::GENESIS }
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
        while let Some(Waiting { route, number, request, .. }) = self.waiting.pop_front_if(&mut is_ready) {
            effects.push(Effect::Answer { route, number, answer: answer(executor, request) });
        }
        if self.looked_at != executor.applied() {
            self.looked_at = executor.applied();
            let is_over = |awaiting: &Awaiting<A>| awaiting.request.has_news(executor);
            self.answer_awaiting(is_over, executor, effects);
        }
    }

    /// Answers those whose waiting is over.
    fn answer_awaiting(
        &mut self,
        mut is_over: impl FnMut(&Awaiting<A>) -> bool,
        executor: &Executor<A>,
        effects: &mut Effects,
    ) {
        for Awaiting { route, number, request, .. } in
            self.awaiting.extract_if(.., |awaiting| is_over(awaiting))
        {
            effects.push(Effect::Answer { route, number, answer: answer(executor, request) });
        }
    }

    /// Tells all of them that the replica stands still.
    pub(in crate::node) fn halt(&mut self, halt: &Halt, effects: &mut Effects) {
        let waiting = self.waiting.drain(..).map(|waiting| (waiting.route, waiting.number));
        let awaiting = self.awaiting.drain(..).map(|awaiting| (awaiting.route, awaiting.number));
        for (route, number) in waiting.chain(awaiting) {
            effects.push(Effect::Answer { route, number, answer: QueryAnswer::Halted(halt.clone()) });
        }
    }

    /// Turns away those that have waited for so long.
    fn give_up(&mut self, now: Monotonic, patience: Nanos, effects: &mut Effects, marks: &mut impl Marks) {
        let is_over = |waiting: &mut Waiting<A>| now.since(waiting.since) >= patience;
        while let Some(Waiting { route, number, .. }) = self.waiting.pop_front_if(is_over) {
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
        let waiting = group.queries.waiting.len() + group.queries.awaiting.len();
        let is_full = u64_of(waiting) >= u64::from(self.config.limits.queue_requests_max);
        let awaits_none = |freshness| match freshness {
            Freshness::Stale => true,
            Freshness::Awaited { .. } => request.has_news(group.executor()),
            Freshness::Linearizable => false,
        };
        if awaits_none(query.freshness) {
            return Err(answer(group.executor(), request));
        }
        if is_full {
            self.marks.hit(Mark::QueriesFull);
            return Err(QueryAnswer::Busy);
        }
        let (number, now) = (query.number, self.now.monotonic);
        self.with_group(query.group, effects, |group, turn| match query.freshness {
            Freshness::Awaited { patience } => {
                let until = now.after(patience.min(PATIENCE_MAX));
                group.queries.awaiting.push(Awaiting { route, number, request, until });
            }
            Freshness::Linearizable | Freshness::Stale => {
                let (ticket, since) = (group.replica.ask_read_index(turn), now);
                group.queries.waiting.push_back(Waiting { route, number, request, ticket, since });
            }
        });
        Ok(())
    }

    /// Whether the node runs, on a disk that nobody has disowned, and the group, if it is one of its, is not to come from a peer.
    fn may_show(&self, group: GroupId) -> bool {
        let Life::Running(running) = &self.life else { return false };
        running.amnesia.is_none() && !running.waiting.contains_key(&group)
    }

    /// Turns away what no quorum has confirmed for long, and tells those who have waited long enough what there is.
    pub(super) fn give_up_queries(&mut self, effects: &mut Effects) {
        let (now, patience) = (self.now.monotonic, self.config.timeouts.abdicate);
        let Life::Running(running) = &mut self.life else { return };
        for group in &mut running.groups {
            group.queries.give_up(now, patience, effects, &mut self.marks);
            let mut queries = core::mem::take(&mut group.queries);
            queries.answer_awaiting(|awaiting| awaiting.until <= now, group.executor(), effects);
            group.queries = queries;
        }
    }
}

/// Nobody waits longer for news.
const PATIENCE_MAX: Nanos = Nanos::from_secs(60);

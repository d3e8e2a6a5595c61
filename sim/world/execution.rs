//! ApplyPure (61), ErrorKeepsState, PanicHalts: the world executes each group's committed log itself, beside the replicas, and
//! every event twice. What operators are told is held against it as well (ReplyOnlyCommitted).
//!
//! ```text
//! whoever has applied an op first gives the entry -> one state and another, equal so far, through one application
//!                                                    |-> answers, side effects, states: equal again
//!                                                    |-> refused: the state is as the other one, which has not heard of it yet
//! every replica that shows this op                ---'-> the same digest
//! ```
//!
//! One instance of the application executes both: what it keeps to itself is not the same the second time. A state is compared by
//! its snapshot, and a large one less often, so that no event costs more than a little.

use std::collections::BTreeSet;

use bytes::Bytes;
use chronon_core::codec;
use chronon_core::kernel::{
    ApplyContext, ChrApplication, Chunk, Cursor, Event, EventPlace, Executor, Halt, QueryContext, Schema,
};
use chronon_core::node::GroupStatus;
use chronon_core::types::{
    Entry, EntryKind, GroupId, GroupInit, Hash, Membership, NoMarks, NodeId, Op, Timestamp,
};

use crate::oracle::{Counts, Violation};
use crate::panics::GUARD;

/// One group, executed beside its replicas.
#[derive(Clone)]
pub(super) struct Execution<A: ChrApplication> {
    executor: Executor<Twice<A>>,
    /// By op, from the genesis.
    digests: Vec<Hash>,
    /// What the log skips is known up to here.
    looked_to: Op,
    /// Entries that operators had put into the log.
    ordered: BTreeSet<Op>,
    /// The memberships that the log makes.
    memberships: Vec<Membership>,
    /// What operators were told, as often as it was held against these.
    told: u64,
    /// Where replicas stood still, and rightly so.
    halts: BTreeSet<EventPlace>,
    /// Replicas that were seen to stand still.
    halted: u64,
    /// Digests that replicas showed were compared with these.
    shown: u64,
}

/// An application that does everything twice, to two states.
#[derive(Clone)]
struct Twice<A>(A);

#[derive(Clone)]
struct Both<S> {
    one: S,
    other: S,
    found: Found,
}

/// What came of comparing.
#[derive(Clone, Default)]
struct Found {
    /// The first invariant that broke, and how.
    broken: Option<(&'static str, String)>,
    pure: u64,
    kept: u64,
    /// Events until the states are compared again.
    rests: usize,
}

/// A state that is so long, in bytes, is compared at every event; one that is `n` times so long at every `n`-th.
const COMPARED_ALWAYS: usize = 2048;

impl<A: ChrApplication> Execution<A> {
    pub(super) fn new(application: A, init: &GroupInit) -> Self {
        let executor = Executor::new(Twice(application), init.clone()).guarded(GUARD);
        let digests = vec![executor.digest()];
        let (ordered, halts) = (BTreeSet::new(), BTreeSet::new());
        let (looked_to, memberships) = (Op::GENESIS, Vec::new());
        Self { executor, digests, looked_to, ordered, memberships, told: 0, halts, halted: 0, shown: 0 }
    }

    /// A replica shows what it has applied, and gives the committed entries that it still has; those that are new go to `applied`.
    pub(super) fn show(
        &mut self,
        node: NodeId,
        status: &GroupStatus,
        entry: impl Fn(Op) -> Option<Entry>,
        applied: &mut Vec<Entry>,
    ) -> Option<Violation> {
        self.look_ahead(status.commit.op_or_genesis(), &entry);
        while self.executor.applied() < status.applied
            && let Some(entry) = entry(self.executor.applied().next())
        {
            if let Err(halt) = self.executor.apply(&entry, &mut Vec::new(), &mut NoMarks) {
                let Halt { place, what, .. } = halt;
                let what = format!("it applies event {} of op {}, and {what}", place.index, place.op);
                return Some(Violation::new("PanicHalts", what).at(node).of(status.group));
            }
            self.digests.push(self.executor.digest());
            applied.push(entry.clone());
            match entry.header().kind() {
                EntryKind::Skip | EntryKind::Activation | EntryKind::Redrive | EntryKind::Discard => {
                    self.ordered.insert(entry.op());
                }
                EntryKind::Membership => {
                    self.ordered.insert(entry.op());
                    self.memberships.push(self.executor.membership().clone());
                }
                EntryKind::Genesis | EntryKind::Commands | EntryKind::Wakeup | EntryKind::SideEffects => {}
            }
            if let Some((invariant, what)) = &self.executor.state().found.broken {
                let what = format!("op {}, {what}", entry.op());
                return Some(Violation::new(invariant, what).of(status.group));
            }
        }
        if let Some(place) = status.halted
            && let Err(what) = self.judge_halt(place, status.applied, &entry)
        {
            return Some(Violation::new("PanicHalts", what).at(node).of(status.group));
        }
        let place = usize::try_from(status.applied.get()).ok()?;
        let executed = self.digests.get(place)?;
        self.shown += 1;
        (*executed != status.applied_digest).then(|| {
            let what = format!(
                "applied up to op {} with digest {:?}; the committed log, executed once more, gives {executed:?}",
                status.applied, status.applied_digest
            );
            Violation::new("ApplyPure", what).at(node).of(status.group)
        })
    }

    /// Notes what the log skips, before it is executed.
    fn look_ahead(&mut self, commit: Op, entry: &impl Fn(Op) -> Option<Entry>) {
        while self.looked_to < commit
            && let Some(entry) = entry(self.looked_to.next())
        {
            self.looked_to = entry.op();
            if entry.header().kind() == EntryKind::Skip
                && let Ok(place) = codec::decode::<EventPlace>(entry.payload())
            {
                self.executor.expect_skip(place);
            }
        }
    }

    /// A replica stands still at `place`: so must whoever executes that.
    fn judge_halt(
        &mut self,
        place: EventPlace,
        applied: Op,
        entry: &impl Fn(Op) -> Option<Entry>,
    ) -> Result<(), String> {
        self.halted += 1;
        if self.halts.contains(&place) {
            return Ok(());
        }
        if place.op != applied.next() {
            return Err(format!("it stands still at op {}, and has applied up to op {applied}", place.op));
        }
        let Some(entry) = entry(place.op).filter(|_| self.executor.applied() == applied) else {
            return Ok(());
        };
        let halt = self.executor.clone().apply(&entry, &mut Vec::new(), &mut NoMarks).err();
        if halt.as_ref().is_some_and(|halt| halt.place == place) {
            self.halts.insert(place);
            return Ok(());
        }
        let EventPlace { op, index } = place;
        Err(format!("it stands still at event {index} of op {op}, which executed once more gives {halt:?}"))
    }

    /// Whose log it is.
    pub(super) fn group(&self) -> GroupId {
        self.executor.init().group
    }

    /// The memberships that the log makes, in order.
    pub(super) fn memberships(&self) -> &[Membership] {
        &self.memberships
    }

    /// An operator is told that what it ordered is done by the entry at `op`.
    pub(super) fn told(&mut self, node: NodeId, op: Op) -> Option<Violation> {
        if op > self.executor.applied() {
            return None;
        }
        self.told += 1;
        (!self.ordered.contains(&op)).then(|| {
            let what =
                format!("an operator is told that op {op} does what it ordered, and it is no such entry");
            Violation::new("ReplyOnlyCommitted", what).at(node).of(self.executor.init().group)
        })
    }

    /// The world has converged: a replica that has applied as much is in the state that the log gives.
    pub(super) fn end(&self, node: NodeId, applied: Op, state: &A::State) -> Option<Violation> {
        if applied != self.executor.applied() {
            return None;
        }
        let Twice(application) = self.executor.application();
        let is_same = saved(application, state) == saved(application, &self.executor.state().one);
        (!is_same).then(|| {
            let what = format!("at op {applied} its state is not the one that the committed log gives");
            Violation::new("ApplyPure", what).at(node).of(self.executor.init().group)
        })
    }

    pub(super) fn count(&self, counts: &mut Counts) {
        let found = &self.executor.state().found;
        counts.add("ApplyPure", self.shown + found.pure);
        counts.add("ErrorKeepsState", found.kept);
        counts.add("NeverPanics", found.pure);
        counts.add("PanicHalts", self.halted);
        counts.add("ReplyOnlyCommitted", self.told);
    }
}

impl Found {
    fn note(&mut self, invariant: &'static str, index: u32, what: impl FnOnce() -> String) {
        self.broken.get_or_insert_with(|| (invariant, format!("place {index}: {}", what())));
    }
}

impl<A: ChrApplication> ChrApplication for Twice<A> {
    const SCHEMA: Schema = A::SCHEMA;
    type State = Both<A::State>;
    type QueryRequest = A::QueryRequest;
    type QueryResponse = A::QueryResponse;
    type Error = A::Error;

    fn genesis(&self, group: &GroupInit) -> Self::State {
        Both { one: self.0.genesis(group), other: self.0.genesis(group), found: Found::default() }
    }

    fn apply(
        &self,
        Both { one, other, found }: &mut Self::State,
        event: Event<'_>,
        ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, A::Error> {
        let Self(application) = self;
        let (index, mut again) = (ctx.index(), ctx.afresh());
        let compares = found.rests == 0;
        let first = application.apply(one, event, ctx);
        if compares && first.is_err() {
            found.kept += 1;
            if saved(application, one) != saved(application, other) {
                found.note("ErrorKeepsState", index, || {
                    format!("{} is refused, and the state is not as it was", short(event))
                });
            }
        }
        let second = application.apply(other, event, &mut again);
        found.pure += 1;
        let answers = [&first, &second].map(|answer| match answer {
            Ok(answer) => (true, answer.clone()),
            Err(error) => (false, Bytes::from(codec::encode(error))),
        });
        if answers[0] != answers[1] {
            let [(_, one), (_, other)] = &answers;
            found.note("ApplyPure", index, || {
                format!("{}, executed twice, is answered {one:02x?}, then {other:02x?}", short(event))
            });
        }
        if first.is_ok() && ctx.emitted() != again.emitted() {
            let (one, other) = (ctx.emitted(), again.emitted());
            found.note("ApplyPure", index, || {
                format!("{}, executed twice, emits {one:?}, then {other:?}", short(event))
            });
        }
        found.rests = found.rests.saturating_sub(1);
        if compares {
            let (one, other) = (saved(application, one), saved(application, other));
            found.rests = one.iter().map(Vec::len).sum::<usize>() / COMPARED_ALWAYS;
            if one != other {
                found.note("ApplyPure", index, || {
                    format!("{}, executed twice, leads to two different states", short(event))
                });
            }
        }
        first
    }

    fn query(
        &self,
        state: &Self::State,
        request: A::QueryRequest,
        ctx: &mut QueryContext,
    ) -> A::QueryResponse {
        self.0.query(&state.one, request, ctx)
    }

    fn snapshot(&self, state: &Self::State, from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        self.0.snapshot(&state.one, from, out)
    }

    fn restore(&self, state: &mut Self::State, from: Schema, chunk: &[u8]) -> Result<(), A::Error> {
        self.0.restore(&mut state.one, from, chunk)?;
        self.0.restore(&mut state.other, from, chunk)
    }

    fn migrate(&self, state: &mut Self::State, from: Schema, to: Schema) {
        self.0.migrate(&mut state.one, from, to);
        self.0.migrate(&mut state.other, from, to);
    }

    fn next_wakeup(&self, state: &Self::State) -> Option<Timestamp> {
        self.0.next_wakeup(&state.one)
    }
}

/// A state as a snapshot holds it: equal ones give equal slices.
fn saved<A: ChrApplication>(application: &A, state: &A::State) -> Vec<Chunk> {
    let (mut slices, mut cursor) = (Vec::new(), Some(Cursor::START));
    while let Some(from) = cursor {
        let mut slice = Chunk::new();
        cursor = application.snapshot(state, from, &mut slice);
        slices.push(slice);
    }
    slices
}

/// What was applied, for people.
fn short(event: Event<'_>) -> String {
    match event {
        Event::Command(body) => format!("a command of {} bytes", body.len()),
        Event::Wakeup => "a wake-up".to_owned(),
        Event::SideEffect { id, .. } => format!("the end of side effect {id}"),
    }
}

//! The contract of an application on the kernel.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, wire};
use crate::kernel::side_effect::{Place, SideEffect, SideEffectId, SideEffectOutcome};
use crate::types::{GroupId, GroupInit, Hash, Notation, NotationError, Op, Prng, Scanner, Timestamp};

/// The version of an application's behaviour. Behaviour changes only after a logged activation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Schema(pub u32);

impl Schema {
    /// What every group begins with.
    pub const FIRST: Self = Self(1);
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Notation for Schema {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
        Notation::scan(scanner).map(Self)
    }
}

/// What an application is asked to apply, one at a time, in op order.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Event<'a> {
    /// A client's command.
    Command(&'a [u8]),
    /// Consensus time reached what [`ChrApplication::next_wakeup`] asked for.
    Wakeup,
    /// A side effect that the application emitted has ended. One that was given up may be tried again later, when an operator says
    /// so: the application then hears of its end once more.
    SideEffect {
        /// Which.
        id: SideEffectId,
        /// How.
        outcome: &'a SideEffectOutcome,
    },
}

/// Where a snapshot in slices goes on. Opaque to all but the application, which puts into it what it likes: the last key
/// that it wrote, as a rule.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Cursor(Bytes);

impl Cursor {
    /// The first slice.
    pub const START: Self = Self(Bytes::new());

    /// Goes on behind `last`.
    pub fn after(last: &impl wire::Encode) -> Self {
        Self(Bytes::from(codec::encode(last)))
    }

    /// What [`Cursor::after`] was given; none at the start.
    ///
    /// # Panics
    /// When it was given something else: a cursor comes back to the application that made it, and to no other.
    pub fn get<T: wire::Decode<()>>(&self) -> Option<T> {
        if *self == Self::START {
            return None;
        }
        match codec::decode(&self.0) {
            Ok(last) => Some(last),
            Err(error) => panic!("a cursor of another application: {error}"),
        }
    }
}

/// A slice of a snapshot being written.
pub type Chunk = alloc::vec::Vec<u8>;

/// A deterministic state machine, replicated by the kernel.
///
/// `apply` is a pure function of state, event and context: the same on every replica, in debug and in release.
pub trait ChrApplication: Clone {
    /// The latest behaviour that this build knows; it knows all before it as well. A group begins with [`Schema::FIRST`], and goes
    /// on to a later one when an operator activates it: all replicas at the same op.
    const SCHEMA: Schema;
    /// The replicated state. A clone is taken for each snapshot, which is written while the state goes on: it should be
    /// cheap, as one of [`crate::collections`] is.
    type State: Clone;
    /// What [`ChrApplication::query`] is asked.
    type QueryRequest: wire::Decode<()> + Clone;
    /// What it answers.
    type QueryResponse: wire::Encode;
    /// A deterministic refusal; the state is then as it was.
    type Error: wire::Encode;

    /// The state of a group that has applied nothing: one of [`Schema::FIRST`].
    fn genesis(&self, group: &GroupInit) -> Self::State;

    /// Applies `event`. The answer goes to the client and is kept for its retries.
    ///
    /// # Errors
    /// The application's refusal. The state must be as it was.
    ///
    /// # Panics
    /// It should not. When it does, the group stands still at the event, until the log skips it.
    fn apply(
        &self,
        state: &mut Self::State,
        event: Event<'_>,
        ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, Self::Error>;

    /// Answers a question about the state without changing it.
    fn query(
        &self,
        state: &Self::State,
        request: Self::QueryRequest,
        ctx: &mut QueryContext,
    ) -> Self::QueryResponse;

    /// Whether a question that waits for news ([`crate::node`]'s `Freshness::Awaited`) has any to be told.
    fn has_news(&self, _state: &Self::State, _request: &Self::QueryRequest) -> bool {
        true
    }

    /// Appends the slice at `from` to `out`; the cursor of the next slice, `None` after the last. Equal states give
    /// equal bytes. The node stands still for as long as one slice takes: 64 KiB are a good length.
    fn snapshot(&self, state: &Self::State, from: Cursor, out: &mut Chunk) -> Option<Cursor>;

    /// Adds one slice to a state that began as the genesis. Slices come in order.
    ///
    /// # Errors
    /// When the slice is not one that `from` could have written.
    fn restore(&self, state: &mut Self::State, from: Schema, chunk: &[u8]) -> Result<(), Self::Error>;

    /// Turns a state of schema `from` into one of `to`, which is no later than [`ChrApplication::SCHEMA`]; as pure as `apply`.
    fn migrate(&self, _state: &mut Self::State, _from: Schema, _to: Schema) {}

    /// When the application wants [`Event::Wakeup`], in consensus time.
    fn next_wakeup(&self, _state: &Self::State) -> Option<Timestamp> {
        None
    }
}

/// What `apply` may know beside state and event.
#[derive(Debug)]
pub struct ApplyContext<'a> {
    pub(in crate::kernel) group: &'a GroupInit,
    pub(in crate::kernel) op: Op,
    pub(in crate::kernel) index: u32,
    pub(in crate::kernel) timestamp: Timestamp,
    pub(in crate::kernel) schema: Schema,
    pub(in crate::kernel) emitted: Emitted,
}

/// What one event emits.
#[derive(Debug)]
pub(in crate::kernel) struct Emitted {
    /// How many the op had emitted before.
    pub first: u32,
    pub side_effects: Vec<SideEffect>,
}

impl ApplyContext<'_> {
    /// Has something done outside of the cluster, once this op is committed: again and again under the id that comes back, until
    /// an executor says that it took effect, or it is given up. Either way the application hears of it, as an
    /// [`Event::SideEffect`]. Nothing is done when `apply` then fails.
    pub fn emit(&mut self, side_effect: SideEffect) -> SideEffectId {
        let count = u32::try_from(self.emitted.side_effects.len()).unwrap_or(u32::MAX);
        let place = Place { op: self.op, index: self.emitted.first.saturating_add(count) };
        self.emitted.side_effects.push(side_effect);
        SideEffectId::of(self.group, place)
    }

    /// The same context, in which nothing was emitted yet: to apply the event once more, to another copy of the state.
    pub fn afresh(&self) -> Self {
        let Self { group, op, index, timestamp, schema, .. } = *self;
        let emitted = Emitted { first: self.emitted.first, side_effects: Vec::new() };
        Self { group, op, index, timestamp, schema, emitted }
    }

    /// What was emitted so far, in order.
    pub fn emitted(&self) -> &[SideEffect] {
        &self.emitted.side_effects
    }

    /// The group's founding facts.
    pub fn group(&self) -> &GroupInit {
        self.group
    }

    /// The entry being applied.
    pub fn op(&self) -> Op {
        self.op
    }

    /// The command's place in its entry, from 0.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Consensus time of the entry: strictly increasing by op.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The behaviour in force.
    pub fn schema(&self) -> Schema {
        self.schema
    }

    /// A random stream that is the same on every replica, keyed by (cluster, group, op, index).
    pub fn random(&self) -> Prng {
        let group: GroupId = self.group.group;
        let key = Hash::of_pieces(&[
            b"chronon apply",
            &self.group.cluster.get().to_le_bytes(),
            &group.get().to_le_bytes(),
            &self.op.get().to_le_bytes(),
            &self.index.to_le_bytes(),
        ]);
        Prng::from_key(*key.as_bytes())
    }
}

/// What `query` may know beside state and question.
#[derive(Debug)]
pub struct QueryContext {
    /// The op that the state reflects.
    pub op: Op,
}

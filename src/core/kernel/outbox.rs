//! The outbox: side effects that were emitted and have not ended, part of the replicated state.
//!
//! ```text
//! emit -> intent -> attempt -> done                      -> Event::SideEffect
//!            ^         |-----> refused, or once too often -> Event::SideEffect, and dead
//!            |---------|-----> failed: rests                                     |
//!            '---------------------- redrive, by an operator --------------------'
//! ```
//!
//! How often it failed, and how long it is to rest, is replicated; when that is over is for the primary to say, by a clock that never
//! goes back. Who is redriven goes on counting its attempts where it was: no two share a number, so the late end of one from before
//! is the end of no other.

use alloc::vec::Vec;
use core::ops::Bound;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, CodecError};
use crate::collections::PersistentMap;
use crate::kernel::dead::{Dead, DeadSideEffects};
use crate::kernel::side_effect::{AttemptResult, Place, Report, SideEffect, SideEffectId, SideEffectOutcome};
use crate::types::{Mark, Marks, Nanos, Op, u64_of};

/// The side effects of a group that have not ended, and those that were given up.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    intents: PersistentMap<Place, Intent>,
    /// Of all targets and bodies of those that have not ended.
    bytes: u64,
    /// Those of the intents that were dead, by the op at which they were redriven.
    redriven: PersistentMap<(Op, Place), SideEffectId>,
    dead: DeadSideEffects,
}

/// A side effect that has not ended, as a snapshot holds it too.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Intent {
    /// What is to be done.
    pub side_effect: SideEffect,
    /// Attempts that failed.
    pub failures: u32,
    /// It was dead, and an operator has it tried again.
    pub redriven: Option<Redriven>,
    /// How long it is to rest since it failed last.
    pub rest: Nanos,
}

/// Since when a side effect that was dead is tried again.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Redriven {
    /// The entry.
    pub at: Op,
    /// Its idempotency key.
    pub id: SideEffectId,
    /// Attempts that were made before, which count no more.
    pub forgiven: u32,
}

impl Intent {
    /// Attempts that failed and count.
    fn failures_after(&self, attempt: u32) -> u32 {
        attempt - self.redriven.map_or(0, |redriven| redriven.forgiven)
    }
}

impl Outbox {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.intents.len()
    }

    /// The op that emitted the oldest one.
    pub fn oldest(&self) -> Option<Op> {
        self.intents.first().map(|(place, _)| place.op)
    }

    /// Bytes of all their targets and bodies.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether there are as many, or as many bytes of them.
    pub fn is_full(&self, count: u32, bytes: u32) -> bool {
        u64_of(self.len()) >= u64::from(count) || self.bytes >= u64::from(bytes)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.intents.is_empty()
    }

    /// The one that was emitted at `place`, if it has not ended.
    pub fn get(&self, place: Place) -> Option<&Intent> {
        self.intents.get(&place)
    }

    /// Where those of ops above `op` were emitted.
    pub fn above(&self, op: Op) -> impl Iterator<Item = Place> {
        self.intents.range(Bound::Included(&Place { op: op.next(), index: 0 })).map(|(place, _)| *place)
    }

    /// Those that were redriven at ops above `op`, each with that op.
    pub fn redriven_above(&self, op: Op) -> impl Iterator<Item = (Op, Place)> {
        let from = (op.next(), Place { op: Op::GENESIS, index: 0 });
        self.redriven.range(Bound::Included(&from)).map(|(at, _)| *at)
    }

    /// Those that were given up.
    pub fn dead(&self) -> &DeadSideEffects {
        &self.dead
    }

    /// Whether it was redriven and has not ended since.
    pub fn is_redriven(&self, id: SideEffectId) -> bool {
        self.redriven.values().any(|redriven| *redriven == id)
    }

    /// How many `op` has emitted so far, all of which are here: what ends does so at a later op.
    pub(in crate::kernel) fn emitted_at(&self, op: Op) -> u32 {
        let last = self.intents.last().filter(|(place, _)| place.op == op);
        last.map_or(0, |(place, _)| place.index + 1)
    }

    /// Takes what was emitted at `place`.
    pub(in crate::kernel) fn put(&mut self, place: Place, side_effect: SideEffect) {
        self.insert(place, Intent { side_effect, failures: 0, redriven: None, rest: Nanos::default() });
    }

    /// A dead side effect is to be tried again, from `at` on; false when there is none of this id.
    pub(in crate::kernel) fn redrive(&mut self, at: Op, id: SideEffectId) -> bool {
        let Some(Dead { place, side_effect, attempts, .. }) = self.dead.take(id) else { return false };
        let redriven = Some(Redriven { at, id, forgiven: attempts });
        self.insert(place, Intent { side_effect, failures: attempts, redriven, rest: Nanos::default() });
        true
    }

    /// A dead side effect is to be forgotten; false when there is none of this id.
    pub(in crate::kernel) fn discard(&mut self, id: SideEffectId) -> bool {
        self.dead.take(id).is_some()
    }

    fn insert(&mut self, place: Place, intent: Intent) {
        self.bytes += intent.side_effect.bytes();
        if let Some(Redriven { at, id, .. }) = intent.redriven {
            self.redriven.insert((at, place), id);
        }
        self.intents.insert(place, intent);
    }

    /// An attempt at the side effect `id` ended, says the entry at `op`; what the application is told if that was the end of it.
    ///
    /// # Panics
    /// When nobody waits for the end of this attempt. Who reports one has authority, and so has applied whatever an earlier
    /// primary reported.
    pub(in crate::kernel) fn settle(
        &mut self,
        (op, id): (Op, SideEffectId),
        report: Report,
        marks: &mut impl Marks,
    ) -> Option<SideEffectOutcome> {
        let Report { place, attempt, result } = report;
        let Some(intent) = self.intents.get_mut(&place).filter(|intent| attempt == intent.failures + 1)
        else {
            panic!(
                "{place} has not failed {} times, and attempt {attempt} is said to have ended",
                attempt - 1
            );
        };
        let retry = intent.side_effect.retry();
        let counted = intent.failures_after(attempt);
        let outcome = match result {
            AttemptResult::Done(answer) => SideEffectOutcome::Done(answer),
            AttemptResult::Refused(why) => {
                marks.hit(Mark::SideEffectRefused);
                SideEffectOutcome::GivenUp { attempts: attempt, why }
            }
            AttemptResult::Failed { why, .. } if counted >= retry.attempts_max => {
                marks.hit(Mark::SideEffectGivenUp);
                SideEffectOutcome::GivenUp { attempts: attempt, why }
            }
            AttemptResult::Failed { rest, .. } => {
                marks.hit(Mark::SideEffectRests);
                (intent.failures, intent.rest) = (attempt, retry.rest(counted).max(rest));
                return None;
            }
        };
        self.end(op, place, id, &outcome, marks);
        Some(outcome)
    }

    fn end(
        &mut self,
        op: Op,
        place: Place,
        id: SideEffectId,
        outcome: &SideEffectOutcome,
        marks: &mut impl Marks,
    ) {
        let Some(Intent { side_effect, redriven, .. }) = self.intents.remove(&place) else { return };
        self.bytes -= side_effect.bytes();
        if let Some(Redriven { at, .. }) = redriven {
            self.redriven.remove(&(at, place));
        }
        match outcome {
            SideEffectOutcome::Done(_) if redriven.is_some() => marks.hit(Mark::RedrivenDone),
            SideEffectOutcome::Done(_) => {}
            SideEffectOutcome::GivenUp { attempts, why } => {
                let (attempts, why) = (*attempts, why.clone());
                self.dead.put(Dead { id, place, since: op, side_effect, attempts, why }, marks);
            }
        }
    }

    /// The intents behind `after` as a snapshot holds them, ascending by place.
    pub(in crate::kernel) fn saved(&self, after: Option<Place>) -> impl Iterator<Item = (Place, Vec<u8>)> {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let saved = |place: &Place, intent: &Intent| codec::encode(&(*place, intent.clone()));
        self.intents.range(from).map(move |(place, intent)| (*place, saved(place, intent)))
    }

    pub(in crate::kernel) fn dead_mut(&mut self) -> &mut DeadSideEffects {
        &mut self.dead
    }

    /// Adds an intent that a snapshot holds.
    pub(in crate::kernel) fn restore(&mut self, saved: &[u8]) -> Result<(), CodecError> {
        let (place, intent) = codec::decode(saved)?;
        self.insert(place, intent);
        Ok(())
    }
}

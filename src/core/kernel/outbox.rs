//! The outbox: side effects that were emitted and have not ended, part of the replicated state.
//!
//! ```text
//! emit -> intent -> attempt -> done                      -> Event::SideEffect
//!            ^         |-----> refused, or once too often -> Event::SideEffect
//!            |---------|-----> failed: rests
//! ```
//!
//! How often it failed, and how long it is to rest, is replicated; when that is over is for the primary to say, by a clock that never
//! goes back.

use alloc::vec::Vec;
use core::ops::Bound;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, CodecError};
use crate::collections::PersistentMap;
use crate::kernel::side_effect::{AttemptResult, Place, Report, SideEffect, SideEffectOutcome};
use crate::types::{Mark, Marks, Nanos, Op};

/// The side effects of a group that have not ended.
#[derive(Clone, Debug, Default)]
pub struct Outbox {
    intents: PersistentMap<Place, Intent>,
    /// Of all targets and bodies.
    bytes: u64,
}

/// A side effect that has not ended, as a snapshot holds it too.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Intent {
    /// What is to be done.
    pub side_effect: SideEffect,
    /// Attempts that failed.
    pub failures: u32,
    /// How long it is to rest since it failed last.
    pub rest: Nanos,
}

impl Outbox {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.intents.len()
    }

    /// Bytes of all their targets and bodies.
    pub fn bytes(&self) -> u64 {
        self.bytes
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

    /// How many `op` has emitted so far, all of which are here: what ends does so at a later op.
    pub(in crate::kernel) fn emitted_at(&self, op: Op) -> u32 {
        let last = self.intents.last().filter(|(place, _)| place.op == op);
        last.map_or(0, |(place, _)| place.index + 1)
    }

    /// Takes what was emitted at `place`.
    pub(in crate::kernel) fn put(&mut self, place: Place, side_effect: SideEffect) {
        self.insert(place, Intent { side_effect, failures: 0, rest: Nanos::default() });
    }

    fn insert(&mut self, place: Place, intent: Intent) {
        self.bytes += intent.side_effect.bytes();
        self.intents.insert(place, intent);
    }

    /// An attempt ended; what the application is told if that was the end of the side effect.
    ///
    /// # Panics
    /// When nobody waits for the end of this attempt. Who reports one has authority, and so has applied whatever an earlier
    /// primary reported.
    pub(in crate::kernel) fn settle(
        &mut self,
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
        let outcome = match result {
            AttemptResult::Done(answer) => SideEffectOutcome::Done(answer),
            AttemptResult::Refused(why) => {
                marks.hit(Mark::SideEffectRefused);
                SideEffectOutcome::GivenUp { attempts: attempt, why }
            }
            AttemptResult::Failed { why, .. } if attempt >= retry.attempts_max => {
                marks.hit(Mark::SideEffectGivenUp);
                SideEffectOutcome::GivenUp { attempts: attempt, why }
            }
            AttemptResult::Failed { rest, .. } => {
                marks.hit(Mark::SideEffectRests);
                (intent.failures, intent.rest) = (attempt, retry.rest(attempt).max(rest));
                return None;
            }
        };
        self.bytes -= intent.side_effect.bytes();
        self.intents.remove(&place);
        Some(outcome)
    }

    /// The intents behind `after` as a snapshot holds them, ascending by place.
    pub(in crate::kernel) fn saved(&self, after: Option<Place>) -> impl Iterator<Item = (Place, Vec<u8>)> {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let saved = |place: &Place, intent: &Intent| codec::encode(&(*place, intent.clone()));
        self.intents.range(from).map(move |(place, intent)| (*place, saved(place, intent)))
    }

    /// Adds an intent that a snapshot holds.
    pub(in crate::kernel) fn restore(&mut self, saved: &[u8]) -> Result<(), CodecError> {
        let (place, intent) = codec::decode(saved)?;
        self.insert(place, intent);
        Ok(())
    }
}

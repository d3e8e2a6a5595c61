//! Executing side effects: soft state of a primary, which dies with its authority.
//!
//! Most are pushed to executors as they come; those of the targets `worker:QUEUE` wait for workers that pull them (`leases.rs`).
//! Whatever it forgets, the outbox remembers: the next primary tries again, under the same idempotency key and a higher token.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::codec;
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::kernel::authority::FencingToken;
use crate::kernel::leases::{Caller, Held, LEASE_MAX, LEASE_MIN, Leases};
use crate::kernel::outbox::{Intent, Outbox};
use crate::kernel::side_effect::{
    AttemptResult, Place, Report, SIDE_EFFECT_ANSWER_BYTES_MAX, SideEffect, SideEffectId,
};
use crate::types::{Blob, GroupInit, Mark, Marks, Monotonic, Nanos, Op, u64_of, usize_of};

/// An attempt at a side effect, for an executor.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Attempt {
    /// The idempotency key: the same in all attempts at the side effect.
    pub id: SideEffectId,
    /// Which side effect it is.
    pub place: Place,
    /// From 1.
    pub number: u32,
    /// Who tries. A receiver that has seen a higher one of the group refuses it.
    pub token: FencingToken,
    /// What is to be done.
    pub side_effect: SideEffect,
}

notation_struct!("attempt" => Attempt { id, place, number, token, side_effect });

impl Attempt {
    fn next(init: &GroupInit, place: Place, intent: &Intent, token: FencingToken) -> Self {
        let number = intent.failures + 1;
        let (id, side_effect) = (SideEffectId::of(init, place), intent.side_effect.clone());
        Self { id, place, number, token, side_effect }
    }
}

/// The end of an attempt, from an executor.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct AttemptDone {
    /// Which side effect.
    pub place: Place,
    /// Which attempt.
    pub number: u32,
    /// Under which token.
    pub token: FencingToken,
    /// How it ended.
    pub result: AttemptResult,
}

notation_struct!("attempt-done" => AttemptDone { place, number, token, result });

/// How a primary paces its side effects.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Under way at once.
    pub in_flight_max: u32,
    /// An attempt that has not ended for so long has failed.
    pub attempt: Nanos,
    /// Bytes of an entry of outcomes.
    pub entry_bytes_max: u32,
}

impl Pace {
    /// So much of an answer that its report fits an entry.
    fn answer_bytes_max(self) -> usize {
        let room = self.entry_bytes_max.saturating_sub(REPORT_OVERHEAD_BYTES);
        usize_of(u64::from(room)).min(SIDE_EFFECT_ANSWER_BYTES_MAX)
    }
}

/// What a primary has under way.
#[derive(Clone, Debug, Default)]
pub struct SideEffectManager {
    /// Under which it acts; `None` when it may not.
    token: Option<FencingToken>,
    /// Side effects of ops above it are new to this primary.
    seen: Op,
    /// Not under way, by when they may be tried.
    resting: BTreeSet<(Monotonic, Place)>,
    under_way: BTreeMap<Place, UnderWay>,
    leases: Leases,
    /// Workers to be told what became of the ends that they told.
    told: Vec<(Caller, Recorded)>,
    /// Ended, in no entry yet.
    reports: Vec<Report>,
}

/// What became of the end of an attempt that a worker told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Recorded {
    /// It is in the log, and applied.
    Yes,
    /// Nobody here knows: this node leads the group no more.
    Unknown,
}

#[derive(Clone, Copy, Debug)]
struct UnderWay {
    number: u32,
    state: State,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// An executor has it, since then.
    Tried(Monotonic),
    /// It ended, and the outbox is yet to hear of it.
    Ended,
}

impl SideEffectManager {
    /// Does what is to be done now, with this authority: appends the attempts that begin.
    pub fn attend(
        &mut self,
        (now, pace): (Monotonic, Pace),
        token: Option<FencingToken>,
        (init, outbox): (&GroupInit, &Outbox),
        attempts: &mut Vec<Attempt>,
        marks: &mut impl Marks,
    ) {
        if self.token != token {
            if !self.under_way.is_empty() {
                marks.hit(Mark::SideEffectsForsaken);
            }
            let mut told = core::mem::take(&mut self.told);
            told.extend(self.leases.waiting().map(|caller| (caller, Recorded::Unknown)));
            *self = Self { token, told, ..Self::default() };
        }
        let Some(token) = token else { return };
        self.take_up(now, outbox);
        self.give_up_on_silent(now, pace.attempt, marks);
        self.leases.expire(now, &mut self.reports, marks);
        while self.has_room(pace)
            && let Some((at, place)) = self.resting.first().copied()
            && at <= now
        {
            self.resting.pop_first();
            let Some(intent) = outbox.get(place) else { continue };
            let attempt = Attempt::next(init, place, intent, token);
            self.under_way.insert(place, UnderWay { number: attempt.number, state: State::Tried(now) });
            attempts.push(attempt);
        }
    }

    /// Takes up what is new in the outbox: what was emitted, what has failed, and what was redriven.
    fn take_up(&mut self, now: Monotonic, outbox: &Outbox) {
        let seen = self.seen;
        for place in outbox.above(seen) {
            self.seen = place.op;
            // What an earlier primary has seen fail rests anew: nobody knows for how long it has.
            if let Some(intent) = outbox.get(place) {
                self.put_off(now, place, intent);
            }
        }
        for (at, place) in outbox.redriven_above(seen) {
            self.seen = self.seen.max(at);
            // Of one that is under way still its end is known now, and is looked at below.
            if self.under_way.contains_key(&place) || self.leases.is_leased(place) {
                continue;
            }
            if let Some(intent) = outbox.get(place) {
                self.put_off(now, place, intent);
            }
        }
        let (mut recorded, mut again) = (Vec::new(), Vec::new());
        self.leases.settle(outbox, &mut recorded, &mut again);
        self.told.extend(recorded.into_iter().map(|caller| (caller, Recorded::Yes)));
        for place in again {
            if let Some(intent) = outbox.get(place) {
                self.put_off(now, place, intent);
            }
        }
        let Self { under_way, resting, .. } = self;
        under_way.retain(|place, under_way| match outbox.get(*place) {
            Some(intent) if intent.failures < under_way.number => true,
            Some(intent) => {
                resting.insert((now.after(intent.rest), *place));
                false
            }
            None => false,
        });
    }

    /// It may be tried once it has rested.
    fn put_off(&mut self, now: Monotonic, place: Place, intent: &Intent) {
        let at = now.after(intent.rest);
        match intent.side_effect.queue() {
            Some(queue) => self.leases.offer(queue, at, place),
            None => {
                self.resting.insert((at, place));
            }
        }
    }

    /// A worker wants side effects of a queue, so many at most, for as long as `lease`.
    pub fn claim(
        &mut self,
        (now, lease): (Monotonic, Nanos),
        (queue, most): (&str, u32),
        (init, outbox): (&GroupInit, &Outbox),
    ) -> Vec<Attempt> {
        let mut attempts = Vec::new();
        let Some(token) = self.token else { return attempts };
        while u64_of(attempts.len()) < u64::from(most.min(CLAIM_MAX))
            && let Some(place) = self.leases.claim(now, queue)
        {
            let Some(intent) = outbox.get(place) else { continue };
            let attempt = Attempt::next(init, place, intent, token);
            self.leases.hold(place, attempt.number, now.after(bounded(lease)));
            attempts.push(attempt);
        }
        attempts
    }

    /// A worker needs more time: `lease`, from now on.
    ///
    /// # Errors
    /// Why it holds no such lease.
    pub fn renew(&mut self, (now, lease): (Monotonic, Nanos), held: Held) -> Result<(), String> {
        self.check_token(held.token)?;
        self.leases.renew(held, now.after(bounded(lease)))
    }

    /// A worker has ended an attempt, and waits to hear that this is recorded.
    ///
    /// # Errors
    /// Why it holds no such lease.
    pub fn end(
        &mut self,
        held: Held,
        result: AttemptResult,
        caller: Caller,
        pace: Pace,
    ) -> Result<(), String> {
        self.check_token(held.token)?;
        let report = self.leases.end(held, result.bounded(pace.answer_bytes_max()), caller)?;
        self.reports.push(report);
        Ok(())
    }

    /// Whether side effects are granted and ended here, as of the last look.
    pub fn has_authority(&self) -> bool {
        self.token.is_some()
    }

    fn check_token(&self, token: FencingToken) -> Result<(), String> {
        match self.token {
            Some(own) if own == token => Ok(()),
            Some(own) => Err(format!("token {token} is out of force: the group is led under token {own}")),
            None => Err(format!("token {token} is out of force: this node does not lead the group")),
        }
    }

    /// Workers to be told what became of the ends that they told.
    pub fn take_told(&mut self) -> impl Iterator<Item = (Caller, Recorded)> + use<'_> {
        self.told.drain(..)
    }

    fn has_room(&self, pace: Pace) -> bool {
        u64_of(self.under_way.len()) < u64::from(pace.in_flight_max)
    }

    fn give_up_on_silent(&mut self, now: Monotonic, patience: Nanos, marks: &mut impl Marks) {
        for (place, under_way) in &mut self.under_way {
            let State::Tried(since) = under_way.state else { continue };
            if now.since(since) >= patience {
                marks.hit(Mark::AttemptTimedOut);
                under_way.state = State::Ended;
                let result =
                    AttemptResult::Failed { why: Blob::from(TIMED_OUT.to_vec()), rest: Nanos::default() };
                self.reports.push(Report { place: *place, attempt: under_way.number, result });
            }
        }
    }

    /// An executor says how an attempt ended.
    pub fn ended(&mut self, done: AttemptDone, pace: Pace, marks: &mut impl Marks) {
        let AttemptDone { place, number, token, result } = done;
        let under_way = self.under_way.get_mut(&place);
        let is_awaited = |under_way: &&mut UnderWay| {
            under_way.number == number && matches!(under_way.state, State::Tried(_))
        };
        match under_way.filter(is_awaited) {
            Some(under_way) if self.token == Some(token) => {
                under_way.state = State::Ended;
                self.reports.push(Report {
                    place,
                    attempt: number,
                    result: result.bounded(pace.answer_bytes_max()),
                });
            }
            _ => marks.hit(Mark::AttemptEndedTooLate),
        }
    }

    /// Whether there is anything for the log.
    pub fn wants_to_report(&self) -> bool {
        !self.reports.is_empty()
    }

    /// The payload of an entry of as many outcomes as it may hold, one at least; they are not reported again.
    pub fn report(&mut self, pace: Pace) -> Bytes {
        let mut bytes = codec::encode(&Vec::<Report>::new()).len();
        let mut fits = |report: &Report| {
            bytes += codec::encode(report).len();
            bytes <= usize_of(u64::from(pace.entry_bytes_max))
        };
        let count = self.reports.iter().map_while(|report| fits(report).then_some(())).count();
        let first: Vec<Report> = self.reports.drain(..count.max(1)).collect();
        Bytes::from(codec::encode(&first))
    }

    /// When there is something to be done, if nothing is heard before.
    pub fn deadline(&self, pace: Pace) -> Option<Monotonic> {
        let tried = |under_way: &UnderWay| match under_way.state {
            State::Tried(since) => Some(since.after(pace.attempt)),
            State::Ended => None,
        };
        let next = self.resting.first().map(|(at, _)| *at).filter(|_| self.has_room(pace));
        self.under_way.values().filter_map(tried).chain(next).chain(self.leases.deadline()).min()
    }
}

/// A lease as long as one may be.
fn bounded(lease: Nanos) -> Nanos {
    lease.clamp(LEASE_MIN, LEASE_MAX)
}

/// Side effects that a worker is granted at once.
const CLAIM_MAX: u32 = 16;
/// Bytes of an entry of one outcome beside the answer, and some.
const REPORT_OVERHEAD_BYTES: u32 = 64;
const TIMED_OUT: &[u8] = b"no answer in time";

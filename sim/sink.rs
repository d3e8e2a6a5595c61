//! The outside world: sinks where side effects take effect, and what goes wrong there.
//!
//! A sink does what a good receiver does: it knows the keys of what it has done, and the highest fencing token of each group.
//! Whatever it is asked, it may be slow, down, or say nothing; it may do what it is asked and then say that it failed.

use std::collections::{BTreeMap, BTreeSet};

use chronon_core::kernel::{Attempt, AttemptResult, FencingToken, SideEffectId};
use chronon_core::types::{Blob, GroupId, Nanos};

use crate::random::{Draw, Purpose, Randomness};
use crate::time::{MILLISECOND, SECOND, WorldTime};

/// How sinks behave while faults go on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SinkModel {
    /// From a node to a sink, and back, typically; long tails overtake each other.
    pub delay_ns: u64,
    /// The share of attempts that fail, with nothing done, in parts per million.
    pub fail_ppm: u32,
    /// The share of attempts whose answer is lost, whatever was done.
    pub silent_ppm: u32,
    /// The share of attempts that take effect and are answered with a failure.
    pub lie_ppm: u32,
    /// The share of time in which a sink is down.
    pub down_ppm: u32,
    /// The share of time in which a sink refuses whatever it is asked.
    pub refuse_ppm: u32,
}

impl Default for SinkModel {
    fn default() -> Self {
        Self { delay_ns: MILLISECOND, fail_ppm: 0, silent_ppm: 0, lie_ppm: 0, down_ppm: 0, refuse_ppm: 0 }
    }
}

/// What a sink goes through for a while.
#[derive(Clone, Copy, Debug)]
enum Spell {
    /// Nothing reaches it.
    Outage,
    /// It refuses.
    Refusal,
}

/// What became of an attempt at a sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Verdict {
    /// It took effect.
    TookEffect,
    /// It had taken effect before.
    Repeated,
    /// A later primary of the group was here before: nothing was done.
    Fenced,
    /// The sink will never do such a thing.
    Refused,
    /// Nothing was done.
    Failed,
}

impl Verdict {
    /// Each with its word.
    pub const WORDS: [(Self, &'static str); 5] = [
        (Self::TookEffect, Self::TookEffect.word()),
        (Self::Repeated, Self::Repeated.word()),
        (Self::Fenced, Self::Fenced.word()),
        (Self::Refused, Self::Refused.word()),
        (Self::Failed, Self::Failed.word()),
    ];

    /// For people.
    pub const fn word(self) -> &'static str {
        match self {
            Self::TookEffect => "took_effect",
            Self::Repeated => "repeated",
            Self::Fenced => "fenced",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// An attempt on its way.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fate {
    /// When it reaches the sink.
    pub arrives_ns: u64,
    /// From the sink back to the node; `None` when the answer is lost.
    pub returns_ns: Option<u64>,
    /// The sink fails without doing anything.
    fails: bool,
    /// The sink says that it failed, whatever it did.
    lies: bool,
}

/// All sinks.
#[derive(Clone, Debug)]
pub(crate) struct Sinks {
    model: SinkModel,
    randomness: Randomness,
    done: BTreeSet<SideEffectId>,
    tokens: BTreeMap<GroupId, FencingToken>,
}

impl Sinks {
    pub(crate) fn new(model: SinkModel, randomness: Randomness) -> Self {
        Self { model, randomness, done: BTreeSet::new(), tokens: BTreeMap::new() }
    }

    /// Sinks are prompt and nothing goes wrong from here on, but that attempts are refused which are to be.
    pub(crate) fn heal(&mut self) {
        self.model = SinkModel::default();
    }

    /// What is to become of an attempt that begins now.
    pub(crate) fn fate(&self, attempt: &Attempt) -> Fate {
        let mut draw = self.draw(attempt);
        let SinkModel { delay_ns, fail_ppm, silent_ppm, lie_ppm, .. } = self.model;
        let (arrives_ns, returns_ns) = (draw.tailed(delay_ns), draw.tailed(delay_ns));
        let (fails, silent, lies) = (draw.chance(fail_ppm), draw.chance(silent_ppm), draw.chance(lie_ppm));
        Fate { arrives_ns, returns_ns: (!silent).then_some(returns_ns), fails, lies }
    }

    /// An attempt reaches its sink.
    pub(crate) fn take(
        &mut self,
        now: WorldTime,
        group: GroupId,
        attempt: &Attempt,
        fate: &Fate,
    ) -> (Verdict, AttemptResult) {
        let verdict = self.judge(now, group, attempt, fate);
        let failed =
            |why: &str, rest| AttemptResult::Failed { why: Blob::from(why.as_bytes().to_vec()), rest };
        let result = match verdict {
            Verdict::TookEffect | Verdict::Repeated if fate.lies => {
                failed("lost its way back", Nanos::default())
            }
            Verdict::TookEffect | Verdict::Repeated => {
                AttemptResult::Done(Blob::from(attempt.id.0.as_bytes()[..4].to_vec()))
            }
            Verdict::Fenced => failed("fenced", Nanos::default()),
            Verdict::Refused => AttemptResult::Refused(Blob::from(b"never".to_vec())),
            Verdict::Failed => failed("down", Nanos::from_nanos(self.draw(attempt).below(SECOND))),
        };
        (verdict, result)
    }

    fn judge(&mut self, now: WorldTime, group: GroupId, attempt: &Attempt, fate: &Fate) -> Verdict {
        if fate.fails || self.goes_through(now, attempt.side_effect.target(), Spell::Outage) {
            return Verdict::Failed;
        }
        let highest = self.tokens.entry(group).or_insert(attempt.token);
        if attempt.token < *highest {
            return Verdict::Fenced;
        }
        *highest = attempt.token;
        let target = attempt.side_effect.target();
        if target == REFUSES || self.goes_through(now, target, Spell::Refusal) {
            return Verdict::Refused;
        }
        if self.done.insert(attempt.id) { Verdict::TookEffect } else { Verdict::Repeated }
    }

    /// Whether a sink goes through such a spell.
    fn goes_through(&self, now: WorldTime, target: &str, spell: Spell) -> bool {
        let entity = target.bytes().fold(0, |sum: u64, byte| sum << 8 ^ sum >> 56 ^ u64::from(byte));
        let when = now.as_nanos() / SPELL_NS;
        let draw = |about: &[u64]| self.randomness.draw(Purpose::Sink, entity, about);
        match spell {
            Spell::Outage => draw(&[when]).chance(self.model.down_ppm),
            Spell::Refusal => draw(&[when, REFUSAL]).chance(self.model.refuse_ppm),
        }
    }

    fn draw(&self, attempt: &Attempt) -> Draw {
        let place = attempt.place;
        let about = [place.op.get(), u64::from(place.index), attempt.token.0, u64::from(attempt.number)];
        let id = attempt.id.0.as_bytes();
        let entity = u64::from_le_bytes(std::array::from_fn(|at| id[at]));
        self.randomness.draw(Purpose::Sink, entity, &about)
    }
}

/// The sink that does nothing that it is asked.
pub const REFUSES: &str = "sink-that-refuses";
/// A spell of a sink lasts so long, or a multiple of it.
const SPELL_NS: u64 = 3 * SECOND;
/// Keys the draw of when a sink refuses.
const REFUSAL: u64 = 1;

//! What became of each side effect of a group, as its committed log tells it.
//!
//! ```text
//! ends, done -> nothing more
//! ends, given up -> dead -> redriven -> ends ..
//!                     |---> discarded, or dropped: nothing more
//! ```

use std::collections::BTreeMap;

use chronon_core::codec;
use chronon_core::kernel::{
    AttemptResult, DEAD_BYTES_MAX, DEAD_MAX, Place, Report, SideEffect, SideEffectId,
};
use chronon_core::types::{Entry, EntryKind, Op};

/// The courses of all side effects that were begun.
#[derive(Clone, Debug, Default)]
pub(super) struct Courses {
    /// The log is known up to here.
    known: Op,
    courses: BTreeMap<SideEffectId, Course>,
    /// Those that are dead, by the op at which they were given up, and the bytes of each.
    dead: BTreeMap<(Op, Place), (SideEffectId, u64)>,
    dead_bytes: u64,
}

#[derive(Clone, Debug)]
struct Course {
    place: Place,
    attempts_max: u32,
    bytes: u64,
    turns: Vec<(Op, Turn)>,
    /// By the number of the attempt: those that the log knows to have ended.
    reports: BTreeMap<u32, AttemptResult>,
}

/// A turn that a side effect takes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Turn {
    /// It ends, with its last report.
    Ended(Report),
    /// It was dead, and is tried again.
    Redriven,
    /// It was dead, and an operator has it forgotten, or there were too many.
    Forgotten,
}

impl Courses {
    /// A side effect is begun, for the first time or once more.
    pub(super) fn begin(&mut self, id: SideEffectId, place: Place, side_effect: &SideEffect) {
        let bytes = (side_effect.target().len() + side_effect.body().as_slice().len()) as u64;
        let attempts_max = side_effect.retry().attempts_max;
        self.courses.entry(id).or_insert(Course {
            place,
            attempts_max,
            bytes,
            turns: Vec::new(),
            reports: BTreeMap::new(),
        });
    }

    /// The next entry of the committed log; `key` gives the key of what was emitted at a place.
    pub(super) fn learn(&mut self, entry: &Entry, key: impl Fn(Place) -> SideEffectId) {
        let op = entry.op();
        self.known = op;
        match entry.header().kind() {
            EntryKind::SideEffects => {
                let reports: Vec<Report> = codec::decode(entry.payload()).unwrap_or_default();
                for report in reports {
                    self.report(op, key(report.place), report);
                }
            }
            EntryKind::Redrive => self.order(op, entry, Turn::Redriven),
            EntryKind::Discard => self.order(op, entry, Turn::Forgotten),
            EntryKind::Genesis
            | EntryKind::Commands
            | EntryKind::Wakeup
            | EntryKind::Skip
            | EntryKind::Activation
            | EntryKind::Membership => {}
        }
    }

    fn report(&mut self, op: Op, id: SideEffectId, report: Report) {
        let Some(course) = self.courses.get_mut(&id) else { return };
        course.reports.insert(report.attempt, report.result.clone());
        let counted = report.attempt.saturating_sub(course.attempts_before());
        let why = match &report.result {
            AttemptResult::Done(_) => None,
            AttemptResult::Failed { .. } if counted < course.attempts_max => return,
            AttemptResult::Failed { why, .. } | AttemptResult::Refused(why) => Some(why.as_slice().len()),
        };
        let (place, bytes) = (course.place, course.bytes);
        course.turns.push((op, Turn::Ended(report)));
        if let Some(why) = why {
            let bytes = bytes + why as u64;
            self.dead.insert((op, place), (id, bytes));
            self.dead_bytes += bytes;
        }
        while self.dead.len() as u64 > DEAD_MAX || self.dead_bytes > DEAD_BYTES_MAX {
            let Some((_, (oldest, bytes))) = self.dead.pop_first() else { return };
            self.dead_bytes -= bytes;
            self.turn(op, oldest, Turn::Forgotten);
        }
    }

    /// What an operator wants: it changes nothing where the side effect is dead no more.
    fn order(&mut self, op: Op, entry: &Entry, turn: Turn) {
        let Ok(id) = codec::decode(entry.payload()) else { return };
        let Some(place) = self.courses.get(&id).map(|course| course.place) else { return };
        let since = self.dead_since(id, op);
        if let Some((_, bytes)) = since.and_then(|since| self.dead.remove(&(since, place))) {
            self.dead_bytes -= bytes;
            self.turn(op, id, turn);
        }
    }

    fn turn(&mut self, op: Op, id: SideEffectId, turn: Turn) {
        if let Some(course) = self.courses.get_mut(&id) {
            course.turns.push((op, turn));
        }
    }

    /// Whether the log is known up to `op`.
    pub(super) fn is_known(&self, op: Op) -> bool {
        op <= self.known
    }

    /// How an attempt ended, as the log knows.
    pub(super) fn end_of(&self, id: SideEffectId, attempt: u32) -> Option<&AttemptResult> {
        self.courses.get(&id)?.reports.get(&attempt)
    }

    /// Its last turn up to `op`, and when that was.
    pub(super) fn last_turn(&self, id: SideEffectId, op: Op) -> Option<(Op, &Turn)> {
        self.courses.get(&id)?.until(op).map(|(at, turn)| (*at, turn)).next()
    }

    /// Its last end up to `op`.
    pub(super) fn last_end(&self, id: SideEffectId, op: Op) -> Option<&Report> {
        self.courses.get(&id)?.until(op).find_map(|(_, turn)| turn.end())
    }

    /// Since when it has been dead, as of `op`.
    fn dead_since(&self, id: SideEffectId, op: Op) -> Option<Op> {
        let (at, turn) = self.last_turn(id, op)?;
        turn.end().filter(|report| !matches!(report.result, AttemptResult::Done(_))).map(|_| at)
    }

    /// Those that are dead as of `op`: since when, and the last report.
    pub(super) fn dead(&self, op: Op) -> impl Iterator<Item = (SideEffectId, Op, &Report)> {
        self.courses.keys().filter_map(move |id| {
            let since = self.dead_since(*id, op)?;
            Some((*id, since, self.last_end(*id, op)?))
        })
    }

    /// One that was redriven and has not ended.
    pub(super) fn is_tried_again(&self) -> Option<SideEffectId> {
        let is_last = |course: &Course| matches!(course.turns.last(), Some((_, Turn::Redriven)));
        self.courses.iter().find(|(_, course)| is_last(course)).map(|(id, _)| *id)
    }
}

impl Course {
    /// Its turns up to `op`, the last one first.
    fn until(&self, op: Op) -> impl Iterator<Item = &(Op, Turn)> {
        self.turns.iter().rev().filter(move |(at, _)| *at <= op)
    }

    /// Attempts that were made before it was redriven.
    fn attempts_before(&self) -> u32 {
        self.turns.iter().rev().find_map(|(_, turn)| turn.end()).map_or(0, |report| report.attempt)
    }
}

impl Turn {
    fn end(&self) -> Option<&Report> {
        match self {
            Self::Ended(report) => Some(report),
            Self::Redriven | Self::Forgotten => None,
        }
    }
}

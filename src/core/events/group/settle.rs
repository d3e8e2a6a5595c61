//! How deliveries end.

use alloc::format;
use alloc::string::{String, ToString};

use super::{DeadLetter, Group, Moment, Open, Place, Rests};
use crate::events::agenda::{Agenda, Alarm};
use crate::events::command::{Disposition, MemberId, Mode, Settlement};
use crate::types::{Nanos, u64_of};

/// What is settled for this group, for good: nothing but this room makes one.
#[derive(Debug)]
pub(in crate::events) struct Ended {
    seq: u64,
}

impl Ended {
    /// The event's place in the ready sequence.
    pub(in crate::events) fn seq(&self) -> u64 {
        self.seq
    }
}

impl Group {
    /// Settles a delivery; what has ended by that.
    ///
    /// # Errors
    /// Why this attempt is not open with this member.
    pub(in crate::events) fn settle(
        &mut self,
        place: Place,
        member: MemberId,
        settlement: Settlement,
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<Option<Ended>, String> {
        let Settlement { seq, attempt, granted, disposition } = settlement;
        if granted < self.head.since {
            return Err(format!(
                "it was granted at op {granted}, and that is over: the consumer group was made, or set to another place, at op {}",
                self.head.since
            ));
        }
        let open = *self.open.get(&seq).ok_or_else(|| format!("event {seq} is not being delivered"))?;
        if open.attempt != attempt {
            return Err(format!("attempt {} is open, and not {attempt}", open.attempt));
        }
        if open.granted != granted {
            return Err(format!("attempt {attempt} was granted again, at op {}", open.granted));
        }
        if open.member != member {
            return Err(format!("attempt {attempt} is open with another member"));
        }
        match disposition {
            Disposition::Ack => {
                self.close(place, seq, agenda);
                self.pass(seq, open.key);
                return Ok(Some(Ended { seq }));
            }
            Disposition::Nack { rest, why } => self.fail(place, seq, (&why, rest), moment, agenda),
            Disposition::Term { why } => {
                self.close(place, seq, agenda);
                self.die(seq, open, &why, moment);
            }
            Disposition::InProgress => self.prolong(place, seq, moment, agenda),
        }
        Ok(None)
    }

    /// A delivery was not settled in time. Its alarm has been taken.
    pub(in crate::events) fn time_out(
        &mut self,
        place: Place,
        seq: u64,
        moment: Moment,
        agenda: &mut Agenda,
    ) {
        if let Some(open) = self.open.get(&seq) {
            // Failing clears the alarm that just went off.
            agenda.set(open.until, unsettled(place, seq));
            self.fail(place, seq, ("it was not settled in time", None), moment, agenda);
        }
    }

    /// A delivery has failed: it rests, or it has been tried often enough.
    pub(super) fn fail(
        &mut self,
        place: Place,
        seq: u64,
        (why, rest): (&str, Option<Nanos>),
        moment: Moment,
        agenda: &mut Agenda,
    ) {
        let Some(open) = self.close(place, seq, agenda) else { return };
        let (attempt, most) = (open.attempt, self.head.options.attempts_max);
        if most > 0 && attempt >= most {
            return self.die(seq, open, why, moment);
        }
        // The next attempt comes with a later op, so that its grant has a higher place.
        let until = moment.after(rest.unwrap_or_else(|| self.rest_after(attempt))).max(moment.now.next());
        agenda.set(until, Alarm::Rested { topic: place.topic, group: place.group, seq });
        self.resting.insert(seq, Rests { attempts: attempt, until, why: cut(why) });
    }

    /// A delivery has rested: it is buffered again. Its alarm has been taken.
    pub(in crate::events) fn rested(&mut self, seq: u64) {
        if let Some(rests) = self.resting.remove(&seq) {
            self.again.insert(seq, rests.attempts);
        }
    }

    /// Dead letters are to be delivered again, with all their attempts before them; how many of these there are.
    pub(in crate::events) fn redrive(&mut self, letters: &[u64]) -> u32 {
        let mut count = 0;
        for seq in letters {
            if self.dead.remove(seq).is_some() {
                self.again.insert(*seq, 0);
                count += 1;
            }
        }
        count
    }

    /// A dead letter is to be forgotten; what has ended by that.
    pub(in crate::events) fn discard(&mut self, seq: u64) -> Option<Ended> {
        self.dead.remove(&seq).map(|_| Ended { seq })
    }

    /// The oldest dead letter, when there are more than `most`.
    pub(in crate::events) fn drop_oldest_letter(&mut self, most: u32) -> Option<Ended> {
        if u64_of(self.dead.len()) <= u64::from(most) {
            return None;
        }
        let (seq, _) = self.dead.pop_first()?;
        self.head.dead_dropped += 1;
        Some(Ended { seq })
    }

    /// The event is delivered no more; what has ended by that, unless it had before or is a dead letter.
    pub(in crate::events) fn expire(
        &mut self,
        place: Place,
        seq: u64,
        key: u64,
        agenda: &mut Agenda,
    ) -> Option<Ended> {
        let is_fresh = seq >= self.head.next && !self.settled.contains_key(&seq);
        let was_in_hand = if let Some(rests) = self.resting.remove(&seq) {
            agenda.clear(rests.until, Alarm::Rested { topic: place.topic, group: place.group, seq });
            true
        } else {
            self.close(place, seq, agenda).is_some()
                || self.again.remove(&seq).is_some()
                || self.held.remove(&(key, seq)).is_some()
        };
        if !is_fresh && !was_in_hand {
            return None;
        }
        self.pass_expired(seq, key);
        Some(Ended { seq })
    }

    /// It is not to be delivered to this group any more.
    pub(super) fn pass_expired(&mut self, seq: u64, key: u64) {
        if self.expired.insert(seq, ()).is_none() {
            self.head.expired += 1;
        }
        self.pass(seq, key);
    }

    /// The event is kept no more.
    pub(in crate::events) fn forget(&mut self, seq: u64) {
        self.expired.remove(&seq);
        self.earlier.remove(&seq);
    }

    /// This dead letter is to go, for its event does; what has ended by that.
    pub(in crate::events) fn drop_letter(&mut self, seq: u64) -> Option<Ended> {
        self.dead.remove(&seq)?;
        self.head.dead_dropped += 1;
        Some(Ended { seq })
    }

    /// It is tried no more, and kept as a dead letter.
    fn die(&mut self, seq: u64, open: Open, why: &str, moment: Moment) {
        let letter = DeadLetter { attempts: open.attempt, at: moment.now, why: cut(why) };
        self.dead.insert(seq, letter);
        self.pass(seq, open.key);
    }

    /// Nothing waits for it any more: the floor may rise, and its key is free.
    pub(super) fn pass(&mut self, seq: u64, key: u64) {
        if self.head.options.mode == Mode::Ordered {
            self.free_key(seq, key);
        }
        if seq >= self.head.floor {
            self.settled.insert(seq, ());
        }
        self.raise_floor();
    }

    pub(super) fn raise_floor(&mut self) {
        while self.settled.remove(&self.head.floor).is_some() {
            self.head.floor += 1;
        }
        // What has expired may lie before what was granted last.
        self.head.next = self.head.next.max(self.head.floor);
    }

    /// How long a delivery rests after so many attempts.
    fn rest_after(&self, attempts: u32) -> Nanos {
        let doublings = attempts.saturating_sub(1).min(DOUBLINGS_MAX);
        let rest = self.head.options.rest.times(1 << doublings);
        rest.min(self.head.options.rest_max)
    }

    fn prolong(&mut self, place: Place, seq: u64, moment: Moment, agenda: &mut Agenda) {
        if let Some(open) = self.open.get_mut(&seq) {
            agenda.clear(open.until, unsettled(place, seq));
            open.until = moment.after(self.head.options.ack_timeout);
            agenda.set(open.until, unsettled(place, seq));
        }
    }

    /// A delivery is open no more.
    fn close(&mut self, place: Place, seq: u64, agenda: &mut Agenda) -> Option<Open> {
        let open = self.open.remove(&seq)?;
        agenda.clear(open.until, unsettled(place, seq));
        self.take_from_member(open.member, open.granted, seq);
        Some(open)
    }
}

fn unsettled(Place { topic, group }: Place, seq: u64) -> Alarm {
    Alarm::Unsettled { topic, group, seq }
}

/// As much of a consumer's words as is kept.
fn cut(why: &str) -> String {
    let end = (0..=WHY_BYTES_MAX.min(why.len())).rev().find(|end| why.is_char_boundary(*end));
    why.get(..end.unwrap_or_default()).unwrap_or_default().to_string()
}

/// Bytes that are kept of what a consumer says about a failure.
const WHY_BYTES_MAX: usize = 512;
/// A rest doubles so often at most.
const DOUBLINGS_MAX: u32 = 32;

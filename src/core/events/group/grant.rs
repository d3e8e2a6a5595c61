//! What is granted to whom.

use core::ops::Bound;

use super::members::Member;
use super::{Group, Moment, Open, Place};
use crate::events::agenda::{Agenda, Alarm};
use crate::events::command::{GrantPlace, MemberId, Mode};
use crate::types::u64_of;

/// What is to be known of an event before it is granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::events) enum Candidate {
    /// It may be granted. This is its ordering key.
    Key(u64),
    /// It is kept no more.
    Gone,
    /// It is delivered no more.
    Expired,
    /// It is of no use any more, and the alarm that ends it is about to go off.
    Expires,
}

impl Group {
    /// Grants what is buffered to members with room, and no more than one entry may: the rest follows at once. Members take turns,
    /// and each gets its share in one run, for what lies together in the log is read together. The ready sequence ends at `end`;
    /// `candidate` tells what is in it.
    pub(in crate::events) fn grant(
        &mut self,
        place: Place,
        end: u64,
        candidate: impl Fn(u64) -> Candidate,
        moment: Moment,
        agenda: &mut Agenda,
    ) {
        if self.head.is_paused {
            return;
        }
        let rooms = self.members.values().map(Member::room).filter(|room| *room > 0);
        let (with_room, mut room) = rooms.fold((0, 0), |(members, all), room| (members + 1, all + room));
        let share = self.buffered(end).min(room).div_ceil(u64::max(with_room, 1));
        let mut run: Option<(MemberId, u64)> = None;
        let mut steps = 0;
        while room > 0 && self.has_buffered(end) {
            if steps == STEPS_MAX {
                self.owe(place, moment, agenda);
                return;
            }
            steps += 1;
            let is_new = self.again.is_empty();
            let Some((seq, attempts)) = self.next_buffered(end) else { return };
            if is_new && self.is_passed_over(seq) {
                continue;
            }
            let key = match candidate(seq) {
                Candidate::Key(key) => key,
                Candidate::Gone => {
                    self.pass(seq, 0);
                    continue;
                }
                Candidate::Expired => {
                    self.pass_expired(seq, 0);
                    continue;
                }
                Candidate::Expires => {
                    self.again.insert(seq, attempts);
                    return;
                }
            };
            if self.head.options.mode == Mode::Ordered && self.is_held_up(seq, attempts, key) {
                continue;
            }
            let goes_on = run.filter(|(member, left)| *left > 0 && self.has_room(*member));
            let next = goes_on.or_else(|| self.next_member().map(|member| (member, share)));
            let Some((member, left)) = next else { panic!("there is room for {room} more") };
            run = Some((member, left.saturating_sub(1)));
            self.open_delivery(place, (seq, attempts, key), member, moment, agenda);
            room -= 1;
        }
    }

    /// The rest is to be granted, or let go of, by the next entry. The alarm of it has been taken, or there was none.
    pub(in crate::events) fn owe(
        &mut self,
        Place { topic, group }: Place,
        moment: Moment,
        agenda: &mut Agenda,
    ) {
        if self.head.owes.is_none() {
            let at = moment.now.next();
            self.head.owes = Some(at);
            agenda.set(at, Alarm::Grant { topic, group });
        }
    }

    /// The alarm was taken.
    pub(in crate::events) fn owes_no_more(&mut self) {
        self.head.owes = None;
    }

    /// Whether something waits to be granted, before the end of the ready sequence.
    pub(in crate::events) fn has_buffered(&self, end: u64) -> bool {
        self.buffered(end) > 0
    }

    fn buffered(&self, end: u64) -> u64 {
        u64_of(self.again.len()) + end.saturating_sub(self.head.next)
    }

    fn has_room(&self, member: MemberId) -> bool {
        self.members.get(&member).is_some_and(|member| member.room() > 0)
    }

    /// What is to be granted next, with the attempts that were made.
    fn next_buffered(&mut self, end: u64) -> Option<(u64, u32)> {
        if let Some(again) = self.again.pop_first() {
            return Some(again);
        }
        let seq = self.head.next;
        if seq >= end {
            return None;
        }
        self.head.next += 1;
        Some((seq, 0))
    }

    /// Whether another event holds the key up: then this one waits behind it.
    fn is_held_up(&mut self, seq: u64, attempts: u32, key: u64) -> bool {
        match self.busy.get(&key) {
            Some(holder) if *holder != seq => {
                self.held.insert((key, seq), attempts);
                true
            }
            Some(_) => false,
            None => {
                self.busy.insert(key, seq);
                false
            }
        }
    }

    /// Of an ordered group: the event holds its key up no more, and whoever waits longest behind it comes next.
    pub(super) fn free_key(&mut self, seq: u64, key: u64) {
        if self.busy.get(&key) != Some(&seq) {
            return;
        }
        self.busy.remove(&key);
        let next = self.held.range(Bound::Included(&(key, 0))).next();
        let next = next.filter(|((of, _), _)| *of == key).map(|((_, seq), attempts)| (*seq, *attempts));
        if let Some((seq, attempts)) = next {
            self.held.remove(&(key, seq));
            self.busy.insert(key, seq);
            self.again.insert(seq, attempts);
        }
    }

    /// The member behind the last one that has room.
    fn next_member(&mut self) -> Option<MemberId> {
        let behind = self.head.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.members.range((behind, Bound::Unbounded));
        let next = later.chain(&self.members).find(|(_, member)| member.room() > 0).map(|(id, _)| *id);
        self.head.turn = next.or(self.head.turn);
        next
    }

    fn open_delivery(
        &mut self,
        Place { topic, group }: Place,
        (seq, attempts, key): (u64, u32, u64),
        member: MemberId,
        moment: Moment,
        agenda: &mut Agenda,
    ) {
        let (attempt, granted) = (attempts.saturating_add(1), moment.op);
        let until = moment.after(self.head.options.ack_timeout);
        self.open.insert(seq, Open { member, attempt, granted, until, key });
        agenda.set(until, Alarm::Unsettled { topic, group, seq });
        if let Some(known) = self.members.get_mut(&member) {
            known.open.insert(GrantPlace { op: granted, seq });
        }
    }
}

/// Events that one entry grants, or finds behind their keys.
const STEPS_MAX: u32 = 4096;

//! What an operator orders about a partition's consumer groups: to pause, to begin at another place, to behave otherwise, to be gone.

use crate::events::BATCH_MAX;
use crate::events::agenda::Agenda;
use crate::events::command::{EventsAnswer, GroupChange, Start};
use crate::events::error::EventsError;
use crate::events::group::{Group, Leaves, Moment, Place};
use crate::events::partition::{GROUPS_MAX, Partition, check_options};
use crate::types::u64_of;

impl Partition {
    /// Has a group pause, or go on.
    ///
    /// # Errors
    /// [`EventsError::UnknownGroup`].
    pub(in crate::events) fn pause_group(
        &mut self,
        name: &str,
        pauses: bool,
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<EventsAnswer, EventsError> {
        let (number, group) = self.group_mut(name)?;
        group.head.is_paused = pauses;
        let answer = changed(group);
        self.grant(Some(number), moment, agenda);
        Ok(answer)
    }

    /// Has a group behave otherwise.
    ///
    /// # Errors
    /// [`EventsError::UnknownGroup`], [`EventsError::OutOfRange`].
    pub(in crate::events) fn alter_group(
        &mut self,
        name: &str,
        change: &GroupChange,
    ) -> Result<EventsAnswer, EventsError> {
        let (_, group) = self.group_mut(name)?;
        let GroupChange { ack_timeout, attempts_max, rest, rest_max } = *change;
        let mut options = group.head.options.clone();
        options.ack_timeout = ack_timeout.unwrap_or(options.ack_timeout);
        options.attempts_max = attempts_max.unwrap_or(options.attempts_max);
        options.rest = rest.unwrap_or(options.rest);
        options.rest_max = rest_max.unwrap_or(options.rest_max);
        check_options(&options)?;
        group.head.options = options;
        Ok(changed(group))
    }

    /// Has a group begin at another place.
    ///
    /// # Errors
    /// [`EventsError::UnknownGroup`]; [`EventsError::TooMany`] while too many groups leave.
    pub(in crate::events) fn seek(
        &mut self,
        name: &str,
        to: Start,
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<EventsAnswer, EventsError> {
        self.check_room_to_leave()?;
        let (start, next) = (self.place_of(to), self.next_group());
        let anew = self.place(next);
        let (number, group) = self.group_mut(name)?;
        let place = Place { topic: anew.topic, group: number };
        let closed = u64_of(group.counts().open);
        let group = group.begin_anew((place, anew), start, moment.op, agenda);
        self.groups.insert(next, group);
        self.take_leave(number, moment, agenda);
        self.grant(Some(next), moment, agenda);
        Ok(EventsAnswer::Sought { seq: start, closed })
    }

    /// Deletes a group; one with members only by `force`.
    ///
    /// # Errors
    /// [`EventsError::UnknownGroup`], [`EventsError::HasMembers`]; [`EventsError::TooMany`] while too many groups leave.
    pub(in crate::events) fn delete_group(
        &mut self,
        name: &str,
        force: bool,
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<EventsAnswer, EventsError> {
        self.check_room_to_leave()?;
        let number = self.group_named(name)?;
        let place = self.place(number);
        let (_, group) = self.group_mut(name)?;
        let members = u32::try_from(group.members()).unwrap_or(u32::MAX);
        if members > 0 && !force {
            return Err(EventsError::HasMembers { group: name.into(), members });
        }
        let counts = group.counts();
        group.leave(Leaves::Deleted, place, agenda);
        self.take_leave(number, moment, agenda);
        Ok(EventsAnswer::GroupDeleted { closed: u64_of(counts.open), dead: u64_of(counts.dead) })
    }

    /// A group that leaves lets go of its deliveries and events, of as many as one entry may: the rest follows at once.
    pub(in crate::events) fn take_leave(&mut self, number: u32, moment: Moment, agenda: &mut Agenda) {
        let place = self.place(number);
        let Some(group) = self.groups.get_mut(&number) else { return };
        let ended = group.end_deliveries(place, LET_GO_AT_ONCE, agenda);
        for _ in ended..LET_GO_AT_ONCE {
            if !self.release_next(number) {
                if let Some(mut group) = self.groups.remove(&number) {
                    group.clear_alarm(place, agenda);
                }
                self.keep_to_bounds(moment, agenda);
                return;
            }
        }
        if let Some(group) = self.groups.get_mut(&number) {
            group.owe(place, moment, agenda);
        }
        self.keep_to_bounds(moment, agenda);
    }

    /// Lets go of one event for a group; whether there was one.
    fn release_next(&mut self, number: u32) -> bool {
        let Some(group) = self.groups.get_mut(&number) else { return false };
        let seq = if let Some(seq) = group.release_earlier() {
            seq
        } else {
            let Some((seq, _)) = self.backlog.from(group.head.start).next() else { return false };
            group.release_to(seq);
            seq
        };
        let key = self.backlog.get(seq).map_or(0, |ready| ready.record.key);
        let had_settled = group.had_settled(seq, key);
        let alone = group.head.leaves == Some(Leaves::Sought);
        self.backlog.release(seq, had_settled, self.groups_that_hold(seq), alone);
        true
    }

    fn group_mut(&mut self, name: &str) -> Result<(u32, &mut Group), EventsError> {
        let number = self.group_named(name)?;
        let group = self.groups.get_mut(&number);
        group.map(|group| (number, group)).ok_or_else(|| EventsError::UnknownGroup(name.into()))
    }

    fn check_room_to_leave(&self) -> Result<(), EventsError> {
        if u64_of(self.groups.len()) < u64::from(2 * GROUPS_MAX) {
            return Ok(());
        }
        Err(EventsError::TooMany { what: "consumer groups that come and go".into(), max: 2 * GROUPS_MAX })
    }
}

fn changed(group: &Group) -> EventsAnswer {
    EventsAnswer::GroupChanged { options: group.head.options.clone(), is_paused: group.head.is_paused }
}

/// Events and deliveries that a group lets go of in one entry.
const LET_GO_AT_ONCE: u64 = BATCH_MAX;

//! Members of a consumer group.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec::Vec;
use core::ops::Bound;

use super::{Group, Moment, Place};
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::events::agenda::{Agenda, Alarm};
use crate::events::command::{GrantPlace, MemberId};
use crate::events::error::EventsError;
use crate::types::{Nanos, Op, Timestamp, u64_of};

/// A member, and what is open with it.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Member {
    pub credits: u32,
    pub lease: Nanos,
    /// It is a member until then, if it says nothing.
    pub until: Timestamp,
    /// By grant.
    pub open: BTreeSet<GrantPlace>,
}

impl Member {
    /// How many deliveries more it takes.
    pub(super) fn room(&self) -> u64 {
        u64::from(self.credits).saturating_sub(u64_of(self.open.len()))
    }

    pub(super) fn granted_after(&self, after: GrantPlace) -> impl Iterator<Item = u64> {
        self.open.range((Bound::Excluded(after), Bound::Unbounded)).map(|grant| grant.seq)
    }
}

impl Group {
    /// A member comes, or goes on.
    ///
    /// # Errors
    /// When there are too many.
    pub(in crate::events) fn attach(
        &mut self,
        place: Place,
        (member, credits, lease): (MemberId, u32, Nanos),
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<(), EventsError> {
        if !self.members.contains_key(&member) {
            if u64_of(self.members.len()) >= u64::from(MEMBERS_MAX) {
                return Err(EventsError::TooMany {
                    what: "members of the consumer group".into(),
                    max: MEMBERS_MAX,
                });
            }
            let until = moment.after(lease);
            self.members.insert(member, Member { credits, lease, until, open: BTreeSet::new() });
            agenda.set(until, alarm(place, member));
        }
        if let Some(known) = self.members.get_mut(&member) {
            (known.credits, known.lease) = (credits, lease);
        }
        self.renew(place, member, moment, agenda)
    }

    /// A member that asks for each of its deliveries comes, or goes on: it has credits for so many more, until
    /// [`Group::takes_no_more`]. What is open with it already.
    ///
    /// # Errors
    /// When there are too many members.
    pub(in crate::events) fn claims(
        &mut self,
        place: Place,
        (member, count, lease): (MemberId, u32, Nanos),
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<BTreeSet<GrantPlace>, EventsError> {
        let open = self.members.get(&member).map(|known| known.open.clone()).unwrap_or_default();
        let held = u32::try_from(open.len()).unwrap_or(u32::MAX);
        self.attach(place, (member, held.saturating_add(count), lease), moment, agenda)?;
        Ok(open)
    }

    /// The member is granted nothing more before it asks. What it was granted beside `before`.
    pub(in crate::events) fn takes_no_more(
        &mut self,
        member: MemberId,
        before: &BTreeSet<GrantPlace>,
    ) -> Vec<u64> {
        let Some(known) = self.members.get_mut(&member) else { return Vec::new() };
        known.credits = 0;
        known.open.difference(before).map(|grant| grant.seq).collect()
    }

    /// A member has said something.
    ///
    /// # Errors
    /// [`EventsError::NotAMember`].
    pub(in crate::events) fn renew(
        &mut self,
        place: Place,
        member: MemberId,
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<(), EventsError> {
        let known = self.members.get_mut(&member).ok_or(EventsError::NotAMember)?;
        agenda.clear(known.until, alarm(place, member));
        known.until = moment.after(known.lease);
        agenda.set(known.until, alarm(place, member));
        Ok(())
    }

    /// A member goes: what was open with it has failed.
    ///
    /// # Errors
    /// [`EventsError::NotAMember`].
    pub(in crate::events) fn detach(
        &mut self,
        place: Place,
        member: MemberId,
        moment: Moment,
        agenda: &mut Agenda,
    ) -> Result<(), EventsError> {
        let known = self.members.get(&member).ok_or(EventsError::NotAMember)?;
        agenda.clear(known.until, alarm(place, member));
        self.forget_member(place, member, "its consumer went away", moment, agenda);
        Ok(())
    }

    /// A member has said nothing for as long as it may: it is none any more. Its alarm has been taken.
    pub(in crate::events) fn lose(
        &mut self,
        place: Place,
        member: MemberId,
        moment: Moment,
        agenda: &mut Agenda,
    ) {
        self.forget_member(place, member, "its consumer fell silent", moment, agenda);
    }

    fn forget_member(
        &mut self,
        place: Place,
        member: MemberId,
        why: &str,
        moment: Moment,
        agenda: &mut Agenda,
    ) {
        let Some(known) = self.members.get(&member) else { return };
        let open: Vec<u64> = known.open.iter().map(|grant| grant.seq).collect();
        for seq in open {
            self.fail(place, seq, (why, Some(Nanos::default())), moment, agenda);
        }
        self.members.remove(&member);
    }

    /// Who is a member comes along when the group begins anew, with nothing open. `from` and `to` are where its alarms belong.
    pub(super) fn move_members(
        &mut self,
        from: Place,
        to: Place,
        agenda: &mut Agenda,
    ) -> BTreeMap<MemberId, Member> {
        let mut members = core::mem::take(&mut self.members);
        for (member, known) in &mut members {
            agenda.clear(known.until, alarm(from, *member));
            agenda.set(known.until, alarm(to, *member));
            known.open.clear();
        }
        members
    }

    /// Nobody is a member any more.
    pub(in crate::events) fn forget_members(&mut self, place: Place, agenda: &mut Agenda) {
        for (member, known) in core::mem::take(&mut self.members) {
            agenda.clear(known.until, alarm(place, member));
        }
    }

    /// What a snapshot holds.
    pub(in crate::events) fn restore_member(
        &mut self,
        place: Place,
        member: MemberId,
        known: Member,
        agenda: &mut Agenda,
    ) {
        agenda.set(known.until, alarm(place, member));
        self.members.insert(member, known);
    }

    /// The members behind `after`.
    pub(in crate::events) fn saved_members(
        &self,
        after: Option<MemberId>,
    ) -> impl Iterator<Item = (MemberId, &Member)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.members.range((from, Bound::Unbounded)).map(|(member, known)| (*member, known))
    }

    /// A delivery is not open with its member any more.
    pub(super) fn take_from_member(&mut self, member: MemberId, granted: Op, seq: u64) {
        if let Some(known) = self.members.get_mut(&member) {
            known.open.remove(&GrantPlace { op: granted, seq });
        }
    }
}

fn alarm(Place { topic, group }: Place, member: MemberId) -> Alarm {
    Alarm::Silent { topic, group, member }
}

/// Members of a consumer group in one partition.
pub(in crate::events) const MEMBERS_MAX: u32 = 1024;

//! How long what is ready is kept: by count once every consumer group has settled it, by age, by bytes, and by order.
//!
//! What a consumer group has not settled is kept, unless the topic says otherwise; then it has expired for that group. What no
//! consumer group is there for is held up by none.

use alloc::collections::BTreeMap;

use crate::events::BATCH_MAX;
use crate::events::agenda::{Agenda, Alarm};
use crate::events::backlog::Ready;
use crate::events::bounds::Bounds;
use crate::events::group::{Group, Moment};
use crate::events::partition::Partition;
use crate::types::Timestamp;

impl Partition {
    /// Keeps to what the topic says, as far as one entry may: the rest follows.
    pub(in crate::events) fn keep_to_bounds(&mut self, moment: Moment, agenda: &mut Agenda) {
        let bounds = Bounds::of(&self.config, moment.now);
        self.let_go(&bounds, EVENTS_AT_ONCE, agenda);
        self.set_retain_alarm(moment, agenda);
    }

    /// Lets go of what is beyond the bounds, `most` events of it; how many these are, and their bytes.
    pub(in crate::events) fn let_go(
        &mut self,
        bounds: &Bounds,
        most: u64,
        agenda: &mut Agenda,
    ) -> (u64, u64) {
        let (mut events, mut bytes) = (0, 0);
        while events < most {
            if let Some((seq, ready)) = self.take_oldest(bounds) {
                events += 1;
                bytes += u64::from(ready.record.bytes);
                self.forget(seq, &ready, agenda);
                continue;
            }
            let Some((seq, ready)) = self.backlog.first() else { break };
            let goes = !ready.ended && bounds.are_passed_by(seq, ready.at, self.backlog.bytes());
            if !goes || !(self.config.expires_unsettled || self.groups_for(seq) == 0) {
                break;
            }
            self.expire_for_all(seq, true, agenda);
        }
        (events, bytes)
    }

    /// The alarm was taken.
    pub(in crate::events) fn retain_alarm_was_taken(&mut self) {
        self.retain_at = None;
    }

    /// The alarm of another configuration is cleared.
    pub(in crate::events) fn clear_retain_alarm(&mut self, agenda: &mut Agenda) {
        if let Some(at) = self.retain_at.take() {
            agenda.clear(at, Alarm::Retain { topic: self.number });
        }
    }

    /// Consumer groups that an event is for.
    pub(in crate::events) fn groups_for(&self, seq: u64) -> u32 {
        groups_for(&self.groups, seq)
    }

    fn take_oldest(&mut self, bounds: &Bounds) -> Option<(u64, Ready)> {
        let groups = &self.groups;
        self.backlog.drop_oldest(bounds, |seq, ready| groups_that_hold(groups, seq, ready))
    }

    /// Groups that must have settled an event before it has ended.
    pub(in crate::events) fn groups_that_hold(&self, seq: u64) -> u32 {
        self.backlog.get(seq).map_or(0, |ready| groups_that_hold(&self.groups, seq, ready))
    }

    /// It has left the backlog: nothing else may speak of it.
    fn forget(&mut self, seq: u64, ready: &Ready, agenda: &mut Agenda) {
        if let Some(at) = ready.expires {
            agenda.clear(at, Alarm::Expires { topic: self.number, seq });
        }
        self.groups.values_mut().for_each(|group| group.forget(seq));
        self.ids.kept_no_more(ready.record.name, ready.record.offset);
    }

    fn set_retain_alarm(&mut self, moment: Moment, agenda: &mut Agenda) {
        let (Some(age), None) = (self.config.retain_age, self.retain_at) else { return };
        let is_held_up = |seq| !self.config.expires_unsettled && self.groups_for(seq) > 0;
        let oldest = self.backlog.first().filter(|(seq, ready)| ready.ended || !is_held_up(*seq));
        let Some((_, ready)) = oldest.or_else(|| self.backlog.first_ended()) else { return };
        let at = Timestamp::from_nanos(ready.at.as_nanos().saturating_add(age.as_nanos()));
        let at = at.max(moment.now.next());
        self.retain_at = Some(at);
        agenda.set(at, Alarm::Retain { topic: self.number });
    }
}

/// Of an event that is delivered no more, those that hold it as a dead letter and those that have settled it.
fn groups_that_hold(groups: &BTreeMap<u32, Group>, seq: u64, ready: &Ready) -> u32 {
    if !ready.expired {
        return groups_for(groups, seq);
    }
    let present = groups.values().filter(|group| !group.leaves());
    let held = present.filter(|group| group.dead_letter(seq).is_some()).count();
    ready.settled_by.saturating_add(u32::try_from(held).unwrap_or(u32::MAX))
}

fn groups_for(groups: &BTreeMap<u32, Group>, seq: u64) -> u32 {
    let count = groups.values().filter(|group| group.is_for(seq)).count();
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// Events that one entry lets go unasked: more than it can end.
const EVENTS_AT_ONCE: u64 = 2 * BATCH_MAX;

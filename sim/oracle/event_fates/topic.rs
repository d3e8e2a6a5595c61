//! What is known of a topic: its events, in what state each was seen, and its consumer groups.

use std::collections::{BTreeMap, BTreeSet};

use chronon_core::events::{
    Deliveries, DeliveryState, Due, EventName, EventState, EventView, EventsView, Expires, KeptFrom,
    MemberId, NewEvent, PartitionView, Published, Stored, TopicConfig,
};
use chronon_core::types::Op;

use super::Compared;
use super::broken::Broken;
use super::consumers::{Consumers, Times, is_in_hand, judge_keys};
use super::fate::EventFate;
use super::pauses::Pauses;

#[derive(Clone, Debug, Default)]
pub(super) struct Topic {
    pub(super) config: TopicConfig,
    pub(super) accepted: u64,
    pub(super) names: BTreeMap<EventName, Known>,
    /// Names that were published with leave to be duplicates: which of their events has the name is not followed here.
    pub(super) unsure: BTreeSet<EventName>,
    /// Offsets by their place in the ready sequence, and the other way about.
    pub(super) ready: BTreeMap<u64, u64>,
    pub(super) seqs: BTreeMap<u64, u64>,
    pub(super) due: BTreeMap<u64, u64>,
    /// Events that were not due when they were accepted, or put off last.
    pub(super) waited: BTreeSet<u64>,
    pub(super) cancelled: BTreeSet<u64>,
    /// Of those that are of no use from some time on: since when.
    pub(super) expires: BTreeMap<u64, u64>,
    /// Where the log has what was published.
    pub(super) stored: BTreeMap<u64, Stored>,
    /// What is below this place of the ready sequence was ordered to go.
    pub(super) let_go: u64,
    pub(super) groups: BTreeMap<String, Consumers>,
    pub(super) pauses: Pauses,
}

/// What is known of an event that has a name.
#[derive(Clone, Debug)]
pub(super) struct Known {
    pub(super) offset: u64,
    pub(super) accepted_at: u64,
    pub(super) key: String,
    pub(super) state: Option<EventState>,
    pub(super) seen: BTreeMap<String, DeliveryState>,
}

impl Topic {
    /// A name is known for a window of time, and as long as its event is not due.
    pub(super) fn remembers(&self, known: &Known, now: u64) -> bool {
        let until = known.accepted_at.saturating_add(self.config.dedup_window.as_nanos());
        let is_due = self.due.get(&known.offset).is_none_or(|due| *due <= now);
        until > now || !is_due && !self.cancelled.contains(&known.offset)
    }

    pub(super) fn is_due_at(&mut self, offset: u64, due: u64, now: u64) {
        self.due.insert(offset, due);
        if due > now {
            self.waited.insert(offset);
        } else {
            self.waited.remove(&offset);
        }
    }

    pub(super) fn published(
        &mut self,
        event: &NewEvent,
        result: &Published,
        now: u64,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        compared.dedup += 1;
        let known = self.names.get(&event.name).cloned();
        match result {
            Published::Accepted { offset, due_ms } => {
                if *offset != self.accepted {
                    let what = format!("event {offset} is accepted, and {} is the next", self.accepted);
                    return Err(Broken::new("FireOnce", what));
                }
                self.accepted += 1;
                compared.fate(EventFate::Accepted);
                check_due(event.due, *due_ms, now)?;
                self.is_due_at(*offset, nanos(*due_ms), now);
                self.note_expiry(event, *offset, *due_ms, now)?;
                if event.allow_duplicate {
                    self.names.remove(&event.name);
                    self.unsure.insert(event.name.clone());
                }
                if self.unsure.contains(&event.name) {
                    return Ok(());
                }
                if known.is_some_and(|known| self.remembers(&known, now)) {
                    return Err(Broken::new("DedupHolds", format!("{:?} is accepted twice", event.name)));
                }
                let known = Known {
                    offset: *offset,
                    accepted_at: now,
                    key: event.ordering_key.clone(),
                    state: None,
                    seen: BTreeMap::new(),
                };
                self.names.insert(event.name.clone(), known);
                Ok(())
            }
            Published::Duplicate { offset } => {
                compared.fate(EventFate::Duplicate);
                let is_other = known.as_ref().is_none_or(|known| known.offset != *offset);
                if is_other && !self.unsure.contains(&event.name) {
                    let what = format!("{:?} is said to be event {offset}, and is {known:?}", event.name);
                    return Err(Broken::new("DedupHolds", what));
                }
                Ok(())
            }
            Published::Refused(_) => Ok(()),
        }
    }

    /// Deliveries that a member is told of.
    pub(super) fn told(
        &mut self,
        (group, member): (&str, MemberId),
        open: &Deliveries,
        times: &BTreeMap<Op, u64>,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        for delivery in &open.deliveries {
            let (seq, offset) = (delivery.grant.seq, delivery.offset);
            compared.never_early += 1;
            let due = self.due.get(&offset).copied().unwrap_or(u64::MAX);
            let granted = times.get(&delivery.grant.op).copied().unwrap_or_default();
            if granted < due {
                let what = format!("event {offset} is due at {due}, and was granted at {granted}");
                return Err(Broken::new("NeverEarly", what));
            }
            compared.expiry += 1;
            if let Some(expires) = self.expires.get(&offset).filter(|expires| **expires <= granted) {
                let what =
                    format!("event {offset} is of no use since {expires}, and was granted at {granted}");
                return Err(Broken::new("ExpiryHolds", what));
            }
            compared.paused += 1;
            if self.pauses.hold(delivery.grant.op) {
                let what = format!(
                    "event {offset} was granted at op {}, and the topic paused then: {:?}",
                    delivery.grant.op, self.pauses
                );
                return Err(Broken::new("PauseHolds", what));
            }
            self.check_not_cancelled(offset, compared)?;
            self.note_ready(seq, offset, compared)?;
            if let Some(group) = self.groups.get_mut(group) {
                group.told(member, (delivery.grant, delivery.attempt), compared)?;
            }
        }
        Ok(())
    }

    fn check_not_cancelled(&self, offset: u64, compared: &mut Compared) -> Result<(), Broken> {
        compared.cancel_wins += 1;
        if self.cancelled.contains(&offset) {
            return Err(Broken::new("CancelWins", format!("event {offset} was cancelled, and is ready")));
        }
        Ok(())
    }

    fn note_ready(&mut self, seq: u64, offset: u64, compared: &mut Compared) -> Result<(), Broken> {
        compared.fire_once += 1;
        let is_news = !self.ready.contains_key(&seq);
        let (of_seq, of_offset) =
            (*self.ready.entry(seq).or_insert(offset), *self.seqs.entry(offset).or_insert(seq));
        if (of_seq, of_offset) != (offset, seq) {
            let what = format!(
                "event {offset} is ready as {seq}; it was as {of_offset}, and {seq} was event {of_seq}"
            );
            return Err(Broken::new("FireOnce", what));
        }
        if is_news && self.waited.contains(&offset) {
            compared.fate(EventFate::Fired);
            self.check_order(seq, offset, compared)?;
        }
        Ok(())
    }

    /// Those that waited are ready in the order in which they were due, and in that of their offsets at one time.
    fn check_order(&self, seq: u64, offset: u64, compared: &mut Compared) -> Result<(), Broken> {
        let rank = |offset: u64| (self.due.get(&offset), offset);
        let waited = |(_, other): &(&u64, &u64)| self.waited.contains(other);
        let before = self.ready.range(..seq).rev().find(waited).map(|(_, other)| *other);
        let after = self.ready.range(seq + 1..).find(waited).map(|(_, other)| *other);
        compared.bounded += 1;
        let is_late = before.is_some_and(|before| rank(before) > rank(offset));
        if is_late || after.is_some_and(|after| rank(after) < rank(offset)) {
            let what = format!(
                "event {offset} is ready between {before:?} and {after:?}; they were due {:?}",
                [before, Some(offset), after].map(|offset| offset.and_then(|offset| self.due.get(&offset)))
            );
            return Err(Broken::new("FireBounded", what));
        }
        Ok(())
    }

    fn note_expiry(&mut self, event: &NewEvent, offset: u64, due_ms: i64, now: u64) -> Result<(), Broken> {
        let due = nanos(due_ms).max(now);
        let expires = match event.expires {
            None => return Ok(()),
            Some(Expires::At(at)) => nanos(at),
            Some(Expires::After(useful)) => {
                due.div_ceil(NANOS_PER_MS).saturating_add(useful).saturating_mul(NANOS_PER_MS)
            }
        };
        if expires <= due {
            let what = format!("event {offset} is accepted, and of no use from {expires} on, due at {due}");
            return Err(Broken::new("ExpiryHolds", what));
        }
        self.expires.insert(offset, expires);
        Ok(())
    }

    /// An event that has expired is of no use any more, or its topic or an operator lets it go.
    fn check_expired(
        &self,
        seq: u64,
        known: &Known,
        now: u64,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        compared.expiry += 1;
        let is_news = !matches!(known.state, Some(EventState::Expired { .. }));
        if self.expires.get(&known.offset).is_some_and(|expires| *expires <= now) {
            if is_news {
                compared.fate(EventFate::Expired);
            }
            return Ok(());
        }
        let ready_at = self.due.get(&known.offset).copied().unwrap_or_default().max(known.accepted_at);
        let is_old = self.config.retain_age.is_some_and(|age| ready_at.saturating_add(age.as_nanos()) <= now);
        if !is_old && self.config.retain_bytes.is_none() && seq >= self.let_go {
            let what = format!("event {} has expired at {now} for no reason: {known:?}", known.offset);
            return Err(Broken::new("ExpiryHolds", what));
        }
        if is_news {
            compared.fate(EventFate::LetGo);
            self.check_held_up_by_none(known)?;
        }
        Ok(())
    }

    /// What is for a consumer group is kept until it has settled it, unless the topic says otherwise.
    fn check_held_up_by_none(&self, known: &Known) -> Result<(), Broken> {
        let is_for = |(name, state): &(&String, &DeliveryState)| {
            **state != DeliveryState::Skipped && self.groups.get(*name).is_some_and(Consumers::is_the_first)
        };
        match known.seen.iter().find(is_for) {
            Some((group, state)) if !self.config.expires_unsettled => {
                let what = format!("event {} was let go, and was {state:?} for group {group}", known.offset);
                Err(Broken::new("ExpiryHolds", what))
            }
            _ => Ok(()),
        }
    }

    /// What is kept is what became ready, in that order, and is found by its time as by its place.
    pub(super) fn audit_kept(
        &mut self,
        ask: impl Fn(KeptFrom) -> EventsView,
        partition: &PartitionView,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        let broken = |what| Err(Broken::new("KeptInOrder", what));
        let EventsView::Kept { rows, .. } = ask(KeptFrom::Seq(0)) else {
            return broken("nothing is told of what is kept".to_owned());
        };
        compared.kept += 1;
        for row in &rows {
            self.note_ready(row.seq, row.offset, compared)?;
            let due = self.due.get(&row.offset).copied().unwrap_or(u64::MAX);
            if self.stored.get(&row.offset) != Some(&row.stored) {
                return broken(format!(
                    "event {} is at {:?} of the log, and is said to be at {:?}",
                    row.offset,
                    self.stored.get(&row.offset),
                    row.stored
                ));
            }
            if row.at.as_nanos() < due {
                return broken(format!(
                    "event {} became ready at {}, and is due at {due}",
                    row.offset, row.at
                ));
            }
        }
        if let Some(pair) = rows.windows(2).find(|pair| pair[0].seq >= pair[1].seq || pair[0].at > pair[1].at)
        {
            return broken(format!("{:?} is told before {:?}", pair[0], pair[1]));
        }
        if rows.first().is_some_and(|row| row.seq != partition.first_seq) {
            return broken(format!(
                "the oldest is said to be {}, and is {:?}",
                partition.first_seq,
                rows.first()
            ));
        }
        let Some(middle) = rows.get(rows.len() / 2) else { return Ok(()) };
        let EventsView::Kept { rows: found, .. } = ask(KeptFrom::Time(middle.at)) else {
            return broken("nothing is told of what is kept since a time".to_owned());
        };
        let since = rows.iter().find(|row| row.at >= middle.at);
        if found.first() != since {
            return broken(format!("since {} it is {since:?}, and {:?} was told", middle.at, found.first()));
        }
        Ok(())
    }

    pub(super) fn check_waits(&self, offset: u64, what: &str) -> Result<(), Broken> {
        if self.seqs.contains_key(&offset) || self.cancelled.contains(&offset) {
            return Err(Broken::new(
                "TerminalStays",
                format!("event {offset} is {what}, and waited no more"),
            ));
        }
        Ok(())
    }

    pub(super) fn audit_counts(
        &self,
        partition: &PartitionView,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        compared.never_silent += 1;
        if partition.ready > 0 && partition.groups.iter().all(|group| group.members == 0) {
            compared.fate(EventFate::Unattended);
        }
        let waited = self.accepted - partition.next_seq;
        let cancelled = self.cancelled.len() as u64;
        if partition.next_offset != self.accepted || waited != partition.scheduled + cancelled {
            let what = format!(
                "of {} events {} became ready, {cancelled} were cancelled and {} are scheduled",
                self.accepted, partition.next_seq, partition.scheduled
            );
            return Err(Broken::new("NeverSilent", what));
        }
        Ok(())
    }

    /// Holds the state of an event against the one in which it was seen last.
    pub(super) fn judge(
        &mut self,
        event: &EventName,
        known: &mut Known,
        view: &EventView,
        times: Times,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        let due = self.due.get(&known.offset).copied().unwrap_or(u64::MAX);
        let Times { now, woken, .. } = times;
        let is_due = due <= now;
        compared.owner_only += 1;
        let may_be = match view.state {
            EventState::Scheduled => matches!(known.state, None | Some(EventState::Scheduled)),
            EventState::Ready { seq } => {
                compared.never_early += 1;
                if !is_due {
                    let what = format!("{event:?} is ready at {now}, and due at {due}");
                    return Err(Broken::new("NeverEarly", what));
                }
                self.check_not_cancelled(known.offset, compared)?;
                self.note_ready(seq, known.offset, compared)?;
                !known.is_over()
            }
            EventState::Settled => is_due && known.state != Some(EventState::Cancelled),
            EventState::Cancelled => self.cancelled.contains(&known.offset),
            EventState::Expired { seq } => {
                self.note_ready(seq, known.offset, compared)?;
                self.check_expired(seq, known, now, compared)?;
                !matches!(known.state, Some(EventState::Cancelled | EventState::Settled))
            }
        };
        if !may_be {
            let what = format!("{event:?} is {:?}, was {:?}, and is due at {due}", view.state, known.state);
            return Err(Broken::new("OwnerOnly", what));
        }
        if view.state == EventState::Scheduled && due <= woken {
            let what = format!("{event:?} was due at {due}, and is scheduled after a wake-up at {woken}");
            return Err(Broken::new("NeverSilent", what));
        }
        let is_over = self.expires.get(&known.offset).is_some_and(|expires| *expires <= woken);
        let in_hand = |state: &DeliveryState| is_in_hand(state) || *state == DeliveryState::Buffered;
        if let Some((group, state)) = view.deliveries.iter().find(|(_, state)| is_over && in_hand(state)) {
            let what = format!("{event:?} was to expire before {woken}, and is {state:?} for group {group}");
            return Err(Broken::new("ExpiryHolds", what));
        }
        known.state = Some(view.state);
        match view.state {
            EventState::Ready { seq } | EventState::Expired { seq } => {
                for (name, state) in &view.deliveries {
                    let before = known.seen.insert(name.clone(), state.clone());
                    let Some(group) = self.groups.get_mut(name) else { continue };
                    group.judge(seq, before.as_ref(), state, times, compared)?;
                }
            }
            EventState::Settled => {
                let Some(seq) = self.seqs.get(&known.offset) else { return Ok(()) };
                let has_missed =
                    |state: &DeliveryState| matches!(state, DeliveryState::Skipped | DeliveryState::Expired);
                for (name, _) in known.seen.iter().filter(|(_, state)| !has_missed(state)) {
                    let group = self.groups.get_mut(name);
                    group.into_iter().for_each(|group| group.is_done_with(*seq));
                }
            }
            EventState::Scheduled | EventState::Cancelled => {}
        }
        Ok(())
    }

    /// Holds what each group has open against what it may have.
    pub(super) fn judge_groups(
        &self,
        names: &BTreeMap<EventName, Known>,
        partition: &PartitionView,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        for view in &partition.groups {
            let Some(group) = self.groups.get(&view.name) else { continue };
            group.judge_view(view, compared)?;
            group.judge_counts(view, compared)?;
            let mut open: BTreeMap<MemberId, u32> = BTreeMap::new();
            // By key, in the order of the ready sequence.
            let mut keys: BTreeMap<(&str, u64), &DeliveryState> = BTreeMap::new();
            for known in names.values() {
                let Some(EventState::Ready { seq }) = known.state else { continue };
                let Some(state) = known.seen.get(&view.name) else { continue };
                if let DeliveryState::Processing { member, .. } = state {
                    *open.entry(*member).or_default() += 1;
                }
                let revived = group.is_revived(seq);
                compared.floor += 1;
                let in_hand = is_in_hand(state) || *state == DeliveryState::Buffered;
                if seq < view.floor && in_hand && !revived {
                    let what = format!(
                        "group {} has its floor at {}, and {seq} is {state:?}",
                        view.name, view.floor
                    );
                    return Err(Broken::new("FloorContiguous", what));
                }
                if !revived {
                    keys.insert((&known.key, seq), state);
                }
            }
            for (member, count) in open {
                compared.credit += 1;
                let most = group.open_max(member);
                if count > most {
                    let what = format!(
                        "{count} deliveries are open with {member:?} of group {}, and {most} may be",
                        view.name
                    );
                    return Err(Broken::new("CreditRespected", what));
                }
            }
            if group.is_ordered {
                judge_keys(&view.name, &keys, compared)?;
            }
        }
        Ok(())
    }
}

impl Topic {
    /// What lies behind is another generation of the group: in what state it was seen before says nothing about that.
    pub(super) fn forget_states(&mut self, group: &str) {
        for known in self.names.values_mut() {
            known.seen.remove(group);
        }
    }
}

impl Known {
    fn is_over(&self) -> bool {
        matches!(self.state, Some(EventState::Settled | EventState::Cancelled | EventState::Expired { .. }))
    }
}

/// What an event was told to be due at is what its publisher said.
pub(super) fn check_due(due: Due, due_ms: i64, now: u64) -> Result<(), Broken> {
    let least = match due {
        Due::At(at) => nanos(at),
        Due::In(delay) => now.saturating_add(delay.saturating_mul(NANOS_PER_MS)).saturating_sub(NANOS_PER_MS),
    };
    if nanos(due_ms) < least {
        return Err(Broken::new("NeverEarly", format!("{due:?} at {now} is taken for {due_ms}")));
    }
    Ok(())
}

pub(super) fn nanos(due_ms: i64) -> u64 {
    u64::try_from(due_ms).unwrap_or_default().saturating_mul(NANOS_PER_MS)
}

const NANOS_PER_MS: u64 = 1_000_000;

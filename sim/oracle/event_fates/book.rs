//! What the log of a group was asked and answered about events, and in what state each was seen.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::Location;

use chronon_core::codec;
use chronon_core::events::{
    Deliveries, DeliveryState, Due, EventName, EventState, EventView, EventsAnswer, EventsCommand,
    EventsQuery, EventsView, MemberId, Mode, NewEvent, PartitionView, Published, TopicConfig,
};
use chronon_core::kernel::Outcome;
use chronon_core::types::{Op, Timestamp};

use super::Compared;
use crate::oracle::Violation;

/// A promise that broke.
#[derive(Debug)]
pub(super) struct Broken {
    pub invariant: &'static str,
    what: String,
    site: &'static Location<'static>,
}

impl Broken {
    #[track_caller]
    pub(super) fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, what, site: Location::caller() }
    }

    pub(super) fn violation(self) -> Violation {
        let (node, group) = (None, None);
        Violation { invariant: self.invariant, node, group, what: self.what, site: self.site }
    }
}

/// What is known of all topics.
#[derive(Clone, Debug, Default)]
pub(super) struct Book {
    topics: BTreeMap<String, Topic>,
    /// Consensus time, by op.
    times: BTreeMap<Op, u64>,
    now: u64,
    op: Op,
    /// Everything that was due by then has happened.
    woken: u64,
}

#[derive(Clone, Debug, Default)]
struct Topic {
    config: TopicConfig,
    accepted: u64,
    names: BTreeMap<EventName, Known>,
    /// Names that were published with leave to be duplicates: which of their events has the name is not followed here.
    unsure: BTreeSet<EventName>,
    /// Offsets by their place in the ready sequence, and the other way about.
    ready: BTreeMap<u64, u64>,
    seqs: BTreeMap<u64, u64>,
    due: BTreeMap<u64, u64>,
    cancelled: BTreeSet<u64>,
    groups: BTreeMap<String, Group>,
}

/// What is known of an event that has a name.
#[derive(Clone, Debug)]
struct Known {
    offset: u64,
    accepted_at: u64,
    key: String,
    state: Option<EventState>,
    seen: BTreeMap<String, DeliveryState>,
}

#[derive(Clone, Debug, Default)]
struct Group {
    is_ordered: bool,
    credits: BTreeMap<MemberId, u32>,
    /// Dead letters that somebody ordered to be none, by their place in the ready sequence.
    revived: BTreeSet<u64>,
}

impl Book {
    pub(super) fn entry(&mut self, op: Op, now: Timestamp, wakes: bool) {
        (self.op, self.now) = (op, now.as_nanos());
        self.times.insert(op, self.now);
        if wakes {
            self.woken = self.now;
        }
    }

    /// A command was executed.
    pub(super) fn command(
        &mut self,
        body: &[u8],
        outcome: &Outcome,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        let (Ok(command), Outcome::Done(answer)) = (codec::decode::<EventsCommand>(body), outcome) else {
            return Ok(());
        };
        let Ok(answer) = codec::decode::<EventsAnswer>(answer.as_slice()) else { return Ok(()) };
        let now = self.now;
        match (command, answer) {
            (EventsCommand::Open { topic, config }, _) => {
                let known = self.topics.entry(topic).or_default();
                if known.config.revision <= config.revision {
                    known.config = config;
                }
                Ok(())
            }
            (EventsCommand::Publish { topic, events }, EventsAnswer::Published(results)) => {
                let topic = self.topics.entry(topic).or_default();
                let both = events.iter().zip(&results);
                both.map(|(event, result)| topic.published(event, result, now, compared)).collect()
            }
            (EventsCommand::Cancel { topic, event }, EventsAnswer::Cancelled { offset }) => {
                let topic = self.topics.entry(topic).or_default();
                let known = topic.names.get(&event);
                if known.is_some_and(|known| known.offset != offset) {
                    let what =
                        format!("event {offset} is cancelled by the name {event:?}, which is {known:?}");
                    return Err(Broken::new("OwnerOnly", what));
                }
                topic.check_waits(offset, "cancelled")?;
                topic.cancelled.insert(offset);
                Ok(())
            }
            (EventsCommand::Reschedule { topic, due, .. }, EventsAnswer::Rescheduled { offset, due_ms }) => {
                let topic = self.topics.entry(topic).or_default();
                topic.check_waits(offset, "put off")?;
                check_due(due, due_ms, now)?;
                topic.due.insert(offset, nanos(due_ms));
                Ok(())
            }
            (
                EventsCommand::Attach { topic, group, options, member, credits, .. },
                EventsAnswer::Attached(open),
            ) => {
                let topic = self.topics.entry(topic).or_default();
                let known = topic.groups.entry(group).or_default();
                known.is_ordered = options.mode == Mode::Ordered;
                let most = known.credits.entry(member).or_default();
                *most = credits.max(*most);
                topic.told(&open, &self.times, compared)
            }
            (EventsCommand::Settle { topic, .. }, EventsAnswer::Settled { granted, .. }) => {
                self.topics.entry(topic).or_default().told(&granted, &self.times, compared)
            }
            (
                EventsCommand::Redrive { topic, group, letters }
                | EventsCommand::Discard { topic, group, letters },
                _,
            ) => {
                self.topics
                    .entry(topic)
                    .or_default()
                    .groups
                    .entry(group)
                    .or_default()
                    .revived
                    .extend(letters);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Holds every state that is seen against what is known.
    pub(super) fn audit(
        &mut self,
        ask: impl Fn(EventsQuery) -> EventsView,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        let (now, woken) = (self.now, self.woken);
        for (name, topic) in &mut self.topics {
            let EventsView::Partition(partition) = ask(EventsQuery::Partition { topic: name.clone() }) else {
                return Err(Broken::new("NeverSilent", format!("topic {name} is gone")));
            };
            topic.audit_counts(&partition, compared)?;
            let of = |event: &EventName| EventsQuery::Event { topic: name.clone(), event: event.clone() };
            let mut names = core::mem::take(&mut topic.names);
            let mut forgotten = Vec::new();
            for (event, known) in &mut names {
                let must_be_known = known.accepted_at.saturating_add(topic.window()) > now;
                match ask(of(event)) {
                    EventsView::Event(Some(view)) if view.offset == known.offset => {
                        topic.judge(event, known, &view, (now, woken), compared)?;
                    }
                    // Its name was free again, and may have been given to another.
                    _ if !must_be_known => forgotten.push(event.clone()),
                    other => {
                        let what = format!("within the window the fate of {event:?} is {other:?}");
                        return Err(Broken::new("NeverSilent", what));
                    }
                }
            }
            for event in forgotten {
                names.remove(&event);
            }
            topic.judge_groups(&names, &partition, compared)?;
            topic.names = names;
        }
        Ok(())
    }
}

impl Topic {
    fn window(&self) -> u64 {
        self.config.dedup_window.as_nanos()
    }

    fn published(
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
                check_due(event.due, *due_ms, now)?;
                self.due.insert(*offset, nanos(*due_ms));
                if event.allow_duplicate {
                    self.names.remove(&event.name);
                    self.unsure.insert(event.name.clone());
                }
                if self.unsure.contains(&event.name) {
                    return Ok(());
                }
                if known.is_some_and(|known| known.accepted_at.saturating_add(self.window()) > now) {
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
    fn told(
        &mut self,
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
            self.check_not_cancelled(offset, compared)?;
            self.note_ready(seq, offset, compared)?;
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
        let (of_seq, of_offset) =
            (*self.ready.entry(seq).or_insert(offset), *self.seqs.entry(offset).or_insert(seq));
        if (of_seq, of_offset) != (offset, seq) {
            let what = format!(
                "event {offset} is ready as {seq}; it was as {of_offset}, and {seq} was event {of_seq}"
            );
            return Err(Broken::new("FireOnce", what));
        }
        Ok(())
    }

    fn check_waits(&self, offset: u64, what: &str) -> Result<(), Broken> {
        if self.seqs.contains_key(&offset) || self.cancelled.contains(&offset) {
            return Err(Broken::new(
                "TerminalStays",
                format!("event {offset} is {what}, and waited no more"),
            ));
        }
        Ok(())
    }

    fn audit_counts(&self, partition: &PartitionView, compared: &mut Compared) -> Result<(), Broken> {
        compared.never_silent += 1;
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
    fn judge(
        &mut self,
        event: &EventName,
        known: &mut Known,
        view: &EventView,
        (now, woken): (u64, u64),
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        let due = self.due.get(&known.offset).copied().unwrap_or(u64::MAX);
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
        };
        if !may_be {
            let what = format!("{event:?} is {:?}, was {:?}, and is due at {due}", view.state, known.state);
            return Err(Broken::new("OwnerOnly", what));
        }
        if view.state == EventState::Scheduled && due <= woken {
            let what = format!("{event:?} was due at {due}, and is scheduled after a wake-up at {woken}");
            return Err(Broken::new("NeverSilent", what));
        }
        known.state = Some(view.state);
        let EventState::Ready { seq } = view.state else { return Ok(()) };
        for (name, state) in &view.deliveries {
            let revived = self.groups.get(name).is_some_and(|group| group.revived.contains(&seq));
            let before = known.seen.insert(name.clone(), state.clone());
            compared.terminal_stays += 1;
            if let Some(before) = before.filter(|before| !revived && !may_follow(before, state)) {
                let what = format!("in group {name} {event:?} was {before:?}, and is {state:?}");
                return Err(Broken::new("TerminalStays", what));
            }
        }
        Ok(())
    }

    /// Holds what each group has open against what it may have.
    fn judge_groups(
        &self,
        names: &BTreeMap<EventName, Known>,
        partition: &PartitionView,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        for view in &partition.groups {
            let Some(group) = self.groups.get(&view.name) else { continue };
            let mut open: BTreeMap<MemberId, u32> = BTreeMap::new();
            // By key, in the order of the ready sequence.
            let mut keys: BTreeMap<(&str, u64), &DeliveryState> = BTreeMap::new();
            for known in names.values() {
                let Some(EventState::Ready { seq }) = known.state else { continue };
                let Some(state) = known.seen.get(&view.name) else { continue };
                if let DeliveryState::Processing { member, .. } = state {
                    *open.entry(*member).or_default() += 1;
                }
                let revived = group.revived.contains(&seq);
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
                let most = group.credits.get(&member).copied().unwrap_or_default();
                if count > most {
                    let what = format!(
                        "{count} deliveries are open with {member:?} of group {}, which has {most} credits",
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

impl Known {
    fn is_over(&self) -> bool {
        matches!(self.state, Some(EventState::Settled | EventState::Cancelled))
    }
}

/// Of each key one event is in hand at most, and none before it waits.
fn judge_keys(
    group: &str,
    keys: &BTreeMap<(&str, u64), &DeliveryState>,
    compared: &mut Compared,
) -> Result<(), Broken> {
    let mut waiting: BTreeMap<&str, u64> = BTreeMap::new();
    for ((key, seq), state) in keys {
        compared.key_order += 1;
        if is_in_hand(state)
            && let Some(earlier) = waiting.get(key)
        {
            let what = format!(
                "of key {key} in group {group} event {seq} is {state:?}, and {earlier} is not settled"
            );
            return Err(Broken::new("KeyOrder", what));
        }
        if is_in_hand(state) || **state == DeliveryState::Buffered {
            waiting.insert(key, *seq);
        }
    }
    Ok(())
}

fn is_in_hand(state: &DeliveryState) -> bool {
    matches!(state, DeliveryState::Processing { .. } | DeliveryState::FailedRetryable { .. })
}

/// Whether a delivery that nobody redrove may be in the one state after it was in the other.
fn may_follow(before: &DeliveryState, after: &DeliveryState) -> bool {
    let attempts = |state: &DeliveryState| match state {
        DeliveryState::Processing { attempt, .. } => Some(*attempt),
        DeliveryState::FailedRetryable { attempts, .. } => Some(*attempts),
        DeliveryState::FailedTerminal(dead) => Some(dead.attempts),
        DeliveryState::Skipped | DeliveryState::Buffered | DeliveryState::Processed => None,
    };
    let rises = match (attempts(before), attempts(after)) {
        (Some(before), Some(after)) => before <= after,
        _ => true,
    };
    match before {
        DeliveryState::Processed | DeliveryState::Skipped => after == before,
        DeliveryState::FailedTerminal(_) => after == before || *after == DeliveryState::Processed,
        DeliveryState::Buffered
        | DeliveryState::Processing { .. }
        | DeliveryState::FailedRetryable { .. } => rises && *after != DeliveryState::Skipped,
    }
}

/// What an event was told to be due at is what its publisher said.
fn check_due(due: Due, due_ms: i64, now: u64) -> Result<(), Broken> {
    let least = match due {
        Due::At(at) => nanos(at),
        Due::In(delay) => now.saturating_add(delay.saturating_mul(NANOS_PER_MS)).saturating_sub(NANOS_PER_MS),
    };
    if nanos(due_ms) < least {
        return Err(Broken::new("NeverEarly", format!("{due:?} at {now} is taken for {due_ms}")));
    }
    Ok(())
}

fn nanos(due_ms: i64) -> u64 {
    u64::try_from(due_ms).unwrap_or_default().saturating_mul(NANOS_PER_MS)
}

const NANOS_PER_MS: u64 = 1_000_000;

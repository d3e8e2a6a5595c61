//! What is known of a consumer group: who its members are, what they were told, and how they said it ended.

use std::collections::{BTreeMap, BTreeSet};

use chronon_core::events::{
    Deliveries, DeliveryState, Disposition, GrantPlace, GroupOptions, GroupView, MemberId, Mode, Settled,
    Settlement,
};
use chronon_core::types::{Nanos, Op};

use super::Compared;
use super::broken::Broken;
use super::fate::EventFate;
use super::pauses::Pauses;

/// The group.
#[derive(Clone, Debug, Default)]
pub(super) struct Consumers {
    pub is_ordered: bool,
    attempts_max: Option<u32>,
    members: BTreeMap<MemberId, Member>,
    /// The latest grant of each event that somebody was told of, and which attempt that was.
    granted: BTreeMap<u64, (GrantPlace, MemberId, u32)>,
    /// Attempts that a member has said to be over.
    ended: BTreeSet<(u64, u32)>,
    acked: BTreeSet<u64>,
    /// Dead letters that somebody ordered to be none: how they go on is not followed.
    revived: BTreeSet<u64>,
    /// What is done with for this group, and nobody has said so: dead letters of which there were too many.
    dropped: BTreeSet<u64>,
    /// Such of earlier generations.
    dropped_before: u64,
    pauses: Pauses,
    /// The op by which it was set to another place, or deleted: what was granted before never counts.
    since: Op,
    /// And its place in the ready sequence. What is delivered of before it was redriven.
    start: u64,
    is_deleted: bool,
}

#[derive(Clone, Debug)]
struct Member {
    credits: u32,
    /// So many may be open with it, those among them that were granted when it had more credits, or asked for them.
    open_max: u32,
    /// It is one until then, if it says nothing more.
    until: u64,
    /// It came then.
    since: u64,
    lease: u64,
}

/// How far a group has come in time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    pub now: u64,
    /// Everything that was due by then has happened.
    pub woken: u64,
    /// When the states were looked at before.
    pub audited: u64,
}

impl Consumers {
    pub(super) fn attached(
        &mut self,
        options: &GroupOptions,
        (member, credits, lease): (MemberId, u32, Nanos),
        open: u32,
        times: Times,
        compared: &mut Compared,
    ) {
        let known = self.comes(options, (member, lease), times, compared);
        // What was granted to it while it had more credits stays with it.
        (known.credits, known.open_max) = (credits, open.max(credits));
        if credits == 0 {
            compared.fate(EventFate::HeldOff);
        }
    }

    /// A member has asked for so many deliveries, and has none coming.
    pub(super) fn claimed(
        &mut self,
        options: &GroupOptions,
        (member, count, lease): (MemberId, u32, Nanos),
        granted: u32,
        times: Times,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        let known = self.comes(options, (member, lease), times, compared);
        (known.credits, known.open_max) = (0, known.open_max.saturating_add(granted));
        compared.credit += 1;
        if granted > count {
            let what = format!("{member:?} has asked for {count} deliveries, and got {granted}");
            return Err(Broken::new("CreditRespected", what));
        }
        (0..granted).for_each(|_| compared.fate(EventFate::Claimed));
        Ok(())
    }

    /// A member comes, or goes on.
    fn comes(
        &mut self,
        options: &GroupOptions,
        (member, lease): (MemberId, Nanos),
        times: Times,
        compared: &mut Compared,
    ) -> &mut Member {
        self.is_ordered = options.mode == Mode::Ordered;
        (self.attempts_max, self.is_deleted) = (Some(self.attempts_of(options)), false);
        self.lose(times.woken, compared);
        let fresh = Member { credits: 0, open_max: 0, lease: 0, until: 0, since: times.now };
        let known = self.members.entry(member).or_insert(fresh);
        known.lease = lease.as_nanos();
        known.until = times.now.saturating_add(known.lease);
        known
    }

    /// What was granted before it had other options is tried once more, however often it was; also what nobody was told of. None
    /// are as many as one likes.
    fn attempts_of(&self, options: &GroupOptions) -> u32 {
        match (self.attempts_max, options.attempts_max) {
            (None, most) => most,
            (Some(0), _) | (_, 0) => 0,
            (Some(before), most) => before.max(most),
        }
    }

    /// It pauses or not, and has these options.
    pub(super) fn changed(&mut self, op: Op, options: &GroupOptions, pauses: bool, compared: &mut Compared) {
        self.attempts_max = Some(self.attempts_of(options));
        if self.pauses.is_to_pause(op, pauses) {
            compared.fate(EventFate::Paused);
        }
    }

    /// It begins anew with this place. Who is a member stays one.
    pub(super) fn sought(&mut self, op: Op, start: u64) {
        self.dropped_before += self.dropped.len() as u64;
        (self.since, self.start) = (op, start);
        self.granted.clear();
        self.ended.clear();
        self.acked.clear();
        self.revived.clear();
        self.dropped.clear();
    }

    /// There was no other one of its name, and it was never set to another place.
    pub(super) fn is_the_first(&self) -> bool {
        self.since == Op::default() && !self.is_deleted
    }

    /// There is none any more, and what was granted never counts for another one of its name.
    pub(super) fn deleted(op: Op) -> Self {
        Self { since: op, is_deleted: true, ..Self::default() }
    }

    pub(super) fn detached(&mut self, member: MemberId, compared: &mut Compared) {
        self.members.remove(&member);
        compared.fate(EventFate::Left);
    }

    /// Who has said nothing for as long as it may is none any more.
    pub(super) fn lose(&mut self, woken: u64, compared: &mut Compared) {
        let before = self.members.len();
        self.members.retain(|_, known| known.until > woken);
        (self.members.len()..before).for_each(|_| compared.fate(EventFate::Lost));
    }

    /// So many of these letters were dead, and are no more.
    pub(super) fn revived(&mut self, letters: &[u64], count: u32, compared: &mut Compared) {
        if count > 0 {
            self.revived.extend(letters);
        }
        (0..count).for_each(|_| compared.fate(EventFate::Revived));
    }

    pub(super) fn is_revived(&self, seq: u64) -> bool {
        self.revived.contains(&seq)
    }

    /// So many deliveries may be open with a member.
    pub(super) fn open_max(&self, member: MemberId) -> u32 {
        self.members.get(&member).map_or(0, |known| known.open_max)
    }

    /// A member is told of a delivery.
    pub(super) fn told(
        &mut self,
        member: MemberId,
        (grant, attempt): (GrantPlace, u32),
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        compared.terminal_stays += 1;
        let seq = grant.seq;
        compared.paused += 1;
        if self.pauses.hold(grant.op) {
            let what = format!(
                "event {seq} was granted at op {}, and the group paused then: {:?}",
                grant.op, self.pauses
            );
            return Err(Broken::new("PauseHolds", what));
        }
        compared.generation += 1;
        if grant.op > self.since && seq < self.start && !self.is_revived(seq) {
            let what = format!(
                "event {seq} is granted at op {}, and the group was set to {} at op {}",
                grant.op, self.start, self.since
            );
            return Err(Broken::new("GenerationHolds", what));
        }
        if let Some(most) = self.attempts_max.filter(|most| *most > 0 && attempt > *most) {
            let what = format!("event {seq} is delivered, attempt {attempt} of {most}");
            return Err(Broken::new("TerminalStays", what));
        }
        let known = self.granted.entry(seq).or_insert((grant, member, attempt));
        if grant > known.0 {
            *known = (grant, member, attempt);
            if attempt > 1 {
                compared.fate(EventFate::Retried);
            }
        }
        Ok(())
    }

    /// A member has said how deliveries ended, and was answered.
    pub(super) fn settled(
        &mut self,
        member: MemberId,
        (settlements, results): (&[Settlement], &[Settled]),
        times: Times,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        if let Some(known) = self.members.get_mut(&member) {
            known.until = times.now.saturating_add(known.lease);
        }
        for (settlement, result) in settlements.iter().zip(results) {
            if *result != Settled::Done {
                compared.fate(EventFate::Stale);
                continue;
            }
            let Settlement { seq, attempt, disposition, .. } = settlement;
            self.check_open(member, settlement, compared)?;
            if *disposition != Disposition::InProgress {
                self.ended.insert((*seq, *attempt));
                if let Some(known) = self.members.get_mut(&member) {
                    known.open_max = known.open_max.saturating_sub(1).max(known.credits);
                }
            }
            if *disposition == Disposition::Ack {
                self.acked.insert(*seq);
                compared.fate(EventFate::Acknowledged);
            }
        }
        Ok(())
    }

    /// An attempt was taken for the open one: it has not ended, nor is there a later one, nor is it somebody else's.
    fn check_open(
        &self,
        member: MemberId,
        settlement: &Settlement,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        let Settlement { seq, attempt, granted, .. } = *settlement;
        compared.generation += 1;
        if granted < self.since {
            let what = format!(
                "attempt {attempt} of event {seq} was granted at op {granted} and is settled; the group is another one since op {}",
                self.since
            );
            return Err(Broken::new("GenerationHolds", what));
        }
        compared.owner_only += 1;
        if let Some((grant, ..)) = self.granted.get(&seq).filter(|(grant, ..)| grant.op > granted) {
            let what = format!(
                "event {seq} was granted at op {}, and its grant of op {granted} is settled",
                grant.op
            );
            return Err(Broken::new("OwnerOnly", what));
        }
        if self.is_revived(seq) {
            return Ok(());
        }
        if self.ended.contains(&(seq, attempt)) {
            let what = format!("attempt {attempt} of event {seq} is settled twice");
            return Err(Broken::new("TerminalStays", what));
        }
        match self.granted.get(&seq) {
            Some((_, owner, open)) if *open > attempt || *open == attempt && *owner != member => {
                let what = format!(
                    "{member:?} settles attempt {attempt} of event {seq}, and attempt {open} is open with {owner:?}"
                );
                Err(Broken::new("OwnerOnly", what))
            }
            _ => Ok(()),
        }
    }

    /// The event at this place was seen in a state, after another one.
    pub(super) fn judge(
        &mut self,
        seq: u64,
        before: Option<&DeliveryState>,
        state: &DeliveryState,
        times: Times,
        compared: &mut Compared,
    ) -> Result<(), Broken> {
        if self.is_revived(seq) {
            return Ok(());
        }
        compared.terminal_stays += 1;
        if let Some(before) = before
            && !may_follow(before, state)
        {
            let what = format!("event {seq} was {before:?}, and is {state:?}");
            return Err(Broken::new("TerminalStays", what));
        }
        if matches!(state, DeliveryState::FailedTerminal(_)) && before != Some(state) {
            compared.fate(EventFate::Dead);
        }
        if *state == DeliveryState::Processed {
            self.is_done_with(seq);
        }
        let Some(DeliveryState::Processing { member, attempt, until }) = before else { return Ok(()) };
        let goes_on = matches!(state, DeliveryState::Processing { attempt: open, .. } if open == attempt);
        let has_left = self.members.get(member).is_none_or(|known| known.since > times.audited);
        let is_over = self.ended.contains(&(seq, *attempt)) || until.as_nanos() <= times.woken || has_left;
        let has_expired = *state == DeliveryState::Expired;
        if !goes_on && !is_over && !has_expired {
            let what = format!(
                "attempt {attempt} of event {seq} was to be settled by {until}, nobody has, and it is {state:?}"
            );
            return Err(Broken::new("OwnerOnly", what));
        }
        Ok(())
    }

    /// The group has nothing more to do with an event.
    pub(super) fn is_done_with(&mut self, seq: u64) {
        if !self.acked.contains(&seq) && !self.is_revived(seq) {
            self.dropped.insert(seq);
        }
    }

    /// What a group is shown to be is what it was told.
    pub(super) fn judge_view(&self, view: &GroupView, compared: &mut Compared) -> Result<(), Broken> {
        (compared.paused, compared.generation) = (compared.paused + 1, compared.generation + 1);
        if self.is_deleted {
            let what = format!("group {} was deleted at op {}, and is there", view.name, self.since);
            return Err(Broken::new("GenerationHolds", what));
        }
        if view.is_paused != self.pauses.pauses() {
            let what =
                format!("group {} is paused: {}; it was told {:?}", view.name, view.is_paused, self.pauses);
            return Err(Broken::new("PauseHolds", what));
        }
        if view.floor < self.start {
            let what =
                format!("group {} has its floor at {}, and was set to {}", view.name, view.floor, self.start);
            return Err(Broken::new("GenerationHolds", what));
        }
        Ok(())
    }

    /// Holds the group's counts against what is known.
    pub(super) fn judge_counts(&self, view: &GroupView, compared: &mut Compared) -> Result<(), Broken> {
        compared.never_silent += 1;
        if self.dropped_before + self.dropped.len() as u64 > view.dead_dropped {
            let what = format!(
                "group {} is done with {:?}, which nobody has acknowledged; it has dropped {} dead letters",
                view.name, self.dropped, view.dead_dropped
            );
            return Err(Broken::new("NeverSilent", what));
        }
        if self.members.len() as u64 != u64::from(view.members) {
            let what =
                format!("group {} has {} members, and not {:?}", view.name, view.members, self.members);
            return Err(Broken::new("NeverSilent", what));
        }
        if view.lag >= FAR_BEHIND {
            compared.fate(EventFate::Behind);
        }
        Ok(())
    }
}

/// Of each key one event is in hand at most, and none before it waits. By key, in the order of the ready sequence.
pub(super) fn judge_keys(
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

/// How many deliveries these are; whoever has more than are told has more credits.
pub(super) fn count(deliveries: &Deliveries) -> u32 {
    u32::try_from(deliveries.deliveries.len()).unwrap_or(u32::MAX)
}

pub(super) fn is_in_hand(state: &DeliveryState) -> bool {
    matches!(state, DeliveryState::Processing { .. } | DeliveryState::FailedRetryable { .. })
}

/// Whether a delivery that nobody redrove may be in the one state after it was in the other.
fn may_follow(before: &DeliveryState, after: &DeliveryState) -> bool {
    let attempts = |state: &DeliveryState| match state {
        DeliveryState::Processing { attempt, .. } => Some(*attempt),
        DeliveryState::FailedRetryable { attempts, .. } => Some(*attempts),
        DeliveryState::FailedTerminal(dead) => Some(dead.attempts),
        DeliveryState::Skipped
        | DeliveryState::Buffered
        | DeliveryState::Processed
        | DeliveryState::Expired => None,
    };
    let rises = match (attempts(before), attempts(after)) {
        (Some(before), Some(after)) => before <= after,
        _ => true,
    };
    match before {
        DeliveryState::Processed | DeliveryState::Skipped | DeliveryState::Expired => after == before,
        DeliveryState::FailedTerminal(_) => after == before || *after == DeliveryState::Processed,
        DeliveryState::Buffered
        | DeliveryState::Processing { .. }
        | DeliveryState::FailedRetryable { .. } => rises && *after != DeliveryState::Skipped,
    }
}

/// So many events before a group are counted as far behind.
const FAR_BEHIND: u64 = 50;

//! Normal operation: the primary prepares, backups hold, a quorum of durable copies commits (VRR 4.1).

use bytes::Bytes;

use super::{Backup, Beat, Status, VsrNode, Wish};
use crate::codec;
use crate::consensus::{ClusterClock, Discard, Limits, Timeouts, Turn, VsrMessage};
use crate::types::{CommitIndex, Entry, EntryKind, Hash, Mark, Marks, Membership, Now, Op, Timestamp, View};

impl VsrNode {
    /// Whether [`VsrNode::propose`] may be called: the replica leads, durably, the pipeline has room, the epoch goes on,
    /// and the group is not being handed over.
    pub fn can_propose(&self, limits: &Limits) -> bool {
        self.leads()
            && self.waiting() < u64::from(limits.pipeline_entries_max)
            && !self.ends_epoch()
            && !self.hands_over()
    }

    /// The cluster's time: what is nearest to this node's clock on which a majority of clocks agrees; none while none does.
    pub fn time(&self, now: Now, clock: &ClusterClock, timeouts: &Timeouts) -> Option<Timestamp> {
        let voters = (self.members.node(self.members.me()), self.members.voters());
        let quorum = self.members.quorums().replication();
        let agreed = clock.interval(now, voters, quorum, timeouts.trust())?;
        Some(agreed.nearest(now.wall))
    }

    /// What the next entry would be stamped with: the cluster's time, or just above the log's where that is ahead.
    pub fn next_timestamp(&self, now: Now, clock: &ClusterClock, timeouts: &Timeouts) -> Option<Timestamp> {
        let time = self.time(now, clock, timeouts)?;
        Some(time.max(self.log.head_timestamp().next()))
    }

    /// Makes `payload` the next entry, stamped with what [`VsrNode::next_timestamp`] gave, and sends it to the backups; its
    /// op.
    ///
    /// # Panics
    /// When [`VsrNode::can_propose`] says no.
    pub fn propose(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        timestamp: Timestamp,
        kind: EntryKind,
        payload: Bytes,
    ) -> Op {
        assert!(self.can_propose(turn.limits), "only a primary with room in its pipeline proposes");
        let Some(head) = self.log.header(self.log.head_op()).copied() else {
            panic!("a primary knows the header of its head");
        };
        let entry = Entry::next(&head, kind, self.view, timestamp, payload);
        let ordinal = self.record(turn, entry.clone());
        self.log.append(&entry, ordinal);
        if let Status::Primary(primary) = &mut self.status {
            if primary.tracker.waiting() == 0 {
                primary.waiting_since = turn.now.monotonic;
                self.timers.patience = Some(turn.now.monotonic.after(turn.timeouts.abdicate));
            }
            primary.tracker.push();
        }
        let (view, commit) = (self.view, self.commit());
        self.send_to_others(turn, &VsrMessage::Prepare { view, commit, entry });
        self.log.head_op()
    }

    pub(super) fn on_prepare(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: usize,
        view: View,
        commit: CommitIndex,
        entry: Entry,
    ) -> Result<(), Discard> {
        self.check_from_primary(from, view)?;
        if view > self.view {
            turn.marks.hit(Mark::EnteredByPrepare);
            self.enter(turn, view);
            return Ok(());
        }
        let head = self.log.head_op();
        self.check_entry(&entry)?;
        let Status::Backup(backup) = &mut self.status else { return Err(Discard::OutOfPlace) };
        backup.hear(turn, entry.op(), commit);
        let (op, acknowledged) = (entry.op(), backup.acknowledged);
        self.commit_as_told(turn);
        let Status::Backup(backup) = &mut self.status else { return Ok(()) };
        if entry.op() > head.next() {
            let bound = 2 * u64::from(turn.limits.pipeline_entries_max);
            if entry.op().above(head) <= bound {
                backup.early.insert(entry.op(), entry);
                turn.marks.hit(Mark::EarlyPrepare);
            } else {
                turn.marks.hit(Mark::PrepareTooEarly);
            }
            self.ask_later(turn);
        } else {
            self.take_prepared(turn, entry)?;
            if op <= acknowledged {
                // Its primary asks for what it has not heard (VRR 4.1, step 4), or the network has repeated it.
                turn.marks.hit(Mark::PrepareAnsweredAgain);
                self.send_prepare_ok(turn, op, acknowledged);
            }
        }
        self.commit_as_told(turn);
        Ok(())
    }

    /// Commits what the primary of this view said is committed, as far as the log goes; what keeps it from going farther
    /// is asked for.
    pub(super) fn commit_as_told(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let Status::Backup(backup) = &self.status else { return };
        let told = backup.told;
        self.commit_up_to(turn, told);
        if told > self.commit {
            turn.marks.hit(Mark::CommitHeldBack);
            self.ask_later(turn);
        }
    }

    /// Whether `from` may say this as the primary of a view that this replica has not left.
    pub(super) fn check_from_primary(&self, from: usize, view: View) -> Result<(), Discard> {
        if view < self.view {
            Err(Discard::OldView)
        } else if self.primary_of(view) != from {
            Err(Discard::NotFromPrimary)
        } else {
            Ok(())
        }
    }

    /// Whether an answer to the primary of `view` is one to this replica, now.
    pub(super) fn check_led_here(&self, view: View) -> Result<(), Discard> {
        if view < self.view {
            Err(Discard::OldView)
        } else if view > self.view || !self.leads() {
            Err(Discard::OutOfPlace)
        } else {
            Ok(())
        }
    }

    /// Whether an entry can be one of this group's log at all.
    pub(super) fn check_entry(&self, entry: &Entry) -> Result<(), Discard> {
        let header = entry.header();
        let genesis = header.kind() == EntryKind::Genesis;
        let is_sound = |payload: &[u8]| {
            codec::decode::<Membership>(payload).is_ok_and(|membership| membership.is_sound(entry.op()))
        };
        let is_sound = header.kind() != EntryKind::Membership || is_sound(entry.payload());
        if header.group() != self.init.group || genesis || !is_sound {
            Err(Discard::Inconsistent)
        } else {
            Ok(())
        }
    }

    /// Takes an entry of the view's log that lies in it or follows its head, and those that came early.
    fn take_prepared(&mut self, turn: &mut Turn<'_, impl Marks>, entry: Entry) -> Result<(), Discard> {
        self.extend_or_fill(turn, entry)?;
        loop {
            let next = self.log.head_op().next();
            let Status::Backup(backup) = &mut self.status else { return Ok(()) };
            backup.early = backup.early.split_off(&next);
            let Some(entry) = backup.early.remove(&next) else { return Ok(()) };
            turn.marks.hit(Mark::EarlyPrepareTaken);
            self.extend_or_fill(turn, entry)?;
        }
    }

    /// Appends an entry that follows the head, or gives a slot its payload.
    pub(super) fn extend_or_fill(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        entry: Entry,
    ) -> Result<(), Discard> {
        if entry.op() == self.log.head_op().next() {
            if !self.log.can_follow(entry.header()) {
                return Err(Discard::Inconsistent);
            }
            // What follows waits until this replica is in its epoch.
            if self.ends_epoch() {
                turn.marks.hit(Mark::EntryOfTheNextEpoch);
                return Err(Discard::OutOfPlace);
            }
            // The promise must hold every header above the commit: a payload that stays away stops the log.
            if self.log.head_op().above(self.commit) >= 2 * u64::from(turn.limits.pipeline_entries_max) {
                turn.marks.hit(Mark::LogStopped);
                self.ask_later(turn);
                return Err(Discard::OutOfPlace);
            }
            let ordinal = self.record(turn, entry.clone());
            self.log.append(&entry, ordinal);
        } else if self.log.wants(&entry) {
            let ordinal = self.record(turn, entry.clone());
            self.log.fill(&entry, ordinal);
            turn.marks.hit(Mark::PayloadFilled);
        } else if !self.log.contains(entry.op(), entry.hash()) {
            return Err(Discard::Inconsistent);
        }
        Ok(())
    }

    pub(super) fn on_prepare_ok(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: usize,
        view: View,
        (first, to, hash): (Op, Op, Hash),
    ) -> Result<(), Discard> {
        self.check_led_here(view)?;
        if !self.members.takes_part(from) {
            return Err(Discard::Stranger);
        }
        // Hashes chain: an equal hash at `to` names every op below it.
        if first > to || !(self.log.contains(to, hash) || to < self.commit) {
            return Err(Discard::Inconsistent);
        }
        if let Status::Primary(primary) = &mut self.status {
            primary.tracker.acknowledge(from, first, to);
            primary.acknowledged[from] = primary.acknowledged[from].max(to);
        }
        self.advance_commit(turn);
        Ok(())
    }

    /// The primary counts itself once its own record is durable.
    pub(super) fn acknowledge_own(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let (me, first, to) = (self.members.me(), self.commit.next(), self.log.durable_to());
        if let Status::Primary(primary) = &mut self.status {
            primary.tracker.acknowledge(me, first, to);
        }
        self.advance_commit(turn);
    }

    fn advance_commit(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let (majority, next) = (self.members.majority(), self.next_majority());
        let Status::Primary(primary) = &mut self.status else { return };
        let commit = primary.tracker.advance(majority, next);
        if commit > self.commit {
            primary.waiting_since = turn.now.monotonic;
            self.commit_up_to(turn, commit);
        }
    }

    /// A backup tells the primary what has become durable since the last time.
    pub(super) fn acknowledge(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let to = self.log.durable_to();
        let Status::Backup(backup) = &mut self.status else { return };
        let first = backup.acknowledged.next();
        if to >= first {
            backup.acknowledged = to;
            self.send_prepare_ok(turn, first, to);
        }
    }

    fn send_prepare_ok(&self, turn: &mut Turn<'_, impl Marks>, from: Op, to: Op) {
        let Some(hash) = self.log.header(to).map(|header| header.hash()) else { return };
        let message = VsrMessage::PrepareOk { view: self.view, from, to, hash };
        self.send(turn, self.primary_of(self.view), message);
    }

    /// The primary of this view says how far it is: repeats what it may not have heard, asks for what is missing.
    pub(super) fn on_primary_beat(&mut self, turn: &mut Turn<'_, impl Marks>, beat: Beat) {
        let Status::Backup(backup) = &mut self.status else { return };
        backup.hear(turn, beat.head, beat.commit);
        self.wishes.fill(Wish::default());
        let acknowledged = backup.acknowledged;
        self.commit_as_told(turn);
        let unheard = beat.commit.op_or_genesis().min(self.commit).next();
        if self.durable == (self.view, self.log_view) && acknowledged >= unheard {
            turn.marks.hit(Mark::AckRepeated);
            self.send_prepare_ok(turn, unheard, acknowledged);
        }
        if beat.head > self.log.head_op() {
            turn.marks.hit(Mark::BeatShowsGap);
            self.ask_later(turn);
        }
    }

    /// The primary of this view leads it no more.
    pub(super) fn on_primary_lost(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let Status::Backup(backup) = &mut self.status else { return };
        if core::mem::take(&mut backup.led) {
            turn.marks.hit(Mark::PrimaryLost);
            let span = turn.timeouts.resend;
            self.timers.patience = self.votes().then(|| turn.jittered(span));
        }
    }
}

impl Backup {
    fn hear(&mut self, turn: &Turn<'_, impl Marks>, prepared: Op, commit: CommitIndex) {
        self.told = self.told.max(commit.op_or_genesis());
        self.prepared = self.prepared.max(prepared);
        self.led = true;
        self.last_word = turn.now.monotonic;
    }
}

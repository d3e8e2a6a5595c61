//! Repair: asking peers for entries, and taking what they send.
//!
//! Two kinds of entries are safe to take: those of the log that the replica has adopted (their hash is known, or the
//! sender is in the same log view), and those that the sender knows to be committed.

use alloc::vec::Vec;

use super::{Phase, Status, ViewChange, VsrNode};
use crate::consensus::{Discard, Turn, VsrMessage};
use crate::engine::Record;
use crate::types::{CommitIndex, Entry, Mark, Marks, NodeId, Op, Ordinal, View, u64_of, usize_of};

impl VsrNode {
    /// Arms the timer of repetitions, if it is not armed: what is missing may still be on its way.
    pub(super) fn ask_later(&mut self, turn: &mut Turn<'_, impl Marks>) {
        if self.timers.resend.is_none() {
            let span = turn.timeouts.resend;
            self.timers.resend = Some(turn.jittered(span));
        }
    }

    /// The record of the entry at `op` rotted on the disk: what memory holds of it is written once more. What is on its way
    /// to the disk anyway, or not here, is not.
    pub fn write_again(&mut self, turn: &mut Turn<'_, impl Marks>, op: Op) {
        if let Some(entry) = self.log.entry(op).filter(|_| self.log.is_durable(op)) {
            turn.marks.hit(Mark::RottenWrittenAgain);
            let ordinal = self.record(turn, entry);
            self.log.note_recorded(op, ordinal);
        }
    }

    /// Writes once more all whose newest record has an ordinal above the first of these, up to the second, and the promise, which
    /// may be one of them.
    pub fn write_again_all(&mut self, turn: &mut Turn<'_, impl Marks>, (above, to): (Ordinal, Ordinal)) {
        let ops = (self.log.base_op().next().get()..=self.log.head_op().get()).map(Op::new);
        let is_one = |op: &Op| self.log.recorded(*op).is_some_and(|ordinal| above < ordinal && ordinal <= to);
        for op in ops.filter(is_one).collect::<Vec<_>>() {
            self.write_again(turn, op);
        }
        self.renew_promise(turn);
    }

    /// Asks for what is missing, now, and again later.
    pub(super) fn ask(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let Some((from, to)) = self.wanted(turn) else { return };
        turn.marks.hit(Mark::EntriesAskedFor);
        let peer = self.next_peer();
        turn.out.push((peer, VsrMessage::RequestEntries { from, to }));
        let span = turn.timeouts.resend;
        self.timers.resend = Some(turn.jittered(span));
    }

    /// The ops to ask for: payloads of the log first, then what lies above it.
    fn wanted(&self, turn: &Turn<'_, impl Marks>) -> Option<(Op, Op)> {
        let most = u64::from(turn.limits.repair_entries_max).max(1) - 1;
        if self.is_behind() {
            let from = self.commit.next();
            return Some((from, from.plus(most)));
        }
        match &self.status {
            Status::ViewChange(ViewChange { phase: Phase::CatchingUp(chosen), .. }) => {
                let (from, to) = (self.commit.next(), chosen.anchor()?);
                (from <= to).then(|| (from, to.min(from.plus(most))))
            }
            Status::ViewChange(ViewChange { phase: Phase::Collecting(_), .. }) => {
                let faulty = self.log.first_faulty_above(self.applied)?;
                Some((faulty, self.log.head_op().min(faulty.plus(most))))
            }
            Status::Primary(_) | Status::ViewChange(_) | Status::Outside => self.wanted_payloads(most),
            Status::Backup(backup) => self.wanted_payloads(most).or_else(|| {
                let from = self.log.head_op().next();
                (from <= backup.prepared).then(|| (from, backup.prepared.min(from.plus(most))))
            }),
        }
    }

    fn wanted_payloads(&self, most: u64) -> Option<(Op, Op)> {
        let missing = self.log.first_missing_above(self.applied)?;
        Some((missing, self.log.head_op().min(missing.plus(most))))
    }

    /// A backup asks its primary, and every other time another member, who may be a learner: what a sole voter lacks nobody else
    /// has. A replica in a view change goes round; who is behind in epochs asks who told it.
    pub(super) fn next_peer(&mut self) -> NodeId {
        self.attempts += 1;
        let (me, members) = (self.members.me(), self.members.taking_part());
        let first = match self.ahead.filter(|_| self.is_behind()) {
            Some(ahead) => ahead.node,
            None => self.primary(),
        };
        if first != self.members.node(me) && !self.attempts.is_multiple_of(2) {
            return first;
        }
        let peer = self.attempts / 2 % members;
        self.members.node(if peer == me { (peer + 1) % members } else { peer })
    }

    pub(super) fn on_request_entries(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: usize,
        first: Op,
        to: Op,
    ) {
        let mut entries = Vec::new();
        let mut bytes = 0_u64;
        let most = usize_of(u64::from(turn.limits.repair_entries_max));
        let mut op = first.max(self.log.base_op().next());
        let me = self.members.me();
        if op > first && from != me {
            turn.marks.hit(Mark::AskedForForgotten);
            self.send(turn, from, VsrMessage::Covered { to: self.log.base_op() });
        }
        while op <= to.min(self.log.head_op()) && entries.len() < most {
            if let Some(entry) = self.log.entry(op) {
                bytes += u64_of(entry.payload().len());
                if !entries.is_empty() && bytes > u64::from(turn.limits.repair_bytes_max) {
                    turn.marks.hit(Mark::AnswerBoundByBytes);
                    break;
                }
                entries.push(entry);
            }
            op = op.next();
        }
        if entries.is_empty() || from == me {
            turn.marks.hit(Mark::NothingToAnswer);
            return;
        }
        // A log that was adopted but is not durable yet speaks for no view: only what is committed counts then.
        let (_, durable_log_view) = self.durable;
        if durable_log_view != self.log_view {
            turn.marks.hit(Mark::AnswerForNoView);
        }
        let log_view = if durable_log_view == self.log_view { self.log_view } else { View::default() };
        self.send(turn, from, VsrMessage::Entries { log_view, commit: self.commit(), entries });
    }

    pub(super) fn on_entries(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        log_view: View,
        commit: CommitIndex,
        entries: Vec<Entry>,
    ) -> Result<(), Discard> {
        let asked_for = entries.len();
        let entries = self.take_below(turn, commit, entries)?;
        if entries.is_empty() && asked_for > 0 {
            return Ok(());
        }
        let is_of_use = |entry: &Entry| entry.op() > self.commit && commit.covers(entry.op());
        let leaves_epoch = self.is_behind() && entries.iter().any(is_of_use);
        if matches!(self.status, Status::Primary(_)) && !leaves_epoch {
            return Err(Discard::OutOfPlace);
        }
        if !entries.is_sorted_by(|a, b| a.op() < b.op()) {
            return Err(Discard::Inconsistent);
        }
        let tells_its_log = matches!(
            &self.status,
            Status::ViewChange(ViewChange { phase: Phase::Collecting(_) | Phase::Silent, .. })
        );
        if tells_its_log && !leaves_epoch {
            return self.take_faulty(turn, entries);
        }
        if tells_its_log || matches!(self.status, Status::Primary(_)) {
            // The group has gone on without this view: what this replica says of its log in it holds no more.
            turn.marks.hit(Mark::SilentToCatchUp);
            self.fall_silent();
        }
        let same_log = self.follows() && log_view == self.log_view;
        let mut useful = false;
        for entry in entries {
            let op = entry.op();
            self.check_entry(&entry)?;
            if op > self.log.head_op() && self.ends_epoch() {
                // The rest is asked for once this replica is in its epoch.
                break;
            }
            if commit.covers(op) {
                useful |= self.take_committed(turn, entry)?;
            } else if self.log.contains(op, entry.hash()) || (same_log && op == self.log.head_op().next()) {
                if op > self.log.head_op() {
                    turn.marks.hit(Mark::HeadExtendedByRepair);
                }
                useful |= self.log.is_missing(op) || op > self.log.head_op();
                self.extend_or_fill(turn, entry)?;
            }
        }
        self.commit_as_told(turn);
        if useful {
            self.go_on_after_repair(turn);
        }
        Ok(())
    }

    /// While messages of a view change are being collected, the log stays as this replica's own message tells it; what
    /// rotted of it is taken, and counts as present once it is durable again.
    fn take_faulty(&mut self, turn: &mut Turn<'_, impl Marks>, entries: Vec<Entry>) -> Result<(), Discard> {
        let mut useful = false;
        for entry in entries {
            self.check_entry(&entry)?;
            if self.log.wants(&entry) && self.log.was_durable(entry.op(), entry.hash()) {
                turn.marks.hit(Mark::FaultyRepairedInViewChange);
                self.extend_or_fill(turn, entry)?;
                useful = true;
            }
        }
        if useful { Ok(()) } else { Err(Discard::OutOfPlace) }
    }

    /// Takes an entry that is known to be committed; whether it was news. It replaces whatever contradicts it: what
    /// lies there was never committed, and never will be.
    fn take_committed(&mut self, turn: &mut Turn<'_, impl Marks>, entry: Entry) -> Result<bool, Discard> {
        let op = entry.op();
        if op <= self.log.base_op() {
            return Ok(false);
        }
        let news = !self.log.contains(op, entry.hash()) || self.log.is_missing(op);
        if op > self.log.head_op().next() {
            turn.marks.hit(Mark::CommittedBeyondHead);
            return Ok(false);
        }
        let contradicts = op <= self.log.head_op() && !self.log.contains(op, entry.hash());
        if contradicts {
            assert!(op > self.commit, "two entries are committed at op {op}");
            if self.log_view == self.view && !self.is_behind() {
                // A later view committed it: this replica has yet to hear of that view.
                turn.marks.hit(Mark::ContradictionOfLaterView);
                return Ok(false);
            }
            let below = op.previous().unwrap_or(Op::GENESIS);
            if !self.log.contains(below, entry.header().parent()) {
                turn.marks.hit(Mark::ContradictionWithoutParent);
                return Ok(false);
            }
            turn.marks.hit(Mark::ContradictionReplaced);
            self.log.truncate_above(below);
            turn.journal.append(Record::Truncation { group: self.init.group, above: below });
        }
        if op == self.log.head_op().next() && !self.log.can_follow(entry.header()) {
            return Ok(false);
        }
        self.extend_or_fill(turn, entry)?;
        self.commit_up_to(turn, op);
        Ok(news)
    }

    /// Something that was missing is here.
    fn go_on_after_repair(&mut self, turn: &mut Turn<'_, impl Marks>) {
        self.timers.resend = None;
        if self.is_behind() {
            return self.ask(turn);
        }
        match &self.status {
            Status::ViewChange(_) => self.go_on_with_view_change(turn),
            Status::Backup(_) | Status::Outside => self.ask(turn),
            Status::Primary(_) => {}
        }
    }
}

//! View changes (VRR 4.2): wishing for a view, entering it, choosing its log, starting it.

use alloc::vec::Vec;

use super::choose::{Choice, ChosenLog, chains, choose};
use super::{Backup, Phase, Primary, Status, ViewChange, VsrNode, Wish};
use crate::consensus::{Discard, DoViewChange, SuffixEntry, Turn, VsrMessage};
use crate::types::{EntryHeader, Mark, Marks, Monotonic, Op, View};

impl VsrNode {
    /// The patience timer has fired.
    pub(super) fn lose_patience(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let now = turn.now.monotonic;
        match &self.status {
            Status::Primary(primary) => {
                let waits = self.waiting() > 0;
                if waits && now >= primary.waiting_since.after(turn.timeouts.abdicate) {
                    self.resign(turn);
                }
            }
            Status::Backup(backup) => {
                if now.since(self.last_heard(backup, turn)) >= turn.timeouts.primary_silence {
                    self.wish(turn);
                }
            }
            Status::ViewChange(_) => self.wish(turn),
            Status::Outside => {}
        }
        self.arm_patience(turn);
    }

    /// Arms the patience timer for what the replica is doing.
    pub(super) fn arm_patience(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let now = turn.now.monotonic;
        if !self.votes() {
            self.timers.patience = None;
            return;
        }
        self.timers.patience = match &self.status {
            Status::Primary(_) if self.waiting() == 0 => None,
            Status::Primary(primary) => Some(primary.waiting_since.after(turn.timeouts.abdicate).max(now)),
            Status::Backup(backup) => {
                let span = turn.timeouts.primary_silence;
                let due = self.last_heard(backup, turn).after(span);
                let due = if due > now { due } else { now.after(span) };
                Some(due.after(turn.jitter(span)))
            }
            Status::ViewChange(_) => {
                let span = turn.timeouts.view_change;
                Some(turn.jittered(span))
            }
            Status::Outside => None,
        };
    }

    /// Wishes for the next view, and says so until it comes or the primary speaks.
    pub(super) fn wish(&mut self, turn: &mut Turn<'_, impl Marks>) {
        if !self.votes() {
            return self.ask_later(turn);
        }
        let me = self.members.me();
        self.wishes[me] = Wish { view: self.view.next(), at: turn.now.monotonic };
        self.ask_later(turn);
        // Also when it is the one that was missing: those that wished before do not know that they are enough.
        self.say_wish(turn);
        self.count_wishes(turn);
    }

    /// A wish for view v + 1 says that view v exists: it waits until v is durable here.
    fn say_wish(&self, turn: &mut Turn<'_, impl Marks>) {
        let (durable_view, _) = self.durable;
        let view = self.wishes[self.members.me()].view;
        if durable_view == self.view && view > self.view {
            self.send_to_others(turn, &VsrMessage::StartViewChange { view });
        }
    }

    /// Repeats the own wish; takes it back when the primary has spoken since.
    fn repeat_wish(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let me = self.members.me();
        if self.wishes[me].view <= self.view {
            return;
        }
        let spoken = matches!(&self.status, Status::Backup(backup)
            if turn.now.monotonic.since(self.last_heard(backup, turn)) < turn.timeouts.primary_silence);
        if spoken {
            turn.marks.hit(Mark::WishTakenBack);
            self.wishes[me] = Wish::default();
        } else {
            self.wishes[me].at = turn.now.monotonic;
            self.say_wish(turn);
        }
    }

    /// When the primary was last heard of: what it said of this group, or a heartbeat while it is known to lead.
    fn last_heard(&self, backup: &Backup, turn: &Turn<'_, impl Marks>) -> Monotonic {
        let pair = turn.heard.get(&self.primary()).copied().filter(|_| backup.led).unwrap_or_default();
        pair.max(backup.last_word)
    }

    pub(super) fn on_start_view_change(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: usize,
        view: View,
    ) -> Result<(), Discard> {
        if view <= self.view {
            // The sender may not know that this view has started.
            if self.leads() {
                turn.marks.hit(Mark::LateWishAnswered);
                self.send_start_view(turn, from);
            } else if view == self.view && self.lacks_the_log_of(from) {
                // What would have told it that the others wish so as well was lost.
                turn.marks.hit(Mark::WishAnsweredByTheNext);
                self.send(turn, from, VsrMessage::StartViewChange { view });
            }
            return Err(Discard::OldView);
        }
        // Learners have no wishes.
        if !self.members.is_voter(from) || !self.votes() {
            return Err(Discard::OutOfPlace);
        }
        if let Some(below) = view.previous().filter(|below| *below > self.view) {
            turn.marks.hit(Mark::EnteredByLaterWish);
            self.enter(turn, below);
        }
        self.wishes[from] = Wish { view, at: turn.now.monotonic };
        if self.leads() && view == self.view.next() {
            // It may be a replica that cannot tell its log in this view, and waits for the log of the view.
            turn.marks.hit(Mark::NextWishAnswered);
            self.send_start_view(turn, from);
        }
        let abdicates = self.primary_of(self.view) == from;
        if abdicates && self.follows() {
            turn.marks.hit(Mark::ResignationFollowed);
            self.wish(turn);
        } else {
            self.count_wishes(turn);
        }
        Ok(())
    }

    /// Whether this replica is to start its view, durably, and has not heard what log `from` has.
    fn lacks_the_log_of(&self, from: usize) -> bool {
        let (durable_view, _) = self.durable;
        let Status::ViewChange(ViewChange { phase: Phase::Collecting(messages), .. }) = &self.status else {
            return false;
        };
        durable_view == self.view
            && self.primary_of(self.view) == self.members.me()
            && messages.get(from).is_some_and(Option::is_none)
    }

    /// Enters the highest view that a quorum wishes for. A wish that was not repeated for a while does not count.
    fn count_wishes(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let (now, lasts) = (turn.now.monotonic, turn.timeouts.resend.times(WISH_LASTS_RESENDS));
        let expired = |wish: &Wish| wish.view > self.view && now.since(wish.at) > lasts;
        if self.wishes.iter().any(expired) {
            turn.marks.hit(Mark::WishExpired);
        }
        let alive = self.wishes.iter().filter(|wish| now.since(wish.at) <= lasts);
        let mut wishes: Vec<View> = alive.map(|wish| wish.view).collect();
        wishes.sort_unstable_by(|a, b| b.cmp(a));
        let quorum = usize::try_from(self.members.quorums().view_change()).unwrap_or(usize::MAX);
        let wished = wishes.get(quorum - 1).copied().filter(|view| *view > self.view);
        if let Some(view) = wished {
            turn.marks.hit(Mark::EnteredByWishes);
            self.enter(turn, view);
        }
    }

    /// Leaves all views below `view`. Its log goes out once that is durable.
    pub(super) fn enter(&mut self, turn: &mut Turn<'_, impl Marks>, view: View) {
        assert!(view > self.view, "views only grow");
        assert!(view.epoch() == self.view.epoch(), "an epoch is entered by its membership alone");
        self.view = view;
        let message = self.view_change_message(self.commit, &self.suffix_headers());
        self.status = Status::ViewChange(ViewChange { message, phase: self.collecting() });
        self.promise(turn, None);
        self.timers.resend = None;
        self.arm_patience(turn);
    }

    /// The view-change message of this view, about the log that consists of `headers` from `commit` on.
    pub(super) fn view_change_message(&self, commit: Op, headers: &[EntryHeader]) -> DoViewChange {
        let suffix = headers.iter().map(|header| {
            let present = self.holds_durably(header);
            // What was never durable was never acknowledged, and will not be in an earlier view.
            let nack = !present && !self.log.was_durable(header.op(), header.hash());
            SuffixEntry { header: *header, present, nack }
        });
        DoViewChange { view: self.view, log_view: self.log_view, commit, suffix: suffix.collect() }
    }

    fn holds_durably(&self, header: &EntryHeader) -> bool {
        header.op() < self.log.base_op()
            || (self.log.contains(header.op(), header.hash()) && self.log.is_durable(header.op()))
    }

    /// Does what the phase of the view change allows, once view and log view are durable or something was repaired.
    pub(super) fn go_on_with_view_change(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let durable = self.durable == (self.view, self.log_view);
        let Status::ViewChange(change) = &self.status else { return };
        match &change.phase {
            // Nobody needs to know a learner's log: it waits for that of the view.
            Phase::Collecting(_) | Phase::Silent if durable && !self.votes() => {
                let (view, primary) = (self.view, self.primary_of(self.view));
                self.send(turn, primary, VsrMessage::StartViewChange { view });
                self.ask_later(turn);
            }
            Phase::Collecting(_) if durable => self.tell_log(turn),
            Phase::Collecting(_) | Phase::Silent => {}
            Phase::CatchingUp(_) => self.try_adopt(turn),
            Phase::Repairing => self.try_start(turn, durable),
        }
    }

    /// Tells the primary of this view, which may be this replica, what its log is. Writes that have become durable
    /// since the last time are told as present.
    fn tell_log(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let Status::ViewChange(change) = &self.status else { return };
        let mut message = change.message.clone();
        for slot in &mut message.suffix {
            slot.present |= self.holds_durably(&slot.header);
        }
        let (primary, me) = (self.primary_of(self.view), self.members.me());
        if primary != me {
            self.send(turn, primary, VsrMessage::DoViewChange(message));
            self.ask_later(turn);
        } else if let Status::ViewChange(ViewChange { phase: Phase::Collecting(messages), .. }) =
            &mut self.status
        {
            messages[me] = Some(message);
            self.choose_log(turn);
        }
    }

    pub(super) fn on_do_view_change(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: usize,
        message: DoViewChange,
    ) -> Result<(), Discard> {
        if message.view < self.view || (message.view == self.view && self.leads()) {
            if self.leads() {
                turn.marks.hit(Mark::LateLogAnswered);
                self.send_start_view(turn, from);
            }
            return Err(Discard::OldView);
        }
        if !message.is_consistent() {
            return Err(Discard::Inconsistent);
        }
        if !self.members.is_voter(from) || !self.votes() {
            return Err(Discard::OutOfPlace);
        }
        if message.view > self.view {
            turn.marks.hit(Mark::EnteredByLog);
            self.enter(turn, message.view);
        }
        if self.primary_of(self.view) != self.members.me() {
            return Err(Discard::OutOfPlace);
        }
        let Status::ViewChange(ViewChange { phase: Phase::Collecting(messages), .. }) = &mut self.status
        else {
            return Err(Discard::OutOfPlace);
        };
        messages[from] = Some(message);
        self.choose_log(turn);
        Ok(())
    }

    /// On the primary of the view: takes the log as soon as the messages tell which. Its own message counts once it
    /// is durable.
    fn choose_log(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let Status::ViewChange(ViewChange { phase: Phase::Collecting(messages), .. }) = &self.status else {
            return;
        };
        if messages[self.members.me()].is_none() {
            return;
        }
        if let Choice::Log(chosen) = choose(messages, self.members.quorums(), turn.marks) {
            if chosen.source != self.members.me() {
                turn.marks.hit(Mark::PeersLogChosen);
            }
            self.set_phase(Phase::CatchingUp(chosen));
            self.try_adopt(turn);
        }
    }

    pub(super) fn on_start_view(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: usize,
        view: View,
        start: ChosenLog,
    ) -> Result<(), Discard> {
        if view < self.view || (view == self.view && self.log_view == view) {
            return Err(Discard::OldView);
        }
        if self.primary_of(view) != from || from == self.members.me() {
            return Err(Discard::NotFromPrimary);
        }
        if !start.is_consistent() {
            return Err(Discard::Inconsistent);
        }
        if view > self.view {
            turn.marks.hit(Mark::EnteredByStart);
            self.enter(turn, view);
        }
        self.set_phase(Phase::CatchingUp(start));
        self.try_adopt(turn);
        Ok(())
    }

    pub(super) fn set_phase(&mut self, phase: Phase) {
        if let Status::ViewChange(change) = &mut self.status {
            change.phase = phase;
        }
    }

    /// Adopts the known log of the view once it joins onto what is committed here; until then asks for the entries
    /// between. Nothing of the old log is cut before the new one is there to replace it.
    fn try_adopt(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let Status::ViewChange(ViewChange { phase: Phase::CatchingUp(chosen), .. }) = &self.status else {
            return;
        };
        let Some(joint) = self.joint(chosen) else {
            turn.marks.hit(Mark::CatchUpBeforeAdopting);
            self.ask(turn);
            return;
        };
        let (headers, commit) = (chosen.headers.clone(), chosen.commit);
        let cut = self.adopt(turn, &headers, joint);
        self.log_view = self.view;
        self.commit_up_to(turn, commit);
        self.promise(turn, cut);
        self.timers.resend = None;
        if self.primary_of(self.view) == self.members.me() {
            self.set_phase(Phase::Repairing);
            self.go_on_with_view_change(turn);
        } else {
            let mut backup = Backup::new(turn.now.monotonic);
            backup.led = true;
            // Payloads may be missing below it: it is committed once they are here.
            backup.told = commit;
            self.status = Status::Backup(backup);
            self.wishes.fill(Wish::default());
            self.ask(turn);
            if let Some(beat) = self.last_beat.filter(|beat| beat.view == self.view) {
                turn.marks.hit(Mark::EarlyBeatTaken);
                self.on_primary_beat(turn, beat);
            }
        }
        self.arm_patience(turn);
    }

    /// The highest op at which this replica's log and the chosen one are known to be the same: the chosen head, where a
    /// snapshot of more took the place of the log. The primary of the view cannot have got such a one in this view.
    fn joint(&self, chosen: &ChosenLog) -> Option<Op> {
        let head = chosen.headers.last()?.op();
        if head < self.log.base_op() {
            return (self.primary_of(self.view) != self.members.me()).then_some(head);
        }
        let same = |header: &&EntryHeader| self.log.contains(header.op(), header.hash());
        chosen.headers.iter().rev().find(same).map(|header| header.op())
    }

    /// Replaces everything above `joint` by the headers above it; the op above which something was cut. Catching up may
    /// have brought entries that were committed after the view had started with these headers: they follow the last of
    /// them, and stay.
    fn adopt(&mut self, turn: &mut Turn<'_, impl Marks>, headers: &[EntryHeader], joint: Op) -> Option<Op> {
        let whole = headers.last().is_some_and(|head| head.op() == joint);
        let keep = if whole { joint.max(self.commit) } else { joint };
        if keep > joint {
            turn.marks.hit(Mark::CommittedTailKept);
        }
        if !whole {
            turn.marks.hit(Mark::HeadersAdopted);
        }
        let cut = (self.log.head_op() > keep).then_some(keep);
        if cut.is_some() {
            assert!(keep >= self.commit, "the log of view {} drops the commit at {}", self.view, self.commit);
            turn.marks.hit(Mark::TailCut);
            self.log.truncate_above(keep);
        }
        for header in headers.iter().filter(|header| header.op() > joint) {
            self.log.append_header(*header);
        }
        cut
    }

    /// The new primary starts its view once its log is whole and its log view durable.
    fn try_start(&mut self, turn: &mut Turn<'_, impl Marks>, durable: bool) {
        if self.log.first_missing_above(self.applied).is_some() {
            turn.marks.hit(Mark::StartWaitsForPayloads);
            self.ask(turn);
            return;
        }
        if !durable {
            return;
        }
        let (commit, head, now) = (self.commit, self.log.head_op(), turn.now.monotonic);
        self.status = Status::Primary(Primary::new(commit, head, self.members.len(), now));
        self.wishes.fill(Wish::default());
        self.timers.resend = None;
        for to in self.members.others().collect::<Vec<_>>() {
            self.send_start_view(turn, to);
        }
        self.acknowledge_own(turn);
        self.arm_patience(turn);
    }

    fn send_start_view(&self, turn: &mut Turn<'_, impl Marks>, to: usize) {
        let (view, commit, headers) = (self.view, self.commit, self.suffix_headers());
        self.send(turn, to, VsrMessage::StartView { view, commit, headers });
    }

    /// What was asked for has not come: asks again.
    pub(super) fn resend(&mut self, turn: &mut Turn<'_, impl Marks>) {
        self.repeat_wish(turn);
        match &self.status {
            Status::Primary(_) | Status::Outside => self.ask(turn),
            Status::Backup(_) => {
                if self.wishes[self.members.me()].view > self.view {
                    self.ask_later(turn);
                }
                self.ask(turn);
            }
            Status::ViewChange(change) => {
                let collects = matches!(change.phase, Phase::Collecting(_));
                if collects {
                    turn.marks.hit(Mark::LogToldAgain);
                }
                self.go_on_with_view_change(turn);
                if collects || self.is_behind() {
                    self.ask(turn);
                }
                self.ask_later(turn);
            }
        }
    }
}

impl ChosenLog {
    /// The lowest op described: it is committed.
    pub(super) fn anchor(&self) -> Option<Op> {
        self.headers.first().map(|header| header.op())
    }

    /// Whether the headers begin at or below the commit and are a chain.
    fn is_consistent(&self) -> bool {
        let links = self.headers.windows(2).all(|pair| match pair {
            [below, above] => chains(below, above),
            _ => true,
        });
        let head = self.headers.last().map(|header| header.op());
        links && self.anchor().is_some_and(|anchor| anchor <= self.commit) && head >= Some(self.commit)
    }
}

/// A wish counts for this many spans of repetition, so that a lost repetition or two do not end it.
const WISH_LASTS_RESENDS: u64 = 5;

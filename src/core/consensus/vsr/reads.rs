//! Reads beside the log: the primary names an index, and a quorum of voters confirms that it still leads (the read index of
//! the Raft thesis, 6.4, in VSR's words).
//!
//! ```text
//! any replica                       primary                        voters
//! RequestReadIndex(token) --------> | index := commit, or the head
//!                                   | that its view began with
//!                                   | ConfirmView(round) --------> | is this still my view?
//!                                   | <------- ViewConfirmed(round)|
//! applied >= index: <-- ReadIndex -- | at a quorum
//! ```
//!
//! What was committed before somebody asked is covered by the index: a later view that had committed more would have a quorum
//! of its own by then, and this one could not be confirmed. Neither side asks for each read: who comes while an answer is on
//! its way shares the next one.

use alloc::collections::BTreeSet;
use alloc::vec::Vec;

use super::{Status, VsrNode};
use crate::consensus::{Discard, Turn, VsrMessage};
use crate::types::{Mark, Marks, Monotonic, Op, View, u64_of};

/// A place in the row of those who ask for a read index.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct ReadTicket(u64);

/// What a replica asks for its own reads.
#[derive(Clone, Debug, Default)]
pub(super) struct Asking {
    /// Asks so far.
    asks: u64,
    /// What tells the answer to the last of them from all others, also from those to an earlier start; `None` once it came.
    token: Option<u64>,
    /// Somebody came after it was sent.
    is_wanted_again: bool,
    resend: Option<Monotonic>,
    /// The last ask that was answered, and the index.
    answered: (u64, Op),
}

/// What a primary confirms for those that asked.
#[derive(Clone, Debug)]
pub(super) struct Confirming {
    /// The head of the log that the view began with: what earlier views committed is no higher.
    began_with: Op,
    /// Counts rounds.
    round: u64,
    /// Of the round that is on its way, if anybody waits for it.
    index: Op,
    waiting: Vec<Asked>,
    confirmed: BTreeSet<usize>,
    /// They came after it had begun: the next one is theirs.
    late: Vec<Asked>,
}

/// A replica that asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Asked {
    from: usize,
    token: u64,
}

impl VsrNode {
    /// Whether the replica leads, durably, and has applied all of the log that its view began with.
    pub fn has_applied_the_views_log(&self) -> bool {
        let Status::Primary(primary) = &self.status else { return false };
        self.leads() && self.applied >= primary.confirming.began_with
    }

    /// Asks for a read index that covers everything committed before now.
    pub fn ask_read_index(&mut self, turn: &mut Turn<'_, impl Marks>) -> ReadTicket {
        if self.asking.token.is_some() {
            turn.marks.hit(Mark::ReadsShareAnAsk);
            self.asking.is_wanted_again = true;
            return ReadTicket(self.asking.asks + 1);
        }
        self.ask_anew(turn);
        ReadTicket(self.asking.asks)
    }

    /// The index for the holder of this ticket, once a quorum has confirmed it: a state that has applied so much may be read.
    pub fn read_index(&self, ticket: ReadTicket) -> Option<Op> {
        let (ask, index) = self.asking.answered;
        (ticket.0 <= ask).then_some(index)
    }

    fn ask_anew(&mut self, turn: &mut Turn<'_, impl Marks>) {
        self.asking.asks += 1;
        self.asking.is_wanted_again = false;
        self.asking.token = Some(turn.prng.next_u64());
        self.send_ask(turn);
    }

    fn send_ask(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let Some(token) = self.asking.token else { return };
        let span = turn.timeouts.resend;
        self.asking.resend = Some(turn.jittered(span));
        let primary = self.primary_of(self.view);
        if primary == self.members.me() {
            // It may not lead yet: then it asks itself again.
            let _ = self.on_request_read_index(turn, primary, token);
        } else {
            self.send(turn, primary, VsrMessage::RequestReadIndex { token });
        }
    }

    /// When an ask is to be repeated.
    pub(super) fn read_deadline(&self) -> Option<Monotonic> {
        self.asking.resend
    }

    /// The last ask was not answered in time: it, the primary or the view may be lost.
    pub(super) fn repeat_ask(&mut self, turn: &mut Turn<'_, impl Marks>) {
        if self.asking.resend.is_some_and(|at| at <= turn.now.monotonic) {
            turn.marks.hit(Mark::ReadAskedAgain);
            self.send_ask(turn);
        }
    }

    pub(super) fn on_request_read_index(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: usize,
        token: u64,
    ) -> Result<(), Discard> {
        if !self.leads() {
            return Err(Discard::OutOfPlace);
        }
        let Status::Primary(primary) = &mut self.status else { return Err(Discard::OutOfPlace) };
        let (confirming, asked) = (&mut primary.confirming, Asked { from, token });
        if confirming.waiting.contains(&asked) || confirming.late.contains(&asked) {
            // The round may be lost, and who began it may not ask for it any more.
            self.ask_voters(turn);
            return Ok(());
        }
        // Who asks anew waits for nothing else any more.
        confirming.late.retain(|late| late.from != from);
        confirming.late.push(asked);
        if confirming.waiting.is_empty() {
            self.begin_round(turn);
        }
        Ok(())
    }

    fn begin_round(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let (commit, me) = (self.commit, self.members.me());
        let Status::Primary(primary) = &mut self.status else { return };
        let confirming = &mut primary.confirming;
        confirming.waiting = core::mem::take(&mut confirming.late);
        if confirming.waiting.is_empty() {
            return;
        }
        if commit < confirming.began_with {
            turn.marks.hit(Mark::ReadWaitsForTheViewsLog);
        }
        confirming.round += 1;
        confirming.index = commit.max(confirming.began_with);
        confirming.confirmed = BTreeSet::from([me]);
        self.ask_voters(turn);
        self.end_round(turn);
    }

    fn ask_voters(&self, turn: &mut Turn<'_, impl Marks>) {
        if let Status::Primary(primary) = &self.status {
            let message = VsrMessage::ConfirmView { view: self.view, round: primary.confirming.round };
            self.send_to_others(turn, &message);
        }
    }

    pub(super) fn on_confirm_view(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: usize,
        (view, round): (View, u64),
    ) -> Result<(), Discard> {
        self.check_from_primary(from, view)?;
        if view > self.view || self.durable.0 < view {
            // Its heartbeat will tell, and it asks again.
            return Err(Discard::OutOfPlace);
        }
        self.send(turn, from, VsrMessage::ViewConfirmed { view, round });
        Ok(())
    }

    pub(super) fn on_view_confirmed(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        from: usize,
        (view, round): (View, u64),
    ) -> Result<(), Discard> {
        self.check_led_here(view)?;
        let is_voter = self.members.is_voter(from);
        let Status::Primary(primary) = &mut self.status else { return Err(Discard::OutOfPlace) };
        if primary.confirming.round == round && is_voter {
            primary.confirming.confirmed.insert(from);
            self.end_round(turn);
        }
        Ok(())
    }

    /// Answers those that wait for the round once a quorum has confirmed it, and begins the next.
    fn end_round(&mut self, turn: &mut Turn<'_, impl Marks>) {
        let quorum = u64::from(self.members.quorums().replication());
        let Status::Primary(primary) = &mut self.status else { return };
        let confirming = &mut primary.confirming;
        if u64_of(confirming.confirmed.len()) < quorum {
            return;
        }
        let (index, waiting) = (confirming.index, core::mem::take(&mut confirming.waiting));
        if waiting.is_empty() {
            return;
        }
        for Asked { from, token } in waiting {
            if from == self.members.me() {
                // What came too late is nobody's any more.
                let _ = self.on_read_index(turn, token, index);
            } else {
                self.send(turn, from, VsrMessage::ReadIndex { token, index });
            }
        }
        if let Status::Primary(primary) = &self.status
            && primary.confirming.waiting.is_empty()
        {
            self.begin_round(turn);
        }
    }

    pub(super) fn on_read_index(
        &mut self,
        turn: &mut Turn<'_, impl Marks>,
        token: u64,
        index: Op,
    ) -> Result<(), Discard> {
        if self.asking.token != Some(token) {
            return Err(Discard::OutOfPlace);
        }
        self.asking.token = None;
        self.asking.resend = None;
        self.asking.answered = (self.asking.asks, index);
        if self.asking.is_wanted_again {
            self.ask_anew(turn);
        }
        Ok(())
    }
}

impl Confirming {
    /// The head of the log that the view began with.
    pub(super) fn began_with(&self) -> Op {
        self.began_with
    }

    pub(super) fn new(began_with: Op) -> Self {
        Self {
            began_with,
            round: 0,
            index: Op::GENESIS,
            waiting: Vec::new(),
            confirmed: BTreeSet::new(),
            late: Vec::new(),
        }
    }
}

//! Events (56-58, 62-67, 69, 70): every event that was accepted is in exactly one state, gets there by its owner's hand and no other,
//! and is never early, twice, or silent.
//!
//! It executes the committed log of each group of partitions once more, keeps a book of its own about what the log was asked and
//! answered, and holds the states that events are shown in against it.

mod book;
mod broken;
mod consumers;
mod fate;
mod pauses;
mod plans;
#[cfg(test)]
mod tests;
mod topic;

use std::collections::{BTreeMap, VecDeque};

use chronon_core::builtin::{Builtin, BuiltinQuery, BuiltinState, BuiltinView};
use chronon_core::codec;
use chronon_core::events::{ALARMS_MAX, EventsQuery, EventsState, EventsView};
use chronon_core::kernel::{ChrApplication, Executor, Outcome, QueryContext, commands};
use chronon_core::node::Answer;
use chronon_core::types::{
    ClientId, Entry, EntryKind, GroupId, GroupInit, NoMarks, Op, RequestNumber, Timestamp,
};

use super::{Counts, Kind, Observed, Oracle, Violation};
use crate::tally::Tally;
use crate::time::WorldTime;
use book::Book;
use broken::Broken;
pub use fate::EventFate;

/// The oracle.
#[derive(Clone, Default)]
pub struct EventFates {
    groups: BTreeMap<GroupId, Ledger>,
    /// Questions that are open.
    asked: BTreeMap<u64, BuiltinQuery>,
    compared: Compared,
}

/// How often each invariant was held against something.
#[derive(Clone, Debug, Default)]
pub(crate) struct Compared {
    pub fire_once: u64,
    pub never_early: u64,
    pub cancel_wins: u64,
    pub never_silent: u64,
    pub owner_only: u64,
    pub terminal_stays: u64,
    pub dedup: u64,
    pub credit: u64,
    pub floor: u64,
    pub key_order: u64,
    pub bounded: u64,
    pub expiry: u64,
    pub kept: u64,
    pub planned: u64,
    pub paused: u64,
    pub generation: u64,
    pub as_of: u64,
    fates: BTreeMap<EventFate, u64>,
}

impl Compared {
    fn fate(&mut self, fate: EventFate) {
        *self.fates.entry(fate).or_default() += 1;
    }
}

/// One group.
#[derive(Clone)]
struct Ledger {
    executor: Executor<Builtin>,
    book: Book,
    /// Its last states, by op.
    states: VecDeque<(Op, EventsState)>,
    /// The last outcome of each client.
    outcomes: BTreeMap<ClientId, (RequestNumber, Outcome)>,
    /// What each client was registered as. Whose session was evicted is registered anew by a copy of its request, and may hear of the
    /// first time after that.
    registered: BTreeMap<ClientId, Vec<Outcome>>,
    rests: u32,
}

impl Oracle for EventFates {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::Begin { groups, .. } => {
                let of_events = groups.iter().filter(|init| init.kind == "events");
                self.groups = of_events.map(|init| (init.group, Ledger::new(init))).collect();
            }
            Observed::Applied { group, entry } => {
                let Some(ledger) = self.groups.get_mut(group) else { return };
                let judged = ledger.apply(entry, &mut self.compared);
                found.extend(judged.err().map(|broken| broken.violation().of(*group)));
            }
            Observed::Return { group, command, answer: Answer::Committed { outcome, .. }, .. } => {
                let Some(ledger) = self.groups.get(group) else { return };
                let executed = ledger.outcomes_of(command.client, command.number);
                if !executed.is_empty() {
                    self.compared.as_of += 1;
                    if !executed.contains(outcome) {
                        let what = format!("a client heard {outcome:?}, and the log gives {executed:?}");
                        found.push(Violation::new("ReplyOnlyCommitted", what).of(*group));
                    }
                }
            }
            Observed::Asked { read, group, body, .. } if self.groups.contains_key(group) => {
                if let Ok(question) = codec::decode(body.as_slice()) {
                    self.asked.insert(*read, question);
                }
            }
            Observed::Told { node, read, group, op, body } => {
                let (Some(question), Some(ledger)) = (self.asked.remove(read), self.groups.get(group)) else {
                    return;
                };
                let Some((_, state)) = ledger.states.iter().find(|(of, _)| of == op) else { return };
                self.compared.as_of += 1;
                let ctx = &mut QueryContext { op: *op };
                let view = Builtin.query(&BuiltinState::Events(state.clone()), question.clone(), ctx);
                if codec::encode(&view) != body.as_slice() {
                    let what = format!(
                        "asked {question:?} as of op {op}, the state says {view:?}, and not what was told"
                    );
                    found.push(Violation::new("ReadAsOf", what).at(*node).of(*group));
                }
            }
            Observed::End => {
                for (group, ledger) in &mut self.groups {
                    ledger.book.healed();
                    let judged = ledger.audit(&mut self.compared);
                    found.extend(judged.err().map(|broken| broken.violation().of(*group)));
                }
            }
            _ => {}
        }
    }

    fn wants(&self, kind: Kind) -> bool {
        kind == Kind::Rest
    }

    fn invariants(&self) -> &'static [&'static str] {
        &[
            "FireOnce",
            "NeverEarly",
            "CancelWins",
            "NeverSilent",
            "OwnerOnly",
            "TerminalStays",
            "DedupHolds",
            "CreditRespected",
            "FloorContiguous",
            "KeyOrder",
            "FireBounded",
            "ExpiryHolds",
            "KeptInOrder",
            "PlannedOnce",
            "PauseHolds",
            "GenerationHolds",
        ]
    }

    fn count(&self, counts: &mut Counts) {
        let compared = &self.compared;
        counts.add("FireOnce", compared.fire_once);
        counts.add("NeverEarly", compared.never_early);
        counts.add("CancelWins", compared.cancel_wins);
        counts.add("NeverSilent", compared.never_silent);
        counts.add("OwnerOnly", compared.owner_only);
        counts.add("TerminalStays", compared.terminal_stays);
        counts.add("DedupHolds", compared.dedup);
        counts.add("CreditRespected", compared.credit);
        counts.add("FloorContiguous", compared.floor);
        counts.add("KeyOrder", compared.key_order);
        counts.add("FireBounded", compared.bounded);
        counts.add("ExpiryHolds", compared.expiry);
        counts.add("KeptInOrder", compared.kept);
        counts.add("PlannedOnce", compared.planned);
        counts.add("PauseHolds", compared.paused);
        counts.add("GenerationHolds", compared.generation);
        counts.add("ReadAsOf", compared.as_of);
    }

    fn tally(&self, tally: &mut Tally) {
        for (fate, count) in &self.compared.fates {
            tally.fate(fate.word(), *count);
        }
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

impl Ledger {
    fn new(init: &GroupInit) -> Self {
        let executor = Executor::new(Builtin, init.clone());
        let (states, outcomes, registered) = (VecDeque::new(), BTreeMap::new(), BTreeMap::new());
        Self { executor, book: Book::default(), states, outcomes, registered, rests: 0 }
    }

    /// What a client may hear of its request; nothing when a later one was executed.
    fn outcomes_of(&self, client: ClientId, number: RequestNumber) -> &[Outcome] {
        if number == RequestNumber::default() {
            return self.registered.get(&client).map_or(&[], Vec::as_slice);
        }
        let last = self.outcomes.get(&client).filter(|(last, _)| *last == number);
        last.map_or(&[], |(_, outcome)| std::slice::from_ref(outcome))
    }

    fn apply(&mut self, entry: &Entry, compared: &mut Compared) -> Result<(), Broken> {
        if entry.op() != self.executor.applied().next() {
            // Nobody had an entry any more: what comes behind it says nothing to who does not know it.
            return Ok(());
        }
        let (now, kind) = (entry.header().timestamp(), entry.header().kind());
        let mut executed = Vec::new();
        if self.executor.apply(entry, &mut executed, &mut NoMarks).is_err() {
            return Ok(());
        }
        self.book.entry(entry.op(), now, kind == EntryKind::Wakeup, compared);
        if kind == EntryKind::Commands {
            let commands = commands(entry.payload()).unwrap_or_default();
            for (index, (command, done)) in (0..).zip(commands.iter().zip(executed)) {
                // A retry is answered with what was done before.
                if done.op == entry.op() {
                    self.book.command(index, command.body.as_slice(), &done.outcome, compared)?;
                }
                if done.number == RequestNumber::default() {
                    self.registered.entry(done.client).or_default().push(done.outcome);
                } else {
                    self.outcomes.insert(done.client, (done.number, done.outcome));
                }
            }
        }
        if let BuiltinState::Events(state) = self.executor.state() {
            self.states.push_back((entry.op(), state.clone()));
            if self.states.len() > STATES_KEPT {
                self.states.pop_front();
            }
        }
        self.judge_wakeup(entry, now, compared)?;
        self.rests += 1;
        if self.rests.is_multiple_of(AUDITED_EACH) { self.audit(compared) } else { Ok(()) }
    }

    /// One entry sees to all that is due, unless that is more than one may.
    fn judge_wakeup(&mut self, entry: &Entry, now: Timestamp, compared: &mut Compared) -> Result<(), Broken> {
        if entry.header().kind() != EntryKind::Wakeup {
            return Ok(());
        }
        compared.bounded += 1;
        let next = Builtin.next_wakeup(self.executor.state());
        let left = next.filter(|at| *at <= now && *at > Timestamp::default());
        self.book.woken(left);
        let Some(at) = left else { return Ok(()) };
        let became_ready = self.ready_by_the_last_entry();
        if became_ready >= u64::from(ALARMS_MAX) / 2 {
            return Ok(());
        }
        let what = format!(
            "op {} woke it at {now}, {became_ready} events became ready, and what was due at {at} is not done",
            entry.op()
        );
        Err(Broken::new("FireBounded", what))
    }

    /// How many events became ready by the last entry that was executed.
    fn ready_by_the_last_entry(&self) -> u64 {
        let ready = |(op, state): &(Op, EventsState)| {
            let state = BuiltinState::Events(state.clone());
            let of_topic = |topic: &String| {
                let question = BuiltinQuery::Events(EventsQuery::Partition { topic: topic.clone() });
                match Builtin.query(&state, question, &mut QueryContext { op: *op }) {
                    BuiltinView::Events(EventsView::Partition(partition)) => partition.next_seq,
                    _ => 0,
                }
            };
            self.book.topics().map(of_topic).sum::<u64>()
        };
        let mut last = self.states.iter().rev().map(ready);
        let (after, before) = (last.next().unwrap_or_default(), last.next().unwrap_or_default());
        after.saturating_sub(before)
    }

    fn audit(&mut self, compared: &mut Compared) -> Result<(), Broken> {
        let state = self.executor.state();
        let ask = |question| {
            let ctx = &mut QueryContext { op: self.executor.applied() };
            match Builtin.query(state, BuiltinQuery::Events(question), ctx) {
                BuiltinView::Events(view) => view,
                BuiltinView::Balance(_)
                | BuiltinView::Value(_)
                | BuiltinView::Letter(_)
                | BuiltinView::Topics(_)
                | BuiltinView::WrongKind => EventsView::Unknown,
            }
        };
        self.book.audit(ask, compared)
    }
}

/// Between two audits, entries.
const AUDITED_EACH: u32 = 16;
/// A read is held against one of so many last states.
const STATES_KEPT: usize = 32;

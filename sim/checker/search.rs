//! The search for a linearization: a frontier that moves through the history answer by answer.
//!
//! A *configuration* is one way in which the operations so far may have taken effect: the object's state, which open
//! operations could still take effect (*available*), which of those still must (*owed*), and how many operations of
//! each kind took effect that were never answered (*lost*). When an operation is answered, every configuration that
//! still owes it takes effects, that one last, until it does not; those that cannot are dropped, and when none is left
//! the history is not linearizable.
//!
//! What keeps the frontier small:
//!
//! * Of two configurations in one state, one with more available, less owed and fewer lost operations used can do
//!   whatever the other can: only it is kept.
//! * An operation that changes nothing takes effect as soon as the state allows: that costs nothing.
//! * An operation that is legal and would leave the state as it is may have taken effect unseen. So may every open
//!   operation with nothing to tell, just before one that overwrites the state. It is then no longer owed and still
//!   available, which is more than either choice; the choice is made when it is answered, and then only if something
//!   after that may still want its effect.
//! * Only operations whose order matters to the one that is answered are tried before it
//!   ([`Model::matters_before`], carried on from operation to operation): the others may come later as well.
//! * Of two operations that are alike, the one that is answered first goes first, and one that is answered goes before
//!   one that never is.
//! * A lost operation is forgotten once nothing that it matters to can still come, or once all of its kind are used.
//!
//! Three kinds of effort ([`Effort`]) share this code. A full one keeps everything, so both its verdicts are right. A
//! narrow one drops the configurations that look least likely: what is left of it is right when it succeeds. A loose
//! one lets a lost operation take effect any number of times, which only adds behaviour: it is right when it fails.

use std::collections::BTreeMap;

use super::bits::Bits;
use super::frontier::{Frontier, Marks};
use super::lost::{EventKind, Kinds, LastUses, events};
use super::model::{Model, Timed};

/// What a search found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome<S> {
    /// Some order of the operations explains every answer.
    Linearizable,
    /// None does: when this operation was answered, nothing explained it.
    Stuck {
        /// Its place in the list of operations.
        operation: usize,
        /// The states that were possible just before.
        states: Vec<S>,
    },
    /// The effort did not suffice to know either.
    GaveUp,
}

/// How hard a search tries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Effort {
    /// Configurations held at once, of all states.
    pub width: usize,
    /// How many lost operations more than the fewest possible explain one answer; all when `None`.
    pub spare: Option<u32>,
    /// Configurations looked at for each answer of each one, once that answer is explained.
    pub patience: usize,
    /// Lost operations may take effect any number of times.
    pub loose: bool,
    /// Steps of the model, in all.
    pub steps_max: u64,
}

/// Searches for a linearization of `operations`, in any order of the list.
pub fn search<M: Model>(model: &M, operations: &[Timed<M::Op>], effort: Effort) -> Outcome<M::State> {
    let uses = LastUses::new(model, operations);
    let mut search = Search::new(model, operations, effort, &uses);
    for event in events(model, operations, &uses) {
        let operation = event.operation;
        match event.kind {
            EventKind::Invoked => search.open(operation),
            EventKind::Lost => search.lose(operation),
            EventKind::Forgotten => search.forget(operation),
            EventKind::Returned => match search.answer(operation) {
                Answered::Explained => {}
                Answered::TooMuch => return Outcome::GaveUp,
                // What was dropped might have explained it.
                Answered::Unexplained(_) if !search.complete => return Outcome::GaveUp,
                Answered::Unexplained(states) => return Outcome::Stuck { operation, states },
            },
        }
    }
    // A lost operation that took effect twice explains nothing.
    if effort.loose && search.reused { Outcome::GaveUp } else { Outcome::Linearizable }
}

enum Answered<S> {
    Explained,
    Unexplained(Vec<S>),
    TooMuch,
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Timed<M::Op>],
    effort: Effort,
    frontier: Frontier<M::State>,
    /// The open operation of each slot.
    slots: Vec<Option<usize>>,
    /// Slots of open operations that may take effect unnoticed: those that change nothing, those that tell nothing.
    quiet: Vec<usize>,
    blind: Bits,
    kinds: Kinds<'a, M::Op>,
    /// Kinds of which some configuration has one left.
    live: Vec<u32>,
    uses: &'a LastUses,
    steps: u64,
    /// Nothing was dropped that might have led somewhere.
    complete: bool,
    /// A lost operation took effect in a loose search.
    reused: bool,
}

/// What may take effect before an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Mover {
    /// The open operation of this slot.
    Slot(usize),
    /// A lost operation of this kind.
    Lost(u32),
}

struct Choice<'a, O> {
    mover: Mover,
    op: &'a O,
    /// Open operations that are alike and answered earlier.
    earlier: Bits,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: &'a [Timed<M::Op>], effort: Effort, uses: &'a LastUses) -> Self {
        let mut frontier = Frontier::empty();
        frontier.add(model.initial(), Marks::default());
        Self {
            model,
            operations,
            effort,
            frontier,
            slots: Vec::new(),
            quiet: Vec::new(),
            blind: Bits::default(),
            kinds: Kinds::new(operations),
            live: Vec::new(),
            uses,
            steps: 0,
            complete: true,
            reused: false,
        }
    }

    fn open(&mut self, operation: usize) {
        let op = &self.operations[operation].op;
        let slot = self.free_slot();
        self.slots[slot] = Some(operation);
        let (pure, blind) = (self.model.is_pure(op), self.model.is_blind(op));
        if pure || blind {
            self.quiet.push(slot);
        }
        if blind {
            self.blind.add(slot);
        }
        let frontier = std::mem::replace(&mut self.frontier, Frontier::empty());
        self.frontier = frontier.changed(|state, marks| {
            marks.available.add(slot);
            marks.owed.add(slot);
            if pure || blind {
                self.settle_one(slot, state, marks);
            }
        });
    }

    fn free_slot(&mut self) -> usize {
        match self.slots.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        }
    }

    fn lose(&mut self, operation: usize) {
        if let Some(kind) = self.kinds.of(&self.operations[operation].op) {
            self.kinds.get_mut(kind).asked += 1;
            if !self.live.contains(&kind) {
                self.live.push(kind);
            }
        }
    }

    /// No operation of its kind can be of use any more.
    fn forget(&mut self, operation: usize) {
        if let Some(kind) = self.kinds.of(&self.operations[operation].op) {
            self.retire(kind);
        }
    }

    fn retire(&mut self, kind: u32) {
        if self.kinds.get(kind).asked == 0 {
            return;
        }
        self.kinds.get_mut(kind).asked = 0;
        self.live.retain(|live| *live != kind);
        let frontier = std::mem::replace(&mut self.frontier, Frontier::empty());
        self.frontier = frontier.changed(|_, marks| marks.used.forget(kind));
    }

    /// Retires the kinds of which every configuration has used all.
    fn retire_used_up(&mut self) {
        let Some((_, first)) = self.frontier.iter().next() else { return };
        let used_up = |marks: &Marks, kind: u32| marks.used.of(kind) >= self.kinds.get(kind).asked;
        let mut kinds: Vec<u32> = self.live.iter().copied().filter(|kind| used_up(first, *kind)).collect();
        kinds.retain(|kind| self.frontier.iter().all(|(_, marks)| used_up(marks, *kind)));
        for kind in kinds {
            self.retire(kind);
        }
    }

    fn answer(&mut self, operation: usize) -> Answered<M::State> {
        let slot = self.slots.iter().position(|open| *open == Some(operation));
        let slot = slot.expect("what is answered was open");
        let before = std::mem::replace(&mut self.frontier, Frontier::empty());
        let timed = &self.operations[operation];
        let wanted = timed.returned.is_none_or(|at| self.uses.of(self.model, &timed.op) > at);
        let mut choices = BTreeMap::new();
        let mut after = Frontier::empty();
        let mut lost_used = false;
        for (state, marks) in before.iter() {
            let owed = marks.owed.has(slot);
            if !owed {
                let mut marks = marks.clone();
                marks.available.remove(slot);
                after.add(state.clone(), marks);
            }
            if owed || (marks.available.has(slot) && wanted) {
                let hint = self.hint(state);
                let choices = choices.entry(hint).or_insert_with(|| self.choices(slot, hint));
                let start = (state.clone(), marks.clone());
                match self.explain(slot, choices, start, owed, &mut after) {
                    Some(lost) => lost_used |= lost,
                    None => return Answered::TooMuch,
                }
            }
        }
        self.slots[slot] = None;
        self.quiet.retain(|quiet| *quiet != slot);
        self.blind.remove(slot);
        self.frontier = after;
        self.complete &= self.frontier.cut(self.effort.width);
        if self.frontier.count() == 0 {
            return Answered::Unexplained(before.into_states());
        }
        if lost_used {
            self.retire_used_up();
        }
        Answered::Explained
    }

    fn hint(&self, state: &M::State) -> u64 {
        if self.effort.loose {
            return 0;
        }
        let open = self.slots.iter().flatten().map(|operation| &self.operations[*operation].op);
        let lost = self.live.iter().flat_map(|kind| {
            let kind = self.kinds.get(*kind);
            std::iter::repeat_n(kind.op, kind.asked as usize)
        });
        self.model.hint(state, &mut open.chain(lost))
    }

    /// What may take effect before `slot` and matters there, `slot` included, in a state of this hint.
    fn choices(&self, slot: usize, hint: u64) -> Vec<Choice<'a, M::Op>> {
        let open = |slot: usize| {
            self.slots[slot].map(|operation| (Mover::Slot(slot), &self.operations[operation].op))
        };
        let mut movers: Vec<(Mover, &'a M::Op)> = open(slot).into_iter().collect();
        let mut rest: Vec<(Mover, &'a M::Op)> =
            (0..self.slots.len()).filter(|other| *other != slot).filter_map(open).collect();
        rest.extend(self.live.iter().map(|kind| (Mover::Lost(*kind), self.kinds.get(*kind).op)));
        let mut at = 0;
        while at < movers.len() {
            let then = movers[at].1;
            rest.retain(|(mover, first)| {
                let owed = matches!(mover, Mover::Slot(_));
                let matters = self.model.matters_before(first, owed, then, hint);
                if matters {
                    movers.push((*mover, *first));
                }
                !matters
            });
            at += 1;
        }
        movers.retain(|(_, op)| !self.model.is_pure(op));
        let deadline = |mover: &Mover| match mover {
            Mover::Slot(slot) => {
                let operation = self.slots[*slot].expect("it is open");
                (self.operations[operation].returned.unwrap_or(u64::MAX), *slot)
            }
            Mover::Lost(_) => (u64::MAX, usize::MAX),
        };
        let choice = |(mover, op): &(Mover, &'a M::Op)| {
            let mut earlier = Bits::default();
            for (other, twin) in &movers {
                if let Mover::Slot(slot) = other
                    && deadline(other) < deadline(mover)
                    && twin == op
                {
                    earlier.add(*slot);
                }
            }
            Choice { mover: *mover, op: *op, earlier }
        };
        movers.iter().map(choice).collect()
    }

    /// Adds to `after` every configuration in which `slot` has taken effect last. Whether a lost operation took effect;
    /// `None` when a limit was reached.
    fn explain(
        &mut self,
        slot: usize,
        choices: &[Choice<'_, M::Op>],
        start: (M::State, Marks),
        owed: bool,
        after: &mut Frontier<M::State>,
    ) -> Option<bool> {
        let mut seen = Frontier::empty();
        let least = start.1.used.total();
        // The fewest lost operations with which the answer was explained; without any it need not be.
        let mut fewest = if owed { None } else { Some(least) };
        let mut lost_used = false;
        // By lost operations used, fewest first.
        let mut open = BTreeMap::from([(least, vec![start])]);
        let mut looked_at = 0;
        while let Some(mut level) = open.first_entry() {
            let used = *level.key();
            let Some((state, marks)) = level.get_mut().pop() else {
                level.remove();
                continue;
            };
            let too_many = fewest.zip(self.effort.spare).is_some_and(|(fewest, spare)| used > fewest + spare);
            if too_many || (fewest.is_some() && looked_at > self.effort.patience) {
                self.complete = false;
                break;
            }
            looked_at += 1;
            for choice in choices {
                let Some((state, marks)) = self.moved(choice, &state, &marks) else { continue };
                lost_used |= matches!(choice.mover, Mover::Lost(_));
                if !marks.available.has(slot) {
                    fewest = Some(fewest.unwrap_or(u32::MAX).min(marks.used.total()));
                    after.add(state, marks);
                    continue;
                }
                if !marks.owed.has(slot) {
                    // It may have taken effect unseen, before an operation that overwrote it.
                    let mut unseen = marks.clone();
                    unseen.available.remove(slot);
                    fewest = Some(fewest.unwrap_or(u32::MAX).min(unseen.used.total()));
                    after.add(state.clone(), unseen);
                }
                if seen.add(state.clone(), marks.clone()) {
                    open.entry(marks.used.total()).or_default().push((state, marks));
                }
            }
            if self.steps > self.effort.steps_max {
                return None;
            }
            if seen.count() + after.count() > self.effort.width.saturating_mul(2) {
                self.complete = false;
                if fewest.is_some() {
                    break;
                }
                if seen.count() > self.effort.width.saturating_mul(8) {
                    break;
                }
            }
        }
        Some(lost_used)
    }

    /// The configuration after one more effect; `None` when it cannot be, or another one serves better.
    fn moved(
        &mut self,
        choice: &Choice<'_, M::Op>,
        state: &M::State,
        marks: &Marks,
    ) -> Option<(M::State, Marks)> {
        let serves_better = match choice.mover {
            Mover::Slot(slot) if !marks.available.has(slot) => return None,
            Mover::Slot(slot) if marks.owed.has(slot) => {
                choice.earlier.members().any(|twin| marks.available.has(twin) && marks.owed.has(twin))
            }
            Mover::Slot(_) => choice.earlier.meets(&marks.available),
            Mover::Lost(kind) => {
                let used_up = !self.effort.loose && marks.used.of(kind) >= self.kinds.get(kind).asked;
                used_up || choice.earlier.meets(&marks.available)
            }
        };
        if serves_better {
            return None;
        }
        self.steps += 1;
        let next = self.model.step(state, choice.op)?;
        let hides = self.model.overwrites(choice.op) && marks.owed.meets(&self.blind);
        let mut marks = marks.clone();
        match choice.mover {
            Mover::Slot(slot) => {
                marks.available.remove(slot);
                marks.owed.remove(slot);
            }
            // A lost operation is for what it changes, or for what it hides.
            Mover::Lost(_) if self.model.is_hopeless(&next) => return None,
            Mover::Lost(_) if next == *state && !hides => return None,
            Mover::Lost(_) if self.effort.loose => self.reused = true,
            Mover::Lost(kind) => marks.used.add(kind),
        }
        if hides {
            marks.owed.remove_all(&self.blind);
        }
        for &slot in &self.quiet {
            self.settle_one(slot, &next, &mut marks);
        }
        Some((next, marks))
    }

    /// Lets an open operation take effect that the state allows, if it changes nothing.
    fn settle_one(&self, slot: usize, state: &M::State, marks: &mut Marks) {
        let Some(operation) = self.slots[slot].filter(|_| marks.owed.has(slot)) else { return };
        let op = &self.operations[operation].op;
        if self.model.step(state, op).is_some_and(|next| next == *state) {
            marks.owed.remove(slot);
            if self.model.is_pure(op) {
                marks.available.remove(slot);
            }
        }
    }
}

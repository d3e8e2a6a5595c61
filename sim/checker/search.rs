//! The search for a linearization: a frontier that moves through the history answer by answer.
//!
//! A *configuration* is one way in which the operations so far may have taken effect: the object's state, which open
//! operations could still take effect (*available*), and which of those still must (*owed*). An operation that was
//! never answered is available but never owed. When an operation is answered, every configuration that still owes it
//! takes effects, that one last, until it does not; those that cannot are dropped, and when none is left the history is
//! not linearizable.
//!
//! What keeps the frontier small:
//!
//! * Of two configurations in one state, one with more available and less owed can do whatever the other can: only it
//!   is kept.
//! * An operation that changes nothing takes effect as soon as the state allows: that costs nothing.
//! * Before an operation that overwrites the state, every open operation with nothing to tell may have taken effect
//!   unseen. It is then no longer owed and still available, which is more than either choice; the choice is made when
//!   it is answered, and then only if something after that may still want its effect.
//! * Only operations whose order matters to the one that is answered are tried before it
//!   ([`Model::matters_before`], carried on from operation to operation): the others may come later as well.
//! * Of two operations that are alike, the one that is answered first goes first.
//! * An operation that was never answered is forgotten once nothing that it matters to can still come.

use std::collections::BTreeMap;

use super::bits::Bits;
use super::model::{Limits, Model, Timed, Wants};

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
    /// A limit was reached before either was known.
    GaveUp,
}

/// Searches for a linearization of `operations`, in any order of the list.
pub fn search<M: Model>(model: &M, operations: &[Timed<M::Op>], limits: Limits) -> Outcome<M::State> {
    let uses = LastUses::new(model, operations);
    let mut search = Search::new(model, operations, limits, &uses);
    for event in events(model, operations, &uses) {
        match event.kind {
            Kind::Invoked => search.open(event.operation),
            Kind::Forgotten => search.close(event.operation),
            Kind::Returned => match search.answer(event.operation) {
                Answered::Explained => {}
                Answered::Unexplained(states) => {
                    return Outcome::Stuck { operation: event.operation, states };
                }
                Answered::TooMuch => return Outcome::GaveUp,
            },
        }
    }
    Outcome::Linearizable
}

struct Event {
    at: u64,
    kind: Kind,
    operation: usize,
}

/// At one place of the history, what is answered there is answered before anything new begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
enum Kind {
    Returned,
    Forgotten,
    Invoked,
}

/// What happens, in order. Operations that were never answered and that nothing wants do not happen at all.
fn events<M: Model>(model: &M, operations: &[Timed<M::Op>], uses: &LastUses) -> Vec<Event> {
    let mut events = Vec::with_capacity(2 * operations.len());
    for (operation, timed) in operations.iter().enumerate() {
        let end = match timed.returned {
            Some(at) => Event { at, kind: Kind::Returned, operation },
            None => Event { at: uses.of(model, &timed.op), kind: Kind::Forgotten, operation },
        };
        let happens = timed.returned.is_some() || (!model.is_pure(&timed.op) && end.at > timed.invoked);
        if happens {
            events.push(Event { at: timed.invoked, kind: Kind::Invoked, operation });
            events.push(end);
        }
    }
    events.sort_by_key(|event| (event.at, event.kind, event.operation));
    events
}

/// When the last operation that may want the effect of another was answered.
struct LastUses {
    of_value: BTreeMap<u32, u64>,
    of_anything: u64,
    of_any_value: u64,
}

impl LastUses {
    fn new<M: Model>(model: &M, operations: &[Timed<M::Op>]) -> Self {
        let mut uses = Self { of_value: BTreeMap::new(), of_anything: 0, of_any_value: 0 };
        for timed in operations {
            // An operation that was never answered may look at any time.
            let end = timed.returned.unwrap_or(u64::MAX);
            match model.wants(&timed.op) {
                Wants::Nothing => {}
                Wants::Anything => uses.of_anything = uses.of_anything.max(end),
                Wants::Value(value) => {
                    uses.of_any_value = uses.of_any_value.max(end);
                    let last = uses.of_value.entry(value).or_default();
                    *last = end.max(*last);
                }
            }
        }
        uses
    }

    /// When the last operation that may want this effect was answered; 0 when there is none.
    fn of<M: Model>(&self, model: &M, op: &M::Op) -> u64 {
        let of_value = match model.leaves(op) {
            Some(value) => self.of_value.get(&value).copied().unwrap_or(0),
            None => self.of_any_value,
        };
        of_value.max(self.of_anything)
    }
}

#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
struct Marks {
    available: Bits,
    owed: Bits,
}

impl Marks {
    /// Can do whatever `other` can.
    fn dominates(&self, other: &Self) -> bool {
        other.available.is_within(&self.available) && self.owed.is_within(&other.owed)
    }
}

/// Configurations, none of which dominates another, by state.
#[derive(Clone, Debug)]
struct Frontier<S> {
    by_state: BTreeMap<S, Vec<Marks>>,
    count: usize,
}

impl<S: Ord> Frontier<S> {
    fn empty() -> Self {
        Self { by_state: BTreeMap::new(), count: 0 }
    }

    /// Adds a configuration; false when one that is there dominates it.
    fn add(&mut self, state: S, marks: Marks) -> bool {
        let alike = self.by_state.entry(state).or_default();
        if alike.iter().any(|there| there.dominates(&marks)) {
            return false;
        }
        let before = alike.len();
        alike.retain(|there| !marks.dominates(there));
        alike.push(marks);
        self.count = self.count + alike.len() - before;
        true
    }
}

enum Answered<S> {
    Explained,
    Unexplained(Vec<S>),
    TooMuch,
}

struct Search<'a, M: Model> {
    model: &'a M,
    operations: &'a [Timed<M::Op>],
    limits: Limits,
    frontier: Frontier<M::State>,
    /// The open operation of each slot.
    slots: Vec<Option<usize>>,
    /// Slots of open operations that never change the state.
    pure: Vec<usize>,
    blind: Bits,
    uses: &'a LastUses,
    steps: u64,
}

impl<'a, M: Model> Search<'a, M> {
    fn new(model: &'a M, operations: &'a [Timed<M::Op>], limits: Limits, uses: &'a LastUses) -> Self {
        let mut frontier = Frontier::empty();
        frontier.add(model.initial(), Marks { available: Bits::default(), owed: Bits::default() });
        Self {
            model,
            operations,
            limits,
            frontier,
            slots: Vec::new(),
            pure: Vec::new(),
            blind: Bits::default(),
            uses,
            steps: 0,
        }
    }

    fn open(&mut self, operation: usize) {
        let timed = &self.operations[operation];
        let lost = timed.returned.is_none();
        let slot = self.free_slot(lost);
        self.slots[slot] = Some(operation);
        if self.model.is_pure(&timed.op) {
            self.pure.push(slot);
        }
        if self.model.is_blind(&timed.op) {
            self.blind.add(slot);
        }
        let frontier = std::mem::replace(&mut self.frontier, Frontier::empty());
        for (state, all) in frontier.by_state {
            for mut marks in all {
                marks.available.add(slot);
                if !lost {
                    marks.owed.add(slot);
                }
                self.settle(&state, &mut marks);
                self.frontier.add(state.clone(), marks);
            }
        }
    }

    /// Operations that will be answered take the lowest slots; the others stay out of their way.
    fn free_slot(&mut self, lost: bool) -> usize {
        let first = if lost { LOST_SLOTS_FROM } else { 0 };
        if self.slots.len() < first {
            self.slots.resize(first, None);
        }
        match self.slots.iter().skip(first).position(Option::is_none) {
            Some(after) => first + after,
            None => {
                self.slots.push(None);
                self.slots.len() - 1
            }
        }
    }

    fn slot_of(&self, operation: usize) -> usize {
        self.slots.iter().position(|open| *open == Some(operation)).expect("the operation is open")
    }

    /// Takes an operation that can no longer take effect out of every configuration.
    fn close(&mut self, operation: usize) {
        let slot = self.slot_of(operation);
        let frontier = std::mem::replace(&mut self.frontier, Frontier::empty());
        for (state, all) in frontier.by_state {
            for mut marks in all {
                marks.available.remove(slot);
                self.frontier.add(state.clone(), marks);
            }
        }
        self.vacate(slot);
    }

    fn vacate(&mut self, slot: usize) {
        self.slots[slot] = None;
        self.pure.retain(|pure| *pure != slot);
        self.blind.remove(slot);
    }

    fn answer(&mut self, operation: usize) -> Answered<M::State> {
        let slot = self.slot_of(operation);
        let before = std::mem::replace(&mut self.frontier, Frontier::empty());
        let timed = &self.operations[operation];
        let wanted = timed.returned.is_none_or(|at| self.uses.of(self.model, &timed.op) > at);
        let mut relevant = BTreeMap::new();
        let mut after = Frontier::empty();
        for (state, all) in &before.by_state {
            for marks in all {
                let owed = marks.owed.has(slot);
                if !owed {
                    let mut marks = marks.clone();
                    marks.available.remove(slot);
                    after.add(state.clone(), marks);
                }
                if owed || (marks.available.has(slot) && wanted) {
                    let hint = self.hint(state);
                    let relevant = relevant.entry(hint).or_insert_with(|| self.relevant_to(slot, hint));
                    if !self.explain(slot, relevant, state.clone(), marks.clone(), &mut after) {
                        return Answered::TooMuch;
                    }
                }
            }
        }
        self.vacate(slot);
        self.frontier = after;
        if self.frontier.count == 0 {
            return Answered::Unexplained(before.by_state.into_keys().collect());
        }
        Answered::Explained
    }

    fn hint(&self, state: &M::State) -> u64 {
        let operations = self.operations;
        self.model.hint(state, &mut self.slots.iter().flatten().map(|operation| &operations[*operation].op))
    }

    /// Slots of the open operations whose place before `slot` matters, `slot` included, in a state of this hint.
    fn relevant_to(&self, slot: usize, hint: u64) -> Vec<usize> {
        let mut relevant = vec![slot];
        let mut rest: Vec<usize> =
            (0..self.slots.len()).filter(|other| *other != slot && self.slots[*other].is_some()).collect();
        let mut at = 0;
        while at < relevant.len() {
            let then = self.timed(relevant[at]);
            rest.retain(|first| {
                let timed = self.timed(*first);
                let matters = self.model.matters_before(&timed.op, timed.returned.is_some(), &then.op, hint);
                if matters {
                    relevant.push(*first);
                }
                !matters
            });
            at += 1;
        }
        relevant.sort_unstable();
        relevant
    }

    fn timed(&self, slot: usize) -> &'a Timed<M::Op> {
        &self.operations[self.slots[slot].expect("only slots in use are asked for")]
    }

    /// Adds to `after` every configuration in which `slot` has taken effect last; false when a limit was reached.
    fn explain(
        &mut self,
        slot: usize,
        relevant: &[usize],
        state: M::State,
        marks: Marks,
        after: &mut Frontier<M::State>,
    ) -> bool {
        let mut seen = Frontier::empty();
        let mut open = vec![(state, marks)];
        while let Some((state, marks)) = open.pop() {
            for &next in relevant {
                let op = &self.timed(next).op;
                if !marks.available.has(next)
                    || self.model.is_pure(op)
                    || self.is_second_choice(next, relevant, &marks)
                {
                    continue;
                }
                self.steps += 1;
                let Some(state) = self.model.step(&state, op) else { continue };
                let mut marks = marks.clone();
                marks.available.remove(next);
                marks.owed.remove(next);
                if self.model.overwrites(op) {
                    marks.owed.remove_all(&self.blind);
                }
                self.settle(&state, &mut marks);
                if !marks.available.has(slot) {
                    after.add(state, marks);
                    continue;
                }
                if !marks.owed.has(slot) {
                    // It may have taken effect unseen, before an operation that overwrote it.
                    let mut unseen = marks.clone();
                    unseen.available.remove(slot);
                    after.add(state.clone(), unseen);
                }
                if seen.add(state.clone(), marks.clone()) {
                    open.push((state, marks));
                }
            }
            if self.steps > self.limits.steps_max || seen.count + after.count > self.limits.configurations_max
            {
                return false;
            }
        }
        true
    }

    /// Whether an operation alike to that of `slot` serves better: it is answered no later, and either it is owed or
    /// `slot` is not.
    fn is_second_choice(&self, slot: usize, relevant: &[usize], marks: &Marks) -> bool {
        let timed = self.timed(slot);
        let deadline = (timed.returned.unwrap_or(u64::MAX), slot);
        relevant.iter().any(|&other| {
            if other == slot || !marks.available.has(other) {
                return false;
            }
            let twin = self.timed(other);
            (twin.returned.unwrap_or(u64::MAX), other) < deadline
                && (marks.owed.has(other) || !marks.owed.has(slot))
                && twin.op == timed.op
        })
    }

    /// Lets every open operation that changes nothing, and that the state allows, take effect.
    fn settle(&self, state: &M::State, marks: &mut Marks) {
        for &slot in &self.pure {
            if marks.owed.has(slot) && self.model.step(state, &self.timed(slot).op).is_some() {
                marks.owed.remove(slot);
                marks.available.remove(slot);
            }
        }
    }
}

/// The first slot of operations that were never answered.
const LOST_SLOTS_FROM: usize = 64;

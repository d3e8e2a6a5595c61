//! Operations that were never answered: kinds of them, and until when anybody may want their effect.
//!
//! Two that ask for the same are alike from the moment at which both were asked for, so a search counts how many of a
//! kind took effect, and never asks which.

use std::collections::BTreeMap;

use super::model::{Model, Timed, Wants};

/// What happens, and in which order a search learns of it.
#[derive(Clone, Copy, Debug)]
pub struct Event {
    at: u64,
    /// What happens to the operation.
    pub kind: EventKind,
    /// Its place in the list of operations.
    pub operation: usize,
}

/// At one place of the history, what is answered there is answered before anything new begins.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum EventKind {
    /// It was answered.
    Returned,
    /// Nobody can want its effect any more, nor that of any other of its kind.
    Forgotten,
    /// It was asked for, and will be answered.
    Invoked,
    /// It was asked for, and will not be answered.
    Lost,
}

/// What happens, in order. Operations that were never answered and that nothing wants do not happen at all.
pub fn events<M: Model>(model: &M, operations: &[Timed<M::Op>], uses: &LastUses) -> Vec<Event> {
    let mut events = Vec::with_capacity(2 * operations.len());
    for (operation, timed) in operations.iter().enumerate() {
        let at = timed.invoked;
        match timed.returned {
            Some(end) => {
                events.push(Event { at, kind: EventKind::Invoked, operation });
                events.push(Event { at: end, kind: EventKind::Returned, operation });
            }
            None if uses.want(model, timed) => {
                let end = uses.of(model, &timed.op);
                events.push(Event { at, kind: EventKind::Lost, operation });
                events.push(Event { at: end, kind: EventKind::Forgotten, operation });
            }
            None => {}
        }
    }
    events.sort_by_key(|event| (event.at, event.kind, event.operation));
    events
}

/// When the last operation that may want the effect of another was answered.
#[derive(Debug)]
pub struct LastUses {
    of_value: BTreeMap<u32, u64>,
    of_anything: u64,
    of_any_value: u64,
}

impl LastUses {
    /// Of these operations.
    pub fn new<M: Model>(model: &M, operations: &[Timed<M::Op>]) -> Self {
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

    /// When the last operation that may want this effect was answered; 0 when there is none. It is the same for all
    /// operations that are alike.
    pub fn of<M: Model>(&self, model: &M, op: &M::Op) -> u64 {
        let of_value = match model.leaves(op) {
            Some(value) => self.of_value.get(&value).copied().unwrap_or(0),
            None => self.of_any_value,
        };
        of_value.max(self.of_anything)
    }

    /// Whether anybody may want the effect of this operation, which was never answered.
    pub fn want<M: Model>(&self, model: &M, lost: &Timed<M::Op>) -> bool {
        !model.is_pure(&lost.op) && self.of(model, &lost.op) > lost.invoked
    }
}

/// The kinds of operations that were never answered, numbered in the order of the operations.
#[derive(Debug)]
pub struct Kinds<'a, O> {
    by_op: BTreeMap<&'a O, u32>,
    all: Vec<&'a O>,
}

impl<'a, O: Ord> Kinds<'a, O> {
    /// Of these operations.
    pub fn new(operations: &'a [Timed<O>]) -> Self {
        let mut by_op = BTreeMap::new();
        let mut all = Vec::new();
        for timed in operations.iter().filter(|timed| timed.returned.is_none()) {
            by_op.entry(&timed.op).or_insert_with(|| {
                all.push(&timed.op);
                all.len() as u32 - 1
            });
        }
        Self { by_op, all }
    }

    /// How many kinds.
    pub fn count(&self) -> usize {
        self.all.len()
    }

    /// The kind of `op`, when there is one.
    pub fn of(&self, op: &O) -> Option<u32> {
        self.by_op.get(op).copied()
    }

    /// What each of a kind does if it takes effect.
    pub fn op(&self, kind: u32) -> &'a O {
        self.all[kind as usize]
    }
}

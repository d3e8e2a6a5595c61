//! A history as a search goes through it.

use super::lost::{Event, Kinds, LastUses, events};
use super::model::{Model, Timed};

/// A history as a search goes through it.
pub struct Course<'a, M: Model> {
    /// What the object is.
    pub model: &'a M,
    /// What was asked and answered.
    pub operations: &'a [Timed<M::Op>],
    /// What happens, in order.
    pub events: Vec<Event>,
    /// Until when anybody may want the effect of an operation.
    pub uses: LastUses,
    /// The kinds of operations that were never answered.
    pub kinds: Kinds<'a, M::Op>,
}

impl<'a, M: Model> Course<'a, M> {
    /// Through these operations.
    pub fn new(model: &'a M, operations: &'a [Timed<M::Op>]) -> Self {
        let uses = LastUses::new(model, operations);
        let events = events(model, operations, &uses);
        Self { model, operations, events, uses, kinds: Kinds::new(operations) }
    }
}

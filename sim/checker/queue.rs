//! A queue: first in, first out.

use super::model::{Model, Quick, Timed};
use super::operations::QueueOp;
use super::queue_order;

/// A queue, at first empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Queue;

impl Model for Queue {
    /// The values, front first.
    type State = Vec<u32>;
    type Op = QueueOp;

    fn initial(&self) -> Vec<u32> {
        Vec::new()
    }

    fn step(&self, state: &Vec<u32>, op: &QueueOp) -> Option<Vec<u32>> {
        match (op, state.split_first()) {
            (QueueOp::Enqueue(value), _) => Some(state.iter().copied().chain([*value]).collect()),
            (QueueOp::Dequeue(value), Some((front, rest))) if front == value => Some(rest.to_vec()),
            (QueueOp::DequeueAny, Some((_, rest))) => Some(rest.to_vec()),
            (QueueOp::Empty, None) => Some(Vec::new()),
            _ => None,
        }
    }

    fn is_pure(&self, op: &QueueOp) -> bool {
        matches!(op, QueueOp::Empty)
    }

    fn is_blind(&self, op: &QueueOp) -> bool {
        matches!(op, QueueOp::Enqueue(_))
    }

    fn after_anything(&self, op: &QueueOp) -> Option<Vec<u32>> {
        (*op == QueueOp::Empty).then(Vec::new)
    }

    fn quick(&self, operations: &[Timed<QueueOp>]) -> Quick {
        queue_order::quick(operations)
    }

    fn family(&self, op: &QueueOp) -> Option<[u32; 2]> {
        match *op {
            QueueOp::Enqueue(value) | QueueOp::Dequeue(value) => Some([value, value]),
            // What it took is not known.
            QueueOp::DequeueAny | QueueOp::Empty => None,
        }
    }

    fn matters_before(&self, first: &QueueOp, owed: bool, then: &QueueOp, _hint: u64) -> bool {
        use QueueOp::{Dequeue, DequeueAny, Empty, Enqueue};
        match (first, then) {
            (Enqueue(one), Enqueue(other)) => one != other,
            // Unless the queue held nothing else, the front is another value, and there before and after.
            (Enqueue(one), Dequeue(other)) => one == other,
            (Enqueue(_), DequeueAny) => true,
            (Dequeue(_) | DequeueAny, Enqueue(_)) => false,
            (Dequeue(one), Dequeue(other)) => one != other,
            (Dequeue(_) | DequeueAny, Dequeue(_) | DequeueAny | Empty) => true,
            (Empty, Enqueue(_)) => owed,
            // Never legal one after the other, or both look and change nothing.
            (Enqueue(_), Empty) | (Empty, Dequeue(_) | DequeueAny | Empty) => false,
        }
    }
}

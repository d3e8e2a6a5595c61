//! A mutex: free or held; anybody may release it.

use super::model::Model;

/// A call on a mutex that took place.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum MutexOp {
    /// It was free and is held now.
    Acquire,
    /// It was held and is free now.
    Release,
}

/// A mutex, at first free.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mutex;

impl Model for Mutex {
    /// Whether it is held.
    type State = bool;
    type Op = MutexOp;

    fn initial(&self) -> bool {
        false
    }

    fn step(&self, held: &bool, op: &MutexOp) -> Option<bool> {
        match op {
            MutexOp::Acquire => (!held).then_some(true),
            MutexOp::Release => held.then_some(false),
        }
    }

    fn is_pure(&self, _op: &MutexOp) -> bool {
        false
    }

    fn after_anything(&self, op: &MutexOp) -> Option<bool> {
        Some(*op == MutexOp::Acquire)
    }

    fn matters_before(&self, first: &MutexOp, _owed: bool, then: &MutexOp, _hint: u64) -> bool {
        // Two of a kind never follow each other.
        first != then
    }
}

//! A register: a value, at first none.

use super::model::{Model, Quick, Timed, Wants};
use super::operations::{Held, RegisterOp, UNSET};
use super::register_zones;

/// A register.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

impl Model for Register {
    type State = Held;
    type Op = RegisterOp;

    fn initial(&self) -> Held {
        UNSET
    }

    fn step(&self, state: &Held, op: &RegisterOp) -> Option<Held> {
        match *op {
            RegisterOp::Read(value) => (*state == value).then_some(*state),
            RegisterOp::Differs(value) => (*state != value).then_some(*state),
            RegisterOp::Write(value) => Some(value),
            RegisterOp::Swap(from, to) => (*state == from).then_some(to),
            RegisterOp::Impossible => None,
        }
    }

    fn is_pure(&self, op: &RegisterOp) -> bool {
        matches!(op, RegisterOp::Read(_) | RegisterOp::Differs(_) | RegisterOp::Impossible)
    }

    fn is_blind(&self, op: &RegisterOp) -> bool {
        matches!(op, RegisterOp::Write(_))
    }

    fn overwrites(&self, op: &RegisterOp) -> bool {
        matches!(op, RegisterOp::Write(_))
    }

    fn matters_before(&self, first: &RegisterOp, owed: bool, then: &RegisterOp, _hint: u64) -> bool {
        use RegisterOp::{Differs, Impossible, Read, Swap, Write};
        match (*first, *then) {
            // What `then` needs to find is what `first` leaves.
            (Write(left) | Swap(_, left), Read(found)) => left == found,
            (Write(left) | Swap(_, left), Differs(other)) => left != other,
            (Write(left) | Swap(_, left), Swap(found, _)) => left == found,
            (Write(_), Write(_)) => false,
            // What `first` needs to find is lost after `then`.
            (Swap(_, _), Write(_)) => owed,
            (Read(found), Write(left)) => owed && found != left,
            (Read(found), Swap(from, left)) => owed && found == from && found != left,
            (Differs(other), Write(left) | Swap(_, left)) => owed && other == left,
            (Read(_) | Differs(_), Read(_) | Differs(_)) | (Impossible, _) | (_, Impossible) => false,
        }
    }

    fn leaves(&self, op: &RegisterOp) -> Option<u32> {
        match *op {
            RegisterOp::Write(left) | RegisterOp::Swap(_, left) => Some(left),
            RegisterOp::Read(_) | RegisterOp::Differs(_) | RegisterOp::Impossible => None,
        }
    }

    fn wants(&self, op: &RegisterOp) -> Wants {
        match *op {
            RegisterOp::Read(found) | RegisterOp::Swap(found, _) => Wants::Value(found),
            RegisterOp::Differs(_) => Wants::Anything,
            RegisterOp::Write(_) | RegisterOp::Impossible => Wants::Nothing,
        }
    }

    fn after_anything(&self, op: &RegisterOp) -> Option<Held> {
        match *op {
            RegisterOp::Read(value) | RegisterOp::Write(value) | RegisterOp::Swap(_, value) => Some(value),
            RegisterOp::Differs(_) | RegisterOp::Impossible => None,
        }
    }

    fn quick(&self, operations: &[Timed<RegisterOp>]) -> Quick {
        register_zones::quick(operations)
    }

    fn family(&self, op: &RegisterOp) -> Option<[u32; 2]> {
        match *op {
            RegisterOp::Read(value) | RegisterOp::Write(value) => Some([value, value]),
            RegisterOp::Swap(from, to) => Some([from, to]),
            RegisterOp::Differs(_) | RegisterOp::Impossible => None,
        }
    }
}

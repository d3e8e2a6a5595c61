//! A register: a value, at first none.

use super::model::{Model, Quick, Timed, Wants};
use super::register_zones;

/// A value, by a number of the caller's choice; [`UNSET`] is none.
pub type Value = u32;

/// The value of a register that was never written.
pub const UNSET: Value = 0;

/// A call on a register with its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum RegisterOp {
    /// It held this.
    Read(Value),
    /// It held something else than this.
    Differs(Value),
    /// It holds this now.
    Write(Value),
    /// It held the first and holds the second now.
    Swap(Value, Value),
    /// An answer that no register gives.
    Impossible,
}

impl RegisterOp {
    /// A compare-and-set that took place, or may have.
    pub fn swap(from: Value, to: Value) -> Self {
        // One that changes nothing is a read.
        if from == to { Self::Read(from) } else { Self::Swap(from, to) }
    }

    /// A compare-and-set that was refused because the register held `found`.
    pub fn mismatch(from: Value, found: Value) -> Self {
        if from == found { Self::Impossible } else { Self::Read(found) }
    }
}

/// A register.
#[derive(Clone, Copy, Debug, Default)]
pub struct Register;

impl Model for Register {
    type State = Value;
    type Op = RegisterOp;

    fn initial(&self) -> Value {
        UNSET
    }

    fn step(&self, state: &Value, op: &RegisterOp) -> Option<Value> {
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

    fn after_anything(&self, op: &RegisterOp) -> Option<Value> {
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

//! What is asked of the objects, with the answers.

/// What a register holds, by a number of the caller's choice; [`UNSET`] is none.
pub type Held = u32;

/// The value of a register that was never written.
pub const UNSET: Held = 0;

/// A call on a register with its answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum RegisterOp {
    /// It held this.
    Read(Held),
    /// It held something else than this.
    Differs(Held),
    /// It holds this now.
    Write(Held),
    /// It held the first and holds the second now.
    Swap(Held, Held),
    /// An answer that no register gives.
    Impossible,
}

impl RegisterOp {
    /// A compare-and-set that took place, or may have.
    pub fn swap(from: Held, to: Held) -> Self {
        // One that changes nothing is a read.
        if from == to { Self::Read(from) } else { Self::Swap(from, to) }
    }

    /// A compare-and-set that was refused because the register held `found`.
    pub fn mismatch(from: Held, found: Held) -> Self {
        if from == found { Self::Impossible } else { Self::Read(found) }
    }
}

/// A call on a queue with its answer. Values are numbers of the caller's choice.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum QueueOp {
    /// The value went in at the end.
    Enqueue(u32),
    /// The value came out at the front.
    Dequeue(u32),
    /// Whatever was at the front came out; nobody heard what.
    DequeueAny,
    /// The queue was empty.
    Empty,
}

/// A call on a log with its answer. Values are numbers of the caller's choice.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum LogOp {
    /// The value went to this offset.
    Append(u64, u32),
    /// The value went to the end; nobody heard where that was.
    AppendAny(u32),
    /// The value was found at this offset.
    Read(u64, u32),
    /// The log ended at or before this offset.
    Beyond(u64),
}

/// A call on a text with its answer.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum TextOp {
    /// It was this.
    Get(String),
    /// It is this now.
    Put(String),
    /// It ends in this now.
    Append(String),
}

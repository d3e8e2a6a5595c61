//! How far a log is known to be committed.

use core::fmt;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::Op;
use crate::types::notation::{Notation, NotationError, Scanner};

/// The highest op known to be committed. `None` (nothing is known yet, not even that the group exists) is not the
/// same as `At(0)` (the genesis is committed, nothing above it is known to be).
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum CommitIndex {
    /// Nothing is known.
    #[default]
    None,
    /// Every op up to and including this one is committed.
    At(Op),
}

impl CommitIndex {
    /// Whether `op` is known to be committed.
    pub fn covers(self, op: Op) -> bool {
        self >= Self::At(op)
    }

    /// The op, or the genesis when nothing is known: the genesis is committed by definition.
    pub fn op_or_genesis(self) -> Op {
        match self {
            Self::None => Op::GENESIS,
            Self::At(op) => op,
        }
    }

    /// The form in fixed layouts: 0 for `None`, one more than the op otherwise.
    pub fn to_layout(self) -> u64 {
        match self {
            Self::None => 0,
            Self::At(op) => op.get() + 1,
        }
    }

    /// Reads the form that [`CommitIndex::to_layout`] writes.
    pub fn from_layout(layout: u64) -> Self {
        match layout.checked_sub(1) {
            None => Self::None,
            Some(op) => Self::At(Op::new(op)),
        }
    }
}

impl Notation for CommitIndex {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("-"),
            Self::At(op) => op.show(f),
        }
    }
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
        Ok(match Option::<Op>::scan(scanner)? {
            None => Self::None,
            Some(op) => Self::At(op),
        })
    }
}

notation_text!(CommitIndex);

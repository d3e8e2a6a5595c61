//! What the journal holds, record by record.

use bytes::Bytes;

use crate::types::{Entry, GroupId, Op};

/// One record of the journal. Entries and truncations speak of a group's log, the hard state of its vote.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Record {
    /// An entry of its group's log. A later record of the same op replaces it.
    Entry(Entry),
    /// Everything above an op left its group's log.
    Truncation {
        /// The group.
        group: GroupId,
        /// The op that stays.
        above: Op,
    },
    /// What a group's replica promised: consensus knows its form. Written twice, in different blocks of the flush.
    HardState {
        /// The group.
        group: GroupId,
        /// The promise.
        state: Bytes,
    },
}

impl Record {
    pub(in crate::engine) fn kind(&self) -> RecordKind {
        match self {
            Self::Entry(_) => RecordKind::Entry,
            Self::Truncation { .. } => RecordKind::Truncation,
            Self::HardState { .. } => RecordKind::HardState,
        }
    }

    /// Bytes of one copy of the record in a flush's body.
    pub(in crate::engine) fn body_bytes(&self) -> usize {
        match self {
            Self::Entry(entry) => entry.payload().len(),
            Self::Truncation { .. } => 0,
            Self::HardState { state, .. } => state.len(),
        }
    }
}

/// The kind of a record, as a directory tells it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::engine) enum RecordKind {
    Entry,
    Truncation,
    HardState,
}

impl RecordKind {
    pub(in crate::engine) const fn code(self) -> u32 {
        match self {
            Self::Entry => 1,
            Self::Truncation => 2,
            Self::HardState => 3,
        }
    }

    pub(in crate::engine) const fn from_code(code: u32) -> Option<Self> {
        match code {
            1 => Some(Self::Entry),
            2 => Some(Self::Truncation),
            3 => Some(Self::HardState),
            _ => None,
        }
    }
}

//! What a consensus group is made from.

use alloc::string::String;
use alloc::vec::Vec;

use crate::codec;
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::{ClusterId, EntryHeader, EntryKind, GroupId, Hash, NodeId, Op, Timestamp, View};

/// A group has at most this many voters.
pub const VOTERS_MAX: usize = 7;

/// The founding facts of a group, equal on all of its replicas; its genesis hash covers them, so logs of groups that
/// were founded differently never mix.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct GroupInit {
    /// The cluster the group belongs to.
    pub cluster: ClusterId,
    /// The group.
    pub group: GroupId,
    /// The application that runs on it, by name.
    pub kind: String,
    /// Its voters, ascending. A replica's index is its place in this list.
    pub voters: Vec<NodeId>,
    /// Sessions held at most; beyond that the one with the oldest last request goes. So it does when their last answers take
    /// more than [`crate::kernel::SESSION_BYTES_MAX`].
    pub sessions_max: u32,
    /// What it keeps of its committed entries beside its state; nothing when it keeps no archive.
    pub archive: Option<Archiving>,
}

/// How a group archives. Equal on all replicas: where a chunk ends follows from it and from the log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Archiving {
    /// A chunk ends with the entry with which headers and payloads reach so many bytes.
    pub chunk_bytes: u32,
    /// Chunks kept at most; beyond that the oldest goes.
    pub chunks_max: u32,
}

/// Bounds of [`Archiving::chunk_bytes`].
pub const ARCHIVE_CHUNK_BYTES: core::ops::RangeInclusive<u32> = 1 << 10..=64 << 20;

/// Why a group cannot be founded.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum GroupInitError {
    /// Too few or too many voters.
    #[error("group {group} has {found} voters; 1 to {VOTERS_MAX} are allowed")]
    Voters {
        /// The group.
        group: u32,
        /// How many it names.
        found: usize,
    },
    /// The list of voters is not strictly ascending.
    #[error("group {group}: voters must be listed once each, in ascending order")]
    Order {
        /// The group.
        group: u32,
    },
    /// No session could ever be opened.
    #[error("group {group}: sessions_max is 0; at least 1 is needed")]
    Sessions {
        /// The group.
        group: u32,
    },
    /// Chunks of its archive have no sensible length, or none is kept.
    #[error(
        "group {group}: an archive of {chunks_max} chunks of {chunk_bytes} bytes; at least 1 chunk is needed, of {} to {} bytes",
        ARCHIVE_CHUNK_BYTES.start(),
        ARCHIVE_CHUNK_BYTES.end()
    )]
    Archive {
        /// The group.
        group: u32,
        /// What was asked for.
        chunk_bytes: u32,
        /// What was asked for.
        chunks_max: u32,
    },
}

impl GroupInit {
    /// Checks the founding facts.
    ///
    /// # Errors
    /// [`GroupInitError`] naming what is wrong.
    pub fn validate(&self) -> Result<(), GroupInitError> {
        let group = self.group.get();
        if !(1..=VOTERS_MAX).contains(&self.voters.len()) {
            return Err(GroupInitError::Voters { group, found: self.voters.len() });
        }
        if !self.voters.is_sorted_by(|a, b| a < b) {
            return Err(GroupInitError::Order { group });
        }
        if self.sessions_max == 0 {
            return Err(GroupInitError::Sessions { group });
        }
        if let Some(Archiving { chunk_bytes, chunks_max }) = self.archive
            && (chunks_max == 0 || !ARCHIVE_CHUNK_BYTES.contains(&chunk_bytes))
        {
            return Err(GroupInitError::Archive { group, chunk_bytes, chunks_max });
        }
        Ok(())
    }

    /// The header of op 0, which no journal holds: every replica derives it.
    pub fn genesis(&self) -> EntryHeader {
        let founding = Hash::of(&codec::encode(self));
        EntryHeader::genesis(self.group, founding)
    }

    /// The first view: primaries are spread over the voters by group.
    pub fn first_view(&self) -> View {
        let voters = crate::types::u64_of(self.voters.len());
        View::new(1 + u64::from(self.group.get()) % voters)
    }
}

impl EntryHeader {
    fn genesis(group: GroupId, founding: Hash) -> Self {
        Self::seal(
            group,
            EntryKind::Genesis,
            View::new(0),
            Op::GENESIS,
            Timestamp::default(),
            founding,
            Hash::ZERO,
            0,
        )
    }
}

//! The words every room above shares: ids, units, hashes, entries, and the one notation.

#[macro_use]
pub mod notation;
mod blob;
mod boot;
mod commit_index;
mod entry;
mod group;
mod hash;
mod marks;
mod membership;
mod numbers;
mod prng;
mod quorum;
#[cfg(test)]
mod tests;
mod time;

pub use blob::Blob;
pub use boot::BootId;
pub use commit_index::CommitIndex;
pub use entry::{ENTRY_HEADER_BYTES, Entry, EntryError, EntryHeader, EntryKind};
pub use group::{ARCHIVE_CHUNK_BYTES, Archiving, GroupInit, GroupInitError, VOTERS_MAX};
pub use hash::{Hash, Hasher};
pub use marks::{Mark, Marks, NoMarks};
pub use membership::{ADDRESS_BYTES_MAX, LEARNERS_MAX, Membership, MembershipChange, MembershipError};
pub use notation::{Notation, NotationError, Scanner};
pub use numbers::{
    ClientId, ClusterId, Epoch, GroupId, Incarnation, NodeId, Op, Ordinal, RequestNumber, SessionId, View,
    u64_of, usize_of,
};
pub use prng::Prng;
pub use quorum::{Majority, Quorums, ReplicaSet};
pub use time::{Monotonic, Nanos, Now, Timestamp, Wall};

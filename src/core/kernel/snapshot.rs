//! A snapshot of a group: everything that its executor holds, at one op.
//!
//! ```text
//! head      length u32, encoding of SnapshotHead
//! sessions  length u32, encoding of a session; as many as the head says
//! intents   length u32, encoding of a side effect that has not ended; as many as the head says
//! dead      length u32, encoding of a side effect that was given up; as many as the head says
//! slices    length u32, an application's slice; as many as it wrote
//! ```

use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, ByteReader, ByteWriter, CodecError, Truncated};
use crate::kernel::application::{ChrApplication, Cursor, Schema};
use crate::kernel::dead::Rank;
use crate::kernel::executor::Executor;
use crate::kernel::halt::EventPlace;
use crate::kernel::side_effect::Place;
use crate::types::{ClientId, EntryHeader, GroupInit, Hash, Membership, Op, u64_of, usize_of};

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
struct SnapshotHead {
    /// The behaviour in force.
    schema: Schema,
    /// The header of the last entry applied.
    last: EntryHeader,
    digest: Hash,
    /// Who the group consists of there.
    membership: Membership,
    sessions: u64,
    intents: u64,
    dead: u64,
    /// Of those that were given up.
    dropped: u64,
    /// What the log has skipped, ascending.
    skipped: Vec<EventPlace>,
}

/// Why a snapshot cannot be restored. Its checksum held, so another build wrote it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SnapshotError {
    /// It ends early.
    #[error("the snapshot ends early")]
    Truncated,
    /// Head or sessions are not readable.
    #[error("the snapshot is not readable: {0}")]
    Codec(#[from] CodecError),
    /// The application refused a slice of its own.
    #[error("the application refuses a slice of {bytes} bytes: {reason:02x?}")]
    Slice {
        /// Length of the slice.
        bytes: usize,
        /// The application's error, encoded.
        reason: Vec<u8>,
    },
    /// It was written by a newer build of the application.
    #[error("{0}")]
    Schema(String),
}

impl From<Truncated> for SnapshotError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

impl<A: ChrApplication> Executor<A> {
    /// A snapshot of all that was applied, to be written while more is; `last` is the header of the last entry applied.
    ///
    /// # Panics
    /// When `last` is another entry's header.
    pub fn snapshot(&self, last: EntryHeader) -> SnapshotWriter<A> {
        assert!(
            last.op() == self.applied,
            "a snapshot tells what was applied: {} is not {}",
            last.op(),
            self.applied
        );
        SnapshotWriter { frozen: self.clone(), last, next: Part::Head }
    }

    /// The executor that wrote the snapshot, and the header of the last entry it had applied.
    ///
    /// # Errors
    /// [`SnapshotError`] when another build wrote it.
    pub fn restore(
        application: A,
        init: GroupInit,
        snapshot: &[u8],
    ) -> Result<(Self, EntryHeader), SnapshotError> {
        let mut reader = ByteReader::new(snapshot);
        let head: SnapshotHead = codec::decode(take_piece(&mut reader)?)?;
        let schema = head.schema;
        if schema > A::SCHEMA {
            let known = A::SCHEMA;
            return Err(SnapshotError::Schema(alloc::format!(
                "the snapshot has schema {schema}; this build knows {known}"
            )));
        }
        let mut executor = Self::new(application, init);
        for _ in 0..head.sessions {
            executor.sessions.restore(take_piece(&mut reader)?)?;
        }
        for _ in 0..head.intents {
            executor.outbox.restore(take_piece(&mut reader)?)?;
        }
        let dead = executor.outbox.dead_mut();
        for _ in 0..head.dead {
            dead.restore(take_piece(&mut reader)?)?;
        }
        dead.restore_dropped(head.dropped);
        while !reader.rest().is_empty() {
            let slice = take_piece(&mut reader)?;
            let restored = executor.application.restore(&mut executor.state, schema, slice);
            restored.map_err(|error| SnapshotError::Slice {
                bytes: slice.len(),
                reason: codec::encode(&error),
            })?;
        }
        executor.membership = head.membership;
        executor.schema = schema;
        (executor.applied, executor.digest) = (head.last.op(), head.digest);
        executor.skipped = head.skipped.into_iter().collect();
        Ok((executor, head.last))
    }
}

/// A snapshot that is being written: the executor goes on, and what it was stays here.
#[derive(Clone)]
pub struct SnapshotWriter<A: ChrApplication> {
    frozen: Executor<A>,
    last: EntryHeader,
    next: Part,
}

/// What is to be written next; of sessions, intents and the dead those behind the last one written.
#[derive(Clone, Debug)]
enum Part {
    Head,
    Sessions(Option<ClientId>),
    Intents(Option<Place>),
    Dead(Option<Rank>),
    State(Cursor),
}

impl<A: ChrApplication> SnapshotWriter<A> {
    /// All that was applied up to here is in it.
    pub fn op(&self) -> Op {
        self.last.op()
    }

    /// Writes a piece more: until `out` has this many bytes, or a slice of the application, however long it is; whether there
    /// is more to come.
    pub fn go_on(&mut self, bytes: usize, out: &mut ByteWriter) -> bool {
        let next = match &self.next {
            Part::Head => {
                put_piece(out, &codec::encode(&self.head()));
                Some(Part::Sessions(None))
            }
            Part::Sessions(after) => {
                let last = put_some(bytes, out, self.frozen.sessions.saved(*after));
                Some(last.map_or(Part::Intents(None), |last| Part::Sessions(Some(last))))
            }
            Part::Intents(after) => {
                let last = put_some(bytes, out, self.frozen.outbox.saved(*after));
                Some(last.map_or(Part::Dead(None), |last| Part::Intents(Some(last))))
            }
            Part::Dead(after) => {
                let last = put_some(bytes, out, self.frozen.outbox.dead().saved(*after));
                Some(last.map_or(Part::State(Cursor::START), |last| Part::Dead(Some(last))))
            }
            Part::State(from) => {
                let mut slice = Vec::new();
                let cursor = self.frozen.application.snapshot(&self.frozen.state, from.clone(), &mut slice);
                put_piece(out, &slice);
                cursor.map(Part::State)
            }
        };
        let Some(next) = next else { return false };
        self.next = next;
        true
    }

    fn head(&self) -> SnapshotHead {
        let Executor { schema, sessions, outbox, digest, skipped, membership, .. } = &self.frozen;
        let (sessions, intents) = (u64_of(sessions.len()), u64_of(outbox.len()));
        let (dead, dropped) = (u64_of(outbox.dead().len()), outbox.dead().dropped());
        let skipped = skipped.iter().copied().collect();
        let (schema, digest, last) = (*schema, *digest, self.last);
        let membership = membership.clone();
        SnapshotHead { schema, last, digest, membership, sessions, intents, dead, dropped, skipped }
    }
}

/// Writes pieces until there are enough bytes; the key of the last one, if more may follow.
fn put_some<K>(bytes: usize, out: &mut ByteWriter, pieces: impl Iterator<Item = (K, Vec<u8>)>) -> Option<K> {
    for (key, piece) in pieces {
        put_piece(out, &piece);
        if out.as_slice().len() >= bytes {
            return Some(key);
        }
    }
    None
}

fn put_piece(writer: &mut ByteWriter, piece: &[u8]) {
    let Ok(length) = u32::try_from(piece.len()) else {
        panic!("a slice is bounded far below 4 GiB");
    };
    writer.u32(length).put(piece);
}

fn take_piece<'a>(reader: &mut ByteReader<'a>) -> Result<&'a [u8], Truncated> {
    let length = reader.u32()?;
    reader.take(usize_of(u64::from(length)))
}

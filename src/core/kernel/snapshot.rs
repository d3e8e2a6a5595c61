//! A snapshot of a group: everything that its executor holds, at one op.
//!
//! ```text
//! head      length u32, encoding of SnapshotHead
//! sessions  length u32, encoding of a session; as many as the head says
//! intents   length u32, encoding of a side effect that has not ended; as many as the head says
//! slices    length u32, an application's slice; as many as it wrote
//! ```

use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, ByteReader, ByteWriter, CodecError, Truncated};
use crate::kernel::application::{ChrApplication, Cursor, Schema};
use crate::kernel::executor::Executor;
use crate::kernel::outbox::Outbox;
use crate::kernel::sessions::SessionMap;
use crate::types::{EntryHeader, GroupInit, Hash, u64_of, usize_of};

#[derive(Clone, Debug, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
struct SnapshotHead {
    schema: u32,
    /// The header of the last entry applied.
    last: EntryHeader,
    digest: Hash,
    sessions: u64,
    intents: u64,
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
    /// A snapshot of all that was applied; `last` is the header of the last entry applied.
    ///
    /// # Panics
    /// When `last` is another entry's header.
    pub fn snapshot(&self, last: EntryHeader) -> Bytes {
        assert!(
            last.op() == self.applied,
            "a snapshot tells what was applied: {} is not {}",
            last.op(),
            self.applied
        );
        let (sessions, intents) = (u64_of(self.sessions.len()), u64_of(self.outbox.len()));
        let head = SnapshotHead { schema: A::SCHEMA.0, last, digest: self.digest, sessions, intents };
        let mut writer = ByteWriter::default();
        put_piece(&mut writer, &codec::encode(&head));
        for session in self.sessions.saved() {
            put_piece(&mut writer, &session);
        }
        for intent in self.outbox.saved() {
            put_piece(&mut writer, &intent);
        }
        let mut cursor = Some(Cursor::START);
        while let Some(from) = cursor {
            let mut slice = Vec::new();
            cursor = self.application.snapshot(&self.state, from, &mut slice);
            put_piece(&mut writer, &slice);
        }
        Bytes::from(writer.finish())
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
        let from = Schema(head.schema);
        if from > A::SCHEMA {
            let (found, known) = (from.0, A::SCHEMA.0);
            return Err(SnapshotError::Schema(alloc::format!(
                "the snapshot has schema {found}; this build knows {known}"
            )));
        }
        let mut sessions = SessionMap::new(init.sessions_max);
        for _ in 0..head.sessions {
            sessions.restore(take_piece(&mut reader)?)?;
        }
        let mut outbox = Outbox::default();
        for _ in 0..head.intents {
            outbox.restore(take_piece(&mut reader)?)?;
        }
        let mut state = application.genesis(&init);
        while !reader.rest().is_empty() {
            let slice = take_piece(&mut reader)?;
            application.restore(&mut state, from, slice).map_err(|error| SnapshotError::Slice {
                bytes: slice.len(),
                reason: codec::encode(&error),
            })?;
        }
        if from < A::SCHEMA {
            application.migrate(&mut state, from);
        }
        let (applied, digest) = (head.last.op(), head.digest);
        Ok((Self { application, init, state, sessions, outbox, applied, digest }, head.last))
    }
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

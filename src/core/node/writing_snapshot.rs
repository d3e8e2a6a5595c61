//! A snapshot of this node's own that is being written, a piece a step, before it goes to the disk.

use crate::codec::ByteWriter;
use crate::engine::SnapshotBody;
use crate::kernel::{ChrApplication, SnapshotWriter};
use crate::types::{GroupId, Monotonic, Nanos, usize_of};

/// So much of a snapshot is written in one step, unless a slice of the application is longer.
pub const SNAPSHOT_PIECE_BYTES_MAX: usize = 64 << 10;
/// Pieces are so far apart: the node has most of its time for what it is asked, and a quarter of a gigabyte a second goes by.
const BETWEEN_PIECES: Nanos = Nanos::from_nanos(250_000);

/// A snapshot that grows, or is whole and waits for space on the disk.
#[derive(Clone)]
pub(in crate::node) struct WritingSnapshot<A: ChrApplication> {
    pub group: GroupId,
    pub writer: SnapshotWriter<A>,
    pub body: SnapshotBody,
    is_whole: bool,
    due: Monotonic,
}

impl<A: ChrApplication> WritingSnapshot<A> {
    /// One of `group`, in chunks of so many bytes; its first piece is due at once.
    pub(in crate::node) fn new(
        now: Monotonic,
        group: GroupId,
        writer: SnapshotWriter<A>,
        chunk_bytes: u32,
    ) -> Self {
        Self { group, writer, body: SnapshotBody::new(chunk_bytes), is_whole: false, due: now }
    }

    /// When it goes on.
    pub(in crate::node) fn due(&self) -> Monotonic {
        self.due
    }

    /// Writes a piece more, no longer than a chunk; whether that was the last one, or nothing was left to be written.
    pub(in crate::node) fn go_on(&mut self, now: Monotonic, chunk_bytes: u32) -> bool {
        if !self.is_whole {
            let mut piece = ByteWriter::default();
            let most = usize_of(u64::from(chunk_bytes)).min(SNAPSHOT_PIECE_BYTES_MAX);
            self.is_whole = !self.writer.go_on(most, &mut piece);
            self.body.put(piece.as_slice());
            self.due = now.after(BETWEEN_PIECES);
        }
        self.is_whole
    }

    /// There is no space for it yet: it is looked at again after `span`.
    pub(in crate::node) fn wait(&mut self, now: Monotonic, span: Nanos) {
        self.due = now.after(span);
    }
}

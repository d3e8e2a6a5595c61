//! How much of a group's log the next chunk of its archive will hold.

use crate::consensus::vsr::VsrNode;
use crate::engine::archived_bytes;
use crate::types::Op;

/// How much of the log the next chunk of a group will hold.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::node) struct ChunkCursor {
    /// The archive reached so far.
    archived: Op,
    /// The chunk goes so far by now.
    to: Op,
    bytes: u64,
    state: ChunkState,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
enum ChunkState {
    /// It is not long enough yet.
    #[default]
    Growing,
    /// It ends here.
    Due,
    /// What it begins with is not in the log any more.
    Lacking,
}

impl ChunkCursor {
    /// The ops of the next chunk of the archive, which reaches `archived`, once it is long enough.
    pub(in crate::node) fn due(&mut self, replica: &VsrNode, archived: Op) -> Option<(Op, Op)> {
        let chunk_bytes = replica.init().archive?.chunk_bytes;
        self.advance(replica, archived, chunk_bytes);
        (self.state == ChunkState::Due).then_some((archived.next(), self.to))
    }

    /// Whether anything may have changed since that was asked.
    pub(in crate::node) fn is_stale(&self, applied: Op) -> bool {
        self.state != ChunkState::Growing || applied > self.to
    }

    /// Whether what the next chunk begins with is not in the log any more.
    pub(in crate::node) fn is_lacking(&self) -> bool {
        self.state == ChunkState::Lacking
    }

    fn advance(&mut self, replica: &VsrNode, archived: Op, chunk_bytes: u32) {
        let header = |op| replica.committed(op).map(|(header, _)| header);
        // A snapshot of a peer may have taken the place of what was to be sealed.
        let is_gone = self.state == ChunkState::Due && header(archived.next()).is_none();
        if self.archived != archived || self.state == ChunkState::Lacking || is_gone {
            *self = Self { archived, to: archived, ..Self::default() };
        }
        while self.state == ChunkState::Growing && self.to < replica.applied() {
            let Some(header) = header(self.to.next()) else {
                self.state = ChunkState::Lacking;
                return;
            };
            self.to = self.to.next();
            self.bytes += archived_bytes(&header);
            if self.bytes >= u64::from(chunk_bytes) {
                self.state = ChunkState::Due;
            }
        }
    }
}

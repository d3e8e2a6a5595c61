//! Looking an entry up: heads down to its chunk, the index of that, and the blocks in which it lies.

use core::ops::Range;

use bytes::Bytes;

use super::chunk::{At, ChunkHead, ChunkName, HEAD_BYTES, entry_in};
use super::{ArchiveMeta, GroupId, archive_file};
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::engine::disk::{BLOCK_BYTES, DiskOp, DiskOpId, DiskOut};
use crate::types::{Entry, Marks, Op, u64_of, usize_of};

/// What became of looking an entry up.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Found {
    /// This is it.
    Entry(Entry),
    /// It was committed later than anything that is known here.
    Later,
    /// It is older than what the archive keeps.
    Gone,
    /// It cannot be read here now: it is to come from a peer.
    Unreadable,
    /// Too much is being looked up already, or there is no such group here.
    Refused,
}

notation_enum!(Found {
    "entry" => Entry(entry),
    "later" => Later,
    "gone" => Gone,
    "unreadable" => Unreadable,
    "refused" => Refused,
});

#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub token: u64,
    pub group: GroupId,
    at: At,
    chunk: ChunkName,
    step: Step,
    /// What is being read was read before, and was not as it was sealed.
    again: bool,
    id: DiskOpId,
    /// Bytes that are being read.
    wanted: usize,
}

#[derive(Clone, Debug)]
enum Step {
    /// The head of the chunk, which may send on to an earlier one.
    Head,
    /// Head and index.
    Index,
    /// The entry of this op, at this place of the file.
    Entry(Op, Range<u64>),
}

impl Lookup {
    pub(super) fn begin(
        token: u64,
        meta: &ArchiveMeta,
        at: At,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Self {
        let (group, chunk) = (meta.group, meta.newest);
        let lookup = Self { token, group, at, chunk, step: Step::Head, again: false, id, wanted: HEAD_BYTES };
        lookup.read(out);
        lookup
    }

    pub(super) fn is_reading(&self, id: DiskOpId) -> bool {
        self.id == id
    }

    /// The chunk that is being read.
    pub(super) fn chunk(&self) -> ChunkName {
        self.chunk
    }

    /// Takes what was read; what became of it, or `None` while more is to be read. Chunks below `first` are gone.
    pub(super) fn go_on(
        &mut self,
        bytes: &Bytes,
        first: u64,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Option<Found> {
        if self.chunk.number < first {
            return Some(Found::Gone);
        }
        let Some(next) = self.take(bytes) else {
            if core::mem::replace(&mut self.again, true) {
                return Some(Found::Unreadable);
            }
            self.id = ids();
            self.read(out);
            return None;
        };
        self.again = false;
        match next {
            Next::Entry(entry) => return Some(Found::Entry(entry)),
            Next::Read(..) if self.chunk.number < first => return Some(Found::Gone),
            Next::Read(step, bytes) => {
                (self.step, self.wanted, self.id) = (step, bytes, ids());
                self.read(out);
            }
        }
        None
    }

    /// What follows from what was read; `None` when it is not as it was sealed.
    fn take(&mut self, bytes: &Bytes) -> Option<Next> {
        if let Step::Entry(op, place) = &self.step {
            let from = block_below(place.start);
            return entry_in(bytes, from, place, self.group, *op).map(Next::Entry);
        }
        let head = ChunkHead::read(bytes).filter(|head| head.is_of(self.group, &self.chunk))?;
        if let Step::Head = self.step {
            if let Some(earlier) = head.earlier_with(self.at) {
                self.chunk = earlier;
                return Some(Next::Read(Step::Head, HEAD_BYTES));
            }
            return Some(Next::Read(Step::Index, head.index_end()));
        }
        let (op, place) = head.find(self.at, bytes)?;
        let length = place.end - block_below(place.start);
        Some(Next::Read(Step::Entry(op, place), usize_of(length)))
    }

    fn read(&self, out: &mut DiskOut<'_, impl Marks>) {
        let offset = match &self.step {
            Step::Head | Step::Index => 0,
            Step::Entry(_, place) => block_below(place.start),
        };
        let bytes = u32::try_from(self.wanted.next_multiple_of(BLOCK_BYTES)).unwrap_or(u32::MAX);
        let file = archive_file(self.group, self.chunk.number);
        out.push(DiskOp::Read { id: self.id, file, offset, bytes });
    }
}

enum Next {
    Entry(Entry),
    Read(Step, usize),
}

fn block_below(at: u64) -> u64 {
    at - at % u64_of(BLOCK_BYTES)
}

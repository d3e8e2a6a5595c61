//! Looking entries up: heads down to the chunk of the first, the index of that, and the blocks in which they lie.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use super::chunk::{ChunkHead, ChunkName, HEAD_BYTES, Sought, entry_in};
use super::{ArchiveMeta, GroupId, archive_file};
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::engine::disk::{BLOCK_BYTES, DiskOp, DiskOpId, DiskOut};
use crate::types::{Entry, Marks, Op, u64_of, usize_of};

/// What became of looking an entry up.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Found {
    /// The one that was sought, and those behind it that came along.
    Entries(Vec<Entry>),
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
    "entries" => Entries(entries),
    "later" => Later,
    "gone" => Gone,
    "unreadable" => Unreadable,
    "refused" => Refused,
});

#[derive(Clone, Debug)]
pub(super) struct Lookup {
    pub token: u64,
    pub group: GroupId,
    sought: Sought,
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
    /// The entries from this op on, at these places of the file.
    Entries(Op, Vec<Range<u64>>),
}

impl Lookup {
    pub(super) fn begin(
        token: u64,
        meta: &ArchiveMeta,
        sought: Sought,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Self {
        let (group, chunk) = (meta.group, meta.newest);
        let lookup =
            Self { token, group, sought, chunk, step: Step::Head, again: false, id, wanted: HEAD_BYTES };
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
            Next::Entries(entries) => return Some(Found::Entries(entries)),
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
        if let Step::Entries(first, places) = &self.step {
            let from = block_below(places.first()?.start);
            let ops = (first.get()..).map(Op::new);
            let entry = |(op, place)| entry_in(bytes, from, place, self.group, op);
            // What rotted behind the first is found by who asks for it.
            let entries: Vec<Entry> = ops.zip(places).map_while(entry).collect();
            return (!entries.is_empty()).then_some(Next::Entries(entries));
        }
        let head = ChunkHead::read(bytes).filter(|head| head.is_of(self.group, &self.chunk))?;
        if let Step::Head = self.step {
            if let Some(earlier) = head.earlier_with(self.sought.at) {
                self.chunk = earlier;
                return Some(Next::Read(Step::Head, HEAD_BYTES));
            }
            return Some(Next::Read(Step::Index, head.index_end()));
        }
        let (op, places) = head.find(self.sought, bytes)?;
        let length = places.last()?.end - block_below(places.first()?.start);
        Some(Next::Read(Step::Entries(op, places), usize_of(length)))
    }

    fn read(&self, out: &mut DiskOut<'_, impl Marks>) {
        let offset = match &self.step {
            Step::Head | Step::Index => 0,
            Step::Entries(_, places) => places.first().map_or(0, |place| block_below(place.start)),
        };
        let bytes = u32::try_from(self.wanted.next_multiple_of(BLOCK_BYTES)).unwrap_or(u32::MAX);
        let file = archive_file(self.group, self.chunk.number);
        out.push(DiskOp::Read { id: self.id, file, offset, bytes });
    }
}

enum Next {
    Entries(Vec<Entry>),
    Read(Step, usize),
}

fn block_below(at: u64) -> u64 {
    at - at % u64_of(BLOCK_BYTES)
}

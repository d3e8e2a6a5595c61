//! A snapshot as a file: chunks, each of which tells what it belongs to and is verified by itself.
//!
//! So a snapshot can be fetched chunk by chunk, from whoever has it, and go on after a crash with the chunks that are
//! there: nothing has to remember which they were.
//!
//! ```text
//! chunk, at index * chunk_bytes; the last one ends with the block in which its payload does
//! 0    magic "CHRNSNAP"        8
//! 8    snapshot                32   blake3 of all payloads
//! 40   op                      u64
//! 48   group                   u32
//! 52   index                   u32
//! 56   payload length          u32
//! 60   zeros                   36
//! 96   hash                    32   blake3 of bytes 0..96 and the payload
//! 128  payload
//! ..   zeros
//! ```

use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{ByteReader, ByteWriter};
use crate::engine::disk::{BLOCK_BYTES, FileId};
use crate::types::{Blob, GroupId, Hash, Op, u64_of, usize_of};

const MAGIC: [u8; 8] = *b"CHRNSNAP";
const HASHED_HEAD_BYTES: usize = 96;
const HEAD_BYTES: usize = 128;

/// Which snapshot of a group: the same everywhere that it lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct SnapshotName {
    /// What the snapshot holds was applied up to here.
    pub op: Op,
    /// Its length, without the heads of chunks.
    pub bytes: u64,
    /// Length of a chunk in the file, but for the last one; a multiple of the block.
    pub chunk_bytes: u32,
    /// Blake3 of these bytes.
    pub hash: Hash,
}

notation_struct!("snapshot-name" => SnapshotName { op, bytes, chunk_bytes, hash });

/// A snapshot as the manifest names it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::engine) struct SnapshotMeta {
    pub group: GroupId,
    /// The file.
    pub slot: u32,
    pub name: SnapshotName,
}

impl SnapshotMeta {
    pub(in crate::engine) fn file(&self) -> FileId {
        FileId::Snapshot(self.slot)
    }
}

impl SnapshotName {
    /// Whether it is one that a node could have written; what peers say is not believed before.
    pub(in crate::engine) fn is_sound(&self) -> bool {
        let chunk = usize_of(u64::from(self.chunk_bytes));
        chunk >= BLOCK_BYTES
            && chunk.is_multiple_of(BLOCK_BYTES)
            && u64::from(self.chunk_bytes) <= CHUNK_BYTES_MAX
            && self.bytes.div_ceil(u64_of(self.payload_bytes_max())) <= u64::from(CHUNKS_MAX)
    }

    fn payload_bytes_max(&self) -> usize {
        payload_bytes_of(self.chunk_bytes)
    }

    /// How many chunks it has; one at least.
    pub fn chunks(&self) -> u32 {
        let chunks = self.bytes.div_ceil(u64_of(self.payload_bytes_max())).max(1);
        u32::try_from(chunks).unwrap_or(u32::MAX)
    }

    /// Where the payload of a chunk lies in the body.
    fn payload(&self, index: u32) -> core::ops::Range<usize> {
        let (most, bytes) = (self.payload_bytes_max(), usize_of(self.bytes));
        let from = (usize_of(u64::from(index)) * most).min(bytes);
        from..(from + most).min(bytes)
    }

    /// Where a chunk begins in the file.
    pub(in crate::engine) fn offset(&self, index: u32) -> u64 {
        u64::from(index) * u64::from(self.chunk_bytes)
    }

    /// Length of a chunk in the file.
    pub(in crate::engine) fn length(&self, index: u32) -> u32 {
        let meant = HEAD_BYTES + self.payload(index).len();
        u32::try_from(meant.next_multiple_of(BLOCK_BYTES)).unwrap_or(self.chunk_bytes)
    }

    /// Length of the file.
    pub(in crate::engine) fn file_bytes(&self) -> u64 {
        let last = self.chunks() - 1;
        self.offset(last) + u64::from(self.length(last))
    }

    /// The chunk with this payload, as it lies in the file.
    pub(in crate::engine) fn seal(&self, group: GroupId, index: u32, payload: &[u8]) -> Blob {
        let mut head = ByteWriter::with_capacity(HASHED_HEAD_BYTES);
        head.put(&MAGIC).put(self.hash.as_bytes()).u64(self.op.get()).u32(group.get()).u32(index);
        head.u32(u32::try_from(payload.len()).unwrap_or(u32::MAX));
        head.pad_to(HASHED_HEAD_BYTES);
        let hash = Hash::of_pieces(&[head.as_slice(), payload]);
        let length = usize_of(u64::from(self.length(index)));
        let mut chunk = ByteWriter::aligned(length, BLOCK_BYTES);
        chunk.put(head.as_slice()).put(hash.as_bytes()).put(payload).pad_to(BLOCK_BYTES);
        Blob(chunk.into_bytes())
    }

    /// The payload of a chunk, when it is the one of this snapshot at this index, and as it was sealed.
    pub fn open(&self, group: GroupId, index: u32, chunk: &Bytes) -> Option<Bytes> {
        if index >= self.chunks() {
            return None;
        }
        let place = self.payload(index);
        let payload = chunk.get(HEAD_BYTES..HEAD_BYTES + place.len())?;
        let mut reader = ByteReader::new(chunk);
        let head = reader.take(HASHED_HEAD_BYTES).ok()?;
        let hash = Hash::from_bytes(reader.array().ok()?);
        let mut reader = ByteReader::new(head);
        let is_its_own = reader.array().ok()? == MAGIC
            && Hash::from_bytes(reader.array().ok()?) == self.hash
            && reader.u64().ok()? == self.op.get()
            && reader.u32().ok()? == group.get()
            && reader.u32().ok()? == index
            && usize_of(u64::from(reader.u32().ok()?)) == payload.len();
        let is_whole = is_its_own && Hash::of_pieces(&[head, payload]) == hash;
        is_whole.then(|| chunk.slice(HEAD_BYTES..HEAD_BYTES + payload.len()))
    }

    /// Puts the payloads of all chunks together; none when they are not those of this snapshot after all.
    pub fn join(&self, payloads: Vec<Bytes>) -> Option<Bytes> {
        let body = match <[Bytes; 1]>::try_from(payloads) {
            Ok([only]) => only,
            Err(payloads) => {
                let mut body = BytesMut::with_capacity(usize_of(self.bytes));
                payloads.iter().for_each(|payload| body.extend_from_slice(payload));
                body.freeze()
            }
        };
        (u64_of(body.len()) == self.bytes && Hash::of(&body) == self.hash).then_some(body)
    }
}

/// What a chunk of so many bytes holds of the snapshot.
pub(in crate::engine) fn payload_bytes_of(chunk_bytes: u32) -> usize {
    usize_of(u64::from(chunk_bytes)) - HEAD_BYTES
}

/// A chunk is one message between nodes: no larger than this.
pub(in crate::engine) const CHUNK_BYTES_MAX: u64 = 1 << 20;
/// No snapshot is larger than this many chunks of 1 MiB would be.
const CHUNKS_MAX: u32 = 1 << 20;

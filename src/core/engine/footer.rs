//! The end of a sealed segment, written twice in the segment's last blocks.
//!
//! ```text
//! 0    magic "CHRNSEAL"        8
//! 8    generation              u64
//! 16   hash                    32   blake3 of bytes 48..length
//! 48   generation              u64
//! 56   last flush number       u64
//! 64   last flush hash         32
//! 96   end                     u64  offset behind the last flush
//! 104  groups                  u32  how many
//! 108  zero                    u32
//! 112  groups                  56 each: group u32 | zero u32 | last op u64 | its ordinal u64 | its hash 32
//! ```

use alloc::vec::Vec;

use crate::codec::{ByteReader, ByteWriter};
use crate::engine::disk::BLOCK_BYTES;
use crate::engine::flush::length;
use crate::types::{GroupId, Hash, Op, Ordinal};

/// The end of a sealed segment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) struct Footer {
    pub generation: u64,
    pub last_number: u64,
    pub last_hash: Hash,
    pub end: u64,
    pub groups: Vec<(GroupId, Op, Ordinal, Hash)>,
}

const FOOTER_MAGIC: [u8; 8] = *b"CHRNSEAL";
const FOOTER_FIXED_BYTES: usize = 112;
const FOOTER_GROUP_BYTES: usize = 56;

/// Bytes of one of a footer's two copies on a node with `groups` groups.
pub(in crate::engine) fn footer_bytes(groups: usize) -> usize {
    (FOOTER_FIXED_BYTES + groups * FOOTER_GROUP_BYTES).next_multiple_of(BLOCK_BYTES)
}

impl Footer {
    /// Both copies, one behind the other.
    pub(in crate::engine) fn to_layout(&self, copy_bytes: usize) -> Vec<u8> {
        let mut hashed = ByteWriter::with_capacity(copy_bytes);
        hashed.u64(self.generation).u64(self.last_number).put(self.last_hash.as_bytes()).u64(self.end);
        hashed.u32(length(self.groups.len())).u32(0);
        for (group, op, ordinal, hash) in &self.groups {
            hashed.u32(group.get()).u32(0).u64(op.get()).u64(ordinal.get()).put(hash.as_bytes());
        }
        let hash = Hash::of(hashed.as_slice());
        let mut writer = ByteWriter::with_capacity(2 * copy_bytes);
        for _ in 0..2 {
            writer.put(&FOOTER_MAGIC).u64(self.generation).put(hash.as_bytes()).put(hashed.as_slice());
            writer.pad_to(copy_bytes);
        }
        writer.finish()
    }

    /// Reads one copy; `None` when it is not whole or of another generation.
    pub(in crate::engine) fn from_layout(bytes: &[u8], generation: u64) -> Option<Self> {
        let mut reader = ByteReader::new(bytes);
        if reader.array().ok()? != FOOTER_MAGIC || reader.u64().ok()? != generation {
            return None;
        }
        let hash = Hash::from_bytes(reader.array().ok()?);
        let hashed = reader.rest();
        let generation = reader.u64().ok()?;
        let last_number = reader.u64().ok()?;
        let last_hash = Hash::from_bytes(reader.array().ok()?);
        let end = reader.u64().ok()?;
        let count = reader.u32().ok()?;
        let _zero = reader.u32().ok()?;
        let mut groups = Vec::new();
        for _ in 0..count {
            let group = GroupId::new(reader.u32().ok()?);
            let _zero = reader.u32().ok()?;
            let (op, ordinal) = (Op::new(reader.u64().ok()?), Ordinal::new(reader.u64().ok()?));
            groups.push((group, op, ordinal, Hash::from_bytes(reader.array().ok()?)));
        }
        let used = hashed.len() - reader.rest().len();
        (Hash::of(&hashed[..used]) == hash).then_some(Self {
            generation,
            last_number,
            last_hash,
            end,
            groups,
        })
    }
}

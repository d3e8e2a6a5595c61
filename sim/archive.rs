//! A decoder of chunks of archives, written from the page on their layout at the top of the engine's `chunk.rs` and from nothing
//! else of the engine's.

use chronon_core::types::{GroupId, Hash};

use crate::fields::Fields;

/// A chunk as it lies on a disk.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub hash: Hash,
    pub group: GroupId,
    pub number: u64,
    /// Hash of the entry below the first.
    pub parent: Hash,
    pub entries: Vec<Archived>,
    /// Numbers and hashes of earlier chunks.
    pub earlier: Vec<(u64, Hash)>,
}

/// An entry of a chunk.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Archived {
    pub op: u64,
    pub hash: Hash,
    pub time: u64,
    /// Bytes of header and payload.
    pub bytes: u64,
}

/// Reads a whole chunk; where a payload should be there may be zeros.
///
/// # Errors
/// What of the page it breaks.
pub(crate) fn read(file: &[u8]) -> Result<Chunk, String> {
    let head = Fields(file);
    if head.array::<8>(0)? != MAGIC {
        return Err("it does not begin as a chunk does".to_owned());
    }
    let hash = head.hash(8)?;
    let hashed = file.get(40..BLOCK).ok_or("it has no head")?;
    if blake3::hash(hashed).as_bytes() != hash.as_bytes() {
        return Err("its head does not hash to its name".to_owned());
    }
    let (group, count, number) = (GroupId::new(head.u32(40)?), head.usize(44)?, head.u64(48)?);
    let (first, parent, last, index_hash) = (head.u64(56)?, head.hash(64)?, head.hash(96)?, head.hash(128)?);
    let names = head.usize(168)?;
    let name = |at: usize| Ok::<_, String>((head.u64(at)?, head.hash(at + 32)?));
    let earlier = (0..names).map(|nth| name(176 + 64 * nth)).collect::<Result<_, _>>()?;
    let index_end = BLOCK + 16 * count;
    let index = file.get(BLOCK..index_end).ok_or("its index goes beyond its end")?;
    if blake3::hash(index).as_bytes() != index_hash.as_bytes() {
        return Err("its index does not hash to what its head says".to_owned());
    }

    let (mut at, mut below) = (index_end, parent);
    let mut entries = Vec::with_capacity(count);
    for nth in 0..count {
        let op = first + nth as u64;
        let (time, from) = (head.u64(BLOCK + 16 * nth)?, head.u64(BLOCK + 16 * nth + 8)?);
        let layout = file.get(at..at + HEADER).ok_or("its entries go beyond its end")?;
        let header = Fields(layout);
        let (hash, payload_bytes) = (header.hash(0)?, header.usize(156)?);
        let payload =
            file.get(at + HEADER..at + HEADER + payload_bytes).ok_or("an entry goes beyond its end")?;
        let is_whole = blake3::hash(&layout[32..]).as_bytes() == hash.as_bytes();
        let is_there = blake3::hash(payload).as_bytes() == header.hash(64)?.as_bytes();
        let is_hole = payload.iter().all(|byte| *byte == 0);
        let is_next = (header.u64(136)?, header.u64(144)?, header.hash(32)?) == (op, time, below);
        if !(is_whole && is_next && from == at as u64 && (is_there || is_hole)) {
            return Err(format!("what lies where op {op} should is not that entry, or does not follow"));
        }
        let bytes = (HEADER + payload_bytes) as u64;
        entries.push(Archived { op, hash, time, bytes });
        (at, below) = (at + bytes as usize, hash);
    }
    if below != last || at.next_multiple_of(BLOCK) != file.len() || file[at..].iter().any(|byte| *byte != 0) {
        return Err("it does not end with its last entry".to_owned());
    }
    Ok(Chunk { hash, group, number, parent, entries, earlier })
}

const MAGIC: &[u8; 8] = b"CHRNARCH";
const BLOCK: usize = 4096;
const HEADER: usize = 176;

//! The flush: the journal's unit of writing and of recovery.
//!
//! A flush starts on a fresh 4 KiB boundary of its segment; no written block is ever written again. All integers are
//! little-endian.
//!
//! ```text
//! head
//! 0    magic "CHRNFLSH"        8
//! 8    generation              u64  of the segment, in clear
//! 16   hash                    32   blake3 of bytes 48..head length; names the flush
//! 48   generation              u64  again, under the hash
//! 56   number                  u64  node-wide, from 1, without gaps
//! 64   previous                32   hash of the flush before; zero for number 1
//! 96   barrier                 u64  every flush up to this number was durable when this one was built
//! 104  flush length            u32  head, body and padding: a multiple of 4096
//! 108  head length             u32
//! 112  body length             u32
//! 116  body checksum           u32  CRC32C
//! 120  commits                 u32  how many
//! 124  records                 u32  how many
//! 128  previous records        u32  how many
//! 132  zero                    u32
//! 136  commits                 16 each: group u32 | zero u32 | commit u64 (0 none, else op + 1): a lower bound
//! ..   directory               64 each, one for every copy of a record, in the order of the body
//! ..   previous directory      64 each: the directory of the flush before, so that its loss has a name
//! body
//! ..   the records' bytes; then, at the next multiple of 4096 of the flush, the second copies of hard states
//! ..   zeros up to the next multiple of 4096
//!
//! directory entry
//! 0    kind                    u32  1 entry, 2 truncation, 3 hard state
//! 4    group                   u32
//! 8    op                      u64  of the entry; the last that stays of a truncation; 0 of a hard state
//! 16   ordinal                 u64  both copies of a hard state bear the same
//! 24   offset                  u32  from the start of the body
//! 28   length                  u32
//! 32   hash                    32   own hash of an entry, else blake3 of the bytes
//! ```

use alloc::vec::Vec;

use bytes::Bytes;

use crate::codec::{ByteReader, ByteWriter, Truncated};
use crate::engine::disk::BLOCK_BYTES;
use crate::engine::record::{Record, RecordKind};
use crate::types::{CommitIndex, Entry, GroupId, Hash, Op, Ordinal, usize_of};

/// Bytes of a flush's head before commits and directories.
pub(in crate::engine) const HEAD_FIXED_BYTES: usize = 136;
pub(in crate::engine) const DIRECTORY_ENTRY_BYTES: usize = 64;
pub(in crate::engine) const COMMIT_BYTES: usize = 16;
const HASHED_FROM: usize = 48;
const MAGIC: [u8; 8] = *b"CHRNFLSH";

/// One line of a directory.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) struct DirectoryEntry {
    pub kind: RecordKind,
    pub group: GroupId,
    pub op: Op,
    pub ordinal: Ordinal,
    pub offset: u32,
    pub length: u32,
    pub hash: Hash,
}

/// What a flush is made from, beside its records.
#[derive(Debug)]
pub(in crate::engine) struct FlushPlan<'a> {
    pub generation: u64,
    pub number: u64,
    pub previous: Hash,
    pub barrier: u64,
    pub commits: &'a [(GroupId, CommitIndex)],
    pub records: &'a [(Ordinal, Record)],
    pub previous_directory: &'a [DirectoryEntry],
}

/// A flush ready to be written.
#[derive(Debug)]
pub(in crate::engine) struct BuiltFlush {
    pub bytes: Vec<u8>,
    pub hash: Hash,
    pub directory: Vec<DirectoryEntry>,
}

/// An upper bound of the length of a flush of `records` with `body` bytes of first copies, `doubled` of them doubled.
pub(in crate::engine) fn flush_bytes_bound(
    commits: usize,
    records: usize,
    previous_records: usize,
    body: usize,
    doubled: usize,
) -> usize {
    let head =
        HEAD_FIXED_BYTES + commits * COMMIT_BYTES + (2 * records + previous_records) * DIRECTORY_ENTRY_BYTES;
    (head + body + doubled + BLOCK_BYTES).next_multiple_of(BLOCK_BYTES)
}

/// Lays out a flush.
pub(in crate::engine) fn build(plan: &FlushPlan<'_>) -> BuiltFlush {
    let doubled = plan.records.iter().filter(|(_, record)| record.kind() == RecordKind::HardState).count();
    let directory_entries = plan.records.len() + doubled + plan.previous_directory.len();
    let head_bytes =
        HEAD_FIXED_BYTES + plan.commits.len() * COMMIT_BYTES + directory_entries * DIRECTORY_ENTRY_BYTES;
    let body_hint: usize = plan.records.iter().map(|(_, record)| record.body_bytes()).sum();

    let mut writer = ByteWriter::with_capacity((head_bytes + body_hint).next_multiple_of(BLOCK_BYTES));
    writer.zeros(head_bytes);
    let directory = put_body(plan.records, head_bytes, &mut writer);
    let body_end = writer.as_slice().len();
    writer.pad_to(BLOCK_BYTES);
    let mut bytes = writer.finish();

    let body_checksum = crc32c::crc32c(&bytes[head_bytes..body_end]);
    let lengths = [bytes.len(), head_bytes, body_end - head_bytes];
    let head = lay_out_head(plan, lengths, body_checksum, &directory);
    let hash = Hash::of(&head[HASHED_FROM..]);
    bytes[..head_bytes].copy_from_slice(&head);
    bytes[16..HASHED_FROM].copy_from_slice(hash.as_bytes());
    BuiltFlush { bytes, hash, directory }
}

/// Appends the records, then the second copies of hard states in blocks of their own; the directory of it all.
fn put_body(
    records: &[(Ordinal, Record)],
    head_bytes: usize,
    writer: &mut ByteWriter,
) -> Vec<DirectoryEntry> {
    let mut directory = Vec::with_capacity(records.len());
    let mut put = |ordinal: Ordinal, record: &Record, writer: &mut ByteWriter| {
        let offset = writer.as_slice().len() - head_bytes;
        match record {
            Record::Entry(entry) => {
                writer.put(&entry.header().to_layout()).put(entry.payload());
            }
            Record::Truncation { .. } => {}
            Record::HardState { state, .. } => {
                writer.put(state);
            }
        }
        directory.push(DirectoryEntry {
            kind: record.kind(),
            group: record.group(),
            op: record.op(),
            ordinal,
            offset: length(offset),
            length: length(record.body_bytes()),
            hash: record.hash(),
        });
    };
    for (ordinal, record) in records {
        put(*ordinal, record, writer);
    }
    let hard_states = records.iter().filter(|(_, record)| record.kind() == RecordKind::HardState);
    for (index, (ordinal, record)) in hard_states.enumerate() {
        if index == 0 {
            writer.pad_to(BLOCK_BYTES);
        }
        put(*ordinal, record, writer);
    }
    directory
}

/// The head, its hash still zero.
fn lay_out_head(
    plan: &FlushPlan<'_>,
    lengths: [usize; 3],
    checksum: u32,
    directory: &[DirectoryEntry],
) -> Vec<u8> {
    let [flush_bytes, head_bytes, body_bytes] = lengths;
    let mut head = ByteWriter::with_capacity(head_bytes);
    head.put(&MAGIC).u64(plan.generation).zeros(32);
    head.u64(plan.generation).u64(plan.number).put(plan.previous.as_bytes()).u64(plan.barrier);
    head.u32(length(flush_bytes)).u32(length(head_bytes)).u32(length(body_bytes)).u32(checksum);
    head.u32(length(plan.commits.len()))
        .u32(length(directory.len()))
        .u32(length(plan.previous_directory.len()));
    head.u32(0);
    for (group, commit) in plan.commits {
        head.u32(group.get()).u32(0).u64(commit.to_layout());
    }
    for entry in directory.iter().chain(plan.previous_directory) {
        head.u32(entry.kind.code()).u32(entry.group.get()).u64(entry.op.get()).u64(entry.ordinal.get());
        head.u32(entry.offset).u32(entry.length).put(entry.hash.as_bytes());
    }
    head.finish()
}

fn length(bytes: usize) -> u32 {
    match u32::try_from(bytes) {
        Ok(length) => length,
        Err(_) => panic!("a flush is bounded far below 4 GiB"),
    }
}

/// A flush read back, its head verified.
#[derive(Clone, Debug)]
pub(in crate::engine) struct FlushHead {
    pub hash: Hash,
    pub number: u64,
    pub previous: Hash,
    pub barrier: u64,
    pub flush_bytes: usize,
    pub commits: Vec<(GroupId, CommitIndex)>,
    pub directory: Vec<DirectoryEntry>,
    pub previous_directory: Vec<DirectoryEntry>,
    body_at: usize,
    body_bytes: usize,
    body_checksum: u32,
}

/// Why the bytes at a place are not a whole flush.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::engine) enum FlushError {
    /// No head of this generation begins here.
    NoHead,
    /// The head is whole; the body is not.
    Body,
}

impl From<Truncated> for FlushError {
    fn from(_: Truncated) -> Self {
        Self::NoHead
    }
}

/// Whether `bytes` begin as a flush of `generation` does.
pub(in crate::engine) fn begins_flush(bytes: &[u8], generation: u64) -> bool {
    let mut reader = ByteReader::new(bytes);
    reader.array() == Ok(MAGIC) && reader.u64() == Ok(generation)
}

/// Reads the head of a flush of `generation` at the front of `bytes`.
///
/// # Errors
/// [`FlushError::NoHead`] when none begins here.
pub(in crate::engine) fn read_head(bytes: &[u8], generation: u64) -> Result<FlushHead, FlushError> {
    let mut reader = ByteReader::new(bytes);
    if reader.array()? != MAGIC || reader.u64()? != generation {
        return Err(FlushError::NoHead);
    }
    let hash = Hash::from_bytes(reader.array()?);
    let generation_hashed = reader.u64()?;
    let number = reader.u64()?;
    let previous = Hash::from_bytes(reader.array()?);
    let barrier = reader.u64()?;
    let mut next = || reader.u32().map(|field| usize_of(u64::from(field)));
    let (flush_bytes, head_bytes, body_bytes) = (next()?, next()?, next()?);
    let body_checksum = reader.u32()?;
    let mut next = || reader.u32().map(|field| usize_of(u64::from(field)));
    let (commits, records, previous_records, _zero) = (next()?, next()?, next()?, next()?);
    let head = bytes.get(HASHED_FROM..head_bytes).ok_or(FlushError::NoHead)?;
    let whole = head_bytes >= HEAD_FIXED_BYTES
        && generation_hashed == generation
        && head_bytes.checked_add(body_bytes).is_some_and(|end| end <= flush_bytes)
        && Hash::of(head) == hash;
    if !whole {
        return Err(FlushError::NoHead);
    }
    let mut reader = ByteReader::new(&bytes[HEAD_FIXED_BYTES..head_bytes]);
    Ok(FlushHead {
        hash,
        number,
        previous,
        barrier,
        flush_bytes,
        commits: (0..commits).map(|_| read_commit(&mut reader)).collect::<Result<_, _>>()?,
        directory: (0..records).map(|_| read_directory(&mut reader)).collect::<Result<_, _>>()?,
        previous_directory: (0..previous_records)
            .map(|_| read_directory(&mut reader))
            .collect::<Result<_, _>>()?,
        body_at: head_bytes,
        body_bytes,
        body_checksum,
    })
}

fn read_commit(reader: &mut ByteReader<'_>) -> Result<(GroupId, CommitIndex), FlushError> {
    let group = GroupId::new(reader.u32()?);
    let _zero = reader.u32()?;
    Ok((group, CommitIndex::from_layout(reader.u64()?)))
}

fn read_directory(reader: &mut ByteReader<'_>) -> Result<DirectoryEntry, FlushError> {
    Ok(DirectoryEntry {
        kind: RecordKind::from_code(reader.u32()?).ok_or(FlushError::NoHead)?,
        group: GroupId::new(reader.u32()?),
        op: Op::new(reader.u64()?),
        ordinal: Ordinal::new(reader.u64()?),
        offset: reader.u32()?,
        length: reader.u32()?,
        hash: Hash::from_bytes(reader.array()?),
    })
}

impl FlushHead {
    /// The records of the flush that begins at the front of `bytes`, in the order of their ordinals within it, hard
    /// states once.
    ///
    /// # Errors
    /// [`FlushError::Body`] when the body is not the one that the head names.
    pub(in crate::engine) fn records(&self, bytes: &Bytes) -> Result<Vec<(Ordinal, Record)>, FlushError> {
        let end = self.body_at + self.body_bytes;
        if bytes.len() < end || crc32c::crc32c(&bytes[self.body_at..end]) != self.body_checksum {
            return Err(FlushError::Body);
        }
        let body = bytes.slice(self.body_at..end);
        let mut records: Vec<(Ordinal, Record)> = Vec::with_capacity(self.directory.len());
        for line in &self.directory {
            // The directory lists first copies before second ones.
            let second_copy = line.kind == RecordKind::HardState
                && records.iter().any(|(ordinal, _)| *ordinal == line.ordinal);
            if !second_copy {
                records.push((line.ordinal, line.record(&body)?));
            }
        }
        Ok(records)
    }
}

impl DirectoryEntry {
    fn record(&self, body: &Bytes) -> Result<Record, FlushError> {
        let from = usize_of(u64::from(self.offset));
        let to = from + usize_of(u64::from(self.length));
        if to > body.len() {
            return Err(FlushError::Body);
        }
        let bytes = body.slice(from..to);
        match self.kind {
            RecordKind::Entry => {
                let entry = Entry::from_layout(&bytes).map_err(|_| FlushError::Body)?;
                if entry.hash() == self.hash { Ok(Record::Entry(entry)) } else { Err(FlushError::Body) }
            }
            RecordKind::Truncation => Ok(Record::Truncation { group: self.group, above: self.op }),
            RecordKind::HardState if Hash::of(&bytes) == self.hash => {
                Ok(Record::HardState { group: self.group, state: bytes })
            }
            RecordKind::HardState => Err(FlushError::Body),
        }
    }
}

/// The end of a sealed segment, written twice in the segment's last blocks.
///
/// ```text
/// 0    magic "CHRNSEAL"        8
/// 8    generation              u64
/// 16   hash                    32   blake3 of bytes 48..length
/// 48   generation              u64
/// 56   last flush number       u64
/// 64   last flush hash         32
/// 96   end                     u64  offset behind the last flush
/// 104  groups                  u32  how many
/// 108  zero                    u32
/// 112  groups                  56 each: group u32 | zero u32 | last op u64 | its ordinal u64 | its hash 32
/// ```
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

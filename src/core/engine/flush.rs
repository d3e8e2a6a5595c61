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
//! 132  place                   u32  the offset of the flush in its segment, in blocks: one that lies elsewhere is none
//! 136  commits                 16 each: group u32 | zero u32 | commit u64 (0 none, else op + 1): a lower bound
//! ..   directory               a line for every copy of a record, in the order of the body
//! ..   previous directory      the directory of the flush before, so that its loss has a name
//! body
//! ..   the records' bytes; then, at the next multiple of 4096 of the flush, the second copies of hard states
//! ..   zeros up to the next multiple of 4096
//!
//! line of a directory
//! 0    kind                    u32  1 entry, 2 truncation, 3 hard state
//! 4    group                   u32
//! 8    ordinal                 u64  both copies of a hard state bear the same
//! 16   offset                  u32  of the record's bytes, from the start of the body
//! 20   length                  u32  of these bytes: the payload of an entry, nothing of a truncation
//! 24   of an entry             176  its header: it survives wherever its payload rots
//!      of a truncation         u64  the last op that stays
//!      of a hard state         32   blake3 of its bytes
//! ```

use alloc::vec::Vec;

use bytes::Bytes;

use crate::codec::{ByteReader, ByteWriter, Truncated};
use crate::engine::disk::BLOCK_BYTES;
use crate::engine::record::{Record, RecordKind};
use crate::types::{
    CommitIndex, ENTRY_HEADER_BYTES, Entry, EntryHeader, GroupId, Hash, Op, Ordinal, u64_of, usize_of,
};

/// Bytes of a flush's head before commits and directories.
pub(in crate::engine) const HEAD_FIXED_BYTES: usize = 136;
pub(in crate::engine) const COMMIT_BYTES: usize = 16;
/// Bytes of a directory's line before what differs by kind.
const LINE_FIXED_BYTES: usize = 24;
const HASH_BYTES: usize = 32;
const HASHED_FROM: usize = 48;
const MAGIC: [u8; 8] = *b"CHRNFLSH";

/// One line of a directory: what a record is, and where its bytes are.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) struct DirectoryLine {
    pub ordinal: Ordinal,
    pub offset: u32,
    pub length: u32,
    pub named: Named,
}

/// What a directory says of a record: all of it, but for the bytes in the body.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) enum Named {
    Entry(EntryHeader),
    Truncation { group: GroupId, above: Op },
    HardState { group: GroupId, hash: Hash },
}

/// Bytes of a directory's line.
pub(in crate::engine) const fn line_bytes(kind: RecordKind) -> usize {
    LINE_FIXED_BYTES
        + match kind {
            RecordKind::Entry => ENTRY_HEADER_BYTES,
            RecordKind::Truncation => 8,
            RecordKind::HardState => HASH_BYTES,
        }
}

/// Bytes of all lines of a directory.
pub(in crate::engine) fn directory_bytes(directory: &[DirectoryLine]) -> usize {
    directory.iter().map(|line| line_bytes(line.kind())).sum()
}

/// What a flush is made from, beside its records.
#[derive(Debug)]
pub(in crate::engine) struct FlushPlan<'a> {
    pub generation: u64,
    /// Its offset in the segment.
    pub at: u64,
    pub number: u64,
    pub previous: Hash,
    pub barrier: u64,
    pub commits: &'a [(GroupId, CommitIndex)],
    pub records: &'a [(Ordinal, Record)],
    pub previous_directory: &'a [DirectoryLine],
}

/// A flush ready to be written.
#[derive(Debug)]
pub(in crate::engine) struct BuiltFlush {
    /// They begin at a multiple of the block in memory.
    pub bytes: Bytes,
    pub hash: Hash,
    pub directory: Vec<DirectoryLine>,
}

/// An upper bound of the length of a flush: `lines` bytes of directories, `body` of first copies, `doubled` of second.
pub(in crate::engine) fn flush_bytes_bound(
    commits: usize,
    lines: usize,
    body: usize,
    doubled: usize,
) -> usize {
    let head = HEAD_FIXED_BYTES + commits * COMMIT_BYTES + lines;
    (head + body + doubled + BLOCK_BYTES).next_multiple_of(BLOCK_BYTES)
}

/// Lays out a flush.
pub(in crate::engine) fn build(plan: &FlushPlan<'_>) -> BuiltFlush {
    let line = |(_, record): &(Ordinal, Record)| {
        let copies = if record.kind() == RecordKind::HardState { 2 } else { 1 };
        copies * line_bytes(record.kind())
    };
    let lines = plan.records.iter().map(line).sum::<usize>() + directory_bytes(plan.previous_directory);
    let head_bytes = HEAD_FIXED_BYTES + plan.commits.len() * COMMIT_BYTES + lines;
    let hard_states = plan.records.iter().filter(|(_, record)| record.kind() == RecordKind::HardState);
    let doubled: usize = hard_states.map(|(_, record)| record.body_bytes()).sum();
    let body: usize = plan.records.iter().map(|(_, record)| record.body_bytes()).sum();
    let bound = flush_bytes_bound(plan.commits.len(), lines, body, doubled) + BLOCK_BYTES;

    let mut writer = ByteWriter::aligned(bound, BLOCK_BYTES);
    writer.zeros(head_bytes);
    let directory = put_body(plan.records, head_bytes, &mut writer);
    let body_end = writer.as_slice().len();
    writer.pad_to(BLOCK_BYTES);
    let bytes = writer.as_mut_slice();

    let body_checksum = crc32c::crc32c(&bytes[head_bytes..body_end]);
    let lengths = [bytes.len(), head_bytes, body_end - head_bytes];
    let head = lay_out_head(plan, lengths, body_checksum, &directory);
    let hash = Hash::of(&head[HASHED_FROM..]);
    bytes[..head_bytes].copy_from_slice(&head);
    bytes[16..HASHED_FROM].copy_from_slice(hash.as_bytes());
    BuiltFlush { bytes: writer.into_bytes(), hash, directory }
}

/// Appends the records, then the second copies of hard states in blocks of their own; the directory of it all.
fn put_body(records: &[(Ordinal, Record)], head_bytes: usize, writer: &mut ByteWriter) -> Vec<DirectoryLine> {
    let mut directory = Vec::with_capacity(records.len());
    let mut put = |ordinal: Ordinal, record: &Record, writer: &mut ByteWriter| {
        let offset = writer.as_slice().len() - head_bytes;
        let named = match record {
            Record::Entry(entry) => {
                writer.put(entry.payload());
                Named::Entry(*entry.header())
            }
            Record::Truncation { group, above } => Named::Truncation { group: *group, above: *above },
            Record::HardState { group, state } => {
                writer.put(state);
                Named::HardState { group: *group, hash: Hash::of(state) }
            }
        };
        directory.push(DirectoryLine {
            ordinal,
            offset: length(offset),
            length: length(record.body_bytes()),
            named,
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
    directory: &[DirectoryLine],
) -> Vec<u8> {
    let [flush_bytes, head_bytes, body_bytes] = lengths;
    let mut head = ByteWriter::with_capacity(head_bytes);
    head.put(&MAGIC).u64(plan.generation).zeros(32);
    head.u64(plan.generation).u64(plan.number).put(plan.previous.as_bytes()).u64(plan.barrier);
    head.u32(length(flush_bytes)).u32(length(head_bytes)).u32(length(body_bytes)).u32(checksum);
    head.u32(length(plan.commits.len()))
        .u32(length(directory.len()))
        .u32(length(plan.previous_directory.len()));
    head.u32(place(plan.at));
    for (group, commit) in plan.commits {
        head.u32(group.get()).u32(0).u64(commit.to_layout());
    }
    for line in directory.iter().chain(plan.previous_directory) {
        head.u32(line.kind().code()).u32(line.group().get()).u64(line.ordinal.get());
        head.u32(line.offset).u32(line.length);
        match &line.named {
            Named::Entry(header) => head.put(&header.to_layout()),
            Named::Truncation { above, .. } => head.u64(above.get()),
            Named::HardState { hash, .. } => head.put(hash.as_bytes()),
        };
    }
    head.finish()
}

pub(in crate::engine) fn length(bytes: usize) -> u32 {
    match u32::try_from(bytes) {
        Ok(length) => length,
        Err(_) => panic!("a flush is bounded far below 4 GiB"),
    }
}

/// The offset of a flush in its segment, as its head tells it.
fn place(at: u64) -> u32 {
    match u32::try_from(at / u64_of(BLOCK_BYTES)) {
        Ok(place) => place,
        Err(_) => panic!("a segment is bounded far below 16 TiB"),
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
    pub directory: Vec<DirectoryLine>,
    /// Lines of the directory before, and where they begin.
    previous_directory: (usize, usize),
    body_at: usize,
    body_bytes: usize,
    body_checksum: u32,
}

/// No head of this generation begins here.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in crate::engine) struct NoHead;

impl From<Truncated> for NoHead {
    fn from(_: Truncated) -> Self {
        Self
    }
}

/// Whether `bytes` begin as a flush of `generation` does.
pub(in crate::engine) fn begins_flush(bytes: &[u8], generation: u64) -> bool {
    let mut reader = ByteReader::new(bytes);
    reader.array() == Ok(MAGIC) && reader.u64() == Ok(generation)
}

/// Reads the head of a flush of `generation`, written for offset `at` of its segment, at the front of `bytes`.
///
/// # Errors
/// [`NoHead`].
pub(in crate::engine) fn read_head(bytes: &[u8], generation: u64, at: u64) -> Result<FlushHead, NoHead> {
    let mut reader = ByteReader::new(bytes);
    if reader.array()? != MAGIC || reader.u64()? != generation {
        return Err(NoHead);
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
    let (commits, records, previous_records) = (next()?, next()?, next()?);
    let found_place = reader.u32()?;
    let head = bytes.get(HASHED_FROM..head_bytes).ok_or(NoHead)?;
    let whole = head_bytes >= HEAD_FIXED_BYTES
        && generation_hashed == generation
        && found_place == place(at)
        && flush_bytes.is_multiple_of(BLOCK_BYTES)
        && head_bytes.checked_add(body_bytes).is_some_and(|end| end <= flush_bytes)
        && Hash::of(head) == hash;
    if !whole {
        return Err(NoHead);
    }
    let mut reader = ByteReader::new(&bytes[HEAD_FIXED_BYTES..head_bytes]);
    let commits = (0..commits).map(|_| read_commit(&mut reader)).collect::<Result<_, _>>()?;
    let directory = (0..records).map(|_| read_line(&mut reader)).collect::<Result<_, _>>()?;
    Ok(FlushHead {
        hash,
        number,
        previous,
        barrier,
        flush_bytes,
        commits,
        directory,
        previous_directory: (head_bytes - reader.rest().len(), previous_records),
        body_at: head_bytes,
        body_bytes,
        body_checksum,
    })
}

fn read_commit(reader: &mut ByteReader<'_>) -> Result<(GroupId, CommitIndex), NoHead> {
    let group = GroupId::new(reader.u32()?);
    let _zero = reader.u32()?;
    Ok((group, CommitIndex::from_layout(reader.u64()?)))
}

fn read_line(reader: &mut ByteReader<'_>) -> Result<DirectoryLine, NoHead> {
    let kind = RecordKind::from_code(reader.u32()?).ok_or(NoHead)?;
    let group = GroupId::new(reader.u32()?);
    let ordinal = Ordinal::new(reader.u64()?);
    let (offset, length) = (reader.u32()?, reader.u32()?);
    let named = match kind {
        RecordKind::Entry => {
            let header = reader.take(ENTRY_HEADER_BYTES)?;
            Named::Entry(EntryHeader::from_layout(header).map_err(|_| NoHead)?)
        }
        RecordKind::Truncation => Named::Truncation { group, above: Op::new(reader.u64()?) },
        RecordKind::HardState => Named::HardState { group, hash: Hash::from_bytes(reader.array()?) },
    };
    Ok(DirectoryLine { ordinal, offset, length, named })
}

/// What became of a record. A truncation has no bytes to lose.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) enum Found {
    Whole(Record),
    /// The payload is not what was written; the directory holds the header.
    FaultyEntry(EntryHeader),
    /// The bytes are not what was written, in no copy.
    LostPromise(GroupId),
}

impl Found {
    pub(in crate::engine) fn is_whole(&self) -> bool {
        matches!(self, Self::Whole(_))
    }
}

impl FlushHead {
    /// Whether the body is the one that the head names. `bytes` begin with the flush.
    pub(in crate::engine) fn is_body_whole(&self, bytes: &[u8]) -> bool {
        let body = bytes.get(self.body_at..self.body_at + self.body_bytes);
        body.is_some_and(|body| crc32c::crc32c(body) == self.body_checksum)
    }

    /// The directory of the flush before; `bytes` begin with this one.
    pub(in crate::engine) fn previous_directory(&self, bytes: &[u8]) -> Result<Vec<DirectoryLine>, NoHead> {
        let (at, lines) = self.previous_directory;
        let mut reader = ByteReader::new(bytes.get(at..self.body_at).ok_or(NoHead)?);
        (0..lines).map(|_| read_line(&mut reader)).collect()
    }

    /// The records of the flush that begins at the front of `bytes`.
    pub(in crate::engine) fn records(&self, bytes: &Bytes) -> Vec<(Ordinal, Found)> {
        records(&self.directory, bytes, self.body_at)
    }
}

/// The records that `directory` names, in the order of their ordinals, hard states once; `bytes` begin with the flush,
/// whose body begins at `body_at`.
pub(in crate::engine) fn records(
    directory: &[DirectoryLine],
    bytes: &Bytes,
    body_at: usize,
) -> Vec<(Ordinal, Found)> {
    let mut records: Vec<(Ordinal, Found)> = Vec::with_capacity(directory.len());
    for line in directory {
        let found = line.find(bytes, body_at);
        // The directory lists first copies before second ones.
        let is_copied = line.kind() == RecordKind::HardState;
        let mut before = records.iter_mut().filter(|_| is_copied);
        match before.find(|(ordinal, _)| *ordinal == line.ordinal) {
            Some((_, first)) if !first.is_whole() => *first = found,
            Some(_) => {}
            None => records.push((line.ordinal, found)),
        }
    }
    records
}

/// Where the second copies of hard states begin in the body, if there are any.
pub(in crate::engine) fn second_copies(directory: &[DirectoryLine]) -> Option<usize> {
    let is_second = |(place, line): &(usize, &DirectoryLine)| {
        line.kind() == RecordKind::HardState
            && directory[..*place].iter().any(|before| before.ordinal == line.ordinal)
    };
    let (_, second) = directory.iter().enumerate().find(is_second)?;
    Some(usize_of(u64::from(second.offset)))
}

impl DirectoryLine {
    pub(in crate::engine) fn kind(&self) -> RecordKind {
        match self.named {
            Named::Entry(_) => RecordKind::Entry,
            Named::Truncation { .. } => RecordKind::Truncation,
            Named::HardState { .. } => RecordKind::HardState,
        }
    }

    fn group(&self) -> GroupId {
        self.named.group()
    }

    fn find(&self, flush: &Bytes, body_at: usize) -> Found {
        let from = body_at.saturating_add(usize_of(u64::from(self.offset)));
        let to = from.saturating_add(usize_of(u64::from(self.length)));
        let bytes = if to <= flush.len() { flush.slice(from..to) } else { Bytes::new() };
        match &self.named {
            Named::Entry(header) => match Entry::verified(*header, bytes) {
                Ok(entry) => Found::Whole(Record::Entry(entry)),
                Err(_) => Found::FaultyEntry(*header),
            },
            Named::Truncation { group, above } => {
                Found::Whole(Record::Truncation { group: *group, above: *above })
            }
            Named::HardState { group, hash } if Hash::of(&bytes) == *hash => {
                Found::Whole(Record::HardState { group: *group, state: bytes })
            }
            Named::HardState { group, .. } => Found::LostPromise(*group),
        }
    }
}

impl Named {
    pub(in crate::engine) fn group(&self) -> GroupId {
        match self {
            Self::Entry(header) => header.group(),
            Self::Truncation { group, .. } | Self::HardState { group, .. } => *group,
        }
    }
}

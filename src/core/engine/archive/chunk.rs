//! A chunk of a group's archive: a run of committed entries, sealed.
//!
//! What a chunk is made of follows from the log alone, so it is the same byte for byte on every replica, and its name says
//! which bytes those are: the hash covers the head, the head the index and the last entry's hash, and entries chain.
//! Headers are enough to know a name, so a chunk can be named although payloads of it are lost here.
//!
//! ```text
//! 0     magic "CHRNARCH"      8
//! 8     hash                 32   blake3 of bytes 40..4096: the name
//! 40    group                u32
//! 44    entries              u32
//! 48    number               u64  from 1
//! 56    first op             u64
//! 64    parent               32   hash of the entry below the first
//! 96    last                 32   hash of the last entry
//! 128   index                32   blake3 of the index
//! 160   bytes                u64  length of the file
//! 168   earlier chunks       u32  how many of their names follow
//! 172   zeros                4
//! 176   names                64 each: number, last op, last time, bytes (u64 each), hash; descending
//! 4096  index                16 an entry: its time and where it begins, u64 each
//! ..    entries              header and payload, one behind the other; zeros up to the next block
//! ```
//!
//! Chunk n names n - 1, and of that the numbers left when the lowest bits go one by one, as a Fenwick tree has them (Fenwick
//! 1994): any earlier chunk is found by reading as many heads as its number has bits, and nothing else keeps a list of them.

use alloc::vec::Vec;
use core::ops::Range;

use bytes::Bytes;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{ByteReader, ByteWriter, Truncated};
use crate::engine::disk::BLOCK_BYTES;
use crate::types::{
    Blob, ENTRY_HEADER_BYTES, Entry, EntryHeader, GroupId, Hash, Op, Timestamp, u64_of, usize_of,
};

const MAGIC: [u8; 8] = *b"CHRNARCH";
/// Bytes of the head: one block.
pub(in crate::engine) const HEAD_BYTES: usize = BLOCK_BYTES;
const HASHED_FROM: usize = 40;
const INDEX_LINE_BYTES: usize = 16;
/// A head has room for so many names; a number has no more bits.
const NAMES_MAX: usize = 60;
/// No op and no number is higher.
const COUNT_MAX: u64 = 1 << 62;
/// No chunk is longer: its limit is far below, and one entry may reach beyond that.
pub(in crate::engine) const CHUNK_FILE_BYTES_MAX: u64 = 1 << 30;

/// Which chunk of a group's archive, and what it holds: the same everywhere that it lies.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct ChunkName {
    /// From 1.
    pub number: u64,
    /// It ends with this entry.
    pub last_op: Op,
    /// Consensus time of that.
    pub last_time: Timestamp,
    /// Length of the file.
    pub bytes: u64,
    /// Blake3 of the head.
    pub hash: Hash,
}

notation_struct!("chunk-name" => ChunkName { number, last_op, last_time, bytes, hash });

/// A place in a group's log, as one asks for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum At {
    /// The entry of this op.
    Op(Op),
    /// The first entry of this consensus time or later.
    Time(Timestamp),
}

notation_enum!(At { "op" => Op(op), "time" => Time(time) });

/// What is looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Sought {
    /// Which entry.
    pub at: At,
    /// Entries that follow it in the log come along while they have no more bytes than this together: readers go on from where
    /// they are.
    pub room: u32,
}

notation_struct!("sought" => Sought { at, room });

impl From<At> for Sought {
    /// One entry alone.
    fn from(at: At) -> Self {
        Self { at, room: 0 }
    }
}

/// What the head of a chunk says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) struct ChunkHead {
    pub group: GroupId,
    pub name: ChunkName,
    pub first_op: Op,
    /// Hash of the entry below the first.
    pub parent: Hash,
    last: Hash,
    index: Hash,
    entries: u32,
    /// Names of earlier chunks, descending.
    pub earlier: Vec<ChunkName>,
}

/// An entry that is to be sealed, with its payload if that is here.
pub type Sealed = (EntryHeader, Option<Bytes>);

/// Bytes that an entry takes in a chunk; what the limit of a chunk is measured in.
pub fn archived_bytes(header: &EntryHeader) -> u64 {
    u64_of(ENTRY_HEADER_BYTES) + u64::from(header.payload_bytes())
}

impl At {
    pub(in crate::engine) fn is_within(self, name: &ChunkName) -> bool {
        match self {
            Self::Op(op) => op <= name.last_op,
            Self::Time(time) => time <= name.last_time,
        }
    }
}

impl ChunkName {
    /// Whether a node could have given it; what lies on a disk or comes from a peer is not believed before.
    pub(in crate::engine) fn is_sound(&self) -> bool {
        let bytes = HEAD_BYTES + BLOCK_BYTES;
        (1..=COUNT_MAX).contains(&self.number)
            && self.last_op.get() <= COUNT_MAX
            && (u64_of(bytes)..=CHUNK_FILE_BYTES_MAX).contains(&self.bytes)
            && self.bytes.is_multiple_of(u64_of(BLOCK_BYTES))
    }

    fn put(&self, writer: &mut ByteWriter) {
        writer.u64(self.number).u64(self.last_op.get()).u64(self.last_time.as_nanos()).u64(self.bytes);
        writer.put(self.hash.as_bytes());
    }

    fn take(reader: &mut ByteReader<'_>) -> Result<Self, Truncated> {
        Ok(Self {
            number: reader.u64()?,
            last_op: Op::new(reader.u64()?),
            last_time: Timestamp::from_nanos(reader.u64()?),
            bytes: reader.u64()?,
            hash: Hash::from_bytes(reader.array()?),
        })
    }
}

/// Seals the chunk that follows `earlier`, the names that it is to carry; its name, its file, and whether all of it is there:
/// where a payload is not here zeros stand.
///
/// # Panics
/// When `entries` is empty.
pub(in crate::engine) fn seal(
    group: GroupId,
    earlier: &[ChunkName],
    entries: &[Sealed],
) -> (ChunkName, Blob, bool) {
    let (Some((first, _)), Some((last, _))) = (entries.first(), entries.last()) else {
        panic!("a chunk has entries");
    };
    let index_bytes = entries.len() * INDEX_LINE_BYTES;
    let mut at = HEAD_BYTES + index_bytes;
    let mut index = ByteWriter::with_capacity(index_bytes);
    for (header, _) in entries {
        index.u64(header.timestamp().as_nanos()).u64(u64_of(at));
        at += usize_of(archived_bytes(header));
    }
    let bytes = at.next_multiple_of(BLOCK_BYTES);

    let mut head = ByteWriter::with_capacity(HEAD_BYTES);
    let number = earlier.first().map_or(1, |before| before.number + 1);
    head.u32(group.get()).u32(u32::try_from(entries.len()).unwrap_or(u32::MAX)).u64(number);
    head.u64(first.op().get()).put(first.parent().as_bytes()).put(last.hash().as_bytes());
    head.put(Hash::of(index.as_slice()).as_bytes()).u64(u64_of(bytes));
    head.u32(u32::try_from(earlier.len()).unwrap_or(u32::MAX)).zeros(4);
    earlier.iter().for_each(|name| name.put(&mut head));
    head.zeros(HEAD_BYTES - HASHED_FROM - head.as_slice().len());
    let hash = Hash::of(head.as_slice());

    let mut file = ByteWriter::aligned(bytes, BLOCK_BYTES);
    file.put(&MAGIC).put(hash.as_bytes()).put(head.as_slice()).put(index.as_slice());
    let mut is_whole = true;
    for (header, payload) in entries {
        file.put(&header.to_layout());
        match payload {
            Some(payload) => file.put(payload),
            None => {
                is_whole = false;
                file.zeros(usize_of(u64::from(header.payload_bytes())))
            }
        };
    }
    file.pad_to(BLOCK_BYTES);
    let name =
        ChunkName { number, last_op: last.op(), last_time: last.timestamp(), bytes: u64_of(bytes), hash };
    (name, Blob(file.into_bytes()), is_whole)
}

/// The names that the chunk behind `own` carries, when `own` carries `earlier`: its own, and of what its lowest bit does not
/// stand for those that are in its list.
pub(in crate::engine) fn names_after(own: ChunkName, earlier: &[ChunkName]) -> Vec<ChunkName> {
    let mut names = Vec::from([own]);
    let mut number = own.number & own.number.saturating_sub(1);
    while let Some(name) = earlier.iter().find(|name| name.number == number) {
        names.push(*name);
        number &= number - 1;
    }
    names
}

impl ChunkHead {
    /// Reads the head of a chunk; what lies behind it is not looked at. `None` when it is not as it was sealed.
    pub(in crate::engine) fn read(file: &[u8]) -> Option<Self> {
        let head = file.get(..HEAD_BYTES)?;
        let mut reader = ByteReader::new(head);
        if reader.array().ok()? != MAGIC {
            return None;
        }
        let hash = Hash::from_bytes(reader.array().ok()?);
        if Hash::of(reader.rest()) != hash {
            return None;
        }
        let head = Self::fields(&mut reader, hash).ok()?;
        let names = &head.earlier;
        let descends = names.is_sorted_by(|above, below| above.number > below.number);
        let are_sound = head.name.is_sound() && names.iter().all(ChunkName::is_sound);
        let before = names.first().map_or(0, |before| before.number);
        (are_sound && descends && before == head.name.number - 1).then_some(head)
    }

    /// All but the last op and time, which only the index tells.
    fn fields(reader: &mut ByteReader<'_>, hash: Hash) -> Result<Self, Truncated> {
        let (group, entries, number) = (GroupId::new(reader.u32()?), reader.u32()?, reader.u64()?);
        let first_op = Op::new(reader.u64()?);
        let parent = Hash::from_bytes(reader.array()?);
        let (last, index) = (Hash::from_bytes(reader.array()?), Hash::from_bytes(reader.array()?));
        let (bytes, names) = (reader.u64()?, reader.u32()?);
        reader.take(4)?;
        let names = usize_of(u64::from(names)).min(NAMES_MAX);
        let earlier = (0..names).map(|_| ChunkName::take(reader)).collect::<Result<_, _>>()?;
        let last_op = Op::new(first_op.get().saturating_add(u64::from(entries)).saturating_sub(1));
        let name = ChunkName { number, last_op, last_time: Timestamp::default(), bytes, hash };
        Ok(Self { group, name, first_op, parent, last, index, entries, earlier })
    }

    /// Whether it is the head of the chunk that bears this name.
    pub(in crate::engine) fn is_of(&self, group: GroupId, name: &ChunkName) -> bool {
        self.group == group && self.name.hash == name.hash && self.name.number == name.number
    }

    /// The earlier chunk in which `at` is, or through which the way to it goes: the lowest that reaches so far.
    pub(in crate::engine) fn earlier_with(&self, at: At) -> Option<ChunkName> {
        self.earlier.iter().rev().find(|name| at.is_within(name)).copied()
    }

    /// Bytes of the file that hold head and index.
    pub(in crate::engine) fn index_end(&self) -> usize {
        HEAD_BYTES + usize_of(u64::from(self.entries)) * INDEX_LINE_BYTES
    }

    /// Where the entry lies that is sought, and those behind it for which there is room, when `file` begins with head and index;
    /// the op of the first. `None` when the index is not as it was sealed.
    pub(in crate::engine) fn find(&self, sought: Sought, file: &[u8]) -> Option<(Op, Vec<Range<u64>>)> {
        let Sought { at, room } = sought;
        let lines = self.lines(file)?;
        let index = match at {
            At::Op(op) => usize_of(op.get().checked_sub(self.first_op.get())?),
            At::Time(time) => lines.partition_point(|(earlier, _)| *earlier < time),
        };
        let ends = lines.iter().skip(1).map(|(_, from)| *from).chain([self.name.bytes]);
        let mut places = lines.iter().map(|(_, from)| *from).zip(ends).map(|(from, to)| from..to).skip(index);
        let first = places.next()?;
        let end = first.end.saturating_add(u64::from(room));
        let mut found = Vec::from([first]);
        found.extend(places.take_while(|place| place.end <= end));
        let op = Op::new(self.first_op.get() + u64_of(index));
        let are_sound = found.iter().all(|place| place.start < place.end && place.end <= self.name.bytes);
        are_sound.then_some((op, found))
    }

    fn lines(&self, file: &[u8]) -> Option<Vec<(Timestamp, u64)>> {
        let index = file.get(HEAD_BYTES..self.index_end())?;
        if Hash::of(index) != self.index {
            return None;
        }
        let mut reader = ByteReader::new(index);
        let mut line = || Some((Timestamp::from_nanos(reader.u64().ok()?), reader.u64().ok()?));
        (0..self.entries).map(|_| line()).collect()
    }
}

/// The entry that lies at `place` of a chunk, of whose bytes `read` begin at `from`; `None` when it is not as it was sealed.
pub(in crate::engine) fn entry_in(
    read: &Bytes,
    from: u64,
    place: &Range<u64>,
    group: GroupId,
    op: Op,
) -> Option<Entry> {
    let (start, end) = (usize_of(place.start.checked_sub(from)?), usize_of(place.end.checked_sub(from)?));
    let bytes = read.get(start..end.min(read.len()))?;
    let header = EntryHeader::from_layout(bytes).ok()?;
    let length = usize_of(archived_bytes(&header));
    let payload = bytes.get(ENTRY_HEADER_BYTES..length)?;
    let is_the_one = header.group() == group && header.op() == op;
    Entry::verified(header, read.slice_ref(payload)).ok().filter(|_| is_the_one)
}

/// Reads a whole chunk: its head, with its whole name, when every byte is as it was sealed.
pub(in crate::engine) fn open(group: GroupId, file: &Bytes) -> Option<ChunkHead> {
    let mut head = ChunkHead::read(file)?;
    let lines = head.lines(file)?;
    let mut parent = head.parent;
    let mut at = u64_of(head.index_end());
    let is_its_own = head.group == group && head.name.bytes == u64_of(file.len()) && !lines.is_empty();
    if !is_its_own {
        return None;
    }
    for (op, (time, from)) in (head.first_op.get()..).map(Op::new).zip(&lines) {
        let entry = entry_in(file, 0, &(*from..head.name.bytes), group, op)?;
        let header = entry.header();
        if *from != at || header.parent() != parent || header.timestamp() != *time {
            return None;
        }
        (parent, at) = (header.hash(), at + archived_bytes(header));
        head.name.last_time = *time;
    }
    let padding = file.get(usize_of(at)..)?;
    (parent == head.last && padding.len() < BLOCK_BYTES && padding.iter().all(|byte| *byte == 0))
        .then_some(head)
}

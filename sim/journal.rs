//! A decoder of the journal, written from the page on its layout at the top of the engine's `flush.rs` (of snapshots, at
//! that of `snapshot_file.rs`) and from nothing else of the engine's: what the engine writes is judged by what the page says.

use std::ops::Range;

use bytes::Bytes;
use chronon_core::engine::FileId;
use chronon_core::types::{GroupId, Hash, Op};

use crate::disk::DiskImage;
use crate::fields::Fields;

/// A flush as it lies on a disk.
#[derive(Clone, Debug)]
pub(crate) struct Flush {
    pub generation: u64,
    /// Length of the head.
    pub head: usize,
    /// Length of head and body: what lies behind them is padding and says nothing.
    pub meant: usize,
    pub number: u64,
    pub hash: Hash,
    pub previous: Hash,
    /// The flush says that every one up to this number was durable when it was built.
    pub barrier: u64,
    /// In the order of the directory; a hard state's second copy is left out.
    pub records: Vec<Record>,
}

/// A record of a group.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub group: GroupId,
    pub ordinal: u64,
    pub kind: RecordKind,
}

#[derive(Clone, Debug)]
pub(crate) enum RecordKind {
    Entry(EntryRecord),
    /// Everything above this op left the log.
    Truncation(u64),
    /// View and log view were promised; every op up to `commit` was known to be committed then.
    Promise {
        promise: Promise,
        commit: u64,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct EntryRecord {
    pub op: u64,
    pub hash: Hash,
    pub parent: Hash,
    pub payload: Payload,
    /// Where the payload begins in the flush.
    pub at: usize,
}

/// What an entry holds.
#[derive(Clone, Debug)]
pub(crate) struct Payload {
    /// Whether it is a batch of commands.
    pub is_commands: bool,
    pub bytes: Bytes,
}

#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Promise {
    pub view: u64,
    pub log_view: u64,
}

/// Entries that hashed to what they say. Each is written by every replica, and the same bytes hash to the same.
#[derive(Clone, Debug)]
pub(crate) struct Proven(Vec<ProvenEntry>);

#[derive(Clone, Debug, Default)]
struct ProvenEntry {
    header: Bytes,
    payload: Bytes,
}

impl ProvenEntry {
    fn is(&self, header: &[u8], payload: &[u8]) -> bool {
        self.header == header && self.payload == payload
    }
}

/// Entries that are remembered: replicas write the same one within a short time.
const PROVEN_MAX: usize = 64;

impl Default for Proven {
    fn default() -> Self {
        Self(vec![ProvenEntry::default(); PROVEN_MAX])
    }
}

impl Proven {
    /// The place of the entries with this hash.
    fn place(&mut self, hash: Hash) -> &mut ProvenEntry {
        &mut self.0[usize::from(hash.as_bytes()[0]) % PROVEN_MAX]
    }
}

/// The generation of a flush or of a segment's footer, in clear; zero where there is none.
pub(crate) fn generation(data: &[u8]) -> u64 {
    data.get(8..16).and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// Reads what was written into a segment at `offset`: a flush, or the footer of a sealed segment (`None`).
///
/// # Errors
/// What of the page it breaks.
pub(crate) fn read(data: &Bytes, offset: u64, proven: &mut Proven) -> Result<Option<Flush>, String> {
    let head = Fields(data);
    match head.array::<8>(0)? {
        b"CHRNSEAL" => return Ok(None),
        b"CHRNFLSH" => {}
        other => return Err(format!("it begins with {:?}", String::from_utf8_lossy(other))),
    }
    let generation = head.u64(8)?;
    let hash = head.hash(16)?;
    let (length, head_bytes, body_bytes) = (head.usize(104)?, head.usize(108)?, head.usize(112)?);
    if length != data.len() || !length.is_multiple_of(BLOCK) {
        return Err(format!("it says that it has {length} bytes, and has {}", data.len()));
    }
    if !(FIXED..=length).contains(&head_bytes) || body_bytes > length - head_bytes {
        return Err(format!("a head of {head_bytes} and a body of {body_bytes} bytes do not fit {length}"));
    }
    if blake3::hash(&data[HASHED_FROM..head_bytes]).as_bytes() != hash.as_bytes() {
        return Err("its hash is wrong".to_owned());
    }
    if head.u64(48)? != generation {
        return Err("its two generations differ".to_owned());
    }
    let body = head_bytes..head_bytes + body_bytes;
    if crc32c::crc32c(&data[body.clone()]) != head.u32(116)? {
        return Err("its body's checksum is wrong".to_owned());
    }
    let (commits, records) = (head.usize(120)?, head.usize(124)?);
    if head.usize(132)? as u64 * BLOCK as u64 != offset {
        return Err(format!("it says that it lies at block {}", head.usize(132)?));
    }
    let mut line = FIXED + commits * COMMIT;
    let mut flush = Flush {
        generation,
        head: head_bytes,
        meant: head_bytes + body_bytes,
        number: head.u64(56)?,
        hash,
        previous: head.hash(64)?,
        barrier: head.u64(96)?,
        records: Vec::with_capacity(records),
    };
    for _ in 0..records {
        let (record, bytes) = read_line(data, line, &body, &flush.records, proven)?;
        flush.records.extend(record);
        line += bytes;
    }
    Ok(Some(flush))
}

/// The record that the directory's line at `at` describes, `None` for the second copy of one that was read; and the
/// length of the line.
fn read_line(
    data: &Bytes,
    at: usize,
    body: &Range<usize>,
    before: &[Record],
    proven: &mut Proven,
) -> Result<(Option<Record>, usize), String> {
    let head = Fields(data);
    let (group, ordinal) = (GroupId::new(head.u32(at + 4)?), head.u64(at + 8)?);
    let (offset, length) = (head.usize(at + 16)?, head.usize(at + 20)?);
    if offset.checked_add(length).is_none_or(|end| end > body.len()) {
        return Err(format!("the record with ordinal {ordinal} lies outside the body"));
    }
    let place = body.start + offset..body.start + offset + length;
    let rest = at + LINE;
    let (kind, line) = match head.u32(at)? {
        1 => {
            let entry = read_entry(data, rest, place, proven)?;
            if head.u32(rest + 152)? != group.get() {
                return Err(format!("the directory calls the entry of op {} one of {group}", entry.op));
            }
            (RecordKind::Entry(entry), LINE + ENTRY_HEADER)
        }
        2 => (RecordKind::Truncation(head.u64(rest)?), LINE + 8),
        3 => {
            let (bytes, line) = (&data[place], LINE + 32);
            if blake3::hash(bytes).as_bytes() != head.hash(rest)?.as_bytes() {
                return Err(format!("the hard state with ordinal {ordinal} has another hash"));
            }
            if before.iter().any(|record| record.ordinal == ordinal) {
                return Ok((None, line));
            }
            let state = Fields(bytes);
            let promise = Promise { view: state.u64(0)?, log_view: state.u64(8)? };
            (RecordKind::Promise { promise, commit: state.u64(16)? }, line)
        }
        other => return Err(format!("the record with ordinal {ordinal} is of kind {other}")),
    };
    Ok((Some(Record { group, ordinal, kind }), line))
}

/// An entry: its header of 176 bytes in the directory, its payload in the body.
fn read_entry(
    data: &Bytes,
    at: usize,
    place: Range<usize>,
    proven: &mut Proven,
) -> Result<EntryRecord, String> {
    let bytes = data
        .get(at..at + ENTRY_HEADER)
        .ok_or_else(|| format!("it ends before byte {}", at + ENTRY_HEADER))?;
    let header = Fields(bytes);
    let (hash, parent, payload_hash) = (header.hash(0)?, header.hash(32)?, header.hash(64)?);
    let op = header.u64(136)?;
    let payload_bytes = header.usize(156)?;
    let is_commands = header.array::<1>(160)? == &[COMMANDS];
    if place.len() != payload_bytes {
        return Err(format!("the entry of op {op} says {payload_bytes} bytes, and has {}", place.len()));
    }
    let at_in_flush = place.start;
    let payload = data.slice(place);
    let known = proven.place(hash);
    if !known.is(bytes, &payload) {
        if blake3::hash(&bytes[32..]).as_bytes() != hash.as_bytes()
            || blake3::hash(&payload).as_bytes() != payload_hash.as_bytes()
        {
            return Err(format!("the entry of op {op} does not hash to what it says"));
        }
        *known = ProvenEntry { header: data.slice(at..at + ENTRY_HEADER), payload: payload.clone() };
    }
    let payload = Payload { is_commands, bytes: payload };
    Ok(EntryRecord { op, hash, parent, payload, at: at_in_flush })
}

/// A flush in its place on a disk, by its head alone.
#[derive(Clone, Debug)]
pub(crate) struct Placed {
    pub file: FileId,
    pub offset: u64,
    pub generation: u64,
    pub number: u64,
    pub barrier: u64,
    /// All of it.
    pub data: Bytes,
}

/// The flushes of the last use of each segment of a disk.
pub(crate) fn on_disk(disk: &DiskImage) -> Vec<Placed> {
    let segments = disk.files().filter(|(file, _)| matches!(file, FileId::Segment(_)));
    segments.flat_map(|(file, length)| in_file(file, disk.read(file, 0, length as usize))).collect()
}

fn in_file(file: FileId, bytes: Option<Bytes>) -> Vec<Placed> {
    let bytes = bytes.unwrap_or_default();
    let flush_at = |offset: usize| {
        let head = Fields(bytes.get(offset..)?);
        let is_flush = head.array::<8>(0).ok()? == b"CHRNFLSH";
        let data = bytes.get(offset..offset.checked_add(head.usize(104).ok()?)?).filter(|_| is_flush)?;
        let (generation, number, barrier) = (head.u64(8).ok()?, head.u64(56).ok()?, head.u64(96).ok()?);
        let (offset, data) = (offset as u64, bytes.slice_ref(data));
        Some(Placed { file, offset, generation, number, barrier, data })
    };
    let mut flushes: Vec<Placed> = (0..bytes.len()).step_by(BLOCK).filter_map(flush_at).collect();
    // A later use goes on behind the end of an earlier one, or begins the file anew: what lies behind a later one is a ghost.
    let mut newest = 0;
    flushes.retain(|flush| {
        newest = newest.max(flush.generation);
        flush.generation == newest
    });
    flushes
}

/// Which snapshot a file with these bytes holds chunks of, and up to which op it goes.
pub(crate) fn snapshot_named(bytes: &[u8]) -> Option<(GroupId, Op)> {
    let head = Fields(bytes);
    let is_chunk = head.array::<8>(0).ok()? == b"CHRNSNAP";
    let named = (GroupId::new(head.u32(48).ok()?), Op::new(head.u64(40).ok()?));
    is_chunk.then_some(named)
}

/// A command of a batch: whose, and which.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct CommandId {
    pub client: u128,
    pub session: u64,
    pub number: u64,
}

/// The commands of a payload, in order; `None` when it is not a batch.
pub(crate) fn commands(payload: &[u8]) -> Option<Vec<CommandId>> {
    let batch = Fields(payload);
    let mut commands = Vec::new();
    let mut at = 0;
    while at < payload.len() {
        let client = u128::from_le_bytes(*batch.array(at).ok()?);
        let (session, number) = (batch.u64(at + 16).ok()?, batch.u64(at + 24).ok()?);
        commands.push(CommandId { client, session, number });
        at += COMMAND + batch.usize(at + 32).ok()?;
    }
    (at == payload.len()).then_some(commands)
}

const BLOCK: usize = 4096;
const FIXED: usize = 136;
const HASHED_FROM: usize = 48;
const COMMIT: usize = 16;
/// A line of a directory before what differs by kind.
const LINE: usize = 24;
const ENTRY_HEADER: usize = 176;
const COMMAND: usize = 36;
/// The code of an entry that holds a batch of commands.
const COMMANDS: u8 = 1;

//! The engine on a disk that does at once what it is asked, and on one whose bytes were changed.

mod archive;
mod journal;
mod layouts;
mod rot;
mod scrub;
mod snapshots;
mod space;

use alloc::collections::VecDeque;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;

use super::perfect_disk::PerfectDisk;
use super::*;
use crate::types::{
    Entry, EntryHeader, EntryKind, GroupInit, Monotonic, Nanos, NoMarks, Op, Timestamp, View, u64_of,
};

const CLUSTER: ClusterId = ClusterId::new(7);
const NODE: NodeId = NodeId::new(1);
const GROUP: GroupId = GroupId::new(3);

fn identity() -> Identity {
    let init = GroupInit {
        cluster: CLUSTER,
        group: GROUP,
        kind: "register".to_string(),
        voters: vec![NODE],
        sessions_max: 8,
        archive: None,
    };
    Identity { cluster: CLUSTER, node: NODE, groups: vec![init] }
}

fn config() -> EngineConfig {
    EngineConfig {
        segment_bytes: 64 << 10,
        flush_bytes_max: 16 << 10,
        flushes_in_flight_max: 2,
        sealed_segments_target: 4,
        sealed_segments_max: 8,
        snapshot_chunk_bytes: 4 << 10,
        idle_mark_after: Nanos::from_millis(1),
        scrub_every: Nanos::from_millis(100),
        scrub_bytes_per_second: 64 << 20,
    }
}

fn formatted() -> PerfectDisk {
    let mut disk = PerfectDisk::default();
    for op in format(&identity()).expect("the identity is right") {
        disk.run(op);
    }
    disk
}

/// An engine on a disk that does at once what it is asked.
struct Bench {
    engine: Engine,
    disk: PerfectDisk,
    durable: Ordinal,
    /// What the scrub found.
    rotten: Vec<RecordName>,
    nameless: Vec<(Ordinal, Ordinal)>,
    /// What peers would be sent, and what was received of them.
    chunks: Vec<SnapshotChunk>,
    received: Vec<Bytes>,
    pieces: Vec<ChunkPiece>,
    /// What became of lookups.
    found: Vec<Found>,
}

impl Bench {
    fn open(disk: PerfectDisk) -> Result<(Self, Opened), EngineError> {
        Self::open_as(disk, CLUSTER, NODE)
    }

    fn unopened(disk: PerfectDisk) -> Self {
        let (durable, rotten, nameless, chunks, received, pieces, found) = Default::default();
        Self {
            engine: Engine::new(config()),
            disk,
            durable,
            rotten,
            nameless,
            chunks,
            received,
            pieces,
            found,
        }
    }

    fn open_as(disk: PerfectDisk, cluster: ClusterId, node: NodeId) -> Result<(Self, Opened), EngineError> {
        let mut bench = Self::unopened(disk);
        let mut ops = Vec::new();
        bench.engine.start(cluster, node, 1, &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
        let opened = bench.drain(ops)?;
        Ok((bench, opened.expect("a perfect disk completes everything")))
    }

    fn drain(&mut self, ops: Vec<DiskOp>) -> Result<Option<Opened>, EngineError> {
        self.drain_lying(ops, &mut |_, done| done)
    }

    fn drain_lying(
        &mut self,
        ops: Vec<DiskOp>,
        lies: &mut impl FnMut(&DiskOp, DiskDone) -> DiskDone,
    ) -> Result<Option<Opened>, EngineError> {
        let mut queue = VecDeque::from(ops);
        let mut opened = None;
        while let Some(op) = queue.pop_front() {
            let done = lies(&op, self.disk.run(op.clone()));
            let mut more = Vec::new();
            match self.engine.on_done(
                Monotonic::default(),
                done,
                &mut DiskOut { ops: &mut more, marks: &mut NoMarks },
            )? {
                Some(EngineEvent::Opened(found)) => opened = Some(found),
                Some(EngineEvent::Durable(through)) => self.durable = through,
                Some(EngineEvent::Rotten { records, nameless }) => {
                    self.rotten.extend(records);
                    self.nameless.extend(nameless);
                }
                Some(EngineEvent::ChunkRead { chunk, .. }) => self.chunks.push(chunk),
                Some(EngineEvent::Received { body, .. }) => self.received.push(body),
                Some(EngineEvent::PieceRead { piece, .. }) => self.pieces.push(piece),
                Some(EngineEvent::Found { found, .. }) => self.found.push(found),
                None => {}
            }
            queue.extend(more);
        }
        Ok(opened)
    }

    fn append(&mut self, record: Record) -> Ordinal {
        self.engine.writer().expect("the engine is open").append(record)
    }

    fn flush(&mut self) {
        let mut ops = Vec::new();
        self.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
        self.drain(ops).expect("the disk is perfect");
    }

    /// Lets the scrub read until it has read everything once more, at a disk that lies as `lies` wants.
    fn scrub(&mut self, mut lies: impl FnMut(&DiskOp, DiskDone) -> DiskDone) {
        for pass in 1..=2 {
            let mut ops = Vec::new();
            let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
            self.engine.scrub(Monotonic::from_nanos(pass * 1_000_000_000), out);
            self.drain_lying(ops, &mut lies).expect("the disk is good enough");
        }
    }

    /// Entries 1..=count, a flush each; the last of them.
    fn write_entries(&mut self, count: u64) -> Entry {
        let mut entry = first_entry();
        for op in 1..=count {
            if op > 1 {
                entry = follow(&entry);
            }
            let ordinal = self.append(Record::Entry(entry.clone()));
            self.flush();
            assert_eq!(self.durable, ordinal);
        }
        entry
    }
}

fn first_entry() -> Entry {
    let genesis = identity().groups[0].genesis();
    Entry::next(
        &genesis,
        EntryKind::Commands,
        View::new(1),
        Timestamp::from_nanos(1),
        Bytes::from_static(b"one"),
    )
}

fn follow(entry: &Entry) -> Entry {
    follow_with(entry.header(), 1, 4)
}

/// What comes after `parent`, of that many bytes.
fn follow_with(parent: &EntryHeader, view: u64, bytes: usize) -> Entry {
    let payload = Bytes::from(vec![7; bytes]);
    Entry::next(parent, EntryKind::Commands, View::new(view), parent.timestamp().next(), payload)
}

/// The ops that a start found whole.
fn ops(opened: &Opened) -> Vec<u64> {
    entries(opened, |entry| matches!(entry, RecoveredEntry::Whole(_)))
}

/// Those that it found faulty.
fn faulty(opened: &Opened) -> Vec<u64> {
    entries(opened, |entry| matches!(entry, RecoveredEntry::Faulty(_)))
}

fn entries(opened: &Opened, which: impl Fn(&RecoveredEntry) -> bool) -> Vec<u64> {
    let entries = opened.logs.get(&GROUP).into_iter().flat_map(|log| &log.entries);
    entries.filter(|(_, (_, entry))| which(entry)).map(|(op, _)| op.get()).collect()
}

fn segment(slot: u32) -> FileId {
    FileId::Segment(slot)
}

/// A disk with entries 1 to `count`, each in a flush of one block.
fn with_entries(count: u64) -> PerfectDisk {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    bench.write_entries(count);
    bench.disk
}

/// Where the payload of an entry's flush begins on this disk: a head with a directory of one line, or of two.
const FIRST_PAYLOAD: usize = 136 + 200;

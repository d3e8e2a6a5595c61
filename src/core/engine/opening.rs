//! From a start to a running engine: read everything, then record that it was read.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use crate::engine::disk::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::journal::Journal;
use crate::engine::log_reader::{LogReader, ReadLog};
use crate::engine::log_writer::LogWriter;
use crate::engine::manifest::{FILE_BYTES, Manifest, ManifestBody, SegmentMeta};
use crate::engine::manifest_store::{ManifestEvent, ManifestStore};
use crate::engine::running::Running;
use crate::engine::{EngineConfig, EngineError, Opened};
use crate::types::{Blob, ClusterId, GroupId, Hash, Mark, Marks, NodeId, u64_of, usize_of};

/// A block that cannot be read is asked for this many times more.
const BLOCK_RETRIES_MAX: u32 = 2;
/// One read asks for at most this many bytes.
const READ_BYTES_MAX: u64 = 1 << 20;

/// An engine that is being opened.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Opening {
    config: EngineConfig,
    step: Step,
}

#[derive(Clone, Debug)]
enum Step {
    /// Nothing was asked yet.
    Idle,
    /// What the last process wrote and no barrier covered must not be read now and lost later.
    Barrier {
        id: DiskOpId,
        owner: (ClusterId, NodeId),
    },
    Manifest {
        id: DiskOpId,
        owner: (ClusterId, NodeId),
    },
    Snapshots(ReadingSnapshots),
    Segments(ReadingSegments),
    /// The fresh segment's file.
    Allocating {
        id: DiskOpId,
        manifest: ManifestStore,
        body: ManifestBody,
        read: Read,
    },
    /// The manifest that tells where the old tail ended and names the fresh segment.
    Recording {
        manifest: ManifestStore,
        read: Read,
    },
    Over,
}

/// All that was read, beside the manifest.
#[derive(Clone, Debug)]
struct Read {
    snapshots: BTreeMap<GroupId, Bytes>,
    log: ReadLog,
}

#[derive(Clone, Debug)]
struct ReadingSnapshots {
    id: DiskOpId,
    manifest: Manifest,
    index: usize,
    bytes: BytesMut,
    read: BTreeMap<GroupId, Bytes>,
}

#[derive(Clone, Debug)]
struct ReadingSegments {
    id: DiskOpId,
    manifest: Manifest,
    snapshots: BTreeMap<GroupId, Bytes>,
    reader: LogReader,
    /// The segment being read, and what of it has come in.
    index: usize,
    bytes: BytesMut,
    failed: FailedReads,
}

/// What the disk has failed to read of a segment.
#[derive(Clone, Debug, Default)]
struct FailedReads {
    /// Up to here it failed to read more than a block at once.
    by_block_to: usize,
    /// Times in a row that it failed to read the next block.
    failures: u32,
    /// Blocks that it never read, by their offset.
    unreadable: Vec<usize>,
}

impl Opening {
    pub(in crate::engine) fn new(config: EngineConfig) -> Self {
        Self { config, step: Step::Idle }
    }

    pub(in crate::engine) fn start(
        &mut self,
        cluster: ClusterId,
        node: NodeId,
        mut ids: impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let id = ids();
        out.push(DiskOp::Barrier { id });
        self.step = Step::Barrier { id, owner: (cluster, node) };
    }

    /// Takes a completion; the running engine once all is read and recorded.
    pub(in crate::engine) fn on_done(
        &mut self,
        done: DiskDone,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<Option<(Opened, Running)>, EngineError> {
        match core::mem::replace(&mut self.step, Step::Over) {
            Step::Barrier { id, owner } if id == done.id => {
                expect_done(&done, "barrier before reading")?;
                let id = ids();
                let bytes = u32::try_from(FILE_BYTES).unwrap_or(u32::MAX);
                out.push(DiskOp::Read { id, file: FileId::Manifest, offset: 0, bytes });
                self.step = Step::Manifest { id, owner };
            }
            Step::Manifest { id, owner } if id == done.id => {
                let manifest = open_manifest(done.outcome, owner, out.marks)?;
                let groups = manifest.body.identity.groups.len();
                self.config.validate(groups).map_err(|error| EngineError::Storage(error.to_string()))?;
                let (index, bytes, read) = (0, BytesMut::new(), BTreeMap::new());
                self.read_snapshots(ReadingSnapshots { id, manifest, index, bytes, read }, ids, out)?;
            }
            Step::Snapshots(mut reading) if reading.id == done.id => {
                reading.take(done.outcome)?;
                self.read_snapshots(reading, ids, out)?;
            }
            Step::Segments(mut reading) if reading.id == done.id => {
                reading.take(done.outcome, out.marks)?;
                self.read_on(reading, ids, out)?;
            }
            Step::Allocating { id, mut manifest, body, read } if id == done.id => {
                expect_done(&done, "making a fresh journal segment")?;
                manifest.write(body, ids, out).map_err(EngineError::Storage)?;
                self.step = Step::Recording { manifest, read };
            }
            Step::Recording { mut manifest, read } => {
                if !matches!(done.outcome, DiskOutcome::Done | DiskOutcome::Read(_)) {
                    expect_done(&done, "writing the manifest")?;
                }
                if manifest.on_done(&done, out).map_err(EngineError::Storage)? == ManifestEvent::Installed {
                    return Ok(Some(self.running(manifest, read)));
                }
                self.step = Step::Recording { manifest, read };
            }
            other => self.step = other,
        }
        Ok(None)
    }

    /// Asks for the next piece of a snapshot, or goes on to the segments when all are read.
    fn read_snapshots(
        &mut self,
        mut reading: ReadingSnapshots,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        if let Some(meta) = reading.manifest.body.snapshots.get(reading.index) {
            reading.id = ids();
            out.push(next_piece(
                reading.id,
                FileId::Snapshot(meta.slot),
                meta.file_bytes(),
                reading.bytes.len(),
                READ_BYTES_MAX,
            ));
            self.step = Step::Snapshots(reading);
            return Ok(());
        }
        let ReadingSnapshots { id, manifest, read: snapshots, .. } = reading;
        let groups = manifest.body.identity.groups.len();
        let ManifestBody { first_flush, last_flush, .. } = manifest.body;
        let reader = LogReader::new(groups, first_flush, last_flush);
        let (index, bytes, failed) = (0, BytesMut::new(), FailedReads::default());
        self.read_on(ReadingSegments { id, manifest, snapshots, reader, index, bytes, failed }, ids, out)
    }

    /// Asks for the next piece of a segment, or goes on to the fresh segment when all are read.
    fn read_on(
        &mut self,
        mut reading: ReadingSegments,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        let id = ids();
        if let Some(meta) = reading.manifest.body.segments.get(reading.index) {
            let have = reading.bytes.len();
            let most = reading.failed.most(have);
            out.push(next_piece(id, FileId::Segment(meta.slot), meta.bytes, have, most));
            reading.id = id;
            self.step = Step::Segments(reading);
            return Ok(());
        }
        let ReadingSegments { manifest, snapshots, reader, .. } = reading;
        let log = reader.finish(out.marks).map_err(EngineError::Storage)?;
        let meta = SegmentMeta {
            slot: manifest.body.free_segment_slot(),
            bytes: self.config.segment_bytes,
            generation: manifest.body.next_generation,
            end: None,
        };
        out.push(DiskOp::Allocate { id, file: FileId::Segment(meta.slot), bytes: meta.bytes });
        if log.ends.contains(&0) {
            out.marks.hit(Mark::EmptySegmentDropped);
        }
        let body = sealed(&manifest.body, &log, meta);
        let (manifest, read) = (ManifestStore::opened(manifest), Read { snapshots, log });
        self.step = Step::Allocating { id, manifest, body, read };
        Ok(())
    }

    fn running(&self, manifest: ManifestStore, Read { snapshots, log }: Read) -> (Opened, Running) {
        let body = manifest.body();
        let (identity, incarnation) = (body.identity.clone(), body.incarnation);
        let opened = Opened { identity, incarnation, snapshots, logs: log.groups };
        let Some(fresh) = body.segments.last().copied() else {
            panic!("the fresh segment was just recorded");
        };
        let groups = body.identity.groups.len();
        let journal = Journal::open(self.config, groups, log.journal, body.first_flush, fresh);
        let writer = LogWriter::after(log.last_ordinal);
        (opened, Running::new(self.config, manifest, journal, writer))
    }
}

impl ReadingSnapshots {
    /// Adds a piece; at the end of the file, verifies it.
    fn take(&mut self, outcome: DiskOutcome) -> Result<(), EngineError> {
        let meta = self.manifest.body.snapshots[self.index];
        let rotten = |what: &str| {
            EngineError::Storage(format!("snapshot {} of group {}: {what}", meta.slot, meta.group))
        };
        let DiskOutcome::Read(piece) = outcome else { return Err(rotten(&outcome.to_string())) };
        let Some(mut bytes) = joined(&mut self.bytes, piece, meta.file_bytes()) else { return Ok(()) };
        bytes.truncate(usize_of(meta.bytes));
        if Hash::of(&bytes) != meta.hash {
            return Err(rotten("its checksum is wrong"));
        }
        self.read.insert(meta.group, bytes);
        self.index += 1;
        Ok(())
    }
}

impl ReadingSegments {
    /// Adds a piece; at the end of the segment, hands it to the reader.
    fn take(&mut self, outcome: DiskOutcome, marks: &mut impl Marks) -> Result<(), EngineError> {
        let meta = self.manifest.body.segments[self.index];
        let piece = match outcome {
            DiskOutcome::Read(piece) => piece,
            DiskOutcome::Failed if self.failed.asks_again(self.bytes.len()) => return Ok(()),
            DiskOutcome::Failed => {
                marks.hit(Mark::BlockUnreadable);
                self.failed.unreadable.push(self.bytes.len());
                Blob::from(vec![0; BLOCK_BYTES])
            }
            DiskOutcome::Done | DiskOutcome::Missing | DiskOutcome::Full => {
                let what = format!("journal segment {}: {outcome}", meta.slot);
                return Err(EngineError::Storage(what));
            }
        };
        self.failed.failures = 0;
        let Some(bytes) = joined(&mut self.bytes, piece, meta.bytes) else { return Ok(()) };
        let FailedReads { unreadable, .. } = core::mem::take(&mut self.failed);
        self.reader.segment(&meta, bytes, unreadable);
        self.index += 1;
        Ok(())
    }
}

impl FailedReads {
    /// The read at `at` failed; whether it is asked for again: block by block, and each block a few times.
    fn asks_again(&mut self, at: usize) -> bool {
        if at >= self.by_block_to {
            self.by_block_to = at + usize_of(READ_BYTES_MAX);
            return true;
        }
        self.failures += 1;
        self.failures <= BLOCK_RETRIES_MAX
    }

    /// How much a read at `at` may ask for.
    fn most(&self, at: usize) -> u64 {
        if at < self.by_block_to { u64_of(BLOCK_BYTES) } else { READ_BYTES_MAX }
    }
}

/// A read of what follows the first `have` bytes of a file, of at most `most` bytes.
fn next_piece(id: DiskOpId, file: FileId, file_bytes: u64, have: usize, most: u64) -> DiskOp {
    let offset = u64_of(have);
    let bytes = u32::try_from((file_bytes - offset).min(most)).unwrap_or(u32::MAX);
    DiskOp::Read { id, file, offset, bytes }
}

/// Puts a piece behind those before it; gives the file once all `file_bytes` of it are there. One that comes in a single
/// piece is not copied.
fn joined(before: &mut BytesMut, piece: Blob, file_bytes: u64) -> Option<Bytes> {
    if before.is_empty() && u64_of(piece.as_slice().len()) >= file_bytes {
        return Some(piece.0);
    }
    before.extend_from_slice(piece.as_slice());
    (u64_of(before.len()) >= file_bytes).then(|| core::mem::take(before).freeze())
}

/// The manifest of this start: old segments end where they were found to end, empty ones are let go.
fn sealed(before: &ManifestBody, log: &ReadLog, fresh: SegmentMeta) -> ManifestBody {
    let mut body = before.clone();
    let segments = body.segments.iter().zip(&log.ends).filter(|(_, end)| **end > 0);
    body.segments = segments.map(|(meta, end)| SegmentMeta { end: Some(*end), ..*meta }).collect();
    body.segments.push(fresh);
    body.next_generation = fresh.generation + 1;
    body.last_flush = log.journal.tail.as_ref().map_or(before.last_flush, |tail| tail.number);
    body.incarnation = body.incarnation.next();
    body
}

fn open_manifest(
    outcome: DiskOutcome,
    (cluster, node): (ClusterId, NodeId),
    marks: &mut impl Marks,
) -> Result<Manifest, EngineError> {
    let storage = |what: String| Err(EngineError::Storage(what));
    let bytes = match outcome {
        DiskOutcome::Read(bytes) => bytes,
        DiskOutcome::Missing => return storage("it has no manifest: it was never formatted".to_string()),
        DiskOutcome::Done | DiskOutcome::Full | DiskOutcome::Failed => {
            return storage("the manifest cannot be read".to_string());
        }
    };
    let manifest = Manifest::open(bytes.as_slice(), marks).map_err(EngineError::Storage)?;
    let owner = &manifest.body.identity;
    if owner.cluster != cluster {
        return storage(format!(
            "it belongs to cluster {:032x}, not to {:032x}",
            owner.cluster.get(),
            cluster.get()
        ));
    }
    if owner.node != node {
        return storage(format!("it belongs to node {}, not to {node}", owner.node));
    }
    Ok(manifest)
}

fn expect_done(done: &DiskDone, what: &str) -> Result<(), EngineError> {
    match done.outcome {
        DiskOutcome::Done => Ok(()),
        DiskOutcome::Read(_) | DiskOutcome::Missing | DiskOutcome::Full | DiskOutcome::Failed => {
            Err(EngineError::Disk(format!("{what}: {}", done.outcome)))
        }
    }
}

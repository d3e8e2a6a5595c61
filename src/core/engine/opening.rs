//! From a start to a running engine: read everything, then record that it was read.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::ToString;

use bytes::{Bytes, BytesMut};

use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::journal::Journal;
use crate::engine::log_reader::{LogReader, ReadLog};
use crate::engine::log_writer::LogWriter;
use crate::engine::manifest::{Manifest, ManifestBody, SegmentMeta};
use crate::engine::manifest_reads::ManifestReads;
use crate::engine::manifest_store::{ManifestEvent, ManifestStore};
use crate::engine::running::Running;
use crate::engine::second_reads::{Next, SecondReads};
use crate::engine::segment_reads::{SegmentReads, Span};
use crate::engine::{EngineConfig, EngineError, Opened};
use crate::types::{Blob, ClusterId, GroupId, Hash, Mark, Marks, NodeId, u64_of, usize_of};

/// One read of a snapshot asks for at most this many bytes.
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
        reads: ManifestReads,
        owner: (ClusterId, NodeId),
    },
    Snapshots(ReadingSnapshots),
    Segments(ReadingSegments),
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
    manifest: Manifest,
    snapshots: BTreeMap<GroupId, Bytes>,
    reads: SegmentReads,
    journal: ReadingJournal,
    fresh: FreshSegment,
}

/// The journal, read once, or as far as it is to be believed.
#[derive(Clone, Debug)]
enum ReadingJournal {
    Once(LogReader),
    Again(SecondReads),
}

/// The segment that the journal will go on in. Its file is made while the others are read.
#[derive(Clone, Copy, Debug)]
struct FreshSegment {
    id: DiskOpId,
    meta: SegmentMeta,
    is_made: bool,
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
                self.step = Step::Manifest { reads: ManifestReads::ask(ids, out), owner };
            }
            Step::Manifest { mut reads, owner } => {
                let id = done.id;
                if !reads.take(done) {
                    self.step = Step::Manifest { reads, owner };
                    return Ok(None);
                }
                let manifest = reads.open(owner, out.marks).map_err(EngineError::Storage)?;
                let groups = manifest.body.identity.groups.len();
                self.config.validate(groups).map_err(|error| EngineError::Storage(error.to_string()))?;
                let (index, bytes, read) = (0, BytesMut::new(), BTreeMap::new());
                self.read_snapshots(ReadingSnapshots { id, manifest, index, bytes, read }, ids, out)?;
            }
            Step::Snapshots(mut reading) if reading.id == done.id => {
                reading.take(done.outcome)?;
                self.read_snapshots(reading, ids, out)?;
            }
            Step::Segments(mut reading) => {
                if done.id == reading.fresh.id {
                    expect_done(&done, "making a fresh journal segment")?;
                    reading.fresh.is_made = true;
                } else {
                    reading.reads.take(done);
                }
                self.read_on(reading, ids, out)?;
            }
            Step::Recording { mut manifest, read } => {
                match manifest.on_done(&done, ids, out).map_err(EngineError::Storage)? {
                    ManifestEvent::Installed => return Ok(Some(self.running(manifest, read))),
                    ManifestEvent::Step => {}
                    ManifestEvent::NotMine => expect_done(&done, "writing the manifest")?,
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
        let ReadingSnapshots { manifest, read: snapshots, .. } = reading;
        let ManifestBody { first_flush, last_flush, ref segments, ref identity, .. } = manifest.body;
        let reader = LogReader::new(identity.groups.len(), first_flush, last_flush);
        let reads = SegmentReads::new(segments.iter().map(Span::whole));
        let fresh = self.make_fresh(&manifest.body, ids(), out);
        let journal = ReadingJournal::Once(reader);
        self.read_on(ReadingSegments { manifest, snapshots, reads, journal, fresh }, ids, out)
    }

    fn make_fresh(
        &self,
        body: &ManifestBody,
        id: DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> FreshSegment {
        let (slot, bytes) = (body.free_segment_slot(), self.config.segment_bytes);
        let meta = SegmentMeta { slot, bytes, generation: body.next_generation, end: None };
        out.push(DiskOp::Allocate { id, file: FileId::Segment(slot), bytes });
        FreshSegment { id, meta, is_made: false }
    }

    /// Reads segments, and again what is doubtful; records the end of the journal when all are read and the fresh one is
    /// there.
    fn read_on(
        &mut self,
        mut reading: ReadingSegments,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        loop {
            while let Some(read) = reading.reads.next_span(ids, out).map_err(EngineError::Storage)? {
                match &mut reading.journal {
                    ReadingJournal::Once(reader) => {
                        reader.segment(&read.span.meta, read.bytes, read.unreadable)
                    }
                    ReadingJournal::Again(again) => again.take(read),
                }
            }
            if !(reading.reads.is_over() && reading.fresh.is_made) {
                reading.reads.read_ahead(ids, out);
                self.step = Step::Segments(reading);
                return Ok(());
            }
            let mut again = match reading.journal {
                ReadingJournal::Once(reader) => SecondReads::new(reader),
                ReadingJournal::Again(again) => again,
            };
            match again.next(out.marks) {
                Next::Read(spans) => {
                    reading.reads = SegmentReads::new(spans.into_iter());
                    reading.journal = ReadingJournal::Again(again);
                }
                Next::Over(log) => {
                    let ReadingSegments { manifest, snapshots, fresh, .. } = reading;
                    let log = log.map_err(EngineError::Storage)?;
                    return self.record(manifest, Read { snapshots, log }, fresh, ids, out);
                }
            }
        }
    }

    /// Writes the manifest of this start.
    fn record(
        &mut self,
        manifest: Manifest,
        read: Read,
        fresh: FreshSegment,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        if read.log.ends.contains(&0) {
            out.marks.hit(Mark::EmptySegmentDropped);
        }
        let body = sealed(&manifest.body, &read.log, fresh.meta);
        let mut manifest = ManifestStore::opened(manifest);
        manifest.write(body, ids, out).map_err(EngineError::Storage)?;
        self.step = Step::Recording { manifest, read };
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

fn expect_done(done: &DiskDone, what: &str) -> Result<(), EngineError> {
    match done.outcome {
        DiskOutcome::Done => Ok(()),
        DiskOutcome::Read(_) | DiskOutcome::Missing | DiskOutcome::Full | DiskOutcome::Failed => {
            Err(EngineError::Disk(format!("{what}: {}", done.outcome)))
        }
    }
}

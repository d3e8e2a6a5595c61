//! From a start to a running engine: read everything, then record that it was read.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use alloc::vec::Vec;

use crate::engine::disk::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::incoming_snapshot::IncomingSnapshot;
use crate::engine::journal::Journal;
use crate::engine::log_reader::{LogReader, ReadLog};
use crate::engine::log_writer::LogWriter;
use crate::engine::manifest::{Manifest, ManifestBody, SegmentMeta};
use crate::engine::manifest_reads::ManifestReads;
use crate::engine::manifest_store::{ManifestEvent, ManifestStore};
use crate::engine::running::Running;
use crate::engine::second_reads::{Next, SecondReads};
use crate::engine::segment_reads::{SegmentReads, Span};
use crate::engine::snapshot_reads::{FoundSnapshots, SnapshotReads};
use crate::engine::snapshot_store::SnapshotStore;
use crate::engine::{EngineConfig, EngineError, Opened};
use crate::types::{Blob, ClusterId, Mark, Marks, NodeId, usize_of};

/// An engine that is being opened.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Opening {
    config: EngineConfig,
    /// Names this start.
    nonce: u64,
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
    Snapshots {
        reads: SnapshotReads,
        manifest: Manifest,
    },
    Segments(ReadingSegments),
    /// The file is made in which the journal goes on.
    MakingRoom(MakingRoom),
    /// The manifest that tells where the old tail ended and names the segment in which the journal goes on.
    Recording {
        manifest: ManifestStore,
        read: Read,
    },
    Over,
}

/// All that was read, beside the manifest.
#[derive(Clone, Debug)]
struct Read {
    snapshots: FoundSnapshots,
    log: ReadLog,
    /// Files of segments that hold nothing.
    empty: Vec<SegmentMeta>,
    /// There was no space for another one.
    is_full: bool,
}

#[derive(Clone, Debug)]
struct ReadingSegments {
    manifest: Manifest,
    snapshots: FoundSnapshots,
    reads: SegmentReads,
    journal: ReadingJournal,
}

/// The journal, read once, or as far as it is to be believed.
#[derive(Clone, Debug)]
enum ReadingJournal {
    Once(LogReader),
    Again(Box<SecondReads>),
}

/// There is no room in the files that there are.
#[derive(Clone, Debug)]
struct MakingRoom {
    id: DiskOpId,
    what: Making,
    /// The manifest of this start.
    body: ManifestBody,
    manifest: Manifest,
    read: Read,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Making {
    Segment,
    /// The reserve is given back, for there is no space left.
    Space,
}

impl Opening {
    pub(in crate::engine) fn new(config: EngineConfig) -> Self {
        Self { config, nonce: 0, step: Step::Idle }
    }

    pub(in crate::engine) fn start(
        &mut self,
        cluster: ClusterId,
        node: NodeId,
        nonce: u64,
        mut ids: impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let id = ids();
        out.push(DiskOp::Barrier { id });
        self.nonce = nonce;
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
                if !reads.take(done) {
                    self.step = Step::Manifest { reads, owner };
                    return Ok(None);
                }
                let manifest = reads.open(owner, out.marks).map_err(EngineError::Storage)?;
                let groups = manifest.body.identity.groups.len();
                self.config.validate(groups).map_err(|error| EngineError::Storage(error.to_string()))?;
                let reads = SnapshotReads::new(&manifest.body);
                self.read_snapshots(reads, manifest, ids, out)?;
            }
            Step::Snapshots { mut reads, manifest } => {
                let identity = &manifest.body.identity;
                if reads.take(&done, identity, out.marks).map_err(EngineError::Storage)? {
                    self.read_snapshots(reads, manifest, ids, out)?;
                } else {
                    self.step = Step::Snapshots { reads, manifest };
                }
            }
            Step::Segments(mut reading) => {
                reading.reads.take(done);
                self.read_on(reading, ids, out)?;
            }
            Step::MakingRoom(making) if making.id == done.id => self.room_made(making, &done, ids, out)?,
            Step::Recording { mut manifest, read } => {
                match manifest.on_done(&done, ids, out).map_err(EngineError::Storage)? {
                    ManifestEvent::Installed => return Ok(Some(self.running(manifest, read, ids, out))),
                    ManifestEvent::Step => {}
                    ManifestEvent::NotMine => expect_done(&done, "writing the manifest")?,
                }
                self.step = Step::Recording { manifest, read };
            }
            other => self.step = other,
        }
        Ok(None)
    }

    /// Asks for the next chunk of a snapshot, or goes on to the segments when all are read.
    fn read_snapshots(
        &mut self,
        mut reads: SnapshotReads,
        manifest: Manifest,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        let Some(snapshots) = reads.next(ids, out) else {
            self.step = Step::Snapshots { reads, manifest };
            return Ok(());
        };
        let ManifestBody { first_flush, last_flush, ref segments, ref identity, .. } = manifest.body;
        let reader = LogReader::new(identity.groups.len(), first_flush, last_flush);
        let reads = SegmentReads::new(segments.iter().map(Span::whole));
        let journal = ReadingJournal::Once(reader);
        self.read_on(ReadingSegments { manifest, snapshots, reads, journal }, ids, out)
    }

    /// Reads segments, and again what is doubtful; goes on when all are read.
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
                        reader.segment(&read.span.meta, read.bytes, &read.unreadable)
                    }
                    ReadingJournal::Again(again) => again.take(read),
                }
            }
            if !reading.reads.is_over() {
                reading.reads.read_ahead(ids, out);
                self.step = Step::Segments(reading);
                return Ok(());
            }
            let mut again = match reading.journal {
                ReadingJournal::Once(reader) => {
                    let groups = reading.manifest.body.identity.groups.len();
                    let flush_bytes = usize_of(self.config.flush_bytes_most(groups));
                    Box::new(SecondReads::new(reader, flush_bytes))
                }
                ReadingJournal::Again(again) => again,
            };
            match again.next(out.marks) {
                Next::Read(spans) => {
                    reading.reads = SegmentReads::new(spans.into_iter());
                    reading.journal = ReadingJournal::Again(again);
                }
                Next::Over(log) => {
                    let ReadingSegments { manifest, snapshots, .. } = reading;
                    let log = log.map_err(EngineError::Storage)?;
                    return self.go_on(manifest, snapshots, log, ids, out);
                }
            }
        }
    }

    /// Finds a place in which the journal goes on: behind its end, or in a file that holds nothing. Only when there is
    /// neither another file is made; and if there is no space for it, the journal waits for some with what is left.
    fn go_on(
        &mut self,
        manifest: Manifest,
        snapshots: FoundSnapshots,
        log: ReadLog,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        if log.ends.contains(&None) {
            out.marks.hit(Mark::EmptySegmentDropped);
        }
        let (mut body, mut empty) = sealed(&manifest.body, &log, self.nonce);
        let generation = body.next_generation;
        let behind = body.segments.last().and_then(|tail| self.behind(tail, &body, generation));
        let unused = empty.iter().position(|meta| meta.bytes == self.config.segment_bytes);
        let (meta, is_there) = match (behind, unused) {
            (Some(behind), _) => (behind, true),
            (None, Some(unused)) => {
                let SegmentMeta { slot, bytes, .. } = empty.swap_remove(unused);
                (SegmentMeta { slot, bytes, generation, from: 0, end: None }, true)
            }
            (None, None) => {
                let (slot, bytes) = (body.free_segment_slot(), self.config.segment_bytes);
                empty.retain(|meta| meta.slot != slot);
                (SegmentMeta { slot, bytes, generation, from: 0, end: None }, false)
            }
        };
        body.segments.push(meta);
        body.next_generation = generation + 1;
        let read = Read { snapshots, log, empty, is_full: false };
        if is_there {
            // The end of the journal is told by what stands there, and it must be readable.
            let (id, file, data) = (ids(), FileId::Segment(meta.slot), Blob::from(vec![0; BLOCK_BYTES]));
            out.push(DiskOp::Write { id, file, offset: meta.from, data });
            out.marks.hit(if meta.from > 0 { Mark::WentOnBehind } else { Mark::WentOnInSpare });
            return self.record(manifest, body, read, ids, out);
        }
        let id = ids();
        out.push(DiskOp::Allocate { id, file: FileId::Segment(meta.slot), bytes: meta.bytes });
        self.step = Step::MakingRoom(MakingRoom { id, what: Making::Segment, body, manifest, read });
        Ok(())
    }

    /// What is left of the file of the last segment, if the largest flush fits there.
    fn behind(&self, tail: &SegmentMeta, body: &ManifestBody, generation: u64) -> Option<SegmentMeta> {
        let groups = body.identity.groups.len();
        let from = tail.end?;
        let least = self.config.segment_bytes_least(groups);
        (tail.bytes - from >= least).then_some(SegmentMeta { generation, from, end: None, ..*tail })
    }

    fn room_made(
        &mut self,
        mut making: MakingRoom,
        done: &DiskDone,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        let bytes = self.config.segment_bytes;
        if making.what == Making::Segment && done.outcome == DiskOutcome::Full {
            if making.body.reserve == 0 {
                return self.go_on_without_room(making, ids, out);
            }
            out.marks.hit(Mark::ReserveUsedAtStart);
            making.body.reserve = 0;
            (making.id, making.what) = (ids(), Making::Space);
            out.push(DiskOp::Allocate { id: making.id, file: FileId::Reserve, bytes: 0 });
            self.step = Step::MakingRoom(making);
            return Ok(());
        }
        expect_done(done, "making a fresh journal segment")?;
        let MakingRoom { what, body, manifest, read, .. } = making;
        if what == Making::Segment {
            return self.record(manifest, body, read, ids, out);
        }
        let id = ids();
        let slot = body.segments.last().map_or(0, |fresh| fresh.slot);
        out.push(DiskOp::Allocate { id, file: FileId::Segment(slot), bytes });
        self.step = Step::MakingRoom(MakingRoom { id, what: Making::Segment, body, manifest, read });
        Ok(())
    }

    /// There is no space for another file: the journal goes on behind its end, however little is left there. What does not
    /// fit waits until segments were freed, or there is space.
    fn go_on_without_room(
        &mut self,
        making: MakingRoom,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        let MakingRoom { mut body, manifest, mut read, .. } = making;
        let fresh = body.segments.pop();
        let tail = body.segments.last().copied();
        let (Some(fresh), Some(SegmentMeta { slot, bytes, end: Some(from), .. })) = (fresh, tail) else {
            let bytes = self.config.segment_bytes;
            return Err(EngineError::Storage(format!(
                "no space is left for the first journal segment, of {bytes} bytes; make room and start again"
            )));
        };
        out.marks.hit(Mark::WentOnWithoutRoom);
        let generation = fresh.generation;
        body.segments.push(SegmentMeta { slot, bytes, generation, from, end: None });
        read.is_full = true;
        self.record(manifest, body, read, ids, out)
    }

    /// Writes the manifest of this start.
    fn record(
        &mut self,
        manifest: Manifest,
        body: ManifestBody,
        read: Read,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Result<(), EngineError> {
        let mut manifest = ManifestStore::opened(manifest);
        manifest.write(body, ids, out).map_err(EngineError::Storage)?;
        self.step = Step::Recording { manifest, read };
        Ok(())
    }

    fn running(
        &self,
        manifest: ManifestStore,
        read: Read,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> (Opened, Running) {
        let Read { snapshots: FoundSnapshots { bodies: snapshots, lost, incoming }, log, empty, is_full } =
            read;
        let body = manifest.body();
        let (identity, boot) = (body.identity.clone(), body.boots.last());
        let witnessed = body.all_witnessed();
        let coming = body.incoming.map(|meta| IncomingSnapshot::resumed(meta, incoming, ids, out));
        let incoming = body.incoming.map(|meta| (meta.group, meta.name));
        let lost_groups = lost.keys().copied().collect();
        let opened = Opened {
            identity,
            boot,
            witnessed,
            amnesia: body.amnesia.clone(),
            snapshots,
            lost,
            incoming,
            logs: log.groups,
        };
        let Some(fresh) = body.segments.last().copied() else {
            panic!("the fresh segment was just recorded");
        };
        let groups = body.identity.groups.len();
        let journal = Journal::open(self.config, groups, log.journal, body.first_flush, fresh);
        let writer = LogWriter::after(log.last_ordinal);
        let snapshots = SnapshotStore::opened(coming, lost_groups);
        let mut running = Running::new(self.config, manifest, journal, writer, empty, snapshots);
        if is_full {
            running.lacks_space(out.marks);
        }
        (opened, running)
    }
}

/// The manifest of this start, but for the segment in which the journal goes on: old segments end where they were found to
/// end, empty ones are let go, with their files where nothing else lies in them.
fn sealed(before: &ManifestBody, log: &ReadLog, nonce: u64) -> (ManifestBody, Vec<SegmentMeta>) {
    let mut body = before.clone();
    let ended = |(meta, end): (&SegmentMeta, &Option<u64>)| Some(SegmentMeta { end: Some((*end)?), ..*meta });
    body.segments = before.segments.iter().zip(&log.ends).filter_map(ended).collect();
    body.last_flush = log.journal.tail.as_ref().map_or(before.last_flush, |tail| tail.number);
    body.boots.begin(nonce, body.last_flush);
    let empty = body.unused(&before.segments);
    (body, empty)
}

fn expect_done(done: &DiskDone, what: &str) -> Result<(), EngineError> {
    match done.outcome {
        DiskOutcome::Done => Ok(()),
        DiskOutcome::Read(_) | DiskOutcome::Missing | DiskOutcome::Full | DiskOutcome::Failed => {
            Err(EngineError::Disk(format!("{what}: {}", done.outcome)))
        }
    }
}

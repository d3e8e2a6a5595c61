//! The scrub: reads everything again and again at a bounded rate, so that what rots is found while others still have it.
//!
//! A pass reads the manifest in force, the snapshots in force, the archives, newest chunk first, for each names the ones before
//! it, and the journal, oldest segment first. What is not as it was
//! written is read a second time before it is believed to be rotten, for reads may lie. The scrub only finds: who owns what
//! rotted writes it again, for while the node runs it has everything in memory.

use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::archive::{ArchiveMeta, ChunkHead, ChunkName, archive_file, meta_of, open};
use crate::engine::disk::{DiskDone, DiskOp, DiskOpId, DiskOut, DiskOutcome, FileId};
use crate::engine::findings::RecordName;
use crate::engine::flush::{NoHead, read_head};
use crate::engine::journal::Journal;
use crate::engine::manifest::{COPIES, COPY_BYTES, Manifest};
use crate::engine::retention::{FlushPlace, SegmentContents};
use crate::engine::snapshot_file::SnapshotMeta;
use crate::types::{GroupId, Mark, Marks, Monotonic, Nanos, Ordinal, u64_of, usize_of};

/// Where the scrub is, and what it may read.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Scrub {
    every: Nanos,
    bytes_per_second: u64,
    /// Bytes that may be read by now.
    allowance: u64,
    /// Bytes that were read beyond what was allowed, and are to be earned first.
    owed: u64,
    allowed_at: Option<Monotonic>,
    next: Place,
    reading: Option<Reading>,
    /// Flushes without their heads, by generation and place among the segment's.
    unnamed: Vec<(u64, usize)>,
    /// Up to here flushes are read one by one: something among them cannot be read.
    alone_to: Option<Place>,
    /// Chunks that are to be read next of the archive that is being read, descending.
    chunks: Vec<ChunkName>,
    /// When this pass began.
    began: Option<Monotonic>,
    is_over: bool,
}

/// What there is to be read now.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine) struct Live<'a> {
    pub manifest: &'a Manifest,
    pub journal: &'a Journal,
}

/// What the scrub found not to be as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::engine) enum Rotten {
    /// A copy of the manifest in force.
    Manifest,
    /// The snapshot in force of a group.
    Snapshot(GroupId),
    /// A chunk of the archive of a group.
    Chunk(GroupId, ChunkName),
    /// A flush of the segment of this generation, from this offset, and what of it is lost.
    Flush { generation: u64, from: u64, lost: Vec<RecordName> },
    /// One of which nothing says what it held: records with ordinals above the first of these, up to the second.
    Nameless { generation: u64, from: u64, ordinals: (Ordinal, Ordinal) },
}

/// A place in the order of a pass.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Place {
    target: Target,
    at: u64,
}

#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Target {
    Manifest,
    Snapshot(GroupId),
    Archive(GroupId),
    /// By its generation.
    Segment(u64),
}

const START: Place = Place { target: Target::Manifest, at: 0 };

/// What is read at once and judged by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Unit {
    place: Place,
    file: FileId,
    offset: u64,
    bytes: u64,
    /// Which version of the file.
    version: Version,
    /// Where the next unit begins.
    next: Place,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    Manifest(u64),
    /// And which chunk of it.
    Snapshot(SnapshotMeta, u32),
    Chunk(ChunkName),
    /// These flushes of the segment, from one place among them to before another.
    Segment(usize, usize),
}

#[derive(Clone, Copy, Debug)]
struct Reading {
    id: DiskOpId,
    what: Sought,
}

#[derive(Clone, Copy, Debug)]
enum Sought {
    /// Whether it is as it was written.
    Whole(Unit),
    /// The same: it was read before, and was not.
    WholeAfterAll(Unit),
    /// What the flush behind the one at this place says of it; whether it was read before, and said nothing.
    Names { generation: u64, index: usize, again: bool },
}

/// Bytes that are read at once, unless a flush is larger.
const UNIT_BYTES: u64 = 256 << 10;

impl Scrub {
    /// A scrub of which a pass begins every so often, and that reads no more than that many bytes in a second.
    pub(in crate::engine) fn new(every: Nanos, bytes_per_second: u64) -> Self {
        Self {
            every,
            bytes_per_second,
            allowance: 0,
            owed: 0,
            allowed_at: None,
            next: START,
            reading: None,
            unnamed: Vec::new(),
            alone_to: None,
            chunks: Vec::new(),
            began: None,
            is_over: false,
        }
    }

    /// Reads on, as far as the rate allows. Called now and then.
    pub(in crate::engine) fn go_on(
        &mut self,
        now: Monotonic,
        live: Live<'_>,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let elapsed = now.since(self.allowed_at.replace(now).unwrap_or(now)).as_nanos();
        let earned = u128::from(elapsed) * u128::from(self.bytes_per_second) / 1_000_000_000;
        let most = self.bytes_per_second.max(UNIT_BYTES);
        let earned = u64::try_from(earned).unwrap_or(most);
        let paid = earned.min(self.owed);
        self.owed -= paid;
        self.allowance = self.allowance.saturating_add(earned - paid).min(most);
        let began = *self.began.get_or_insert(now);
        if self.is_over && now.since(began) >= self.every {
            self.began = Some(now);
            self.is_over = false;
        }
        self.read_on(live, ids, out);
    }

    /// Takes a completion: `None` when it is somebody else's, else what it shows to be rotten.
    pub(in crate::engine) fn on_done(
        &mut self,
        done: &DiskDone,
        live: Live<'_>,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> Option<Vec<Rotten>> {
        let Reading { what, .. } = self.reading.take_if(|reading| reading.id == done.id)?;
        let bytes = match &done.outcome {
            DiskOutcome::Read(bytes) => bytes.0.clone(),
            DiskOutcome::Done | DiskOutcome::Missing | DiskOutcome::Full | DiskOutcome::Failed => {
                Bytes::new()
            }
        };
        let rotten = match what {
            Sought::Names { generation, index, again } => match live.names(generation, index, &bytes) {
                Err(NoHead) if !again => {
                    self.name(generation, index, true, live, ids, out);
                    Vec::new()
                }
                Err(NoHead) => live.nameless(generation, index).into_iter().collect(),
                Ok(rotten) => rotten.into_iter().collect(),
            },
            Sought::Whole(unit) | Sought::WholeAfterAll(unit) if !live.still_has(&unit) => {
                // Of an archive the older chunks are gone with this one.
                self.chunks.clear();
                let is_chunk = matches!(unit.version, Version::Chunk(_));
                self.next = if is_chunk { unit.next } else { Place { at: 0, ..unit.place } };
                Vec::new()
            }
            Sought::Whole(unit) => {
                let rotten = self.judge(&unit, &bytes, live);
                if !rotten.is_empty() || !self.unnamed.is_empty() {
                    self.unnamed.clear();
                    self.ask(&unit, Sought::WholeAfterAll(unit), ids, out);
                    return Some(Vec::new());
                }
                self.next = unit.next;
                self.note_chunk(&unit, &bytes, rotten.is_empty());
                rotten
            }
            Sought::WholeAfterAll(unit) => {
                if bytes.is_empty() && unit.is_several() {
                    self.alone_to = Some(unit.next);
                    Vec::new()
                } else {
                    let rotten = self.judge(&unit, &bytes, live);
                    self.next = unit.next;
                    self.note_chunk(&unit, &bytes, rotten.is_empty());
                    rotten
                }
            }
        };
        if !rotten.is_empty() {
            out.marks.hit(Mark::ScrubFound);
        }
        self.read_on(live, ids, out);
        Some(rotten)
    }

    fn read_on(
        &mut self,
        live: Live<'_>,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        while self.reading.is_none()
            && let Some((generation, index)) = self.unnamed.pop()
        {
            self.name(generation, index, false, live, ids, out);
        }
        if self.reading.is_some() || self.is_over {
            return;
        }
        let one_by_one =
            self.alone_to.is_some_and(|to| to.target == self.next.target && self.next.at < to.at);
        let flushes_max = if one_by_one { 1 } else { u64::MAX };
        let Some(unit) = live.unit_from(self.next, flushes_max, self.chunks.first()) else {
            out.marks.hit(Mark::ScrubPassOver);
            self.is_over = true;
            self.next = START;
            return;
        };
        // A flush may be longer than what is ever saved up.
        if self.allowance >= unit.bytes.min(UNIT_BYTES) {
            self.owed += unit.bytes.saturating_sub(self.allowance);
            self.allowance = self.allowance.saturating_sub(unit.bytes);
            self.next = unit.place;
            self.ask(&unit, Sought::Whole(unit), ids, out);
        }
    }

    /// A chunk was read: where it is whole it names the next one, else the one above has.
    fn note_chunk(&mut self, unit: &Unit, bytes: &Bytes, is_whole: bool) {
        let Version::Chunk(name) = unit.version else { return };
        match ChunkHead::read(bytes).filter(|_| is_whole) {
            Some(head) => self.chunks = head.earlier,
            None if unit.place.at == 0 => self.chunks.clear(),
            None => self.chunks.retain(|earlier| earlier.number < name.number),
        }
    }

    /// Asks what the flush behind the one at this place says of it.
    fn name(
        &mut self,
        generation: u64,
        index: usize,
        again: bool,
        live: Live<'_>,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        if let Some(next) = live.behind(generation, index) {
            self.ask(&next, Sought::Names { generation, index, again }, ids, out);
        }
    }

    fn ask(
        &mut self,
        unit: &Unit,
        what: Sought,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let (id, bytes) = (ids(), u32::try_from(unit.bytes).unwrap_or(u32::MAX));
        out.push(DiskOp::Read { id, file: unit.file, offset: unit.offset, bytes });
        self.reading = Some(Reading { id, what });
    }

    /// What of a unit is not as it was written; `bytes` are none when it could not be read.
    fn judge(&mut self, unit: &Unit, bytes: &Bytes, live: Live<'_>) -> Vec<Rotten> {
        match (unit.version, unit.place.target) {
            (Version::Manifest(_), _) => {
                let is_whole = live.manifest.to_area().is_ok_and(|area| area.starts_with(bytes));
                if is_whole && !bytes.is_empty() { Vec::new() } else { Vec::from([Rotten::Manifest]) }
            }
            (Version::Snapshot(SnapshotMeta { group, name, .. }, index), _) => {
                let is_whole = name.open(group, index, bytes).is_some();
                if is_whole { Vec::new() } else { Vec::from([Rotten::Snapshot(group)]) }
            }
            (Version::Chunk(name), Target::Archive(group)) => {
                let is_whole = open(group, bytes).is_some_and(|head| head.name == name);
                if is_whole { Vec::new() } else { Vec::from([Rotten::Chunk(group, name)]) }
            }
            (Version::Chunk(_), _) => Vec::new(),
            (Version::Segment(first, behind), _) => {
                let mut rotten = Vec::new();
                let Some(contents) = live.segment(unit.place.target) else { return rotten };
                let generation = contents.meta.generation;
                for index in first..behind {
                    let FlushPlace { from, to, .. } = contents.flushes[index];
                    let place = usize_of(from - unit.offset)..usize_of(to - unit.offset);
                    let bytes = if place.end <= bytes.len() { bytes.slice(place) } else { Bytes::new() };
                    match lost_of(contents, index, &bytes) {
                        Ok(lost) => rotten.extend(lost.map(|lost| Rotten::Flush { generation, from, lost })),
                        Err(NoHead) if index + 1 == contents.flushes.len() => {
                            let lost = contents.last_records.clone();
                            rotten.push(Rotten::Flush { generation, from, lost });
                        }
                        Err(NoHead) => self.unnamed.push((generation, index)),
                    }
                }
                rotten
            }
        }
    }
}

impl Unit {
    /// Whether a part of it could be read by itself.
    fn is_several(&self) -> bool {
        matches!(self.version, Version::Segment(first, behind) if behind > first + 1)
    }
}

impl Live<'_> {
    /// What is read first from `place` on, of flushes no more than `flushes_max`, of an archive its newest chunk or, in the middle
    /// of it, `chunk`; none when nothing is left.
    fn unit_from(&self, place: Place, flushes_max: u64, chunk: Option<&ChunkName>) -> Option<Unit> {
        let at = |target: Target| if target == place.target { place.at } else { 0 };
        if place.target == Target::Manifest
            && let Some(unit) = self.copy(place.at)
        {
            return Some(unit);
        }
        let snapshots = self.manifest.body.snapshots.iter();
        let snapshots = snapshots.filter(|meta| Target::Snapshot(meta.group) >= place.target);
        let mut snapshots: Vec<&SnapshotMeta> = snapshots.collect();
        snapshots.sort_by_key(|meta| meta.group);
        let piece = |meta: &&SnapshotMeta| piece_of(meta, at(Target::Snapshot(meta.group)));
        let mut archives: Vec<&ArchiveMeta> = self.manifest.body.archives.iter().collect();
        archives.retain(|meta| Target::Archive(meta.group) >= place.target);
        archives.sort_by_key(|meta| meta.group);
        let sealed = |meta: &&ArchiveMeta| {
            let at = at(Target::Archive(meta.group));
            let name =
                if at == 0 { Some(&meta.newest) } else { chunk.filter(|name| name.number >= meta.first) };
            Some(chunk_of(meta.group, name?, at))
        };
        let later = |contents: &&SegmentContents| Target::Segment(contents.meta.generation) >= place.target;
        let run = |contents: &SegmentContents| {
            self.flushes(contents, at(Target::Segment(contents.meta.generation)), flushes_max)
        };
        let snapshot = snapshots.iter().find_map(piece);
        let chunk = || archives.iter().find_map(sealed);
        snapshot.or_else(chunk).or_else(|| self.journal.segments().filter(later).find_map(run))
    }

    /// Whether what was asked for is still in force.
    fn still_has(&self, unit: &Unit) -> bool {
        match (unit.version, unit.place.target) {
            (Version::Manifest(sequence), _) => self.manifest.sequence == sequence,
            (Version::Snapshot(meta, _), _) => self.manifest.body.snapshots.contains(&meta),
            (Version::Chunk(name), Target::Archive(group)) => {
                let meta = meta_of(&self.manifest.body.archives, group);
                meta.is_some_and(|meta| meta.first <= name.number)
            }
            (Version::Chunk(_) | Version::Segment(..), target) => self.segment(target).is_some(),
        }
    }

    fn segment(&self, target: Target) -> Option<&SegmentContents> {
        self.journal.segments().find(|contents| Target::Segment(contents.meta.generation) == target)
    }

    /// The flush behind the one at this place of a segment.
    fn behind(&self, generation: u64, index: usize) -> Option<Unit> {
        let target = Target::Segment(generation);
        let contents = self.segment(target)?;
        let FlushPlace { from, to, .. } = *contents.flushes.get(index + 1)?;
        Some(Unit {
            place: Place { target, at: from },
            file: FileId::Segment(contents.meta.slot),
            offset: from,
            bytes: to - from,
            version: Version::Segment(index + 1, index + 2),
            next: Place { target, at: to },
        })
    }

    /// What the flush behind the one at this place of a segment, of which these are the bytes, says of it; nothing when
    /// the segment is gone.
    fn names(&self, generation: u64, index: usize, bytes: &Bytes) -> Result<Option<Rotten>, NoHead> {
        let Some(contents) = self.segment(Target::Segment(generation)) else { return Ok(None) };
        let Some(FlushPlace { from, .. }) = contents.flushes.get(index).copied() else { return Ok(None) };
        let Some(next) = self.behind(generation, index) else { return Ok(self.nameless(generation, index)) };
        let lines = read_head(bytes, generation, next.offset)?.previous_directory(bytes)?;
        let lost = lines.iter().map(RecordName::of_line).collect();
        Ok(Some(Rotten::Flush { generation, from, lost }))
    }

    /// The flush at this place of a segment, of which nobody says what it held.
    fn nameless(&self, generation: u64, index: usize) -> Option<Rotten> {
        let contents = self.segment(Target::Segment(generation))?;
        let from = contents.flushes.get(index)?.from;
        Some(Rotten::Nameless { generation, from, ordinals: contents.ordinals_of(index) })
    }

    /// A copy of the manifest in force.
    fn copy(&self, copy: u64) -> Option<Unit> {
        let (target, bytes) = (Target::Manifest, u64_of(COPY_BYTES));
        (copy < u64_of(COPIES)).then(|| Unit {
            place: Place { target, at: copy },
            file: FileId::Manifest,
            offset: self.manifest.offset() + copy * bytes,
            bytes,
            version: Version::Manifest(self.manifest.sequence),
            next: Place { target, at: copy + 1 },
        })
    }

    /// The next flushes of a segment from `at` on, of those that a durable one follows, which names them.
    fn flushes(&self, contents: &SegmentContents, at: u64, most: u64) -> Option<Unit> {
        let target = Target::Segment(contents.meta.generation);
        let flushes = &contents.flushes;
        let first = flushes.iter().position(|flush| flush.from >= at && !flush.is_rotten)?;
        let from = flushes[first].from;
        let mut behind = first;
        while let Some(flush) = flushes.get(behind)
            && !flush.is_rotten
            && contents.number_of(behind) < self.journal.barrier()
            && u64_of(behind - first) < most
            && (behind == first || flush.to - from <= UNIT_BYTES)
        {
            behind += 1;
        }
        let to = flushes[first..behind].last()?.to;
        Some(Unit {
            place: Place { target, at },
            file: FileId::Segment(contents.meta.slot),
            offset: from,
            bytes: to - from,
            version: Version::Segment(first, behind),
            next: Place { target, at: to },
        })
    }
}

/// A chunk of a snapshot; none behind its end.
fn piece_of(meta: &SnapshotMeta, at: u64) -> Option<Unit> {
    let target = Target::Snapshot(meta.group);
    let index = u32::try_from(at).ok().filter(|index| *index < meta.name.chunks())?;
    Some(Unit {
        place: Place { target, at },
        file: meta.file(),
        offset: meta.name.offset(index),
        bytes: u64::from(meta.name.length(index)),
        version: Version::Snapshot(*meta, index),
        next: Place { target, at: at + 1 },
    })
}

/// A chunk of the archive of a group, the one at this place from its newest on.
fn chunk_of(group: GroupId, name: &ChunkName, at: u64) -> Unit {
    let target = Target::Archive(group);
    Unit {
        place: Place { target, at },
        file: archive_file(group, name.number),
        offset: 0,
        bytes: name.bytes,
        version: Version::Chunk(*name),
        next: Place { target, at: at + 1 },
    }
}

/// What a flush of a segment has lost; none when it is as it was written, an error when its head is not there to say.
fn lost_of(
    contents: &SegmentContents,
    index: usize,
    bytes: &Bytes,
) -> Result<Option<Vec<RecordName>>, NoHead> {
    let head = read_head(bytes, contents.meta.generation, contents.flushes[index].from)?;
    if head.number != contents.number_of(index) {
        return Err(NoHead);
    }
    let is_whole = head.is_body_whole(bytes);
    Ok((!is_whole).then(|| RecordName::lost(&head.records(bytes))))
}

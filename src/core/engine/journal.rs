//! The journal while the node runs: group commit into segments that roll.
//!
//! ```text
//! staged records -> flush (write, barrier) -> durable, in journal order
//!                     |
//!                     +- does not fit: footer, on to the spare segment, which was made ahead of time
//! ```

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::engine::EngineConfig;
use crate::engine::disk::{DiskOp, DiskOpId, DiskOut, FileId};
use crate::engine::findings::RecordName;
use crate::engine::flush::{DirectoryLine, FlushPlan, build, directory_bytes, flush_bytes_bound};
use crate::engine::footer::{Footer, footer_bytes};
use crate::engine::log_reader::JournalLog;
use crate::engine::log_writer::{LogWriter, Measure};
use crate::engine::manifest::SegmentMeta;
use crate::engine::record::Record;
use crate::engine::retention::{FlushPlace, SegmentContents};
use crate::types::{Blob, GroupId, Hash, Mark, Marks, Monotonic, Op, Ordinal, u64_of, usize_of};

/// The open end of the journal.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Journal {
    config: EngineConfig,
    groups: usize,
    segment: OpenSegment,
    /// What the segments before it hold, oldest first.
    sealed: VecDeque<SegmentContents>,
    /// The newest durable promise of each group.
    promised: BTreeMap<GroupId, Ordinal>,
    first_flush: u64,
    spare: Option<SegmentMeta>,
    /// The last flush built.
    number: u64,
    hash: Hash,
    directory: Vec<DirectoryLine>,
    /// Every flush up to this one is durable.
    barrier: u64,
    /// The last one of these that holds records, as far as is known: the loss of a mark loses nothing.
    durable: u64,
    in_flight: VecDeque<InFlight>,
    /// When the journal fell idle behind a flush of records that no barrier mark follows yet.
    idle_since: Option<Monotonic>,
    /// Since when the next flush has not fitted the segment, and no spare one has been there.
    blocked_since: Option<Monotonic>,
}

#[derive(Clone, Debug)]
struct OpenSegment {
    meta: SegmentMeta,
    at: u64,
    last: BTreeMap<GroupId, (Op, Ordinal, Hash)>,
    contents: SegmentContents,
    fresh: bool,
}

#[derive(Clone, Debug)]
struct InFlight {
    number: u64,
    last_ordinal: Option<Ordinal>,
    promises: Vec<(GroupId, Ordinal)>,
    started: Monotonic,
    write: DiskOpId,
    barrier: DiskOpId,
    written: bool,
    synced: bool,
}

impl Journal {
    /// A journal that goes on after what `log` holds, in the fresh segment `meta`.
    pub(in crate::engine) fn open(
        config: EngineConfig,
        groups: usize,
        log: JournalLog,
        first_flush: u64,
        meta: SegmentMeta,
    ) -> Self {
        let named = log.tail.is_some();
        let holds_records = log.tail.as_ref().is_some_and(|tail| !tail.directory.is_empty());
        let (number, hash, directory) = match log.tail {
            Some(tail) => (tail.number, tail.hash, tail.directory),
            None => (first_flush - 1, Hash::ZERO, Vec::new()),
        };
        Self {
            config,
            groups,
            segment: OpenSegment::behind(number, meta),
            sealed: log.segments.into(),
            promised: log.promised,
            first_flush,
            spare: None,
            number,
            hash,
            directory,
            barrier: number,
            durable: number.saturating_sub(u64::from(!holds_records)),
            in_flight: VecDeque::new(),
            // A mark at once: until something follows the last flush of the run before, nothing names it.
            idle_since: named.then(Monotonic::default),
            blocked_since: None,
        }
    }

    /// What the segments before the open one hold, oldest first.
    pub(in crate::engine) fn sealed(&self) -> &VecDeque<SegmentContents> {
        &self.sealed
    }

    /// What every segment holds, oldest first.
    pub(in crate::engine) fn segments(&self) -> impl Iterator<Item = &SegmentContents> {
        self.sealed.iter().chain([&self.segment.contents])
    }

    /// Every flush up to this one is durable.
    pub(in crate::engine) fn barrier(&self) -> u64 {
        self.barrier
    }

    /// The number of the last durable flush that holds records, or of one before it.
    pub(in crate::engine) fn durable(&self) -> u64 {
        self.durable
    }

    /// These flushes of the segment of this generation were found rotten.
    pub(in crate::engine) fn mark_rotten(
        &mut self,
        generation: u64,
        is_rotten: impl Fn(&FlushPlace) -> bool,
    ) {
        let segments = self.sealed.iter_mut().chain([&mut self.segment.contents]);
        for contents in segments.filter(|contents| contents.meta.generation == generation) {
            contents.mark_rotten(&is_rotten);
        }
    }

    /// The newest durable promise of each group.
    pub(in crate::engine) fn promised(&self) -> &BTreeMap<GroupId, Ordinal> {
        &self.promised
    }

    /// The number of the oldest flush once `freed` of the oldest segments are gone.
    pub(in crate::engine) fn first_flush_after(&self, freed: usize) -> u64 {
        let last_freed = freed.checked_sub(1).and_then(|index| self.sealed.get(index));
        last_freed.map_or(self.first_flush, |segment| segment.last_number + 1)
    }

    /// The oldest segments are gone.
    pub(in crate::engine) fn forget_sealed(&mut self, freed: usize) {
        self.first_flush = self.first_flush_after(freed);
        self.sealed.drain(..freed);
    }

    /// Whether a flush of what `writer` holds could start now.
    pub(in crate::engine) fn wants_flush(&self, writer: &LogWriter) -> bool {
        !writer.is_empty() && self.is_slot_free()
    }

    /// Whether a flush could start now if there were anything to flush.
    pub(in crate::engine) fn is_slot_free(&self) -> bool {
        self.has_room_in_flight() && !self.is_blocked()
    }

    /// Whether the next flush waits for a spare segment.
    pub(in crate::engine) fn is_blocked(&self) -> bool {
        self.blocked_since.is_some()
    }

    /// Since when the disk has owed the oldest of what it was given, or room for more.
    pub(in crate::engine) fn owed_since(&self) -> Option<Monotonic> {
        self.in_flight.front().map(|flush| flush.started).or(self.blocked_since)
    }

    /// When the idle journal wants its barrier mark.
    pub(in crate::engine) fn mark_due(&self) -> Option<Monotonic> {
        self.idle_since.filter(|_| !self.is_blocked()).map(|since| since.after(self.config.idle_mark_after))
    }

    /// Whether a spare segment is wanted.
    pub(in crate::engine) fn wants_spare(&self) -> bool {
        self.spare.is_none()
    }

    pub(in crate::engine) fn add_spare(&mut self, meta: SegmentMeta) {
        self.spare = Some(meta);
        self.blocked_since = None;
    }

    /// Starts as many flushes as may be in flight; a barrier mark when the journal has been idle for long enough.
    pub(in crate::engine) fn flush(
        &mut self,
        now: Monotonic,
        writer: &mut LogWriter,
        mut ids: impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let mark = writer.is_empty() && self.mark_due().is_some_and(|due| due <= now);
        if mark && self.has_room_in_flight() {
            out.marks.hit(Mark::IdleBarrier);
            self.idle_since = None;
            self.start(now, Measure::default(), writer, &mut ids, out);
        }
        while self.wants_flush(writer) {
            self.idle_since = None;
            let measure = writer.measure(usize_of(u64::from(self.config.flush_bytes_max)));
            self.start(now, measure, writer, &mut ids, out);
        }
    }

    /// Takes a completed write or barrier; the ordinal up to which all is durable, if that grew.
    pub(in crate::engine) fn on_done(
        &mut self,
        now: Monotonic,
        id: DiskOpId,
        marks: &mut impl Marks,
    ) -> Option<Ordinal> {
        for flush in &mut self.in_flight {
            flush.written |= flush.write == id;
            flush.synced |= flush.barrier == id;
        }
        if self.in_flight.iter().skip(1).any(|flush| flush.barrier == id && flush.written) {
            marks.hit(Mark::FlushCompletedEarly);
        }
        let mut through = None;
        while self.in_flight.front().is_some_and(|flush| flush.written && flush.synced) {
            let Some(flush) = self.in_flight.pop_front() else { break };
            self.barrier = flush.number;
            if flush.last_ordinal.is_some() {
                self.durable = flush.number;
            }
            through = flush.last_ordinal.or(through);
            self.promised.extend(flush.promises);
            let idle = self.in_flight.is_empty() && flush.last_ordinal.is_some();
            self.idle_since = idle.then_some(now);
        }
        through
    }

    fn has_room_in_flight(&self) -> bool {
        u64_of(self.in_flight.len()) < u64::from(self.config.flushes_in_flight_max)
    }

    fn start(
        &mut self,
        now: Monotonic,
        measure: Measure,
        writer: &mut LogWriter,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) {
        let lines = measure.lines + directory_bytes(&self.directory);
        let bound = flush_bytes_bound(writer.commits_known(), lines, measure.body, measure.doubled);
        if !self.make_room(now, u64_of(bound), ids, out) {
            return;
        }
        // What is committed may be told by a flush that holds, or follows, everything staged before it was committed.
        let whole = measure.records == writer.staged();
        let commits = if whole { writer.take_commits(self.segment.fresh) } else { Vec::new() };
        if !whole {
            out.marks.hit(Mark::FlushSplit);
        }
        if !self.in_flight.is_empty() {
            out.marks.hit(Mark::FlushesOverlap);
        }
        let records = writer.take(measure.records);
        let plan = FlushPlan {
            generation: self.segment.meta.generation,
            at: self.segment.at,
            number: self.number + 1,
            previous: self.hash,
            barrier: self.barrier,
            commits: &commits,
            records: &records,
            previous_directory: &self.directory,
        };
        let built = build(&plan);
        let (write, barrier) = (ids(), ids());
        self.number = plan.number;
        self.in_flight.push_back(InFlight {
            number: self.number,
            last_ordinal: records.last().map(|(ordinal, _)| *ordinal),
            promises: promises(&records),
            started: now,
            write,
            barrier,
            written: false,
            synced: false,
        });
        let (file, offset) = (FileId::Segment(self.segment.meta.slot), self.segment.at);
        self.segment.note(self.number, u64_of(built.bytes.len()), &records);
        self.segment.fresh &= !whole;
        self.hash = built.hash;
        self.directory = built.directory;
        out.push(DiskOp::Write { id: write, file, offset, data: Blob(built.bytes) });
        out.push(DiskOp::Barrier { id: barrier });
    }

    /// Rolls to the spare segment when `bytes` do not fit; false when there is none.
    fn make_room(
        &mut self,
        now: Monotonic,
        bytes: u64,
        ids: &mut impl FnMut() -> DiskOpId,
        out: &mut DiskOut<'_, impl Marks>,
    ) -> bool {
        let copy_bytes = footer_bytes(self.groups);
        let footers_at = self.segment.meta.bytes - u64_of(2 * copy_bytes);
        if self.segment.at + bytes <= footers_at {
            return true;
        }
        let Some(spare) = self.spare.take() else {
            self.blocked_since = Some(now);
            out.marks.hit(Mark::RollBlocked);
            return false;
        };
        let footer = Footer {
            generation: self.segment.meta.generation,
            last_number: self.number,
            last_hash: self.hash,
            end: self.segment.at,
            groups: self
                .segment
                .last
                .iter()
                .map(|(group, (op, ordinal, hash))| (*group, *op, *ordinal, *hash))
                .collect(),
        };
        let (file, data) =
            (FileId::Segment(self.segment.meta.slot), Blob::from(footer.to_layout(copy_bytes)));
        out.push(DiskOp::Write { id: ids(), file, offset: footers_at, data });
        let full = core::mem::replace(&mut self.segment, OpenSegment::behind(self.number, spare));
        self.sealed.push_back(full.contents);
        out.marks.hit(Mark::SegmentRolled);
        assert!(
            bytes <= spare.bytes - u64_of(2 * copy_bytes),
            "the configuration was checked: a flush fits a segment"
        );
        true
    }
}

impl OpenSegment {
    fn behind(last_number: u64, meta: SegmentMeta) -> Self {
        let contents = SegmentContents::behind(last_number, meta);
        Self { meta, at: meta.from, last: BTreeMap::new(), contents, fresh: true }
    }

    /// A flush of so many bytes goes to the open end.
    fn note(&mut self, number: u64, bytes: u64, records: &[(Ordinal, Record)]) {
        let names = records.iter().map(|(ordinal, record)| (*ordinal, RecordName::of_record(record)));
        let last_ordinal = Ordinal::default();
        let place = FlushPlace { from: self.at, to: self.at + bytes, is_rotten: false, last_ordinal };
        self.contents.note(number, place, names);
        self.at = place.to;
        self.note_last(records);
    }

    fn note_last(&mut self, records: &[(Ordinal, Record)]) {
        for (ordinal, record) in records {
            if let Record::Entry(entry) = record {
                self.last.insert(entry.header().group(), (entry.op(), *ordinal, entry.hash()));
            }
        }
    }
}

fn promises(records: &[(Ordinal, Record)]) -> Vec<(GroupId, Ordinal)> {
    let promise = |(ordinal, record): &(Ordinal, Record)| match record {
        Record::HardState { group, .. } => Some((*group, *ordinal)),
        Record::Entry(_) | Record::Truncation { .. } => None,
    };
    records.iter().filter_map(promise).collect()
}

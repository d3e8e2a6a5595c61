//! The shadow of every node's journal: what was written, and what of it is durable.
//!
//! It sees the disk operations and nothing else. A flush is durable once a barrier completes that was submitted after
//! it, or once it survives a crash whole with all before it; from then on its records count, in the order of their
//! ordinals: of two records of an op the higher ordinal is the log's, and a truncation takes away what is below it.
//!
//! Asserts what can be told of a disk alone: FlushPrefix (35a), DurableMonotone (8), that no entry is missing up to the
//! commit that a promise names (NoGap, 44), for the headers of a promise begin there; and that ordinals only rise, on
//! which OrdinalWins (35b) rests.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::panic::Location;

use bytes::Bytes;
use chronon_core::engine::{DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId};
use chronon_core::types::{GroupId, Hash};

use super::few::Few;
use crate::disk::DiskImage;
use crate::journal::{self, EntryRecord, Flush, Promise, Proven, Record, RecordKind};

/// A broken invariant, before it is known at which node it broke.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub invariant: &'static str,
    pub group: Option<GroupId>,
    pub what: String,
    pub site: &'static Location<'static>,
}

impl Broken {
    #[track_caller]
    pub(super) fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, group: None, what, site: Location::caller() }
    }

    pub(super) fn of(mut self, group: GroupId) -> Self {
        self.group = Some(group);
        self
    }
}

/// The shadow of one node's disk.
#[derive(Clone, Debug, Default)]
pub(super) struct DiskShadow {
    /// Counts what was submitted.
    submitted: u64,
    /// Barriers in flight, and how much was submitted before each.
    barriers: Vec<(DiskOpId, u64)>,
    /// Writes to segments in flight, and whether one has failed.
    writes: BTreeSet<DiskOpId>,
    has_failed: bool,
    /// Flushes that are not durable yet, in the order of their numbers.
    pending: VecDeque<Pending>,
    /// The generation that each segment file is used in, and where its last write in it ended.
    ends: BTreeMap<FileId, (u64, u64)>,
    /// Where the last durable flush in it ended.
    durable_ends: BTreeMap<FileId, u64>,
    /// Number and hash of the last flush written, durable or not; `None` after a start, until one is written.
    last: Option<(u64, Hash)>,
    durable: Option<(u64, Hash)>,
    last_ordinal: u64,
    durable_ordinal: u64,
    logs: Few<GroupId, DurableLog>,
    pub compared: Compared,
}

/// How often each invariant was held against something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    pub flush_prefix: u64,
    pub durable_monotone: u64,
    pub no_gap: u64,
}

#[derive(Clone, Debug)]
struct Pending {
    submitted: u64,
    file: FileId,
    offset: u64,
    data: Bytes,
    flush: Flush,
}

/// What is durable of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct DurableLog {
    /// `None` while nothing was ever promised.
    pub promise: Option<Promise>,
    /// By op, from op 1.
    entries: Vec<Option<Durable>>,
    /// No op up to this one is missing.
    whole_to: u64,
    /// The process that runs has shown a snapshot in force that covers it up to here.
    saved: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Durable {
    pub hash: Hash,
    pub parent: Hash,
    ordinal: u64,
    harm: Harm,
}

/// What rot did to an entry that was durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Harm {
    None,
    /// The process that runs has not read it since.
    Unread(Rotten),
    /// A later process has.
    Read(Rotten),
}

/// Which bytes are gone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rotten {
    /// Of its payload: it cannot be read.
    Payload,
    /// Of the head of its flush, or just while it was being read: it may be found nevertheless.
    Head,
}

impl Durable {
    /// A process found that it cannot read the entry, or may have.
    pub(super) fn may_be_faulty(&self) -> bool {
        matches!(self.harm, Harm::Read(_))
    }

    /// Nothing of it rotted.
    pub(super) fn is_whole(&self) -> bool {
        self.harm == Harm::None
    }

    /// No process that runs now can have read the entry.
    pub(super) fn is_faulty(&self) -> bool {
        self.harm == Harm::Read(Rotten::Payload)
    }
}

impl DurableLog {
    /// The durable entry of an op.
    pub(super) fn entry(&self, op: u64) -> Option<&Durable> {
        self.entries.get(usize::try_from(op.checked_sub(1)?).ok()?)?.as_ref()
    }

    /// Whether it goes as far as this op, in a snapshot or behind it.
    pub(super) fn reaches(&self, op: u64) -> bool {
        op <= self.saved || self.entry(op).is_some()
    }

    /// View and log view that a restart finds.
    pub(super) fn promised(&self) -> Promise {
        self.promise.unwrap_or_default()
    }

    fn put(&mut self, op: u64, durable: Durable) {
        let Some(place) = op.checked_sub(1).and_then(|place| usize::try_from(place).ok()) else { return };
        if self.entries.len() <= place {
            self.entries.resize(place + 1, None);
        }
        self.entries[place] = Some(durable);
    }

    fn cut_above(&mut self, op: u64) {
        self.entries.truncate(usize::try_from(op).unwrap_or(usize::MAX));
        self.whole_to = self.whole_to.min(op);
    }

    /// Payloads in `harmed` of the flush that holds this record are gone, or its head is.
    fn rot(&mut self, ordinal: u64, entry: &EntryRecord, head: bool, harmed: &Range<usize>) {
        let payload = entry.at..entry.at + entry.payload.bytes.len();
        let place = entry.op.checked_sub(1).and_then(|place| usize::try_from(place).ok());
        let known = place.and_then(|place| self.entries.get_mut(place)?.as_mut());
        let Some(known) = known.filter(|known| known.ordinal == ordinal) else { return };
        // What is empty, as the payload of a wake-up, cannot rot.
        if !payload.is_empty() && payload.start < harmed.end && harmed.start < payload.end {
            known.harm = Harm::Unread(Rotten::Payload);
        } else if head && known.harm == Harm::None {
            known.harm = Harm::Unread(Rotten::Head);
        }
    }

    /// The lowest op up to `op` that has no durable entry.
    fn first_gap_to(&mut self, op: u64) -> Option<u64> {
        while self.whole_to < op && self.entry(self.whole_to + 1).is_some() {
            self.whole_to += 1;
        }
        (self.whole_to < op).then_some(self.whole_to + 1)
    }
}

impl DiskShadow {
    /// What is durable of `group`.
    pub(super) fn log(&self, group: GroupId) -> Option<&DurableLog> {
        self.logs.get(group)
    }

    /// A process starts: it will read the disk, and show what snapshots cover.
    pub(super) fn start(&mut self) {
        self.logs.iter_mut().for_each(|(_, log)| log.saved = 0);
        for entry in self.logs.iter_mut().flat_map(|(_, log)| log.entries.iter_mut().flatten()) {
            if let Harm::Unread(rotten) = entry.harm {
                entry.harm = Harm::Read(rotten);
            }
        }
    }

    /// The process has read the disk. What rotted since it began may have been read before, or after.
    pub(super) fn started(&mut self) {
        for entry in self.logs.iter_mut().flat_map(|(_, log)| log.entries.iter_mut().flatten()) {
            if let Harm::Unread(_) = entry.harm {
                entry.harm = Harm::Read(Rotten::Head);
            }
        }
    }

    /// Bytes of a flush that was durable are no longer what they were.
    pub(super) fn rot(&mut self, offset: u64, data: &Bytes, harmed: &Range<usize>, proven: &mut Proven) {
        let Ok(Some(flush)) = journal::read(data, offset, proven) else { return };
        for Record { group, ordinal, kind } in &flush.records {
            if let (RecordKind::Entry(entry), Some(log)) = (kind, self.logs.get_mut(*group)) {
                log.rot(*ordinal, entry, harmed.start < flush.head, harmed);
            }
        }
    }

    /// A snapshot in force covers everything up to `op`: what of it rotted is not missed.
    fn cover(&mut self, group: GroupId, op: u64) {
        let log = self.logs.get_mut(group);
        let entries = log.into_iter().flat_map(|log| &mut log.entries);
        for entry in entries.take(usize::try_from(op).unwrap_or(usize::MAX)).flatten() {
            entry.harm = Harm::None;
        }
    }

    /// A snapshot in force covers everything up to `op`, be it this node's own or one that it got from a peer: what was
    /// committed there is durable, with a record or without. Records of other entries that lie there do not count any more.
    pub(super) fn save(&mut self, group: GroupId, op: u64, committed: impl Fn(u64) -> Option<Hash>) {
        if op <= self.logs.get(group).map_or(0, |log| log.saved) {
            return;
        }
        let log = self.logs.or_default(group);
        for covered in log.saved + 1..=op {
            let (Some(parent), Some(hash)) = (committed(covered - 1), committed(covered)) else { break };
            if log.entry(covered).is_none_or(|entry| entry.hash != hash) {
                log.put(covered, Durable { hash, parent, ordinal: 0, harm: Harm::None });
            }
        }
        log.saved = op;
        self.cover(group, op);
    }

    /// A disk operation is submitted; the flush that it writes, if it writes one.
    pub(super) fn submit(
        &mut self,
        op: &DiskOp,
        proven: &mut Proven,
        broken: &mut Vec<Broken>,
    ) -> Option<&Flush> {
        self.submitted += 1;
        match op {
            DiskOp::Barrier { id } => self.barriers.push((*id, self.submitted)),
            DiskOp::Allocate { file, .. } | DiskOp::Put { file, .. } => {
                self.ends.remove(file);
                self.durable_ends.remove(file);
            }
            DiskOp::Write { id, file: file @ FileId::Segment(_), offset, data } => {
                self.writes.insert(*id);
                return self.write(*file, *offset, &data.0, proven, broken);
            }
            DiskOp::Write { .. } | DiskOp::Read { .. } => {}
        }
        None
    }

    fn write(
        &mut self,
        file: FileId,
        offset: u64,
        data: &Bytes,
        proven: &mut Proven,
        broken: &mut Vec<Broken>,
    ) -> Option<&Flush> {
        let newest = self.ends.values().map(|(generation, _)| *generation).max().unwrap_or_default();
        let known = self.ends.entry(file).or_default();
        let (generation, end) = *known;
        let written_in = journal::generation(data);
        let durable_end = self.durable_ends.get(&file).copied().unwrap_or_default();
        if data.iter().all(|byte| *byte == 0) {
            // A file that is to be used again, from its beginning or from behind what is durable in it.
            known.1 = offset + data.len() as u64;
            if offset < durable_end && (offset > 0 || generation == newest) {
                let what = format!(
                    "{file}: a block at {offset} of generation {generation} is wiped, and {durable_end} bytes are durable"
                );
                broken.push(Broken::new("FlushPrefix", what));
            } else if offset == 0 {
                self.durable_ends.remove(&file);
            }
            return None;
        }
        if written_in > generation && offset > 0 && offset < durable_end {
            let what = format!(
                "{file}: generation {written_in} begins at {offset}, and generation {generation} is durable up to \
                 {durable_end}"
            );
            broken.push(Broken::new("FlushPrefix", what));
        }
        *known = (written_in, offset + data.len() as u64);
        if written_in < generation || (written_in == generation && offset < end) {
            let what = format!(
                "{file}: a write of generation {written_in} at {offset} goes over blocks that generation {generation} \
                 wrote up to {end}"
            );
            broken.push(Broken::new("FlushPrefix", what));
        }
        let flush = match journal::read(data, offset, proven) {
            Ok(flush) => flush?,
            Err(what) => {
                let what = format!("{file}: what was written at {offset} is no flush: {what}");
                broken.push(Broken::new("FlushPrefix", what));
                return None;
            }
        };
        self.judge_flush(&flush, broken);
        self.last = Some((flush.number, flush.hash));
        for record in &flush.records {
            self.last_ordinal = self.last_ordinal.max(record.ordinal);
        }
        let submitted = self.submitted;
        self.pending.push_back(Pending { submitted, file, offset, data: data.clone(), flush });
        self.pending.back().map(|pending| &pending.flush)
    }

    /// A flush continues the one before it, claims no more than is durable, and its ordinals rise.
    fn judge_flush(&mut self, flush: &Flush, broken: &mut Vec<Broken>) {
        self.compared.flush_prefix += 1;
        let number = flush.number;
        let (last, hash) = self.last.or(self.durable).unwrap_or((0, Hash::ZERO));
        if number != last + 1 || flush.previous != hash {
            let what = format!("flush {number} follows flush {last}, and does not continue it");
            broken.push(Broken::new("FlushPrefix", what));
        }
        let durable = self.durable.map_or(0, |(number, _)| number);
        if flush.barrier > durable {
            let (barrier, generation) = (flush.barrier, flush.generation);
            let what = format!(
                "flush {number} of generation {generation} says that flush {barrier} is durable, and only {durable} is"
            );
            broken.push(Broken::new("FlushPrefix", what));
        }
        let mut last = self.last_ordinal;
        for Record { group, ordinal, .. } in &flush.records {
            if *ordinal <= last {
                let what = format!("flush {number} has ordinal {ordinal} after ordinal {last}");
                broken.push(Broken::new("OrdinalWins", what).of(*group));
            }
            last = *ordinal;
        }
    }

    /// A disk operation completed. Hands every record that became durable to `became`.
    pub(super) fn complete(
        &mut self,
        done: &DiskDone,
        broken: &mut Vec<Broken>,
        became: &mut impl FnMut(&Record),
    ) {
        if self.writes.remove(&done.id) {
            self.has_failed |= done.outcome != DiskOutcome::Done;
        }
        let Some(index) = self.barriers.iter().position(|(id, _)| *id == done.id) else { return };
        let (_, covers) = self.barriers.swap_remove(index);
        // No barrier makes durable what was not written; what is there all the same is seen at the crash.
        if done.outcome != DiskOutcome::Done || self.has_failed {
            return;
        }
        while self.pending.front().is_some_and(|pending| pending.submitted < covers) {
            if let Some(pending) = self.pending.pop_front() {
                self.reached(&pending);
                self.fold(&pending.flush, broken, became);
            }
        }
    }

    /// The process died, and its disk holds `disk`. Flushes that survived whole, up to the first that did not, are
    /// durable; whatever lies behind that is never read again.
    pub(super) fn crash(
        &mut self,
        disk: &DiskImage,
        broken: &mut Vec<Broken>,
        became: &mut impl FnMut(&Record),
    ) {
        for pending in std::mem::take(&mut self.pending) {
            let Pending { file, offset, ref data, ref flush, .. } = pending;
            let found = disk.read(file, offset, data.len());
            if found.is_none_or(|found| found[..flush.meant] != data[..flush.meant]) {
                break;
            }
            self.reached(&pending);
            self.fold(flush, broken, became);
        }
        self.barriers.clear();
        self.writes.clear();
        self.has_failed = false;
        self.last = None;
        // Ordinals of records that nobody will ever read are free again.
        self.last_ordinal = self.durable_ordinal;
    }

    /// A flush is durable where it lies.
    fn reached(&mut self, pending: &Pending) {
        let end = pending.offset + pending.data.len() as u64;
        self.durable_ends.insert(pending.file, end);
    }

    /// The records of `flush` are durable.
    pub(super) fn fold(&mut self, flush: &Flush, broken: &mut Vec<Broken>, became: &mut impl FnMut(&Record)) {
        self.durable = Some((flush.number, flush.hash));
        for record in &flush.records {
            self.durable_ordinal = self.durable_ordinal.max(record.ordinal);
            let log = self.logs.or_default(record.group);
            match &record.kind {
                RecordKind::Entry(entry) => {
                    let (hash, parent) = (entry.hash, entry.parent);
                    // What a snapshot in force covers counts as it was committed, whatever comes to lie there later: a copy of
                    // another entry may have been on its way to the journal's end when the snapshot of a peer took its place.
                    let is_another = log.entry(entry.op).is_some_and(|known| known.hash != hash);
                    if !(entry.op <= log.saved && is_another) {
                        log.put(
                            entry.op,
                            Durable { hash, parent, ordinal: record.ordinal, harm: Harm::None },
                        );
                    }
                }
                // Nor does it cut what a snapshot in force covers: it was on its way when the snapshot of a peer took that place.
                RecordKind::Truncation(above) => log.cut_above((*above).max(log.saved)),
                RecordKind::Promise { promise, commit } => {
                    self.compared.durable_monotone += 1;
                    self.compared.no_gap += 1;
                    if let Some(gap) = log.first_gap_to(*commit) {
                        let what =
                            format!("{promise} was made durable with commit {commit}, without op {gap}");
                        broken.push(Broken::new("NoGap", what).of(record.group));
                    }
                    let before = log.promised();
                    if promise.view < before.view || promise.log_view < before.log_view {
                        let what = format!("{before} was durable, and is overwritten by {promise}");
                        broken.push(Broken::new("DurableMonotone", what).of(record.group));
                    }
                    if promise.log_view > promise.view {
                        let what = format!("{promise} was made durable");
                        broken.push(Broken::new("LogView", what).of(record.group));
                    }
                    log.promise = Some(*promise);
                }
            }
            became(record);
        }
    }
}

impl std::fmt::Display for Promise {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "view {} with log view {}", self.view, self.log_view)
    }
}

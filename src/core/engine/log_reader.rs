//! Reading the journal after a start: what is whole, what is torn, what is rotten.
//!
//! Flushes are numbered without gaps and chained by hash. The last known barrier is the highest that any flush tells of,
//! or the end that the manifest recorded at the start before.
//!
//! * Above it, the first flush that does not continue the chain is *torn*, and the journal ends before it. One that was
//!   acknowledged before a later flush, or the idle mark, told of it, and that rotted since, cannot be told from a torn
//!   one: it counts among what a node may lose whole.
//! * At or below it, whatever is not whole is *rotten*: it may have been acknowledged, and is named by its own
//!   directory or by the next flush, which repeats that. Its entries are faulty: their headers are known, their payloads
//!   are to come from peers. The node refuses to go on only when nothing names what was lost, or when it lost the newest
//!   promise of a group.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::{Bytes, BytesMut};

use crate::engine::disk::BLOCK_BYTES;
use crate::engine::findings::{Damage, Finding, InspectedFlush, InspectedRecord, RecordName};
use crate::engine::flush::{
    COMMIT_BYTES, DirectoryLine, FlushHead, Found, HEAD_FIXED_BYTES, begins_flush, directory_bytes,
    read_head, records, second_copies,
};
use crate::engine::footer::{Footer, footer_bytes};
use crate::engine::manifest::SegmentMeta;
use crate::engine::recovered_log::{RecoveredLog, fold};
use crate::engine::retention::{FlushPlace, SegmentContents};
use crate::engine::segment_reads::{ReadSpan, Span};
use crate::types::{CommitIndex, GroupId, Hash, Mark, Marks, Ordinal, u64_of, usize_of};

/// Takes the segments, oldest first, and puts together what they hold.
#[derive(Clone, Debug)]
pub(in crate::engine) struct LogReader {
    groups: usize,
    /// The number that the oldest flush must have.
    first: u64,
    /// Every flush up to this one was read at the start before, and may have been acknowledged.
    recorded: u64,
    segments: Vec<Segment>,
    /// In the order of segments and places.
    flushes: Vec<Placed>,
}

#[derive(Clone, Debug)]
struct Segment {
    meta: SegmentMeta,
    /// From where it begins in its file.
    bytes: Bytes,
    /// Nothing of the journal lies behind this.
    limit: usize,
    /// Where blocks are that cannot be read; they are zeros here.
    unreadable: Vec<usize>,
}

impl Segment {
    /// Where in its file a place of it is.
    fn in_file(&self, at: usize) -> u64 {
        self.meta.from + u64_of(at)
    }
}

/// A flush with a whole head, in its place.
#[derive(Clone, Debug)]
struct Placed {
    segment: usize,
    at: usize,
    head: FlushHead,
    is_body_whole: bool,
    /// What it holds, as far as that is as it was written.
    records: Vec<(Ordinal, Found)>,
}

impl Placed {
    fn end(&self) -> usize {
        self.at + self.head.flush_bytes
    }
}

/// The last flush of the chain.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Tail {
    pub number: u64,
    pub hash: Hash,
    pub directory: Vec<DirectoryLine>,
}

/// What follows from what was read.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Assembled {
    /// What is not as it was written.
    pub findings: Vec<Finding>,
    /// The segment in which the chain ends, and where.
    pub end: (usize, usize),
    /// A sentence for the operator when something durable is lost and nothing says what it was.
    pub read: Result<ReadLog, String>,
}

/// Everything that the journal held.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ReadLog {
    pub journal: JournalLog,
    /// Where in its file each segment that was read ends; none when it holds nothing.
    pub ends: Vec<Option<u64>>,
    pub last_ordinal: Ordinal,
    pub groups: BTreeMap<GroupId, RecoveredLog>,
}

/// The chain's end, and what the segments before it hold.
#[derive(Clone, Debug)]
pub(in crate::engine) struct JournalLog {
    pub tail: Option<Tail>,
    /// Oldest first; segments without a flush are left out.
    pub segments: Vec<SegmentContents>,
    /// The newest promise of each group.
    pub promised: BTreeMap<GroupId, Ordinal>,
}

impl LogReader {
    pub(in crate::engine) fn new(groups: usize, first: u64, recorded: u64) -> Self {
        Self { groups, first, recorded, segments: Vec::new(), flushes: Vec::new() }
    }

    /// Takes the next segment, all of it: looks for the flushes in it, and verifies them while the next segment is being
    /// read. At `unreadable` of the file blocks are that cannot be read.
    pub(in crate::engine) fn segment(&mut self, meta: &SegmentMeta, bytes: Bytes, unreadable: &[usize]) {
        let footers = 2 * footer_bytes(self.groups);
        let from = usize_of(meta.from);
        let limit = if meta.end.is_some() { bytes.len() } else { bytes.len().saturating_sub(footers) };
        let mut at = 0;
        // Searched whole: whatever is in it may tell that something before it was acknowledged.
        while at < limit {
            match read_head(&bytes[at..limit], meta.generation, u64_of(from + at)) {
                Ok(head) if head.flush_bytes <= limit - at => {
                    let from_here = bytes.slice(at..limit);
                    let (is_body_whole, records) = (head.is_body_whole(&from_here), head.records(&from_here));
                    let flush = Placed { segment: self.segments.len(), at, head, is_body_whole, records };
                    at = flush.end();
                    self.flushes.push(flush);
                }
                _ => at += BLOCK_BYTES,
            }
        }
        let unreadable = unreadable.iter().filter_map(|at| at.checked_sub(from)).collect();
        self.segments.push(Segment { meta: *meta, bytes, limit, unreadable });
    }

    /// Puts together what was read.
    pub(in crate::engine) fn assemble(&self, marks: &mut impl Marks) -> Assembled {
        let mut chain = Chain::new(self.first, self.segments.iter().map(|segment| segment.meta));
        let followed = self.follow(&mut chain, marks);
        let findings = core::mem::take(&mut chain.findings);
        let end = chain.reached.unwrap_or_default();
        Assembled { findings, end, read: followed.and_then(|()| chain.finish()) }
    }

    /// What is to be read a second time before `assembled` is believed: reads may lie, and what they make look torn or
    /// lost must not be given up for it. Without a finding that is the place where the next flush would begin, and as far
    /// behind it as a flush may reach, of no more than `flush_bytes`: that one may be rotten, and the one behind it name it.
    pub(in crate::engine) fn doubtful(&self, assembled: &Assembled, flush_bytes: usize) -> Vec<Span> {
        let span = |index: usize, from: usize, to: usize| {
            let segment = self.segments.get(index)?;
            let (from, to) = (segment.in_file(from), segment.in_file(to.min(segment.limit)));
            (from < to).then_some(Span { meta: segment.meta, from, to })
        };
        if assembled.read.is_err() {
            return (0..self.segments.len()).filter_map(|index| span(index, 0, usize::MAX)).collect();
        }
        // Up to where the next flush begins, or, if one begins there, to its end.
        let flush = |index: usize, at: usize| {
            let mut after = self.flushes.iter().filter(|flush| flush.segment == index && flush.at >= at);
            let to = after.next().map(|flush| if flush.at == at { flush.end() } else { flush.at });
            span(index, at, to.unwrap_or(usize::MAX))
        };
        let found = assembled.findings.iter().flat_map(|finding| {
            let holds =
                |Segment { meta, .. }: &Segment| meta.slot == finding.slot && meta.from <= finding.offset;
            let index = self.segments.iter().rposition(holds);
            let next = if finding.damage == Damage::Torn { index.map(|index| index + 1) } else { None };
            let from = index.map_or(0, |index| self.segments[index].meta.from);
            let at = usize_of(finding.offset.saturating_sub(from));
            [index.and_then(|index| flush(index, at)), next.and_then(|next| flush(next, 0))]
        });
        let (index, at) = assembled.end;
        let reach = flush_bytes + BLOCK_BYTES;
        let end = [span(index, at, at + reach), span(index + 1, 0, reach)];
        found.chain(end).flatten().collect()
    }

    /// What this reader holds of `span`.
    pub(in crate::engine) fn held(&self, span: &Span) -> ReadSpan {
        let held = self.segments.iter().find(|segment| segment.meta == span.meta);
        let place = usize_of(span.from - span.meta.from)..usize_of(span.to - span.meta.from);
        let bytes = held.map_or_else(Bytes::new, |segment| segment.bytes.slice(place.clone()));
        let unreadable = held.map_or(&[][..], |segment| &segment.unreadable).iter();
        let unreadable = unreadable.filter(|at| place.contains(at)).map(|at| at + usize_of(span.meta.from));
        ReadSpan { span: *span, bytes, unreadable: unreadable.collect() }
    }

    /// The same reader, had it read these spans as they are given.
    pub(in crate::engine) fn with(&self, spans: &[ReadSpan]) -> Self {
        let mut reader = Self::new(self.groups, self.first, self.recorded);
        for Segment { meta, bytes, unreadable, .. } in &self.segments {
            let from = usize_of(meta.from);
            let mut patched = BytesMut::from(bytes.clone());
            let mut unreadable: Vec<usize> = unreadable.iter().map(|at| at + from).collect();
            for read in spans.iter().filter(|read| read.span.meta == *meta) {
                let place = usize_of(read.span.from)..usize_of(read.span.to);
                patched[place.start - from..place.end - from].copy_from_slice(&read.bytes);
                unreadable.retain(|at| !place.contains(at));
                unreadable.extend(&read.unreadable);
            }
            reader.segment(meta, patched.freeze(), &unreadable);
        }
        reader
    }

    /// Every flush with a whole head.
    pub(in crate::engine) fn describe(&self) -> Vec<InspectedFlush> {
        let describe = |flush: &Placed| {
            let segment = &self.segments[flush.segment];
            let record = |(ordinal, found): &(Ordinal, Found)| InspectedRecord {
                ordinal: *ordinal,
                what: RecordName::of_found(found),
                is_whole: found.is_whole(),
            };
            InspectedFlush {
                slot: segment.meta.slot,
                offset: segment.in_file(flush.at),
                bytes: u64_of(flush.head.flush_bytes),
                number: flush.head.number,
                barrier: flush.head.barrier,
                commits: flush.head.commits.clone(),
                records: flush.records.iter().map(record).collect(),
            }
        };
        self.flushes.iter().map(describe).collect()
    }

    fn follow(&self, chain: &mut Chain, marks: &mut impl Marks) -> Result<(), String> {
        let barrier = self.flushes.iter().map(|flush| flush.head.barrier).fold(self.recorded, u64::max);
        let mut ended = false;
        for flush in &self.flushes {
            if !self.extend(chain, flush, barrier, marks)? {
                ended = true;
                break;
            }
        }
        if chain.expected <= barrier {
            return Err(self.unnamed(chain, barrier));
        }
        if let Some((slot, at)) = self.unreadable_after(chain) {
            return Err(format!(
                "journal segment {slot}: the block at offset {at} cannot be read, and may be of a flush that was durable; \
                 replace the node by a new one"
            ));
        }
        if ended || self.begins_after(chain) {
            marks.hit(Mark::TornFlush);
            let (segment, at) = chain.reached.unwrap_or_default();
            self.find(chain, (segment, at), chain.expected, Damage::Torn);
        }
        Ok(())
    }

    /// A block that cannot be read, of the flush that would go on behind the end of the chain: what is torn can be read,
    /// so this may have been whole.
    fn unreadable_after(&self, chain: &Chain) -> Option<(u32, u64)> {
        let (index, at) = chain.reached.unwrap_or_default();
        let within = |index: usize, at: usize| {
            let segment = self.segments.get(index)?;
            let head = self.flushes.iter().find(|flush| (flush.segment, flush.at) == (index, at));
            let begins = segment.bytes.get(at..segment.limit);
            let begins = begins.is_some_and(|bytes| begins_flush(bytes, segment.meta.generation));
            // How long a head is whose first block alone can be read nobody knows.
            let end = head.map_or(if begins { segment.limit } else { at + BLOCK_BYTES }, Placed::end);
            let end = end.min(segment.limit);
            let block = segment.unreadable.iter().find(|block| (at..end).contains(*block))?;
            Some((segment.meta.slot, segment.in_file(*block)))
        };
        // The next segment has a flush that was acknowledged only if this one was sealed, or ended by a start.
        let ends = |segment: &Segment| segment.meta.end.is_some() || self.footer(segment).is_some();
        let is_sealed = self.segments.get(index).is_none_or(ends);
        within(index, at).or_else(|| within(index + 1, 0).filter(|_| is_sealed))
    }

    fn find(&self, chain: &mut Chain, (segment, at): (usize, usize), flush: u64, damage: Damage) {
        let found = self.segments.get(segment);
        let (slot, offset) = found.map_or((0, 0), |segment| (segment.meta.slot, segment.in_file(at)));
        chain.findings.push(Finding { slot, offset, flush, damage });
    }

    /// Lets the chain go on with `flush`, and with one that is missing before it; false when it is torn there.
    fn extend(
        &self,
        chain: &mut Chain,
        flush: &Placed,
        barrier: u64,
        marks: &mut impl Marks,
    ) -> Result<bool, String> {
        let Placed { segment, at, head, is_body_whole, records } = flush;
        let bytes = self.segments[*segment].bytes.slice(*at..self.segments[*segment].limit);
        if head.number > chain.expected {
            if chain.expected > barrier {
                marks.hit(Mark::FlushLost);
                return Ok(false);
            }
            let directory =
                head.previous_directory(&bytes).ok().filter(|_| head.number == chain.expected + 1);
            let Some(directory) = directory else { return Err(self.unnamed(chain, head.number - 1)) };
            marks.hit(Mark::FlushRotten);
            self.take_lost(chain, flush, directory);
        }
        let acknowledged = head.number <= barrier;
        if !chain.is_continued_by(head) {
            let (slot, at) = (self.segments[*segment].meta.slot, self.segments[*segment].in_file(*at));
            let what = format!("flush {} at offset {at} does not continue the one before it", head.number);
            return if acknowledged { Err(format!("journal segment {slot}: {what}")) } else { Ok(false) };
        }
        if !is_body_whole {
            if !acknowledged {
                return Ok(false);
            }
            marks.hit(Mark::FlushBodyRotten);
        }
        let lost = RecordName::lost(records);
        let is_rotten = !lost.is_empty();
        if is_rotten {
            self.find(chain, (*segment, *at), head.number, Damage::Body(lost));
        }
        let held = &self.segments[*segment];
        let place = FlushPlace {
            from: held.in_file(*at),
            to: held.in_file(flush.end()),
            is_rotten,
            last_ordinal: Ordinal::default(),
        };
        chain.take((*segment, flush.end()), place, head.number, records.clone());
        chain.tail = Some(Tail { number: head.number, hash: head.hash, directory: head.directory.clone() });
        for (group, commit) in &head.commits {
            let known = chain.commits.entry(*group).or_default();
            *known = (*known).max(*commit);
        }
        Ok(true)
    }

    /// Takes the flush before `next`, whose head is gone, as `directory` names it; its records, as far as their bytes
    /// are found.
    fn take_lost(&self, chain: &mut Chain, next: &Placed, directory: Vec<DirectoryLine>) {
        let (segment, gap) = self.gap_before(chain.reached, next);
        let guesses = self.guess_bodies(&directory, chain.tail.as_ref(), gap.bytes.len());
        let guesses = guesses.into_iter().map(|body_at| records(&directory, &gap.bytes, body_at));
        let is_whole = |(_, found): &&(Ordinal, Found)| found.is_whole();
        let best = guesses.max_by_key(|records| records.iter().filter(is_whole).count());
        let (number, records) =
            (chain.expected, best.unwrap_or_else(|| records(&directory, &Bytes::new(), 0)));
        self.find(chain, (segment, gap.begin), number, Damage::Head(RecordName::lost(&records)));
        let held = &self.segments[segment];
        let place = FlushPlace {
            from: held.in_file(gap.begin),
            to: held.in_file(gap.end),
            is_rotten: true,
            last_ordinal: Ordinal::default(),
        };
        chain.take((segment, gap.end), place, number, records);
        chain.tail = Some(Tail { number, hash: next.head.previous, directory });
    }

    /// Where the body of a flush may begin whose head is gone and whose length is at most `bytes`.
    fn guess_bodies(&self, directory: &[DirectoryLine], before: Option<&Tail>, bytes: usize) -> Vec<usize> {
        // Second copies begin at a block of their own, whatever the head was.
        if let Some(second) = second_copies(directory) {
            let blocks = (1..=bytes / BLOCK_BYTES).map(|block| block * BLOCK_BYTES);
            return blocks.filter_map(|block| block.checked_sub(second)).collect();
        }
        // The head repeated the directory before it, which is known; how many commits it told of is not.
        let Some(before) = before else { return Vec::new() };
        let lines = directory_bytes(directory) + directory_bytes(&before.directory);
        (0..=self.groups).map(|commits| HEAD_FIXED_BYTES + commits * COMMIT_BYTES + lines).collect()
    }

    /// Where the flush before `next` lay: behind what the chain has reached, in its segment or in the next.
    fn gap_before(&self, reached: Option<(usize, usize)>, next: &Placed) -> (usize, Gap) {
        let (segment, at) = match reached {
            Some((segment, end)) if segment == next.segment => (segment, end),
            _ if next.at > 0 => (next.segment, 0),
            Some((segment, end)) if segment + 1 == next.segment => (segment, end),
            Some((segment, _)) => (segment + 1, 0),
            None => (0, 0),
        };
        let Segment { bytes, limit, .. } = &self.segments[segment];
        let end = if segment == next.segment { next.at } else { *limit };
        (segment, Gap { bytes: bytes.slice(at.min(end)..end), begin: at, end })
    }

    /// Whether the bytes behind the last flush begin as one does.
    fn begins_after(&self, chain: &Chain) -> bool {
        let (segment, at) = chain.reached.unwrap_or_default();
        let begins = |segment: &Segment, at: usize| {
            let bytes = segment.bytes.get(at..segment.limit);
            bytes.is_some_and(|bytes| begins_flush(bytes, segment.meta.generation))
        };
        let here = self.segments.get(segment).is_some_and(|open| begins(open, at));
        here || self.segments.get(segment + 1).is_some_and(|next| begins(next, 0))
    }

    /// Why the node cannot go on: nothing says what the flushes from the expected one up to `to` held.
    fn unnamed(&self, chain: &Chain, to: u64) -> String {
        let (segment, at) = chain.reached.unwrap_or_default();
        let reached = self.segments.get(segment);
        let (slot, at) = reached.map_or((0, 0), |segment| (segment.meta.slot, segment.in_file(at)));
        let from = chain.expected;
        let which =
            if from == to { format!("flush {from} is") } else { format!("flushes {from} to {to} are") };
        let held = self.segments.get(segment).map_or_else(String::new, |segment| self.footer_says(segment));
        format!(
            "journal segment {slot}: {which} rotten behind offset {at}, and no flush names what was there{held}; replace \
             the node by a new one"
        )
    }

    /// The footer of a segment that was sealed.
    fn footer(&self, segment: &Segment) -> Option<Footer> {
        if segment.meta.end.is_some() {
            return None;
        }
        let copy = footer_bytes(self.groups);
        let footers = segment.bytes.len().saturating_sub(2 * copy);
        segment.bytes[footers..]
            .chunks(copy)
            .find_map(|copy| Footer::from_layout(copy, segment.meta.generation))
    }

    /// What the footer of a sealed segment says of it.
    fn footer_says(&self, segment: &Segment) -> String {
        let Some(footer) = self.footer(segment) else { return String::new() };
        let groups = footer.groups.iter().map(|(group, op, ..)| format!("group {group} up to op {op}"));
        format!(" (its footer: {})", groups.collect::<Vec<_>>().join(", "))
    }
}

/// Bytes between two flushes, and where they end in their segment.
struct Gap {
    bytes: Bytes,
    begin: usize,
    end: usize,
}

/// What was put together so far.
#[derive(Debug)]
struct Chain {
    /// The number of the flush that is to follow.
    expected: u64,
    tail: Option<Tail>,
    /// The segment of the last flush, and where that ends.
    reached: Option<(usize, usize)>,
    /// By segment: where its last flush ends, and what it holds.
    ends: Vec<usize>,
    contents: Vec<SegmentContents>,
    records: Vec<(Ordinal, Found)>,
    commits: BTreeMap<GroupId, CommitIndex>,
    findings: Vec<Finding>,
}

impl Chain {
    fn new(first: u64, segments: impl Iterator<Item = SegmentMeta>) -> Self {
        let contents: Vec<_> = segments.map(|meta| SegmentContents::behind(0, meta)).collect();
        Self {
            expected: first,
            tail: None,
            reached: None,
            ends: vec![0; contents.len()],
            contents,
            records: Vec::new(),
            commits: BTreeMap::new(),
            findings: Vec::new(),
        }
    }

    /// What came before the oldest flush was dropped, and with it the hash that it chains to.
    fn is_continued_by(&self, head: &FlushHead) -> bool {
        head.number == self.expected && self.tail.as_ref().is_none_or(|tail| head.previous == tail.hash)
    }

    /// Takes the records of the next flush, which lies at this place and ends there in this segment.
    fn take(
        &mut self,
        (segment, end): (usize, usize),
        place: FlushPlace,
        number: u64,
        mut records: Vec<(Ordinal, Found)>,
    ) {
        self.reached = Some((segment, end));
        self.ends[segment] = end;
        let names = records.iter().map(|(ordinal, found)| (*ordinal, RecordName::of_found(found)));
        self.contents[segment].note(number, place, names);
        self.records.append(&mut records);
        self.expected = number + 1;
    }

    fn finish(self) -> Result<ReadLog, String> {
        let last_ordinal = self.records.iter().map(|(ordinal, _)| *ordinal).max().unwrap_or_default();
        let groups = fold(self.records, self.commits)?;
        let promise = |(group, log): (&GroupId, &RecoveredLog)| Some((*group, log.hard_state.as_ref()?.0));
        let promised = groups.iter().filter_map(promise).collect();
        let place = |(contents, end): (&SegmentContents, &usize)| {
            (*end > 0).then(|| contents.meta.from + u64_of(*end))
        };
        let ends = self.contents.iter().zip(&self.ends).map(place).collect();
        let held = self.contents.into_iter().zip(&self.ends).filter(|(_, end)| **end > 0);
        let segments = held.map(|(contents, _)| contents).collect();
        let journal = JournalLog { tail: self.tail, segments, promised };
        Ok(ReadLog { journal, ends, last_ordinal, groups })
    }
}

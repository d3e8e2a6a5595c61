//! Reading the journal after a start: what is whole, what is torn, what is rotten.
//!
//! Flushes are numbered without gaps and chained by hash. The first one that does not continue the chain ends it:
//!
//! * *torn*, when nothing proves that it was ever durable: it was never acknowledged, and the journal ends before it;
//! * *rotten*, when a later flush says that a barrier had completed behind it, or the manifest says that the segment
//!   reached farther: it may have been acknowledged, and the node refuses to go on without it.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::disk::BLOCK_BYTES;
use crate::engine::flush::{
    DirectoryEntry, FlushError, FlushHead, Footer, begins_flush, footer_bytes, read_head,
};
use crate::engine::manifest::SegmentMeta;
use crate::engine::record::Record;
use crate::engine::retention::SegmentContents;
use crate::types::{CommitIndex, Entry, GroupId, Hash, Mark, Marks, Op, Ordinal, u64_of, usize_of};

/// Follows the chain of flushes through the segments, oldest first.
#[derive(Clone, Debug)]
pub(in crate::engine) struct LogReader {
    groups: usize,
    /// How far past the end of the chain a later flush can lie: what may have been on its way at once.
    window: usize,
    /// The number that the oldest flush must have.
    first: u64,
    tail: Option<Tail>,
    segments: Vec<SegmentContents>,
    records: Vec<(Ordinal, Record)>,
    commits: BTreeMap<GroupId, CommitIndex>,
}

/// The last flush of the chain so far.
#[derive(Clone, Debug)]
pub(in crate::engine) struct Tail {
    pub number: u64,
    pub hash: Hash,
    pub directory: Vec<DirectoryEntry>,
}

/// What the journal held for one group.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecoveredLog {
    /// The last promise recorded, and when.
    pub hard_state: Option<(Ordinal, Bytes)>,
    /// The newest record of every op that was not truncated, and when it was recorded.
    pub entries: BTreeMap<Op, (Ordinal, Entry)>,
    /// At least this much is committed.
    pub commit: CommitIndex,
}

/// Everything that the journal held.
#[derive(Clone, Debug)]
pub(in crate::engine) struct ReadLog {
    pub journal: JournalLog,
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
    pub(in crate::engine) fn new(groups: usize, window: usize, first: u64) -> Self {
        Self {
            groups,
            window,
            first,
            tail: None,
            segments: Vec::new(),
            records: Vec::new(),
            commits: BTreeMap::new(),
        }
    }

    /// Reads the next segment; the offset behind its last flush.
    ///
    /// # Errors
    /// A sentence for the operator when something durable is lost.
    pub(in crate::engine) fn segment(
        &mut self,
        meta: &SegmentMeta,
        bytes: &Bytes,
        marks: &mut impl Marks,
    ) -> Result<u64, String> {
        let footers = 2 * footer_bytes(self.groups);
        let limit = meta.end.map_or(bytes.len().saturating_sub(footers), usize_of);
        let mut at = 0;
        let mut contents = SegmentContents::default();
        while at < limit {
            match self.next_flush(&bytes.slice(at..limit), meta.generation, &mut contents) {
                Some(length) => at += length,
                None => break,
            }
        }
        if at > 0 {
            self.segments.push(contents);
        }
        self.judge_end(meta, bytes, at, limit, marks)?;
        Ok(u64_of(at))
    }

    /// Everything read.
    pub(in crate::engine) fn finish(self) -> ReadLog {
        let last_ordinal = self.records.iter().map(|(ordinal, _)| *ordinal).max().unwrap_or_default();
        let groups = fold(self.records, self.commits);
        let promise = |(group, log): (&GroupId, &RecoveredLog)| Some((*group, log.hard_state.as_ref()?.0));
        let promised = groups.iter().filter_map(promise).collect();
        ReadLog {
            journal: JournalLog { tail: self.tail, segments: self.segments, promised },
            last_ordinal,
            groups,
        }
    }

    /// Takes the flush at the front of `bytes` if it continues the chain; its length.
    fn next_flush(
        &mut self,
        bytes: &Bytes,
        generation: u64,
        contents: &mut SegmentContents,
    ) -> Option<usize> {
        let head = read_head(bytes, generation).ok().filter(|head| self.continues(head))?;
        let records: Result<_, FlushError> = head.records(bytes);
        let mut records = records.ok()?;
        contents.note(head.number, &records);
        self.records.append(&mut records);
        for (group, commit) in &head.commits {
            let known = self.commits.entry(*group).or_default();
            *known = (*known).max(*commit);
        }
        self.tail = Some(Tail { number: head.number, hash: head.hash, directory: head.directory });
        Some(head.flush_bytes)
    }

    /// What came before the oldest flush was dropped, and with it the hash that it chains to.
    fn continues(&self, head: &FlushHead) -> bool {
        head.number == self.expected() && self.tail.as_ref().is_none_or(|tail| head.previous == tail.hash)
    }

    fn expected(&self) -> u64 {
        self.tail.as_ref().map_or(self.first, |tail| tail.number + 1)
    }

    /// The chain ended at `at` of `limit`: torn, or rotten?
    fn judge_end(
        &self,
        meta: &SegmentMeta,
        bytes: &Bytes,
        at: usize,
        limit: usize,
        marks: &mut impl Marks,
    ) -> Result<(), String> {
        let slot = meta.slot;
        if let Some(end) = meta.end {
            return if at == limit {
                Ok(())
            } else {
                Err(format!(
                    "journal segment {slot}: flush at offset {at} is rotten; the segment reached {end}"
                ))
            };
        }
        let expected = self.expected();
        let places = (at..limit).step_by(BLOCK_BYTES).take(self.window / BLOCK_BYTES);
        let mut survivor = false;
        let heads = places.filter_map(|place| read_head(&bytes[place..limit], meta.generation).ok());
        let mut later = heads.inspect(|head| survivor |= head.number > expected);
        if let Some(proof) = later.find(|head| head.barrier >= expected) {
            let lost = self.name_lost(meta, bytes, &proof, expected);
            return Err(format!("journal segment {slot}: flush {expected} at offset {at} is rotten; {lost}"));
        }
        if begins_flush(&bytes[at..limit], meta.generation) {
            marks.hit(Mark::TornFlush);
        } else if survivor {
            marks.hit(Mark::FlushLost);
        }
        Ok(())
    }

    /// What the flush after the lost one, or the segment's footer, says about it.
    fn name_lost(&self, meta: &SegmentMeta, bytes: &Bytes, proof: &FlushHead, expected: u64) -> String {
        if proof.number == expected + 1 {
            let lines = proof.previous_directory.iter();
            let names: Vec<String> = lines.map(|l| format!("group {} op {}", l.group, l.op)).collect();
            return format!("it held {}", names.join(", "));
        }
        let copy = footer_bytes(self.groups);
        let footers = bytes.len().saturating_sub(2 * copy);
        let footer = bytes[footers..].chunks(copy).find_map(|c| Footer::from_layout(c, meta.generation));
        match footer {
            Some(footer) => {
                let lines = footer.groups.iter();
                let names: Vec<String> =
                    lines.map(|(g, op, _, _)| format!("group {g} up to op {op}")).collect();
                format!("the segment held {}", names.join(", "))
            }
            None => format!("flush {} proves that it was durable", proof.number),
        }
    }
}

/// The newest record of every op and the last promise of every group: the ordinal decides, not the place.
pub(crate) fn fold(
    mut records: Vec<(Ordinal, Record)>,
    commits: BTreeMap<GroupId, CommitIndex>,
) -> BTreeMap<GroupId, RecoveredLog> {
    records.sort_by_key(|(ordinal, _)| *ordinal);
    let mut groups: BTreeMap<GroupId, RecoveredLog> = BTreeMap::new();
    for (group, commit) in commits {
        groups.entry(group).or_default().commit = commit;
    }
    for (ordinal, record) in records {
        let log = groups.entry(record.group()).or_default();
        match record {
            Record::Entry(entry) => {
                log.entries.insert(entry.op(), (ordinal, entry));
            }
            Record::Truncation { above, .. } => {
                log.entries.split_off(&above.next());
            }
            Record::HardState { state, .. } => log.hard_state = Some((ordinal, state)),
        }
    }
    groups
}

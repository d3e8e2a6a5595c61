//! Records on their way to the journal: staged by consensus, taken by the next flush.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use crate::engine::flush::{HEAD_FIXED_BYTES, line_bytes};
use crate::engine::record::{Record, RecordKind};
use crate::types::{CommitIndex, GroupId, Ordinal};

/// Takes records and numbers them. What it has taken becomes durable in the order of the ordinals.
#[derive(Clone, Debug)]
pub struct LogWriter {
    staged: VecDeque<Staged>,
    next: Ordinal,
    durable: Ordinal,
    commits: BTreeMap<GroupId, CommitIndex>,
    commits_changed: BTreeMap<GroupId, CommitIndex>,
}

#[derive(Clone, Debug)]
struct Staged {
    ordinal: Ordinal,
    record: Record,
    /// The next record belongs into the same flush.
    joined: bool,
}

impl LogWriter {
    /// A writer whose first record gets the ordinal after `last`; everything up to `last` is durable.
    pub(crate) fn after(last: Ordinal) -> Self {
        Self {
            staged: VecDeque::new(),
            next: last.next(),
            durable: last,
            commits: BTreeMap::new(),
            commits_changed: BTreeMap::new(),
        }
    }

    /// Takes a record; it is durable once [`LogWriter::durable`] reaches the ordinal returned.
    pub fn append(&mut self, record: Record) -> Ordinal {
        self.stage(record, false)
    }

    /// Takes records that become durable together or not at all; the ordinal of the last.
    ///
    /// # Panics
    /// When there are none.
    pub fn append_together(&mut self, records: Vec<Record>) -> Ordinal {
        assert!(!records.is_empty(), "nothing to append together");
        let last = records.len() - 1;
        let mut ordinal = self.durable;
        for (index, record) in records.into_iter().enumerate() {
            ordinal = self.stage(record, index < last);
        }
        ordinal
    }

    /// Everything up to this ordinal is durable.
    pub fn durable(&self) -> Ordinal {
        self.durable
    }

    /// The ordinal of the last record taken.
    pub fn last(&self) -> Ordinal {
        match self.next.previous() {
            Some(last) => last,
            None => self.next,
        }
    }

    /// Lets the next flush tell that `group` has committed up to `commit`. It is a hint for recovery and never
    /// causes a flush.
    pub fn note_commit(&mut self, group: GroupId, commit: CommitIndex) {
        self.commits.insert(group, commit);
        self.commits_changed.insert(group, commit);
    }

    fn stage(&mut self, record: Record, joined: bool) -> Ordinal {
        let ordinal = self.next;
        self.next = ordinal.next();
        self.staged.push_back(Staged { ordinal, record, joined });
        ordinal
    }

    /// Records that no flush has taken yet.
    pub(in crate::engine) fn staged(&self) -> usize {
        self.staged.len()
    }

    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.staged.is_empty()
    }

    pub(crate) fn mark_durable(&mut self, through: Ordinal) {
        assert!(
            through >= self.durable && through < self.next,
            "durability only grows, and only over what was taken"
        );
        self.durable = through;
    }

    /// The commits that the next flush tells: those that changed, or all of them on a fresh segment.
    pub(in crate::engine) fn take_commits(&mut self, all: bool) -> Vec<(GroupId, CommitIndex)> {
        let changed = core::mem::take(&mut self.commits_changed);
        let commits = if all { &self.commits } else { &changed };
        commits.iter().map(|(group, commit)| (*group, *commit)).collect()
    }

    pub(in crate::engine) fn commits_known(&self) -> usize {
        self.commits.len()
    }

    /// How many of the first records go into a flush of at most `bytes_max` bytes, never parting those that belong
    /// together, and at least one such unit.
    pub(in crate::engine) fn measure(&self, bytes_max: usize) -> Measure {
        let mut best = Measure::default();
        let mut so_far = Measure::default();
        for staged in &self.staged {
            so_far.records += 1;
            so_far.body += staged.record.body_bytes();
            so_far.lines += line_bytes(staged.record.kind());
            if staged.record.kind() == RecordKind::HardState {
                so_far.doubled += staged.record.body_bytes();
                so_far.lines += line_bytes(RecordKind::HardState);
            }
            if staged.joined {
                continue;
            }
            // The next flush repeats the directory, and is to fit as well.
            let bytes = HEAD_FIXED_BYTES + so_far.body + so_far.doubled + 2 * so_far.lines;
            if best.records > 0 && bytes > bytes_max {
                break;
            }
            best = so_far;
        }
        best
    }

    pub(crate) fn take(&mut self, records: usize) -> Vec<(Ordinal, Record)> {
        self.staged.drain(..records).map(|staged| (staged.ordinal, staged.record)).collect()
    }
}

/// A prefix of what is staged.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct Measure {
    pub records: usize,
    /// Bytes of their directory.
    pub lines: usize,
    pub body: usize,
    pub doubled: usize,
}

//! What follows from the records of a journal: the log and the promise of each group.

use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::flush::Found;
use crate::engine::record::Record;
use crate::types::{CommitIndex, Entry, EntryHeader, GroupId, Op, Ordinal};

/// What the journal held for one group.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RecoveredLog {
    /// The last promise recorded, and when.
    pub hard_state: Option<(Ordinal, Bytes)>,
    /// The newest record of every op that was not truncated, and when it was recorded.
    pub entries: BTreeMap<Op, (Ordinal, RecoveredEntry)>,
    /// At least this much is committed.
    pub commit: CommitIndex,
}

/// An entry that was recorded.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum RecoveredEntry {
    /// As it was written.
    Whole(Entry),
    /// It was durable, may have been acknowledged, and its payload is not readable any more.
    Faulty(EntryHeader),
}

impl RecoveredEntry {
    /// Its header.
    pub fn header(&self) -> &EntryHeader {
        match self {
            Self::Whole(entry) => entry.header(),
            Self::Faulty(header) => header,
        }
    }
}

/// What a start finds when all of these are whole.
#[cfg(test)]
pub(crate) fn recovered(records: Vec<(Ordinal, Record)>) -> BTreeMap<GroupId, RecoveredLog> {
    let found = records.into_iter().map(|(ordinal, record)| (ordinal, Found::Whole(record)));
    fold(found.collect(), BTreeMap::new()).expect("nothing is lost")
}

/// The newest record of every op and the last promise of every group: the ordinal decides, not the place.
///
/// # Errors
/// When the newest promise of a group is lost.
pub(in crate::engine) fn fold(
    mut records: Vec<(Ordinal, Found)>,
    commits: BTreeMap<GroupId, CommitIndex>,
) -> Result<BTreeMap<GroupId, RecoveredLog>, String> {
    records.sort_by_key(|(ordinal, _)| *ordinal);
    let mut groups: BTreeMap<GroupId, RecoveredLog> = BTreeMap::new();
    let mut lost: BTreeMap<GroupId, Ordinal> = BTreeMap::new();
    for (group, commit) in commits {
        groups.entry(group).or_default().commit = commit;
    }
    for (ordinal, found) in records {
        match found {
            Found::Whole(Record::Entry(entry)) => {
                let log = groups.entry(entry.header().group()).or_default();
                log.entries.insert(entry.op(), (ordinal, RecoveredEntry::Whole(entry)));
            }
            Found::FaultyEntry(header) => {
                let log = groups.entry(header.group()).or_default();
                log.entries.insert(header.op(), (ordinal, RecoveredEntry::Faulty(header)));
            }
            Found::Whole(Record::Truncation { group, above }) => {
                groups.entry(group).or_default().entries.split_off(&above.next());
            }
            Found::Whole(Record::HardState { group, state }) => {
                lost.remove(&group);
                groups.entry(group).or_default().hard_state = Some((ordinal, state));
            }
            Found::LostPromise(group) => {
                lost.insert(group, ordinal);
            }
        }
    }
    match lost.first_key_value() {
        None => Ok(groups),
        Some((group, _)) => Err(format!(
            "the newest promise of group {group} is rotten in both copies; replace the node by a new one"
        )),
    }
}

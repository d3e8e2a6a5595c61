//! What a reader of the journal has to tell of it, flush by flush.

use alloc::vec::Vec;

use bytes::Bytes;
use core::fmt;

use crate::engine::flush::{DirectoryLine, Found, Named};
use crate::engine::record::Record;
use crate::types::{CommitIndex, GroupId, Op, Ordinal};

/// A flush with a whole head.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InspectedFlush {
    /// The segment's file.
    pub slot: u32,
    /// Where it begins.
    pub offset: u64,
    /// How long it is.
    pub bytes: u64,
    /// Its number.
    pub number: u64,
    /// Every flush up to this one was durable when it was written.
    pub barrier: u64,
    /// What it tells of commits.
    pub commits: Vec<(GroupId, CommitIndex)>,
    /// Its records.
    pub records: Vec<InspectedRecord>,
}

/// A record of a flush.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InspectedRecord {
    /// When it was recorded.
    pub ordinal: Ordinal,
    /// What it is.
    pub what: RecordName,
    /// Whether its bytes are those that the directory names.
    pub is_whole: bool,
}

/// What a record is, by name.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RecordName {
    /// An entry of a group's log.
    Entry(GroupId, Op),
    /// Everything above an op left a group's log.
    Truncation(GroupId, Op),
    /// What a group's replica promised.
    Promise(GroupId),
}

/// Something that is not as it was written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Finding {
    /// The segment's file.
    pub slot: u32,
    /// Where the flush begins, or would.
    pub offset: u64,
    /// Its number.
    pub flush: u64,
    /// What is wrong with it.
    pub damage: Damage,
}

/// What is wrong with a flush.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Damage {
    /// It was never acknowledged, and the journal ends before it.
    Torn,
    /// Its head is gone, and the next flush names what it held; of that these are lost.
    Head(Vec<RecordName>),
    /// Its body has lost these.
    Body(Vec<RecordName>),
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Entry(group, op) => write!(f, "group {group} op {op}"),
            Self::Truncation(group, above) => write!(f, "group {group} cut above op {above}"),
            Self::Promise(group) => write!(f, "group {group} promise"),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { slot, offset, flush, damage } = self;
        write!(f, "segment {slot} offset {offset}: flush {flush} ")?;
        let (what, lost) = match damage {
            Damage::Torn => return f.write_str("is torn: it was never acknowledged"),
            Damage::Head(lost) => ("is rotten in its head", lost),
            Damage::Body(lost) => ("is rotten in its body", lost),
        };
        f.write_str(what)?;
        if lost.is_empty() {
            return f.write_str("; nothing is lost");
        }
        f.write_str("; lost: ")?;
        for (index, name) in lost.iter().enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

impl RecordName {
    pub(in crate::engine) fn of_found(found: &Found) -> Self {
        match found {
            Found::Whole(record) => Self::of_record(record),
            Found::FaultyEntry(header) => Self::Entry(header.group(), header.op()),
            Found::LostPromise(group) => Self::Promise(*group),
        }
    }

    pub(in crate::engine) fn of_line(line: &DirectoryLine) -> Self {
        match &line.named {
            Named::Entry(header) => Self::Entry(header.group(), header.op()),
            Named::Truncation { group, above } => Self::Truncation(*group, *above),
            Named::HardState { group, .. } => Self::Promise(*group),
        }
    }

    pub(in crate::engine) fn of_record(record: &Record) -> Self {
        match record {
            Record::Entry(entry) => Self::Entry(entry.header().group(), entry.op()),
            Record::Truncation { group, above } => Self::Truncation(*group, *above),
            Record::HardState { group, .. } => Self::Promise(*group),
        }
    }

    /// Those of `records` that are lost.
    pub(in crate::engine) fn lost(records: &[(Ordinal, Found)]) -> Vec<Self> {
        let lost = records.iter().filter(|(_, found)| !found.is_whole());
        lost.map(|(_, found)| Self::of_found(found)).collect()
    }
}

/// A file of a data directory.
#[derive(Clone, Debug, Default)]
pub struct ReadFile {
    /// What is in it, with zeros for blocks that cannot be read.
    pub bytes: Bytes,
    /// Where these begin.
    pub unreadable: Vec<usize>,
}

//! Archives read offline, every chunk of them.

use alloc::vec::Vec;

use super::{ArchiveMeta, archive_file, open};
use crate::engine::disk::FileId;
use crate::engine::findings::ReadFile;
use crate::types::{GroupId, Op, Timestamp};

/// A chunk that an archive is to have.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InspectedChunk {
    /// Whose archive.
    pub group: GroupId,
    /// Which chunk of it.
    pub number: u64,
    /// What it holds, when every byte is as it was sealed.
    pub holds: Option<InspectedRun>,
}

/// A run of entries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InspectedRun {
    /// It begins with this entry.
    pub first: Op,
    /// It ends with this one.
    pub last: Op,
    /// Consensus time of that.
    pub last_time: Timestamp,
    /// Length of the file.
    pub bytes: u64,
}

/// The chunks of an archive, newest first: each is verified against the name that a later one gives it. What no readable one
/// names counts as lost.
pub(in crate::engine) fn inspect_archive(
    meta: &ArchiveMeta,
    read: &mut impl FnMut(FileId) -> Option<ReadFile>,
) -> Vec<InspectedChunk> {
    let group = meta.group;
    let mut names = Vec::from([meta.newest]);
    let mut chunks = Vec::new();
    for number in (meta.first..=meta.newest.number).rev() {
        names.retain(|name| name.number <= number);
        let name = names.first().copied().filter(|name| name.number == number);
        let file = read(archive_file(group, number)).unwrap_or_default();
        let head = open(group, &file.bytes).filter(|head| Some(head.name) == name);
        let holds = head.as_ref().map(|head| InspectedRun {
            first: head.first_op,
            last: head.name.last_op,
            last_time: head.name.last_time,
            bytes: head.name.bytes,
        });
        chunks.push(InspectedChunk { group, number, holds });
        if let Some(head) = head {
            names = head.earlier;
        }
    }
    chunks
}

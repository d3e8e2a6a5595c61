//! What a data directory holds, read as a start would read it, and changed in nothing.

use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;

use bytes::Bytes;

use crate::engine::archive::{InspectedChunk, inspect_archive};
use crate::engine::boots::Witnessed;
use crate::engine::disk::FileId;
use crate::engine::findings::{Finding, InspectedFlush, ReadFile};
use crate::engine::identity::Identity;
use crate::engine::log_reader::LogReader;
use crate::engine::manifest::{Manifest, places};
use crate::engine::recovered_log::RecoveredLog;
use crate::engine::segment_reads::Span;
use crate::types::{BootId, GroupId, NoMarks, NodeId, Op, usize_of};

/// A data directory from outside.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// Whose it is.
    pub identity: Identity,
    /// The last start on it.
    pub boot: BootId,
    /// What it says of the disks of other nodes.
    pub witnessed: BTreeMap<NodeId, Witnessed>,
    /// The snapshots that the manifest names.
    pub snapshots: Vec<InspectedSnapshot>,
    /// The chunks that archives are to have, by group, newest first.
    pub chunks: Vec<InspectedChunk>,
    /// The journal's segments, oldest first.
    pub segments: Vec<InspectedSegment>,
    /// The flushes with a whole head, in their order.
    pub flushes: Vec<InspectedFlush>,
    /// What is not as it was written.
    pub findings: Vec<Finding>,
    /// What a start would find of each group, or why it would refuse.
    pub logs: Result<BTreeMap<GroupId, RecoveredLog>, String>,
}

/// A snapshot that the manifest names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InspectedSnapshot {
    /// The file.
    pub slot: u32,
    /// Whose state it holds.
    pub group: GroupId,
    /// Applied up to here.
    pub op: Op,
    /// Whether its bytes are those that the manifest names.
    pub is_whole: bool,
}

/// A segment that the manifest names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct InspectedSegment {
    /// The file.
    pub slot: u32,
    /// Which use of the file this is.
    pub generation: u64,
    /// The file's length.
    pub bytes: u64,
    /// Where it begins in the file.
    pub from: u64,
    /// Where the last start found its end; `None` while it may grow.
    pub end: Option<u64>,
    /// Whether the file is there, as long as it should be.
    pub is_there: bool,
}

/// Who a data directory belongs to, as its manifest says.
///
/// # Errors
/// A sentence when there is no manifest that can be used.
pub fn identity_of(manifest: Option<ReadFile>) -> Result<Identity, String> {
    let manifest = manifest.ok_or("there is no manifest")?;
    Ok(Manifest::open(&places(&manifest.bytes), &mut NoMarks)?.body.identity)
}

/// Reads a data directory whose files `read` gives, `None` for one that is not there.
///
/// # Errors
/// A sentence when there is no manifest that can be used.
pub fn inspect(mut read: impl FnMut(FileId) -> Option<ReadFile>) -> Result<Inspection, String> {
    let manifest = read(FileId::Manifest).ok_or("there is no manifest")?;
    let body = Manifest::open(&places(&manifest.bytes), &mut NoMarks)?.body;
    let snapshots = body.snapshots.iter().map(|meta| {
        let ReadFile { bytes, .. } = read(meta.file()).unwrap_or_default();
        let chunk = |index| {
            let at = usize_of(meta.name.offset(index)).min(bytes.len());
            meta.name.open(meta.group, index, &bytes.slice(at..))
        };
        let payloads: Option<Vec<Bytes>> = (0..meta.name.chunks()).map(chunk).collect();
        let is_whole = payloads.and_then(|payloads| meta.name.join(payloads)).is_some();
        InspectedSnapshot { slot: meta.slot, group: meta.group, op: meta.name.op, is_whole }
    });
    let snapshots = snapshots.collect();
    let chunks = body.archives.iter().flat_map(|meta| inspect_archive(meta, &mut read)).collect();
    let mut reader = LogReader::new(body.identity.groups.len(), body.first_flush, body.last_flush);
    let mut segments = Vec::new();
    for meta in &body.segments {
        let ReadFile { bytes, unreadable } = read(FileId::Segment(meta.slot)).unwrap_or_default();
        let is_there = bytes.len() == usize_of(meta.bytes);
        segments.push(InspectedSegment {
            slot: meta.slot,
            generation: meta.generation,
            bytes: meta.bytes,
            from: meta.from,
            end: meta.end,
            is_there,
        });
        let span = Span::whole(meta);
        let place = usize_of(span.from).min(bytes.len())..usize_of(span.to).min(bytes.len());
        let unreadable: Vec<usize> = unreadable.into_iter().filter(|at| *at < place.end).collect();
        reader.segment(meta, bytes.slice(place), &unreadable);
    }
    let flushes = reader.describe();
    let assembled = reader.assemble(&mut NoMarks);
    let (findings, logs) = (assembled.findings, assembled.read.map(|read| read.groups));
    let witnessed = body.all_witnessed();
    let (identity, boot) = (body.identity, body.boots.last());
    Ok(Inspection { identity, boot, witnessed, snapshots, chunks, segments, flushes, findings, logs })
}

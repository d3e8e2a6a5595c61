//! RotRepaired: what a running process has read and found rotten it writes again.
//!
//! Twice, for a single read may lie: from then on it knows, and has what rotted in memory, unless every voter's snapshot
//! covers it. A start reads everything, and what it cannot read comes from peers: FaultySilent and Heals judge that.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::Bytes;
use chronon_core::engine::{DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId};
use chronon_core::types::{GroupId, NodeId};

use super::{Counts, Kind, Observed, Oracle, Violation};
use crate::journal::{self, Proven, RecordKind};
use crate::time::{SECOND, WorldTime};

/// The oracle.
#[derive(Clone, Debug, Default)]
pub struct RotRepaired {
    nodes: BTreeMap<NodeId, Disk>,
    /// What a snapshot in force covers of each replica.
    saved: BTreeMap<(NodeId, GroupId), u64>,
    compared: u64,
}

#[derive(Clone, Debug, Default)]
struct Disk {
    /// Reads of segments on their way.
    reads: BTreeMap<DiskOpId, (FileId, Range<u64>)>,
    rotten: Vec<Rotten>,
}

/// An entry whose payload rotted under the process that runs.
#[derive(Clone, Debug)]
struct Rotten {
    group: GroupId,
    op: u64,
    file: FileId,
    place: Range<u64>,
    /// Where its flush lies.
    flush: Range<u64>,
    /// How often it was read since, and when last.
    reads: u32,
    read_at: WorldTime,
}

impl Rotten {
    fn is_known(&self) -> bool {
        self.reads >= READS
    }
}

/// After so many reads the process knows.
const READS: u32 = 2;
/// So long it may take to write again what it knows of.
const SPAN: u64 = 2 * SECOND;

impl Disk {
    fn rot(&mut self, file: FileId, offset: u64, data: &Bytes, harmed: &Range<usize>) {
        let Ok(Some(flush)) = journal::read(data, offset, &mut Proven::default()) else { return };
        for record in flush.records {
            let RecordKind::Entry(entry) = record.kind else { continue };
            let payload = entry.at..entry.at + entry.payload.bytes.len();
            if payload.start < harmed.end && harmed.start < payload.end {
                let place = offset + payload.start as u64..offset + payload.end as u64;
                let (group, op, read_at) = (record.group, entry.op, WorldTime::ZERO);
                let flush = offset..offset + data.len() as u64;
                self.rotten.push(Rotten { group, op, file, place, flush, reads: 0, read_at });
            }
        }
    }

    fn submitted(&mut self, op: &DiskOp, compared: &mut u64) {
        match op {
            DiskOp::Read { id, file, offset, bytes } if !self.rotten.is_empty() => {
                self.reads.insert(*id, (*file, *offset..offset + u64::from(*bytes)));
            }
            DiskOp::Write { file: FileId::Segment(_), offset, data, .. } if !self.rotten.is_empty() => {
                let Ok(Some(flush)) = journal::read(&data.0, *offset, &mut Proven::default()) else { return };
                for record in flush.records {
                    let is_gone = |rotten: &Rotten| match &record.kind {
                        RecordKind::Entry(entry) => rotten.op == entry.op,
                        RecordKind::Truncation(above) => rotten.op > *above,
                        RecordKind::Promise { .. } => false,
                    };
                    self.rotten.retain(|rotten| {
                        let is_gone = rotten.group == record.group && is_gone(rotten);
                        *compared += u64::from(is_gone && rotten.is_known());
                        !is_gone
                    });
                }
            }
            _ => {}
        }
    }

    fn completed(&mut self, at: WorldTime, done: &DiskDone) {
        let Some((file, place)) = self.reads.remove(&done.id) else { return };
        let holds =
            |place: &Range<u64>, part: &Range<u64>| place.start <= part.start && part.end <= place.end;
        for rotten in self.rotten.iter_mut().filter(|rotten| rotten.file == file) {
            // One that fails does not tell which of several flushes cannot be read.
            let tells = match done.outcome {
                DiskOutcome::Read(_) => true,
                DiskOutcome::Failed => holds(&rotten.flush, &place),
                DiskOutcome::Done | DiskOutcome::Missing | DiskOutcome::Full => false,
            };
            if tells && holds(&place, &rotten.place) {
                rotten.reads += 1;
                rotten.read_at = at;
            }
        }
    }
}

impl Oracle for RotRepaired {
    fn observe(&mut self, at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::Start { node, .. } | Observed::DiskLost { node } => {
                self.nodes.remove(node);
            }
            Observed::Rot { node, file, offset, flush, harmed } => {
                self.nodes.entry(*node).or_default().rot(*file, *offset, flush, harmed);
            }
            Observed::DiskSubmitted { node, op } => {
                if let Some(disk) = self.nodes.get_mut(node) {
                    disk.submitted(op, &mut self.compared);
                }
            }
            Observed::DiskCompleted { node, done } => {
                if let Some(disk) = self.nodes.get_mut(node) {
                    disk.completed(at, done);
                }
            }
            Observed::Step { node, changed, .. } => {
                for status in *changed {
                    self.saved.insert((*node, status.group), status.saved.get());
                }
            }
            Observed::End => {
                for (node, disk) in &self.nodes {
                    for rotten in disk.rotten.iter().filter(|rotten| rotten.is_known()) {
                        let Rotten { group, op, read_at, .. } = rotten;
                        let saved = self.saved.get(&(*node, *group)).copied().unwrap_or_default();
                        if *op <= saved || read_at.after(SPAN) > at {
                            continue;
                        }
                        self.compared += 1;
                        let what = format!(
                            "op {op} rotted on its disk, it read that twice, at last at {read_at}, and has not written \
                             it again"
                        );
                        found.push(Violation::new("RotRepaired", what).at(*node).of(*group));
                    }
                }
            }
            _ => {}
        }
    }

    fn wants(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Disk | Kind::Change | Kind::Rest)
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["RotRepaired"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("RotRepaired", self.compared);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

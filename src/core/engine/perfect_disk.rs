//! A disk for tests that does at once what it is asked and forgets nothing.

use alloc::collections::BTreeMap;
use alloc::vec;
use alloc::vec::Vec;

use crate::engine::disk::{DiskDone, DiskOp, DiskOutcome, FileId};
use crate::types::{Blob, usize_of};

/// The files, by name. Tests tear and flip their bytes.
#[derive(Clone, Default)]
pub(crate) struct PerfectDisk(pub BTreeMap<FileId, Vec<u8>>);

impl PerfectDisk {
    pub(crate) fn run(&mut self, op: DiskOp) -> DiskDone {
        let id = op.id();
        let outcome = match op {
            DiskOp::Allocate { file, bytes, .. } => {
                self.0.insert(file, vec![0; usize_of(bytes)]);
                DiskOutcome::Done
            }
            DiskOp::Put { file, data, .. } => {
                self.0.insert(file, data.as_slice().to_vec());
                DiskOutcome::Done
            }
            DiskOp::Write { file, offset, data, .. } => {
                let at = usize_of(offset);
                let bytes = data.as_slice();
                self.0.get_mut(&file).expect("the file was made")[at..at + bytes.len()]
                    .copy_from_slice(bytes);
                DiskOutcome::Done
            }
            DiskOp::Barrier { .. } => DiskOutcome::Done,
            DiskOp::Read { file, offset, bytes, .. } => match self.0.get(&file) {
                Some(content) => {
                    let at = usize_of(offset);
                    let to = at + usize_of(u64::from(bytes));
                    DiskOutcome::Read(Blob::from(content[at..to].to_vec()))
                }
                None => DiskOutcome::Missing,
            },
        };
        DiskDone { id, outcome }
    }
}

//! A disk that takes no time, to see what the processor alone has to do.

use std::collections::BTreeMap;

use chronon_core::engine::{DiskDone, DiskOp, DiskOutcome, FileId, VirtualDisk};
use chronon_core::types::Blob;

/// Keeps what is read back, and of the journal nothing.
#[derive(Default)]
pub(super) struct NullDisk {
    files: BTreeMap<FileId, Vec<u8>>,
    done: Vec<DiskDone>,
}

impl VirtualDisk for NullDisk {
    fn submit(&mut self, op: DiskOp) {
        let id = op.id();
        let outcome = match op {
            DiskOp::Barrier { .. }
            | DiskOp::Allocate { file: FileId::Segment(_), .. }
            | DiskOp::Write { file: FileId::Segment(_), .. } => DiskOutcome::Done,
            DiskOp::Allocate { file, bytes, .. } => {
                self.files.insert(file, vec![0; bytes as usize]);
                DiskOutcome::Done
            }
            DiskOp::Put { file, data, .. } => {
                self.files.insert(file, data.as_slice().to_vec());
                DiskOutcome::Done
            }
            DiskOp::Write { file, offset, data, .. } => match self.files.get_mut(&file) {
                Some(held) => {
                    held[offset as usize..][..data.as_slice().len()].copy_from_slice(data.as_slice());
                    DiskOutcome::Done
                }
                None => DiskOutcome::Missing,
            },
            DiskOp::Read { file, offset, bytes, .. } => match self.files.get(&file) {
                Some(held) => {
                    DiskOutcome::Read(Blob::from(held[offset as usize..][..bytes as usize].to_vec()))
                }
                None => DiskOutcome::Missing,
            },
        };
        self.done.push(DiskDone { id, outcome });
    }

    fn poll(&mut self, done: &mut Vec<DiskDone>) {
        done.append(&mut self.done);
    }
}

//! A thread that performs disk operations one after the other and reports each.
//!
//! Files are opened with `O_DSYNC`, so a completed write is durable and a barrier has nothing left to do but to answer
//! in its turn. It answers `Failed` when a write since the last barrier failed: it must never claim what is not so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chronon_core::engine::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId};
use chronon_core::types::Blob;

use super::disk::DataDirectory;

/// Wakes the thread that polls for completions.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// Handles of open files, shared by the workers of a disk so that an allocation can close what it replaced.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    for_writes: Mutex<BTreeMap<FileId, Arc<File>>>,
    for_reads: Mutex<BTreeMap<FileId, Arc<File>>>,
}

/// Performs operations in the order in which they come.
pub(super) struct DurabilityWorker {
    pub(super) directory: Arc<DataDirectory>,
    pub(super) files: Arc<OpenFiles>,
    pub(super) done: SyncSender<DiskDone>,
    pub(super) wake: Wake,
}

/// A write taken from its operation.
struct Write {
    id: DiskOpId,
    file: FileId,
    offset: u64,
    data: Blob,
}

impl DurabilityWorker {
    /// Works until nobody can submit any more.
    pub(super) fn run(self, ops: &Receiver<DiskOp>) {
        let mut writes_failed = false;
        let mut contiguous: Vec<Write> = Vec::new();
        while let Ok(first) = ops.recv() {
            for op in std::iter::once(first).chain(ops.try_iter().take(BATCH_OPERATIONS_MAX)) {
                let op = match op {
                    DiskOp::Write { id, file, offset, data } => {
                        let write = Write { id, file, offset, data };
                        if !extends(&contiguous, &write) {
                            writes_failed |= !self.write(&mut contiguous);
                        }
                        contiguous.push(write);
                        continue;
                    }
                    other => other,
                };
                writes_failed |= !self.write(&mut contiguous);
                self.perform(op, &mut writes_failed);
            }
            writes_failed |= !self.write(&mut contiguous);
        }
    }

    /// Performs anything but a write.
    fn perform(&self, op: DiskOp, writes_failed: &mut bool) {
        match op {
            DiskOp::Barrier { id } => {
                let failed = std::mem::take(writes_failed);
                self.report(id, if failed { DiskOutcome::Failed } else { DiskOutcome::Done });
            }
            DiskOp::Allocate { id, file, bytes } => {
                let result = self.directory.allocate(file, bytes);
                self.files.close(file);
                self.report(id, self.outcome("allocate", file, result.map(|()| DiskOutcome::Done)));
            }
            DiskOp::Read { id, file, offset, bytes } => {
                let result = self.files.for_reads(&self.directory, file);
                let result = result.and_then(|open| read(&open, offset, bytes as usize));
                self.report(id, self.outcome("read", file, result.map(DiskOutcome::Read)));
            }
            DiskOp::Write { id, file, offset, data } => {
                *writes_failed |= !self.write(&mut vec![Write { id, file, offset, data }]);
            }
        }
    }

    /// Writes a contiguous run with as few system calls as it takes; false when that failed.
    fn write(&self, run: &mut Vec<Write>) -> bool {
        let Some(first) = run.first() else { return true };
        let file = first.file;
        let result = self.files.for_writes(&self.directory, file);
        let result = result.and_then(|open| write_run(&open, run));
        let outcome = self.outcome("write", file, result.map(|()| DiskOutcome::Done));
        for write in run.drain(..) {
            self.report(write.id, outcome.clone());
        }
        outcome == DiskOutcome::Done
    }

    fn outcome(&self, what: &str, file: FileId, result: io::Result<DiskOutcome>) -> DiskOutcome {
        let error = match result {
            Ok(outcome) => return outcome,
            Err(error) => error,
        };
        let path = self.directory.path_of(file);
        match error.kind() {
            io::ErrorKind::NotFound => DiskOutcome::Missing,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                tracing::error!(file = %path.display(), "cannot {what}: no space is left");
                DiskOutcome::Full
            }
            _ => {
                tracing::error!(file = %path.display(), %error, "cannot {what}");
                DiskOutcome::Failed
            }
        }
    }

    fn report(&self, id: DiskOpId, outcome: DiskOutcome) {
        // The receiver is gone only when the disk was dropped: nobody waits for this completion then.
        if self.done.send(DiskDone { id, outcome }).is_ok() {
            (self.wake)();
        }
    }
}

impl OpenFiles {
    fn for_writes(&self, directory: &DataDirectory, file: FileId) -> io::Result<Arc<File>> {
        cached(&self.for_writes, file, || directory.open_for_writes(file))
    }

    fn for_reads(&self, directory: &DataDirectory, file: FileId) -> io::Result<Arc<File>> {
        cached(&self.for_reads, file, || directory.open_for_reads(file))
    }

    /// Forgets the handles of a file that was replaced.
    fn close(&self, file: FileId) {
        for handles in [&self.for_writes, &self.for_reads] {
            handles.lock().unwrap_or_else(PoisonError::into_inner).remove(&file);
        }
    }
}

fn cached(
    handles: &Mutex<BTreeMap<FileId, Arc<File>>>,
    file: FileId,
    open: impl FnOnce() -> io::Result<File>,
) -> io::Result<Arc<File>> {
    let mut handles = handles.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = handles.get(&file) {
        return Ok(Arc::clone(handle));
    }
    let handle = Arc::new(open()?);
    handles.insert(file, Arc::clone(&handle));
    Ok(handle)
}

/// Whether `write` goes on where the run ends. An empty run is extended by anything.
fn extends(run: &[Write], write: &Write) -> bool {
    let Some(last) = run.last() else { return true };
    let end = last.offset + last.data.as_slice().len() as u64;
    run.len() < RUN_WRITES_MAX && last.file == write.file && end == write.offset
}

fn write_run(file: &File, run: &[Write]) -> io::Result<()> {
    let mut offset = run.first().map_or(0, |write| write.offset);
    let mut slices: Vec<IoSlice<'_>> = run.iter().map(|write| IoSlice::new(write.data.as_slice())).collect();
    let mut rest = &mut slices[..];
    // Drops slices without bytes, which would look like a write that made no progress.
    IoSlice::advance_slices(&mut rest, 0);
    while !rest.is_empty() {
        match rustix::io::pwritev(file, rest, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                offset += written as u64;
                IoSlice::advance_slices(&mut rest, written);
            }
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Reads into a block-aligned part of a larger buffer, as `O_DIRECT` demands.
fn read(file: &File, offset: u64, bytes: usize) -> io::Result<Blob> {
    let mut buffer = vec![0_u8; bytes + BLOCK_BYTES];
    let start = buffer.as_ptr().align_offset(BLOCK_BYTES);
    file.read_exact_at(&mut buffer[start..start + bytes], offset)?;
    Ok(Blob(Bytes::from(buffer).slice(start..start + bytes)))
}

/// Operations taken from the queue at once.
const BATCH_OPERATIONS_MAX: usize = 64;
/// Writes that go to the disk in one system call.
const RUN_WRITES_MAX: usize = 64;

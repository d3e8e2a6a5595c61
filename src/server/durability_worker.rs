//! A thread that performs disk operations one after the other and reports each.
//!
//! Files are opened with `O_DSYNC`, so a completed write is durable and a barrier has nothing left to do but to answer
//! in its turn. It answers `Failed` when a write since the last barrier failed: it must never claim what is not so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use chronon_core::engine::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId};
use chronon_core::types::Blob;

use super::aligned::AlignedBuffer;
use super::disk::DataDirectory;
use super::wake::Wake;

/// Handles of open files, shared by the workers of a disk so that an allocation can close what it replaced.
#[derive(Debug, Default)]
pub(super) struct OpenFiles {
    for_writes: Mutex<BTreeMap<FileId, Arc<File>>>,
    for_reads: Mutex<BTreeMap<FileId, Arc<File>>>,
}

/// Performs operations in the order in which they come.
pub(super) struct DurabilityWorker {
    directory: Arc<DataDirectory>,
    files: Arc<OpenFiles>,
    done: SyncSender<DiskDone>,
    wake: Wake,
    /// Writes that go on where the one before ends, collected to be written at once.
    run: Vec<Write>,
    buffer: AlignedBuffer,
    /// Whether a write failed since the last barrier.
    writes_failed: bool,
}

/// A write taken from its operation.
struct Write {
    id: DiskOpId,
    file: FileId,
    offset: u64,
    data: Blob,
}

impl DurabilityWorker {
    pub(super) fn new(
        directory: Arc<DataDirectory>,
        files: Arc<OpenFiles>,
        done: SyncSender<DiskDone>,
        wake: Wake,
    ) -> Self {
        let buffer = AlignedBuffer::new(WRITE_BYTES_MAX);
        Self { directory, files, done, wake, run: Vec::new(), buffer, writes_failed: false }
    }

    /// Works until nobody can submit any more.
    pub(super) fn work(mut self, ops: &Receiver<DiskOp>) {
        while let Ok(first) = ops.recv() {
            for op in std::iter::once(first).chain(ops.try_iter().take(BATCH_OPERATIONS_MAX)) {
                self.perform(op);
            }
            self.write_run();
        }
    }

    fn perform(&mut self, op: DiskOp) {
        if let DiskOp::Write { id, file, offset, data } = op {
            let write = Write { id, file, offset, data };
            if !extends(&self.run, &write) {
                self.write_run();
            }
            self.run.push(write);
            return;
        }
        self.write_run();
        match op {
            DiskOp::Write { .. } => {}
            DiskOp::Barrier { id } => {
                let failed = std::mem::take(&mut self.writes_failed);
                self.report(id, if failed { DiskOutcome::Failed } else { DiskOutcome::Done });
            }
            DiskOp::Allocate { id, file, bytes } => {
                let result = self.directory.allocate(file, bytes);
                self.files.close(file);
                self.report(
                    id,
                    outcome(&self.directory, "allocate", file, result.map(|()| DiskOutcome::Done)),
                );
            }
            DiskOp::Read { id, file, offset, bytes } => {
                let result = self.files.for_reads(&self.directory, file);
                let result = result.and_then(|open| read(&open, offset, bytes as usize));
                self.report(id, outcome(&self.directory, "read", file, result.map(DiskOutcome::Read)));
            }
        }
    }

    /// Writes what was collected with as few system calls as it takes.
    fn write_run(&mut self) {
        let Some(first) = self.run.first() else { return };
        let file = first.file;
        let result = self.files.for_writes(&self.directory, file);
        let result = result.and_then(|open| write(&open, &self.run, &mut self.buffer));
        let outcome = outcome(&self.directory, "write", file, result.map(|()| DiskOutcome::Done));
        self.writes_failed |= outcome != DiskOutcome::Done;
        for write in std::mem::take(&mut self.run) {
            self.report(write.id, outcome.clone());
        }
    }

    fn report(&self, id: DiskOpId, outcome: DiskOutcome) {
        // The receiver is gone only when the disk was dropped: nobody waits for this completion then.
        if self.done.send(DiskDone { id, outcome }).is_ok() {
            self.wake.wake();
        }
    }
}

/// What an operation on `file` came to; `what` says which, for the log.
pub(super) fn outcome(
    directory: &DataDirectory,
    what: &str,
    file: FileId,
    result: io::Result<DiskOutcome>,
) -> DiskOutcome {
    let error = match result {
        Ok(outcome) => return outcome,
        Err(error) => error,
    };
    let path = directory.path_of(file);
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

/// A worker's thread and the queue into it.
pub(super) struct Worker {
    /// `None` once the worker was told to end.
    queue: Option<SyncSender<DiskOp>>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(name: &str, worker: DurabilityWorker) -> io::Result<Self> {
        let (queue, ops) = sync_channel(OPERATIONS_IN_FLIGHT_MAX);
        let thread = thread::Builder::new().name(name.to_owned()).spawn(move || worker.work(&ops))?;
        Ok(Self { queue: Some(queue), thread: Some(thread) })
    }

    pub(super) fn take(&self, op: DiskOp) {
        let taken = self.queue.as_ref().is_some_and(|queue| queue.send(op).is_ok());
        assert!(taken, "a disk worker ends only when its disk does");
    }
}

impl Drop for Worker {
    /// Waits for the thread, so that the directory's lock is free when the disk is gone.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
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

/// Copies the run together, as the device takes aligned memory alone, and writes it.
fn write(file: &File, run: &[Write], buffer: &mut AlignedBuffer) -> io::Result<()> {
    let mut offset = run.first().map_or(0, |write| write.offset);
    let mut pending = 0;
    for write in run {
        for piece in write.data.as_slice().chunks(BLOCK_BYTES) {
            if pending == WRITE_BYTES_MAX {
                file.write_all_at(buffer.as_slice(), offset)?;
                offset += pending as u64;
                pending = 0;
            }
            buffer.as_mut_slice()[pending..pending + piece.len()].copy_from_slice(piece);
            pending += piece.len();
        }
    }
    file.write_all_at(&buffer.as_slice()[..pending], offset)
}

/// Reads into aligned memory.
fn read(file: &File, offset: u64, bytes: usize) -> io::Result<Blob> {
    let mut buffer = AlignedBuffer::new(bytes);
    file.read_exact_at(buffer.as_mut_slice(), offset)?;
    Ok(Blob(buffer.into_bytes()))
}

/// Operations that a worker holds at most; more than that wait elsewhere for their turn.
pub(super) const OPERATIONS_IN_FLIGHT_MAX: usize = 1024;
/// Bytes that go to the disk in one system call; a multiple of the block.
const WRITE_BYTES_MAX: usize = 4 << 20;
/// Operations taken from the queue at once.
const BATCH_OPERATIONS_MAX: usize = 64;
/// Writes that go to the disk in one system call.
const RUN_WRITES_MAX: usize = 64;

//! A thread that performs disk operations one after the other and reports each.
//!
//! Files are opened with `O_DSYNC`, so a completed write is durable and a barrier has nothing left to do but to answer
//! in its turn. It answers `Failed` when a write since the last barrier failed: it must never claim what is not so.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use chronon_core::engine::{DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId};
use chronon_core::types::Blob;
use rustix::io::Errno;

use super::aligned::{AlignedBuffer, is_aligned};
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
    /// Writes that go on where the one before ends, collected to be written at once, and barriers among them.
    run: Vec<Pending>,
    /// Where writes are copied that do not lie as a device wants them.
    buffer: AlignedBuffer,
    /// Whether a write failed since the last barrier.
    writes_failed: bool,
}

/// What waits for the next system call.
enum Pending {
    Write(Write),
    Barrier(DiskOpId),
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
        let buffer = AlignedBuffer::new(COPY_BYTES);
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
        match op {
            DiskOp::Write { id, file, offset, data } => {
                let write = Write { id, file, offset, data };
                if !self.extends_run(&write) {
                    self.write_run();
                }
                self.run.push(Pending::Write(write));
            }
            DiskOp::Barrier { id } => self.run.push(Pending::Barrier(id)),
            DiskOp::Allocate { id, file, bytes } => {
                self.write_run();
                let result = self.directory.allocate(file, bytes);
                self.replaced(id, file, "allocate", result);
            }
            DiskOp::Put { id, file, data } => {
                self.write_run();
                let result = self.directory.put(file, data.as_slice());
                self.replaced(id, file, "put", result);
            }
            DiskOp::Read { id, file, offset, bytes } => {
                self.write_run();
                let result = self.files.for_reads(&self.directory, file);
                let result = result.and_then(|open| read(&open, offset, bytes as usize));
                self.report(id, outcome(&self.directory, "read", file, result.map(DiskOutcome::Read)));
            }
        }
    }

    /// Reports an operation after which `file` is another one.
    fn replaced(&mut self, id: DiskOpId, file: FileId, what: &str, result: io::Result<()>) {
        self.files.close(file);
        let outcome = outcome(&self.directory, what, file, result.map(|()| DiskOutcome::Done));
        self.report(id, outcome);
    }

    /// Whether `write` goes on where the run ends. A run without writes is extended by anything.
    fn extends_run(&self, write: &Write) -> bool {
        let Some(last) = writes(&self.run).next_back() else { return true };
        let bytes: usize = writes(&self.run).chain([write]).map(|write| write.data.as_slice().len()).sum();
        let goes_on =
            last.file == write.file && last.offset + last.data.as_slice().len() as u64 == write.offset;
        let lies_well = is_aligned(last.data.as_slice()) && is_aligned(write.data.as_slice());
        goes_on && lies_well && self.run.len() < RUN_MAX && bytes <= RUN_BYTES_MAX
    }

    /// Writes what was collected with as few system calls as it takes, and answers it in its order.
    fn write_run(&mut self) {
        let outcome = match writes(&self.run).next().map(|first| first.file) {
            None => DiskOutcome::Done,
            Some(file) => {
                let result = self.files.for_writes(&self.directory, file);
                let result = result.and_then(|open| write(&open, &self.run, &mut self.buffer));
                outcome(&self.directory, "write", file, result.map(|()| DiskOutcome::Done))
            }
        };
        for pending in std::mem::take(&mut self.run) {
            match pending {
                Pending::Write(write) => {
                    self.writes_failed |= outcome != DiskOutcome::Done;
                    self.report(write.id, outcome.clone());
                }
                Pending::Barrier(id) => {
                    let failed = std::mem::take(&mut self.writes_failed);
                    self.report(id, if failed { DiskOutcome::Failed } else { DiskOutcome::Done });
                }
            }
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

fn writes(run: &[Pending]) -> impl DoubleEndedIterator<Item = &Write> {
    run.iter().filter_map(|pending| match pending {
        Pending::Write(write) => Some(write),
        Pending::Barrier(_) => None,
    })
}

/// Writes the run: from where its writes lie, or, of a single one that a device does not take from there, a copy.
fn write(file: &File, run: &[Pending], buffer: &mut AlignedBuffer) -> io::Result<()> {
    let Some(first) = writes(run).next() else { return Ok(()) };
    if !is_aligned(first.data.as_slice()) {
        return write_copied(file, first, buffer);
    }
    let mut pieces: Vec<_> = writes(run).map(|write| IoSlice::new(write.data.as_slice())).collect();
    let (mut left, mut offset) = (&mut pieces[..], first.offset);
    while !left.is_empty() {
        match rustix::io::pwritev(file, left, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                IoSlice::advance_slices(&mut left, written);
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn write_copied(file: &File, write: &Write, buffer: &mut AlignedBuffer) -> io::Result<()> {
    let mut offset = write.offset;
    for piece in write.data.as_slice().chunks(COPY_BYTES) {
        buffer.as_mut_slice()[..piece.len()].copy_from_slice(piece);
        file.write_all_at(&buffer.as_slice()[..piece.len()], offset)?;
        offset += piece.len() as u64;
    }
    Ok(())
}

/// Reads into aligned memory.
fn read(file: &File, offset: u64, bytes: usize) -> io::Result<Blob> {
    let mut buffer = AlignedBuffer::new(bytes);
    file.read_exact_at(buffer.as_mut_slice(), offset)?;
    Ok(Blob(buffer.into_bytes()))
}

/// Operations that a worker holds at most; more than that wait elsewhere for their turn.
pub(super) const OPERATIONS_IN_FLIGHT_MAX: usize = 1024;
/// Bytes that are copied for one system call; a multiple of the block.
const COPY_BYTES: usize = 4 << 20;
/// Bytes that go to the disk together, unless they are one write.
const RUN_BYTES_MAX: usize = 4 << 20;
/// Operations taken from the queue at once.
const BATCH_OPERATIONS_MAX: usize = 64;
/// Writes and barriers that wait together; far below what one system call takes.
const RUN_MAX: usize = 128;

//! [`SyncDisk`]: a data directory behind [`VirtualDisk`], written by threads that block.
//!
//! ```text
//! node thread --- submit ---> writer      writes and barriers, in order    --+
//!                       \---> background  reads, allocations, whole files  --+--> poll, after a wake-up
//! ```
//!
//! What is no flush has a thread of its own: to prewrite a segment takes a hundred times as long as a flush, and no
//! acknowledgement may wait behind it.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use chronon_core::engine::{self, DiskDone, DiskOp, DiskOutcome, Identity, VirtualDisk};

use super::disk::{DataDirectory, DirectoryError};
use super::durability_worker::{DurabilityWorker, OPERATIONS_IN_FLIGHT_MAX, OpenFiles, Worker};
use super::wake::Wake;

/// Why a data directory was not formatted.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    /// The directory cannot be used.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// Nobody can be what the identity says.
    #[error(transparent)]
    Identity(#[from] engine::FormatError),
    /// No thread could be started.
    #[error("cannot start the disk's thread: {0}")]
    Thread(#[from] io::Error),
    /// The disk did not do as it was told.
    #[error(
        "data directory {directory}: formatting stopped at `{operation}`: {outcome}; remove the directory before trying again"
    )]
    Disk {
        /// The directory.
        directory: String,
        /// What was being done.
        operation: String,
        /// How it ended.
        outcome: String,
    },
}

/// A node's disk.
pub struct SyncDisk {
    writer: Worker,
    background: Worker,
    done: Receiver<DiskDone>,
    in_flight: usize,
    waiting: VecDeque<DiskOp>,
}

impl SyncDisk {
    /// Starts the threads of a locked directory. `wake` is called after completions became available.
    ///
    /// # Errors
    /// When a thread cannot be started.
    pub fn start(directory: Arc<DataDirectory>, wake: Wake) -> io::Result<Self> {
        let files = Arc::new(OpenFiles::default());
        let (sender, done) = sync_channel(OPERATIONS_IN_FLIGHT_MAX);
        let worker = |name| {
            let (directory, files) = (Arc::clone(&directory), Arc::clone(&files));
            Worker::start(name, DurabilityWorker::new(directory, files, sender.clone(), wake.clone()))
        };
        let writer = worker("disk-writer")?;
        let background = worker("disk-background")?;
        Ok(Self { writer, background, done, in_flight: 0, waiting: VecDeque::new() })
    }

    fn pass_on(&mut self, op: DiskOp) {
        self.in_flight += 1;
        match op {
            DiskOp::Write { .. } | DiskOp::Barrier { .. } => self.writer.take(op),
            DiskOp::Read { .. } | DiskOp::Allocate { .. } | DiskOp::Put { .. } => self.background.take(op),
        }
    }

    fn completed(&mut self) {
        self.in_flight -= 1;
        if let Some(op) = self.waiting.pop_front() {
            self.pass_on(op);
        }
    }
}

impl VirtualDisk for SyncDisk {
    fn submit(&mut self, op: DiskOp) {
        // The bound keeps every channel from blocking: none ever holds more than its capacity.
        if self.in_flight < OPERATIONS_IN_FLIGHT_MAX {
            self.pass_on(op);
        } else {
            self.waiting.push_back(op);
        }
    }

    fn poll(&mut self, done: &mut Vec<DiskDone>) {
        while let Ok(completion) = self.done.try_recv() {
            self.completed();
            done.push(completion);
        }
    }
}

/// Makes `path` the first data directory of `identity`. It must be empty, or not exist yet.
///
/// # Errors
/// [`FormatError`]; what was written by then is no data directory, and no node starts from it.
pub fn format(path: &Path, identity: &Identity) -> Result<(), FormatError> {
    let ops = engine::format(identity)?;
    let mut disk = SyncDisk::start(Arc::new(DataDirectory::create(path)?), Wake::new()?)?;
    for op in ops {
        let operation = op.to_string();
        disk.submit(op);
        let outcome = disk.done.recv().map_or(DiskOutcome::Failed, |done| done.outcome);
        disk.completed();
        if !matches!(outcome, DiskOutcome::Done | DiskOutcome::Read(_)) {
            let operation = operation.chars().take(80).collect();
            let directory = path.display().to_string();
            return Err(FormatError::Disk { directory, operation, outcome: outcome.to_string() });
        }
    }
    Ok(())
}

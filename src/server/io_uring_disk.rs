//! [`IoUringDisk`]: a data directory behind [`VirtualDisk`], driven by io_uring from the thread that owns the node.
//!
//! ```text
//! submit --> copied into a buffer that the kernel has mapped --> kick: one system call for all of them
//! poll   <-- completions, after a wake-up; no other thread has them in between
//! ```
//!
//! Files are opened with `O_DIRECT` and `O_DSYNC`: a write completes when it is durable, and flushes of the device are
//! ordered behind their own writes by the kernel. A barrier is then over when the writes before it are, and costs
//! nothing; several flushes of the journal overlap. New files take long and are rare: a thread of their own makes them.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};

use bytes::Bytes;
use chronon_core::engine::{DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId, VirtualDisk};
use chronon_core::types::Blob;

use super::aligned::is_aligned;
use super::disk::DataDirectory;
use super::durability_worker::{DurabilityWorker, OPERATIONS_IN_FLIGHT_MAX, OpenFiles, Worker, outcome};
use super::ring::{FileSlot, Finished, LONG_READ_BYTES, Memory, Ring, Room, Transfer};
use super::wake::Wake;

/// A node's disk. It belongs to the thread that polls it first.
pub struct IoUringDisk {
    directory: Arc<DataDirectory>,
    ring: Ring,
    files: RingFiles,
    buffers: Buffers,
    /// Counts reads and writes, in the order in which they were submitted.
    last: u64,
    writes: BTreeMap<u64, Write>,
    reads: BTreeMap<u64, Read>,
    /// Reads and writes of which not everything is on its way yet.
    queue: VecDeque<u64>,
    /// Barriers, each behind the last write that it waits for.
    barriers: VecDeque<(DiskOpId, u64)>,
    /// Writes that failed, and that no barrier has told of.
    failed: Vec<u64>,
    allocator: Worker,
    allocated: Receiver<DiskDone>,
    allocating: BTreeMap<DiskOpId, FileId>,
    done: Vec<DiskDone>,
    wake: Wake,
}

/// A write that is not over.
struct Write {
    id: DiskOpId,
    file: FileId,
    offset: u64,
    data: Blob,
    /// Bytes that were handed to the ring.
    handed: usize,
    /// Transfers of it that are on their way.
    pieces: u32,
    outcome: DiskOutcome,
}

/// A read that is not over.
struct Read {
    id: DiskOpId,
    file: FileId,
    offset: u64,
    bytes: usize,
}

impl IoUringDisk {
    /// Takes a locked directory. `wake` is called after completions became available.
    ///
    /// # Errors
    /// When the kernel refuses io_uring, or a thread.
    pub fn start(directory: Arc<DataDirectory>, wake: Wake) -> io::Result<Self> {
        let ring = Ring::new(FILES_MAX + 1, &wake)?;
        // What a process that dies has on its way may still be written: until then the kernel keeps the ring, and the ring
        // keeps the lock, so that no other process reads what is about to change.
        ring.open(FileSlot(FILES_MAX), directory.lock())?;
        let buffers = Buffers(ring.buffers(&[BUFFER_BYTES; BUFFERS]));
        let (sender, allocated) = sync_channel(OPERATIONS_IN_FLIGHT_MAX);
        let files = Arc::new(OpenFiles::default());
        let worker = DurabilityWorker::new(Arc::clone(&directory), files, sender, wake.clone());
        let allocator = Worker::start("disk-allocator", worker)?;
        Ok(Self {
            directory,
            ring,
            files: RingFiles::default(),
            buffers,
            last: 0,
            writes: BTreeMap::new(),
            reads: BTreeMap::new(),
            queue: VecDeque::new(),
            barriers: VecDeque::new(),
            failed: Vec::new(),
            allocator,
            allocated,
            allocating: BTreeMap::new(),
            done: Vec::new(),
            wake,
        })
    }

    fn enter(&mut self) {
        if let Err(error) = self.ring.enter() {
            // What is on its way may be lost, and nothing that waits for it would ever hear.
            panic!("cannot drive the disk: io_uring_enter: {error}");
        }
    }

    /// Hands what waits to the ring, in order, as far as there is room.
    fn hand_out(&mut self) {
        while let Some(number) = self.queue.front().copied() {
            let handed = if self.writes.contains_key(&number) {
                self.hand_out_write(number)
            } else {
                self.hand_out_read(number)
            };
            if !handed {
                return;
            }
            self.queue.pop_front();
        }
    }

    /// False when there was no room for all of it.
    fn hand_out_write(&mut self, number: u64) -> bool {
        let write = self.writes.get_mut(&number).expect("it was just looked at");
        let data = write.data.as_slice();
        match self.files.slot(&mut self.ring, &self.directory, write.file, Direction::Write) {
            Err(error) => {
                write.outcome = outcome(&self.directory, "write", write.file, Err(error));
                write.handed = data.len();
            }
            Ok(file) => {
                while write.handed < data.len() {
                    let left = &data[write.handed..];
                    if !self.ring.has_room() {
                        return false;
                    }
                    let Some(memory) = self.buffers.hold(&write.data.0.slice(write.handed..)) else {
                        return false;
                    };
                    let bytes = left.len().min(memory.len());
                    let offset = write.offset + write.handed as u64;
                    self.ring.push(Transfer { token: number, file, offset, bytes, memory });
                    write.handed += bytes;
                    write.pieces += 1;
                }
            }
        }
        self.settle_write(number);
        true
    }

    /// False when there was no room for it.
    fn hand_out_read(&mut self, number: u64) -> bool {
        let Read { id, file, offset, bytes } = self.reads[&number];
        match self.files.slot(&mut self.ring, &self.directory, file, Direction::Read) {
            Ok(_) if !self.ring.has_room() => return false,
            Ok(slot) => {
                let memory = Memory::Room(Room::new(bytes));
                self.ring.push(Transfer { token: number, file: slot, offset, bytes, memory });
            }
            Err(error) => {
                self.reads.remove(&number);
                let outcome = outcome(&self.directory, "read", file, Err(error));
                self.done.push(DiskDone { id, outcome });
            }
        }
        true
    }

    fn finished(&mut self, Finished { transfer, result }: Finished) {
        match transfer.memory {
            Memory::Room(room) => {
                let Read { id, file, .. } = self.reads.remove(&transfer.token).expect("a read is over once");
                let bytes = result.map(|()| DiskOutcome::Read(Blob(room.into_bytes())));
                self.done.push(DiskDone { id, outcome: outcome(&self.directory, "read", file, bytes) });
            }
            memory => {
                self.buffers.put_back(memory);
                let write = self.writes.get_mut(&transfer.token).expect("a write is over once");
                write.pieces -= 1;
                let piece = outcome(&self.directory, "write", write.file, result.map(|()| DiskOutcome::Done));
                if piece != DiskOutcome::Done {
                    write.outcome = piece;
                }
                self.settle_write(transfer.token);
            }
        }
    }

    /// Answers a write if all of it is over.
    fn settle_write(&mut self, number: u64) {
        let write = &self.writes[&number];
        if write.pieces > 0 || write.handed < write.data.as_slice().len() {
            return;
        }
        let Write { id, outcome, .. } = self.writes.remove(&number).expect("it was just looked at");
        if outcome != DiskOutcome::Done {
            self.failed.push(number);
        }
        self.done.push(DiskDone { id, outcome });
        self.settle_barriers();
    }

    /// Answers every barrier whose writes are over: they are durable unless one failed.
    fn settle_barriers(&mut self) {
        let first = self.writes.keys().next().copied().unwrap_or(u64::MAX);
        while let Some((id, last)) = self.barriers.pop_front_if(|(_, last)| *last < first) {
            let failed = self.failed.iter().any(|number| *number <= last);
            self.failed.retain(|number| *number > last);
            let outcome = if failed { DiskOutcome::Failed } else { DiskOutcome::Done };
            self.done.push(DiskDone { id, outcome });
        }
    }
}

impl VirtualDisk for IoUringDisk {
    fn submit(&mut self, op: DiskOp) {
        let is_long = matches!(op, DiskOp::Read { bytes, .. } if bytes as usize >= LONG_READ_BYTES);
        match op {
            DiskOp::Barrier { id } => {
                self.barriers.push_back((id, self.last));
                self.settle_barriers();
            }
            DiskOp::Allocate { id, file, .. } | DiskOp::Put { id, file, .. } => {
                self.allocating.insert(id, file);
                self.allocator.take(op);
            }
            DiskOp::Write { id, file, offset, data } => {
                self.last += 1;
                self.queue.push_back(self.last);
                let (handed, pieces, outcome) = (0, 0, DiskOutcome::Done);
                let write = Write { id, file, offset, data, handed, pieces, outcome };
                self.writes.insert(self.last, write);
            }
            DiskOp::Read { id, file, offset, bytes } => {
                self.last += 1;
                self.queue.push_back(self.last);
                self.reads.insert(self.last, Read { id, file, offset, bytes: bytes as usize });
            }
        }
        self.hand_out();
        if is_long {
            // Whoever asked for so much has something to do before it kicks.
            self.enter();
        }
        if !self.done.is_empty() {
            // It was over at once, and nobody else tells.
            self.wake.wake();
        }
    }

    fn kick(&mut self) {
        self.enter();
        if self.ring.has_arrived() {
            // The kernel's word for it may have been heard before: who sleeps next must not wait for another one.
            self.wake.wake();
        }
    }

    fn poll(&mut self, done: &mut Vec<DiskDone>) {
        self.enter();
        while self.ring.has_arrived() {
            while let Some(finished) = self.ring.next_finished() {
                self.finished(finished);
            }
            self.hand_out();
            self.enter();
        }
        while let Ok(allocation) = self.allocated.try_recv() {
            if let Some(file) = self.allocating.remove(&allocation.id) {
                self.files.close(&self.ring, file);
            }
            self.done.push(allocation);
        }
        done.append(&mut self.done);
    }
}

/// What a file is open for.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Direction {
    Read,
    Write,
}

/// Which files are in the ring's table. A file is opened once for reads and once for writes.
#[derive(Default)]
struct RingFiles {
    slots: BTreeMap<(FileId, Direction), FileSlot>,
    /// Places of the table that files were closed in.
    free: Vec<FileSlot>,
    /// Places that were ever used.
    used: u32,
}

impl RingFiles {
    fn slot(
        &mut self,
        ring: &mut Ring,
        directory: &DataDirectory,
        file: FileId,
        direction: Direction,
    ) -> io::Result<FileSlot> {
        if let Some(slot) = self.slots.get(&(file, direction)) {
            return Ok(*slot);
        }
        let open: File = match direction {
            Direction::Read => directory.open_for_reads(file)?,
            Direction::Write => directory.open_for_writes(file)?,
        };
        let slot = self.free_slot(ring)?;
        ring.open(slot, &open)?;
        self.slots.insert((file, direction), slot);
        Ok(slot)
    }

    /// A free place; when there is none, all files are closed, to be opened again when they are needed.
    fn free_slot(&mut self, ring: &mut Ring) -> io::Result<FileSlot> {
        if self.free.is_empty() && self.used == FILES_MAX {
            // The kernel looks a place up when it is told of a transfer, and not later.
            ring.enter()?;
            for slot in std::mem::take(&mut self.slots).into_values() {
                ring.close(slot)?;
                self.free.push(slot);
            }
        }
        Ok(self.free.pop().unwrap_or_else(|| {
            self.used += 1;
            FileSlot(self.used - 1)
        }))
    }

    /// Forgets a file that was replaced.
    fn close(&mut self, ring: &Ring, file: FileId) {
        for direction in [Direction::Read, Direction::Write] {
            if let Some(slot) = self.slots.remove(&(file, direction)) {
                match ring.close(slot) {
                    Ok(()) => self.free.push(slot),
                    // The place stays taken: it is never used again.
                    Err(error) => tracing::warn!(%error, %file, "cannot close a file that was replaced"),
                }
            }
        }
    }
}

/// Buffers that the kernel has mapped, and that no transfer owns.
struct Buffers(Vec<Memory>);

impl Buffers {
    /// Memory with the first of `data`, or with all of it; `None` while there is no buffer left.
    fn hold(&mut self, data: &Bytes) -> Option<Memory> {
        if data.len() > BUFFER_BYTES && is_aligned(data) {
            // To map it costs less than to copy it.
            return Some(Memory::Shared(data.clone()));
        }
        let mut memory = self.0.pop()?;
        memory.fill(data);
        Some(memory)
    }

    fn put_back(&mut self, memory: Memory) {
        if !matches!(memory, Memory::Shared(_)) {
            self.0.push(memory);
        }
    }
}

/// Places in the ring's table of files, beside that of the directory's lock.
pub(super) const FILES_MAX: u32 = 256;
/// Buffers that the kernel has mapped, and their length: most flushes are short. In all less than what an unprivileged
/// process may lock.
const BUFFERS: usize = 16;
const BUFFER_BYTES: usize = 64 << 10;

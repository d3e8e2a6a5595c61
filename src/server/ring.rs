//! Transfers between files and aligned memory by io_uring. The one room of the project with unsafe code: whatever the
//! kernel reads or writes belongs to the ring until it has completed.

#![expect(unsafe_code, reason = "the kernel is given addresses")]

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, RawFd};

use bytes::Bytes;
use chronon_core::engine::BLOCK_BYTES;
use io_uring::types::Fixed;
use io_uring::{IoUring, Probe, opcode, squeue};

use super::aligned::AlignedBuffer;
use super::wake::Wake;

/// A place in the ring's table of files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct FileSlot(pub(super) u32);

/// Memory of a transfer. All of it begins at a multiple of the block.
#[derive(Debug)]
pub(super) enum Memory {
    /// To be written, and mapped by the kernel once and for all, under this number.
    Registered(AlignedBuffer, u16),
    /// To be written, and mapped for one transfer.
    Own(AlignedBuffer),
    /// The same, and not the disk's alone.
    Shared(Bytes),
    /// To be read into, and mapped for one transfer.
    Room(Room),
}

/// Memory without contents, until the kernel has read something into it.
#[derive(Debug)]
pub(super) struct Room {
    /// The room is what this has of spare capacity. Zeros before it are there for its alignment.
    memory: Vec<u8>,
    bytes: usize,
    /// How much of it has contents.
    filled: usize,
}

/// What to move.
#[derive(Debug)]
pub(super) struct Transfer {
    /// Comes back with the completion.
    pub(super) token: u64,
    pub(super) file: FileSlot,
    /// Bytes from the start of the file, a multiple of the block.
    pub(super) offset: u64,
    /// How many bytes, from the start of the memory.
    pub(super) bytes: usize,
    pub(super) memory: Memory,
}

/// A transfer that is over.
#[derive(Debug)]
pub(super) struct Finished {
    pub(super) transfer: Transfer,
    pub(super) result: io::Result<()>,
}

/// A ring. The thread that enters it first is the only one that may.
pub(super) struct Ring {
    ring: IoUring,
    enabled: bool,
    flights: Vec<Option<Flight>>,
    free: Vec<usize>,
    /// Completions taken from the kernel: which flight, and its word.
    arrived: VecDeque<(usize, i32)>,
}

/// A transfer on its way.
#[derive(Debug)]
struct Flight {
    transfer: Transfer,
    /// Bytes that have arrived: the kernel may move fewer than it was asked for.
    moved: usize,
}

impl Ring {
    /// A ring whose completions wake, with a table for `files` files.
    ///
    /// # Errors
    /// When the kernel refuses: it is too old, or io_uring is forbidden here.
    pub(super) fn new(files: u32, wake: &Wake) -> io::Result<Self> {
        let ring = IoUring::builder()
            .setup_r_disabled()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .setup_taskrun_flag()
            .build(TRANSFERS_MAX)?;
        let mut probe = Probe::new();
        ring.submitter().register_probe(&mut probe)?;
        let needed = [opcode::Read::CODE, opcode::Write::CODE, opcode::WriteFixed::CODE];
        if !needed.into_iter().all(|code| probe.is_supported(code)) {
            return Err(io::ErrorKind::Unsupported.into());
        }
        // So that long reads come in one after the other, and each is looked at while the next one comes.
        ring.submitter().register_iowq_max_workers(&mut [1, 1])?;
        ring.submitter().register_files_sparse(files)?;
        ring.submitter().register_eventfd(wake.as_raw_fd())?;
        let flights: Vec<_> = (0..TRANSFERS_MAX).map(|_| None).collect();
        let free = (0..flights.len()).rev().collect();
        Ok(Self { ring, enabled: false, flights, free, arrived: VecDeque::new() })
    }

    /// Buffers of these lengths, which the kernel has mapped, if it lets itself be asked to: locked memory is limited.
    pub(super) fn buffers(&self, lengths: &[usize]) -> Vec<Memory> {
        let mut buffers: Vec<_> = lengths.iter().map(|bytes| AlignedBuffer::new(*bytes)).collect();
        let areas: Vec<_> = buffers
            .iter_mut()
            .map(|buffer| {
                let area = buffer.as_mut_slice();
                libc::iovec { iov_base: area.as_mut_ptr().cast(), iov_len: area.len() }
            })
            .collect();
        // SAFETY: the areas are memory of ours. The kernel keeps their pages; a transfer names one only while the
        // flight owns its buffer.
        let registered = unsafe { self.ring.submitter().register_buffers(&areas) };
        if let Err(error) = &registered {
            tracing::warn!(%error, "the kernel does not map the disk's buffers in advance");
        }
        let memory = |(index, buffer)| {
            let index = u16::try_from(index).expect("there are few buffers");
            if registered.is_ok() { Memory::Registered(buffer, index) } else { Memory::Own(buffer) }
        };
        buffers.into_iter().enumerate().map(memory).collect()
    }

    /// Puts a file into the table, over what was there.
    pub(super) fn open(&self, FileSlot(place): FileSlot, file: &File) -> io::Result<()> {
        self.put(place, file.as_raw_fd())
    }

    /// Takes a file out of the table. Transfers that the kernel was told of keep it.
    pub(super) fn close(&self, FileSlot(place): FileSlot) -> io::Result<()> {
        self.put(place, -1)
    }

    fn put(&self, place: u32, file: RawFd) -> io::Result<()> {
        self.ring.submitter().register_files_update(place, &[file]).map(|_| ())
    }

    /// Whether one more transfer may be on its way.
    pub(super) fn has_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether anything is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.free.len() == self.flights.len()
    }

    /// Takes a transfer; the kernel hears of it in [`Ring::enter`]. There must be room.
    pub(super) fn push(&mut self, transfer: Transfer) {
        assert!(transfer.bytes <= transfer.memory.len(), "it fits its memory");
        let index = self.free.pop().expect("whoever pushes asks for room");
        self.flights[index] = Some(Flight { transfer, moved: 0 });
        self.ask(index);
    }

    /// Asks the kernel for what is left of a flight.
    fn ask(&mut self, index: usize) {
        let flight = self.flights[index].as_mut().expect("a flight that is asked for is on its way");
        let entry = flight.entry().user_data(index as u64);
        // SAFETY: the flight owns the memory, and stays in the table until its completion came or the ring is gone,
        // which waits for it.
        let pushed = unsafe { self.ring.submission().push(&entry) };
        pushed.expect("the queue has a place for each flight, and each has one entry in it at most");
    }

    /// Tells the kernel of what was pushed, and takes what has completed.
    pub(super) fn enter(&mut self) -> io::Result<()> {
        self.enter_for(0)
    }

    fn enter_for(&mut self, completions: usize) -> io::Result<()> {
        if !self.enabled {
            self.ring.submitter().register_enable_rings()?;
            self.enabled = true;
        }
        loop {
            let queue = self.ring.submission();
            let (pushed, due) = (!queue.is_empty(), queue.taskrun() || queue.cq_overflow());
            drop(queue);
            if pushed || due || completions > self.arrived.len() {
                match self.ring.submitter().submit_and_wait(completions) {
                    Ok(_) => {}
                    Err(error) if is_transient(&error) => {
                        self.take_arrived();
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            self.take_arrived();
            return Ok(());
        }
    }

    fn take_arrived(&mut self) {
        let arrived = self.ring.completion();
        self.arrived.extend(arrived.map(|entry| (entry.user_data() as usize, entry.result())));
    }

    /// Whether [`Ring::next_finished`] has anything to look at.
    pub(super) fn has_arrived(&self) -> bool {
        !self.arrived.is_empty()
    }

    /// The next transfer that is over, of those taken by [`Ring::enter`]. One of which only a part arrived goes on.
    pub(super) fn next_finished(&mut self) -> Option<Finished> {
        while let Some((index, word)) = self.arrived.pop_front() {
            let flight = self.flights[index].as_mut().expect("what completes was on its way");
            let result = match usize::try_from(word) {
                Err(_) => Err(io::Error::from_raw_os_error(-word)),
                Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(moved) => {
                    flight.moved += moved;
                    if let Memory::Room(room) = &mut flight.transfer.memory {
                        room.filled = flight.moved;
                    }
                    Ok(())
                }
            };
            let goes_on = match &result {
                Ok(()) => flight.moved < flight.transfer.bytes,
                Err(error) => is_transient(error),
            };
            if goes_on {
                self.ask(index);
                continue;
            }
            let flight = self.flights[index].take().expect("it was just looked at");
            self.free.push(index);
            return Some(Finished { transfer: flight.transfer, result });
        }
        None
    }
}

impl Drop for Ring {
    /// The kernel may still write into what the flights own.
    fn drop(&mut self) {
        loop {
            while self.next_finished().is_some() {}
            if self.is_idle() {
                // The kernel takes a ring apart later; its files are free now.
                let _ = self.ring.submitter().unregister_files();
                return;
            }
            if let Err(error) = self.enter_for(1) {
                tracing::error!(%error, "cannot wait for the disk's transfers: their memory is given up");
                std::mem::forget(std::mem::take(&mut self.flights));
                return;
            }
        }
    }
}

impl Flight {
    fn entry(&mut self) -> squeue::Entry {
        let Self { transfer: Transfer { file, offset, bytes, memory, .. }, moved } = self;
        let (file, offset) = (Fixed(file.0), *offset + *moved as u64);
        let length = u32::try_from(*bytes - *moved).expect("a transfer is shorter than 4 GiB");
        let left = *moved..*bytes;
        let write = |data: &[u8]| opcode::Write::new(file, data.as_ptr(), length).offset(offset).build();
        match memory {
            Memory::Room(room) => {
                let memory = room.spare()[left].as_mut_ptr().cast();
                let read = opcode::Read::new(file, memory, length).offset(offset).build();
                // The device takes a long read bit by bit: a thread of the kernel waits for that, and not this one.
                if *bytes >= LONG_READ_BYTES { read.flags(squeue::Flags::ASYNC) } else { read }
            }
            Memory::Registered(buffer, index) => {
                let data = buffer.as_slice()[left].as_ptr();
                opcode::WriteFixed::new(file, data, length, *index).offset(offset).build()
            }
            Memory::Own(buffer) => write(&buffer.as_slice()[left]),
            Memory::Shared(data) => write(&data[left]),
        }
    }
}

impl Room {
    /// Room for so many bytes.
    pub(super) fn new(bytes: usize) -> Self {
        let mut memory: Vec<u8> = Vec::with_capacity(bytes + BLOCK_BYTES);
        memory.resize(memory.as_ptr().align_offset(BLOCK_BYTES), 0);
        Self { memory, bytes, filled: 0 }
    }

    fn spare(&mut self) -> &mut [MaybeUninit<u8>] {
        &mut self.memory.spare_capacity_mut()[..self.bytes]
    }

    /// What was read, without copying it.
    pub(super) fn into_bytes(mut self) -> Bytes {
        let start = self.memory.len();
        // SAFETY: the kernel has said that it read so much into the spare capacity, from its beginning.
        unsafe { self.memory.set_len(start + self.filled) };
        Bytes::from(self.memory).slice(start..)
    }
}

impl Memory {
    /// Copies as much of `data` as it takes, if that is what it is for.
    pub(super) fn fill(&mut self, data: &[u8]) {
        if let Self::Registered(buffer, _) | Self::Own(buffer) = self {
            let bytes = data.len().min(buffer.as_slice().len());
            buffer.as_mut_slice()[..bytes].copy_from_slice(&data[..bytes]);
        }
    }

    /// How many bytes it takes.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Registered(buffer, _) | Self::Own(buffer) => buffer.as_slice().len(),
            Self::Shared(bytes) => bytes.len(),
            Self::Room(room) => room.bytes,
        }
    }
}

/// Whether asking again is all that is needed.
fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY))
}

/// Transfers that may be on their way at once.
const TRANSFERS_MAX: u32 = 64;
/// Reads of this length and more are long: devices take less at once.
pub(super) const LONG_READ_BYTES: usize = 2 << 20;

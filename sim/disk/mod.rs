//! The simulated disk: blocks under a volatile cache.
//!
//! * A write lands in the volatile layer when it completes, and in the durable one when a barrier that was submitted
//!   after it completes. Reads see the volatile layer.
//! * At a crash each write that no barrier covered keeps any subset of its atomic units, whether it had completed or
//!   not, and in any order: the disk may have written any of its cache back, or none.
//! * Operations complete in any order, except that a barrier completes after every write submitted before it.
//! * A file that is put there is durable when that completes; a crash before leaves what was there, or all of the new file.
//!
//! The disk knows no agenda: [`SimDisk::submit`] says when the operation will be due, and whoever keeps the time calls
//! [`SimDisk::complete`] then, or later when the disk stalls.

mod buffers;
mod image;

use std::collections::BTreeSet;
use std::ops::Range;

use bytes::Bytes;
use chronon_core::engine::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId};
use chronon_core::types::Blob;

pub use image::DiskImage;
pub(crate) use image::without_zeros;

use crate::plan::Misread;
use crate::random::{Draw, Purpose, Randomness};
use crate::time::{MICROSECOND, WorldTime};

/// How a disk behaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DiskModel {
    /// Bytes that a crash keeps or loses together: 512 or 4096.
    pub atomic_unit: usize,
    /// A typical write, in nanoseconds. The tail reaches 64 times this.
    pub write_ns: u64,
    /// A typical read, in nanoseconds.
    pub read_ns: u64,
    /// A typical flush of the cache once its writes have completed, in nanoseconds.
    pub barrier_ns: u64,
    /// A typical allocation, in nanoseconds, beside the transfer of its zeros.
    pub allocate_ns: u64,
}

impl Default for DiskModel {
    fn default() -> Self {
        Self {
            atomic_unit: 4096,
            write_ns: 80 * MICROSECOND,
            read_ns: 80 * MICROSECOND,
            barrier_ns: 120 * MICROSECOND,
            allocate_ns: 120 * MICROSECOND,
        }
    }
}

/// A disk with a volatile cache.
#[derive(Clone, Debug)]
pub struct SimDisk {
    entity: u64,
    model: DiskModel,
    randomness: Randomness,
    durable: DiskImage,
    /// Counts submissions since the disk was made; keys every draw about an operation.
    serial: u64,
    flying: Vec<Flying>,
    /// The volatile layer: writes that no barrier covers yet, in the order in which they completed.
    unbarriered: Vec<Write>,
    /// Blocks that cannot be read.
    unreadable: BTreeSet<(FileId, u64)>,
    /// Bytes that all files may have together.
    capacity: Option<u64>,
}

/// An operation that has not completed.
#[derive(Clone, Debug)]
struct Flying {
    serial: u64,
    due: WorldTime,
    op: DiskOp,
}

#[derive(Clone, Debug)]
struct Write {
    serial: u64,
    file: FileId,
    offset: u64,
    data: Blob,
}

impl SimDisk {
    /// An empty disk. `entity` keys its draws.
    pub fn new(entity: u64, model: DiskModel, randomness: Randomness) -> Self {
        Self {
            entity,
            model,
            randomness,
            durable: DiskImage::default(),
            serial: 0,
            flying: Vec::new(),
            unbarriered: Vec::new(),
            unreadable: BTreeSet::new(),
            capacity: None,
        }
    }

    /// From now on only so many bytes more can be allocated; any number again when there is no bound.
    pub fn fill(&mut self, room: Option<u64>) {
        self.capacity = room.map(|room| self.durable.bytes() + room);
    }

    /// Whether there is space for `file` of this length. For the first segment there is: a node that has nothing to lose
    /// yet is refused without it, and nothing else can be told of it.
    fn has_space(&self, file: FileId, bytes: u64) -> bool {
        if !self.durable.files().any(|(file, _)| matches!(file, FileId::Segment(_))) {
            return true;
        }
        let has = self.durable.length(file).unwrap_or_default();
        bytes <= has || self.has_space_beside(bytes - has)
    }

    /// Whether there is space for so much more.
    fn has_space_beside(&self, bytes: u64) -> bool {
        self.capacity.is_none_or(|capacity| self.durable.bytes() + bytes <= capacity)
    }

    /// Operations that have not completed.
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }

    /// Operations ever submitted.
    pub fn submitted(&self) -> u64 {
        self.serial
    }

    /// What a crash is sure to leave.
    pub fn durable(&self) -> &DiskImage {
        &self.durable
    }

    /// Takes an operation, and says when it is due unless the disk stalls.
    pub fn submit(&mut self, now: WorldTime, op: DiskOp) -> WorldTime {
        self.serial += 1;
        let mut draw = self.randomness.draw(Purpose::DiskLatency, self.entity, &[self.serial]);
        let due = match &op {
            DiskOp::Write { data, .. } => {
                now.after(draw.tailed(self.model.write_ns) + transfer_ns(data.as_slice().len()))
            }
            DiskOp::Read { bytes, .. } => {
                now.after(draw.tailed(self.model.read_ns) + transfer_ns(*bytes as usize))
            }
            DiskOp::Allocate { bytes, .. } => {
                now.after(draw.tailed(self.model.allocate_ns) + transfer_ns(*bytes as usize))
            }
            DiskOp::Put { data, .. } => {
                let ready = now.after(draw.tailed(self.model.write_ns) + transfer_ns(data.as_slice().len()));
                ready.after(draw.tailed(self.model.allocate_ns) + draw.tailed(self.model.barrier_ns))
            }
            DiskOp::Barrier { .. } => {
                let writes = self.flying.iter().filter(|flying| matches!(flying.op, DiskOp::Write { .. }));
                let last = writes.map(|flying| flying.due).max().unwrap_or(now).max(now);
                last.after(draw.tailed(self.model.barrier_ns))
            }
        };
        // The device finds other blocks for those that it cannot read as soon as they are to be written, torn or not.
        if let DiskOp::Write { file, offset, data, .. } = &op {
            let written = blocks(*offset, data.as_slice().len());
            self.unreadable.retain(|(other, block)| other != file || !written.contains(block));
        }
        self.flying.push(Flying { serial: self.serial, due, op });
        due
    }

    /// The operation with this id, while it is in flight.
    pub fn operation(&self, id: DiskOpId) -> Option<&DiskOp> {
        self.flying.iter().map(|flying| &flying.op).find(|op| op.id() == id)
    }

    /// The operation with this id fails. A write may have reached the cache, and after a failed barrier the cache has
    /// forgotten some of what was in it, or written it (Rebello et al., ATC'20): a later barrier says nothing about that.
    pub fn fail(&mut self, id: DiskOpId) -> Option<DiskDone> {
        let index = self.flying.iter().position(|flying| flying.op.id() == id)?;
        let Flying { serial, op, .. } = self.flying.swap_remove(index);
        let mut draw = self.randomness.draw(Purpose::DiskCrash, self.entity, &[serial, FAILURE]);
        match op {
            DiskOp::Write { file, offset, data, .. } => {
                if draw.coin() && self.durable.takes(file, offset, data.as_slice().len()) {
                    self.unbarriered.push(Write { serial, file, offset, data });
                }
            }
            DiskOp::Barrier { .. } => self.unbarriered.retain(|write| write.serial > serial || draw.coin()),
            DiskOp::Put { file, data, .. } if draw.coin() => self.put(file, data.as_slice()),
            DiskOp::Put { .. } | DiskOp::Allocate { .. } | DiskOp::Read { .. } => {}
        }
        Some(DiskDone { id, outcome: DiskOutcome::Failed })
    }

    /// Completes the operation with this id; `None` when there is no such operation in flight.
    pub fn complete(&mut self, id: DiskOpId) -> Option<DiskDone> {
        let index = self.flying.iter().position(|flying| flying.op.id() == id)?;
        let Flying { serial, op, .. } = self.flying.swap_remove(index);
        let outcome = match op {
            DiskOp::Allocate { file, bytes, .. } if !self.has_space(file, bytes) => DiskOutcome::Full,
            DiskOp::Allocate { file, bytes, .. } => {
                self.allocate(file, bytes);
                DiskOutcome::Done
            }
            // The old file goes when the new one is there.
            DiskOp::Put { data, .. } if !self.has_space_beside(data.as_slice().len() as u64) => {
                DiskOutcome::Full
            }
            DiskOp::Put { file, data, .. } => {
                self.put(file, data.as_slice());
                DiskOutcome::Done
            }
            DiskOp::Write { file, .. } | DiskOp::Read { file, .. } if self.durable.length(file).is_none() => {
                DiskOutcome::Missing
            }
            DiskOp::Write { file, offset, data, .. } => {
                if self.durable.takes(file, offset, data.as_slice().len()) {
                    self.unbarriered.push(Write { serial, file, offset, data });
                    DiskOutcome::Done
                } else {
                    DiskOutcome::Failed
                }
            }
            DiskOp::Barrier { .. } => {
                let is_before =
                    |flying: &Flying| flying.serial < serial && matches!(flying.op, DiskOp::Write { .. });
                assert!(!self.flying.iter().any(is_before), "a barrier completes behind its writes");
                self.cover_writes_before(serial);
                DiskOutcome::Done
            }
            DiskOp::Read { file, offset, bytes, .. } => match self.read(file, offset, bytes as usize) {
                Some(bytes) => DiskOutcome::Read(Blob(bytes)),
                None => DiskOutcome::Failed,
            },
        };
        Some(DiskDone { id, outcome })
    }

    /// The read with this id gives other bytes than lie there, if any lie there.
    pub fn misread(&mut self, id: DiskOpId, gives: Misread) -> Option<DiskDone> {
        let flying = self.flying.iter().find(|flying| flying.op.id() == id)?;
        let (serial, op) = (flying.serial, flying.op.clone());
        let mut done = self.complete(id)?;
        let (DiskOp::Read { file, offset, .. }, DiskOutcome::Read(bytes)) = (op, &mut done.outcome) else {
            return Some(done);
        };
        let mut draw = self.randomness.draw(Purpose::Rot, self.entity, &[serial]);
        let mut wrong = bytes.as_slice().to_vec();
        match gives {
            Misread::Bit => {
                let at = draw.below(wrong.len() as u64) as usize;
                wrong[at] ^= 1 << draw.below(8);
            }
            Misread::Stray => {
                let blocks = self.durable.length(file).unwrap_or_default() / BLOCK_BYTES as u64;
                let from =
                    (offset / BLOCK_BYTES as u64 + 1 + draw.below(blocks)) % blocks * BLOCK_BYTES as u64;
                for (index, block) in wrong.chunks_mut(BLOCK_BYTES).enumerate() {
                    let at = from + (index * BLOCK_BYTES) as u64;
                    match self.read(file, at, block.len()) {
                        Some(bytes) => block.copy_from_slice(&bytes),
                        None => block.fill(0),
                    }
                }
            }
        }
        *bytes = Blob::from(wrong);
        Some(done)
    }

    /// Durable bytes of `file` from `offset`, within one block or whole blocks, are no longer what they were.
    pub fn harm(&mut self, file: FileId, offset: u64, bytes: &[u8]) {
        let mut at = offset;
        for piece in bytes.chunks(BLOCK_BYTES) {
            let harmed = self.durable.write_within_block(file, at, piece);
            assert!(harmed, "there is nothing to harm at {at} of {file}");
            at += piece.len() as u64;
        }
    }

    /// The block of `file` at `offset` cannot be read any more, until it is written again.
    pub fn spoil(&mut self, file: FileId, offset: u64) {
        self.unreadable.insert((file, offset / BLOCK_BYTES as u64));
    }

    /// Blocks that cannot be read can be again, but for those within the bytes that `keeps` gives of a file.
    pub fn cure(&mut self, keeps: &[(FileId, Range<u64>)]) {
        let kept = |file: FileId, block: u64| {
            let at = block * BLOCK_BYTES as u64;
            keeps.iter().any(|(other, bytes)| *other == file && bytes.contains(&at))
        };
        self.unreadable.retain(|(file, block)| kept(*file, *block));
    }

    /// Whether there is any block that cannot be read.
    pub fn is_spoilt(&self) -> bool {
        !self.unreadable.is_empty()
    }

    /// All of it is as `image` says from now on.
    pub fn put_back(&mut self, image: DiskImage) {
        self.durable = image;
        self.flying.clear();
        self.unbarriered.clear();
        self.unreadable.clear();
        self.serial += 1;
    }

    /// The power fails, or the process dies and the kernel forgets: what no barrier covered survives in part.
    pub fn crash(&mut self) {
        let flying = std::mem::take(&mut self.flying);
        let mut writes = std::mem::take(&mut self.unbarriered);
        for Flying { serial, op, .. } in flying {
            match op {
                DiskOp::Write { file, offset, data, .. } => {
                    writes.push(Write { serial, file, offset, data });
                }
                DiskOp::Allocate { file, bytes, .. } => self.leave_allocation(serial, file, bytes),
                DiskOp::Put { file, data, .. } => {
                    if self.crash_draw(&[serial, ALLOCATION]).coin() {
                        self.put(file, data.as_slice());
                    }
                }
                DiskOp::Barrier { .. } | DiskOp::Read { .. } => {}
            }
        }
        let survival = self.survival();
        writes.sort_by_key(|write| self.crash_draw(&[write.serial, ORDER]).word());
        for write in &writes {
            self.leave_units(write, survival);
        }
        // Serials go on, so that no draw of the next process repeats one of this.
        self.serial += 1;
    }

    /// What a read finds: the durable layer, and over it the volatile one.
    fn read(&self, file: FileId, offset: u64, bytes: usize) -> Option<Bytes> {
        let asked = blocks(offset, bytes);
        if self.unreadable.range((file, asked.start)..(file, asked.end)).next().is_some() {
            return None;
        }
        let mut buffer = self.durable.read_into_buffer(file, offset, bytes)?;
        for write in self.unbarriered.iter().filter(|write| write.file == file) {
            let (data, end) = (write.data.as_slice(), offset + bytes as u64);
            let from = write.offset.max(offset);
            let to = (write.offset + data.len() as u64).min(end);
            if from < to {
                let within = (from - write.offset) as usize..(to - write.offset) as usize;
                buffer.write((from - offset) as usize, &data[within]);
            }
        }
        Some(buffer.finish())
    }

    /// Moves the writes submitted before the barrier `serial` to the durable layer.
    fn cover_writes_before(&mut self, serial: u64) {
        let durable = &mut self.durable;
        self.unbarriered.retain(|write| {
            let covered = write.serial < serial;
            if covered {
                durable.put(write.file, write.offset, write.data.as_slice());
            }
            !covered
        });
    }

    fn allocate(&mut self, file: FileId, bytes: u64) {
        self.unbarriered.retain(|write| write.file != file);
        self.unreadable.retain(|(other, _)| *other != file);
        self.durable.allocate(file, bytes);
    }

    fn put(&mut self, file: FileId, data: &[u8]) {
        self.allocate(file, data.len() as u64);
        assert!(self.durable.put(file, 0, data), "a file is put there by whole blocks");
    }

    /// An allocation cut short leaves the file away, as it was, or zeroed.
    fn leave_allocation(&mut self, serial: u64, file: FileId, bytes: u64) {
        match self.crash_draw(&[serial, ALLOCATION]).below(3) {
            0 => self.durable.remove(file),
            1 => {}
            _ => self.durable.allocate(file, bytes),
        }
    }

    /// Parts per million of the units that this crash keeps. Crashes differ: nothing written back, all of it, any mix.
    fn survival(&self) -> u32 {
        let mut draw = self.crash_draw(&[self.serial, MIX]);
        match draw.below(4) {
            0 => 0,
            1 => 1_000_000,
            _ => draw.below(1_000_000) as u32,
        }
    }

    fn leave_units(&mut self, write: &Write, survival: u32) {
        let unit = self.model.atomic_unit;
        for (index, data) in write.data.as_slice().chunks(unit).enumerate() {
            let kept = self.crash_draw(&[write.serial, UNIT, index as u64]).chance(survival);
            if kept {
                self.durable.write_within_block(write.file, write.offset + (index * unit) as u64, data);
            }
        }
    }

    fn crash_draw(&self, about: &[u64]) -> Draw {
        self.randomness.draw(Purpose::DiskCrash, self.entity, about)
    }
}

/// The blocks that `bytes` bytes from `offset` lie in.
fn blocks(offset: u64, bytes: usize) -> Range<u64> {
    let block = BLOCK_BYTES as u64;
    offset / block..(offset + bytes as u64).div_ceil(block)
}

/// A disk moves about a gigabyte a second.
fn transfer_ns(bytes: usize) -> u64 {
    bytes as u64
}

const ORDER: u64 = 1;
const ALLOCATION: u64 = 2;
const MIX: u64 = 3;
const UNIT: u64 = 4;
const FAILURE: u64 = 5;

#[cfg(test)]
mod tests;

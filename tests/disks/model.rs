//! What a disk may show.

use std::collections::{BTreeMap, BTreeSet};

use chronon_core::engine::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId};
use chronon_core::types::Blob;

use crate::script::{BLOCKS, FILES};

/// What is known of a disk.
#[derive(Debug, Default)]
pub struct Model {
    files: BTreeMap<FileId, Vec<Block>>,
    /// Each with its place in the order of submission.
    flying: BTreeMap<DiskOpId, (u64, DiskOp)>,
    serial: u64,
    /// After a crash: what each block may hold is read before anything else is asked.
    after_crash: bool,
    /// Files that a crash may have left away.
    doubtful: BTreeSet<FileId>,
    /// Files that a crash may have left as they were, or replaced by ones of this content, all of it.
    replaced: BTreeMap<FileId, u64>,
    /// Sectors that were compared.
    pub compared: u64,
    /// Speculative sectors that a crash left, and those that it did not.
    pub survived: u64,
    pub lost: u64,
    /// Files that a crash left replaced.
    pub replaced_whole: u64,
}

#[derive(Clone, Debug, Default)]
struct Block {
    /// What a crash is sure to leave, by sector.
    durable: [u64; SECTORS],
    /// Writes since, oldest first: place in the order of submission, and content.
    speculative: Vec<(u64, u64)>,
}

impl Model {
    pub fn in_flight(&self) -> usize {
        self.flying.len()
    }

    pub fn submit(&mut self, op: &DiskOp) {
        self.serial += 1;
        if let DiskOp::Write { file, offset, data, .. } = op {
            let number = number_of(data);
            let serial = self.serial;
            for block in self.blocks(*file, *offset, data.as_slice().len()) {
                block.speculative.push((serial, number));
            }
        }
        self.flying.insert(op.id(), (self.serial, op.clone()));
    }

    pub fn complete(&mut self, done: &DiskDone) -> Result<(), String> {
        let (serial, op) = self.flying.remove(&done.id).ok_or_else(|| format!("{done} completes nothing"))?;
        let exists = |file| self.files.contains_key(file);
        match (&op, &done.outcome) {
            (DiskOp::Allocate { file, .. }, DiskOutcome::Done) => {
                self.files.insert(*file, file_of(0));
                self.doubtful.remove(file);
                Ok(())
            }
            (DiskOp::Put { file, data, .. }, DiskOutcome::Done) => {
                self.files.insert(*file, file_of(number_of(data)));
                Ok(())
            }
            (DiskOp::Write { file, .. }, DiskOutcome::Done) if exists(file) => Ok(()),
            (DiskOp::Barrier { .. }, DiskOutcome::Done) => self.cover(serial),
            (DiskOp::Write { file, .. } | DiskOp::Read { file, .. }, DiskOutcome::Missing)
                if !exists(file) || self.doubtful.contains(file) =>
            {
                self.files.remove(file);
                Ok(())
            }
            (DiskOp::Read { offset, bytes, .. }, DiskOutcome::Failed)
                if offset + u64::from(*bytes) > BLOCKS * BLOCK_BYTES as u64 =>
            {
                Ok(())
            }
            (DiskOp::Read { file, offset, bytes, .. }, DiskOutcome::Read(data))
                if exists(file) && data.as_slice().len() == *bytes as usize =>
            {
                self.compare(*file, *offset, data.as_slice())
            }
            (op, outcome) => {
                let cut = |what: String| what.chars().take(80).collect::<String>();
                Err(format!("{} ends with {}", cut(op.to_string()), cut(outcome.to_string())))
            }
        }
    }

    /// Everything in flight is gone; the reads that say what is left.
    pub fn crash(&mut self) -> Vec<DiskOp> {
        for (_, op) in std::mem::take(&mut self.flying).into_values() {
            match op {
                DiskOp::Allocate { file, .. } => {
                    self.doubtful.insert(file);
                    self.files.entry(file).or_insert_with(|| file_of(0));
                }
                DiskOp::Put { file, data, .. } => {
                    self.replaced.insert(file, number_of(&data));
                    if !self.files.contains_key(&file) {
                        self.doubtful.insert(file);
                        self.files.insert(file, file_of(0));
                    }
                }
                DiskOp::Write { .. } | DiskOp::Barrier { .. } | DiskOp::Read { .. } => {}
            }
        }
        self.after_crash = true;
        let files = FILES.iter().filter(|file| self.files.contains_key(file));
        let reads = files.zip(READS_FROM..).map(|(file, id)| DiskOp::Read {
            id: DiskOpId(id + self.serial),
            file: *file,
            offset: 0,
            bytes: BLOCKS as u32 * BLOCK_BYTES as u32,
        });
        reads.collect()
    }

    /// What was submitted before `serial` is durable, and must all have completed.
    fn cover(&mut self, serial: u64) -> Result<(), String> {
        let early = self.flying.values().find(|(at, op)| *at < serial && matches!(op, DiskOp::Write { .. }));
        if let Some((_, write)) = early {
            return Err(format!("a barrier completes before {}", write.id().0));
        }
        for block in self.files.values_mut().flatten() {
            let covered = block.speculative.partition_point(|(at, _)| *at < serial);
            if let Some((_, number)) = block.speculative.drain(..covered).next_back() {
                block.durable = [number; SECTORS];
            }
        }
        Ok(())
    }

    fn compare(&mut self, file: FileId, offset: u64, data: &[u8]) -> Result<(), String> {
        let (after_crash, zeroed) = (self.after_crash, self.doubtful.contains(&file));
        if let Some(number) = self.replaced.remove(&file)
            && uniform(data) == Some(number)
        {
            self.files.insert(file, file_of(number));
            self.compared += (data.len() / SECTOR_BYTES) as u64;
            self.replaced_whole += 1;
            return Ok(());
        }
        let (mut compared, mut survived, mut lost) = (0, 0, 0);
        for (index, block) in self.blocks(file, offset, data.len()).iter_mut().enumerate() {
            let found: Vec<u64> = data[index * BLOCK_BYTES..][..BLOCK_BYTES]
                .chunks(SECTOR_BYTES)
                .map(|sector| uniform(sector).unwrap_or(u64::MAX))
                .collect();
            for (sector, found) in found.iter().enumerate() {
                compared += 1;
                let durable = block.durable[sector];
                let newest = block.speculative.last().map_or(durable, |(_, number)| *number);
                let speculative = block.speculative.iter().any(|(_, number)| number == found);
                let allowed = if after_crash {
                    *found == durable || speculative || (zeroed && *found == 0)
                } else {
                    *found == newest
                };
                if !allowed {
                    return Err(format!(
                        "{file} at {offset}, block {index}, sector {sector} holds {found}, and {durable} is durable \
                         with {:?} since",
                        block.speculative
                    ));
                }
                if after_crash && !block.speculative.is_empty() {
                    *(if speculative { &mut survived } else { &mut lost }) += 1;
                }
            }
            if after_crash {
                block.durable.copy_from_slice(&found);
                block.speculative.clear();
            }
        }
        self.compared += compared;
        self.survived += survived;
        self.lost += lost;
        Ok(())
    }

    fn blocks(&mut self, file: FileId, offset: u64, bytes: usize) -> &mut [Block] {
        let from = (offset / BLOCK_BYTES as u64) as usize;
        match self.files.get_mut(&file) {
            Some(blocks) => &mut blocks[from..from + bytes / BLOCK_BYTES],
            None => &mut [],
        }
    }

    /// What a crash left is known.
    pub fn recovered(&mut self) {
        self.after_crash = false;
        self.doubtful.clear();
    }
}

/// A file that holds one number over and over, durably.
fn file_of(number: u64) -> Vec<Block> {
    vec![Block { durable: [number; SECTORS], speculative: Vec::new() }; BLOCKS as usize]
}

/// The number that a write's content repeats.
fn number_of(data: &Blob) -> u64 {
    u64::from_le_bytes(data.as_slice()[..8].try_into().expect("it is not empty"))
}

/// The number that these bytes hold over and over.
fn uniform(bytes: &[u8]) -> Option<u64> {
    let mut words = bytes.chunks(8).map(|word| u64::from_le_bytes(word.try_into().expect("it is whole")));
    let first = words.next()?;
    words.all(|word| word == first).then_some(first)
}

const SECTOR_BYTES: usize = 512;
const SECTORS: usize = BLOCK_BYTES / SECTOR_BYTES;
/// Ids of the reads after a crash: beyond those of any script.
const READS_FROM: u64 = 1 << 32;

//! The bytes of a disk: files of 4 KiB blocks, cheap to clone.
//!
//! ```text
//! image -> Arc<file> -> Arc<chunk of 64 blocks> -> Arc<block>
//! ```
//!
//! A clone copies one pointer a file; a write to a clone copies one file table, one chunk table and the blocks written.
//! A block is kept without the zeros at its end, and one that is all zeros takes no memory: most flushes are short.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chronon_core::engine::{BLOCK_BYTES, FileId};

use super::buffers::ReadBuffer;

/// A block, without the zeros at its end.
type Block = Arc<[u8]>;

/// Blocks under one second-level pointer.
const CHUNK_BLOCKS: usize = 64;

/// What a disk holds.
#[derive(Clone, Debug, Default)]
pub struct DiskImage {
    files: BTreeMap<FileId, Arc<File>>,
}

#[derive(Clone, Debug)]
struct File {
    bytes: u64,
    chunks: Vec<Option<Arc<Chunk>>>,
}

#[derive(Clone, Debug)]
struct Chunk([Option<Block>; CHUNK_BLOCKS]);

impl DiskImage {
    /// The files, ascending, and their lengths.
    pub fn files(&self) -> impl Iterator<Item = (FileId, u64)> + '_ {
        self.files.iter().map(|(id, file)| (*id, file.bytes))
    }

    /// Lengths of all files together.
    pub fn bytes(&self) -> u64 {
        self.files.values().map(|file| file.bytes).sum()
    }

    /// Length of `file`; `None` when it does not exist.
    pub fn length(&self, file: FileId) -> Option<u64> {
        self.files.get(&file).map(|file| file.bytes)
    }

    /// `bytes` bytes of `file` from `offset`; `None` when the file does not exist or ends before that.
    pub fn read(&self, file: FileId, offset: u64, bytes: usize) -> Option<Bytes> {
        self.read_into_buffer(file, offset, bytes).map(ReadBuffer::finish)
    }

    /// The same, for what is written over it.
    pub(super) fn read_into_buffer(&self, file: FileId, offset: u64, bytes: usize) -> Option<ReadBuffer> {
        let file = self.files.get(&file)?;
        let end = offset.checked_add(bytes as u64)?;
        if end > file.bytes {
            return None;
        }
        let mut out = ReadBuffer::zeroed(bytes);
        let mut at = offset;
        while at < end {
            let block = (at / BLOCK_BYTES as u64) as usize;
            let within = (at % BLOCK_BYTES as u64) as usize;
            let take = (BLOCK_BYTES - within).min((end - at) as usize);
            if let Some(data) = file.block(block).and_then(|block| block.get(within..)) {
                let start = (at - offset) as usize;
                let held = take.min(data.len());
                out.write(start, &data[..held]);
            }
            at += take as u64;
        }
        Some(out)
    }

    /// Makes `file` exist with `bytes` zeros; what it held before is gone.
    pub fn allocate(&mut self, file: FileId, bytes: u64) {
        let chunks = (bytes as usize).div_ceil(BLOCK_BYTES * CHUNK_BLOCKS);
        self.files.insert(file, Arc::new(File { bytes, chunks: vec![None; chunks] }));
    }

    /// Makes `file` not exist.
    pub fn remove(&mut self, file: FileId) {
        self.files.remove(&file);
    }

    /// Whether `bytes` bytes can be put into `file` at `offset`: whole blocks, on multiples of the block, within it.
    pub(super) fn takes(&self, file: FileId, offset: u64, bytes: usize) -> bool {
        let whole = bytes.is_multiple_of(BLOCK_BYTES) && offset.is_multiple_of(BLOCK_BYTES as u64);
        let end = offset.checked_add(bytes as u64);
        whole && self.length(file).zip(end).is_some_and(|(length, end)| end <= length)
    }

    /// Puts `data` into `file` from `offset`. False, and nothing done, when the file does not take it.
    pub(super) fn put(&mut self, file: FileId, offset: u64, data: &[u8]) -> bool {
        if !self.takes(file, offset, data.len()) {
            return false;
        }
        let Some(file) = self.files.get_mut(&file).map(Arc::make_mut) else { return false };
        let first = (offset / BLOCK_BYTES as u64) as usize;
        for (index, block) in (first..).zip(data.chunks_exact(BLOCK_BYTES)) {
            *file.slot(index) = Some(trimmed(block));
        }
        true
    }

    /// Writes `data` into `file` at `offset`, which may be any part of one block. False, and nothing done, when the
    /// file does not exist, or ends before that.
    pub(super) fn write_within_block(&mut self, file: FileId, offset: u64, data: &[u8]) -> bool {
        let Some(file) = self.files.get_mut(&file) else { return false };
        let within = (offset % BLOCK_BYTES as u64) as usize;
        let end = offset.checked_add(data.len() as u64);
        if end.is_none_or(|end| end > file.bytes) || within + data.len() > BLOCK_BYTES {
            return false;
        }
        let slot = Arc::make_mut(file).slot((offset / BLOCK_BYTES as u64) as usize);
        let mut whole = [0; BLOCK_BYTES];
        if let Some(before) = slot {
            whole[..before.len()].copy_from_slice(before);
        }
        whole[within..within + data.len()].copy_from_slice(data);
        *slot = Some(trimmed(&whole));
        true
    }
}

fn trimmed(block: &[u8]) -> Block {
    Arc::from(without_zeros(block))
}

/// `bytes` without the zeros at its end.
pub(crate) fn without_zeros(bytes: &[u8]) -> &[u8] {
    // Long pieces first: most of a block is zeros.
    let within = without_pieces::<1024>(bytes);
    let within = without_pieces::<256>(within);
    let within = without_pieces::<64>(within);
    let within = without_pieces::<8>(within);
    without_pieces::<1>(within)
}

/// Cuts pieces of `N` zeros off the end.
fn without_pieces<const N: usize>(mut bytes: &[u8]) -> &[u8] {
    while let Some(before) = bytes.strip_suffix(const { &[0; N] }) {
        bytes = before;
    }
    bytes
}

impl File {
    fn block(&self, block: usize) -> Option<&[u8]> {
        let chunk = self.chunks.get(block / CHUNK_BLOCKS)?.as_ref()?;
        chunk.0[block % CHUNK_BLOCKS].as_deref()
    }

    fn slot(&mut self, block: usize) -> &mut Option<Block> {
        let empty = || Arc::new(Chunk([const { None }; CHUNK_BLOCKS]));
        let chunk = self.chunks[block / CHUNK_BLOCKS].get_or_insert_with(empty);
        &mut Arc::make_mut(chunk).0[block % CHUNK_BLOCKS]
    }
}

#[cfg(test)]
mod tests {
    use chronon_core::engine::{BLOCK_BYTES, FileId};

    use super::{DiskImage, without_zeros};

    const FILE: FileId = FileId::Segment(3);

    fn image(blocks: usize) -> DiskImage {
        let mut image = DiskImage::default();
        image.allocate(FILE, (BLOCK_BYTES * blocks) as u64);
        image
    }

    #[test]
    fn blocks_are_read_back_across_chunks() {
        let mut image = image(130);
        let mut data: Vec<u8> = (0..BLOCK_BYTES * 3).map(|i| (i % 251) as u8).collect();
        // The second block ends in zeros, the third is zeros.
        data[BLOCK_BYTES + 1001..].fill(0);
        let offset = (BLOCK_BYTES * 63) as u64;
        assert!(image.put(FILE, offset, &data));
        assert_eq!(image.read(FILE, offset, data.len()).as_deref(), Some(&data[..]));
        let middle = BLOCK_BYTES - 100..BLOCK_BYTES + 1100;
        assert_eq!(
            image.read(FILE, offset + middle.start as u64, middle.len()).as_deref(),
            Some(&data[middle])
        );
        assert_eq!(image.read(FILE, 0, 16).as_deref(), Some(&[0; 16][..]));
    }

    #[test]
    fn zeros_at_the_end_are_left_out_wherever_they_begin() {
        for length in [0, 1, 7, 8, 63, 65, 1023, 1025, 4095, 4096] {
            let mut bytes = vec![0; 4096];
            bytes[..length].fill(5);
            bytes[..length / 2].fill(0);
            assert_eq!(without_zeros(&bytes), &bytes[..length], "{length} bytes before the zeros");
        }
    }

    #[test]
    fn a_part_of_a_block_is_written_over_what_was_there() {
        let mut image = image(1);
        assert!(image.put(FILE, 0, &[1; BLOCK_BYTES]));
        assert!(image.write_within_block(FILE, 512, &[0; 512]));
        assert!(image.write_within_block(FILE, 3584, &[2; 512]));
        let mut expected = vec![1; BLOCK_BYTES];
        expected[512..1024].fill(0);
        expected[3584..].fill(2);
        assert_eq!(image.read(FILE, 0, BLOCK_BYTES).as_deref(), Some(&expected[..]));
    }

    #[test]
    fn a_clone_keeps_what_the_original_overwrites() {
        let mut image = image(1);
        assert!(image.write_within_block(FILE, 0, &[1; 512]));
        let before = image.clone();
        assert!(image.write_within_block(FILE, 0, &[2; 512]));
        assert_eq!(before.read(FILE, 0, 512).as_deref(), Some(&[1; 512][..]));
        assert_eq!(image.read(FILE, 0, 512).as_deref(), Some(&[2; 512][..]));
    }

    #[test]
    fn nothing_lies_beyond_the_end_of_a_file_or_in_a_file_that_is_not_there() {
        let block = [1; BLOCK_BYTES];
        let mut away = DiskImage::default();
        assert!(!away.put(FILE, 0, &block));
        assert!(!away.write_within_block(FILE, 0, &[1; 512]));
        assert_eq!(away.read(FILE, 0, 1), None);
        let mut image = image(1);
        assert!(!image.put(FILE, BLOCK_BYTES as u64, &block));
        assert!(!image.put(FILE, 512, &block), "blocks lie on multiples of the block");
        assert!(!image.write_within_block(FILE, BLOCK_BYTES as u64 - 1, &[1; 2]));
        assert_eq!(image.read(FILE, BLOCK_BYTES as u64, 1), None);
        assert!(!image.put(FILE, 0, &[1; 100]), "what is put is whole blocks");
    }
}

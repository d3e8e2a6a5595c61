//! The bytes of a disk: files of 4 KiB blocks, cheap to clone.
//!
//! ```text
//! image -> Arc<file> -> Arc<chunk of 64 blocks> -> Arc<block>
//! ```
//!
//! A clone copies one pointer a file; a write to a clone copies one file table, one chunk table and the blocks written.
//! A block that was never written is all zeros and takes no memory.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronon_core::engine::{BLOCK_BYTES, FileId};

type Block = Arc<[u8; BLOCK_BYTES]>;

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

    /// Length of `file`; `None` when it does not exist.
    pub fn length(&self, file: FileId) -> Option<u64> {
        self.files.get(&file).map(|file| file.bytes)
    }

    /// `bytes` bytes of `file` from `offset`; `None` when the file does not exist or ends before that.
    pub fn read(&self, file: FileId, offset: u64, bytes: usize) -> Option<Vec<u8>> {
        let file = self.files.get(&file)?;
        let end = offset.checked_add(bytes as u64)?;
        if end > file.bytes {
            return None;
        }
        let mut out = Vec::with_capacity(bytes);
        let mut at = offset;
        while at < end {
            let block = (at / BLOCK_BYTES as u64) as usize;
            let within = (at % BLOCK_BYTES as u64) as usize;
            let take = (BLOCK_BYTES - within).min((end - at) as usize);
            match file.block(block) {
                Some(data) => out.extend_from_slice(&data[within..within + take]),
                None => out.resize(out.len() + take, 0),
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

    /// Writes `data` into `file` at `offset`, in whatever pieces of a block. False, and nothing done, when the file
    /// does not exist or ends before that.
    pub fn write(&mut self, file: FileId, offset: u64, data: &[u8]) -> bool {
        let Some(file) = self.files.get_mut(&file) else { return false };
        if offset.checked_add(data.len() as u64).is_none_or(|end| end > file.bytes) {
            return false;
        }
        let file = Arc::make_mut(file);
        let mut at = offset;
        let mut rest = data;
        while !rest.is_empty() {
            let block = (at / BLOCK_BYTES as u64) as usize;
            let within = (at % BLOCK_BYTES as u64) as usize;
            let take = (BLOCK_BYTES - within).min(rest.len());
            let (now, later) = rest.split_at(take);
            file.put(block, within, now);
            at += take as u64;
            rest = later;
        }
        true
    }
}

impl File {
    fn block(&self, block: usize) -> Option<&[u8; BLOCK_BYTES]> {
        let chunk = self.chunks.get(block / CHUNK_BLOCKS)?.as_ref()?;
        chunk.0[block % CHUNK_BLOCKS].as_deref()
    }

    fn put(&mut self, block: usize, within: usize, data: &[u8]) {
        let chunk = self.chunks[block / CHUNK_BLOCKS]
            .get_or_insert_with(|| Arc::new(Chunk([const { None }; CHUNK_BLOCKS])));
        let slot = &mut Arc::make_mut(chunk).0[block % CHUNK_BLOCKS];
        if data.len() == BLOCK_BYTES {
            // A whole block replaces what was there: nothing of it has to be copied.
            let mut whole = [0; BLOCK_BYTES];
            whole.copy_from_slice(data);
            *slot = Some(Arc::new(whole));
            return;
        }
        let block = slot.get_or_insert_with(|| Arc::new([0; BLOCK_BYTES]));
        Arc::make_mut(block)[within..within + data.len()].copy_from_slice(data);
    }
}

#[cfg(test)]
mod tests {
    use chronon_core::engine::{BLOCK_BYTES, FileId};

    use super::DiskImage;

    const FILE: FileId = FileId::Segment(3);

    #[test]
    fn a_write_is_read_back_across_blocks_and_chunks() {
        let mut image = DiskImage::default();
        image.allocate(FILE, (BLOCK_BYTES * 130) as u64);
        let data: Vec<u8> = (0..BLOCK_BYTES * 3).map(|i| (i % 251) as u8).collect();
        let offset = (BLOCK_BYTES * 63 - 512) as u64;
        assert!(image.write(FILE, offset, &data));
        assert_eq!(image.read(FILE, offset, data.len()), Some(data));
        assert_eq!(image.read(FILE, 0, 16), Some(vec![0; 16]));
    }

    #[test]
    fn a_clone_keeps_what_the_original_overwrites() {
        let mut image = DiskImage::default();
        image.allocate(FILE, BLOCK_BYTES as u64);
        assert!(image.write(FILE, 0, &[1; 512]));
        let before = image.clone();
        assert!(image.write(FILE, 0, &[2; 512]));
        assert_eq!(before.read(FILE, 0, 512), Some(vec![1; 512]));
        assert_eq!(image.read(FILE, 0, 512), Some(vec![2; 512]));
    }

    #[test]
    fn nothing_lies_beyond_the_end_of_a_file_or_in_a_file_that_is_not_there() {
        let mut image = DiskImage::default();
        assert!(!image.write(FILE, 0, &[1; 512]));
        assert_eq!(image.read(FILE, 0, 1), None);
        image.allocate(FILE, BLOCK_BYTES as u64);
        assert!(!image.write(FILE, BLOCK_BYTES as u64 - 1, &[1; 2]));
        assert_eq!(image.read(FILE, BLOCK_BYTES as u64, 1), None);
    }
}

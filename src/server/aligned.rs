//! Memory that begins at a multiple of the block, as `O_DIRECT` demands.

use bytes::Bytes;
use chronon_core::engine::BLOCK_BYTES;

/// A buffer of a fixed length that begins at a multiple of [`BLOCK_BYTES`].
#[derive(Debug)]
pub(crate) struct AlignedBuffer {
    room: Vec<u8>,
    start: usize,
    bytes: usize,
}

impl AlignedBuffer {
    /// A buffer of `bytes` zeros.
    pub(crate) fn new(bytes: usize) -> Self {
        let room = vec![0; bytes + BLOCK_BYTES];
        let start = room.as_ptr().align_offset(BLOCK_BYTES);
        Self { room, start, bytes }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.room[self.start..self.start + self.bytes]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.room[self.start..self.start + self.bytes]
    }

    /// The bytes, without copying them.
    pub(crate) fn into_bytes(self) -> Bytes {
        Bytes::from(self.room).slice(self.start..self.start + self.bytes)
    }
}

/// Whether a device takes these bytes where they lie.
pub(crate) fn is_aligned(bytes: &[u8]) -> bool {
    bytes.as_ptr().addr().is_multiple_of(BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use chronon_core::engine::BLOCK_BYTES;

    use super::AlignedBuffer;

    #[test]
    fn a_buffer_begins_at_a_block_and_keeps_its_bytes() {
        for bytes in [1, BLOCK_BYTES, 3 * BLOCK_BYTES] {
            let mut buffer = AlignedBuffer::new(bytes);
            assert_eq!(buffer.as_slice().as_ptr() as usize % BLOCK_BYTES, 0);
            buffer.as_mut_slice().fill(7);
            assert_eq!(buffer.into_bytes(), vec![7; bytes]);
        }
    }
}

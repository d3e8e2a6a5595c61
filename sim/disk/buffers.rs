//! Zeroed buffers for reads, used again and again. A start reads whole segments, most of which are zeros: with fresh
//! memory each time, clearing it and faulting it in took a quarter of a swarm's time.

use std::cell::RefCell;
use std::ops::Range;

use bytes::Bytes;

/// A buffer to be filled for one read.
#[derive(Debug)]
pub(super) struct ReadBuffer {
    /// Zeros, except within what was written.
    memory: Vec<u8>,
    written: Vec<Range<usize>>,
}

impl ReadBuffer {
    /// A buffer of `bytes` zeros.
    pub(super) fn zeroed(bytes: usize) -> Self {
        let fits = |memory: &Vec<u8>| memory.len() == bytes;
        let kept = FREE.with_borrow_mut(|free| free.iter().rposition(fits).map(|index| free.remove(index)));
        Self { memory: kept.unwrap_or_else(|| vec![0; bytes]), written: Vec::new() }
    }

    /// Puts `data` at `at`.
    pub(super) fn write(&mut self, at: usize, data: &[u8]) {
        let range = at..at + data.len();
        self.memory[range.clone()].copy_from_slice(data);
        match self.written.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.written.push(range),
        }
    }

    /// What was filled. The memory is free again when the last slice of it is gone.
    pub(super) fn finish(self) -> Bytes {
        Bytes::from_owner(self)
    }
}

impl AsRef<[u8]> for ReadBuffer {
    fn as_ref(&self) -> &[u8] {
        &self.memory
    }
}

impl Drop for ReadBuffer {
    fn drop(&mut self) {
        if self.memory.len() < KEPT_BYTES_MIN {
            return;
        }
        for range in self.written.drain(..) {
            self.memory[range].fill(0);
        }
        let memory = std::mem::take(&mut self.memory);
        // While a thread ends its list may be gone: the memory goes the usual way then.
        let _gone = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() >= FREE_MAX {
                // Sizes are a run's own: the oldest is the least likely to be asked for again.
                free.remove(0);
            }
            free.push(memory);
        });
    }
}

thread_local! {
    /// Nothing but zeros, so that no run can tell where its memory comes from.
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Shorter ones are not worth keeping.
const KEPT_BYTES_MIN: usize = 64 << 10;

/// Buffers that a thread keeps at most.
const FREE_MAX: usize = 32;

#[cfg(test)]
mod tests {
    use super::{KEPT_BYTES_MIN, ReadBuffer};

    #[test]
    fn a_buffer_that_is_used_again_holds_zeros() {
        for round in 0..3 {
            let mut buffer = ReadBuffer::zeroed(KEPT_BYTES_MIN);
            assert_eq!(buffer.as_ref(), [0; KEPT_BYTES_MIN], "round {round}");
            buffer.write(10, &[1; 20]);
            buffer.write(30, &[2; 5]);
            buffer.write(4000, &[3; 96]);
            let bytes = buffer.finish();
            let slice = bytes.slice(25..40);
            drop(bytes);
            assert_eq!(slice[..], [1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 0, 0, 0, 0]);
        }
    }
}

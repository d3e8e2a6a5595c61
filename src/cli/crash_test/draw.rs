//! Randomness that a seed repeats.

use chronon_core::types::Hash;

/// Draws that hang on nothing but what they are for.
pub(super) struct Draw {
    seed: u64,
    round: u64,
    count: u64,
}

impl Draw {
    pub(super) fn new(seed: u64, round: u64) -> Self {
        Self { seed, round, count: 0 }
    }

    /// A number below `bound`, which is not zero.
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.count += 1;
        let key = [self.seed, self.round, self.count].map(u64::to_le_bytes).concat();
        let hash = Hash::of(&key);
        let word = hash.as_bytes().iter().take(8).fold(0, |word, byte| word << 8 | u64::from(*byte));
        word % bound
    }
}

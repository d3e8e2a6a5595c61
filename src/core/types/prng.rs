//! A generator whose numbers are the same on every machine and in every version.

use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};

/// ChaCha8 with draws of our own making: the streams of library distributions change between versions, raw words do
/// not.
#[derive(Clone, Debug)]
pub struct Prng(ChaCha8Rng);

impl Prng {
    /// The generator with this key.
    pub fn from_key(key: [u8; 32]) -> Self {
        Self(ChaCha8Rng::from_seed(key))
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number below `bound`, by the high word of a product (Lemire 2019, without the rejection step: the bias is
    /// below bound / 2^64).
    ///
    /// # Panics
    /// When `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a number below zero does not exist");
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(u64::MAX)
    }

    /// A number from `low` to `high`, both included.
    ///
    /// # Panics
    /// When `low` is above `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "the range {low}..={high} is empty");
        match (high - low).checked_add(1) {
            Some(span) => low + self.below(span),
            None => self.next_u64(),
        }
    }

    /// True once in `total / part` draws.
    pub fn chance(&mut self, part: u64, total: u64) -> bool {
        self.below(total) < part
    }
}

#[cfg(test)]
mod tests {
    use super::Prng;

    #[test]
    fn the_stream_of_a_key_never_changes() {
        let mut prng = Prng::from_key([7; 32]);
        let drawn = [prng.next_u64(), prng.next_u64(), prng.below(1_000_000), prng.between(10, 20)];
        assert_eq!(drawn, GOLDEN);
    }

    #[test]
    fn draws_stay_within_their_bounds() {
        let mut prng = Prng::from_key([1; 32]);
        for _ in 0..1000 {
            assert!(prng.below(3) < 3);
            assert!((5..=6).contains(&prng.between(5, 6)));
        }
        assert_eq!(prng.between(9, 9), 9);
    }

    const GOLDEN: [u64; 4] = [4_115_934_089_738_703_076, 15_345_232_379_140_719_590, 290_847, 13];
}

//! Keyed randomness: a draw is a function of (seed, branch, purpose, entity, what it is about).
//!
//! Nothing here counts draws. So when one fault, client or node is taken out of a run, every other draw stays as it
//! was, and a failure can be shrunk. A key is folded word by word through a 64x64 -> 128 bit multiplication; what
//! comes out seeds a small generator, for the few numbers that one subject needs. Golden tests pin both: a seed means
//! the same on every machine and in every version.

/// The randomness of one run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Randomness {
    root: u64,
}

/// What a draw decides. Two purposes never share a draw, even about the same subject.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u64)]
pub enum Purpose {
    /// The run's own configuration.
    Config = 1,
    /// The fault plan.
    Plan = 2,
    /// The entropy that a node is started with.
    Entropy = 3,
    /// What happens to a message on a link.
    Message = 4,
    /// How long a disk operation takes.
    DiskLatency = 5,
    /// Which atomic units survive a crash.
    DiskCrash = 6,
    /// What a client asks, and when.
    Client = 7,
    /// Offset and drift of a clock.
    Clock = 8,
    /// What the workload does.
    Workload = 9,
    /// What a link repeats.
    Echo = 10,
    /// What of a flush rots.
    Rot = 11,
    /// What is looked up.
    Reader = 12,
    /// What a sink does with an attempt.
    Sink = 13,
    /// What an operator does about side effects that were given up.
    Operator = 14,
    /// What workers do.
    Worker = 15,
}

impl Randomness {
    /// The randomness of `seed`. Branches of the same seed share nothing: a forked world takes another one.
    pub fn new(seed: u64, branch: u64) -> Self {
        Self { root: fold(fold(START, seed), branch) }
    }

    /// The draw for `purpose` that belongs to `entity` and is about `about`.
    pub fn draw(&self, purpose: Purpose, entity: u64, about: &[u64]) -> Draw {
        self.key(purpose, entity).draw(about)
    }

    /// What the draws for `purpose` that belong to `entity` have in common.
    pub fn key(&self, purpose: Purpose, entity: u64) -> Key {
        Key { state: fold(fold(self.root, purpose as u64), entity), words: 0 }
    }
}

/// The beginning of the keys of many draws, to be folded once for all of them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Key {
    state: u64,
    words: u64,
}

impl Key {
    /// The key that goes on with `word`.
    #[must_use]
    pub fn and(self, word: u64) -> Self {
        Self { state: fold(self.state, word), words: self.words + 1 }
    }

    /// The draw that is about what the key holds and about `about`.
    pub fn draw(self, about: &[u64]) -> Draw {
        let Self { state, words } = about.iter().fold(self, |key, word| key.and(*word));
        // The length keeps ([1], [0]) and ([1, 0]) apart.
        Draw { state: fold(state, !words) }
    }
}

/// The numbers of one keyed draw.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Draw {
    state: u64,
}

impl Draw {
    /// The next 64 bits.
    pub fn word(&mut self) -> u64 {
        self.state = self.state.wrapping_add(STEP);
        finish(self.state)
    }

    /// A number below `bound`; the bias is below bound / 2^64.
    ///
    /// # Panics
    /// When `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "a number below zero does not exist");
        ((u128::from(self.word()) * u128::from(bound)) >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    ///
    /// # Panics
    /// When `low` is above `high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "the range {low}..={high} is empty");
        match (high - low).checked_add(1) {
            Some(span) => low + self.below(span),
            None => self.word(),
        }
    }

    /// True with this probability, given in parts per million.
    pub fn chance(&mut self, ppm: u32) -> bool {
        self.below(MILLION) < u64::from(ppm)
    }

    /// True in half of all draws.
    pub fn coin(&mut self) -> bool {
        self.word() >> 63 == 1
    }

    /// One of `choices`.
    ///
    /// # Panics
    /// When there is none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len() as u64) as usize]
    }

    /// A number around `typical` with a long tail: half of it at least, twice it in one draw of four, and up to
    /// `typical << 6` in about one draw of a hundred.
    pub fn tailed(&mut self, typical: u64) -> u64 {
        let word = self.word();
        // Each pair of low zero bits doubles the scale, at most six times.
        let doublings = (word.trailing_zeros() / 2).min(6);
        let base = typical / 2 + ((u128::from(self.word()) * u128::from(typical)) >> 64) as u64;
        base << doublings
    }

    /// 32 bytes.
    pub fn bytes32(&mut self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for chunk in bytes.chunks_exact_mut(8) {
            chunk.copy_from_slice(&self.word().to_le_bytes());
        }
        bytes
    }

    /// Puts `items` in a random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last as u64 + 1) as usize;
            items.swap(last, other);
        }
    }
}

/// Folds one word of a key into the state.
fn fold(state: u64, word: u64) -> u64 {
    let product = u128::from(state ^ FOLD_A) * u128::from(word ^ FOLD_B);
    finish(
        (product as u64)
            ^ ((product >> 64) as u64)
            ^ word.rotate_left(29).wrapping_add(state.rotate_left(17)),
    )
}

/// Spreads every bit over all others (the finaliser of SplitMix64).
fn finish(word: u64) -> u64 {
    let word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

/// A million, the whole of a chance.
const MILLION: u64 = 1_000_000;
const START: u64 = 0x6368_726f_6e6f_6e21;
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const FOLD_A: u64 = 0xa076_1d64_78bd_642f;
const FOLD_B: u64 = 0xe703_7ed1_a0b4_28db;

#[cfg(test)]
mod tests {
    use super::{Purpose, Randomness};

    #[test]
    fn a_seed_means_the_same_for_ever() {
        let mut draw = Randomness::new(7, 0).draw(Purpose::Message, 3, &[1, 2, 3]);
        let drawn = [draw.word(), draw.below(1000), draw.between(10, 20), draw.tailed(100)];
        assert_eq!(drawn, GOLDEN);
    }

    #[test]
    fn every_part_of_a_key_matters() {
        let of = |seed, branch, purpose, entity, about: &[u64]| {
            Randomness::new(seed, branch).draw(purpose, entity, about).word()
        };
        let words = [
            of(1, 0, Purpose::Plan, 2, &[3]),
            of(2, 0, Purpose::Plan, 2, &[3]),
            of(1, 1, Purpose::Plan, 2, &[3]),
            of(1, 0, Purpose::Config, 2, &[3]),
            of(1, 0, Purpose::Plan, 3, &[3]),
            of(1, 0, Purpose::Plan, 2, &[4]),
            of(1, 0, Purpose::Plan, 2, &[3, 0]),
            of(1, 0, Purpose::Plan, 2, &[0, 3]),
            of(1, 0, Purpose::Plan, 2, &[]),
        ];
        for (index, word) in words.iter().enumerate() {
            assert!(!words[..index].contains(word), "key {index} draws what another key drew");
        }
    }

    #[test]
    fn chances_come_out_as_asked() {
        let randomness = Randomness::new(11, 0);
        let hits =
            (0..100_000).filter(|&i| randomness.draw(Purpose::Message, 0, &[i]).chance(10_000)).count();
        assert!((800..1200).contains(&hits), "1 % of 100,000 draws, not {hits}");
    }

    #[test]
    fn the_tail_is_long_but_bounded() {
        let randomness = Randomness::new(12, 0);
        let drawn: Vec<u64> =
            (0..100_000).map(|i| randomness.draw(Purpose::DiskLatency, 0, &[i]).tailed(1000)).collect();
        assert!(drawn.iter().all(|&d| (500..=1500 << 6).contains(&d)));
        let beyond = drawn.iter().filter(|&&d| d > 8 * 1000).count();
        assert!((500..4000).contains(&beyond), "{beyond} of 100,000 beyond eight times the typical value");
    }

    const GOLDEN: [u64; 4] = [12_647_877_705_630_584_991, 255, 13, 110];
}

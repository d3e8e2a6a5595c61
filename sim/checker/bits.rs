//! Sets of slots. A slot below 64 costs no allocation.

/// A set of small numbers.
#[derive(Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Bits {
    low: u64,
    /// Never ends in a zero word, so that equal sets are equal values.
    high: Vec<u64>,
}

impl Bits {
    /// Whether `slot` is in the set.
    pub fn has(&self, slot: usize) -> bool {
        let word = if slot < 64 { self.low } else { self.high.get(slot / 64 - 1).copied().unwrap_or(0) };
        word >> (slot % 64) & 1 == 1
    }

    /// Puts `slot` in.
    pub fn add(&mut self, slot: usize) {
        if slot < 64 {
            self.low |= 1 << slot;
            return;
        }
        let word = slot / 64 - 1;
        if self.high.len() <= word {
            self.high.resize(word + 1, 0);
        }
        self.high[word] |= 1 << (slot % 64);
    }

    /// Takes `slot` out.
    pub fn remove(&mut self, slot: usize) {
        if slot < 64 {
            self.low &= !(1 << slot);
        } else if let Some(word) = self.high.get_mut(slot / 64 - 1) {
            *word &= !(1 << (slot % 64));
            self.trim();
        }
    }

    /// Takes every member of `other` out.
    pub fn remove_all(&mut self, other: &Self) {
        self.low &= !other.low;
        for (word, others) in self.high.iter_mut().zip(&other.high) {
            *word &= !others;
        }
        self.trim();
    }

    /// Whether every member is one of `other` too.
    pub fn is_within(&self, other: &Self) -> bool {
        let high = self.high.len() <= other.high.len()
            && self.high.iter().zip(&other.high).all(|(word, others)| word & !others == 0);
        self.low & !other.low == 0 && high
    }

    /// Whether any member is one of `other` too.
    pub fn meets(&self, other: &Self) -> bool {
        self.low & other.low != 0
            || self.high.iter().zip(&other.high).any(|(word, others)| word & others != 0)
    }

    /// How many members.
    pub fn count(&self) -> u32 {
        self.low.count_ones() + self.high.iter().map(|word| word.count_ones()).sum::<u32>()
    }

    /// The members, ascending.
    pub fn members(&self) -> impl Iterator<Item = usize> {
        let words = [self.low].into_iter().chain(self.high.iter().copied()).enumerate();
        words.flat_map(|(word, bits)| {
            (0..64).filter(move |bit| bits >> bit & 1 == 1).map(move |bit| 64 * word + bit)
        })
    }

    fn trim(&mut self) {
        while self.high.last() == Some(&0) {
            self.high.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn members_come_and_go_on_both_sides_of_a_word() {
        let mut bits = Bits::default();
        for slot in [0, 63, 64, 200] {
            assert!(!bits.has(slot));
            bits.add(slot);
            assert!(bits.has(slot));
        }
        let mut less = bits.clone();
        less.remove(200);
        assert!(less.is_within(&bits) && !bits.is_within(&less));
        assert!(less.meets(&bits) && !Bits::default().meets(&bits));
        assert_eq!((less.count(), bits.count()), (3, 4));
        assert_eq!(bits.members().collect::<Vec<_>>(), [0, 63, 64, 200]);
        bits.remove_all(&less);
        bits.remove(200);
        assert_eq!(bits, Bits::default(), "an emptied set is the empty set");
    }
}

//! Sets of seeds as people read them: `1-300, 302`.

use std::fmt;

/// Seeds, as ranges from one to another, ascending, with gaps between them.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ranges(Vec<(u64, u64)>);

impl Ranges {
    /// The ranges of `seeds`, which ascend; one that comes twice counts once.
    pub fn of(seeds: impl IntoIterator<Item = u64>) -> Self {
        let mut ranges: Vec<(u64, u64)> = Vec::new();
        for seed in seeds {
            match ranges.last_mut() {
                Some((_, last)) if *last >= seed || *last + 1 == seed => *last = seed.max(*last),
                _ => ranges.push((seed, seed)),
            }
        }
        Self(ranges)
    }

    /// What of `first..=last` is in none of the ranges.
    pub fn gaps(&self, first: u64, last: u64) -> Self {
        let mut gaps = Vec::new();
        let mut next = Some(first);
        for (from, to) in &self.0 {
            if let Some(next) = next.filter(|next| next < from && *next <= last) {
                gaps.push((next, (from - 1).min(last)));
            }
            if *to >= first {
                next = to.checked_add(1);
            }
        }
        if let Some(next) = next.filter(|next| *next <= last) {
            gaps.push((next, last));
        }
        Self(gaps)
    }

    /// How many seeds.
    pub fn count(&self) -> u64 {
        self.0.iter().fold(0, |sum, (first, last)| sum.saturating_add((last - first).saturating_add(1)))
    }

    /// Each from one to another.
    pub fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().copied()
    }
}

impl fmt::Display for Ranges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none");
        }
        for (i, (first, last)) in self.0.iter().take(SHOWN_MAX).enumerate() {
            let comma = if i == 0 { "" } else { ", " };
            match first == last {
                true => write!(f, "{comma}{first}")?,
                false => write!(f, "{comma}{first}-{last}")?,
            }
        }
        match self.0.len().saturating_sub(SHOWN_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more ranges"),
        }
    }
}

/// Ranges that are written out.
const SHOWN_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn neighbours_are_one_range() {
        let ranges = Ranges::of([1, 2, 2, 3, 7, 9, 10]);
        assert_eq!(ranges.to_string(), "1-3, 7, 9-10");
        assert_eq!(ranges.count(), 6);
        assert_eq!(Ranges::of([]).to_string(), "none");
        assert_eq!(Ranges::of([u64::MAX - 1, u64::MAX]).count(), 2);
    }

    #[test]
    fn gaps_are_what_is_missing() {
        let ranges = Ranges::of([3, 4, 8]);
        assert_eq!(ranges.gaps(1, 10).to_string(), "1-2, 5-7, 9-10");
        assert_eq!(ranges.gaps(3, 4).to_string(), "none");
        assert_eq!(ranges.gaps(4, 6).to_string(), "5-6");
        assert_eq!(ranges.gaps(9, 9).to_string(), "9");
        assert_eq!(Ranges::of([1, 9]).gaps(5, 6).to_string(), "5-6");
        assert_eq!(Ranges::of([]).gaps(2, 2).to_string(), "2");
        assert_eq!(Ranges::of([u64::MAX]).gaps(u64::MAX, u64::MAX).to_string(), "none");
    }

    #[test]
    fn only_the_first_ranges_are_written_out() {
        let odd = Ranges::of((0..20).map(|n| 2 * n + 1));
        assert!(odd.to_string().ends_with("21, 23 and 8 more ranges"), "{odd}");
    }
}

//! What is drawn: times at which events are due, and which events are changed. The same in every run.

use chronon_core::types::Prng;

/// A stream of draws.
#[derive(Debug)]
pub(super) struct Drawn(Prng);

impl Drawn {
    pub(super) fn new() -> Self {
        Self(Prng::from_key([7; 32]))
    }

    /// Some time of the year that begins now, in milliseconds.
    pub(super) fn due_ms(&mut self) -> i64 {
        let at = NOW_MS + 1 + self.0.below(YEAR_MS);
        i64::try_from(at).unwrap_or(i64::MAX)
    }

    /// Each number below `count` once, in an order that jumps about.
    pub(super) fn scattered(&mut self, count: u64) -> impl Iterator<Item = u64> + use<> {
        let start = self.0.below(count.max(1));
        // A stride that has no factor in common with `count` meets all of them.
        let stride = (STRIDE..).find(|stride| gcd(*stride, count.max(1)) == 1).unwrap_or(1);
        (0..count).map(move |turn| {
            let place = u128::from(start) + u128::from(turn) * u128::from(stride);
            u64::try_from(place % u128::from(count)).unwrap_or_default()
        })
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The consensus time at which the bench begins, in milliseconds since the Unix epoch.
pub(super) const NOW_MS: u64 = 1_700_000_000_000;
pub(super) const YEAR_MS: u64 = 365 * 24 * 3_600_000;
const STRIDE: u64 = 0x9E37_79B9_7F4A_7C15;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::Drawn;

    #[test]
    fn what_is_scattered_is_all_there_is() {
        for count in [1, 2, 10, 4096, 6720] {
            let all: BTreeSet<u64> = Drawn::new().scattered(count).collect();
            assert_eq!(all, (0..count).collect());
        }
    }
}

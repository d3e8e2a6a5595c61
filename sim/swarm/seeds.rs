//! The seeds of a swarm, or of one shard of it.

use crate::units::Shard;

/// A span of seeds, all of them or a shard's.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Seeds {
    first: u64,
    last: u64,
    endless: bool,
    shard: Option<Shard>,
}

impl Seeds {
    /// `count` seeds from `first` on, or all up to the last one there is; of these, those that `shard` takes.
    ///
    /// # Errors
    /// What was found and what is allowed.
    pub fn new(first: u64, count: Option<u64>, shard: Option<Shard>) -> Result<Self, String> {
        let Some(count) = count else { return Ok(Self { first, last: u64::MAX, endless: true, shard }) };
        let last = count.checked_sub(1).ok_or("0 seeds: a swarm has at least one")?;
        let last = first.checked_add(last).ok_or_else(|| {
            format!("{count} seeds from {first} on go past the last seed there is, {}", u64::MAX)
        })?;
        Ok(Self { first, last, endless: false, shard })
    }

    /// How many; `None` when there is no end to them.
    pub fn count(&self) -> Option<u64> {
        if self.endless {
            return None;
        }
        let Some(shard) = self.shard else { return Some((self.last - self.first).saturating_add(1)) };
        let Some(first) = first_of(shard, self.first).filter(|first| *first <= self.last) else {
            return Some(0);
        };
        Some(((self.last - first) / shard.of).saturating_add(1))
    }

    /// Whether `seed` is one of them.
    pub fn contains(&self, seed: u64) -> bool {
        (self.first..=self.last).contains(&seed) && self.shard.is_none_or(|shard| shard.takes(seed))
    }

    /// All of them, ascending.
    pub fn iter(&self) -> impl Iterator<Item = u64> + use<> {
        let (last, step) = (self.last, self.shard.map_or(1, |shard| shard.of));
        let first = self.shard.map_or(Some(self.first), |shard| first_of(shard, self.first));
        std::iter::successors(first, move |seed| seed.checked_add(step)).take_while(move |seed| *seed <= last)
    }
}

/// The first seed of a shard from `seed` on.
fn first_of(shard: Shard, seed: u64) -> Option<u64> {
    let (rest, wanted) = (seed % shard.of, shard.index - 1);
    let ahead = if wanted >= rest { wanted - rest } else { shard.of - (rest - wanted) };
    seed.checked_add(ahead)
}

#[cfg(test)]
mod tests {
    use super::Seeds;
    use crate::units::Shard;

    fn listed(first: u64, count: u64, shard: Option<Shard>) -> Vec<u64> {
        let seeds = Seeds::new(first, Some(count), shard).expect("seeds");
        let listed: Vec<u64> = seeds.iter().collect();
        assert_eq!(seeds.count(), Some(listed.len() as u64), "{seeds:?}");
        assert!(listed.iter().all(|seed| seeds.contains(*seed)), "{seeds:?}");
        listed
    }

    #[test]
    fn shards_never_overlap_and_cover_all() {
        for (first, count) in [(1, 100), (0, 1), (17, 5), (u64::MAX - 20, 21)] {
            let all = listed(first, count, None);
            for of in 1..=9 {
                let mut shared: Vec<u64> =
                    (1..=of).flat_map(|index| listed(first, count, Some(Shard { index, of }))).collect();
                // Sorted and not freed of doubles: a seed that two shards take shows.
                shared.sort_unstable();
                assert_eq!(shared, all, "{count} from {first} on in {of} shards");
            }
        }
    }

    #[test]
    fn a_shard_takes_the_seeds_whose_rest_is_its_number_less_one() {
        assert_eq!(listed(1, 10, Some(Shard { index: 2, of: 3 })), [1, 4, 7, 10]);
        assert_eq!(listed(2, 3, Some(Shard { index: 2, of: 8 })), [0; 0]);
    }

    #[test]
    fn seeds_that_are_not_there_are_refused() {
        assert!(Seeds::new(1, Some(0), None).expect_err("none").contains("at least one"));
        assert!(Seeds::new(u64::MAX, Some(2), None).expect_err("past the end").contains("past the last"));
        assert_eq!(listed(u64::MAX, 1, None), [u64::MAX]);
        assert_eq!(Seeds::new(5, None, None).expect("no end").count(), None);
    }
}

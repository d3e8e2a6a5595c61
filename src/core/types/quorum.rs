//! Majorities of a group's voters, and sets of replicas.

use crate::types::{LEARNERS_MAX, VOTERS_MAX};

/// The quorums of a group with a given number of voters (`consensus.md`, rule 17): majorities, and as many nacks as
/// make a majority of copies impossible.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Quorums {
    voters: u8,
}

impl Quorums {
    /// The quorums of a group of `voters`.
    ///
    /// # Panics
    /// Unless there are 1 to 7 voters: [`super::GroupInit`] refuses other numbers before.
    pub fn of(voters: usize) -> Self {
        assert!((1..=VOTERS_MAX).contains(&voters), "a group has 1 to {VOTERS_MAX} voters, not {voters}");
        Self { voters: u8::try_from(voters).unwrap_or(u8::MAX) }
    }

    /// Durable copies that commit an op.
    pub fn replication(self) -> u32 {
        u32::from(self.voters / 2 + 1)
    }

    /// View-change messages that let a new primary choose a log.
    pub fn view_change(self) -> u32 {
        u32::from(self.voters / 2 + 1)
    }

    /// Nacks that prove an op was never committed.
    pub fn nack(self) -> u32 {
        u32::from(self.voters) - self.replication() + 1
    }

    /// The number of voters.
    pub fn voters(self) -> u32 {
        u32::from(self.voters)
    }
}

/// A group has at most this many members.
const MEMBERS_MAX: usize = VOTERS_MAX + LEARNERS_MAX;

/// A set of replicas of one group, by their index among its members.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ReplicaSet(u16);

impl ReplicaSet {
    /// Adds the replica with this index; false when it was in the set before.
    ///
    /// # Panics
    /// When the index is beyond the largest group.
    pub fn insert(&mut self, replica: usize) -> bool {
        assert!(replica < MEMBERS_MAX, "replica index {replica} is beyond the largest group");
        let bit = 1_u16 << replica;
        let new = self.0 & bit == 0;
        self.0 |= bit;
        new
    }

    /// How many replicas are in both sets.
    pub fn count_in(self, other: Self) -> u32 {
        (self.0 & other.0).count_ones()
    }
}

impl FromIterator<usize> for ReplicaSet {
    fn from_iter<T: IntoIterator<Item = usize>>(replicas: T) -> Self {
        let mut set = Self::default();
        replicas.into_iter().for_each(|replica| {
            set.insert(replica);
        });
        set
    }
}

/// A majority of some replicas.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Majority {
    of: ReplicaSet,
    least: u32,
}

impl Majority {
    /// More than half of these.
    pub fn of(replicas: impl IntoIterator<Item = usize>) -> Self {
        let of: ReplicaSet = replicas.into_iter().collect();
        Self { of, least: of.count_in(of) / 2 + 1 }
    }

    /// Whether `set` holds one.
    pub fn is_in(self, set: ReplicaSet) -> bool {
        set.count_in(self.of) >= self.least
    }
}

#[cfg(test)]
mod tests {
    use super::{Majority, Quorums, ReplicaSet};

    #[test]
    fn quorums_of_one_to_seven_voters() {
        let of = |n| {
            let q = Quorums::of(n);
            (q.replication(), q.view_change(), q.nack())
        };
        let table = [(1, 1, 1), (2, 2, 1), (2, 2, 2), (3, 3, 2), (3, 3, 3), (4, 4, 3), (4, 4, 4)];
        for (index, expected) in table.into_iter().enumerate() {
            assert_eq!(of(index + 1), expected, "{} voters", index + 1);
        }
    }

    #[test]
    fn replication_and_view_change_quorums_intersect() {
        for voters in 1..=7 {
            let q = Quorums::of(voters);
            assert!(q.replication() + q.view_change() > q.voters());
            assert!(q.replication() + q.nack() > q.voters());
        }
    }

    #[test]
    fn a_replica_counts_once_and_where_it_counts_at_all() {
        let mut set = ReplicaSet::default();
        assert!(set.insert(2));
        assert!(!set.insert(2));
        assert!(set.insert(14), "the last of the largest group");
        let three = Majority::of(0..3);
        assert!(!three.is_in(set), "one of three");
        assert!(Majority::of([2]).is_in(set) && Majority::of([2, 14, 0]).is_in(set));
        assert!(set.insert(1) && three.is_in(set));
        assert!(!Majority::of(0..4).is_in(set), "two of four");
    }
}

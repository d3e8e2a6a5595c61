//! Configurations: the ways in which the operations so far may have taken effect, none of them needless.

use std::collections::BTreeMap;

use super::bits::Bits;

/// What a configuration may and must still do.
#[derive(Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Marks {
    /// Slots of open operations that may still take effect.
    pub available: Bits,
    /// Slots of open operations that still must.
    pub owed: Bits,
    /// How many operations of each kind took effect that were never answered.
    pub used: Used,
}

impl Marks {
    /// Can do whatever `other` can.
    fn dominates(&self, other: &Self) -> bool {
        other.available.is_within(&self.available)
            && self.owed.is_within(&other.owed)
            && self.used.is_within(&other.used)
    }

    /// As [`Marks::dominates`], whatever the kinds of the lost operations used.
    fn dominates_roughly(&self, other: &Self) -> bool {
        other.available.is_within(&self.available)
            && self.owed.is_within(&other.owed)
            && self.used.total <= other.used.total
    }

    /// Less is more likely right, of what a search cannot keep all: few operations that were never answered.
    fn rank(&self) -> (u32, u32) {
        (self.used.total, self.owed.count())
    }
}

/// Numbers by kind; kinds of which there is none are not held.
#[derive(Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Used {
    total: u32,
    by_kind: Vec<(u32, u32)>,
}

impl Used {
    /// How many of `kind`.
    pub fn of(&self, kind: u32) -> u32 {
        match self.by_kind.binary_search_by_key(&kind, |entry| entry.0) {
            Ok(at) => self.by_kind[at].1,
            Err(_) => 0,
        }
    }

    /// How many in all.
    pub fn total(&self) -> u32 {
        self.total
    }

    /// One more of `kind`.
    pub fn add(&mut self, kind: u32) {
        self.total += 1;
        match self.by_kind.binary_search_by_key(&kind, |entry| entry.0) {
            Ok(at) => self.by_kind[at].1 += 1,
            Err(at) => self.by_kind.insert(at, (kind, 1)),
        }
    }

    /// No more of `kind`.
    pub fn forget(&mut self, kind: u32) {
        if let Ok(at) = self.by_kind.binary_search_by_key(&kind, |entry| entry.0) {
            self.total -= self.by_kind.remove(at).1;
        }
    }

    fn is_within(&self, other: &Self) -> bool {
        self.total <= other.total && self.by_kind.iter().all(|(kind, count)| *count <= other.of(*kind))
    }
}

/// Configurations, none of which dominates another, by state.
#[derive(Clone, Debug)]
pub struct Frontier<S> {
    by_state: BTreeMap<S, Vec<Marks>>,
    count: usize,
    rough: bool,
}

impl<S: Clone + Ord> Frontier<S> {
    /// No configuration. A rough frontier keeps fewer: it takes lost operations of all kinds for alike.
    pub fn empty(rough: bool) -> Self {
        Self { by_state: BTreeMap::new(), count: 0, rough }
    }

    /// How many configurations.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The states.
    pub fn into_states(self) -> Vec<S> {
        self.by_state.into_keys().collect()
    }

    /// Every configuration.
    pub fn iter(&self) -> impl Iterator<Item = (&S, &Marks)> {
        self.by_state.iter().flat_map(|(state, all)| all.iter().map(move |marks| (state, marks)))
    }

    /// Adds a configuration; false when one that is there dominates it.
    pub fn add(&mut self, state: S, marks: Marks) -> bool {
        let alike = self.by_state.entry(state).or_default();
        let dominates = if self.rough { Marks::dominates_roughly } else { Marks::dominates };
        if alike.iter().any(|there| dominates(there, &marks)) {
            return false;
        }
        let before = alike.len();
        alike.retain(|there| !dominates(&marks, there));
        alike.push(marks);
        self.count = self.count + alike.len() - before;
        true
    }

    /// The configurations after `change` of the marks of each.
    pub fn changed(self, mut change: impl FnMut(&S, &mut Marks)) -> Self {
        let mut changed = Self::empty(self.rough);
        for (state, all) in self.by_state {
            for mut marks in all {
                change(&state, &mut marks);
                changed.add(state.clone(), marks);
            }
        }
        changed
    }

    /// Keeps `width` configurations at most, the likely ones; whether that is all.
    pub fn cut(&mut self, width: usize) -> bool {
        if self.count <= width {
            return true;
        }
        let mut ranks: Vec<(u32, u32)> = self.iter().map(|(_, marks)| marks.rank()).collect();
        ranks.sort_unstable();
        let last = ranks[width];
        let mut left = width;
        self.by_state.retain(|_, all| {
            all.retain(|marks| {
                let stays = marks.rank() <= last && left > 0;
                left -= usize::from(stays);
                stays
            });
            !all.is_empty()
        });
        self.count = width - left;
        false
    }
}

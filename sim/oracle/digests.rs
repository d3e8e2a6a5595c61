//! The digests that replicas of one group showed, by the op up to which they had applied.

use std::collections::BTreeMap;

use chronon_core::types::Hash;

/// Of each op, the digest that was shown first.
#[derive(Clone, Debug, Default)]
pub(super) struct Digests {
    /// By op, from op 0, as far as ops are committed: these follow each other.
    dense: Vec<Option<Hash>>,
    /// Of ops that nobody had shown to be committed, which may be any numbers.
    ahead: BTreeMap<u64, Hash>,
}

impl Digests {
    /// The digest that was shown at `op` before, if one was; if not, `digest` is from here on. `commit` is the highest
    /// op known to be committed.
    pub(super) fn first(&mut self, op: u64, digest: Hash, commit: u64) -> Option<Hash> {
        let Some(place) = usize::try_from(op).ok().filter(|_| op <= commit) else {
            let before = self.ahead.get(&op).copied();
            self.ahead.entry(op).or_insert(digest);
            return before;
        };
        if self.dense.len() <= place {
            self.dense.resize(place + 1, None);
        }
        let shown = &mut self.dense[place];
        if shown.is_none() && !self.ahead.is_empty() {
            *shown = self.ahead.remove(&op);
        }
        let before = *shown;
        shown.get_or_insert(digest);
        before
    }
}

#[cfg(test)]
mod tests {
    use chronon_core::types::Hash;

    use super::Digests;

    #[test]
    fn what_was_shown_first_stays_even_if_it_was_ahead_of_the_commit() {
        let [one, other] = [1, 2].map(|byte| Hash::from_bytes([byte; 32]));
        let mut digests = Digests::default();
        assert_eq!(digests.first(3, one, 3), None);
        assert_eq!(digests.first(3, other, 9), Some(one));
        assert_eq!(digests.first(u64::MAX, one, 9), None);
        assert_eq!(digests.first(u64::MAX, other, 9), Some(one));
        assert_eq!(digests.first(5, other, 4), None);
        assert_eq!(digests.first(5, one, 5), Some(other));
        assert_eq!(digests.first(5, one, 5), Some(other));
        assert_eq!(digests.first(4, one, 5), None);
    }
}

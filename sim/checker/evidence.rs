//! The few operations that show why a history is not linearizable.
//!
//! An operation may be left out only where what is left of a linearizable history stays linearizable, so that the rest
//! still proves something of the whole. Three ways are known: operations that change nothing, one by one; operations
//! that change something, all of some values at a time ([`Model::family`]); and everything before some moment, if the
//! state at that moment is then taken to be unknown ([`Tail`]). Delta debugging uses all three, within a bound.

use std::collections::BTreeMap;

use super::lost::LastUses;
use super::model::{Model, Timed};
use super::search::{Outcome, search};
use super::sweep::Effort;
use super::tail::{Tail, since};

/// Why a history is not linearizable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Evidence {
    /// Operations that by themselves are not linearizable, by their place in the list, ascending. Those that were
    /// answered after [`Evidence::failed`] count as never answered.
    pub operations: Vec<usize>,
    /// The operation whose answer nothing explains.
    pub failed: usize,
    /// The states that were possible just before that answer.
    pub states: Vec<String>,
    /// The object's state at this place was taken to be unknown: what was answered before it is not needed, and what
    /// was open there counts as never answered.
    pub since: Option<u64>,
    /// No operation can be left out any more. False when the bound on searches ended the shrinking first.
    pub is_smallest: bool,
}

/// The evidence in `few` operations that are said to be a conflict; `None` when a search does not agree.
pub fn of_few<M: Model>(model: &M, operations: &[Timed<M::Op>], few: Vec<usize>) -> Option<Evidence> {
    let mut shrink = Shrink { model, operations, end: u64::MAX, since: None, work: 0, found: None };
    let mut kept = few;
    kept.sort_unstable();
    kept.dedup();
    let (failed, _) = shrink.run(&kept)?;
    shrink.end = operations[failed].returned.unwrap_or(u64::MAX);
    shrink.still_fails(&kept).then(|| shrink.finish(kept))
}

/// The evidence in a history of which a search found that nothing explains `failed`.
pub fn of_search<M: Model>(
    model: &M,
    operations: &[Timed<M::Op>],
    failed: usize,
    states: &[M::State],
) -> Evidence {
    let end = operations[failed].returned.unwrap_or(u64::MAX);
    let uses = LastUses::new(model, operations);
    let counts = |index: &usize| {
        let timed = &operations[*index];
        timed.invoked < end && (timed.returned.is_some() || uses.want(model, timed))
    };
    let kept: Vec<usize> = (0..operations.len()).filter(counts).collect();
    if let Some(evidence) = of_tail(model, operations, &kept, end) {
        return evidence;
    }
    let found = (failed, states.iter().map(|state| model.show(state)).collect());
    Shrink { model, operations, end, since: None, work: 0, found: Some(found) }.finish(kept)
}

/// The evidence in the last operations before `end` alone, if they suffice.
fn of_tail<M: Model>(model: &M, operations: &[Timed<M::Op>], kept: &[usize], end: u64) -> Option<Evidence> {
    let mut ends: Vec<u64> = kept.iter().filter_map(|index| operations[*index].returned).collect();
    ends.retain(|at| *at <= end);
    ends.sort_unstable();
    let tail = Tail(model);
    for length in TAILS.into_iter().filter(|length| *length < ends.len()) {
        let begin = ends[ends.len() - 1 - length];
        let late = |index: &usize| operations[*index].returned.is_none_or(|at| at > begin);
        let kept: Vec<usize> = kept.iter().copied().filter(late).collect();
        let mut shrink = Shrink { model: &tail, operations, end, since: Some(begin), work: 0, found: None };
        if shrink.still_fails(&kept) {
            return Some(shrink.finish(kept));
        }
    }
    None
}

struct Shrink<'a, M: Model> {
    model: &'a M,
    operations: &'a [Timed<M::Op>],
    end: u64,
    since: Option<u64>,
    /// Operations searched so far, in all searches.
    work: usize,
    /// What the last search that failed was stuck at, and the states just before.
    found: Option<(usize, Vec<String>)>,
}

impl<M: Model> Shrink<'_, M> {
    /// Leaves out of `kept` whatever it fails without.
    fn finish(mut self, mut kept: Vec<usize>) -> Evidence {
        loop {
            let before = kept.len();
            let alone =
                self.one_by_one(&kept, |op| self.model.is_needless(op) && self.model.family(op).is_none());
            self.leave_out(&mut kept, alone);
            let families = self.families(&kept);
            self.leave_out(&mut kept, families);
            let needless = self.one_by_one(&kept, |op| self.model.is_needless(op));
            self.leave_out(&mut kept, needless);
            if kept.len() == before || self.work >= WORK_MAX {
                break;
            }
        }
        let is_smallest = self.work < WORK_MAX;
        let (failed, states) = self.found.unwrap_or_default();
        Evidence { operations: kept, failed, states, since: self.since, is_smallest }
    }

    /// The operations of `kept` that `wanted` accepts, each for itself.
    fn one_by_one(&self, kept: &[usize], wanted: impl Fn(&M::Op) -> bool) -> Vec<Vec<usize>> {
        kept.iter()
            .copied()
            .filter(|index| wanted(&self.operations[*index].op))
            .map(|index| vec![index])
            .collect()
    }

    /// The families of values in `kept`. None when an operation is of no family: it may depend on any of them.
    fn families(&self, kept: &[usize]) -> Vec<Vec<usize>> {
        let tied = |index: &usize| self.model.family(&self.operations[*index].op);
        if kept.iter().any(|index| tied(index).is_none()) {
            return Vec::new();
        }
        let mut parent: BTreeMap<u32, u32> = BTreeMap::new();
        for [one, other] in kept.iter().filter_map(tied) {
            let (one, other) = (root(&parent, one), root(&parent, other));
            parent.insert(one.max(other), one.min(other));
        }
        let mut families: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for &index in kept {
            if let Some([value, _]) = tied(&index) {
                families.entry(root(&parent, value)).or_default().push(index);
            }
        }
        families.into_values().collect()
    }

    /// Leaves groups of operations out of `kept` as long as it fails, first many groups at once, then fewer.
    fn leave_out(&mut self, kept: &mut Vec<usize>, groups: Vec<Vec<usize>>) {
        let mut groups = groups;
        let mut size = groups.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < groups.len() && self.work < WORK_MAX {
                let end = (at + size).min(groups.len());
                let mut dropped: Vec<usize> = groups[at..end].iter().flatten().copied().collect();
                dropped.sort_unstable();
                let fewer: Vec<usize> =
                    kept.iter().copied().filter(|index| dropped.binary_search(index).is_err()).collect();
                if fewer.len() < kept.len() && self.still_fails(&fewer) {
                    *kept = fewer;
                    groups.drain(at..end);
                } else {
                    at = end;
                }
            }
            size /= 2;
        }
    }

    fn still_fails(&mut self, kept: &[usize]) -> bool {
        self.work += kept.len();
        match self.run(kept) {
            Some((failed, states)) => {
                let states = states.iter().map(|state| self.model.show(state)).collect();
                self.found = Some((failed, states));
                true
            }
            None => false,
        }
    }

    /// Which of `kept` nothing explains, and the states just before; `None` when something does or nobody knows.
    fn run(&self, kept: &[usize]) -> Option<(usize, Vec<M::State>)> {
        let cut = |index: &usize| {
            let timed = &self.operations[*index];
            Timed { returned: timed.returned.filter(|at| *at <= self.end), ..timed.clone() }
        };
        let mut history: Vec<Timed<M::Op>> = kept.iter().map(cut).collect();
        if let Some(begin) = self.since {
            // All of these were open after it.
            history = since(&history, begin);
        }
        match search(self.model, &history, EFFORT) {
            Outcome::Stuck { operation, states } => Some((kept[operation], states)),
            Outcome::Linearizable | Outcome::GaveUp(_) => None,
        }
    }
}

fn root(parent: &BTreeMap<u32, u32>, value: u32) -> u32 {
    let mut value = value;
    while let Some(up) = parent.get(&value).filter(|up| **up != value) {
        value = *up;
    }
    value
}

/// Operations searched to make a violation small, in all searches, and how hard each search tries.
const WORK_MAX: usize = 300_000;
const EFFORT: Effort = Effort { width: 4096, spare: None, loose: false, rough: false, steps_max: 200_000 };

/// How many of the last operations are tried by themselves.
const TAILS: [usize; 6] = [4, 8, 16, 32, 64, 256];

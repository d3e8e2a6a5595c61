//! A verdict on one object's history, and the few operations that show why.

use std::collections::BTreeMap;

use super::model::{Limits, Model, Timed};
use super::search::{Outcome, search};

/// A verdict on one object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Judged {
    /// Some order of the operations explains every answer.
    Linearizable,
    /// None does.
    Violation(Evidence),
    /// The limits were reached before either was known.
    GaveUp,
}

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
}

/// Whether `order`, places in the list of operations, proves that the history is linearizable: every operation that was
/// answered is in it, once, at a moment when it was open, and the object gives every answer. Operations that were never
/// answered may be in it or not; one that the object refuses there did nothing.
pub fn proves<M: Model>(model: &M, operations: &[Timed<M::Op>], order: &[usize]) -> bool {
    let mut taken = vec![false; operations.len()];
    let mut state = model.initial();
    let mut now = 0;
    for &index in order {
        let Some(timed) = operations.get(index).filter(|_| !std::mem::replace(&mut taken[index], true))
        else {
            return false;
        };
        now = now.max(timed.invoked);
        match (model.step(&state, &timed.op), timed.returned) {
            (Some(next), returned) if returned.is_none_or(|at| now < at) => state = next,
            (None, None) => {}
            _ => return false,
        }
    }
    operations.iter().zip(taken).all(|(timed, taken)| taken || timed.returned.is_none())
}

/// Judges `operations`, in any order of the list.
pub fn judge<M: Model>(model: &M, operations: &[Timed<M::Op>], limits: Limits) -> Judged {
    match search(model, operations, limits) {
        Outcome::Linearizable => Judged::Linearizable,
        Outcome::GaveUp => Judged::GaveUp,
        Outcome::Stuck { operation, .. } => Judged::Violation(evidence(model, operations, operation, limits)),
    }
}

/// Cuts the history after the answer of `failed`, then leaves out whatever it fails without: operations that change
/// nothing one by one, the others a family of values at a time. Each of these steps keeps a linearizable history
/// linearizable, so what is left proves that the whole is not.
fn evidence<M: Model>(model: &M, operations: &[Timed<M::Op>], failed: usize, limits: Limits) -> Evidence {
    let end = operations[failed].returned.unwrap_or(u64::MAX);
    let mut shrink = Shrink { model, operations, end, limits, tries: 0, failed, states: Vec::new() };
    let mut kept: Vec<usize> =
        (0..operations.len()).filter(|index| operations[*index].invoked < end).collect();
    shrink.still_fails(&kept);
    let alone = shrink.one_by_one(&kept, |op| model.is_pure(op) && model.family(op).is_none());
    shrink.leave_out(&mut kept, alone);
    let families = shrink.families(&kept);
    shrink.leave_out(&mut kept, families);
    let pure = shrink.one_by_one(&kept, |op| model.is_pure(op));
    shrink.leave_out(&mut kept, pure);
    let states = shrink.states.iter().map(|state| format!("{state:?}")).collect();
    Evidence { operations: kept, failed: shrink.failed, states }
}

fn root(parent: &BTreeMap<u32, u32>, value: u32) -> u32 {
    let mut value = value;
    while let Some(up) = parent.get(&value).filter(|up| **up != value) {
        value = *up;
    }
    value
}

struct Shrink<'a, M: Model> {
    model: &'a M,
    operations: &'a [Timed<M::Op>],
    end: u64,
    limits: Limits,
    tries: u32,
    failed: usize,
    states: Vec<M::State>,
}

impl<M: Model> Shrink<'_, M> {
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
            while at < groups.len() && self.tries < TRIES_MAX {
                let end = (at + size).min(groups.len());
                let dropped: Vec<usize> = groups[at..end].iter().flatten().copied().collect();
                let fewer: Vec<usize> =
                    kept.iter().copied().filter(|index| !dropped.contains(index)).collect();
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
        self.tries += 1;
        let cut = |index: &usize| {
            let timed = &self.operations[*index];
            Timed { returned: timed.returned.filter(|at| *at <= self.end), ..timed.clone() }
        };
        let history: Vec<Timed<M::Op>> = kept.iter().map(cut).collect();
        match search(self.model, &history, self.limits) {
            Outcome::Stuck { operation, states } => {
                self.failed = kept[operation];
                self.states = states;
                true
            }
            Outcome::Linearizable | Outcome::GaveUp => false,
        }
    }
}

/// Searches spent on making a violation small.
const TRIES_MAX: u32 = 400;

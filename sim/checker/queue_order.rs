//! Queues in which every value goes in once: what a history is, in O(n log n), without a search.
//!
//! A value has an interval in which it went in, and one in which it came out. The queue's order is one of the values,
//! the same at both ends. A value `a` must come before `b` if it was in before `b` was asked in, or out before `b` was
//! asked out, or out before `b` was asked in. Such an order exists if and only if no two values must each come before
//! the other, because whatever blocks all others is the value with the earliest answer at one of the two ends; and
//! given the order, each effect may take place as early as its invocation and the effects before it allow.
//!
//! A dequeue that found nothing is a moment at which nothing may be inside. A value is surely inside from the answer of
//! its enqueue to the invocation of its dequeue. A moment of the dequeue's interval that no value covers will do, and
//! it does not matter which: an order exists for all such moments or for none. If all is covered, that is a conflict.
//! (These are the bad patterns of Henzinger, Sezgin and Vafeiadis, "Aspect-oriented linearizability proofs", 2013.)
//!
//! An enqueue that was never answered took effect if its value came out, and is not needed otherwise. Dequeues that were
//! never answered take what nobody else took: the values that went in first, first, since a value that is in earlier
//! must be out no later.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Quick, Timed};
use super::operations::QueueOp;

/// What `operations` are, where that can be told.
///
/// A value that goes in more than once is taken for several: its dequeues in the order of their answers for its
/// enqueues in theirs. That is a guess, so it can only tell an order and no conflict.
pub fn quick(operations: &[Timed<QueueOp>]) -> Quick {
    let history = Passages::read(operations);
    match history.order() {
        Ok(order) => Quick::Order(order),
        Err(few) if history.is_sure && few.len() <= CONFLICT_MAX => Quick::Conflict(few),
        Err(_) => Quick::Unknown,
    }
}

/// An effect: its operation, and when it may take place.
#[derive(Clone, Copy, Debug)]
struct Effect {
    index: usize,
    begin: u64,
    end: u64,
}

/// A value on its way, or a moment at which nothing may be inside.
#[derive(Clone, Copy, Debug)]
struct Passage {
    enter: Effect,
    /// None of a value that stays.
    leave: Option<Effect>,
    is_moment: bool,
}

impl Passage {
    fn leave_begin(&self) -> u64 {
        self.leave.map_or(u64::MAX, |leave| leave.begin)
    }

    fn leave_end(&self) -> u64 {
        self.leave.map_or(u64::MAX, |leave| leave.end)
    }

    fn operations(&self) -> impl Iterator<Item = usize> {
        [self.enter.index].into_iter().chain(self.leave.map(|leave| leave.index))
    }
}

struct Passages {
    passages: Vec<Passage>,
    /// Dequeues that found nothing.
    empties: Vec<Effect>,
    /// Dequeues that were never answered.
    takers: Vec<Effect>,
    /// No value goes in twice.
    is_sure: bool,
    /// A value that came out more often than it went in: operations that show it.
    unfounded: Option<Vec<usize>>,
}

impl Passages {
    fn read(operations: &[Timed<QueueOp>]) -> Self {
        let mut by_value: BTreeMap<u32, (Vec<Effect>, Vec<Effect>)> = BTreeMap::new();
        let (mut empties, mut takers) = (Vec::new(), Vec::new());
        for (index, timed) in operations.iter().enumerate() {
            let effect = Effect { index, begin: timed.invoked, end: timed.returned.unwrap_or(u64::MAX) };
            match timed.op {
                QueueOp::Enqueue(value) => by_value.entry(value).or_default().0.push(effect),
                QueueOp::Dequeue(value) => by_value.entry(value).or_default().1.push(effect),
                // Who looked and was never answered says nothing.
                QueueOp::Empty if timed.returned.is_none() => {}
                QueueOp::Empty => empties.push(effect),
                QueueOp::DequeueAny => takers.push(effect),
            }
        }
        let mut history = Self { passages: Vec::new(), empties, takers, is_sure: true, unfounded: None };
        for (mut entered, mut left) in by_value.into_values() {
            history.is_sure &= entered.len() <= 1;
            if left.len() > entered.len() {
                let all = entered.iter().chain(&left);
                history.unfounded = Some(all.map(|effect| effect.index).collect());
                continue;
            }
            // Those that were never answered last, and only as far as they are needed.
            entered.sort_by_key(|effect| (effect.end, effect.begin));
            left.sort_by_key(|effect| (effect.end, effect.begin));
            for (at, enter) in entered.into_iter().enumerate() {
                let leave = left.get(at).copied();
                if leave.is_some() || enter.end != u64::MAX {
                    history.passages.push(Passage { enter, leave, is_moment: false });
                }
            }
        }
        history
    }

    /// An order of operations, or the few that have none.
    fn order(&self) -> Result<Vec<usize>, Vec<usize>> {
        if let Some(unfounded) = &self.unfounded {
            return Err(unfounded.clone());
        }
        let mut passages = self.passages.clone();
        self.take_away(&mut passages);
        let moments = self.moments(&passages)?;
        passages.extend(moments);
        let order = in_order(&passages).map_err(|few| self.with_takers(&passages, few))?;
        Ok(effects_in_order(order.into_iter().map(|at| passages[at])))
    }

    /// Gives the values that nobody took to the dequeues that were never answered.
    fn take_away(&self, passages: &mut [Passage]) {
        let mut takers = self.takers.clone();
        takers.sort_by_key(|taker| taker.begin);
        let mut left: Vec<&mut Passage> =
            passages.iter_mut().filter(|passage| passage.leave.is_none()).collect();
        left.sort_by_key(|passage| passage.enter.end);
        for (passage, taker) in left.into_iter().zip(takers) {
            passage.leave = Some(taker);
        }
    }

    /// For every dequeue that found nothing, the first moment at which nothing is surely inside.
    fn moments(&self, passages: &[Passage]) -> Result<Vec<Passage>, Vec<usize>> {
        // The times in which a value is surely inside, merged where they meet.
        let mut inside: Vec<(u64, u64)> =
            passages.iter().map(|passage| (passage.enter.end, passage.leave_begin())).collect();
        inside.retain(|(from, to)| from < to);
        inside.sort_unstable();
        let mut merged: Vec<(u64, u64)> = Vec::new();
        for (from, to) in inside {
            match merged.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                _ => merged.push((from, to)),
            }
        }
        let mut moments = Vec::new();
        for &empty in &self.empties {
            let at = merged.partition_point(|(from, _)| *from <= empty.begin);
            let covering = at.checked_sub(1).map(|at| merged[at]).filter(|(_, to)| *to > empty.begin);
            let moment = covering.map_or(empty.begin, |(_, to)| to);
            if moment >= empty.end {
                let few = cover(passages, empty);
                return Err(self.with_takers(passages, few));
            }
            let enter = Effect { index: empty.index, begin: moment, end: moment };
            moments.push(Passage { enter, leave: Some(enter), is_moment: true });
        }
        Ok(moments)
    }

    /// A conflict with everything that the dequeues that were never answered could have done about it.
    fn with_takers(&self, passages: &[Passage], few: Vec<usize>) -> Vec<usize> {
        let takers: BTreeSet<usize> = self.takers.iter().map(|taker| taker.index).collect();
        let taken = |passage: &&Passage| passage.leave.is_some_and(|leave| takers.contains(&leave.index));
        // Values of which it is known who took them were taken by nobody else.
        let may_be_taken =
            |passage: &&Passage| taken(passage) || (passage.leave.is_none() && !takers.is_empty());
        let open: BTreeSet<usize> =
            passages.iter().filter(may_be_taken).map(|passage| passage.enter.index).collect();
        if few.iter().all(|index| !open.contains(index)) {
            return few;
        }
        // What took away another value could have taken away one of these.
        let others = passages.iter().filter(taken).flat_map(Passage::operations);
        few.into_iter().chain(others).chain(takers.iter().copied()).collect()
    }
}

/// The dequeue that found nothing and the values that are surely inside all the while, few of them.
fn cover(passages: &[Passage], empty: Effect) -> Vec<usize> {
    let mut sorted: Vec<&Passage> =
        passages.iter().filter(|passage| passage.enter.end < passage.leave_begin()).collect();
    sorted.sort_by_key(|passage| passage.enter.end);
    let mut few = vec![empty.index];
    let mut covered = empty.begin;
    let mut at = 0;
    while covered < empty.end {
        let mut best: Option<&Passage> = None;
        while let Some(passage) = sorted.get(at).filter(|passage| passage.enter.end <= covered) {
            if best.is_none_or(|best| best.leave_begin() < passage.leave_begin()) {
                best = Some(passage);
            }
            at += 1;
        }
        let Some(best) = best.filter(|best| best.leave_begin() > covered) else { break };
        few.extend(best.operations());
        covered = best.leave_begin();
    }
    few
}

/// Places of `passages` in an order that both ends allow, or the operations of two that block each other.
fn in_order(passages: &[Passage]) -> Result<Vec<usize>, Vec<usize>> {
    let sorted = |key: &dyn Fn(&Passage) -> u64| {
        let mut places: Vec<usize> = (0..passages.len()).collect();
        places.sort_by_key(|at| key(&passages[*at]));
        places
    };
    let enter_begins = sorted(&|passage| passage.enter.begin);
    let leave_begins = sorted(&Passage::leave_begin);
    let enter_ends = sorted(&|passage| passage.enter.end);
    let leave_ends = sorted(&Passage::leave_end);
    let mut done = vec![false; passages.len()];
    // How many of its two ends nothing blocks any more.
    let mut free = vec![0_u8; passages.len()];
    let (mut entering, mut leaving, mut entered, mut left) = (0, 0, 0, 0);
    let mut ready: Vec<usize> = Vec::new();
    let mut order = Vec::with_capacity(passages.len());
    while order.len() < passages.len() {
        while done[enter_ends[entered]] {
            entered += 1;
        }
        while done[leave_ends[left]] {
            left += 1;
        }
        let (one, other) = (enter_ends[entered], leave_ends[left]);
        let leave_by = passages[other].leave_end();
        let enter_by = passages[one].enter.end.min(leave_by);
        while let Some(at) = enter_begins.get(entering).filter(|at| passages[**at].enter.begin <= enter_by) {
            free[*at] += 1;
            ready.extend((free[*at] == 2).then_some(*at));
            entering += 1;
        }
        while let Some(at) = leave_begins.get(leaving).filter(|at| passages[**at].leave_begin() <= leave_by) {
            free[*at] += 1;
            ready.extend((free[*at] == 2).then_some(*at));
            leaving += 1;
        }
        let Some(next) = ready.pop() else {
            return Err(passages[one].operations().chain(passages[other].operations()).collect());
        };
        done[next] = true;
        order.push(next);
    }
    Ok(order)
}

/// The effects of values in this order, each as early as it can be.
fn effects_in_order(passages: impl Iterator<Item = Passage>) -> Vec<usize> {
    let mut effects: Vec<(u64, usize, u8, usize)> = Vec::new();
    let (mut entered, mut left) = (0, 0);
    for (number, passage) in passages.enumerate() {
        entered = passage.enter.begin.max(entered);
        if passage.is_moment {
            left = left.max(entered);
            effects.push((left, number, 0, passage.enter.index));
            entered = left;
            continue;
        }
        effects.push((entered, number, 0, passage.enter.index));
        if let Some(leave) = passage.leave {
            left = leave.begin.max(left).max(entered);
            effects.push((left, number, 1, leave.index));
        }
    }
    effects.sort_unstable();
    effects.into_iter().map(|(_, _, _, index)| index).collect()
}

/// A conflict of more operations than this is left to the search.
const CONFLICT_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::super::model::{Quick, Timed};
    use super::super::operations::QueueOp;
    use super::quick;

    #[test]
    fn who_was_never_answered_is_no_part_of_a_conflict_between_values_whose_takers_are_known() {
        let timed = |op, invoked, returned| Timed { op, invoked, returned };
        let mut operations = vec![
            timed(QueueOp::Enqueue(1), 0, Some(1)),
            timed(QueueOp::Enqueue(2), 2, Some(3)),
            timed(QueueOp::DequeueAny, 4, None),
            timed(QueueOp::Dequeue(2), 5, Some(6)),
            timed(QueueOp::Dequeue(1), 7, Some(8)),
        ];
        let told = |operations: &[Timed<QueueOp>]| match quick(operations) {
            Quick::Conflict(mut few) => {
                few.sort_unstable();
                few.dedup();
                few
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(told(&operations), [0, 1, 3, 4]);
        // Of two values that stay inside, one may have been taken by nobody knows whom.
        operations.truncate(4);
        assert!(!matches!(quick(&operations), Quick::Conflict(few) if !few.contains(&2)));
    }
}

//! Answers explained by what the model guesses: which operations lead to a state where the answer is right.

use std::collections::{BTreeMap, VecDeque};

use super::super::frontier::{Frontier, Marks};
use super::super::model::{Bounds, Model};
use super::super::movers::{Choice, Choices, Mover, choices};
use super::{Effort, Sweep, Tasks};

impl<'a, M: Model> Sweep<'a, M> {
    /// Adds to `after` configurations in which `slot` has taken effect last, by ways that the model guesses, some of
    /// which pass by what other open operations look for. Whether a lost operation took effect; `None` when nothing was
    /// guessed. Only a search that may drop something does so.
    pub(super) fn guess(
        &mut self,
        slot: usize,
        tasks: &Tasks<M::State>,
        after: &mut Frontier<M::State>,
    ) -> Option<bool> {
        let Effort { width, spare: Some(spare), steps_max, .. } = self.effort else { return None };
        let mut seen = Frontier::empty(self.effort.rough);
        let mut by_hint = BTreeMap::new();
        if tasks.0.values().flatten().any(|task| !self.course.model.guesses(&task.state)) {
            return None;
        }
        let mut lost_used = false;
        let first = tasks.0.values().flatten();
        let mut left: VecDeque<(M::State, Marks)> =
            first.map(|task| (task.state.clone(), task.marks.clone())).collect();
        while let Some((state, marks)) = left.pop_front() {
            let others = self.stand.quiet.iter().copied().filter(|other| *other != slot);
            let goals: Vec<usize> =
                [slot].into_iter().chain(others).filter(|goal| marks.owed.has(*goal)).collect();
            for goal in goals {
                let is_full =
                    after.count() >= width.saturating_mul(2) || seen.count() >= width.saturating_mul(4);
                if self.steps > steps_max || is_full {
                    return Some(lost_used);
                }
                let all = by_hint.entry((goal, self.hint(&state))).or_insert_with_key(|(goal, hint)| {
                    choices(self.course, &self.stand.slots, &self.stand.live, *goal, *hint)
                });
                // What is looked for besides is mostly out of reach, and that takes long to tell.
                let lost_max = if goal == slot || spare > 0 { 2 } else { 1 };
                let reached = self.guessed(goal, all, &state, &marks, Bounds { spare, lost_max });
                self.complete = false;
                for (next, after_marks) in reached {
                    lost_used |= after_marks.used.total() > marks.used.total();
                    if !after_marks.available.has(slot) {
                        after.add(next, after_marks);
                    } else if seen.add(next.clone(), after_marks.clone()) {
                        left.push_back((next, after_marks));
                    }
                }
            }
        }
        Some(lost_used)
    }

    /// The configurations in which `goal` has taken effect: at once, or by the ways that the model guesses.
    fn guessed(
        &mut self,
        goal: usize,
        all: &Choices<'a, M::Op>,
        state: &M::State,
        marks: &Marks,
        bounds: Bounds,
    ) -> Vec<(M::State, Marks)> {
        if let Some(itself) = all.open.iter().find(|choice| choice.mover == Mover::Slot(goal)) {
            return self.moved(itself, state, marks).into_iter().collect();
        }
        let is_available = |choice: &&Choice<'a, M::Op>| match choice.mover {
            Mover::Slot(slot) => marks.available.has(slot),
            Mover::Lost(_) => false,
        };
        let left = |choice: &Choice<'a, M::Op>| match choice.mover {
            Mover::Lost(kind) => self.stand.asked[kind as usize].saturating_sub(marks.used.of(kind)),
            Mover::Slot(_) => 0,
        };
        let open: Vec<&Choice<'a, M::Op>> = all.open.iter().filter(is_available).collect();
        let open_ops: Vec<&M::Op> = open.iter().map(|choice| choice.op).collect();
        let lost_ops: Vec<(&M::Op, u32)> = all.lost.iter().map(|choice| (choice.op, left(choice))).collect();
        let Some(operation) = self.stand.slots[goal] else { return Vec::new() };
        let ways = self.course.model.ways(state, self.op(operation), &open_ops, &lost_ops, bounds);
        self.steps += ways.steps;
        let choice_at =
            |at: usize| open.get(at).copied().or_else(|| all.lost.get(at.checked_sub(open.len())?));
        let mut reached = Vec::new();
        for set in ways.sets {
            reached.extend(self.moved_all(set.into_iter().filter_map(choice_at).collect(), state, marks));
        }
        reached.retain(|(_, marks)| !marks.owed.has(goal));
        reached
    }

    /// The configuration after all of these effects, in whatever order they can be; `None` when they cannot.
    fn moved_all(
        &mut self,
        set: Vec<&Choice<'a, M::Op>>,
        state: &M::State,
        marks: &Marks,
    ) -> Option<(M::State, Marks)> {
        let (mut state, mut marks, mut left) = (state.clone(), marks.clone(), set);
        while !left.is_empty() {
            let found = left
                .iter()
                .enumerate()
                .find_map(|(at, choice)| Some((at, self.moved(choice, &state, &marks)?)));
            let (at, next) = found?;
            left.remove(at);
            (state, marks) = next;
        }
        Some((state, marks))
    }
}

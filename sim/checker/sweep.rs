//! One passage of the frontier through a history, event by event.

mod guess;

use std::collections::BTreeMap;

use super::bits::Bits;
use super::course::Course;
use super::frontier::{Frontier, Marks};
use super::lost::{Event, EventKind};
use super::model::Model;
use super::movers::{Choice, Mover, choices};

/// How hard a sweep tries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Effort {
    /// Configurations held at once, of all states.
    pub width: usize,
    /// How many lost operations more than the fewest possible explain one answer; all when `None`.
    pub spare: Option<u32>,
    /// Lost operations may take effect any number of times.
    pub loose: bool,
    /// Lost operations of all kinds count as alike: more is dropped, and nothing is refuted.
    pub rough: bool,
    /// Steps of the model, in all.
    pub steps_max: u64,
}

/// What an event left of the frontier.
pub enum Passed<S> {
    /// Something.
    On,
    /// Nothing: these states were possible just before.
    Unexplained(Vec<S>),
    /// A limit was reached.
    TooMuch,
}

/// Where a sweep is.
#[derive(Clone)]
pub struct Stand<S> {
    frontier: Frontier<S>,
    /// The open operation of each slot.
    pub slots: Vec<Option<usize>>,
    /// Slots of open operations that may take effect unnoticed: those that look, those that tell nothing.
    quiet: Vec<usize>,
    blind: Bits,
    /// How many operations of each kind were asked for so far and lost, and may be wanted.
    asked: Vec<u32>,
    /// Kinds of which some configuration has one left.
    pub live: Vec<u32>,
}

impl<S: Clone + Ord> Stand<S> {
    /// How many configurations it holds.
    pub fn width(&self) -> usize {
        self.frontier.count()
    }
}

/// A sweep through a history.
pub struct Sweep<'a, M: Model> {
    course: &'a Course<'a, M>,
    /// How hard it tries.
    pub effort: Effort,
    /// Where it is.
    pub stand: Stand<M::State>,
    /// Steps of the model so far.
    pub steps: u64,
    /// Nothing was dropped that might have led somewhere.
    complete: bool,
    /// A lost operation took effect in a loose search.
    reused: bool,
}

/// A configuration from which an answer is to be explained.
struct Task<S> {
    state: S,
    marks: Marks,
    /// Where it started from, as far as that tells what matters.
    hint: u64,
    /// What was not lost was tried.
    has_moved: bool,
}

/// The configurations from which one answer is to be explained, by what it costs to look at them.
struct Tasks<S>(BTreeMap<(u32, u32), Vec<Task<S>>>);

impl<S> Tasks<S> {
    fn push(&mut self, task: Task<S>) {
        let used = task.marks.used.total() + u32::from(task.has_moved);
        self.0.entry((used, task.marks.owed.count())).or_default().push(task);
    }

    /// The cheapest, and how many lost operations it has used or is about to.
    fn pop(&mut self) -> Option<(u32, Task<S>)> {
        let mut level = self.0.first_entry()?;
        let (used, _) = *level.key();
        let task = level.get_mut().pop();
        if level.get().is_empty() {
            level.remove();
        }
        task.map(|task| (used, task))
    }
}

impl<'a, M: Model> Sweep<'a, M> {
    /// At the start.
    pub fn new(course: &'a Course<'a, M>, effort: Effort) -> Self {
        let mut frontier = Frontier::empty(effort.rough);
        frontier.add(course.model.initial(), Marks::default());
        let stand = Stand {
            frontier,
            slots: Vec::new(),
            quiet: Vec::new(),
            blind: Bits::default(),
            asked: vec![0; course.kinds.count()],
            live: Vec::new(),
        };
        Self { course, effort, stand, steps: 0, complete: !effort.rough, reused: false }
    }

    /// Nothing was dropped so far that might have led somewhere.
    pub fn is_complete(&self) -> bool {
        self.complete
    }

    /// A lost operation took effect, and might have again.
    pub fn has_reused(&self) -> bool {
        self.reused
    }

    /// Goes past the next event.
    pub fn pass(&mut self, event: &Event) -> Passed<M::State> {
        match event.kind {
            EventKind::Invoked => self.open(event.operation),
            EventKind::Lost => self.lose(event.operation),
            EventKind::Forgotten => self.forget(event.operation),
            EventKind::Returned => return self.answer(event.operation),
        }
        Passed::On
    }

    fn op(&self, operation: usize) -> &'a M::Op {
        &self.course.operations[operation].op
    }

    fn take_frontier(&mut self) -> Frontier<M::State> {
        std::mem::replace(&mut self.stand.frontier, Frontier::empty(self.effort.rough))
    }

    fn open(&mut self, operation: usize) {
        let op = self.op(operation);
        let slot = self.free_slot();
        self.stand.slots[slot] = Some(operation);
        let (looks, blind) = (self.course.model.looks(op), self.course.model.is_blind(op));
        if looks || blind {
            self.stand.quiet.push(slot);
        }
        if blind {
            self.stand.blind.add(slot);
        }
        let frontier = self.take_frontier();
        self.stand.frontier = frontier.changed(|state, marks| {
            marks.available.add(slot);
            marks.owed.add(slot);
            if looks || blind {
                self.settle_one(slot, state, marks);
            }
        });
    }

    fn free_slot(&mut self) -> usize {
        let slots = &mut self.stand.slots;
        match slots.iter().position(Option::is_none) {
            Some(slot) => slot,
            None => {
                slots.push(None);
                slots.len() - 1
            }
        }
    }

    fn lose(&mut self, operation: usize) {
        if let Some(kind) = self.course.kinds.of(self.op(operation)) {
            self.stand.asked[kind as usize] += 1;
            if !self.stand.live.contains(&kind) {
                self.stand.live.push(kind);
            }
        }
    }

    /// No operation of its kind can be of use any more.
    fn forget(&mut self, operation: usize) {
        if let Some(kind) = self.course.kinds.of(self.op(operation)) {
            self.retire(kind);
        }
    }

    fn retire(&mut self, kind: u32) {
        if std::mem::take(&mut self.stand.asked[kind as usize]) == 0 {
            return;
        }
        self.stand.live.retain(|live| *live != kind);
        self.stand.frontier = self.take_frontier().changed(|_, marks| marks.used.forget(kind));
    }

    /// Retires the kinds of which every configuration has used all.
    fn retire_used_up(&mut self) {
        let Stand { frontier, asked, live, .. } = &self.stand;
        let Some((_, first)) = frontier.iter().next() else { return };
        let used_up = |marks: &Marks, kind: u32| marks.used.of(kind) >= asked[kind as usize];
        let mut kinds: Vec<u32> = live.iter().copied().filter(|kind| used_up(first, *kind)).collect();
        kinds.retain(|kind| frontier.iter().all(|(_, marks)| used_up(marks, *kind)));
        for kind in kinds {
            self.retire(kind);
        }
    }

    fn answer(&mut self, operation: usize) -> Passed<M::State> {
        let slot = self.stand.slots.iter().position(|open| *open == Some(operation));
        let slot = slot.expect("what is answered was open");
        let before = self.take_frontier();
        let timed = &self.course.operations[operation];
        let wanted = timed.returned.is_none_or(|at| self.course.uses.of(self.course.model, &timed.op) > at);
        let mut after = Frontier::empty(self.effort.rough);
        let mut seen = Frontier::empty(self.effort.rough);
        let mut tasks = Tasks(BTreeMap::new());
        for (state, marks) in before.iter() {
            let owed = marks.owed.has(slot);
            if !owed {
                let mut marks = marks.clone();
                marks.available.remove(slot);
                after.add(state.clone(), marks);
            }
            if owed || (marks.available.has(slot) && wanted) {
                let (state, marks, hint) = (state.clone(), marks.clone(), self.hint(state));
                if seen.add(state.clone(), marks.clone()) {
                    tasks.push(Task { state, marks, hint, has_moved: false });
                }
            }
        }
        let guessed = self.guess(slot, &tasks, &mut after);
        let lost_used = match guessed {
            Some(lost_used) if after.count() > 0 => lost_used,
            _ => match self.explain(slot, tasks, seen, &mut after) {
                Some(lost_used) => lost_used,
                None => return Passed::TooMuch,
            },
        };
        self.stand.slots[slot] = None;
        self.stand.quiet.retain(|quiet| *quiet != slot);
        self.stand.blind.remove(slot);
        self.complete &= after.cut(self.effort.width);
        self.stand.frontier = after;
        if self.stand.frontier.count() == 0 {
            return Passed::Unexplained(before.into_states());
        }
        if lost_used {
            self.retire_used_up();
        }
        Passed::On
    }

    fn hint(&self, state: &M::State) -> u64 {
        if self.effort.loose {
            return self.course.model.hint(state, None);
        }
        let open = self.stand.slots.iter().flatten().map(|operation| self.op(*operation));
        let lost = self.stand.live.iter().flat_map(|kind| {
            std::iter::repeat_n(self.course.kinds.op(*kind), self.stand.asked[*kind as usize] as usize)
        });
        self.course.model.hint(state, Some(&mut open.chain(lost)))
    }

    /// Adds to `after` every configuration in which `slot` has taken effect last. Whether a lost operation took effect;
    /// `None` when a limit was reached.
    fn explain(
        &mut self,
        slot: usize,
        mut tasks: Tasks<M::State>,
        mut seen: Frontier<M::State>,
        after: &mut Frontier<M::State>,
    ) -> Option<bool> {
        let mut by_hint = BTreeMap::new();
        // The fewest lost operations with which the answer was explained.
        let mut fewest = after.iter().map(|(_, marks)| marks.used.total()).min();
        let mut lost_used = false;
        while let Some((used, task)) = tasks.pop() {
            let Effort { width, spare, steps_max, .. } = self.effort;
            let too_many = fewest.zip(spare).is_some_and(|(fewest, spare)| used > fewest + spare);
            if too_many || after.count() >= width.saturating_mul(2) || seen.count() > width.saturating_mul(8)
            {
                self.complete = false;
                break;
            }
            if self.steps > steps_max {
                return None;
            }
            let choices = by_hint.entry(task.hint).or_insert_with(|| {
                choices(self.course, &self.stand.slots, &self.stand.live, slot, task.hint)
            });
            for choice in if task.has_moved { &choices.lost } else { &choices.open } {
                let Some((state, marks)) = self.moved(choice, &task.state, &task.marks) else { continue };
                lost_used |= task.has_moved;
                if !marks.available.has(slot) {
                    fewest = Some(fewest.unwrap_or(u32::MAX).min(marks.used.total()));
                    after.add(state, marks);
                    continue;
                }
                if !marks.owed.has(slot) {
                    // It may have taken effect unseen, before an operation that overwrote it.
                    let mut unseen = marks.clone();
                    unseen.available.remove(slot);
                    fewest = Some(fewest.unwrap_or(u32::MAX).min(unseen.used.total()));
                    after.add(state.clone(), unseen);
                }
                if seen.add(state.clone(), marks.clone()) {
                    tasks.push(Task { state, marks, hint: task.hint, has_moved: false });
                }
            }
            if !task.has_moved && !choices.lost.is_empty() {
                tasks.push(Task { has_moved: true, ..task });
            }
        }
        Some(lost_used)
    }

    /// The configuration after one more effect; `None` when it cannot be, or another one serves better.
    fn moved(
        &mut self,
        choice: &Choice<'_, M::Op>,
        state: &M::State,
        marks: &Marks,
    ) -> Option<(M::State, Marks)> {
        let serves_better = match choice.mover {
            Mover::Slot(slot) if !marks.available.has(slot) => return None,
            Mover::Slot(slot) if marks.owed.has(slot) => {
                choice.earlier.members().any(|twin| marks.available.has(twin) && marks.owed.has(twin))
            }
            Mover::Slot(_) => choice.earlier.meets(&marks.available),
            Mover::Lost(kind) => {
                let used_up = !self.effort.loose && marks.used.of(kind) >= self.stand.asked[kind as usize];
                used_up || choice.earlier.meets(&marks.available)
            }
        };
        if serves_better {
            return None;
        }
        self.steps += 1;
        let model = self.course.model;
        let next = model.step(state, choice.op)?;
        let hides = model.overwrites(choice.op) && marks.owed.meets(&self.stand.blind);
        let mut marks = marks.clone();
        match choice.mover {
            Mover::Slot(slot) => {
                marks.available.remove(slot);
                marks.owed.remove(slot);
            }
            // A lost operation is for what it changes, or for what it hides.
            Mover::Lost(_) if model.is_hopeless(&next) => return None,
            Mover::Lost(_) if next == *state && !hides => return None,
            Mover::Lost(_) if self.effort.loose => self.reused = true,
            Mover::Lost(kind) => marks.used.add(kind),
        }
        if hides {
            marks.owed.remove_all(&self.stand.blind);
        }
        for &slot in &self.stand.quiet {
            self.settle_one(slot, &next, &mut marks);
        }
        Some((next, marks))
    }

    /// Lets an open operation take effect that the state allows, if it changes nothing.
    fn settle_one(&self, slot: usize, state: &M::State, marks: &mut Marks) {
        let Some(operation) = self.stand.slots[slot].filter(|_| marks.owed.has(slot)) else { return };
        let op = self.op(operation);
        if self.course.model.step(state, op).is_some_and(|next| next == *state) {
            marks.owed.remove(slot);
            if self.course.model.looks(op) {
                marks.available.remove(slot);
            }
        }
    }
}

//! A narrow sweep that goes back and widens when it is stuck.
//!
//! To prove that a history is linearizable, one order is enough, so most configurations may be dropped. Where those that
//! were kept come to nothing, the sweep goes back to where it stood some events before and passes there again with more
//! of them; each time it is stuck near the same place it goes back further and keeps more.

use super::course::Course;
use super::model::{Limits, Model};
use super::sweep::{Effort, Passed, Stand, Sweep};

/// Looks for one order that explains every answer. False says nothing.
pub fn explains<M: Model>(course: &Course<'_, M>, limits: Limits) -> bool {
    let narrow =
        Effort { width: WIDTH, spare: Some(0), loose: false, rough: true, steps_max: limits.steps_max };
    let mut sweep = Sweep::new(course, narrow);
    let mut stands = Stands { all: vec![(0, sweep.stand.clone())], configurations: 0 };
    // The furthest place where the sweep was stuck, and how often that was near there.
    let (mut hard, mut failures) = (0, 0_u32);
    let mut at = 0;
    while let Some(event) = course.events.get(at) {
        match sweep.pass(event) {
            Passed::On => {}
            Passed::TooMuch => return false,
            Passed::Unexplained(_) => {
                failures = if at > hard + STRIDE { 1 } else { failures + 1 };
                hard = hard.max(at);
                let width = WIDTH << failures;
                if width > WIDTH_MAX.min(limits.configurations_max) {
                    return false;
                }
                let spare = Some(failures);
                sweep.effort = Effort { width, rough: failures < FAILURES_ROUGH, spare, ..narrow };
                (at, sweep.stand) = stands.back_to(hard.saturating_sub(STRIDE << failures));
                continue;
            }
        }
        at += 1;
        if at > hard + STRIDE {
            sweep.effort = narrow;
        }
        if at % STRIDE == 0 {
            stands.push(at, &sweep.stand, limits.configurations_max);
        }
    }
    true
}

/// Where the sweep stood, by the number of events passed. The first is the beginning.
struct Stands<S> {
    all: Vec<(usize, Stand<S>)>,
    /// In all of them but the first.
    configurations: usize,
}

impl<S: Clone + Ord> Stands<S> {
    /// Forgets the oldest, except for the beginning, when there would be too many or too much in them.
    fn push(&mut self, at: usize, stand: &Stand<S>, configurations_max: usize) {
        self.all.push((at, stand.clone()));
        self.configurations += stand.width();
        while self.all.len() > STANDS_MAX || (self.all.len() > 1 && self.configurations > configurations_max)
        {
            let (_, forgotten) = self.all.remove(1);
            self.configurations -= forgotten.width();
        }
    }

    /// The last stand that is no later than `place`; those after it are forgotten.
    fn back_to(&mut self, place: usize) -> (usize, Stand<S>) {
        while self.all.len() > 1 && self.all[self.all.len() - 1].0 > place {
            if let Some((_, forgotten)) = self.all.pop() {
                self.configurations -= forgotten.width();
            }
        }
        self.all[self.all.len() - 1].clone()
    }
}

/// Configurations kept at first, and at most; each failure doubles them.
const WIDTH: usize = 16;
const WIDTH_MAX: usize = 16_384;

/// From so many failures on, lost operations of different kinds are told apart.
const FAILURES_ROUGH: u32 = 3;

/// Events from stand to stand. The first failure goes twice as far back, and each further one twice as far again.
const STRIDE: usize = 64;
const STANDS_MAX: usize = 256;

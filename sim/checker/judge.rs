//! A verdict on one object's history.
//!
//! Ways are tried from the cheapest on: what the model itself can tell at once, a narrow search that goes back where it
//! is stuck, a narrow one that tells whether it dropped anything, a loose one, and one that keeps everything (see
//! [`super::search`] for what each is right about). Whichever speaks first is right: an order that a model tells is
//! replayed before it counts, and what a model calls a conflict is searched once more.

use super::beam::explains;
use super::course::Course;
use super::evidence::{Evidence, of_few, of_search};
use super::model::{Limit, Limits, Model, Quick, Timed, Work};
use super::search::{Outcome, search};
use super::sweep::Effort;

/// A verdict on one object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Judged {
    /// Some order of the operations explains every answer.
    Linearizable,
    /// None does.
    Violation(Evidence),
    /// This limit was reached before either was known.
    GaveUp(Limit),
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
    model.as_searched(operations, Judge(limits))
}

/// Judges within these limits.
struct Judge(Limits);

impl Work for Judge {
    type Output = Judged;

    fn on<M: Model>(self, model: &M, operations: &[Timed<M::Op>]) -> Judged {
        match model.quick(operations) {
            Quick::Order(order) if proves(model, operations, &order) => return Judged::Linearizable,
            Quick::Conflict(few) => {
                if let Some(evidence) = model.as_in_conflict(operations, Confirm(few)) {
                    return Judged::Violation(evidence);
                }
            }
            Quick::Order(_) | Quick::Unknown => {}
        }
        match decide(model, operations, self.0) {
            Outcome::Linearizable => Judged::Linearizable,
            Outcome::GaveUp(limit) => Judged::GaveUp(limit),
            Outcome::Stuck { operation, states } => {
                Judged::Violation(of_search(model, operations, operation, &states))
            }
        }
    }
}

/// Looks for the evidence in these operations, which are said to be a conflict.
struct Confirm(Vec<usize>);

impl Work for Confirm {
    type Output = Option<Evidence>;

    fn on<M: Model>(self, model: &M, operations: &[Timed<M::Op>]) -> Option<Evidence> {
        of_few(model, operations, self.0)
    }
}

/// Searches, with more and more effort.
fn decide<M: Model>(model: &M, operations: &[Timed<M::Op>], limits: Limits) -> Outcome<M::State> {
    if explains(&Course::new(model, operations), limits) {
        return Outcome::Linearizable;
    }
    let Limits { configurations_max, steps_max } = limits;
    let full = Effort { width: configurations_max, spare: None, loose: false, rough: false, steps_max };
    let narrow = Effort { width: NARROW.min(configurations_max), steps_max: steps_max / 8, ..full };
    let easy = STEPS_EASY + STEPS_EASY_EACH * operations.len() as u64;
    let lost = operations.iter().any(|timed| timed.returned.is_none());
    let efforts = [
        Some(Effort { steps_max: easy.min(steps_max), ..narrow }),
        lost.then_some(Effort { loose: true, ..narrow }),
    ];
    for effort in efforts.into_iter().flatten() {
        let found = search(model, operations, effort);
        if !matches!(found, Outcome::GaveUp(_)) {
            return found;
        }
    }
    search(model, operations, full)
}

/// Configurations that a first look keeps.
const NARROW: usize = 256;

/// Steps of the first search: for any history, and for each of its operations besides.
const STEPS_EASY: u64 = 20_000;
const STEPS_EASY_EACH: u64 = 50;

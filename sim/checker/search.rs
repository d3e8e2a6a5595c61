//! The search for a linearization: a frontier that moves through the history answer by answer.
//!
//! A *configuration* is one way in which the operations so far may have taken effect: the object's state, which open
//! operations could still take effect (*available*), which of those still must (*owed*), and how many operations of
//! each kind took effect that were never answered (*lost*). When an operation is answered, every configuration that
//! still owes it takes effects, that one last, until it does not; those that cannot are dropped, and when none is left
//! the history is not linearizable.
//!
//! What keeps the frontier small:
//!
//! * Of two configurations in one state, one with more available, less owed and fewer lost operations used can do
//!   whatever the other can: only it is kept.
//! * An operation that changes nothing takes effect as soon as the state allows: that costs nothing.
//! * An operation that is legal and would leave the state as it is may have taken effect unseen. So may every open
//!   operation with nothing to tell, just before one that overwrites the state. It is then no longer owed and still
//!   available, which is more than either choice; the choice is made when it is answered, and then only if something
//!   after that may still want its effect.
//! * Only operations whose order matters to the one that is answered are tried before it
//!   ([`Model::matters_before`], carried on from operation to operation): the others may come later as well.
//! * Of two operations that are alike, the one that is answered first goes first, and one that is answered goes before
//!   one that never is.
//! * A lost operation is forgotten once nothing that it matters to can still come, or once all of its kind are used.
//!
//! Several kinds of effort ([`Effort`]) share this code. A full one keeps everything, so both its verdicts are right. A
//! narrow one drops the configurations that look least likely, and a rough one those that used other lost operations
//! than one that is there: what is left of them is right when it succeeds. A loose one lets a lost operation take effect
//! any number of times, which only adds behaviour: it is right when it fails.
//!
//! Where the model guesses which operations lead to an answer ([`Model::ways`]), a narrow search tries these first. They
//! take effect as any others do, so a wrong guess costs time and proves nothing.

use super::course::Course;
use super::model::{Limit, Model, Timed};
use super::sweep::{Effort, Passed, Sweep};

/// What a search found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome<S> {
    /// Some order of the operations explains every answer.
    Linearizable,
    /// None does: when this operation was answered, nothing explained it.
    Stuck {
        /// Its place in the list of operations.
        operation: usize,
        /// The states that were possible just before.
        states: Vec<S>,
    },
    /// The effort did not suffice to know either; what it lacked.
    GaveUp(Limit),
}

/// Searches for a linearization of `operations`, in any order of the list.
pub fn search<M: Model>(model: &M, operations: &[Timed<M::Op>], effort: Effort) -> Outcome<M::State> {
    let course = Course::new(model, operations);
    let mut sweep = Sweep::new(&course, effort);
    for event in &course.events {
        match sweep.pass(event) {
            Passed::On => {}
            Passed::TooMuch => return Outcome::GaveUp(Limit::Steps),
            // What was dropped might have explained it.
            Passed::Unexplained(_) if !sweep.is_complete() => return Outcome::GaveUp(Limit::Configurations),
            Passed::Unexplained(states) => {
                return Outcome::Stuck { operation: event.operation, states };
            }
        }
    }
    // A lost operation that took effect twice explains nothing. To tell which did takes more configurations.
    if effort.loose && sweep.has_reused() {
        return Outcome::GaveUp(Limit::Configurations);
    }
    Outcome::Linearizable
}

//! The end of a history, by itself: an object that starts in a state that nobody knows.

use super::model::{Model, Timed};

/// A model of which nothing is known at first. It allows whatever the model allows from any state, and more.
#[derive(Clone, Copy, Debug)]
pub struct Tail<'m, M>(pub &'m M);

impl<M: Model> Model for Tail<'_, M> {
    /// `None` may be any.
    type State = Option<M::State>;
    type Op = M::Op;

    fn initial(&self) -> Option<M::State> {
        None
    }

    fn step(&self, state: &Option<M::State>, op: &M::Op) -> Option<Option<M::State>> {
        match state {
            None => Some(self.0.after_anything(op)),
            Some(state) => self.0.step(state, op).map(Some),
        }
    }

    // What is left out here prunes less. What looks and changes nothing does change what is known.
    fn is_pure(&self, _op: &M::Op) -> bool {
        false
    }

    fn show(&self, state: &Option<M::State>) -> String {
        state.as_ref().map_or_else(|| "any".to_owned(), |state| self.0.show(state))
    }

    fn is_needless(&self, op: &M::Op) -> bool {
        self.0.is_needless(op)
    }

    fn family(&self, op: &M::Op) -> Option<[u32; 2]> {
        self.0.family(op)
    }
}

/// The operations that were open at `begin` or later. Of one that was open at `begin` nobody knows whether it took
/// effect before or after, so it counts as never answered.
pub fn since<O: Clone>(operations: &[Timed<O>], begin: u64) -> Vec<Timed<O>> {
    let late = operations.iter().filter(|timed| timed.returned.is_none_or(|at| at > begin));
    late.map(|timed| Timed { returned: timed.returned.filter(|_| timed.invoked >= begin), ..timed.clone() })
        .collect()
}

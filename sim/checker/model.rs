//! What a sequential object is to the search: states, operations with their answers, and what their order is worth.

/// A sequential object. An operation here carries its answer, so that a step is legal or it is not.
///
/// Every method with a default prunes the search. A default is always right and prunes nothing; a model that overrides
/// one promises what its documentation says, for every state.
pub trait Model {
    /// The state of the object. Equal states answer alike for ever.
    type State: Clone + Ord + std::fmt::Debug;
    /// A call with its answer; of a call that was never answered, what it does if it takes effect.
    type Op: Clone + Ord + std::fmt::Debug;

    /// The state before the first operation.
    fn initial(&self) -> Self::State;

    /// The state after `op`; `None` when the object in `state` would have answered otherwise.
    fn step(&self, state: &Self::State, op: &Self::Op) -> Option<Self::State>;

    /// `op` never changes the state.
    fn is_pure(&self, op: &Self::Op) -> bool;

    /// Wherever `op` is legal and leaves the state as it is, it may as well take effect at once: later it would leave
    /// the state as it is too, or be refused.
    fn looks(&self, op: &Self::Op) -> bool {
        self.is_pure(op)
    }

    /// `op` changes no state of which [`Model::hint`] says `hint`, nor any that follows one.
    fn is_pure_here(&self, op: &Self::Op, _hint: u64) -> bool {
        self.is_pure(op)
    }

    /// `op` is legal in every state: its answer tells nothing.
    fn is_blind(&self, _op: &Self::Op) -> bool {
        false
    }

    /// `op` is legal in every state and leaves a state that does not depend on the one before.
    fn overwrites(&self, _op: &Self::Op) -> bool {
        false
    }

    /// False promises: wherever `first` and right after it `then` are legal, either `then`, `first` is legal too and
    /// leaves the same state; or `then` alone is legal and leaves the same state, and either `first` is not `owed`
    /// (nobody waits for it to take effect) or `first` is blind and `then` overwrites.
    ///
    /// `hint` is 0 or what [`Model::hint`] said; what it says holds.
    fn matters_before(&self, _first: &Self::Op, _owed: bool, _then: &Self::Op, _hint: u64) -> bool {
        true
    }

    /// What is true of `state`, and stays true whichever of `open` do, the operations that may take effect next;
    /// whichever any do when that is `None`. 0 says nothing.
    fn hint(&self, _state: &Self::State, _open: Option<&mut dyn Iterator<Item = &Self::Op>>) -> u64 {
        0
    }

    /// [`Model::ways`] says enough of `state` that a narrow search need look no further than that, and at each operation by
    /// itself.
    fn guesses(&self, _state: &Self::State) -> bool {
        false
    }

    /// Guesses which of the operations that may take effect next lead from `state` to one in which `op` is legal: some
    /// of `open`, and of the kinds `lost` as many as there are left. A guess is tried before it counts.
    fn ways(
        &self,
        _state: &Self::State,
        _op: &Self::Op,
        _open: &[&Self::Op],
        _lost: &[(&Self::Op, u32)],
        _bounds: Bounds,
    ) -> Ways {
        Ways::default()
    }

    /// What `op` leaves behind, for [`Model::wants`] of others to name; `None` when no one value tells.
    fn leaves(&self, _op: &Self::Op) -> Option<u32> {
        None
    }

    /// Whose effect `op` may want: promises that [`Model::matters_before`] of an operation that is not owed is false
    /// for all others, whatever the hint.
    fn wants(&self, _op: &Self::Op) -> Wants {
        Wants::Anything
    }

    /// Nothing can be seen of what was before `state` or of what follows it, until it is overwritten: whatever can be
    /// done from here could be done as well from the state in which an operation led here.
    fn is_hopeless(&self, _state: &Self::State) -> bool {
        false
    }

    /// What is known of the state after `op` when nothing is known of the one before. Never says more than is so.
    fn after_anything(&self, _op: &Self::Op) -> Option<Self::State> {
        None
    }

    /// Tries to tell by other means than a search what a history of these operations is.
    fn quick(&self, _operations: &[Timed<Self::Op>]) -> Quick {
        Quick::Unknown
    }

    /// Does `work` with the model by which a history of these operations is searched: this one, or one that answers
    /// alike and is searched faster.
    fn as_searched<W: Work>(&self, operations: &[Timed<Self::Op>], work: W) -> W::Output
    where
        Self: Sized,
    {
        work.on(self, operations)
    }

    /// Does `work` with the model of which [`Quick::Conflict`] speaks: this one, or one that allows more.
    fn as_in_conflict<W: Work>(&self, operations: &[Timed<Self::Op>], work: W) -> W::Output
    where
        Self: Sized,
    {
        work.on(self, operations)
    }

    /// `state` for people.
    fn show(&self, state: &Self::State) -> String {
        format!("{state:?}")
    }

    /// A history that is linearizable stays so when `op` alone is left out of it.
    fn is_needless(&self, op: &Self::Op) -> bool {
        self.is_pure(op)
    }

    /// The values that `op` ties together. Promises: a history that is linearizable stays so when all operations of
    /// some values, and of all values tied to them, are left out. Used to tell a violation in few operations.
    fn family(&self, _op: &Self::Op) -> Option<[u32; 2]> {
        None
    }
}

/// What is done with a model and a history of it.
pub trait Work {
    /// What comes of it.
    type Output;

    /// Does it.
    fn on<M: Model>(self, model: &M, operations: &[Timed<M::Op>]) -> Self::Output;
}

/// What [`Model::quick`] found, by places in the list of operations.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Quick {
    /// Nothing.
    Unknown,
    /// This order explains every answer. It is not believed before [`proves`](super::proves) says so.
    Order(Vec<usize>),
    /// These few operations are not linearizable, and a linearizable history stays so when the others are left out.
    Conflict(Vec<usize>),
}

/// Which guesses [`Model::ways`] is to make.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bounds {
    /// Those with the fewest lost operations, and those with so many more.
    pub spare: u32,
    /// None with more lost operations than this.
    pub lost_max: usize,
}

/// What [`Model::ways`] guessed.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Ways {
    /// Sets of operations, in any order, by their places among the open ones and, behind these, the lost ones.
    pub sets: Vec<Vec<usize>>,
    /// What it cost, in steps of the model.
    pub steps: u64,
}

/// Whose effect an operation may want.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Wants {
    /// Nobody's.
    Nothing,
    /// Of those that leave this value, or no one value.
    Value(u32),
    /// Anybody's.
    Anything,
}

/// An operation and when it was open: places in the order of all events of its history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Timed<O> {
    /// The call and its answer.
    pub op: O,
    /// When it was invoked.
    pub invoked: u64,
    /// When it was answered; `None` when it never was: it may take effect at any moment after `invoked`, or never.
    pub returned: Option<u64>,
}

/// How much a search may hold and do. Both bounds are counts, so that a verdict is the same on every machine.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Configurations held at once, of all states.
    pub configurations_max: usize,
    /// Steps of the model, in all.
    pub steps_max: u64,
}

/// Which of the [`Limits`] ended a search.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Limit {
    /// [`Limits::configurations_max`].
    Configurations,
    /// [`Limits::steps_max`].
    Steps,
}

impl Default for Limits {
    fn default() -> Self {
        Self { configurations_max: 50_000, steps_max: 2_000_000 }
    }
}

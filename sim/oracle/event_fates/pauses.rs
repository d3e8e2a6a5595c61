//! When something paused, by op.

use chronon_core::types::Op;

/// Its pauses.
#[derive(Clone, Debug, Default)]
pub(super) struct Pauses {
    /// It pauses since then.
    since: Option<Op>,
    /// Those that are over, each with the op that ended it.
    over: Vec<(Op, Op)>,
}

impl Pauses {
    /// From this op on it pauses, or does not; whether that is new.
    pub(super) fn is_to_pause(&mut self, op: Op, pauses: bool) -> bool {
        if !pauses {
            self.over.extend(self.since.take().map(|since| (since, op)));
            return false;
        }
        let is_new = self.since.is_none();
        self.since.get_or_insert(op);
        is_new
    }

    pub(super) fn pauses(&self) -> bool {
        self.since.is_some()
    }

    /// Whether nothing may have been granted by this op. At the op of an order there may be something before it, and behind it.
    pub(super) fn hold(&self, granted: Op) -> bool {
        self.since.is_some_and(|since| granted > since)
            || self.over.iter().any(|(since, until)| granted > *since && granted < *until)
    }
}

//! A log: values are appended and keep their offset for ever.

use super::log_order::{self, SharedLog};
use super::model::{Model, Quick, Timed, Work};
use super::operations::LogOp;

/// A log, at first empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

impl Model for Log {
    /// The values, from offset 0.
    type State = Vec<u32>;
    type Op = LogOp;

    fn initial(&self) -> Vec<u32> {
        Vec::new()
    }

    fn step(&self, state: &Vec<u32>, op: &LogOp) -> Option<Vec<u32>> {
        let end = state.len() as u64;
        let at = |offset: u64| usize::try_from(offset).ok().and_then(|offset| state.get(offset));
        let longer = |value: u32| Some(state.iter().copied().chain([value]).collect());
        match *op {
            LogOp::Append(offset, value) if offset == end => longer(value),
            LogOp::AppendAny(value) => longer(value),
            LogOp::Read(offset, value) if at(offset) == Some(&value) => Some(state.clone()),
            LogOp::Beyond(offset) if offset >= end => Some(state.clone()),
            LogOp::Append(..) | LogOp::Read(..) | LogOp::Beyond(_) => None,
        }
    }

    fn is_pure(&self, op: &LogOp) -> bool {
        matches!(op, LogOp::Read(..) | LogOp::Beyond(_))
    }

    fn is_blind(&self, op: &LogOp) -> bool {
        matches!(op, LogOp::AppendAny(_))
    }

    fn quick(&self, operations: &[Timed<LogOp>]) -> Quick {
        log_order::quick(operations)
    }

    fn as_in_conflict<W: Work>(&self, operations: &[Timed<LogOp>], work: W) -> W::Output {
        work.on(&SharedLog::of(operations), operations)
    }

    fn matters_before(&self, first: &LogOp, owed: bool, then: &LogOp, _hint: u64) -> bool {
        use LogOp::{Append, AppendAny, Beyond, Read};
        match (*first, *then) {
            // The second lands where the first left the end.
            (Append(one, _), Append(other, _)) => one.checked_add(1) == Some(other),
            (Append(..) | AppendAny(_), Append(..) | AppendAny(_)) => true,
            (Append(offset, value), Read(at, found)) => (offset, value) == (at, found),
            (AppendAny(value), Read(_, found)) => value == found,
            // An append only makes it harder to find the end early; and what was found stays.
            (Append(..) | AppendAny(_), Beyond(_)) | (Read(..), _) => false,
            (Beyond(offset), Append(at, _)) => owed && offset == at,
            (Beyond(_), AppendAny(_)) => owed,
            (Beyond(_), Read(..) | Beyond(_)) => false,
        }
    }
}

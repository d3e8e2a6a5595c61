//! A text that grows: the object of the `kv-append` model.

use super::model::{Model, Timed, Work};
use super::operations::TextOp;
use super::text_sight::Sight;

/// A text, at first empty.
#[derive(Clone, Copy, Debug, Default)]
pub struct Text;

impl Model for Text {
    type State = String;
    type Op = TextOp;

    fn initial(&self) -> String {
        String::new()
    }

    fn step(&self, state: &String, op: &TextOp) -> Option<String> {
        match op {
            TextOp::Get(text) => (state == text).then(|| state.clone()),
            TextOp::Put(text) => Some(text.clone()),
            TextOp::Append(end) => Some(format!("{state}{end}")),
        }
    }

    fn is_pure(&self, op: &TextOp) -> bool {
        match op {
            TextOp::Get(_) => true,
            TextOp::Append(end) => end.is_empty(),
            TextOp::Put(_) => false,
        }
    }

    fn is_blind(&self, op: &TextOp) -> bool {
        matches!(op, TextOp::Put(_) | TextOp::Append(_))
    }

    fn overwrites(&self, op: &TextOp) -> bool {
        matches!(op, TextOp::Put(_))
    }

    fn as_searched<W: Work>(&self, operations: &[Timed<TextOp>], work: W) -> W::Output {
        let (sight, operations) = Sight::of(operations);
        work.on(&sight, &operations)
    }

    fn after_anything(&self, op: &TextOp) -> Option<String> {
        match op {
            TextOp::Get(text) | TextOp::Put(text) => Some(text.clone()),
            TextOp::Append(_) => None,
        }
    }

    fn matters_before(&self, first: &TextOp, owed: bool, then: &TextOp, _hint: u64) -> bool {
        use TextOp::{Append, Get, Put};
        match (first, then) {
            (Put(left), Get(found)) => left == found,
            (Append(end), Get(found)) => found.ends_with(end.as_str()),
            (Put(_) | Append(_), Put(_)) | (Get(_), Get(_)) => false,
            (Put(_), Append(_)) => true,
            (Append(one), Append(other)) => one != other,
            (Get(found), Put(left)) => owed && found != left,
            (Get(_), Append(end)) => owed && !end.is_empty(),
        }
    }
}

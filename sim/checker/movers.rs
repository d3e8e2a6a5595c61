//! What may take effect before an answer, and matters there.

use super::bits::Bits;
use super::course::Course;
use super::model::Model;

/// Who takes effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Mover {
    /// The open operation of this slot.
    Slot(usize),
    /// A lost operation of this kind.
    Lost(u32),
}

/// One that may take effect.
#[derive(Clone, Debug)]
pub struct Choice<'a, O> {
    /// Who.
    pub mover: Mover,
    /// What it does.
    pub op: &'a O,
    /// Open operations that are alike and answered earlier.
    pub earlier: Bits,
}

/// Those that may take effect.
#[derive(Debug)]
pub struct Choices<'a, O> {
    /// Of those that were lost, one of each kind.
    pub lost: Vec<Choice<'a, O>>,
    /// Those that will be answered.
    pub open: Vec<Choice<'a, O>>,
}

/// What may take effect before `slot` and matters there, `slot` included, in a state of this hint: of the operations
/// that are open, by their slots, and of the kinds of lost ones that are `live`.
pub fn choices<'a, M: Model>(
    course: &Course<'a, M>,
    slots: &[Option<usize>],
    live: &[u32],
    slot: usize,
    hint: u64,
) -> Choices<'a, M::Op> {
    let open =
        |slot: usize| slots[slot].map(|operation| (Mover::Slot(slot), &course.operations[operation].op));
    let mut movers: Vec<(Mover, &'a M::Op)> = open(slot).into_iter().collect();
    let mut rest: Vec<(Mover, &'a M::Op)> =
        (0..slots.len()).filter(|other| *other != slot).filter_map(open).collect();
    rest.extend(live.iter().map(|kind| (Mover::Lost(*kind), course.kinds.op(*kind))));
    let mut at = 0;
    while at < movers.len() {
        let then = movers[at].1;
        rest.retain(|(mover, first)| {
            let owed = matches!(mover, Mover::Slot(_));
            let matters = course.model.matters_before(first, owed, then, hint);
            if matters {
                movers.push((*mover, *first));
            }
            !matters
        });
        at += 1;
    }
    movers.retain(|(_, op)| !course.model.is_pure_here(op, hint));
    let deadline = |mover: &Mover| match mover {
        Mover::Slot(slot) => {
            let returned = slots[*slot].and_then(|operation| course.operations[operation].returned);
            (returned.unwrap_or(u64::MAX), *slot)
        }
        Mover::Lost(_) => (u64::MAX, usize::MAX),
    };
    let choice = |(mover, op): &(Mover, &'a M::Op)| {
        let mut earlier = Bits::default();
        for (other, twin) in &movers {
            if let Mover::Slot(slot) = other
                && deadline(other) < deadline(mover)
                && twin == op
            {
                earlier.add(*slot);
            }
        }
        Choice { mover: *mover, op: *op, earlier }
    };
    let (lost, open) = movers.iter().map(choice).partition(|choice| matches!(choice.mover, Mover::Lost(_)));
    Choices { lost, open }
}

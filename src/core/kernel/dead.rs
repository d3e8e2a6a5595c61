//! Side effects that were given up, kept so that an operator can see them and have them tried again.
//!
//! ```text
//! intent -> given up -> dead --redrive--> intent: the same key, as many attempts as the first time
//!                        |-----discard--> nothing
//!                        '---too many---> nothing: the one that has been dead for longest is dropped, and counted
//! ```
//!
//! Dropping loses nothing that was promised: the application has heard that the side effect was given up. To keep all of them and
//! refuse commands instead would let one receiver that is gone for good stop a group. The bounds are constants, for every
//! replica must drop the same one at the same op.

use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::ops::Bound;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, CodecError};
use crate::collections::PersistentMap;
use crate::kernel::side_effect::{Place, SideEffect, SideEffectId};
use crate::types::{Blob, Mark, Marks, Op, u64_of};

/// Dead side effects that a group keeps, at most.
pub const DEAD_MAX: u64 = 10_000;
/// Bytes of all their targets, bodies and last words, at most.
pub const DEAD_BYTES_MAX: u64 = 32 << 20;
/// A page of them ends with the one that makes it so long.
const PAGE_BYTES: usize = 1 << 20;
/// Bytes of a target that a page shows.
const TARGET_SHOWN_BYTES: usize = 512;

/// A side effect that was given up.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Dead {
    /// Its idempotency key.
    pub id: SideEffectId,
    /// Where it was emitted.
    pub place: Place,
    /// The entry by which it was given up.
    pub since: Op,
    /// What was to be done.
    pub side_effect: SideEffect,
    /// Attempts that were made.
    pub attempts: u32,
    /// What was said last.
    pub why: Blob,
}

impl Dead {
    fn bytes(&self) -> u64 {
        self.side_effect.bytes() + u64_of(self.why.as_slice().len())
    }

    /// Its place among all of them: since when it has been dead, and which of those of that op it is.
    pub(in crate::kernel) fn rank(&self) -> Rank {
        (self.since, self.place)
    }
}

/// In this order they are dropped.
pub(in crate::kernel) type Rank = (Op, Place);

/// The dead side effects of a group.
#[derive(Clone, Debug, Default)]
pub struct DeadSideEffects {
    dead: PersistentMap<Rank, Dead>,
    ranks: PersistentMap<SideEffectId, Rank>,
    bytes: u64,
    dropped: u64,
}

impl DeadSideEffects {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.dead.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.dead.is_empty()
    }

    /// How many were dropped, for there were too many.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Bytes of all their targets, bodies and last words.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The one of this id.
    pub fn get(&self, id: SideEffectId) -> Option<&Dead> {
        self.dead.get(self.ranks.get(&id)?)
    }

    /// Takes one more, and drops those that have been dead for longest while there are too many.
    pub(in crate::kernel) fn put(&mut self, dead: Dead, marks: &mut impl Marks) {
        self.insert(dead);
        while u64_of(self.dead.len()) > DEAD_MAX || self.bytes > DEAD_BYTES_MAX {
            let Some((_, oldest)) = self.dead.pop_first() else { return };
            marks.hit(Mark::DeadDropped);
            self.forget(&oldest);
            self.dropped += 1;
        }
    }

    /// Takes one out.
    pub(in crate::kernel) fn take(&mut self, id: SideEffectId) -> Option<Dead> {
        let dead = self.dead.remove(self.ranks.get(&id)?)?;
        self.forget(&dead);
        Some(dead)
    }

    fn insert(&mut self, dead: Dead) {
        self.bytes += dead.bytes();
        self.ranks.insert(dead.id, dead.rank());
        self.dead.insert(dead.rank(), dead);
    }

    fn forget(&mut self, dead: &Dead) {
        self.bytes -= dead.bytes();
        self.ranks.remove(&dead.id);
    }

    /// What an operator asks.
    pub fn query(&self, question: &DeadQuery) -> DeadView {
        match *question {
            DeadQuery::List { after } => DeadView::List(self.page(after)),
            DeadQuery::Show { id } => DeadView::Show(self.get(id).cloned()),
        }
    }

    /// The page behind one that has been dead since `after`; from the beginning when there is none.
    fn page(&self, after: Option<Rank>) -> DeadPage {
        let mut rows = Vec::new();
        let mut bytes = 0;
        let mut rest = self.behind(after);
        while bytes < PAGE_BYTES
            && let Some((_, dead)) = rest.next()
        {
            let row = DeadRow::of(dead);
            bytes += codec::encode(&row).len();
            rows.push(row);
        }
        let next = if rest.next().is_some() { rows.last().map(DeadRow::rank) } else { None };
        DeadPage { rows, next, count: u64_of(self.len()), bytes: self.bytes, dropped: self.dropped }
    }

    fn behind(&self, after: Option<Rank>) -> impl Iterator<Item = (&Rank, &Dead)> {
        self.dead.range(after.as_ref().map_or(Bound::Unbounded, Bound::Excluded))
    }

    /// Those behind `after` as a snapshot holds them, ascending by rank.
    pub(in crate::kernel) fn saved(&self, after: Option<Rank>) -> impl Iterator<Item = (Rank, Vec<u8>)> {
        self.behind(after).map(|(rank, dead)| (*rank, codec::encode(dead)))
    }

    /// Adds one that a snapshot holds.
    pub(in crate::kernel) fn restore(&mut self, saved: &[u8]) -> Result<(), CodecError> {
        self.insert(codec::decode(saved)?);
        Ok(())
    }

    /// As many were dropped before the snapshot was taken.
    pub(in crate::kernel) fn restore_dropped(&mut self, dropped: u64) {
        self.dropped = dropped;
    }
}

/// A question about dead side effects.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum DeadQuery {
    /// A page of them, those first that have been dead for longest.
    List {
        /// As [`DeadPage::next`] says; from the beginning without.
        after: Option<(Op, Place)>,
    },
    /// One of them, whole.
    Show {
        /// Which.
        id: SideEffectId,
    },
}

/// What is seen of them.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum DeadView {
    /// A page.
    List(DeadPage),
    /// The one that was asked for, if it is there.
    Show(Option<Dead>),
}

/// Some of them, and how many there are.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct DeadPage {
    /// These.
    pub rows: Vec<DeadRow>,
    /// The next page is behind here; `None` when this was the last.
    pub next: Option<(Op, Place)>,
    /// How many there are in all.
    pub count: u64,
    /// Bytes of all their targets, bodies and last words.
    pub bytes: u64,
    /// How many were dropped, ever.
    pub dropped: u64,
}

/// One of them, in short.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct DeadRow {
    /// Its idempotency key.
    pub id: SideEffectId,
    /// Where it was emitted.
    pub place: Place,
    /// The entry by which it was given up.
    pub since: Op,
    /// Attempts that were made.
    pub attempts: u32,
    /// Who was to execute it: the beginning, where that is long.
    pub target: String,
    /// What was said last.
    pub why: Blob,
}

impl DeadRow {
    fn of(dead: &Dead) -> Self {
        let Dead { id, place, since, attempts, ref side_effect, ref why } = *dead;
        let target = side_effect.target();
        let end = (0..=TARGET_SHOWN_BYTES.min(target.len())).rev().find(|at| target.is_char_boundary(*at));
        let target = target[..end.unwrap_or_default()].to_string();
        Self { id, place, since, attempts, target, why: why.clone() }
    }

    fn rank(&self) -> Rank {
        (self.since, self.place)
    }
}

#[cfg(test)]
mod tests {
    use alloc::string::ToString;
    use alloc::vec;
    use alloc::vec::Vec;

    use super::{DEAD_BYTES_MAX, DEAD_MAX, Dead, DeadPage, DeadQuery, DeadSideEffects, DeadView};
    use crate::kernel::side_effect::{Place, Retry, SIDE_EFFECT_BYTES_MAX, SideEffect, SideEffectId};
    use crate::types::{Blob, Hash, NoMarks, Op, u64_of, usize_of};

    fn id(number: u64) -> SideEffectId {
        SideEffectId(Hash::of(&number.to_le_bytes()))
    }

    /// One that was emitted by op 1 and given up by a later one.
    fn dead(number: u64, bytes: usize) -> Dead {
        let side_effect = SideEffect::new("t".to_string(), Blob::from(vec![7; bytes]), Retry::default());
        Dead {
            id: id(number),
            place: Place { op: Op::new(1), index: u32::try_from(number).expect("few") },
            since: Op::new(number + 1),
            side_effect: side_effect.expect("short enough"),
            attempts: 3,
            why: Blob::default(),
        }
    }

    fn list(dead: &DeadSideEffects, after: Option<(Op, Place)>) -> DeadPage {
        match dead.query(&DeadQuery::List { after }) {
            DeadView::List(page) => page,
            DeadView::Show(_) => panic!("a list was asked for"),
        }
    }

    #[test]
    fn too_many_or_too_long_ones_push_out_those_that_have_been_dead_for_longest() {
        let mut all = DeadSideEffects::default();
        (1..=DEAD_MAX + 2).for_each(|number| all.put(dead(number, 1), &mut NoMarks));
        assert_eq!((u64_of(all.len()), all.dropped()), (DEAD_MAX, 2));
        assert_eq!((all.get(id(2)), all.get(id(3))), (None, Some(&dead(3, 1))));
        let mut all = DeadSideEffects::default();
        let bytes = SIDE_EFFECT_BYTES_MAX - 1;
        let fit = DEAD_BYTES_MAX / u64::from(SIDE_EFFECT_BYTES_MAX);
        (1..=fit + 1).for_each(|number| all.put(dead(number, usize_of(u64::from(bytes))), &mut NoMarks));
        assert_eq!((u64_of(all.len()), all.dropped(), all.bytes()), (fit, 1, DEAD_BYTES_MAX));
        assert_eq!(all.get(id(1)), None);
    }

    #[test]
    fn what_is_taken_out_is_there_no_more() {
        let mut all = DeadSideEffects::default();
        all.put(dead(1, 10), &mut NoMarks);
        assert_eq!(all.take(id(1)), Some(dead(1, 10)));
        assert_eq!((all.take(id(1)), all.is_empty(), all.bytes()), (None, true, 0));
    }

    #[test]
    fn pages_show_each_once_in_the_order_in_which_they_were_given_up() {
        let mut all = DeadSideEffects::default();
        let why = Blob::from(vec![1; 4096]);
        (1..=600).for_each(|number| all.put(Dead { why: why.clone(), ..dead(number, 0) }, &mut NoMarks));
        let (mut after, mut seen, mut pages) = (None, Vec::new(), 0);
        loop {
            let page = list(&all, after);
            assert_eq!((page.count, page.dropped), (600, 0));
            seen.extend(page.rows.iter().map(|row| row.id));
            pages += 1;
            let Some(next) = page.next else { break };
            after = Some(next);
        }
        assert_eq!((pages, seen), (3, (1..=600).map(id).collect()));
    }

    #[test]
    fn a_long_target_is_shown_in_part_and_the_whole_of_it_on_demand() {
        let mut all = DeadSideEffects::default();
        let side_effect = SideEffect::new("\u{20ac}".repeat(1000), Blob::default(), Retry::default());
        let dead = Dead { side_effect: side_effect.expect("short enough"), ..dead(1, 0) };
        all.put(dead.clone(), &mut NoMarks);
        assert_eq!(list(&all, None).rows[0].target, "\u{20ac}".repeat(170));
        assert_eq!(all.query(&DeadQuery::Show { id: id(1) }), DeadView::Show(Some(dead)));
        assert_eq!(all.query(&DeadQuery::Show { id: id(2) }), DeadView::Show(None));
    }
}

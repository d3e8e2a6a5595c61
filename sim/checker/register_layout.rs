//! When the register holds which block of values: the order of blocks, and room in it for what was refused.
//!
//! See [`super::register_zones`] for what a block is, and why this order explains what it does.

use super::model::Timed;
use super::operations::{Held, RegisterOp, UNSET};

/// Why there is no order.
pub enum Stop {
    /// These operations have none.
    Conflict(Vec<usize>),
    /// A value is written twice, or no moment was found for something that was refused.
    NotTold,
}

/// A chain of values, held in one piece.
pub struct Block {
    /// The value that it begins with.
    pub value: Held,
    /// Its operations, in order.
    pub order: Vec<usize>,
    /// When the first of them is answered; 0 of the unset register.
    pub first_end: u64,
    /// When the last of them is invoked.
    pub last_begin: u64,
    /// Enough of its operations to show when it must be held.
    pub core: Vec<usize>,
}

/// When the register holds which block.
pub struct Layout {
    /// Blocks that must be held for a time, in order.
    held: Vec<Block>,
    /// Blocks that need one moment, which that is, and whether it was chosen for a reason.
    moments: Vec<(Block, (u64, u8), bool)>,
}

impl Layout {
    /// Of these blocks; the conflict, where two of them must be held at once.
    pub fn new(blocks: Vec<Block>) -> Result<Self, Stop> {
        let conflict = |one: &Block, other: &Block| {
            Stop::Conflict(one.core.iter().chain(&other.core).copied().collect())
        };
        let (mut held, single): (Vec<Block>, Vec<Block>) =
            blocks.into_iter().partition(|block| block.first_end <= block.last_begin);
        held.sort_by_key(|block| (block.first_end, block.last_begin));
        if let Some(pair) = held.windows(2).find(|pair| pair[1].first_end <= pair[0].last_begin) {
            return Err(conflict(&pair[0], &pair[1]));
        }
        let mut layout = Self { held, moments: Vec::with_capacity(single.len()) };
        for block in single {
            // Its latest moment, or the one before the piece that covers that.
            let moment = match layout.held_at(block.first_end) {
                Some(piece) if piece.first_end <= block.last_begin => return Err(conflict(piece, &block)),
                Some(piece) => (piece.first_end, 0),
                None => (block.first_end, 0),
            };
            layout.moments.push((block, moment, false));
        }
        layout.moments.sort_by_key(|(block, _, _)| block.last_begin);
        Ok(layout)
    }

    /// The block that must be held at this time.
    fn held_at(&self, time: u64) -> Option<&Block> {
        let after = self.held.partition_point(|piece| piece.first_end <= time);
        after.checked_sub(1).map(|at| &self.held[at]).filter(|piece| time <= piece.last_begin)
    }

    /// All operations of the blocks.
    pub fn order(&self) -> Vec<usize> {
        let moments = self.moments.iter().map(|(block, moment, _)| (*moment, block));
        let held = self.held.iter().map(|block| ((block.first_end, 1), block));
        let mut placed: Vec<((u64, u8), &Block)> = moments.chain(held).collect();
        // Of blocks at one moment, any order will do.
        placed.sort_by_key(|(at, _)| *at);
        placed.into_iter().flat_map(|(_, block)| block.order.iter().copied()).collect()
    }

    /// Moves a block into the interval of everything that found no place; whether any was moved.
    pub fn make_room(&mut self, operations: &[Timed<RegisterOp>], unplaced: &[(usize, Held)]) -> bool {
        let mut has_moved = false;
        for &(index, value) in unplaced {
            let (begin, end) = (operations[index].invoked, end(operations, index));
            let open = self.moments.partition_point(|(block, _, _)| block.last_begin < end);
            let found =
                self.moments[..open].iter().enumerate().rev().take(MOVABLE_MAX).find_map(|(at, moved)| {
                    let (block, _, is_chosen) = moved;
                    if *is_chosen || block.value == value {
                        return None;
                    }
                    let earliest = begin.max(block.last_begin);
                    let moment = self.held_at(earliest).map_or(earliest, |piece| piece.last_begin);
                    (moment < end.min(block.first_end)).then_some((at, moment))
                });
            if let Some((at, moment)) = found {
                self.moments[at].1 = (moment, 2);
                self.moments[at].2 = true;
                has_moved = true;
            }
        }
        has_moved
    }
}

/// The gaps of an order: before its first operation, and after each.
pub struct Gaps {
    /// What the register holds in each gap.
    values: Vec<Held>,
    /// The next gap in which it holds something else.
    changes: Vec<usize>,
    /// When each gap can begin at the earliest, and end at the latest.
    begins: Vec<u64>,
    ends: Vec<u64>,
}

impl Gaps {
    /// Of this order, places in the list of operations.
    pub fn new(operations: &[Timed<RegisterOp>], order: &[usize]) -> Self {
        let mut values = vec![UNSET];
        let mut begins = vec![0];
        for &index in order {
            let value = match operations[index].op {
                RegisterOp::Write(value) | RegisterOp::Swap(_, value) => value,
                _ => values[values.len() - 1],
            };
            values.push(value);
            begins.push(operations[index].invoked.max(begins[begins.len() - 1]));
        }
        let mut ends = vec![u64::MAX; values.len()];
        let mut changes = vec![values.len(); values.len()];
        for at in (0..order.len()).rev() {
            ends[at] = end(operations, order[at]).min(ends[at + 1]);
            changes[at] = if values[at] == values[at + 1] { changes[at + 1] } else { at + 1 };
        }
        Self { values, changes, begins, ends }
    }

    /// The first gap from `least` on that is open within [begin, end] and holds something else than `value`.
    pub fn find(&self, least: usize, begin: u64, end: u64, value: Held) -> Option<usize> {
        let mut gap = least.max(self.ends.partition_point(|latest| *latest <= begin));
        if self.values.get(gap) == Some(&value) {
            gap = self.changes[gap];
        }
        (gap < self.values.len() && self.begins[gap] < end).then_some(gap)
    }
}

fn end(operations: &[Timed<RegisterOp>], index: usize) -> u64 {
    operations[index].returned.unwrap_or(u64::MAX)
}

/// How many blocks are looked at to make room for one operation.
const MOVABLE_MAX: usize = 2000;

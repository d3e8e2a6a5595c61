//! What is going to happen, ordered by (time, sequence).

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use crate::time::WorldTime;

/// A queue of things to come. Two at the same moment happen in the order in which they were put.
#[derive(Clone, Debug)]
pub struct Agenda<T> {
    /// When the last thing happened.
    now: WorldTime,
    /// What is to happen at that moment too, and was put since it came: all else at that moment goes before.
    at_once: VecDeque<T>,
    heap: BinaryHeap<Reverse<Key>>,
    /// The things, so that ordering the heap moves small keys only.
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    sequence: u64,
}

/// Time, sequence and slot in one number, so that one comparison orders two of them.
type Key = u128;

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self {
            now: WorldTime::ZERO,
            at_once: VecDeque::new(),
            heap: BinaryHeap::new(),
            slots: Vec::new(),
            free: Vec::new(),
            sequence: 0,
        }
    }
}

impl<T> Agenda<T> {
    /// Puts `item` at `at`.
    pub fn put(&mut self, at: WorldTime, item: T) {
        if at == self.now {
            self.at_once.push_back(item);
            return;
        }
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[slot as usize] = Some(item);
        self.sequence += 1;
        assert!(slot >> SLOT_BITS == 0, "{} things wait", self.slots.len());
        let behind = self.sequence << SLOT_BITS | u64::from(slot);
        self.heap.push(Reverse(Key::from(at.as_nanos()) << 64 | Key::from(behind)));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<WorldTime> {
        let first = self.heap.peek().map(|Reverse(key)| time_of(*key));
        if self.at_once.is_empty() { first } else { Some(first.map_or(self.now, |at| at.min(self.now))) }
    }

    /// Takes the next thing.
    pub fn pop(&mut self) -> Option<(WorldTime, T)> {
        if !self.at_once.is_empty() && self.heap.peek().is_none_or(|Reverse(key)| time_of(*key) > self.now) {
            return Some((self.now, self.at_once.pop_front()?));
        }
        let Reverse(key) = self.heap.pop()?;
        let slot = key as u32 & SLOT_MASK;
        let item = self.slots[slot as usize].take()?;
        self.free.push(slot);
        self.now = time_of(key);
        Some((self.now, item))
    }
}

fn time_of(key: Key) -> WorldTime {
    WorldTime::from_nanos((key >> 64) as u64)
}

/// Sixteen million things may wait, and 2^40 be put.
const SLOT_BITS: u32 = 24;
const SLOT_MASK: u32 = (1 << SLOT_BITS) - 1;

#[cfg(test)]
mod tests {
    use super::Agenda;
    use crate::time::WorldTime;

    #[test]
    fn things_happen_by_time_and_then_in_the_order_in_which_they_were_put() {
        let mut agenda = Agenda::default();
        for (at, item) in [(5, "c"), (1, "a"), (5, "d"), (3, "b"), (5, "e")] {
            agenda.put(WorldTime::from_nanos(at), item);
        }
        let mut order = Vec::new();
        while let Some((_, item)) = agenda.pop() {
            order.push(item);
            if item == "b" {
                agenda.put(WorldTime::from_nanos(5), "f");
            }
        }
        assert_eq!(order, ["a", "b", "c", "d", "e", "f"]);
    }
}

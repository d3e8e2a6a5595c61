//! What is going to happen, ordered by (time, sequence).

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::time::WorldTime;

/// A queue of things to come. Two at the same moment happen in the order in which they were put.
#[derive(Clone, Debug)]
pub struct Agenda<T> {
    heap: BinaryHeap<Reverse<(WorldTime, u64, u32)>>,
    /// The things, so that ordering the heap moves small keys only.
    slots: Vec<Option<T>>,
    free: Vec<u32>,
    sequence: u64,
}

impl<T> Default for Agenda<T> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), slots: Vec::new(), free: Vec::new(), sequence: 0 }
    }
}

impl<T> Agenda<T> {
    /// Puts `item` at `at`.
    pub fn put(&mut self, at: WorldTime, item: T) {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                self.slots.push(None);
                (self.slots.len() - 1) as u32
            }
        };
        self.slots[slot as usize] = Some(item);
        self.sequence += 1;
        self.heap.push(Reverse((at, self.sequence, slot)));
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<WorldTime> {
        self.heap.peek().map(|Reverse((at, ..))| *at)
    }

    /// Takes the next thing.
    pub fn pop(&mut self) -> Option<(WorldTime, T)> {
        let Reverse((at, _, slot)) = self.heap.pop()?;
        let item = self.slots[slot as usize].take()?;
        self.free.push(slot);
        Some((at, item))
    }
}

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

//! Logs: what a history is, in O(n log n), without a search.
//!
//! Answers tell offsets, so the order of the appends is known but for those that were never answered. These fill the
//! offsets that nobody else filled: one whose value was read takes one of that value, and the latest that is early
//! enough, which leaves the early ones to the others; one that nobody read takes whatever is left.
//!
//! Given who fills each offset, append number n takes effect no earlier than it was invoked, than append n - 1, and than
//! any look that found the log to end at n or before; and no later than its answer, and than any read of its offset was
//! answered. So every append takes effect as early as it can, and there is an order if and only if that is early enough.
//!
//! A conflict is two operations of which the first, or an append that must precede it, is too late for the second, or two
//! that disagree on what an offset holds. They are told by themselves, as of a log in which others append as well
//! ([`SharedLog`]): a history that is linearizable for a log is so for a shared one, whatever is left out of it.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Model, Quick, Timed};
use super::operations::LogOp;

/// What `operations` are, where that can be told.
pub fn quick(operations: &[Timed<LogOp>]) -> Quick {
    match Offsets::read(operations).and_then(|offsets| offsets.order()) {
        Ok(order) => Quick::Order(order),
        Err(few) if few.is_empty() => Quick::Unknown,
        Err(few) => Quick::Conflict(few),
    }
}

/// What is known of one offset, by places in the list of operations.
#[derive(Clone, Debug, Default)]
struct Offset {
    append: Option<usize>,
    reads: Vec<usize>,
    beyond: Vec<usize>,
}

struct Offsets<'a> {
    operations: &'a [Timed<LogOp>],
    /// From 0 to the last that somebody filled or read.
    filled: Vec<Offset>,
    /// Looks behind all of these.
    behind: Vec<usize>,
    /// Appends that were never answered, by value, by invocation.
    lost: BTreeMap<u32, Vec<usize>>,
}

/// Operations that have no order; none when that is not known.
type Few = Vec<usize>;

impl<'a> Offsets<'a> {
    fn read(operations: &'a [Timed<LogOp>]) -> Result<Self, Few> {
        let mut by_offset: BTreeMap<u64, Offset> = BTreeMap::new();
        let mut lost: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, timed) in operations.iter().enumerate() {
            match timed.op {
                LogOp::Append(offset, _) => {
                    if let Some(other) = by_offset.entry(offset).or_default().append.replace(index) {
                        return Err(vec![other, index]);
                    }
                }
                // Who looked and was never answered says nothing.
                LogOp::Read(..) | LogOp::Beyond(_) if timed.returned.is_none() => {}
                LogOp::AppendAny(value) => lost.entry(value).or_default().push(index),
                LogOp::Read(offset, _) => by_offset.entry(offset).or_default().reads.push(index),
                LogOp::Beyond(offset) => by_offset.entry(offset).or_default().beyond.push(index),
            }
        }
        for appends in lost.values_mut() {
            appends.sort_by_key(|index| operations[*index].invoked);
        }
        let last =
            by_offset.iter().rev().find(|(_, known)| known.append.is_some() || !known.reads.is_empty());
        let length = last.map_or(0, |(offset, _)| offset.saturating_add(1));
        // Every offset was filled by somebody.
        if length > operations.len() as u64 {
            return Err(Vec::new());
        }
        let mut filled = vec![Offset::default(); length as usize];
        let mut behind = Vec::new();
        for (offset, known) in by_offset {
            match filled.get_mut(offset as usize).filter(|_| offset < length) {
                Some(place) => *place = known,
                None => behind.extend(known.beyond),
            }
        }
        Ok(Self { operations, filled, behind, lost })
    }

    fn begin(&self, index: usize) -> u64 {
        self.operations[index].invoked
    }

    fn end(&self, index: usize) -> u64 {
        self.operations[index].returned.unwrap_or(u64::MAX)
    }

    fn value(&self, index: usize) -> u32 {
        match self.operations[index].op {
            LogOp::Append(_, value) | LogOp::AppendAny(value) | LogOp::Read(_, value) => value,
            LogOp::Beyond(_) => 0,
        }
    }

    fn order(mut self) -> Result<Vec<usize>, Few> {
        for offset in &self.filled {
            let mut tell = offset.append.iter().chain(&offset.reads);
            if let Some(first) = tell.next()
                && let Some(other) = tell.find(|other| self.value(**other) != self.value(*first))
            {
                return Err(vec![*first, *other]);
            }
        }
        self.too_late()?;
        self.fill()?;
        Ok(self.effects())
    }

    /// Looks for an operation that was answered before something that must precede it was invoked, whoever fills the
    /// offsets that nobody is known to fill.
    fn too_late(&self) -> Result<(), Few> {
        let mut latest: Option<usize> = None;
        for offset in &self.filled {
            // Who looks for the end here is before the append here; who reads here is after it.
            for &index in offset.beyond.iter().chain(&offset.append) {
                if latest.is_none_or(|latest| self.begin(latest) < self.begin(index)) {
                    latest = Some(index);
                }
            }
            let Some(latest) = latest else { continue };
            for &index in offset.append.iter().chain(&offset.reads) {
                if self.end(index) <= self.begin(latest) {
                    return Err(vec![latest, index]);
                }
            }
        }
        Ok(())
    }

    /// Finds a lost append for every offset that nobody else filled.
    fn fill(&mut self) -> Result<(), Few> {
        let mut left = std::mem::take(&mut self.lost);
        let deadlines = self.deadlines();
        for (offset, deadline) in self.filled.iter_mut().zip(deadlines) {
            let Some(&read) = offset.reads.first().filter(|_| offset.append.is_none()) else { continue };
            let LogOp::Read(_, value) = self.operations[read].op else { continue };
            let appends = left.entry(value).or_default();
            let early = appends.partition_point(|index| self.operations[*index].invoked < deadline);
            // If nobody can have put it there, that is the conflict.
            let latest = early.checked_sub(1).ok_or_else(|| vec![read])?;
            offset.append = Some(appends.remove(latest));
        }
        let mut rest: Vec<usize> = left.into_values().flatten().collect();
        rest.sort_by_key(|index| self.begin(*index));
        let mut rest = rest.into_iter();
        for offset in self.filled.iter_mut().filter(|offset| offset.append.is_none()) {
            offset.append = Some(rest.next().ok_or_else(Vec::new)?);
        }
        Ok(())
    }

    /// Before which each offset must be filled.
    fn deadlines(&self) -> Vec<u64> {
        let mut deadlines = vec![u64::MAX; self.filled.len()];
        let mut deadline = u64::MAX;
        for (at, offset) in self.filled.iter().enumerate().rev() {
            let ends = offset.append.iter().chain(&offset.reads).map(|index| self.end(*index));
            deadline = ends.fold(deadline, u64::min);
            deadlines[at] = deadline;
        }
        deadlines
    }

    /// Every operation as early as it can take effect. Lost appends beyond the end are not needed.
    fn effects(&self) -> Vec<usize> {
        let mut effects: Vec<(u64, u8, usize, usize)> = Vec::new();
        let mut now = 0;
        for (at, offset) in self.filled.iter().enumerate() {
            for &index in &offset.beyond {
                now = self.begin(index).max(now);
                effects.push((self.begin(index), 0, at, index));
            }
            if let Some(index) = offset.append {
                now = self.begin(index).max(now);
                effects.push((now, 1, at, index));
            }
            effects.extend(offset.reads.iter().map(|index| (self.begin(*index).max(now), 2, at, *index)));
        }
        effects.extend(self.behind.iter().map(|index| (self.begin(*index), 0, self.filled.len(), *index)));
        effects.sort_unstable();
        effects.into_iter().map(|(_, _, _, index)| index).collect()
    }
}

/// A log to which others append at any time, unseen: whatever a history appended besides.
#[derive(Clone, Debug)]
pub struct SharedLog {
    /// Values at offsets that nobody in the history can have put there.
    nobodys: BTreeSet<(u64, u32)>,
}

impl SharedLog {
    /// The log that these operations share.
    pub fn of(operations: &[Timed<LogOp>]) -> Self {
        let mut put = BTreeSet::new();
        let mut lost: BTreeMap<u32, u64> = BTreeMap::new();
        for timed in operations {
            match timed.op {
                LogOp::Append(offset, value) => drop(put.insert((offset, value))),
                LogOp::AppendAny(value) => {
                    let first = lost.entry(value).or_insert(timed.invoked);
                    *first = timed.invoked.min(*first);
                }
                LogOp::Read(..) | LogOp::Beyond(_) => {}
            }
        }
        let nobodys = operations.iter().filter_map(|timed| match timed.op {
            LogOp::Read(offset, value) if !put.contains(&(offset, value)) => {
                let end = timed.returned.unwrap_or(u64::MAX);
                lost.get(&value).is_none_or(|first| *first >= end).then_some((offset, value))
            }
            _ => None,
        });
        Self { nobodys: nobodys.collect() }
    }
}

impl Model for SharedLog {
    /// How long it is at least, and what is known to be in it.
    type State = (u64, BTreeMap<u64, u32>);
    type Op = LogOp;

    fn initial(&self) -> Self::State {
        (0, BTreeMap::new())
    }

    fn step(&self, (length, known): &Self::State, op: &LogOp) -> Option<Self::State> {
        let with = |length: u64, offset: u64, value: u32| {
            let mut known = known.clone();
            known.insert(offset, value);
            Some((length, known))
        };
        match *op {
            LogOp::Append(offset, value) if offset >= *length => {
                with(offset.saturating_add(1), offset, value)
            }
            LogOp::AppendAny(_) => Some((length.saturating_add(1), known.clone())),
            LogOp::Read(offset, value)
                if !self.nobodys.contains(&(offset, value))
                    && known.get(&offset).is_none_or(|held| *held == value) =>
            {
                with(offset.saturating_add(1).max(*length), offset, value)
            }
            LogOp::Beyond(offset) if offset >= *length => Some((*length, known.clone())),
            LogOp::Append(..) | LogOp::Read(..) | LogOp::Beyond(_) => None,
        }
    }

    /// A read tells something of the state that was not known before.
    fn is_pure(&self, op: &LogOp) -> bool {
        matches!(op, LogOp::Beyond(_))
    }

    fn is_needless(&self, _op: &LogOp) -> bool {
        true
    }
}

//! Registers in which every value is written once: what a history is, in O(n log n), without a search.
//!
//! All operations on one value belong together: its writer, its reads, and the compare-and-set that replaces it. A
//! compare-and-set ties the value that it replaces to the one that it leaves, so values form *blocks*, chains that
//! begin with a plain write (or with the unset register) and are held in one piece, in the order of the chain. Let f be
//! when the first operation of a block is answered and s when its last is invoked:
//!
//! ```text
//!  f < s: the register holds the block from f to s       s < f: one moment between s and f is enough
//!     |--write--|                                           |----write----|
//!               f===========s                                    s~~~~~~~~f
//!                           |--read--|                           |--read--|
//! ```
//!
//! The history is linearizable if and only if each block's own order can be had, no two pieces that must be held
//! overlap, and no block that needs a moment has all its moments within such a piece (Gibbons and Korach, "Testing
//! shared memories", 1997). That stays right with compare-and-sets: the operations of a chain fit into [f, s] in its
//! order if none is answered before an earlier one is invoked. What was never answered took effect if its value was
//! seen, and is not needed otherwise.
//!
//! A compare-and-set that was refused says only that the register held something else at some moment. One that falls
//! within the time in which its value must be held is a conflict; for the others a moment is looked for in the order
//! that the blocks give. Where none is found there, nothing is said, and the search decides.

use std::collections::BTreeMap;

use super::model::{Quick, Timed};
use super::register::{RegisterOp, UNSET, Value};

/// What `operations` are, where that can be told.
pub fn quick(operations: &[Timed<RegisterOp>]) -> Quick {
    match Zones::read(operations).and_then(|zones| zones.order()) {
        Ok(order) => Quick::Order(order),
        Err(Stop::Conflict(few)) if few.len() <= CONFLICT_MAX => Quick::Conflict(few),
        Err(Stop::Conflict(_) | Stop::NotTold) => Quick::Unknown,
    }
}

/// Why there is no order.
enum Stop {
    /// These operations have none.
    Conflict(Vec<usize>),
    /// A value is written twice, or no moment was found for something that was refused.
    NotTold,
}

/// What touches one value, by places in the list of operations.
#[derive(Default)]
struct Cluster {
    writer: Option<usize>,
    reads: Vec<usize>,
    replaced: Option<usize>,
    differs: Vec<usize>,
}

struct Zones<'a> {
    operations: &'a [Timed<RegisterOp>],
    clusters: BTreeMap<Value, Cluster>,
}

/// A chain of values, held in one piece.
struct Block {
    /// The value that it begins with.
    value: Value,
    /// Its operations, in order, and of each the number of its value in the chain.
    order: Vec<usize>,
    /// The operation that is answered first, and the one that is invoked last; none of the unset register that
    /// nobody saw.
    first_end: u64,
    last_begin: u64,
    /// Enough of its operations to show when it must be held.
    core: Vec<usize>,
}

impl<'a> Zones<'a> {
    fn read(operations: &'a [Timed<RegisterOp>]) -> Result<Self, Stop> {
        let mut zones = Self { operations, clusters: BTreeMap::new() };
        let mut writers: BTreeMap<Value, usize> = BTreeMap::new();
        for (index, timed) in operations.iter().enumerate() {
            if let RegisterOp::Write(value) | RegisterOp::Swap(_, value) = timed.op
                && (value == UNSET || writers.insert(value, index).is_some())
            {
                return Err(Stop::NotTold);
            }
        }
        for (index, _) in operations.iter().enumerate().filter(|(_, timed)| timed.returned.is_some()) {
            zones.put(index)?;
        }
        // What was seen was written, if need be by an operation that was never answered.
        let mut unwritten: Vec<Value> = zones.clusters.keys().copied().collect();
        while let Some(value) = unwritten.pop() {
            let cluster = &zones.clusters[&value];
            let Some(seen_by) = cluster.reads.first().or(cluster.replaced.as_ref()).copied() else {
                continue;
            };
            if value == UNSET || cluster.writer.is_some() {
                continue;
            }
            let Some(&writer) = writers.get(&value) else { return Err(Stop::Conflict(vec![seen_by])) };
            zones.put(writer)?;
            if let RegisterOp::Swap(from, _) = operations[writer].op {
                unwritten.push(from);
            }
        }
        Ok(zones)
    }

    /// Puts an operation that took effect to its values.
    fn put(&mut self, index: usize) -> Result<(), Stop> {
        match self.operations[index].op {
            RegisterOp::Read(value) => self.cluster(value).reads.push(index),
            RegisterOp::Differs(value) => self.cluster(value).differs.push(index),
            RegisterOp::Write(value) => self.cluster(value).writer = Some(index),
            RegisterOp::Swap(from, to) => {
                self.cluster(to).writer = Some(index);
                if let Some(other) = self.cluster(from).replaced.replace(index) {
                    let mut few = self.chain_to(from);
                    few.extend([other, index]);
                    return Err(Stop::Conflict(few));
                }
            }
            RegisterOp::Impossible => return Err(Stop::Conflict(vec![index])),
        }
        Ok(())
    }

    fn cluster(&mut self, value: Value) -> &mut Cluster {
        self.clusters.entry(value).or_default()
    }

    /// The operations that lead to `value`, without those that only look.
    fn chain_to(&self, value: Value) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut value = value;
        while let Some(writer) = self.clusters.get(&value).and_then(|cluster| cluster.writer) {
            chain.push(writer);
            match self.operations[writer].op {
                RegisterOp::Swap(from, _) if chain.len() <= CONFLICT_MAX => value = from,
                _ => break,
            }
        }
        chain
    }

    fn begin(&self, index: usize) -> u64 {
        self.operations[index].invoked
    }

    fn end(&self, index: usize) -> u64 {
        self.operations[index].returned.unwrap_or(u64::MAX)
    }

    fn order(&self) -> Result<Vec<usize>, Stop> {
        let mut blocks = Vec::new();
        let mut placed = 0;
        for (value, cluster) in &self.clusters {
            let begins = match cluster.writer {
                Some(writer) => matches!(self.operations[writer].op, RegisterOp::Write(_)),
                None => *value == UNSET,
            };
            if begins {
                let block = self.block(*value)?;
                placed += block.order.len();
                blocks.push(block);
            }
        }
        let seen = |cluster: &Cluster| cluster.reads.len() + usize::from(cluster.writer.is_some());
        if placed < self.clusters.values().map(seen).sum() {
            // Compare-and-sets in a circle: none of them can be the first.
            return Err(Stop::NotTold);
        }
        let mut layout = Layout::new(blocks)?;
        for _ in 0..ROUNDS_MAX {
            let order = layout.order();
            match self.with_differs(&order) {
                Ok(order) => return Ok(order),
                Err(unplaced) => {
                    if !layout.make_room(self, &unplaced) {
                        break;
                    }
                }
            }
        }
        Err(Stop::NotTold)
    }

    /// The block that begins with `value`.
    fn block(&self, value: Value) -> Result<Block, Stop> {
        let mut order = Vec::new();
        let mut core = Vec::new();
        let mut phases = Vec::new();
        let mut next = Some(value);
        while let Some(cluster) = next.and_then(|value| self.clusters.get(&value)) {
            let phase_begin = order.len();
            order.extend(cluster.writer);
            core.extend(cluster.writer);
            let mut reads = cluster.reads.clone();
            reads.sort_by_key(|index| self.begin(*index));
            order.extend(reads);
            phases.push((cluster, phase_begin));
            next = cluster.replaced.map(|swap| match self.operations[swap].op {
                RegisterOp::Swap(_, to) => to,
                _ => UNSET,
            });
        }
        let mut latest: Option<usize> = None;
        for &index in &order {
            if let Some(latest) = latest.filter(|latest| self.begin(*latest) >= self.end(index)) {
                core.extend([latest, index]);
                return Err(Stop::Conflict(core));
            }
            if latest.is_none_or(|latest| self.begin(latest) < self.begin(index)) {
                latest = Some(index);
            }
        }
        let first = order.iter().copied().min_by_key(|index| self.end(*index));
        self.refuted_differs(&order, &phases, &core)?;
        core.extend(first);
        core.extend(latest);
        // The unset register is held from the start.
        let first_end = if value == UNSET { 0 } else { first.map_or(0, |first| self.end(first)) };
        Ok(Block { value, order, first_end, last_begin: latest.map_or(0, |latest| self.begin(latest)), core })
    }

    /// Looks for something refused while its value must be held.
    fn refuted_differs(
        &self,
        order: &[usize],
        phases: &[(&Cluster, usize)],
        core: &[usize],
    ) -> Result<(), Stop> {
        if phases.iter().all(|(cluster, _)| cluster.differs.is_empty()) {
            return Ok(());
        }
        // The earliest end from each place on, and the latest begin up to it.
        let mut ends = vec![(u64::MAX, 0); order.len() + 1];
        for (at, &index) in order.iter().enumerate().rev() {
            ends[at] = ends[at + 1].min((self.end(index), index));
        }
        let mut begins = vec![(0, 0); order.len() + 1];
        for (at, &index) in order.iter().enumerate() {
            begins[at + 1] = begins[at].max((self.begin(index), index));
        }
        for (number, (cluster, phase_begin)) in phases.iter().enumerate() {
            // What replaces the value is the first of the next phase, and finds it still held.
            let phase_end = phases.get(number + 1).map_or(order.len(), |(_, next)| next + 1);
            let from = if cluster.writer.is_none() { (0, usize::MAX) } else { ends[*phase_begin] };
            let to = begins[phase_end];
            for &differs in &cluster.differs {
                if from.0 <= self.begin(differs) && self.end(differs) <= to.0 {
                    let mut few = core.to_vec();
                    few.extend([to.1, differs]);
                    few.extend((from.1 != usize::MAX).then_some(from.1));
                    return Err(Stop::Conflict(few));
                }
            }
        }
        Ok(())
    }

    /// The order with everything that was refused put where the register holds something else; or what found no such
    /// place, and its value.
    fn with_differs(&self, order: &[usize]) -> Result<Vec<usize>, Vec<(usize, Value)>> {
        let mut refused: Vec<(usize, Value)> = Vec::new();
        for (value, cluster) in &self.clusters {
            refused.extend(cluster.differs.iter().map(|index| (*index, *value)));
        }
        refused.sort_by_key(|(index, _)| self.begin(*index));
        let gaps = Gaps::new(self, order);
        let mut put: Vec<Vec<usize>> = vec![Vec::new(); order.len() + 1];
        let mut unplaced = Vec::new();
        let mut least = 0;
        for (index, value) in refused {
            match gaps.find(least, self.begin(index), self.end(index), value) {
                Some(gap) => {
                    put[gap].push(index);
                    least = gap;
                }
                None => unplaced.push((index, value)),
            }
        }
        if !unplaced.is_empty() {
            return Err(unplaced);
        }
        let mut all = std::mem::take(&mut put[0]);
        for (at, index) in order.iter().enumerate() {
            all.push(*index);
            all.append(&mut put[at + 1]);
        }
        Ok(all)
    }
}

/// When the register holds which block.
struct Layout {
    /// Blocks that must be held for a time, in order.
    held: Vec<Block>,
    /// Blocks that need one moment, which that is, and whether it was chosen for a reason.
    moments: Vec<(Block, (u64, u8), bool)>,
}

impl Layout {
    fn new(blocks: Vec<Block>) -> Result<Self, Stop> {
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
    fn order(&self) -> Vec<usize> {
        let moments = self.moments.iter().map(|(block, moment, _)| (*moment, block));
        let held = self.held.iter().map(|block| ((block.first_end, 1), block));
        let mut placed: Vec<((u64, u8), &Block)> = moments.chain(held).collect();
        // Of blocks at one moment, any order will do.
        placed.sort_by_key(|(at, _)| *at);
        placed.into_iter().flat_map(|(_, block)| block.order.iter().copied()).collect()
    }

    /// Moves a block into the interval of everything that found no place; whether any was moved.
    fn make_room(&mut self, zones: &Zones<'_>, unplaced: &[(usize, Value)]) -> bool {
        let mut has_moved = false;
        for &(index, value) in unplaced {
            let (begin, end) = (zones.begin(index), zones.end(index));
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
struct Gaps {
    /// What the register holds in each gap.
    values: Vec<Value>,
    /// The next gap in which it holds something else.
    changes: Vec<usize>,
    /// When each gap can begin at the earliest, and end at the latest.
    begins: Vec<u64>,
    ends: Vec<u64>,
}

impl Gaps {
    fn new(zones: &Zones<'_>, order: &[usize]) -> Self {
        let mut values = vec![UNSET];
        let mut begins = vec![0];
        for &index in order {
            let value = match zones.operations[index].op {
                RegisterOp::Write(value) | RegisterOp::Swap(_, value) => value,
                _ => values[values.len() - 1],
            };
            values.push(value);
            begins.push(zones.begin(index).max(begins[begins.len() - 1]));
        }
        let mut ends = vec![u64::MAX; values.len()];
        let mut changes = vec![values.len(); values.len()];
        for at in (0..order.len()).rev() {
            ends[at] = zones.end(order[at]).min(ends[at + 1]);
            changes[at] = if values[at] == values[at + 1] { changes[at + 1] } else { at + 1 };
        }
        Self { values, changes, begins, ends }
    }

    /// The first gap from `least` on that is open within [begin, end] and holds something else than `value`.
    fn find(&self, least: usize, begin: u64, end: u64, value: Value) -> Option<usize> {
        let mut gap = least.max(self.ends.partition_point(|latest| *latest <= begin));
        if self.values.get(gap) == Some(&value) {
            gap = self.changes[gap];
        }
        (gap < self.values.len() && self.begins[gap] < end).then_some(gap)
    }
}

/// A conflict of more operations than this is left to the search, which tells it in fewer.
const CONFLICT_MAX: usize = 200;

/// How often blocks are moved for what was refused, and how many are looked at each time.
const ROUNDS_MAX: usize = 12;
const MOVABLE_MAX: usize = 2000;

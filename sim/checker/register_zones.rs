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
use super::operations::{Held, RegisterOp, UNSET};
use super::register_layout::{Block, Gaps, Layout, Stop};

/// What `operations` are, where that can be told.
pub fn quick(operations: &[Timed<RegisterOp>]) -> Quick {
    match Zones::read(operations).and_then(|zones| zones.order()) {
        Ok(order) => Quick::Order(order),
        Err(Stop::Conflict(few)) if few.len() <= CONFLICT_MAX => Quick::Conflict(few),
        Err(Stop::Conflict(_) | Stop::NotTold) => Quick::Unknown,
    }
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
    clusters: BTreeMap<Held, Cluster>,
}

impl<'a> Zones<'a> {
    fn read(operations: &'a [Timed<RegisterOp>]) -> Result<Self, Stop> {
        let mut zones = Self { operations, clusters: BTreeMap::new() };
        let mut writers: BTreeMap<Held, usize> = BTreeMap::new();
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
        let mut unwritten: Vec<Held> = zones.clusters.keys().copied().collect();
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

    fn cluster(&mut self, value: Held) -> &mut Cluster {
        self.clusters.entry(value).or_default()
    }

    /// The operations that lead to `value`, without those that only look.
    fn chain_to(&self, value: Held) -> Vec<usize> {
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
                    if !layout.make_room(self.operations, &unplaced) {
                        break;
                    }
                }
            }
        }
        Err(Stop::NotTold)
    }

    /// The block that begins with `value`.
    fn block(&self, value: Held) -> Result<Block, Stop> {
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
    fn with_differs(&self, order: &[usize]) -> Result<Vec<usize>, Vec<(usize, Held)>> {
        let mut refused: Vec<(usize, Held)> = Vec::new();
        for (value, cluster) in &self.clusters {
            refused.extend(cluster.differs.iter().map(|index| (*index, *value)));
        }
        refused.sort_by_key(|(index, _)| self.begin(*index));
        let gaps = Gaps::new(self.operations, order);
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

/// A conflict of more operations than this is left to the search, which tells it in fewer.
const CONFLICT_MAX: usize = 200;

/// How often blocks are moved for what was refused.
const ROUNDS_MAX: usize = 12;

//! ArchiveAgree: a chunk is the same on every disk, holds what was committed and nothing else, follows the one before it, and ends
//! where the log says. RetainedReadable (68): what is looked up is the entry that was committed there, and it is gone only when
//! the archive is long enough.

use std::collections::BTreeMap;

use chronon_core::engine::{At, DiskOp, FileId, Found, Sought, archived_bytes};
use chronon_core::node::{Effect, Input, Route};
use chronon_core::types::{Archiving, Blob, CommitIndex, Entry, GroupId, Hash, NodeId, Op};

use super::{Counts, Observed, Oracle, Violation};
use crate::archive::{self, Archived, Chunk};
use crate::time::WorldTime;

/// The oracle.
#[derive(Clone, Debug, Default)]
pub struct Archives {
    archiving: BTreeMap<GroupId, Option<Archiving>>,
    /// Each chunk, as whoever was first wrote it.
    chunks: BTreeMap<(GroupId, u64), Seen>,
    logs: BTreeMap<GroupId, Log>,
    /// What is being looked up, and how far the node had applied by then.
    looks: BTreeMap<(NodeId, Route), Look>,
    applied: BTreeMap<(NodeId, GroupId), u64>,
    written: u64,
    found: u64,
}

#[derive(Clone, Debug)]
struct Seen {
    file: Blob,
    hash: Hash,
    /// It ends with this op.
    last: u64,
}

/// What is known of a group's log.
#[derive(Clone, Debug, Default)]
struct Log {
    /// The highest commit that any replica knows.
    commit: u64,
    entries: BTreeMap<u64, (Hash, u64)>,
}

#[derive(Clone, Copy, Debug)]
struct Look {
    group: GroupId,
    sought: Sought,
    applied: u64,
}

impl Archives {
    /// A chunk is put on a disk.
    fn put(&mut self, (group, number): (GroupId, u64), file: &Blob) -> Result<(), String> {
        self.written += 1;
        if self.chunks.get(&(group, number)).is_some_and(|seen| seen.file == *file) {
            return Ok(());
        }
        // Where a payload was lost there are zeros, under the same name.
        let chunk = archive::read(file.as_slice())?;
        match self.chunks.get(&(group, number)) {
            Some(seen) if seen.hash != chunk.hash => {
                Err(format!("chunk {number} is not the same on every disk"))
            }
            Some(_) => Ok(()),
            None => {
                self.judge((group, number), &chunk)?;
                let last = chunk.entries.last().map_or(0, |entry| entry.op);
                self.chunks.insert((group, number), Seen { file: file.clone(), hash: chunk.hash, last });
                Ok(())
            }
        }
    }

    fn judge(&mut self, (group, number): (GroupId, u64), chunk: &Chunk) -> Result<(), String> {
        if (chunk.group, chunk.number) != (group, number) {
            return Err(format!("chunk {number} says that it is {} of group {}", chunk.number, chunk.group));
        }
        let limit =
            self.archiving.get(&group).copied().flatten().map_or(0, |init| u64::from(init.chunk_bytes));
        let bytes: u64 = chunk.entries.iter().map(|entry| entry.bytes).sum();
        let (Some(first), Some(last)) = (chunk.entries.first(), chunk.entries.last()) else {
            return Err(format!("chunk {number} is empty"));
        };
        if limit == 0 || bytes < limit || bytes - last.bytes >= limit {
            return Err(format!(
                "chunk {number} has {bytes} bytes of entries, the last {}: the limit is {limit}",
                last.bytes
            ));
        }
        for (earlier, hash) in &chunk.earlier {
            if self.chunks.get(&(group, *earlier)).is_some_and(|known| known.hash != *hash) {
                return Err(format!("chunk {number} names another chunk {earlier} than there is"));
            }
        }
        let numbers: Vec<u64> = chunk.earlier.iter().map(|(number, _)| *number).collect();
        let mut expected = Vec::new();
        let mut left = number - 1;
        while left > 0 {
            expected.push(left);
            left &= left - 1;
        }
        if numbers != expected {
            return Err(format!("chunk {number} names {numbers:?}, and should name {expected:?}"));
        }
        let below = number.checked_sub(1).and_then(|below| self.chunks.get(&(group, below)));
        let log = self.logs.entry(group).or_default();
        if let Some(below) = below {
            let known = log.entries.get(&below.last).map(|(hash, _)| *hash);
            if first.op != below.last + 1 || known.is_some_and(|known| known != chunk.parent) {
                return Err(format!(
                    "chunk {number} does not follow the one before, which ends with op {}",
                    below.last
                ));
            }
        }
        if last.op > log.commit {
            return Err(format!(
                "chunk {number} goes to op {}, and no more than {} is committed",
                last.op, log.commit
            ));
        }
        chunk.entries.iter().try_for_each(|entry| log.note(*entry))
    }

    fn found(&mut self, node: NodeId, route: Route, found: &Found) -> Result<(), (GroupId, String)> {
        let Some(Look { group, sought, applied }) = self.looks.remove(&(node, route)) else { return Ok(()) };
        let at = sought.at;
        let log = self.logs.entry(group).or_default();
        self.found += 1;
        let judged = match found {
            Found::Entries(entries) => log.given_out(group, sought, entries),
            Found::Later => match log.op_at(at) {
                Some(op) if op <= applied => Err(format!(
                    "{at} was looked up, it is op {op}, {applied} were applied, and it is said to come later"
                )),
                _ => Ok(()),
            },
            Found::Gone => {
                let archiving = self.archiving.get(&group).copied().flatten();
                let op = log.op_at(at);
                match (archiving, op) {
                    (Some(Archiving { chunks_max, .. }), Some(op)) if op > 0 => {
                        let of_group = self.chunks.range((group, 0)..=(group, u64::MAX));
                        let newest = of_group.clone().next_back().map_or(0, |((_, number), _)| *number);
                        let holder = of_group.clone().find(|(_, seen)| seen.last >= op);
                        let kept =
                            holder.is_none_or(|((_, number), _)| number + u64::from(chunks_max) > newest);
                        if kept {
                            Err(format!(
                                "{at} was looked up, it is op {op}, and it is said to be gone: {newest} chunks were sealed, {chunks_max} are to be kept"
                            ))
                        } else {
                            Ok(())
                        }
                    }
                    _ => Ok(()),
                }
            }
            Found::Unreadable | Found::Refused => Ok(()),
        };
        judged.map_err(|what| (group, what))
    }
}

impl Log {
    fn note(&mut self, entry: Archived) -> Result<(), String> {
        let Archived { op, hash, time, .. } = entry;
        let known = *self.entries.entry(op).or_insert((hash, time));
        if known == (hash, time) { Ok(()) } else { Err(format!("two entries are given out for op {op}")) }
    }

    /// What is given out begins with the entry that was sought, and goes on as the log does and as far as there was room.
    fn given_out(&mut self, group: GroupId, sought: Sought, entries: &[Entry]) -> Result<(), String> {
        let Sought { at, room } = sought;
        let Some(first) = entries.first() else {
            return Err(format!("{at} was looked up, and nothing was found"));
        };
        let (op, time) = (first.op().get(), first.header().timestamp().as_nanos());
        let is_the_one = match at {
            At::Op(op) => op == first.op(),
            At::Time(at) => {
                let below = self.entries.get(&(op - 1));
                time >= at.as_nanos() && below.is_none_or(|(_, time)| *time < at.as_nanos())
            }
        };
        if !is_the_one {
            return Err(format!("{at} was looked up, and op {op} of time {time} was found"));
        }
        let behind: u64 = entries.iter().skip(1).map(|entry| archived_bytes(entry.header())).sum();
        if behind > u64::from(room) {
            return Err(format!("{at} was looked up with room for {room} bytes, and {behind} came along"));
        }
        for (entry, op) in entries.iter().zip(op..) {
            let header = entry.header();
            if Hash::of(entry.payload()) != header.payload_hash() {
                return Err(format!(
                    "{at} was looked up, and what was found under op {op} is not what was committed"
                ));
            }
            if header.group() != group || header.op().get() != op || op > self.commit {
                return Err(format!("{at} was looked up, and {} came along as op {op}", header.op()));
            }
            let (hash, time) = (entry.hash(), header.timestamp().as_nanos());
            self.note(Archived { op, hash, time, bytes: 0 })?;
        }
        Ok(())
    }

    /// The op that `at` asks for, as far as that is known.
    fn op_at(&self, at: At) -> Option<u64> {
        match at {
            At::Op(op) => Some(op.get()),
            At::Time(at) => {
                // The first one known is the first one there is where the one below is known to be earlier.
                let (op, _) = self.entries.iter().find(|(_, (_, time))| *time >= at.as_nanos())?;
                (*op == 1 || self.entries.contains_key(&(op - 1))).then_some(*op)
            }
        }
    }
}

impl Oracle for Archives {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, broken: &mut Vec<Violation>) {
        match seen {
            Observed::Begin { groups, .. } => {
                self.archiving = groups.iter().map(|init| (init.group, init.archive)).collect();
            }
            Observed::Start { node, .. } => {
                self.looks.retain(|(other, _), _| other != node);
                self.applied.retain(|(other, _), _| other != node);
            }
            Observed::Input { node, input: Input::LookUp { route, group, sought }, .. } => {
                let applied = self.applied.get(&(*node, *group)).copied().unwrap_or_default();
                self.looks.insert((*node, *route), Look { group: *group, sought: *sought, applied });
            }
            Observed::Step { node, effects, changed, .. } => {
                for status in *changed {
                    self.applied.insert((*node, status.group), status.applied.get());
                    let log = self.logs.entry(status.group).or_default();
                    if let CommitIndex::At(commit) = status.commit {
                        log.commit = log.commit.max(Op::get(commit));
                    }
                }
                for effect in *effects {
                    let Effect::Found { route, found } = effect else { continue };
                    if let Err((group, what)) = self.found(*node, *route, found) {
                        broken.push(Violation::new("RetainedReadable", what).at(*node).of(group));
                    }
                }
            }
            Observed::DiskSubmitted {
                node,
                op: DiskOp::Put { file: FileId::Archive { group, number }, data, .. },
            } => {
                if let Err(what) = self.put((*group, *number), data) {
                    broken.push(Violation::new("ArchiveAgree", what).at(*node).of(*group));
                }
            }
            _ => {}
        }
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["ArchiveAgree", "RetainedReadable"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("ArchiveAgree", self.written);
        counts.add("RetainedReadable", self.found);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

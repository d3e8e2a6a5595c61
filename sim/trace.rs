//! The trace of a run: a running blake3 over the raw fields of everything that happens, and lines for people.
//!
//! What happens is hashed by whom it happens to: each node, each client, the world as a whole. The hash of the trace is
//! the hash of these. So it can be seen that what does not concern a node leaves it as it was.
//!
//! Hashing is always on; a line is formatted only when somebody asked for it. Two runs of one seed must have the same
//! hash, in debug and in release, so nothing that depends on addresses or on the machine may enter it.

use std::fmt::{Display, Write};
use std::ops::Range;

use chronon_core::engine::{At, DiskOp, DiskOutcome, Found, Sought};
use chronon_core::kernel::{Attempt, AttemptDone, AttemptResult};
use chronon_core::node::{
    About, Answer, Deed, Effect, Input, Message, Order, QueryAnswer, Wish, Work, WorkAnswer,
};
use chronon_core::types::{Hash, NodeId};

use crate::disk::without_zeros;
use crate::net::Subject;
use crate::time::WorldTime;

/// To whom things happen.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Entity {
    /// To the world as a whole: faults begin, the world heals, the run ends.
    World,
    /// To a node.
    Node(NodeId),
    /// To a client, counted from 1.
    Client(u32),
}

/// A running hash an entity, and the lines since they were last taken.
#[derive(Clone, Debug)]
pub struct Trace {
    /// Ascending.
    entities: Vec<Entity>,
    /// In the same order.
    parts: Vec<Part>,
    nodes: usize,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace of these nodes and clients (both ascending) that hashes, and keeps lines if asked.
    pub fn new(nodes: &[NodeId], clients: &[u32], lines: bool) -> Self {
        let mut entities = vec![Entity::World];
        entities.extend(nodes.iter().copied().map(Entity::Node));
        entities.extend(clients.iter().copied().map(Entity::Client));
        let parts = vec![Part::default(); entities.len()];
        Self { entities, parts, nodes: nodes.len(), lines: lines.then(Vec::new) }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        for part in &self.parts {
            hasher.update(part.hash().as_bytes());
        }
        Hash::from_bytes(*hasher.finalize().as_bytes())
    }

    /// The hash of everything so far, by entity.
    pub fn parts(&self) -> Vec<(Entity, Hash)> {
        self.entities.iter().copied().zip(self.parts.iter().map(Part::hash)).collect()
    }

    /// Takes the lines since the last call; always none when nobody asked for lines.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The node at `place` among the nodes takes an input.
    pub fn input(&mut self, at: WorldTime, place: usize, input: &Input) {
        let part = &mut self.parts[FIRST_NODE + place];
        part.begin(STEP, at);
        part.input(input);
        if let (Some(lines), Entity::Node(node)) = (&mut self.lines, self.entities[FIRST_NODE + place]) {
            lines.push(format!("{at} node {node} <- {input}"));
        }
    }

    /// What came of it.
    pub fn effects(&mut self, place: usize, effects: &[Effect]) {
        let part = &mut self.parts[FIRST_NODE + place];
        effects.iter().for_each(|effect| part.effect(effect));
        part.trim();
        if let Some(line) = self.lines.as_mut().and_then(|lines| lines.last_mut()) {
            for effect in effects {
                let _ = write!(line, "\n{:>20} -> {effect}", "");
            }
        }
    }

    /// Something else happened to `whom`, told by two numbers and, for people, by `line`.
    pub fn note(
        &mut self,
        at: WorldTime,
        whom: Entity,
        what: &'static str,
        numbers: [u64; 2],
        line: impl Display,
    ) {
        let part = self.part(whom);
        part.begin(NOTE | (what.len() as u64) << TAG_BITS, at);
        part.words([0, numbers[0], numbers[1]]);
        part.buffer.extend_from_slice(what.as_bytes());
        part.trim();
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{at} {what} {line}"));
        }
    }

    fn part(&mut self, whom: Entity) -> &mut Part {
        let among = match whom {
            Entity::World => 0..1,
            Entity::Node(_) => FIRST_NODE..FIRST_NODE + self.nodes,
            Entity::Client(_) => FIRST_NODE + self.nodes..self.entities.len(),
        };
        // A handful: looking at each is quicker than halving.
        let place = self.entities[among.clone()].iter().position(|entity| *entity == whom);
        let place = place.unwrap_or_else(|| panic!("{whom:?} is not in this trace"));
        &mut self.parts[among.start + place]
    }
}

/// The running hash of one entity.
#[derive(Clone, Debug, Default)]
struct Part {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    /// When something happened last.
    last: WorldTime,
}

impl Part {
    fn hash(&self) -> Hash {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.buffer);
        Hash::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Something happens at `at`, told by the time since the last one.
    fn begin(&mut self, tag: u64, at: WorldTime) {
        self.words([tag, at.since(self.last)]);
        self.last = at;
    }

    fn input(&mut self, input: &Input) {
        match input {
            Input::Timeout => self.words([1]),
            Input::Message { from, message } => self.message(2, from.get(), message),
            Input::Disk(done) => {
                let outcome = match &done.outcome {
                    DiskOutcome::Done => 1,
                    // The bytes follow from what was written and from what crashes kept, which is in the trace.
                    DiskOutcome::Read(data) => 2 | (data.as_slice().len() as u64) << 3,
                    DiskOutcome::Missing => 3,
                    DiskOutcome::Full => 4,
                    DiskOutcome::Failed => 5,
                };
                self.words([3 | outcome << TAG_BITS, done.id.0]);
            }
            Input::Client { route, request } => self.subject(4, route.0, Subject::of_request(request)),
            Input::Query { route, query } => {
                let about = match query.about {
                    About::State => 0,
                    About::Dead => 1,
                };
                let (group, body) = (u64::from(query.group.get()), bytes_word(query.body.as_slice()));
                self.words([17 | about << TAG_BITS, route.0, group, body]);
            }
            Input::SideEffectDone { group, done } => {
                let AttemptDone { place, number, token, result } = done;
                let (kind, told) = word_of(result);
                let which = u64::from(place.index) << 32 | u64::from(*number);
                let (group, told) = (u64::from(group.get()), bytes_word(told));
                self.words([19 | kind << TAG_BITS, group, place.op.get(), which, token.0, told]);
            }
            Input::Order { route, order: Order { group, deed } } => {
                let (kind, of) = match deed {
                    Deed::Skip(place) => (0, [place.op.get(), u64::from(place.index)]),
                    Deed::Activate(schema) => (1, [u64::from(schema.0), 0]),
                    Deed::Change(change) => (2, [bytes_word(change.to_string().as_bytes()), 0]),
                    Deed::Redrive(id) => (3, [bytes_word(id.0.as_bytes()), 0]),
                    Deed::Discard(id) => (4, [bytes_word(id.0.as_bytes()), 0]),
                    Deed::Lead(node) => (5, [node.get(), 0]),
                };
                self.words([21 | kind << TAG_BITS, route.0, u64::from(group.get()), of[0], of[1]]);
            }
            Input::Work { route, work: Work { group, wish, .. } } => {
                let (kind, of) = match wish {
                    Wish::Claim { queue, most, lease } => {
                        (0, [bytes_word(queue.as_bytes()), u64::from(*most), lease.as_nanos()])
                    }
                    Wish::Renew { held, lease } => {
                        (1, [held.place.op.get(), u64::from(held.place.index), lease.as_nanos()])
                    }
                    Wish::End { held, result } => {
                        let (kind, told) = word_of(result);
                        (2 + kind, [held.place.op.get(), u64::from(held.place.index), bytes_word(told)])
                    }
                };
                self.words([23 | kind << TAG_BITS, route.0, u64::from(group.get()), of[0], of[1], of[2]]);
            }
            Input::LookUp { route, group, sought: Sought { at, room } } => {
                let (kind, at) = match at {
                    At::Op(op) => (0, op.get()),
                    At::Time(time) => (1, time.as_nanos()),
                };
                self.words([14 | kind << TAG_BITS, route.0, u64::from(group.get()), at, u64::from(*room)]);
            }
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Send { to, message } => self.message(5, to.get(), message),
            Effect::Disk(op) => self.disk_op(op),
            Effect::Reply { route, reply } => {
                self.subject(7, route.0, Subject::of_reply(reply));
                self.answer(&reply.answer);
            }
            Effect::Answer { route, answer, .. } => {
                let (kind, op, body) = match answer {
                    QueryAnswer::State { op, body } => (0, op.get(), bytes_word(body.as_slice())),
                    QueryAnswer::Busy => (1, 0, 0),
                    QueryAnswer::UnknownGroup => (2, 0, 0),
                    QueryAnswer::Malformed => (3, 0, 0),
                    QueryAnswer::TooLong { max } => (4, u64::from(*max), 0),
                    QueryAnswer::Panicked { what } => (6, bytes_word(what.as_bytes()), 0),
                    QueryAnswer::Halted(halt) => (5, halt.place.op.get(), u64::from(halt.place.index)),
                };
                self.words([18 | kind << TAG_BITS, route.0, op, body]);
            }
            Effect::Execute { group, attempt } => {
                let Attempt { place, number, token, .. } = attempt;
                let which = u64::from(place.index) << 32 | u64::from(*number);
                self.words([20, u64::from(group.get()), place.op.get(), which, token.0]);
            }
            Effect::Worked { route, answer, .. } => {
                let (kind, of) = match answer {
                    WorkAnswer::Granted(attempts) => {
                        let places = attempts.iter().map(|attempt| attempt.place.op.get());
                        (0, [attempts.len() as u64, places.sum()])
                    }
                    WorkAnswer::Renewed => (1, [0, 0]),
                    WorkAnswer::Recorded => (2, [0, 0]),
                    WorkAnswer::Unknown => (3, [0, 0]),
                    WorkAnswer::Stale { why } => (4, [bytes_word(why.as_bytes()), 0]),
                    WorkAnswer::NotPrimary { view, primary } => (5, [view.get(), primary.get()]),
                    WorkAnswer::Busy => (6, [0, 0]),
                    WorkAnswer::UnknownGroup => (7, [0, 0]),
                    WorkAnswer::Halted(halt) => (8, [halt.place.op.get(), u64::from(halt.place.index)]),
                };
                self.words([24 | kind << TAG_BITS, route.0, of[0], of[1]]);
            }
            Effect::Found { route, found } => {
                let (kind, [first, count]) = match found {
                    Found::Entries(entries) => {
                        let first = entries.first().map_or(0, |entry| entry.op().get());
                        (0, [first, entries.len() as u64])
                    }
                    Found::Later => (1, [0; 2]),
                    Found::Gone => (2, [0; 2]),
                    Found::Unreadable => (3, [0; 2]),
                    Found::Refused => (4, [0; 2]),
                };
                self.words([15 | kind << TAG_BITS, route.0, first, count]);
            }
            Effect::Meet { node, address } => {
                self.words([22, node.get(), bytes_word(address.as_bytes())]);
            }
            Effect::Halt(reason) => self.words([8, bytes_word(reason.to_string().as_bytes())]),
        }
    }

    /// A message by what it is about. Its contents differ only if something else did before: entries go by a hash that
    /// both sides computed, and the disks' bytes are in the trace.
    fn message(&mut self, tag: u64, peer: u64, message: &Message) {
        self.subject(tag, peer, Subject::of_message(message));
    }

    fn answer(&mut self, answer: &Answer) {
        match answer {
            Answer::Committed { op, outcome } => {
                use chronon_core::kernel::Outcome;
                let outcome = match outcome {
                    Outcome::Registered { session } => session.get(),
                    Outcome::Done(body) => bytes_word(body.as_slice()) << 1,
                    Outcome::Refused(body) => bytes_word(body.as_slice()) << 1 | 1,
                    Outcome::Evicted => u64::MAX,
                    Outcome::OutOfOrder { expected } => expected.get() << 33,
                    Outcome::Skipped => u64::MAX - 1,
                };
                self.words([1, op.get(), outcome]);
            }
            Answer::NotPrimary { view, primary } => self.words([2, view.get(), primary.get()]),
            Answer::Busy => self.words([3]),
            Answer::Full => self.words([6]),
            Answer::UnknownGroup => self.words([4]),
            Answer::TooLong { max } => self.words([5, u64::from(*max)]),
            Answer::Halted(halt) => self.words([7, halt.place.op.get(), u64::from(halt.place.index)]),
            Answer::Declined { why } => self.words([8, bytes_word(why.as_bytes())]),
            Answer::NotYet { why } => self.words([9, bytes_word(why.as_bytes())]),
        }
    }

    fn disk_op(&mut self, op: &DiskOp) {
        use chronon_core::engine::FileId;
        let place = |file: &FileId| match file {
            FileId::Manifest => 0,
            FileId::Segment(slot) => (u64::from(*slot) << 2 | 1) << TAG_BITS,
            FileId::Snapshot(slot) => (u64::from(*slot) << 2 | 2) << TAG_BITS,
            FileId::Reserve => 3 << TAG_BITS,
            FileId::Archive { group, number } => (u64::from(group.get()) << 32 ^ number << 3 | 4) << TAG_BITS,
        };
        match op {
            DiskOp::Allocate { id, file, bytes } => self.words([9 | place(file), id.0, *bytes]),
            DiskOp::Put { id, file, data } => {
                let data = data.as_slice();
                self.words([16 | place(file), id.0, data.len() as u64, bytes_word(without_zeros(data))]);
            }
            DiskOp::Write { id, file, offset, data } => {
                self.written([place(file), id.0, *offset], data.as_slice());
            }
            DiskOp::Barrier { id } => self.words([11, id.0]),
            DiskOp::Read { id, file, offset, bytes } => {
                self.words([12 | place(file), id.0, *offset, u64::from(*bytes)]);
            }
        }
    }

    /// What is written where: a flush by the hash that it carries, and an oracle sees to it that it is the right one.
    fn written(&mut self, [place, id, offset]: [u64; 3], data: &[u8]) {
        let length = data.len() as u64;
        match data.get(FLUSH_HASH).filter(|_| data.starts_with(FLUSH_MAGIC)) {
            Some(hash) => {
                self.words([10 | place, id, offset, length]);
                self.buffer.extend_from_slice(hash);
            }
            None => self.words([13 | place, id, offset, length, bytes_word(without_zeros(data))]),
        }
    }

    fn subject(&mut self, tag: u64, peer: u64, subject: Subject) {
        let Subject { kind, group, view, op, bytes } = subject;
        let first = tag | (kind as u64) << TAG_BITS | u64::from(group) << (2 * TAG_BITS);
        self.words([first, peer, view, op, bytes]);
    }

    /// Words of which the first holds a tag. Small ones, which most are, take half the room.
    fn words<const N: usize>(&mut self, mut words: [u64; N]) {
        if words.iter().fold(0, |all, word| all | word) >> u32::BITS == 0 {
            self.buffer.extend_from_slice(words.map(|word| (word as u32).to_le_bytes()).as_flattened());
        } else {
            words[0] |= LONG;
            self.buffer.extend_from_slice(words.map(u64::to_le_bytes).as_flattened());
        }
    }

    fn trim(&mut self) {
        if self.buffer.len() >= BUFFER_BYTES {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }
}

/// How an attempt ended, as a number, and what was said.
fn word_of(result: &AttemptResult) -> (u64, &[u8]) {
    match result {
        AttemptResult::Done(answer) => (0, answer.as_slice()),
        AttemptResult::Failed { why, .. } => (1, why.as_slice()),
        AttemptResult::Refused(why) => (2, why.as_slice()),
    }
}

/// A checksum and the length of `bytes` in one word.
fn bytes_word(bytes: &[u8]) -> u64 {
    (bytes.len() as u64) << 32 | u64::from(crc32c::crc32c(bytes))
}

/// Hashing goes by pieces of this many bytes: blake3 is several times faster on long inputs.
const BUFFER_BYTES: usize = 16 << 10;
/// The first word of whatever is hashed says in its low bits what it is.
const TAG_BITS: u32 = 8;
/// No tag has this bit: it says that the words are not small.
const LONG: u64 = 0x80;
/// The world as a whole comes before the nodes.
const FIRST_NODE: usize = 1;
const STEP: u64 = 0x53;
const NOTE: u64 = 0x4e;
const FLUSH_MAGIC: &[u8] = b"CHRNFLSH";
/// Where a flush has its hash, which is of all that it means.
const FLUSH_HASH: Range<usize> = 16..48;

#[cfg(test)]
mod tests {
    use chronon_core::engine::{DiskOp, DiskOpId};
    use chronon_core::node::{Effect, Input};

    use chronon_core::types::NodeId;

    use super::{Entity, Trace};
    use crate::time::WorldTime;

    const NODES: [NodeId; 2] = [NodeId::new(1), NodeId::new(2)];

    const BARRIER: Effect = Effect::Disk(DiskOp::Barrier { id: DiskOpId(7) });

    #[test]
    fn whatever_differs_changes_the_hash() {
        let of = |at, place, effects: &[Effect]| {
            let mut trace = Trace::new(&NODES, &[1], false);
            trace.input(WorldTime::from_nanos(at), place, &Input::Timeout);
            trace.effects(place, effects);
            trace.hash()
        };
        let hashes = [of(1, 0, &[]), of(2, 0, &[]), of(1 << 40, 0, &[]), of(1, 1, &[]), of(1, 0, &[BARRIER])];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash), "trace {index} hashes like another one");
        }
    }

    #[test]
    fn what_happens_to_one_leaves_the_others_as_they_were() {
        let mut trace = Trace::new(&NODES, &[1], false);
        let before = trace.parts();
        trace.input(WorldTime::from_nanos(5), 1, &Input::Timeout);
        let changed: Vec<Entity> = before
            .iter()
            .zip(trace.parts())
            .filter(|((_, was), (_, is))| was != is)
            .map(|((entity, _), _)| *entity)
            .collect();
        assert_eq!(changed, [Entity::Node(NODES[1])]);
    }

    #[test]
    fn lines_are_kept_only_when_asked_for_and_do_not_touch_the_hash() {
        let (mut silent, mut telling) = (Trace::new(&NODES, &[1], false), Trace::new(&NODES, &[1], true));
        for trace in [&mut silent, &mut telling] {
            trace.input(WorldTime::from_nanos(5), 1, &Input::Timeout);
            trace.effects(1, &[BARRIER]);
            trace.note(WorldTime::from_nanos(6), Entity::Node(NODES[1]), "crash", [2, 1], "node 2");
        }
        assert_eq!(silent.hash(), telling.hash());
        assert!(silent.take_lines().is_empty());
        let lines = telling.take_lines();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("node 2 <- timeout") && lines[0].contains("barrier"), "{}", lines[0]);
        assert!(lines[1].ends_with("crash node 2"), "{}", lines[1]);
    }
}

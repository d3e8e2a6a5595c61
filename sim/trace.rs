//! The trace of a run: a running blake3 over the raw fields of everything that happens, and lines for people.
//!
//! Hashing is always on; a line is formatted only when somebody asked for it. Two runs of one seed must have the same
//! hash, in debug and in release, so nothing that depends on addresses or on the machine may enter it.

use std::fmt::{Display, Write};

use chronon_core::engine::{DiskOp, DiskOutcome};
use chronon_core::node::{Answer, Effect, Input, Message};
use chronon_core::types::Hash;

use crate::net::Subject;
use crate::time::WorldTime;

/// A running hash, and the lines since they were last taken.
#[derive(Clone, Debug)]
pub struct Trace {
    hasher: blake3::Hasher,
    buffer: Vec<u8>,
    lines: Option<Vec<String>>,
}

impl Trace {
    /// A trace that hashes, and keeps lines if asked.
    pub fn new(lines: bool) -> Self {
        Self {
            hasher: blake3::Hasher::new(),
            buffer: Vec::with_capacity(2 * BUFFER_BYTES),
            lines: lines.then(Vec::new),
        }
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> Hash {
        let mut hasher = self.hasher.clone();
        hasher.update(&self.buffer);
        Hash::from_bytes(*hasher.finalize().as_bytes())
    }

    /// Takes the lines since the last call; always none when nobody asked for lines.
    pub fn take_lines(&mut self) -> Vec<String> {
        self.lines.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// A node took an input.
    pub fn step(&mut self, at: WorldTime, node: u64, input: &Input, effects: &[Effect]) {
        self.words(&[STEP, at.as_nanos(), node, effects.len() as u64]);
        self.input(input);
        for effect in effects {
            self.effect(effect);
        }
        self.trim();
        if let Some(lines) = &mut self.lines {
            let mut line = format!("{at} node {node} <- {input}");
            for effect in effects {
                let _ = write!(line, "\n{:>20} -> {effect}", "");
            }
            lines.push(line);
        }
    }

    /// Something else happened, told by two numbers and, for people, by `line`.
    pub fn note(&mut self, at: WorldTime, what: &'static str, numbers: [u64; 2], line: impl Display) {
        self.words(&[NOTE, at.as_nanos(), numbers[0], numbers[1]]);
        self.buffer.extend_from_slice(what.as_bytes());
        self.trim();
        if let Some(lines) = &mut self.lines {
            lines.push(format!("{at} {what} {line}"));
        }
    }

    fn input(&mut self, input: &Input) {
        match input {
            Input::Timeout => self.words(&[1]),
            Input::Message { from, message } => {
                self.words(&[2, from.get()]);
                self.message(message);
            }
            Input::Disk(done) => {
                self.words(&[3, done.id.0]);
                match &done.outcome {
                    DiskOutcome::Done => self.words(&[1]),
                    // The bytes follow from what was written and from what crashes kept, which is in the trace.
                    DiskOutcome::Read(data) => self.words(&[2, data.as_slice().len() as u64]),
                    DiskOutcome::Missing => self.words(&[3]),
                    DiskOutcome::Full => self.words(&[4]),
                    DiskOutcome::Failed => self.words(&[5]),
                }
            }
            Input::Client { route, request } => {
                self.words(&[4, route.0]);
                self.subject(Subject::of_request(request));
            }
        }
    }

    fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Send { to, message } => {
                self.words(&[5, to.get()]);
                self.message(message);
            }
            Effect::Disk(op) => self.disk_op(op),
            Effect::Reply { route, reply } => {
                self.words(&[7, route.0]);
                self.subject(Subject::of_reply(reply));
                self.answer(&reply.answer);
            }
            Effect::Halt(reason) => self.words(&[8, bytes_word(reason.to_string().as_bytes())]),
        }
    }

    /// A message by what it is about. Its contents differ only if something else did before: entries go by a hash that
    /// both sides computed, and the disks' bytes are in the trace.
    fn message(&mut self, message: &Message) {
        self.subject(Subject::of_message(message));
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
                };
                self.words(&[1, op.get(), outcome]);
            }
            Answer::NotPrimary { view, primary } => self.words(&[2, view.get(), primary.get()]),
            Answer::Busy => self.words(&[3]),
            Answer::UnknownGroup => self.words(&[4]),
            Answer::TooLong { max } => self.words(&[5, u64::from(*max)]),
        }
    }

    fn disk_op(&mut self, op: &DiskOp) {
        use chronon_core::engine::FileId;
        let place = |file: &FileId| match file {
            FileId::Manifest => 0,
            FileId::Segment(slot) => 1 << 32 | u64::from(*slot),
            FileId::Snapshot(slot) => 2 << 32 | u64::from(*slot),
        };
        match op {
            DiskOp::Allocate { id, file, bytes } => self.words(&[9, id.0, place(file), *bytes]),
            DiskOp::Write { id, file, offset, data } => {
                self.words(&[10, id.0, place(file), *offset, bytes_word(data.as_slice())]);
            }
            DiskOp::Barrier { id } => self.words(&[11, id.0]),
            DiskOp::Read { id, file, offset, bytes } => {
                self.words(&[12, id.0, place(file), *offset, u64::from(*bytes)]);
            }
        }
    }

    fn subject(&mut self, subject: Subject) {
        let Subject { kind, group, view, op, bytes } = subject;
        self.words(&[kind as u64 | u64::from(group) << 8, view, op, bytes]);
    }

    fn words(&mut self, words: &[u64]) {
        for word in words {
            self.buffer.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn trim(&mut self) {
        if self.buffer.len() >= BUFFER_BYTES {
            self.hasher.update(&self.buffer);
            self.buffer.clear();
        }
    }
}

/// A checksum and the length of `bytes` in one word.
fn bytes_word(bytes: &[u8]) -> u64 {
    (bytes.len() as u64) << 32 | u64::from(crc32c::crc32c(bytes))
}

/// Hashing goes by pieces of this many bytes: blake3 is several times faster on long inputs.
const BUFFER_BYTES: usize = 16 << 10;
const STEP: u64 = 0x5354_4550;
const NOTE: u64 = 0x4e4f_5445;

#[cfg(test)]
mod tests {
    use chronon_core::engine::{DiskOp, DiskOpId};
    use chronon_core::node::{Effect, Input};

    use super::Trace;
    use crate::time::WorldTime;

    const BARRIER: Effect = Effect::Disk(DiskOp::Barrier { id: DiskOpId(7) });

    #[test]
    fn whatever_differs_changes_the_hash() {
        let of = |at, node, effects: &[Effect]| {
            let mut trace = Trace::new(false);
            trace.step(WorldTime::from_nanos(at), node, &Input::Timeout, effects);
            trace.hash()
        };
        let hashes = [of(1, 1, &[]), of(2, 1, &[]), of(1, 2, &[]), of(1, 1, &[BARRIER])];
        for (index, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..index].contains(hash), "trace {index} hashes like another one");
        }
    }

    #[test]
    fn lines_are_kept_only_when_asked_for_and_do_not_touch_the_hash() {
        let (mut silent, mut telling) = (Trace::new(false), Trace::new(true));
        for trace in [&mut silent, &mut telling] {
            trace.step(WorldTime::from_nanos(5), 3, &Input::Timeout, &[BARRIER]);
            trace.note(WorldTime::from_nanos(6), "crash", [3, 1], "node 3");
        }
        assert_eq!(silent.hash(), telling.hash());
        assert!(silent.take_lines().is_empty());
        let lines = telling.take_lines();
        assert_eq!(lines.len(), 2);
        assert!(lines[0].contains("node 3 <- timeout") && lines[0].contains("barrier"), "{}", lines[0]);
        assert!(lines[1].ends_with("crash node 3"), "{}", lines[1]);
    }
}

//! Archives: chunks as files, what is believed of them, finding entries in them, and their way from one disk to another.

use super::*;
use crate::engine::archive::{Sealed, archive_file, open};
use crate::types::{Archiving, usize_of};

const CHUNK_BYTES: u32 = 1 << 10;

/// A disk of a group that archives, and keeps so many chunks.
fn archiving(chunks_max: u32) -> PerfectDisk {
    let mut identity = identity();
    identity.groups[0].archive = Some(Archiving { chunk_bytes: CHUNK_BYTES, chunks_max });
    let mut disk = PerfectDisk::default();
    for op in format(&identity).expect("the identity is right") {
        disk.run(op);
    }
    disk
}

fn bench(disk: PerfectDisk) -> Bench {
    Bench::open(disk).expect("it opens").0
}

/// A log of so many entries, ten units of time apart, of lengths that differ.
fn log(count: u64) -> Vec<Entry> {
    let mut parent = identity().groups[0].genesis();
    let entry = |op: u64| {
        let bytes = usize_of(op % 7 * 60);
        let payload: Bytes = (0..bytes).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
        let time = Timestamp::from_nanos(op * 10);
        let entry = Entry::next(&parent, EntryKind::Commands, View::new(1), time, payload);
        parent = *entry.header();
        entry
    };
    (1..=count).map(entry).collect()
}

/// What of a log goes to a chunk, one after the other.
fn chunks(log: &[Entry]) -> Vec<Vec<Sealed>> {
    let (mut chunks, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
    for entry in log {
        chunk.push((*entry.header(), Some(entry.payload().clone())));
        bytes += archived_bytes(entry.header());
        if bytes >= u64::from(CHUNK_BYTES) {
            chunks.push(core::mem::take(&mut chunk));
            bytes = 0;
        }
    }
    chunks
}

impl Bench {
    fn act<T>(&mut self, act: impl FnOnce(&mut Engine, &mut DiskOut<'_, NoMarks>) -> T) -> T {
        let mut ops = Vec::new();
        let result = act(&mut self.engine, &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
        self.drain(ops).expect("the disk is perfect");
        result
    }

    /// Seals what can be sealed of these; what is known of the chunks before is read where it must be.
    fn seal(&mut self, chunks: &[Vec<Sealed>]) {
        for chunk in chunks {
            if !self.act(|engine, out| engine.archive_ready(GROUP, out)) {
                assert!(self.act(|engine, out| engine.archive_ready(GROUP, out)), "the head was read");
            }
            self.act(|engine, out| engine.seal_chunk(GROUP, chunk, out));
        }
    }

    fn look_up(&mut self, at: At) -> Found {
        assert!(self.engine.archive_reaches(GROUP, at), "{at} is archived");
        assert!(self.act(|engine, out| engine.look_up(1, GROUP, at.into(), out)));
        self.found.pop().expect("a perfect disk answers at once")
    }

    /// A whole chunk, as a peer would get it.
    fn file(&mut self, number: u64) -> Bytes {
        let length = self.disk.0[&archive_file(GROUP, number)].len();
        let mut file = Vec::new();
        for offset in (0..length).step_by(BLOCK_BYTES) {
            let piece = (number, u64_of(offset), 4096);
            self.act(|engine, out| engine.read_piece(NodeId::new(2), GROUP, piece, out));
            let piece = self.pieces.pop().expect("it is there");
            assert_eq!((piece.number, piece.offset), (number, u64_of(offset)));
            file.extend_from_slice(piece.bytes.as_slice());
        }
        assert_eq!(Engine::chunk_length(GROUP, number, &file), Some(u64_of(length)));
        Bytes::from(file)
    }

    fn take_file(&mut self, file: &Bytes, skips: bool) -> bool {
        self.act(|engine, out| engine.take_chunk_file(GROUP, file, skips, out))
    }

    fn rotten(&self) -> Option<(GroupId, u64)> {
        self.engine.rotten_chunk_behind((GROUP, 0))
    }

    /// A bit of a chunk is another one on the disk.
    fn rot_chunk(&mut self, number: u64, at: usize) {
        self.disk.0.get_mut(&archive_file(GROUP, number)).expect("it is there")[at] ^= 1;
    }
}

#[test]
fn every_entry_is_found_by_op_and_by_time_also_after_a_start() {
    let log = log(200);
    let chunks = chunks(&log);
    assert!(chunks.len() > 40, "{} chunks", chunks.len());
    let mut bench = bench(archiving(1000));
    let (before, after) = chunks.split_at(23);
    bench.seal(before);
    bench = self::bench(bench.disk);
    bench.seal(after);
    let archived = bench.engine.archived(GROUP);
    assert_eq!(Some(archived), chunks.last().and_then(|chunk| chunk.last()).map(|(header, _)| header.op()));
    for entry in log.iter().take_while(|entry| entry.op() <= archived) {
        let op = entry.op();
        assert_eq!(bench.look_up(At::Op(op)), Found::Entries(vec![entry.clone()]), "op {op}");
        for earlier in [0, 1, 9] {
            let at = At::Time(Timestamp::from_nanos(op.get() * 10 - earlier));
            assert_eq!(bench.look_up(at), Found::Entries(vec![entry.clone()]), "{at}");
        }
    }
    assert!(!bench.engine.archive_reaches(GROUP, At::Op(archived.next())));
}

#[test]
fn a_chunk_is_the_same_wherever_it_is_sealed_and_nothing_else_is_opened() {
    let chunks = chunks(&log(30));
    let (mut one, mut other) = (bench(archiving(1000)), bench(archiving(2)));
    one.seal(&chunks);
    other.seal(&chunks[..2]);
    other = bench(other.disk);
    other.seal(&chunks[2..]);
    let newest = u64_of(chunks.len());
    let file = one.file(newest);
    assert_eq!(file, other.file(newest));

    assert!(open(GROUP, &file).is_some());
    assert_eq!(open(GroupId::new(9), &file), None, "of another group");
    assert_eq!(open(GROUP, &file.slice(..file.len() - 1)), None, "it is cut short");
    for at in 0..file.len() {
        let mut flipped = file.to_vec();
        flipped[at] ^= 4;
        assert_eq!(open(GROUP, &Bytes::from(flipped)), None, "a bit is another one at {at}");
    }
}

#[test]
fn only_so_many_chunks_are_kept() {
    let log = log(60);
    let chunks = chunks(&log);
    let mut bench = bench(archiving(3));
    bench.seal(&chunks);
    let newest = u64_of(chunks.len());
    assert_eq!(bench.engine.first_chunk(GROUP), Some(newest - 2));
    let length = |number| bench.disk.0[&archive_file(GROUP, number)].len();
    assert!((1..newest - 2).all(|number| length(number) == 0), "older ones take no space");
    assert_eq!(bench.look_up(At::Op(Op::new(1))), Found::Gone);
    let first_kept = chunks[chunks.len() - 3][0].0.op();
    let kept = &log[usize_of(first_kept.get()) - 1];
    assert_eq!(bench.look_up(At::Op(first_kept)), Found::Entries(vec![kept.clone()]));
    let below = first_kept.previous().expect("there are older ones");
    assert_eq!(bench.look_up(At::Op(below)), Found::Gone);
}

#[test]
fn what_rotted_is_told_and_taken_from_a_peer() {
    let log = log(60);
    let chunks = chunks(&log);
    let mut peer = bench(archiving(1000));
    peer.seal(&chunks);
    // In its head, its index, and an entry.
    for at in [60, 4100, 5000] {
        let mut bench = bench(archiving(1000));
        bench.seal(&chunks);
        let number = 3;
        bench.rot_chunk(number, at);
        let op = chunks[2].last().expect("chunks have entries").0.op();
        if at < 5000 {
            assert_eq!(bench.look_up(At::Op(op)), Found::Unreadable);
        } else {
            bench.scrub(|_, done| done);
        }
        assert_eq!(bench.rotten(), Some((GROUP, number)));
        let other = peer.file(4);
        assert!(!bench.take_file(&other, false), "it is not the one that rotted");
        let other = peer.file(number);
        let mut damaged = other.to_vec();
        damaged[at] ^= 1;
        assert!(!bench.take_file(&Bytes::from(damaged), false));
        assert!(bench.take_file(&other, false));
        assert_eq!(bench.rotten(), None);
        assert_eq!(bench.look_up(At::Op(op)), Found::Entries(vec![log[usize_of(op.get()) - 1].clone()]));
    }
}

#[test]
fn chunks_come_from_a_peer_in_order_or_begin_later_where_it_keeps_no_others() {
    let log = log(60);
    let chunks = chunks(&log);
    let mut peer = bench(archiving(3));
    peer.seal(&chunks[..2]);
    let mut bench = bench(archiving(3));
    let (first, second) = (peer.file(1), peer.file(2));
    assert!(!bench.take_file(&second, false), "the first one is missing");
    assert!(bench.take_file(&first, false));
    assert!(bench.take_file(&second, false));
    assert_eq!(bench.engine.next_chunk(GROUP), 3);
    peer.seal(&chunks[2..]);
    let oldest = peer.engine.first_chunk(GROUP).expect("there are some");
    let file = peer.file(oldest);
    assert!(!bench.take_file(&file, false));
    assert!(bench.take_file(&file, true), "peers have no earlier ones");
    assert_eq!(bench.engine.first_chunk(GROUP), Some(oldest));
    assert_eq!(bench.look_up(At::Op(Op::new(1))), Found::Gone);
    // From here on it seals for itself what is the same elsewhere.
    bench.seal(&chunks[usize_of(oldest)..]);
    let newest = u64_of(chunks.len());
    assert_eq!(bench.file(newest), peer.file(newest));
}

#[test]
fn a_lost_payload_leaves_a_hole_under_the_right_name() {
    let log = log(30);
    let whole = chunks(&log);
    let mut holed = whole.clone();
    let lost = holed[1].iter().position(|(header, _)| header.payload_bytes() > 0).expect("not all are empty");
    let (header, payload) = &mut holed[1][lost];
    *payload = None;
    let op = header.op();
    let (mut bench, mut peer) = (bench(archiving(1000)), bench(archiving(1000)));
    bench.seal(&holed);
    peer.seal(&whole);
    let newest = u64_of(whole.len());
    assert_eq!(bench.file(newest), peer.file(newest), "later ones name it alike");
    assert_eq!(bench.look_up(At::Op(op)), Found::Unreadable);
    assert_eq!(bench.rotten(), Some((GROUP, 2)));
    let file = peer.file(2);
    assert!(bench.take_file(&file, false));
    assert_eq!(bench.look_up(At::Op(op)), Found::Entries(vec![log[usize_of(op.get()) - 1].clone()]));
}

#[test]
fn a_head_that_rotted_keeps_the_next_chunk_waiting() {
    let chunks = chunks(&log(30));
    let mut peer = bench(archiving(1000));
    peer.seal(&chunks);
    let mut bench = bench(archiving(1000));
    bench.seal(&chunks[..3]);
    bench.rot_chunk(3, 200);
    bench = self::bench(bench.disk);
    for _ in 0..3 {
        assert!(!bench.act(|engine, out| engine.archive_ready(GROUP, out)), "what it names is not known");
    }
    assert_eq!(bench.rotten(), Some((GROUP, 3)));
    let file = peer.file(3);
    assert!(bench.take_file(&file, false));
    bench.seal(&chunks[3..]);
    let newest = u64_of(chunks.len());
    assert_eq!(bench.file(newest), peer.file(newest));
}

#[test]
fn chunks_that_no_manifest_came_to_name_are_dropped_as_well() {
    let chunks = chunks(&log(60));
    let mut bench = bench(archiving(1));
    bench.seal(&chunks[..1]);
    // The manifest that names the second one is being written while the next two are sealed.
    let mut held = Vec::new();
    for chunk in &chunks[1..4] {
        let mut ops = Vec::new();
        let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
        assert!(bench.engine.archive_ready(GROUP, out));
        bench.engine.seal_chunk(GROUP, chunk, out);
        for op in ops {
            let done = bench.disk.run(op);
            let out = &mut DiskOut { ops: &mut held, marks: &mut NoMarks };
            bench.engine.on_done(Monotonic::default(), done, out).expect("the disk is perfect");
        }
    }
    assert!(!bench.act(|engine, out| engine.archive_ready(GROUP, out)), "manifests are to keep up");
    bench.drain(held).expect("the disk is perfect");
    bench.act(|engine, out| engine.keep_space(Monotonic::default(), out)).expect("the disk is perfect");
    bench.seal(&chunks[4..]);
    let newest = u64_of(chunks.len());
    let length = |number| bench.disk.0[&archive_file(GROUP, number)].len();
    assert!((1..newest).all(|number| length(number) == 0), "only the newest is kept");
    assert!(length(newest) > 0);
}

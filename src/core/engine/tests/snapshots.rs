//! Snapshots as files: chunks, what is believed of them, and their way from one disk to another.

use super::*;
use crate::engine::SnapshotBody;
use crate::engine::manifest::{Manifest, places};
use crate::engine::snapshot_file::{SnapshotMeta, SnapshotName};
use crate::types::usize_of;

fn body(bytes: usize) -> Bytes {
    (0..bytes).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}

/// An engine with a snapshot in force of three chunks.
fn with_snapshot(op: u64) -> Bench {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    bench.save(op, body(9_000));
    bench
}

impl Bench {
    fn run(&mut self, act: impl FnOnce(&mut Engine, &mut DiskOut<'_, NoMarks>)) {
        let mut ops = Vec::new();
        act(&mut self.engine, &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
        self.drain(ops).expect("the disk is perfect");
    }

    fn save(&mut self, op: u64, body: Bytes) {
        self.run(|engine, out| {
            let mut whole = SnapshotBody::new(4096);
            whole.put(&body);
            engine.save_snapshot(GROUP, Op::new(op), whole, out);
        });
    }

    /// A chunk of the snapshot in force, as a peer would get it.
    fn chunk(&mut self, name: SnapshotName, index: u32) -> Option<SnapshotChunk> {
        self.run(|engine, out| {
            engine.read_chunk(Monotonic::default(), NodeId::new(2), (GROUP, name, index), out);
        });
        self.chunks.pop()
    }

    fn take(&mut self, chunk: SnapshotChunk) -> bool {
        let mut is_news = false;
        self.run(|engine, out| is_news = engine.take_chunk(chunk, out).expect("the disk is perfect"));
        is_news
    }
}

#[test]
fn what_was_sealed_is_opened_and_nothing_else() {
    for bytes in [0, 1, 3_967, 3_968, 3_969, 20_000] {
        let body = body(bytes);
        let mut whole = SnapshotBody::new(4096);
        // In pieces that end anywhere.
        body.chunks(1_000).for_each(|piece| whole.put(piece));
        let name = whole.name(Op::new(7));
        let seal = |index: u32| name.seal(GROUP, index, whole.payload(usize_of(u64::from(index)))).0;
        let chunks: Vec<Bytes> = (0..name.chunks()).map(seal).collect();
        let length: usize = chunks.iter().map(Bytes::len).sum();
        assert_eq!(u64_of(length), name.file_bytes());
        let opened = |name: &SnapshotName, group, chunks: &[Bytes]| -> Option<Vec<Bytes>> {
            (0..).zip(chunks).map(|(index, chunk)| name.open(group, index, chunk)).collect()
        };
        let payloads = opened(&name, GROUP, &chunks).expect("each chunk is as it was sealed");
        assert_eq!(name.join(payloads), Some(body.clone()), "of {bytes} bytes");
        assert_eq!(name.open(GROUP, name.chunks(), &chunks[0]), None, "there is no such chunk");

        assert_eq!(opened(&name, GroupId::new(9), &chunks), None, "of another group");
        let other = SnapshotName { op: Op::new(8), ..name };
        assert_eq!(opened(&other, GROUP, &chunks), None, "of another op");
        for at in [0, 20, 44, 49, 53, 57, 100, 128].into_iter().filter(|at| *at < 128 + bytes) {
            let mut flipped = chunks[0].to_vec();
            flipped[at] ^= 4;
            assert_eq!(name.open(GROUP, 0, &Bytes::from(flipped)), None, "a bit is another one at {at}");
        }
        assert_eq!(name.open(GROUP, 0, &chunks[0].slice(..100)), None, "it is cut short");
    }
}

#[test]
fn names_that_no_node_would_give_are_not_believed() {
    let mut whole = SnapshotBody::new(4096);
    whole.put(b"state");
    let name = whole.name(Op::new(1));
    assert!(name.is_sound());
    for chunk_bytes in [0, 1, 128, 4095, 6000, 2 << 20, u32::MAX] {
        assert!(!SnapshotName { chunk_bytes, ..name }.is_sound(), "chunks of {chunk_bytes} bytes");
    }
    assert!(!SnapshotName { bytes: u64::MAX, ..name }.is_sound());
}

#[test]
fn a_snapshot_goes_to_another_disk_chunk_by_chunk_in_any_order() {
    let mut source = with_snapshot(3);
    let name = source.engine.snapshot(GROUP).expect("it is in force");
    let (mut taker, _) = Bench::open(formatted()).expect("it opens");
    for index in [2, 0, 1] {
        assert!(taker.received.is_empty());
        let chunk = source.chunk(name, index).expect("it is read");
        assert!(taker.take(chunk.clone()), "chunk {index} is news");
        assert!(!taker.take(chunk), "and not twice");
    }
    assert_eq!(taker.received, [body(9_000)]);
    assert_eq!(taker.engine.snapshot(GROUP), Some(name));
    assert_eq!(taker.engine.incoming(9), None);
    let (_, opened) = Bench::open(taker.disk).expect("it opens");
    assert_eq!(opened.snapshots[&GROUP], body(9_000));
    assert_eq!(source.chunk(name, 3), None, "there is no such chunk");
}

#[test]
fn a_start_goes_on_with_the_chunks_that_are_there() {
    let mut source = with_snapshot(3);
    let name = source.engine.snapshot(GROUP).expect("it is in force");
    let (mut taker, _) = Bench::open(formatted()).expect("it opens");
    for index in [0, 2] {
        let chunk = source.chunk(name, index).expect("it is read");
        assert!(taker.take(chunk));
    }
    let (mut again, opened) = Bench::open(taker.disk).expect("it opens");
    assert_eq!(opened.incoming, Some((GROUP, name)));
    assert!(opened.snapshots.is_empty(), "what is not whole is not visible");
    assert_eq!(again.engine.incoming(9), Some((GROUP, name, [1].to_vec())));
    let chunk = source.chunk(name, 1).expect("it is read");
    assert!(again.take(chunk));
    assert_eq!(again.received, [body(9_000)]);
}

#[test]
fn a_chunk_that_is_not_what_it_says_is_not_taken() {
    let mut source = with_snapshot(3);
    let name = source.engine.snapshot(GROUP).expect("it is in force");
    let (mut taker, _) = Bench::open(formatted()).expect("it opens");
    let chunk = source.chunk(name, 0).expect("it is read");
    let mut bytes = chunk.bytes.0.to_vec();
    bytes[1000] ^= 1;
    assert!(!taker.take(SnapshotChunk { bytes: Blob::from(bytes), ..chunk.clone() }));
    assert!(!taker.take(SnapshotChunk { index: 1, ..chunk.clone() }));
    assert!(!taker.take(SnapshotChunk { name: SnapshotName { op: Op::new(4), ..name }, ..chunk.clone() }));
    assert!(!taker.take(SnapshotChunk { bytes: Blob::from(Vec::new()), ..chunk.clone() }));
    assert!(taker.take(chunk));
}

#[test]
fn a_snapshot_given_up_leaves_no_trace() {
    let mut source = with_snapshot(3);
    let name = source.engine.snapshot(GROUP).expect("it is in force");
    let (mut taker, _) = Bench::open(formatted()).expect("it opens");
    let chunk = source.chunk(name, 0).expect("it is read");
    assert!(taker.take(chunk.clone()));
    taker.run(|engine, out| engine.forsake_incoming(out).expect("the disk is perfect"));
    assert_eq!(taker.engine.incoming(9), None);
    let (mut again, opened) = Bench::open(taker.disk).expect("it opens");
    assert_eq!(opened.incoming, None);
    assert!(again.take(chunk), "it can begin anew");
}

#[test]
fn a_snapshot_that_is_being_fetched_outlives_its_being_replaced() {
    let mut source = with_snapshot(3);
    let name = source.engine.snapshot(GROUP).expect("it is in force");
    assert!(source.chunk(name, 0).is_some());
    source.save(5, body(10_000));
    let newer = source.engine.snapshot(GROUP).expect("it is in force");
    assert_ne!(newer, name);
    assert!(source.engine.has_snapshot(GROUP, &name) && source.chunk(name, 1).is_some());
    source.run(|engine, out| {
        engine.keep_space(Monotonic::from_nanos(60_000_000_000), out).expect("the disk is perfect");
    });
    assert!(!source.engine.has_snapshot(GROUP, &name) && source.chunk(name, 2).is_none());
    assert!(source.chunk(newer, 2).is_some());
}

#[test]
fn a_snapshot_that_rotted_is_left_to_the_peers_and_refused_where_there_are_none() {
    let rotten = |voters: Vec<NodeId>| {
        let mut identity = identity();
        identity.groups[0].voters = voters;
        let mut disk = PerfectDisk::default();
        for op in format(&identity).expect("the identity is right") {
            disk.run(op);
        }
        let (mut bench, _) = Bench::open(disk).expect("it opens");
        bench.save(3, body(9_000));
        let file = bench.disk.0.get_mut(&FileId::Snapshot(0)).expect("it was saved");
        file[5_000] ^= 1;
        Bench::open(bench.disk).map(|(bench, opened)| (bench.engine.snapshot(GROUP), opened))
    };
    let error = rotten([NODE].to_vec()).expect_err("nobody else has it");
    assert!(error.to_string().contains("snapshot 0 of group 3: its checksum is wrong"), "{error}");
    let (snapshot, opened) = rotten([NODE, NodeId::new(9)].to_vec()).expect("a peer may have it");
    assert_eq!((snapshot, opened.snapshots.len()), (None, 0), "it is not given to others either");
    assert_eq!(opened.lost.into_iter().collect::<Vec<_>>(), [(GROUP, Op::new(3))]);
}

#[test]
fn a_manifest_that_names_what_cannot_be_is_refused() {
    let of_no_chunks = |name: &SnapshotName| SnapshotName { chunk_bytes: 0, ..*name };
    let of_too_many = |name: &SnapshotName| SnapshotName { bytes: u64::MAX, ..*name };
    for is_incoming in [false, true] {
        for nonsense in [of_no_chunks, of_too_many] {
            let mut disk = with_snapshot(3).disk;
            let file = disk.0.get_mut(&FileId::Manifest).expect("it was written");
            let mut manifest =
                Manifest::open(&places(&Bytes::from(file.clone())), &mut NoMarks).expect("it is whole");
            let meta = manifest.body.snapshots[0];
            let changed = SnapshotMeta { name: nonsense(&meta.name), ..meta };
            if is_incoming {
                manifest.body.incoming = Some(SnapshotMeta { slot: 9, ..changed });
            } else {
                manifest.body.snapshots[0] = changed;
            }
            manifest.sequence += 1;
            let (at, area) = (usize_of(manifest.offset()), manifest.to_area().expect("it fits"));
            file[at..at + area.len()].copy_from_slice(&area);
            let error =
                Bench::open(disk).map(|(_, opened)| opened).expect_err("nobody writes such a manifest");
            assert!(error.to_string().contains("names a snapshot of"), "{error}");
        }
    }
}

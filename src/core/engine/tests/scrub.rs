//! The scrub finds what rots under a running engine, and believes no single read.

use super::*;
use crate::engine::SnapshotBody;
use crate::engine::disk::DiskOutcome;
use crate::engine::manifest::{AREA_BYTES, COPY_BYTES};
use crate::types::Blob;

fn running(entries: u64) -> Bench {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    bench.write_entries(entries);
    bench
}

fn flip(bench: &mut Bench, file: FileId, at: usize) {
    bench.disk.0.get_mut(&file).expect("the file exists")[at] ^= 1;
}

fn entry(op: u64) -> RecordName {
    RecordName::Entry(GROUP, Op::new(op))
}

#[test]
fn a_rotten_payload_and_a_rotten_head_are_found_and_named_once() {
    let mut bench = running(5);
    bench.scrub(|_, done| done);
    assert_eq!(bench.rotten, [], "everything is as it was written");
    flip(&mut bench, segment(0), BLOCK_BYTES + FIRST_PAYLOAD + 200);
    flip(&mut bench, segment(0), 2 * BLOCK_BYTES + 50);
    bench.scrub(|_, done| done);
    assert_eq!(bench.rotten, [entry(2), entry(3)]);
    bench.scrub(|_, done| done);
    assert_eq!(bench.rotten.len(), 2, "it is told once");
}

#[test]
fn the_last_flush_of_a_sealed_segment_is_named_from_memory() {
    let mut bench = running(20);
    let blocks = bench.disk.0[&segment(0)].chunks(BLOCK_BYTES);
    let last = blocks.take_while(|block| block.starts_with(b"CHRNFLSH")).count() - 1;
    flip(&mut bench, segment(0), last * BLOCK_BYTES + 50);
    bench.scrub(|_, done| done);
    assert_eq!(bench.rotten, [entry(crate::types::u64_of(last) + 1)]);
}

#[test]
fn what_is_not_durable_yet_or_followed_by_nothing_is_left_alone() {
    let mut bench = running(3);
    flip(&mut bench, segment(0), 2 * BLOCK_BYTES + 50);
    bench.scrub(|_, done| done);
    assert_eq!(bench.rotten, [], "nothing that is durable names it yet");
}

#[test]
fn a_read_that_lies_once_is_not_believed_and_one_that_fails_for_good_is() {
    let mut bench = running(5);
    // What cannot be read is one block: those beside it are read by themselves.
    let is_bad = |op: &DiskOp| match op {
        DiskOp::Read { file: FileId::Segment(0), offset, bytes, .. } => {
            (*offset..offset + u64::from(*bytes)).contains(&8192)
        }
        _ => false,
    };
    let mut lies = 1;
    bench.scrub(|op, mut done| {
        if let (DiskOp::Read { file: FileId::Segment(0), .. }, DiskOutcome::Read(bytes)) =
            (op, &mut done.outcome)
            && lies > 0
        {
            lies -= 1;
            *bytes = Blob::from(vec![0; bytes.as_slice().len()]);
        }
        done
    });
    assert_eq!((lies, bench.rotten.as_slice()), (0, &[][..]));
    bench.scrub(|op, done| DiskDone {
        outcome: if is_bad(op) { DiskOutcome::Failed } else { done.outcome },
        ..done
    });
    assert_eq!(bench.rotten, [entry(3)]);
}

#[test]
fn a_copy_of_the_manifest_that_rots_is_written_again() {
    let mut bench = running(1);
    let in_force = |disk: &PerfectDisk| {
        let file = &disk.0[&FileId::Manifest];
        let of = |area: usize| {
            u64::from_le_bytes(file[area * AREA_BYTES + 16..][..8].try_into().expect("8 bytes"))
        };
        if of(0) > of(1) { 0 } else { AREA_BYTES }
    };
    let area = in_force(&bench.disk);
    flip(&mut bench, FileId::Manifest, area + 2 * COPY_BYTES + 30);
    bench.scrub(|_, done| done);
    let file = &bench.disk.0[&FileId::Manifest];
    let copies: Vec<&[u8]> = file.chunks(COPY_BYTES).collect();
    assert!(copies[..4].iter().all(|copy| *copy == copies[0]), "each area has four equal copies again");
    assert!(copies[4..].iter().all(|copy| *copy == copies[4]));
    assert_eq!(bench.rotten, []);
}

#[test]
fn a_snapshot_that_rots_is_wanted_again() {
    let mut bench = running(3);
    let mut ops = Vec::new();
    let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
    let mut body = SnapshotBody::new(4096);
    body.put(&[5; 3 * BLOCK_BYTES]);
    bench.engine.save_snapshot(GROUP, Op::new(3), body.clone(), out);
    bench.drain(ops).expect("the disk is perfect");
    bench.scrub(|_, done| done);
    assert_eq!(bench.engine.pins(), None);
    flip(&mut bench, FileId::Snapshot(0), 2 * BLOCK_BYTES);
    bench.scrub(|_, done| done);
    assert!(bench.engine.is_snapshot_rotten(GROUP));
    assert_eq!(bench.engine.pins().expect("a snapshot is wanted").snapshots, [GROUP]);
    let mut ops = Vec::new();
    let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
    bench.engine.save_snapshot(GROUP, Op::new(3), body, out);
    bench.drain(ops).expect("the disk is perfect");
    assert!(!bench.engine.is_snapshot_rotten(GROUP));
    bench.scrub(|_, done| done);
    assert_eq!(bench.engine.pins(), None, "the new one is whole");
}

#[test]
fn two_rotten_heads_in_a_row_are_told_by_the_ordinals_that_they_held() {
    let mut bench = running(6);
    for flush in [2, 3] {
        flip(&mut bench, segment(0), flush * BLOCK_BYTES + 50);
    }
    bench.scrub(|_, done| done);
    // The second one is named by the flush behind it, the first one by nobody.
    assert_eq!(bench.rotten, [entry(4)]);
    assert_eq!(bench.nameless, [(Ordinal::new(2), Ordinal::new(3))]);
    bench.scrub(|_, done| done);
    assert_eq!((bench.rotten.len(), bench.nameless.len()), (1, 1), "it is told once");
}

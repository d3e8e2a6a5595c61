use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chronon_core::engine::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId, VirtualDisk};
use chronon_core::types::Blob;

use super::{OPERATIONS_IN_FLIGHT_MAX, SyncDisk};
use crate::server::disk::DataDirectory;
use crate::server::wake::Wake;

const SEGMENT: FileId = FileId::Segment(3);

/// A directory on a real filesystem: a tmpfs says nothing about `O_DIRECT`.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in(std::env::current_exe().unwrap().parent().unwrap()).unwrap()
}

fn disk(path: &Path) -> SyncDisk {
    let data = DataDirectory::create(&path.join("node")).unwrap();
    SyncDisk::start(Arc::new(data), Wake::new().unwrap()).unwrap()
}

fn wait(disk: &mut SyncDisk, count: usize) -> Vec<DiskDone> {
    let (mut done, start) = (Vec::new(), Instant::now());
    while done.len() < count {
        assert!(start.elapsed() < Duration::from_secs(20), "{} of {count} operations completed", done.len());
        disk.poll(&mut done);
        std::thread::sleep(Duration::from_millis(1));
    }
    done
}

fn one(disk: &mut SyncDisk, op: DiskOp) -> DiskOutcome {
    disk.submit(op);
    wait(disk, 1).remove(0).outcome
}

fn allocate(id: u64, blocks: u64) -> DiskOp {
    DiskOp::Allocate { id: DiskOpId(id), file: SEGMENT, bytes: blocks * BLOCK_BYTES as u64 }
}

fn write(id: u64, block: u64, byte: u8) -> DiskOp {
    let data = Blob::from(vec![byte; BLOCK_BYTES]);
    DiskOp::Write { id: DiskOpId(id), file: SEGMENT, offset: block * BLOCK_BYTES as u64, data }
}

fn read(id: u64, block: u64, blocks: u32) -> DiskOp {
    let bytes = blocks * BLOCK_BYTES as u32;
    DiskOp::Read { id: DiskOpId(id), file: SEGMENT, offset: block * BLOCK_BYTES as u64, bytes }
}

#[test]
fn an_allocated_file_holds_zeros_and_then_what_was_written() {
    let folder = directory();
    let mut disk = disk(folder.path());
    assert_eq!(one(&mut disk, allocate(1, 4)), DiskOutcome::Done);
    assert_eq!(one(&mut disk, read(2, 0, 4)), DiskOutcome::Read(Blob::from(vec![0; 4 * BLOCK_BYTES])));
    for op in [write(3, 1, b'a'), write(4, 2, b'b'), write(5, 0, b'c'), DiskOp::Barrier { id: DiskOpId(6) }] {
        disk.submit(op);
    }
    let done = wait(&mut disk, 4);
    assert!(done.iter().all(|completion| completion.outcome == DiskOutcome::Done), "{done:?}");
    assert_eq!(done.last().unwrap().id, DiskOpId(6), "the barrier comes after the writes before it");
    let DiskOutcome::Read(blocks) = one(&mut disk, read(7, 0, 4)) else { panic!("the read failed") };
    let firsts: Vec<u8> = blocks.as_slice().chunks(BLOCK_BYTES).map(|block| block[0]).collect();
    assert_eq!(firsts, [b'c', b'a', b'b', 0]);
}

#[test]
fn allocating_again_wipes_what_was_there() {
    let folder = directory();
    let mut disk = disk(folder.path());
    for op in [allocate(1, 2), write(2, 0, b'x'), allocate(3, 1)] {
        assert_eq!(one(&mut disk, op), DiskOutcome::Done);
    }
    assert_eq!(one(&mut disk, read(4, 0, 1)), DiskOutcome::Read(Blob::from(vec![0; BLOCK_BYTES])));
    assert_eq!(one(&mut disk, write(5, 0, b'y')), DiskOutcome::Done);
    assert_eq!(one(&mut disk, read(6, 0, 1)), DiskOutcome::Read(Blob::from(vec![b'y'; BLOCK_BYTES])));
}

#[test]
fn a_missing_file_is_missing_and_a_short_one_fails() {
    let folder = directory();
    let mut disk = disk(folder.path());
    assert_eq!(one(&mut disk, read(1, 0, 1)), DiskOutcome::Missing);
    assert_eq!(one(&mut disk, write(2, 0, b'x')), DiskOutcome::Missing);
    assert_eq!(one(&mut disk, allocate(3, 1)), DiskOutcome::Done);
    assert_eq!(one(&mut disk, read(4, 0, 2)), DiskOutcome::Failed);
}

#[test]
fn a_barrier_does_not_vouch_for_a_write_that_failed() {
    let folder = directory();
    let mut disk = disk(folder.path());
    assert_eq!(one(&mut disk, write(1, 0, b'x')), DiskOutcome::Missing);
    assert_eq!(one(&mut disk, DiskOp::Barrier { id: DiskOpId(2) }), DiskOutcome::Failed);
    assert_eq!(one(&mut disk, DiskOp::Barrier { id: DiskOpId(3) }), DiskOutcome::Done);
}

#[test]
fn more_operations_than_the_bound_wait_for_their_turn() {
    let folder = directory();
    let wake = Wake::new().unwrap();
    let data = DataDirectory::create(&folder.path().join("node")).unwrap();
    let mut disk = SyncDisk::start(Arc::new(data), wake.clone()).unwrap();
    let count = 3 * OPERATIONS_IN_FLIGHT_MAX;
    for id in 0..count as u64 {
        disk.submit(DiskOp::Barrier { id: DiskOpId(id) });
    }
    let ids: Vec<u64> = wait(&mut disk, count).iter().map(|done| done.id.0).collect();
    assert_eq!(ids, (0..count as u64).collect::<Vec<_>>());
    let mut wakes = [0; 8];
    rustix::io::read(&wake, &mut wakes).unwrap();
    assert_eq!(u64::from_ne_bytes(wakes), count as u64);
}

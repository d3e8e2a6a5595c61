//! Both disks keep the contract of [`VirtualDisk`], and whoever sleeps on their [`Wake`] hears of every completion.

use std::time::Duration;

use chronon_core::engine::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId, VirtualDisk};
use chronon_core::types::Blob;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::Backend;
use crate::server::disk::DataDirectory;
use crate::server::durability_worker::OPERATIONS_IN_FLIGHT_MAX;
use crate::server::io_uring_disk::FILES_MAX;
use crate::server::wake::Wake;

const SEGMENT: FileId = FileId::Segment(3);

/// A disk on a new directory.
struct Bench {
    disk: Box<dyn VirtualDisk>,
    wake: Wake,
    /// On a real filesystem: a tmpfs says nothing about `O_DIRECT`.
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new(backend: Backend) -> Self {
        let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let folder = tempfile::tempdir_in(beside).unwrap();
        let data = DataDirectory::create(&folder.path().join("node")).unwrap();
        let wake = Wake::new().unwrap();
        Self { disk: backend.start(data, wake.clone()).unwrap(), wake, _folder: folder }
    }

    fn submit(&mut self, op: DiskOp) {
        self.disk.submit(op);
    }

    /// Waits for as many completions, looking only when woken.
    fn wait(&mut self, count: usize) -> Vec<DiskDone> {
        self.disk.kick();
        let mut done = Vec::new();
        while done.len() < count {
            let patience = Timespec::try_from(Duration::from_secs(20)).unwrap();
            let woken = poll(&mut [PollFd::new(&self.wake, PollFlags::IN)], Some(&patience)).unwrap();
            assert!(woken > 0, "{} of {count} operations completed, and nothing wakes", done.len());
            self.wake.wait().unwrap();
            self.disk.poll(&mut done);
        }
        done
    }

    fn one(&mut self, op: DiskOp) -> DiskOutcome {
        self.submit(op);
        self.wait(1).remove(0).outcome
    }
}

/// The same on each disk.
fn on_both(test: impl Fn(&mut Bench)) {
    for (backend, _) in Backend::WORDS {
        test(&mut Bench::new(backend));
    }
}

fn allocate(id: u64, blocks: u64) -> DiskOp {
    allocate_file(id, SEGMENT, blocks)
}

fn allocate_file(id: u64, file: FileId, blocks: u64) -> DiskOp {
    DiskOp::Allocate { id: DiskOpId(id), file, bytes: blocks * BLOCK_BYTES as u64 }
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
    on_both(|disk| {
        assert_eq!(disk.one(allocate(1, 4)), DiskOutcome::Done);
        assert_eq!(disk.one(read(2, 0, 4)), DiskOutcome::Read(Blob::from(vec![0; 4 * BLOCK_BYTES])));
        for op in
            [write(3, 1, b'a'), write(4, 2, b'b'), write(5, 0, b'c'), DiskOp::Barrier { id: DiskOpId(6) }]
        {
            disk.submit(op);
        }
        let done = disk.wait(4);
        assert!(done.iter().all(|completion| completion.outcome == DiskOutcome::Done), "{done:?}");
        assert_eq!(done.last().unwrap().id, DiskOpId(6), "the barrier comes after the writes before it");
        let DiskOutcome::Read(blocks) = disk.one(read(7, 0, 4)) else { panic!("the read failed") };
        let firsts: Vec<u8> = blocks.as_slice().chunks(BLOCK_BYTES).map(|block| block[0]).collect();
        assert_eq!(firsts, [b'c', b'a', b'b', 0]);
    });
}

#[test]
fn allocating_again_wipes_what_was_there() {
    on_both(|disk| {
        for op in [allocate(1, 2), write(2, 0, b'x'), allocate(3, 1)] {
            assert_eq!(disk.one(op), DiskOutcome::Done);
        }
        assert_eq!(disk.one(read(4, 0, 1)), DiskOutcome::Read(Blob::from(vec![0; BLOCK_BYTES])));
        assert_eq!(disk.one(write(5, 0, b'y')), DiskOutcome::Done);
        assert_eq!(disk.one(read(6, 0, 1)), DiskOutcome::Read(Blob::from(vec![b'y'; BLOCK_BYTES])));
    });
}

#[test]
fn a_missing_file_is_missing_and_a_short_one_fails() {
    on_both(|disk| {
        assert_eq!(disk.one(read(1, 0, 1)), DiskOutcome::Missing);
        assert_eq!(disk.one(write(2, 0, b'x')), DiskOutcome::Missing);
        assert_eq!(disk.one(allocate(3, 1)), DiskOutcome::Done);
        assert_eq!(disk.one(read(4, 0, 2)), DiskOutcome::Failed);
    });
}

#[test]
fn a_barrier_does_not_vouch_for_a_write_that_failed() {
    on_both(|disk| {
        assert_eq!(disk.one(write(1, 0, b'x')), DiskOutcome::Missing);
        assert_eq!(disk.one(DiskOp::Barrier { id: DiskOpId(2) }), DiskOutcome::Failed);
        assert_eq!(disk.one(DiskOp::Barrier { id: DiskOpId(3) }), DiskOutcome::Done);
    });
}

#[test]
fn more_operations_than_the_bound_wait_for_their_turn() {
    on_both(|disk| {
        let count = 3 * OPERATIONS_IN_FLIGHT_MAX;
        for id in 0..count as u64 {
            disk.submit(DiskOp::Barrier { id: DiskOpId(id) });
        }
        let ids: Vec<u64> = disk.wait(count).iter().map(|done| done.id.0).collect();
        assert_eq!(ids, (0..count as u64).collect::<Vec<_>>());
    });
}

#[test]
fn more_files_than_are_kept_open_hold_what_was_written_to_each() {
    on_both(|disk| {
        let files = FILES_MAX + 40;
        let file = |index: u32| FileId::Segment(index);
        (0..files).for_each(|index| disk.submit(allocate_file(u64::from(index), file(index), 1)));
        disk.wait(files as usize);
        // Not one of them is on its way before the last was submitted.
        for index in 0..files {
            let (id, data) = (DiskOpId(u64::from(index)), Blob::from(vec![index as u8; BLOCK_BYTES]));
            disk.submit(DiskOp::Write { id, file: file(index), offset: 0, data });
        }
        let done = disk.wait(files as usize);
        assert!(done.iter().all(|done| done.outcome == DiskOutcome::Done), "{done:?}");
        for index in 0..files {
            let (id, bytes) = (DiskOpId(0), BLOCK_BYTES as u32);
            let read = DiskOp::Read { id, file: file(index), offset: 0, bytes };
            assert_eq!(disk.one(read), DiskOutcome::Read(Blob::from(vec![index as u8; BLOCK_BYTES])));
        }
    });
}

#[test]
fn a_start_removes_files_that_were_never_finished() {
    for (backend, _) in Backend::WORDS {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node");
        let data = DataDirectory::create(&path).unwrap();
        let names = ["journal/00000007.unfinished", "reserve.unfinished", "journal/00000007.segment"];
        names.iter().for_each(|name| std::fs::write(path.join(name), "left over").unwrap());
        let _disk = backend.start(data, Wake::new().unwrap()).unwrap();
        let is_there: Vec<bool> = names.iter().map(|name| path.join(name).exists()).collect();
        assert_eq!(is_there, [false, false, true], "{backend}");
    }
}

use chronon_core::engine::{DiskOp, DiskOpId, DiskOutcome, FileId};
use chronon_core::types::Blob;

use super::{DiskModel, SimDisk};
use crate::random::Randomness;
use crate::time::WorldTime;

const FILE: FileId = FileId::Segment(0);
const BLOCK: usize = 4096;

fn disk(seed: u64, atomic_unit: usize) -> SimDisk {
    let model = DiskModel { atomic_unit, ..DiskModel::default() };
    let mut disk = SimDisk::new(1, model, Randomness::new(seed, 0));
    run(&mut disk, DiskOp::Allocate { id: DiskOpId(1), file: FILE, bytes: 16 * BLOCK as u64 });
    disk
}

fn run(disk: &mut SimDisk, op: DiskOp) -> DiskOutcome {
    let id = op.id();
    disk.submit(WorldTime::ZERO, op);
    disk.complete(id).expect("the operation is in flight").outcome
}

fn write(id: u64, block: usize, byte: u8, blocks: usize) -> DiskOp {
    let data = Blob::from(vec![byte; blocks * BLOCK]);
    DiskOp::Write { id: DiskOpId(id), file: FILE, offset: (block * BLOCK) as u64, data }
}

#[test]
fn a_barrier_makes_what_was_submitted_before_it_survive() {
    for seed in 0..50 {
        let mut disk = disk(seed, 512);
        run(&mut disk, write(2, 0, 7, 2));
        run(&mut disk, DiskOp::Barrier { id: DiskOpId(3) });
        disk.crash();
        assert_eq!(
            disk.durable().read(FILE, 0, 2 * BLOCK).as_deref(),
            Some(&[7; 2 * BLOCK][..]),
            "seed {seed}"
        );
    }
}

#[test]
fn a_barrier_does_not_cover_a_write_submitted_after_it() {
    let lost = (0..50).filter(|&seed| {
        let mut disk = disk(seed, 512);
        disk.submit(WorldTime::ZERO, DiskOp::Barrier { id: DiskOpId(2) });
        run(&mut disk, write(3, 0, 7, 1));
        assert!(disk.complete(DiskOpId(2)).is_some());
        disk.crash();
        disk.durable().read(FILE, 0, BLOCK).as_deref() != Some(&[7; BLOCK][..])
    });
    assert!(lost.count() > 10, "crashes lose what no barrier covers");
}

#[test]
fn a_crash_tears_writes_by_the_atomic_unit_and_in_every_mix() {
    let (mut none, mut all, mut some) = (0, 0, 0);
    for seed in 0..200 {
        for unit in [512, 4096] {
            let mut disk = disk(seed, unit);
            run(&mut disk, write(2, 0, 7, 4));
            disk.submit(WorldTime::ZERO, write(3, 4, 7, 4));
            disk.crash();
            let left = disk.durable().read(FILE, 0, 8 * BLOCK).expect("within the file");
            let kept = left.chunks(unit).filter(|chunk| chunk.iter().all(|&b| b == 7)).count();
            let lost = left.chunks(unit).filter(|chunk| chunk.iter().all(|&b| b == 0)).count();
            assert_eq!(kept + lost, 8 * BLOCK / unit, "a unit is kept or lost as a whole");
            match (kept, lost) {
                (0, _) => none += 1,
                (_, 0) => all += 1,
                _ => some += 1,
            }
        }
    }
    assert!(none > 20 && all > 20 && some > 20, "none {none}, all {all}, some {some}");
}

#[test]
fn of_two_unbarriered_writes_the_later_may_survive_alone() {
    let reordered = (0..200).filter(|&seed| {
        let mut disk = disk(seed, 4096);
        run(&mut disk, write(2, 0, 1, 1));
        run(&mut disk, write(3, 1, 2, 1));
        disk.crash();
        let left = disk.durable().read(FILE, 0, 2 * BLOCK).expect("within the file");
        left[0] == 0 && left[BLOCK] == 2
    });
    assert!(reordered.count() > 10);
}

#[test]
fn an_allocation_cut_short_leaves_the_file_away_as_it_was_or_zeroed() {
    let (mut away, mut old, mut zeroed) = (0, 0, 0);
    for seed in 0..100 {
        let mut disk = disk(seed, 512);
        run(&mut disk, write(2, 0, 7, 1));
        run(&mut disk, DiskOp::Barrier { id: DiskOpId(3) });
        disk.submit(WorldTime::ZERO, DiskOp::Allocate { id: DiskOpId(4), file: FILE, bytes: BLOCK as u64 });
        disk.crash();
        match disk.durable().read(FILE, 0, 1).as_deref() {
            None => away += 1,
            Some([7]) => old += 1,
            Some([0]) => zeroed += 1,
            Some(other) => panic!("unexpected bytes {other:?}"),
        }
    }
    assert!(away > 10 && old > 10 && zeroed > 10, "away {away}, old {old}, zeroed {zeroed}");
}

#[test]
fn a_barrier_is_due_after_every_write_before_it() {
    for seed in 0..100 {
        let mut disk = disk(seed, 512);
        let writes: Vec<_> =
            (2..6).map(|id| disk.submit(WorldTime::ZERO, write(id, id as usize, 1, 1))).collect();
        let barrier = disk.submit(WorldTime::ZERO, DiskOp::Barrier { id: DiskOpId(9) });
        assert!(writes.iter().all(|&due| due < barrier), "seed {seed}");
    }
}

#[test]
fn reads_see_what_completed_and_name_what_is_missing() {
    let mut disk = disk(1, 512);
    run(&mut disk, write(2, 0, 7, 1));
    let read = |id, file, offset| DiskOp::Read { id: DiskOpId(id), file, offset, bytes: BLOCK as u32 };
    assert_eq!(run(&mut disk, read(3, FILE, 0)), DiskOutcome::Read(Blob::from(vec![7; BLOCK])));
    assert_eq!(run(&mut disk, read(4, FileId::Manifest, 0)), DiskOutcome::Missing);
    assert_eq!(run(&mut disk, read(5, FILE, 16 * BLOCK as u64)), DiskOutcome::Failed);
    assert!(disk.complete(DiskOpId(5)).is_none(), "an operation completes once");
}

#[test]
fn a_file_is_put_there_whole_or_not_at_all() {
    let put = |byte| DiskOp::Put { id: DiskOpId(9), file: FILE, data: Blob::from(vec![byte; 3 * BLOCK]) };
    let (mut before, mut after) = (0, 0);
    for seed in 0..50 {
        let mut disk = disk(seed, 512);
        assert_eq!(run(&mut disk, put(1)), DiskOutcome::Done);
        disk.submit(WorldTime::ZERO, put(2));
        disk.crash();
        let left = disk.durable().read(FILE, 0, 3 * BLOCK).expect("it is durable once it is done");
        assert_eq!(disk.durable().length(FILE), Some(3 * BLOCK as u64));
        match left.as_ref() {
            bytes if bytes == [1; 3 * BLOCK] => before += 1,
            bytes if bytes == [2; 3 * BLOCK] => after += 1,
            _ => panic!("seed {seed}: a crash left some of both"),
        }
    }
    assert!(before > 10 && after > 10, "a crash leaves the one or the other: {before}, {after}");
    let mut full = disk(1, 512);
    full.fill(Some(2 * BLOCK as u64));
    assert_eq!(run(&mut full, put(1)), DiskOutcome::Full, "the old one is there until the new one is");
}

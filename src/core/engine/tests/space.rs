//! A disk on which no space is left stops neither a start nor the journal.

use super::*;
use crate::engine::SnapshotBody;
use crate::engine::disk::DiskOutcome;

/// Completes allocations that would need space as a full disk does.
fn full(op: &DiskOp, done: DiskDone) -> DiskDone {
    match op {
        DiskOp::Allocate { id, bytes: 1.., .. } => DiskDone { id: *id, outcome: DiskOutcome::Full },
        _ => done,
    }
}

/// Opens a disk on which no space is left: the allocation that finds none leaves its file as it was.
fn open_full(disk: PerfectDisk) -> Result<(Bench, Opened), EngineError> {
    let mut bench = Bench::unopened(disk);
    let mut ops = Vec::new();
    bench.engine.start(CLUSTER, NODE, 1, &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
    let opened = bench.drain_full(ops)?;
    Ok((bench, opened.expect("it opens, or says why not")))
}

impl Bench {
    fn drain_full(&mut self, ops: Vec<DiskOp>) -> Result<Option<Opened>, EngineError> {
        let kept = self.disk.0.clone();
        let mut allocated = Vec::new();
        let opened = self.drain_lying(ops, &mut |op, done| {
            if let DiskOp::Allocate { file, bytes: 1.., .. } = op {
                allocated.push(*file);
            }
            full(op, done)
        });
        for file in allocated {
            match kept.get(&file) {
                Some(bytes) => self.disk.0.insert(file, bytes.clone()),
                None => self.disk.0.remove(&file),
            };
        }
        opened
    }

    /// Entries, a flush each, on a disk without space, until nothing fits any more: no spare segment can be made.
    fn fill(&mut self) {
        let mut entry = first_entry();
        for _ in 0..64 {
            self.append(Record::Entry(entry.clone()));
            entry = follow(&entry);
            let mut ops = Vec::new();
            self.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
            self.drain_full(ops).expect("a full disk is no reason to stop");
        }
        assert!(self.engine.is_full());
    }

    /// A second goes by on a full disk.
    fn wait_full(&mut self, second: u64) {
        let mut ops = Vec::new();
        let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
        let now = Monotonic::from_nanos(second * 1_000_000_000);
        self.engine.keep_space(now, out).expect("it goes on");
        self.drain_full(ops).expect("it goes on");
    }
}

#[test]
fn the_journal_goes_on_behind_its_end() {
    let mut disk = with_entries(2);
    let files = disk.0.len();
    // The largest flush fits behind the end once, and then the empty file.
    for start in 2..=3 {
        let (mut bench, opened) = Bench::open(disk).expect("it opens");
        assert_eq!(ops(&opened).len(), 2, "start {start}");
        assert_eq!(bench.disk.0.len(), files, "start {start}");
        bench.append(Record::Truncation { group: GROUP, above: Op::new(2) });
        bench.flush();
        disk = bench.disk;
    }
    let first = &disk.0[&segment(0)];
    assert!(first[2 * BLOCK_BYTES..].starts_with(b"CHRNFLSH"), "the second run went on in the first file");
}

#[test]
fn a_start_needs_no_space_however_often_and_however_full_the_journal_is() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    bench.fill();
    let written = bench.durable.get();
    assert!((10..64).contains(&written), "{written} records fit what was there");
    let mut disk = bench.disk;
    for _ in 0..5 {
        let (bench, opened) = open_full(disk).expect("a start needs no space");
        assert_eq!(crate::types::u64_of(ops(&opened).len()), written);
        disk = bench.disk;
    }
    // With space again it goes on where it stood.
    let (mut bench, _) = Bench::open(disk).expect("it opens");
    bench.append(Record::HardState { group: GROUP, state: Bytes::from_static(b"promise") });
    bench.flush();
    let (_, opened) = Bench::open(bench.disk).expect("it opens");
    assert!(opened.logs[&GROUP].hard_state.is_some());
}

#[test]
fn a_snapshot_that_finds_no_space_is_given_up_and_tried_again_with_the_reserve() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    bench.write_entries(3);
    let mut ops = Vec::new();
    let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
    bench.engine.keep_space(Monotonic::from_nanos(1), out).expect("there is space");
    bench.drain(ops).expect("there is space");
    assert_eq!(bench.disk.0[&FileId::Reserve].len(), 64 << 10, "as long as a segment");
    let save = |bench: &mut Bench| {
        let mut ops = Vec::new();
        let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
        let mut body = SnapshotBody::new(4096);
        body.put(b"state");
        bench.engine.save_snapshot(GROUP, Op::new(3), body, out);
        ops
    };
    let ops = save(&mut bench);
    bench.drain_full(ops).expect("a full disk is no reason to stop");
    assert!(bench.engine.is_full() && !bench.engine.can_save_snapshot());
    bench.wait_full(2);
    bench.wait_full(3);
    assert_eq!(bench.disk.0[&FileId::Reserve].len(), 0, "the reserve was given back");
    assert!(bench.engine.can_save_snapshot());
    let ops = save(&mut bench);
    bench.drain(ops).expect("there is space");
    assert_eq!(bench.engine.saved(GROUP), Op::new(3));
    assert!(bench.engine.is_full(), "until the reserve is there again");
    for second in 4..=5 {
        let mut ops = Vec::new();
        let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
        bench.engine.keep_space(Monotonic::from_nanos(second * 1_000_000_000), out).expect("there is space");
        bench.drain(ops).expect("there is space");
    }
    assert!(!bench.engine.is_full());
}

#[test]
fn a_first_start_without_space_is_refused_by_name() {
    let Err(EngineError::Storage(what)) = open_full(formatted()).map(|_| ()) else {
        panic!("there is nothing that it could go on with")
    };
    assert!(what.contains("no space is left for the first journal segment, of 65536 bytes"), "{what}");
}

#[test]
fn segments_that_no_manifest_names_are_given_back_when_no_space_is_left() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    // A process let go of it, and died before it used it again.
    let nameless = segment(5);
    bench.disk.0.insert(nameless, vec![1; 64 << 10]);
    bench.fill();
    let written = bench.durable.get();
    for second in 2..=6 {
        bench.wait_full(second);
    }
    assert!(bench.disk.0[&nameless].is_empty(), "it takes no space any more");
    let (_, opened) = Bench::open(bench.disk).expect("it opens");
    assert_eq!(u64_of(ops(&opened).len()), written, "what is named is as it was");
}

#[test]
fn a_full_disk_is_tried_now_and_then_and_the_reserve_is_given_back() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    let mut ops = Vec::new();
    let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
    bench.engine.keep_space(Monotonic::from_nanos(1), out).expect("there is space");
    bench.drain(ops).expect("there is space");
    assert!(!bench.disk.0[&FileId::Reserve].is_empty());
    bench.fill();
    let (mut tries, mut cuts) = (0, 0);
    for beat in 20..120 {
        let mut ops = Vec::new();
        let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
        bench.engine.keep_space(Monotonic::from_nanos(beat * 100_000_000), out).expect("it goes on");
        bench
            .drain_lying(ops, &mut |op, done| {
                tries +=
                    u64::from(matches!(op, DiskOp::Allocate { file: FileId::Segment(_), bytes: 1.., .. }));
                cuts += u64::from(matches!(op, DiskOp::Allocate { bytes: 0, .. }));
                full(op, done)
            })
            .expect("it goes on");
    }
    assert!((5..=15).contains(&tries), "{tries} tries in ten seconds");
    assert!(cuts < 20, "{cuts} cuts in ten seconds");
    assert!(bench.disk.0[&FileId::Reserve].is_empty(), "the reserve was given back");
}

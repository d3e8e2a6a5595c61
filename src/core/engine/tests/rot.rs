//! What rots is named, and read as far as it is whole.

use super::*;

/// Flips a bit of the byte at `at` of the first segment.
fn flip(disk: &mut PerfectDisk, at: usize) {
    disk.0.get_mut(&segment(0)).expect("the segment exists")[at] ^= 1;
}

#[test]
fn a_rotten_payload_behind_a_barrier_is_named_and_the_rest_is_read() {
    for op in 1..=3 {
        let mut disk = with_entries(4);
        let previous = if op == 1 { 0 } else { 200 };
        flip(&mut disk, (op - 1) * BLOCK_BYTES + FIRST_PAYLOAD + previous);
        let (_, opened) = Bench::open(disk).expect("one entry less is no reason to stop");
        let op = crate::types::u64_of(op);
        assert_eq!(faulty(&opened), [op]);
        assert_eq!(ops(&opened), (1..=4).filter(|other| *other != op).collect::<Vec<_>>());
    }
}

#[test]
fn a_flush_without_its_head_is_named_by_the_next_and_what_is_left_of_it_is_read() {
    let mut disk = with_entries(4);
    flip(&mut disk, BLOCK_BYTES + 50);
    let (_, opened) = Bench::open(disk).expect("the next flush names it");
    assert_eq!((faulty(&opened), ops(&opened)), (vec![], vec![1, 2, 3, 4]), "the payload itself is whole");
    let mut disk = with_entries(4);
    disk.0.get_mut(&segment(0)).expect("it exists")[BLOCK_BYTES..2 * BLOCK_BYTES].fill(0xee);
    let (bench, opened) = Bench::open(disk).expect("the next flush names it");
    assert_eq!((faulty(&opened), ops(&opened)), (vec![2], vec![1, 3, 4]));
    let (_, opened) = Bench::open(bench.disk).expect("and at the next start");
    assert_eq!((faulty(&opened), ops(&opened)), (vec![2], vec![1, 3, 4]));
}

#[test]
fn the_oldest_flush_is_named_too_and_where_its_body_began_is_not_known() {
    let mut disk = with_entries(4);
    flip(&mut disk, 50);
    let (_, opened) = Bench::open(disk).expect("the next flush names it");
    assert_eq!((faulty(&opened), ops(&opened)), (vec![1], vec![2, 3, 4]));
}

#[test]
fn an_inspection_names_what_is_lost_and_what_is_torn() {
    let mut disk = with_entries(4);
    flip(&mut disk, BLOCK_BYTES + FIRST_PAYLOAD + 200);
    flip(&mut disk, 3 * BLOCK_BYTES + FIRST_PAYLOAD + 200);
    let file = |bytes| ReadFile { bytes: Bytes::from(bytes), unreadable: Vec::new() };
    let read = |id| disk.0.get(&id).cloned().map(file);
    let inspection = inspect(read).expect("the manifest is whole");
    let findings: Vec<String> = inspection.findings.iter().map(ToString::to_string).collect();
    assert_eq!(
        findings,
        [
            "segment 0 offset 4096: flush 2 is rotten in its body; lost: group 3 op 2",
            "segment 0 offset 12288: flush 4 is torn: it was never acknowledged"
        ]
    );
    assert_eq!(inspection.flushes.len(), 4);
    let logs = inspection.logs.expect("a start would go on");
    assert_eq!(logs[&GROUP].entries.len(), 3);
    assert!(inspect(|_| None).is_err(), "there is no manifest");
}

/// Opens a disk that fails the reads of segments that `fails` picks by slot, offset and length.
fn open_failing(
    mut disk: PerfectDisk,
    mut fails: impl FnMut(u32, u64, u32) -> bool,
) -> Result<Opened, EngineError> {
    let mut engine = Engine::new(config());
    let mut ops = Vec::new();
    engine.start(CLUSTER, NODE, 1, &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
    let mut queue = VecDeque::from(ops);
    while let Some(op) = queue.pop_front() {
        let done = match op {
            DiskOp::Read { id, file: FileId::Segment(slot), offset, bytes } if fails(slot, offset, bytes) => {
                DiskDone { id, outcome: DiskOutcome::Failed }
            }
            op => disk.run(op),
        };
        let mut more = Vec::new();
        let out = &mut DiskOut { ops: &mut more, marks: &mut NoMarks };
        if let Some(EngineEvent::Opened(opened)) = engine.on_done(Monotonic::default(), done, out)? {
            return Ok(opened);
        }
        queue.extend(more);
    }
    panic!("a start ends in one way or the other")
}

/// Whether a read takes in the block with this number of the first segment.
fn takes_in(block: usize, slot: u32, offset: u64, bytes: u32) -> bool {
    let at = crate::types::u64_of(block * BLOCK_BYTES);
    slot == 0 && (offset..offset + u64::from(bytes)).contains(&at)
}

#[test]
fn a_read_that_fails_is_tried_again_and_around_the_block_that_cannot_be_read() {
    let mut failures = 0;
    let opened = open_failing(with_entries(4), |slot, offset, bytes| {
        failures += 1;
        failures <= 3 && takes_in(0, slot, offset, bytes)
    });
    let opened = opened.expect("the disk recovers");
    assert_eq!((faulty(&opened), ops(&opened)), (vec![], vec![1, 2, 3, 4]));
    let opened = open_failing(with_entries(4), |slot, offset, bytes| takes_in(1, slot, offset, bytes));
    let opened = opened.expect("the next flush names what was there");
    assert_eq!((faulty(&opened), ops(&opened)), (vec![2], vec![1, 3, 4]));
}

#[test]
fn a_block_at_the_end_that_cannot_be_read_is_not_taken_for_a_torn_one() {
    let opened = open_failing(with_entries(4), |slot, offset, bytes| takes_in(3, slot, offset, bytes));
    let Err(EngineError::Storage(what)) = opened.map(|_| ()) else {
        panic!("a flush that may have been acknowledged is dropped")
    };
    assert!(what.contains("the block at offset 12288 cannot be read"), "{what}");

    // The first flush of a new run, behind the end that the start recorded.
    let (mut bench, _) = Bench::open(with_entries(3)).expect("it opens again");
    bench.append(Record::Truncation { group: GROUP, above: Op::new(2) });
    bench.flush();
    let opened = open_failing(bench.disk, |slot, offset, bytes| takes_in(3, slot, offset, bytes));
    assert!(matches!(opened, Err(EngineError::Storage(what)) if what.contains("cannot be read")));
}

#[test]
fn a_head_of_several_blocks_of_which_one_cannot_be_read_is_not_taken_for_a_torn_one() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    let mut entry = first_entry();
    for _ in 0..30 {
        bench.append(Record::Entry(entry.clone()));
        entry = follow(&entry);
    }
    bench.flush();
    let opened = open_failing(bench.disk, |slot, offset, bytes| takes_in(1, slot, offset, bytes));
    assert!(matches!(opened, Err(EngineError::Storage(what)) if what.contains("cannot be read")));
}

#[test]
fn a_repaired_entry_takes_the_place_of_the_faulty_one() {
    let mut disk = with_entries(4);
    let two = follow(&first_entry());
    disk.0.get_mut(&segment(0)).expect("it exists")[BLOCK_BYTES..2 * BLOCK_BYTES].fill(0);
    let (mut bench, _) = Bench::open(disk).expect("the next flush names it");
    bench.append(Record::Entry(two));
    bench.flush();
    let (_, opened) = Bench::open(bench.disk).expect("it opens");
    assert_eq!((faulty(&opened), ops(&opened)), (vec![], vec![1, 2, 3, 4]));
}

#[test]
fn a_promise_outlives_either_of_its_copies_and_the_head_of_its_flush() {
    let promised = || {
        let (mut bench, _) = Bench::open(formatted()).expect("it opens");
        bench.append(Record::HardState { group: GROUP, state: Bytes::from_static(b"promise") });
        bench.flush();
        bench.write_entries(2);
        bench.disk
    };
    let bytes = promised().0.remove(&segment(0)).expect("it exists");
    let copies: Vec<usize> =
        bytes.windows(7).enumerate().filter(|(_, window)| *window == b"promise").map(|(at, _)| at).collect();
    assert_eq!(copies.len(), 2);
    for lost in [copies[0]..copies[0] + 7, copies[1]..copies[1] + 7, 0..BLOCK_BYTES] {
        let mut disk = promised();
        disk.0.get_mut(&segment(0)).expect("it exists")[lost].fill(0xee);
        let (_, opened) = Bench::open(disk).expect("one copy is left");
        let (_, state) = opened.logs[&GROUP].hard_state.clone().expect("a promise was written");
        assert_eq!(&state[..], b"promise");
    }
    let mut disk = promised();
    disk.0.get_mut(&segment(0)).expect("it exists")[..2 * BLOCK_BYTES].fill(0xee);
    let Err(EngineError::Storage(what)) = Bench::open(disk).map(|_| ()) else {
        panic!("the newest promise is lost, and the engine opened");
    };
    assert!(what.contains("promise of group 3"), "{what}");
}

#[test]
fn what_nothing_names_stops_the_engine() {
    let mut disk = with_entries(5);
    disk.0.get_mut(&segment(0)).expect("it exists")[BLOCK_BYTES..3 * BLOCK_BYTES].fill(0);
    let Err(EngineError::Storage(what)) = Bench::open(disk).map(|_| ()) else {
        panic!("two flushes that were durable are lost, and the engine opened");
    };
    assert!(what.contains("flushes 2 to 3 are rotten behind offset 4096"), "{what}");
}

#[test]
fn a_flush_in_another_place_is_none() {
    let mut disk = with_entries(4);
    // A write of the first flush went over the second: its place tells.
    disk.0.get_mut(&segment(0)).expect("it exists").copy_within(..BLOCK_BYTES, BLOCK_BYTES);
    let (_, opened) = Bench::open(disk).expect("the third flush names the second");
    assert_eq!((faulty(&opened), ops(&opened)), (vec![2], vec![1, 3, 4]));
}

#[test]
fn the_last_flush_below_a_recorded_end_is_named_only_by_what_follows() {
    let mut disk = with_entries(3);
    let (mut bench, _) = Bench::open(disk.clone()).expect("it opens again, and records the end");
    let flip_third = |disk: &mut PerfectDisk| flip(disk, 2 * BLOCK_BYTES + 50);
    flip_third(&mut bench.disk);
    let opened = Bench::open(bench.disk).map(|_| ());
    assert!(matches!(opened, Err(EngineError::Storage(what)) if what.contains("rotten")));

    let (mut bench, _) = Bench::open(disk.clone()).expect("it opens again, and records the end");
    bench.append(Record::Truncation { group: GROUP, above: Op::new(3) });
    bench.flush();
    flip_third(&mut bench.disk);
    let (_, opened) = Bench::open(bench.disk).expect("the first flush of the next segment names it");
    assert_eq!((faulty(&opened), ops(&opened)), (vec![], vec![1, 2, 3]));

    flip_third(&mut disk);
    let (_, opened) = Bench::open(disk).expect("nothing says that it was durable: it is torn");
    assert_eq!((faulty(&opened), ops(&opened)), (vec![], vec![1, 2]));
}

#[test]
fn nothing_behind_a_recorded_end_is_read_again() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    bench.write_entries(3);
    let torn = bench.disk.0[&segment(0)][2 * BLOCK_BYTES..3 * BLOCK_BYTES].to_vec();
    bench.disk.0.get_mut(&segment(0)).expect("the segment exists")[2 * BLOCK_BYTES..3 * BLOCK_BYTES].fill(0);
    let (mut bench, opened) = Bench::open(bench.disk).expect("the third flush never reached the disk");
    assert_eq!(ops(&opened), [1, 2]);
    bench.disk.0.get_mut(&segment(0)).expect("the segment exists")[2 * BLOCK_BYTES..3 * BLOCK_BYTES]
        .copy_from_slice(&torn);
    let (_, opened) = Bench::open(bench.disk).expect("it opens");
    assert_eq!(ops(&opened), [1, 2], "the ghost came back");
}

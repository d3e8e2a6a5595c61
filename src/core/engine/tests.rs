//! The journal and the manifest against torn, flipped and foreign bytes.

use alloc::collections::VecDeque;
use alloc::string::{String, ToString};
use alloc::vec;
use alloc::vec::Vec;

use bytes::Bytes;
use proptest::prelude::*;

use super::flush::{FlushPlan, Found, build, read_head};
use super::manifest::{AREA_BYTES, COPY_BYTES, Manifest};
use super::perfect_disk::PerfectDisk;
use super::*;
use crate::types::{
    CommitIndex, Entry, EntryKind, GroupInit, Hash, Monotonic, Nanos, NoMarks, Op, Timestamp, View,
};

const CLUSTER: ClusterId = ClusterId::new(7);
const NODE: NodeId = NodeId::new(1);
const GROUP: GroupId = GroupId::new(3);

fn identity() -> Identity {
    let init = GroupInit {
        cluster: CLUSTER,
        group: GROUP,
        kind: "register".to_string(),
        voters: vec![NODE],
        sessions_max: 8,
    };
    Identity { cluster: CLUSTER, node: NODE, groups: vec![init] }
}

fn config() -> EngineConfig {
    EngineConfig {
        segment_bytes: 64 << 10,
        flush_bytes_max: 16 << 10,
        flushes_in_flight_max: 2,
        sealed_segments_target: 4,
        idle_mark_after: Nanos::from_millis(1),
    }
}

fn formatted() -> PerfectDisk {
    let mut disk = PerfectDisk::default();
    for op in format(&identity()).expect("the identity is right") {
        disk.run(op);
    }
    disk
}

/// An engine on a disk that does at once what it is asked.
struct Bench {
    engine: Engine,
    disk: PerfectDisk,
    durable: Ordinal,
}

impl Bench {
    fn open(disk: PerfectDisk) -> Result<(Self, Opened), EngineError> {
        Self::open_as(disk, CLUSTER, NODE)
    }

    fn open_as(disk: PerfectDisk, cluster: ClusterId, node: NodeId) -> Result<(Self, Opened), EngineError> {
        let mut bench = Self { engine: Engine::new(config()), disk, durable: Ordinal::default() };
        let mut ops = Vec::new();
        bench.engine.start(cluster, node, &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
        let opened = bench.drain(ops)?;
        Ok((bench, opened.expect("a perfect disk completes everything")))
    }

    fn drain(&mut self, ops: Vec<DiskOp>) -> Result<Option<Opened>, EngineError> {
        let mut queue = VecDeque::from(ops);
        let mut opened = None;
        while let Some(op) = queue.pop_front() {
            let done = self.disk.run(op);
            let mut more = Vec::new();
            match self.engine.on_done(
                Monotonic::default(),
                done,
                &mut DiskOut { ops: &mut more, marks: &mut NoMarks },
            )? {
                Some(EngineEvent::Opened(found)) => opened = Some(found),
                Some(EngineEvent::Durable(through)) => self.durable = through,
                None => {}
            }
            queue.extend(more);
        }
        Ok(opened)
    }

    fn append(&mut self, record: Record) -> Ordinal {
        self.engine.writer().expect("the engine is open").append(record)
    }

    fn flush(&mut self) {
        let mut ops = Vec::new();
        self.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
        self.drain(ops).expect("the disk is perfect");
    }

    /// Entries 1..=count, a flush each; the last of them.
    fn write_entries(&mut self, count: u64) -> Entry {
        let mut entry = first_entry();
        for op in 1..=count {
            if op > 1 {
                entry = follow(&entry);
            }
            let ordinal = self.append(Record::Entry(entry.clone()));
            self.flush();
            assert_eq!(self.durable, ordinal);
        }
        entry
    }
}

fn first_entry() -> Entry {
    let genesis = identity().groups[0].genesis();
    Entry::next(
        &genesis,
        EntryKind::Commands,
        View::new(1),
        Timestamp::from_nanos(1),
        Bytes::from_static(b"one"),
    )
}

fn follow(entry: &Entry) -> Entry {
    let timestamp = entry.header().timestamp().next();
    Entry::next(entry.header(), EntryKind::Commands, View::new(1), timestamp, Bytes::from_static(b"next"))
}

/// The ops that a start found whole.
fn ops(opened: &Opened) -> Vec<u64> {
    entries(opened, |entry| matches!(entry, RecoveredEntry::Whole(_)))
}

/// Those that it found faulty.
fn faulty(opened: &Opened) -> Vec<u64> {
    entries(opened, |entry| matches!(entry, RecoveredEntry::Faulty(_)))
}

fn entries(opened: &Opened, which: impl Fn(&RecoveredEntry) -> bool) -> Vec<u64> {
    let entries = opened.logs.get(&GROUP).into_iter().flat_map(|log| &log.entries);
    entries.filter(|(_, (_, entry))| which(entry)).map(|(op, _)| op.get()).collect()
}

fn segment(slot: u32) -> FileId {
    FileId::Segment(slot)
}

#[test]
fn what_was_durable_is_there_after_a_restart() {
    let (mut bench, opened) = Bench::open(formatted()).expect("a fresh directory opens");
    assert_eq!(opened.incarnation, Incarnation::new(1));
    bench.write_entries(5);
    bench.append(Record::Truncation { group: GROUP, above: Op::new(4) });
    bench.append(Record::HardState { group: GROUP, state: Bytes::from_static(b"promise") });
    bench.flush();
    let (_, opened) = Bench::open(bench.disk).expect("it opens again");
    assert_eq!(opened.incarnation, Incarnation::new(2));
    assert_eq!(ops(&opened), [1, 2, 3, 4]);
    let (_, state) = opened.logs[&GROUP].hard_state.clone().expect("a promise was written");
    assert_eq!(&state[..], b"promise");
}

#[test]
fn the_journal_goes_on_over_many_restarts_and_segments() {
    let mut disk = formatted();
    let mut entry = first_entry();
    for start in 1..=6 {
        let (mut bench, opened) = Bench::open(disk).expect("it opens");
        assert_eq!(ops(&opened).len(), 20 * (start - 1));
        for _ in 0..20 {
            bench.append(Record::Entry(entry.clone()));
            entry = follow(&entry);
            bench.flush();
        }
        disk = bench.disk;
    }
}

#[test]
fn a_torn_last_flush_ends_the_journal() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    bench.write_entries(3);
    // The third flush is the third block of the first segment. No later flush says that it was durable.
    bench.disk.0.get_mut(&segment(0)).expect("the segment exists")[2 * BLOCK_BYTES + 200] ^= 1;
    let (_, opened) = Bench::open(bench.disk).expect("a torn tail is an ordinary thing");
    assert_eq!(ops(&opened), [1, 2]);
}

/// A disk with entries 1 to `count`, each in a flush of one block.
fn with_entries(count: u64) -> PerfectDisk {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    bench.write_entries(count);
    bench.disk
}

/// Flips a bit of the byte at `at` of the first segment.
fn flip(disk: &mut PerfectDisk, at: usize) {
    disk.0.get_mut(&segment(0)).expect("the segment exists")[at] ^= 1;
}

/// Where the payload of an entry's flush begins on this disk: a head with a directory of one line, or of two.
const FIRST_PAYLOAD: usize = 136 + 200;

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
    engine.start(CLUSTER, NODE, &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
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

    // The first flush of a new run: the segment before it was ended by the start, and has no footer.
    let (mut bench, _) = Bench::open(with_entries(3)).expect("it opens again");
    bench.append(Record::Truncation { group: GROUP, above: Op::new(2) });
    bench.flush();
    let opened = open_failing(bench.disk, |slot, offset, _| slot == 2 && offset == 0);
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

#[test]
fn one_flush_carries_all_that_waits_and_acknowledgements_come_in_order() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    let entry = first_entry();
    bench.append(Record::Entry(entry.clone()));
    bench.append(Record::Entry(follow(&entry)));
    let mut first = Vec::new();
    bench.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut first, marks: &mut NoMarks });
    assert_eq!(first.len(), 2, "one write, one barrier");
    bench.append(Record::HardState { group: GROUP, state: Bytes::from_static(b"p") });
    let mut second = Vec::new();
    bench.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut second, marks: &mut NoMarks });
    // The later flush completes first: nothing is acknowledged before the earlier one is durable.
    bench.drain(second).expect("the disk is perfect");
    assert_eq!(bench.durable, Ordinal::new(0));
    bench.drain(first).expect("the disk is perfect");
    assert_eq!(bench.durable, Ordinal::new(3));
}

#[test]
fn a_write_is_not_durable_before_its_barrier() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    bench.append(Record::Entry(first_entry()));
    let mut ops = Vec::new();
    bench.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
    let barrier = ops.pop().expect("a barrier");
    bench.drain(ops).expect("the disk is perfect");
    assert_eq!(bench.durable, Ordinal::new(0));
    bench.drain(vec![barrier]).expect("the disk is perfect");
    assert_eq!(bench.durable, Ordinal::new(1));
}

#[test]
fn records_that_belong_together_share_a_flush() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    let big = || Record::HardState { group: GROUP, state: Bytes::from(vec![1; 3000]) };
    bench.append(Record::HardState { group: GROUP, state: Bytes::from(vec![2; 6000]) });
    let writer = bench.engine.writer().expect("the engine is open");
    writer.append_together(vec![Record::Truncation { group: GROUP, above: Op::new(0) }, big()]);
    let mut ops = Vec::new();
    bench.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
    assert_eq!(ops.len(), 4, "two flushes: the second unit does not fit the first, and is not parted");
}

#[test]
fn a_failed_write_stops_the_engine() {
    let (mut bench, _) = Bench::open(formatted()).expect("it opens");
    bench.append(Record::Entry(first_entry()));
    let mut ops = Vec::new();
    bench.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
    let failed = DiskDone { id: ops[0].id(), outcome: DiskOutcome::Failed };
    let mut more = Vec::new();
    assert!(matches!(
        bench.engine.on_done(
            Monotonic::default(),
            failed,
            &mut DiskOut { ops: &mut more, marks: &mut NoMarks }
        ),
        Err(EngineError::Disk(_))
    ));
    assert!(bench.engine.writer().is_none(), "it takes nothing more");
}

#[test]
fn foreign_and_unformatted_directories_are_refused_by_name() {
    let refused = |disk: PerfectDisk, cluster, node| match Bench::open_as(disk, cluster, node) {
        Err(EngineError::Storage(what)) => what,
        Err(other) => panic!("refused for another reason: {other}"),
        Ok(_) => panic!("it opened"),
    };
    assert!(refused(PerfectDisk::default(), CLUSTER, NODE).contains("never formatted"));
    assert!(refused(formatted(), CLUSTER, NodeId::new(2)).contains("belongs to node 1, not to 2"));
    assert!(refused(formatted(), ClusterId::new(8), NODE).contains("belongs to cluster"));
}

#[test]
fn formatting_refuses_impossible_groups() {
    let with = |change: fn(&mut Identity)| {
        let mut identity = identity();
        change(&mut identity);
        format(&identity).map(|_| ()).map_err(|error| error.to_string())
    };
    let refused = |change, part: &str| {
        let what: String = with(change).expect_err("it was formatted");
        assert!(what.contains(part), "{what}");
    };
    refused(|i| i.groups[0].voters.clear(), "has 0 voters; 1 to 7 are allowed");
    refused(|i| i.groups[0].voters = vec![NodeId::new(2)], "does not name node 1");
    refused(|i| i.groups[0].voters = vec![NODE, NODE], "ascending order");
    refused(|i| i.groups[0].sessions_max = 0, "sessions_max is 0");
    refused(|i| i.groups[0].cluster = ClusterId::new(1), "founded for another cluster");
    assert_eq!(with(|_| {}), Ok(()));
}

#[test]
fn the_manifest_opens_at_the_highest_sequence_with_two_equal_copies() {
    let older = Manifest::first(identity());
    let mut newer = older.clone();
    newer.sequence = 2;
    newer.body.incarnation = Incarnation::new(9);
    let file = |newer_area: Vec<u8>| {
        let mut file = newer_area;
        file.extend(older.to_area().expect("it fits"));
        file
    };
    let whole = newer.to_area().expect("it fits");
    assert_eq!(Manifest::open(&file(whole.clone()), &mut NoMarks).as_ref(), Ok(&newer));
    let mut two_left = whole.clone();
    two_left[..2 * COPY_BYTES].fill(0);
    assert_eq!(Manifest::open(&file(two_left), &mut NoMarks).as_ref(), Ok(&newer));
    let mut one_left = whole;
    one_left[..3 * COPY_BYTES].fill(0);
    assert_eq!(
        Manifest::open(&file(one_left), &mut NoMarks).as_ref(),
        Ok(&older),
        "one stray copy decides nothing"
    );
    assert!(Manifest::open(&vec![0; 2 * AREA_BYTES], &mut NoMarks).is_err());
}

fn sample_flush() -> Vec<u8> {
    let entry = first_entry();
    let records = [
        (Ordinal::new(1), Record::Entry(entry)),
        (Ordinal::new(2), Record::HardState { group: GROUP, state: Bytes::from_static(b"promise") }),
    ];
    let plan = FlushPlan {
        generation: 5,
        at: 0,
        number: 9,
        previous: Hash::of(b"before"),
        barrier: 8,
        commits: &[(GROUP, CommitIndex::At(Op::new(0)))],
        records: &records,
        previous_directory: &[],
    };
    build(&plan).bytes
}

#[test]
fn both_copies_of_a_hard_state_lie_in_different_blocks() {
    let bytes = sample_flush();
    let head = read_head(&bytes, 5, 0).expect("it was just built");
    let copies: Vec<_> = head.directory.iter().filter(|line| line.ordinal == Ordinal::new(2)).collect();
    assert_eq!(copies.len(), 2);
    let found: Vec<usize> =
        bytes.windows(7).enumerate().filter(|(_, w)| *w == b"promise").map(|(at, _)| at).collect();
    assert_eq!(found.len(), 2);
    assert_ne!(found[0] / BLOCK_BYTES, found[1] / BLOCK_BYTES);
    for rotten in found {
        let mut bytes = bytes.clone();
        bytes[rotten] ^= 1;
        let records = head.records(&Bytes::from(bytes));
        let whole = records.iter().filter(|(_, found)| matches!(found, Found::Whole(_))).count();
        assert_eq!((records.len(), whole), (2, 2), "it is read once, from the copy that is whole");
    }
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_flush(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        prop_assert!(read_head(&bytes, 5, 0).is_err());
    }

    #[test]
    fn a_flipped_bit_of_a_flush_is_noticed(at in 0_usize..4096, bit in 0_u8..8) {
        let mut bytes = sample_flush();
        let whole = read_head(&bytes, 5, 0).expect("it was just built");
        let body_end = bytes.iter().rposition(|byte| *byte != 0).expect("it is not empty") + 1;
        prop_assume!(at < body_end && at < whole.flush_bytes);
        bytes[at] ^= 1 << bit;
        prop_assert!(read_head(&bytes, 5, 0).map_or(true, |head| !head.is_body_whole(&bytes)));
    }

    #[test]
    fn a_truncated_flush_is_no_flush(keep in 0_usize..8192) {
        let bytes = sample_flush();
        let body_end = bytes.iter().rposition(|byte| *byte != 0).expect("it is not empty") + 1;
        let cut = &bytes[..keep.min(body_end - 1)];
        prop_assert!(read_head(cut, 5, 0).map_or(true, |head| !head.is_body_whole(cut)));
    }
}

fn chain(group: GroupId, parent: &crate::types::EntryHeader, view: u64, bytes: usize) -> Entry {
    Entry::next(
        parent,
        EntryKind::Commands,
        View::new(view),
        parent.timestamp().next(),
        Bytes::from(vec![7; bytes]),
    )
    .clone_for(group)
}
trait CloneFor {
    fn clone_for(self, group: GroupId) -> Self;
}
impl CloneFor for Entry {
    fn clone_for(self, _: GroupId) -> Self {
        self
    }
}

#[test]
fn a_flush_tells_no_commit_before_the_record_it_speaks_of() {
    let (mut bench, opened) = Bench::open(formatted()).expect("opens");
    let init = GroupInit {
        voters: vec![NodeId::new(1), NodeId::new(2), NodeId::new(3)],
        ..opened.identity.groups[0].clone()
    };
    let genesis = init.genesis();
    let one = chain(GROUP, &genesis, 1, 10);
    let old = chain(GROUP, one.header(), 1, 10);
    let new = chain(GROUP, one.header(), 2, 11);
    let mut ops = Vec::new();
    {
        let w = bench.engine.writer().unwrap();
        w.append(Record::Entry(one.clone()));
        w.append(Record::Entry(old.clone()));
    }
    bench.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
    bench.drain(core::mem::take(&mut ops)).unwrap();
    {
        // Other groups have staged more than a flush takes; then this group takes op 2 as another view committed it.
        let other = GroupInit { group: GroupId::new(9), ..init.clone() };
        let mut parent = other.genesis();
        let w = bench.engine.writer().unwrap();
        for _ in 0..3 {
            let e = chain(GroupId::new(9), &parent, 1, 7000);
            parent = *e.header();
            w.append(Record::Entry(e));
        }
        w.append(Record::Truncation { group: GROUP, above: Op::new(1) });
        w.append(Record::Entry(new.clone()));
        w.note_commit(GROUP, CommitIndex::At(Op::new(2)));
    }
    bench.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
    let writes: Vec<_> = ops.iter().filter(|op| matches!(op, DiskOp::Write { .. })).cloned().collect();
    // The first of the flushes reaches the disk, then the power goes.
    bench.disk.run(writes[0].clone());
    let (_, opened) = Bench::open(bench.disk).expect("opens");
    assert_eq!(self::ops(&opened), [1, 2]);
    assert_eq!(opened.logs[&GROUP].commit, CommitIndex::None, "op 2 is committed as another entry");
}

#[test]
fn a_blocked_journal_does_not_spin() {
    let (mut bench, opened) = Bench::open(formatted()).expect("opens");
    let mut parent = opened.identity.groups[0].genesis();
    let mut spare_wanted = Vec::new();
    let mut flushes = VecDeque::new();
    // Files are slow to be made, flushes are not.
    for step in 0..40_u64 {
        let now = Monotonic::from_nanos(step * 1000);
        for _ in 0..(if step == 0 { 1 } else { 2 }) {
            let e = chain(GROUP, &parent, 1, 12_000);
            parent = *e.header();
            bench.engine.writer().unwrap().append(Record::Entry(e));
        }
        let mut ops = Vec::new();
        bench.engine.flush(now, &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
        flushes.extend(ops);
        while let Some(op) = flushes.pop_front() {
            if matches!(op, DiskOp::Allocate { .. }) {
                spare_wanted.push(op);
                continue;
            }
            let done = bench.disk.run(op);
            let mut more = Vec::new();
            bench.engine.on_done(now, done, &mut DiskOut { ops: &mut more, marks: &mut NoMarks }).unwrap();
            flushes.extend(more);
        }
    }
    let later = Monotonic::from_nanos(50_000_000_000);
    let mut ops = Vec::new();
    bench.engine.flush(later, &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
    assert!(
        bench.engine.deadline().is_none_or(|at| at > later),
        "a deadline in the past that nothing can meet"
    );
}

//! What a journal promises while its disk does what it is told.

use super::*;
use crate::types::{CommitIndex, Incarnation};

#[test]
fn what_was_durable_is_there_after_a_restart() {
    let (mut bench, opened) = Bench::open(formatted()).expect("a fresh directory opens");
    assert_eq!(opened.boot.incarnation, Incarnation::new(1));
    bench.write_entries(5);
    bench.append(Record::Truncation { group: GROUP, above: Op::new(4) });
    bench.append(Record::HardState { group: GROUP, state: Bytes::from_static(b"promise") });
    bench.flush();
    let (_, opened) = Bench::open(bench.disk).expect("it opens again");
    assert_eq!(opened.boot.incarnation, Incarnation::new(2));
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
fn a_flush_tells_no_commit_before_the_record_it_speaks_of() {
    let (mut bench, opened) = Bench::open(formatted()).expect("opens");
    let init = GroupInit {
        voters: vec![NodeId::new(1), NodeId::new(2), NodeId::new(3)],
        ..opened.identity.groups[0].clone()
    };
    let genesis = init.genesis();
    let one = follow_with(&genesis, 1, 10);
    let old = follow_with(one.header(), 1, 10);
    let new = follow_with(one.header(), 2, 11);
    let mut ops = Vec::new();
    {
        let w = bench.engine.writer().expect("the engine is open");
        w.append(Record::Entry(one.clone()));
        w.append(Record::Entry(old.clone()));
    }
    bench.engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
    bench.drain(core::mem::take(&mut ops)).expect("the engine is open");
    {
        // Other groups have staged more than a flush takes; then this group takes op 2 as another view committed it.
        let other = GroupInit { group: GroupId::new(9), ..init.clone() };
        let mut parent = other.genesis();
        let w = bench.engine.writer().expect("the engine is open");
        for _ in 0..3 {
            let e = follow_with(&parent, 1, 7000);
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
            let e = follow_with(&parent, 1, 12_000);
            parent = *e.header();
            bench.engine.writer().expect("the engine is open").append(Record::Entry(e));
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
            bench
                .engine
                .on_done(now, done, &mut DiskOut { ops: &mut more, marks: &mut NoMarks })
                .expect("the engine is open");
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

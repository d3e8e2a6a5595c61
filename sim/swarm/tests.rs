//! Swarms that are cut off, go on, are split and put together.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::{Header, Merged, Record, Seeds, Summary, SwarmPlan, merge, open, read, swarm};
use crate::lines::ResultsError;
use crate::run::{Report, Simulation};
use crate::units::Shard;
use crate::workload::BuiltinWorkload;
use chronon_core::builtin::Builtin;

fn simulation() -> Simulation<Builtin, BuiltinWorkload> {
    Simulation::new(Builtin, BuiltinWorkload::default())
}

/// A record of a run that did not happen: only what the tests look at tells it from others.
fn record(seed: u64, trace: &str, fails_at: Option<&str>) -> Record {
    let (exit, rest) = match fails_at {
        Some(site) => (10, format!("\"kind\":\"StateSafety\",\"site\":\"{site}\",\"cause\":\"op {seed}\"")),
        None => (0, "\"kind\":null,\"site\":null,\"cause\":null".to_owned()),
    };
    let tally = serde_json::to_string(&crate::tally::Tally::default()).expect("plain data");
    let line = format!(
        "{{\"type\":\"run\",\"seed\":{seed},\"exit\":{exit},{rest},\"trace\":\"{trace}\",\"steps\":1,\
         \"simulated_ns\":2,\"wall_us\":{seed},\"nodes\":3,\"groups\":1,\"tally\":{tally},\
         \"compared\":{{\"StateSafety\":1}},\"marks\":{{}},\"replay\":\"chronon-sim replay {seed} --trace\"}}"
    );
    Record::read(line.as_bytes()).expect("a record")
}

fn header(seeds: Option<u64>, shard: Option<&str>) -> Header {
    let shard = shard.map(|text| Shard::parse(text).expect("a shard"));
    Header::new(1, seeds, shard, false).expect("a program")
}

fn write(dir: &Path, header: &Header, records: &[Record]) -> PathBuf {
    let (mut results, past) = open(dir).expect("a file");
    assert_eq!(past, None);
    results.begin(header).expect("a first line");
    records.iter().for_each(|record| results.add(record).expect("a line"));
    dir.join("results.jsonl")
}

fn summary(records: &[Record]) -> Summary {
    let mut summary = Summary::default();
    for record in records {
        summary.add(record);
    }
    summary
}

#[test]
fn a_swarm_runs_its_seeds_and_not_those_that_are_done() {
    let seeds = Seeds::new(1, Some(6), None).expect("seeds");
    let plan =
        SwarmPlan { seeds, done: BTreeSet::from([2, 3, 99]), time: None, jobs: 2, check_determinism: false };
    assert_eq!(plan.total(), Some(4));
    let mut ran = BTreeSet::new();
    swarm(&simulation(), &plan, &AtomicBool::new(false), |report| assert!(ran.insert(report.seed)));
    assert_eq!(ran, BTreeSet::from([1, 4, 5, 6]));
}

#[test]
fn a_swarm_that_is_stopped_tells_every_run_that_it_finished() {
    let seeds = Seeds::new(1, None, None).expect("seeds");
    let plan = SwarmPlan { seeds, done: BTreeSet::new(), time: None, jobs: 2, check_determinism: false };
    let stop = AtomicBool::new(false);
    let mut told: Vec<u64> = Vec::new();
    swarm(&simulation(), &plan, &stop, |report: &Report| {
        told.push(report.seed);
        stop.store(true, Ordering::Relaxed);
    });
    assert!((1..=6).contains(&told.len()), "{told:?}");
}

#[test]
fn a_file_cut_off_anywhere_is_read_up_to_its_last_whole_line_and_goes_on() {
    let dir = tempfile::tempdir().expect("a folder");
    let header = header(Some(4), None);
    let records: Vec<Record> =
        (1..=2).map(|seed| record(seed, "aa", (seed == 2).then_some("a.rs:1"))).collect();
    let path = write(dir.path(), &header, &records);
    let whole = fs::read(&path).expect("the file");
    let first = whole.iter().position(|byte| *byte == b'\n').expect("a line") + 1;
    for end in 0..=whole.len() {
        fs::write(&path, &whole[..end]).expect("the file");
        let (mut results, past) = open(dir.path()).expect("a file that can be read");
        let Some(past) = past else {
            assert!(end < first, "cut at {end}");
            continue;
        };
        let lines = whole[first..end].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(past.header, header);
        assert_eq!(past.records, records[..lines]);
        assert_eq!(past.torn, whole[end - 1] != b'\n', "cut at {end}");
        results.go_on(&past).expect("a cut");
        records[lines..].iter().for_each(|record| results.add(record).expect("a line"));
        assert_eq!(fs::read(&path).expect("the file"), whole, "cut at {end}");
    }
}

#[test]
fn a_file_is_written_by_one_process_at_a_time() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = open(dir.path()).expect("a file");
    assert!(matches!(open(dir.path()), Err(ResultsError::Busy { .. })));
    drop(first);
    assert!(open(dir.path()).is_ok());
}

#[test]
fn a_line_that_no_swarm_wrote_is_refused_with_its_place() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = write(dir.path(), &header(Some(4), None), &[record(1, "aa", None), record(2, "aa", None)]);
    let text = fs::read_to_string(&path).expect("the file");
    let refused = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        fs::write(&path, changed).expect("the file");
        read(dir.path()).expect_err(to).to_string()
    };
    let at = |place: &str| format!("{}:{place}: ", path.display());
    let error = refused("\"type\":\"run\",\"seed\":2,", "\"type\":\"run\",\"seed\":-2,");
    assert!(error.starts_with(&at("3:23")) && error.contains("expected u64"), "{error}");
    let error = refused("\"type\":\"swarm\"", "\"type\":\"herd\"");
    assert!(error.starts_with(&at("1:14")) && error.contains("expected `swarm`"), "{error}");
    let error = refused("\"shard\":null", "\"shard\":\"3/2\"");
    assert!(error.starts_with(&at("1:49")) && error.contains("`3/2` is not a shard"), "{error}");
    let error = refused("\"seeds\":4", "\"seeds\":0");
    assert!(error.starts_with(&at("1:1")) && error.contains("at least one"), "{error}");
}

#[test]
fn shards_put_together_are_the_swarm() {
    let dir = tempfile::tempdir().expect("a folder");
    let all: Vec<Record> =
        (1..=9).map(|seed| record(seed, "aa", (seed % 4 == 0).then_some("a.rs:1"))).collect();
    let whole = dir.path().join("whole");
    write(&whole, &header(Some(9), None), &all);
    let shards: Vec<PathBuf> = (1..=3)
        .map(|index| {
            let header = header(Some(9), Some(&format!("{index}/3")));
            let seeds = header.seeds().expect("seeds");
            let mut records: Vec<Record> =
                all.iter().filter(|record| seeds.contains(record.seed)).cloned().collect();
            records.reverse();
            let shard = dir.path().join(index.to_string());
            write(&shard, &header, &records);
            shard
        })
        .collect();
    let merged = merge(&shards).expect("shards");
    assert_eq!(merged.summary.to_json(), merge(&[whole]).expect("one").summary.to_json());
    assert_eq!(merged.summary.to_json(), summary(&all).to_json());
    assert_eq!((spans(&merged)), ["1-9", "none", "none"]);
    assert_eq!(merged.summary.exit_code(), 10);
    let text = merge(&shards[..2]).expect("two of three").to_string();
    assert!(text.contains("seeds covered: 6 (1, 3-4, 6-7, 9)\ngaps: 3 (2, 5, 8)\n"), "{text}");
    assert!(text.contains("shards without results: 3/3"), "{text}");
}

fn spans(merged: &Merged) -> [String; 3] {
    [&merged.covered, &merged.gaps, &merged.overlaps].map(ToString::to_string)
}

#[test]
fn a_seed_with_two_results_counts_once_and_fails_when_they_differ() {
    let dir = tempfile::tempdir().expect("a folder");
    let [one, same, other] = ["one", "same", "other"].map(|name| dir.path().join(name));
    write(&one, &header(Some(3), None), &[record(1, "aa", None), record(3, "bb", None)]);
    write(&same, &header(Some(3), None), &[record(3, "bb", None)]);
    write(&other, &header(None, None), &[record(3, "cc", None), record(7, "dd", None)]);
    let merged = merge(&[&one, &same]).expect("results");
    assert_eq!(spans(&merged), ["1, 3", "2", "3"]);
    assert_eq!((merged.summary.runs(), merged.summary.exit_code()), (2, 0));
    let merged = merge(&[&one, &other]).expect("results");
    assert_eq!(spans(&merged), ["1, 3, 7", "2, 4-6", "3"]);
    assert_eq!((merged.summary.runs(), merged.summary.exit_code()), (3, 13));
    let closer = dir.path().join("closer");
    write(&closer, &header(Some(3), None), &[record(3, "bb", Some("a.rs:1"))]);
    for both in [[&same, &closer], [&closer, &same]] {
        let merged = merge(&both).expect("results");
        assert_eq!((merged.summary.runs(), merged.summary.exit_code()), (1, 10), "one of the two failed");
    }
    let merged = merge(&[&one, &other]).expect("results");
    let text = merged.to_string();
    assert!(
        text.contains("seed 3 has trace bb in") && text.contains("replay 3 --check-determinism"),
        "{text}"
    );
}

#[test]
fn results_that_do_not_belong_together_are_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let [one, other, none] = ["one", "other", "none"].map(|name| dir.path().join(name));
    write(&one, &header(Some(3), None), &[]);
    let mut another = header(Some(3), None);
    another.program = "another".to_owned();
    write(&other, &another, &[]);
    let error = merge(&[&one, &other]).expect_err("two programs").to_string();
    assert!(error.contains("different programs"), "{error}");
    let error = merge(&[&one, &none]).expect_err("nothing there").to_string();
    assert!(error.starts_with(&format!("{}: no results", none.display())), "{error}");
}

#[test]
fn failures_of_one_cause_are_one_line_whatever_their_order() {
    let mut records: Vec<Record> = (1..=20).map(|seed| record(seed, "aa", Some("a.rs:1"))).collect();
    records.push(record(30, "aa", Some("b.rs:2")));
    let text = summary(&records).to_string();
    assert!(text.contains(
        "FAILED 20 x StateSafety at a.rs:1 (exit 10): seeds 1, 2, 3, 4, 5, 6, 7, 8, ...\n  op 1\n"
    ));
    assert!(text.contains("FAILED 1 x StateSafety at b.rs:2 (exit 10): seeds 30\n"), "{text}");
    assert!(text.contains("  replay: chronon-sim replay 1 --trace\n"), "{text}");
    assert!(text.ends_with("21 seeds, 21 failed of 2 causes: FAILED"), "{text}");
    records.reverse();
    assert_eq!(summary(&records).to_string(), text);
}

#[test]
fn a_swarm_without_runs_compared_nothing() {
    assert_eq!(summary(&[]).exit_code(), 14);
    assert_eq!(summary(&[record(1, "aa", None)]).exit_code(), 0);
}

//! `chronon log`: what a data directory holds, read while no node uses it, and changed in nothing.

use std::fmt::Write as _;
use std::path::PathBuf;

use chronon_core::engine::{
    InspectedChunk, InspectedFlush, InspectedRun, Inspection, RecordName, RecoveredEntry, RecoveredLog,
};
use chronon_core::types::GroupId;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::Answer;
use super::entry::{self, EntryArgs};
use crate::server::disk::inspect;

/// Look at what was committed: of running nodes, or in a data directory that no node uses.
#[derive(Debug, Subcommand)]
pub(super) enum LogVerb {
    /// Read it as a start would, and say what is torn, rotten or missing.
    Verify(LogArgs),
    /// List every flush and every record, and every chunk of archives.
    Dump(LogArgs),
    Entry(EntryArgs),
}

#[derive(Args, Debug)]
pub(super) struct LogArgs {
    /// The data directory.
    #[arg(env = "CHRONON_DATA_DIR")]
    dir: PathBuf,
}

/// What was found, and whether everything that was durable can be read.
pub(super) fn run(verb: &LogVerb) -> anyhow::Result<(Answer, bool)> {
    match verb {
        LogVerb::Verify(args) => {
            let inspection = inspect(&args.dir)?;
            let is_sound = is_sound(&inspection);
            Ok((verify(&inspection, is_sound), is_sound))
        }
        LogVerb::Dump(args) => Ok((dump(&inspect(&args.dir)?), true)),
        LogVerb::Entry(args) => Ok((entry::run(args)?, true)),
    }
}

fn verify(inspection: &Inspection, is_sound: bool) -> Answer {
    let mut text = whose(inspection);
    for finding in &inspection.findings {
        let _ = write!(text, "\n{finding}");
    }
    for segment in inspection.segments.iter().filter(|segment| !segment.is_there) {
        let _ =
            write!(text, "\nsegment {}: the file is missing, or not as long as it should be", segment.slot);
    }
    for snapshot in inspection.snapshots.iter().filter(|snapshot| !snapshot.is_whole) {
        let (slot, group, op) = (snapshot.slot, snapshot.group, snapshot.op);
        let _ = write!(text, "\nsnapshot {slot} of group {group} at op {op} is rotten");
    }
    for chunk in inspection.chunks.iter().filter(|chunk| chunk.holds.is_none()) {
        let InspectedChunk { group, number, .. } = chunk;
        let _ = write!(
            text,
            "\nchunk {number} of the archive of group {group} is rotten, missing, or named by none"
        );
    }
    let mut groups = Vec::new();
    match &inspection.logs {
        Ok(logs) => {
            for (group, log) in logs {
                let faulty = faulty(log);
                let _ = write!(text, "\ngroup {group}: {}", in_words(log, &faulty));
                groups.push(group_json(*group, log, &faulty));
            }
        }
        Err(refusal) => {
            let _ = write!(text, "\na start would refuse: {refusal}");
        }
    }
    text.push_str(if is_sound {
        "\nnothing that was durable is lost"
    } else {
        "\nsomething that was durable is lost"
    });
    let findings: Vec<String> = inspection.findings.iter().map(ToString::to_string).collect();
    let refusal = inspection.logs.as_ref().err();
    let json = json!({ "sound": is_sound, "findings": findings, "groups": groups, "refusal": refusal });
    Answer { text, json }
}

/// Whether everything that was durable can be read.
fn is_sound(inspection: &Inspection) -> bool {
    let logs = inspection.logs.as_ref();
    logs.is_ok_and(|logs| logs.values().all(|log| faulty(log).is_empty()))
        && inspection.snapshots.iter().all(|snapshot| snapshot.is_whole)
        && inspection.chunks.iter().all(|chunk| chunk.holds.is_some())
        && inspection.segments.iter().all(|segment| segment.is_there)
}

fn whose(inspection: &Inspection) -> String {
    let identity = &inspection.identity;
    format!(
        "node {} of cluster {:032x}: {} starts, {} segments, {} flushes, {} snapshots, {} chunks of archives",
        identity.node,
        identity.cluster.get(),
        inspection.boot.incarnation.get(),
        inspection.segments.len(),
        inspection.flushes.len(),
        inspection.snapshots.len(),
        inspection.chunks.len()
    )
}

/// The ops whose newest record cannot be read.
fn faulty(log: &RecoveredLog) -> Vec<u64> {
    let faulty = log.entries.iter().filter(|(_, (_, entry))| matches!(entry, RecoveredEntry::Faulty(_)));
    faulty.map(|(op, _)| op.get()).collect()
}

fn in_words(log: &RecoveredLog, faulty: &[u64]) -> String {
    let ops = match (log.entries.first_key_value(), log.entries.last_key_value()) {
        (Some((first, _)), Some((last, _))) => format!("ops {first} to {last}"),
        _ => "no entries".to_owned(),
    };
    let promise = if log.hard_state.is_some() { "a promise" } else { "no promise" };
    let mut text = format!("{ops}, {promise}, committed at least to {}", log.commit);
    if !faulty.is_empty() {
        let ops: Vec<String> = faulty.iter().map(ToString::to_string).collect();
        let _ = write!(text, "; faulty, to be repaired from peers: op {}", ops.join(", "));
    }
    text
}

fn group_json(group: GroupId, log: &RecoveredLog, faulty: &[u64]) -> Value {
    json!({
        "group": group.get(),
        "first": log.entries.keys().next().map(|op| op.get()),
        "last": log.entries.keys().next_back().map(|op| op.get()),
        "commit": log.commit.to_string(),
        "faulty": faulty,
    })
}

fn dump(inspection: &Inspection) -> Answer {
    let mut text = whose(inspection);
    for flush in &inspection.flushes {
        let InspectedFlush { slot, offset, number, barrier, .. } = flush;
        let _ = write!(text, "\nsegment {slot} offset {offset}: flush {number}, durable to {barrier}");
        for (group, commit) in &flush.commits {
            let _ = write!(text, "\n  group {group} committed to {commit}");
        }
        for record in &flush.records {
            let lost = if record.is_whole { "" } else { " LOST" };
            let _ = write!(text, "\n  {} {}{lost}", record.ordinal, record.what);
        }
    }
    for chunk in &inspection.chunks {
        let InspectedChunk { group, number, holds } = chunk;
        let _ = match holds {
            Some(InspectedRun { first, last, last_time, bytes }) => write!(
                text,
                "\nchunk {number} of group {group}: ops {first} to {last}, the last at {last_time}, {bytes} bytes"
            ),
            None => write!(text, "\nchunk {number} of group {group}: LOST"),
        };
    }
    let flushes: Vec<Value> = inspection.flushes.iter().map(flush_json).collect();
    let chunks: Vec<Value> = inspection.chunks.iter().map(chunk_json).collect();
    Answer { text, json: json!({ "flushes": flushes, "chunks": chunks }) }
}

fn chunk_json(chunk: &InspectedChunk) -> Value {
    json!({
        "group": chunk.group.get(),
        "chunk": chunk.number,
        "first": chunk.holds.map(|run| run.first.get()),
        "last": chunk.holds.map(|run| run.last.get()),
        "last_time": chunk.holds.map(|run| run.last_time.as_nanos()),
        "bytes": chunk.holds.map(|run| run.bytes),
    })
}

fn flush_json(flush: &InspectedFlush) -> Value {
    let record = |record: &chronon_core::engine::InspectedRecord| {
        let (kind, group, op) = match record.what {
            RecordName::Entry(group, op) => ("entry", group, Some(op.get())),
            RecordName::Truncation(group, above) => ("truncation", group, Some(above.get())),
            RecordName::Promise(group) => ("promise", group, None),
        };
        json!({
            "ordinal": record.ordinal.get(), "kind": kind, "group": group.get(), "op": op, "whole": record.is_whole
        })
    };
    json!({
        "segment": flush.slot,
        "offset": flush.offset,
        "flush": flush.number,
        "durable_to": flush.barrier,
        "records": flush.records.iter().map(record).collect::<Vec<_>>(),
    })
}

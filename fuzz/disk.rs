//! Data directories of nonsense: what the checksums of every structure on disk would let pass, and nobody wrote.

use std::collections::{BTreeMap, VecDeque};
use std::sync::OnceLock;

use bytes::Bytes;
use chronon_core::builtin::Builtin;
use chronon_core::engine::{
    DiskDone, DiskOp, DiskOut, DiskOutcome, Engine, EngineConfig, EngineError, EngineEvent, FileId, Identity,
    ReadFile, Record, SnapshotBody, format, inspect,
};
use chronon_core::kernel::Executor;
use chronon_core::types::{
    Blob, ClusterId, Entry, EntryKind, GroupId, GroupInit, Hash, Monotonic, NoMarks, NodeId, Op, Timestamp,
    View,
};

const CLUSTER: ClusterId = ClusterId::new(7);
const NODE: NodeId = NodeId::new(1);
const BLOCK: usize = 4096;
/// More operations than any start of so small a directory takes.
const OPERATIONS_MAX: usize = 10_000;

type Files = BTreeMap<FileId, Vec<u8>>;

/// A data directory that an engine wrote, changed as `data` says, its checksums made right again: whoever opens it goes
/// on or refuses, and neither panics nor runs for ever.
pub fn directories(data: &[u8]) {
    opens(data);
}

/// Whether the directory opens.
fn opens(data: &[u8]) -> bool {
    static WRITTEN: OnceLock<Files> = OnceLock::new();
    let mut files = WRITTEN.get_or_init(written).clone();
    edit(&mut files, data);
    files.values_mut().for_each(|file| seal(file));
    let read = |file| {
        files.get(&file).cloned().map(|bytes| ReadFile { bytes: bytes.into(), unreadable: Vec::new() })
    };
    if let Ok(inspection) = inspect(read) {
        let _shown: Vec<String> = inspection.findings.iter().map(ToString::to_string).collect();
    }
    let mut engine = Engine::new(config());
    let opens = start(&mut engine, &mut files).is_ok();
    if opens {
        work(&mut engine, &mut files, 1, 4);
    }
    opens
}

/// A snapshot of nonsense is refused, or is one.
pub fn snapshots(data: &[u8]) {
    if let Ok((executor, last)) = Executor::restore(Builtin, group(), data) {
        assert_eq!(executor.applied(), last.op());
    }
}

fn config() -> EngineConfig {
    EngineConfig { segment_bytes: 64 << 10, flush_bytes_max: 8 << 10, ..EngineConfig::default() }
}

fn group() -> GroupInit {
    let (cluster, group, kind) = (CLUSTER, GroupId::new(3), "register".to_owned());
    GroupInit { cluster, group, kind, voters: vec![NODE], sessions_max: 8, archive: None }
}

/// Two runs of a node: several segments, promises, a truncation, a snapshot.
fn written() -> Files {
    let mut files = Files::new();
    let identity = Identity { cluster: CLUSTER, node: NODE, groups: vec![group()] };
    for op in format(&identity).expect("the identity is right") {
        run(&mut files, op);
    }
    for first in [1, 41] {
        let mut engine = Engine::new(config());
        start(&mut engine, &mut files).expect("it was just written");
        work(&mut engine, &mut files, first, 40);
    }
    files
}

/// Gives the engine so many entries, each in a flush, and other records between them.
fn work(engine: &mut Engine, files: &mut Files, first: u64, entries: u64) {
    let mut parent = group().genesis();
    for op in 1..first + entries {
        let (view, at) = (View::new(1), Timestamp::from_nanos(op));
        let entry = Entry::next(&parent, EntryKind::Commands, view, at, Bytes::from(vec![op as u8; 300]));
        parent = *entry.header();
        let Some(writer) = engine.writer().filter(|_| op >= first) else { continue };
        writer.append(Record::Entry(entry));
        if op % 8 == 0 {
            let state = Bytes::from(vec![op as u8; 100]);
            writer.append(Record::HardState { group: GroupId::new(3), state });
            writer.append(Record::Truncation { group: GroupId::new(3), above: Op::new(op) });
        }
        let mut ops = Vec::new();
        engine.flush(Monotonic::default(), &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
        if op == 20 {
            let out = &mut DiskOut { ops: &mut ops, marks: &mut NoMarks };
            let mut body = SnapshotBody::new(4096);
            body.put(b"state");
            engine.save_snapshot(GroupId::new(3), Op::new(op), body, out);
        }
        if drive(engine, files, ops).is_err() {
            return;
        }
    }
}

fn start(engine: &mut Engine, files: &mut Files) -> Result<(), EngineError> {
    let mut ops = Vec::new();
    engine.start(CLUSTER, NODE, 1, &mut DiskOut { ops: &mut ops, marks: &mut NoMarks });
    let opened = drive(engine, files, ops)?;
    assert!(opened, "a start ends in one way or the other");
    Ok(())
}

/// Whether the engine opened.
fn drive(engine: &mut Engine, files: &mut Files, ops: Vec<DiskOp>) -> Result<bool, EngineError> {
    let mut queue = VecDeque::from(ops);
    let mut opened = false;
    for _ in 0..OPERATIONS_MAX {
        let Some(op) = queue.pop_front() else { return Ok(opened) };
        let done = run(files, op);
        let mut more = Vec::new();
        let out = &mut DiskOut { ops: &mut more, marks: &mut NoMarks };
        opened |= matches!(engine.on_done(Monotonic::default(), done, out)?, Some(EngineEvent::Opened(_)));
        queue.extend(more);
    }
    panic!("it runs for ever");
}

fn run(files: &mut Files, op: DiskOp) -> DiskDone {
    let id = op.id();
    let place = |offset: u64, bytes: usize| offset as usize..offset as usize + bytes;
    let outcome = match op {
        DiskOp::Allocate { bytes: 0x1000_0000.., .. } => DiskOutcome::Full,
        DiskOp::Allocate { file, bytes, .. } => {
            files.insert(file, vec![0; bytes as usize]);
            DiskOutcome::Done
        }
        DiskOp::Put { file, data, .. } => {
            files.insert(file, data.as_slice().to_vec());
            DiskOutcome::Done
        }
        DiskOp::Write { file, offset, data, .. } => {
            let found = files.get_mut(&file);
            match found.and_then(|file| file.get_mut(place(offset, data.as_slice().len()))) {
                Some(room) => {
                    room.copy_from_slice(data.as_slice());
                    DiskOutcome::Done
                }
                None => DiskOutcome::Failed,
            }
        }
        DiskOp::Barrier { .. } => DiskOutcome::Done,
        DiskOp::Read { file, offset, bytes, .. } => match files.get(&file) {
            Some(content) => match content.get(place(offset, bytes as usize)) {
                Some(found) => DiskOutcome::Read(Blob::from(found.to_vec())),
                None => DiskOutcome::Failed,
            },
            None => DiskOutcome::Missing,
        },
    };
    DiskDone { id, outcome }
}

/// Each edit: which file, where in it, what to put there.
fn edit(files: &mut Files, data: &[u8]) {
    let ids: Vec<FileId> = files.keys().copied().collect();
    let mut rest = data;
    while let [file, high, low, block, length, tail @ ..] = rest {
        let (id, length) = (ids[usize::from(*file) % ids.len()], usize::from(*length % 16).min(tail.len()));
        let (put, behind) = tail.split_at(length);
        rest = behind;
        let Some(file) = files.get_mut(&id).filter(|file| !file.is_empty()) else { continue };
        // Most of what there is to be wrong stands at the front of a block.
        let within = usize::from(u16::from_be_bytes([*high, *low])) % 512;
        let at = (usize::from(*block) * BLOCK + within) % file.len();
        for (place, byte) in file[at..].iter_mut().zip(put) {
            *place = *byte;
        }
    }
}

/// Makes every checksum in `file` right, as far as what it covers is there. The layouts are those that the engine draws.
fn seal(file: &mut [u8]) {
    let length = |bytes: &[u8], at: usize| {
        let field = bytes.get(at..at + 4)?;
        usize::try_from(u32::from_le_bytes(field.try_into().ok()?)).ok()
    };
    for at in (0..file.len()).step_by(BLOCK) {
        let block = &mut file[at..];
        let sealed = match block.get(..8) {
            Some(b"CHRNFLSH") => length(block, 108).and_then(|end| Some((16, Hash::of(block.get(48..end)?)))),
            Some(b"CHRNSEAL") => length(block, 104).and_then(|groups| {
                let end = groups.checked_mul(56)?.checked_add(112)?;
                Some((16, Hash::of(block.get(48..end)?)))
            }),
            Some(b"CHRNSNAP") => length(block, 56).and_then(|payload| {
                let payload = block.get(128..payload.checked_add(128)?)?;
                Some((96, Hash::of_pieces(&[block.get(..96)?, payload])))
            }),
            Some(b"CHRNMANI") => length(block, 12).and_then(|body| {
                let body = block.get(56..body.checked_add(56)?)?;
                Some((24, Hash::of_pieces(&[block.get(8..24)?, body])))
            }),
            _ => None,
        };
        if let Some((place, hash)) = sealed {
            block[place..place + 32].copy_from_slice(hash.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{edit, opens, seal, snapshots, written};

    /// Numbers that look like chance and are the same each time.
    fn words() -> impl Iterator<Item = u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        std::iter::repeat_with(move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
    }

    #[test]
    fn what_was_written_is_sealed_as_it_was() {
        let files = written();
        let mut again = files.clone();
        again.values_mut().for_each(|file| seal(file));
        assert!(files == again, "sealing changes nothing that is right");
        edit(&mut again, &[0, 0, 16, 0, 1, 9]);
        assert!(files != again);
    }

    #[test]
    fn directories_of_nonsense_are_opened_or_refused() {
        let (mut words, mut opened) = (words(), 0);
        for _ in 0..3_000 {
            let bytes = usize::from(words.next().unwrap_or_default()) % 40;
            opened += u32::from(opens(&words.by_ref().take(bytes).collect::<Vec<u8>>()));
        }
        assert!(
            (300..2_700).contains(&opened),
            "{opened} of 3000 opened: the edits reach too little, or too much"
        );
    }

    #[test]
    fn snapshots_of_nonsense_are_restored_or_refused() {
        let mut words = words();
        for _ in 0..20_000 {
            let bytes = usize::from(words.next().unwrap_or_default());
            snapshots(&words.by_ref().take(bytes).collect::<Vec<u8>>());
        }
    }
}

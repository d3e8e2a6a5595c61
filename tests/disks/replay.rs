//! Durability proved by replay: what a journal asked of a real disk is recorded; at every moment of it the power fails, the
//! disk keeps any subset of the sectors that no barrier covers, and what a start would then read is held against what was
//! acknowledged by then.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use chronon::server::backend::Backend;
use chronon::server::disk::DataDirectory;
use chronon::server::lone_engine::{GROUP, LoneEngine, identity};
use chronon::server::sync_disk;
use chronon::server::wake::Wake;
use chronon_core::engine::{
    Damage, DiskDone, DiskOp, DiskOpId, DiskOutcome, EngineConfig, FileId, ReadFile, RecoveredEntry, inspect,
};
use chronon_core::types::{Archiving, EntryHeader, Nanos, Op};
use chronon_sim::random::{Draw, Purpose, Randomness};

use crate::recording::{Event, Log, Recording};

/// A run that was recorded.
struct Run {
    /// What the disk held before it.
    files: BTreeMap<FileId, Vec<u8>>,
    events: Vec<Event>,
    /// What was appended, from op 1.
    entries: Vec<EntryHeader>,
}

/// A journal that rolls over several small segments, frees them and uses them again.
fn record(backend: Backend) -> Run {
    let beside =
        std::env::current_exe().expect("a test has a file").parent().expect("in a folder").to_owned();
    let folder = tempfile::tempdir_in(beside).expect("it can be made");
    let path = folder.path().join("node");
    sync_disk::format(&path, &identity(Some(ARCHIVE))).expect("it is new");
    let manifest = std::fs::read(DataDirectory::place(&path, FileId::Manifest)).expect("it was formatted");
    let (log, entries) = write(backend, &path);
    let events = std::mem::take(&mut *log.borrow_mut());
    Run { files: BTreeMap::from([(FileId::Manifest, manifest)]), events, entries }
}

fn write(backend: Backend, path: &Path) -> (Log, Vec<EntryHeader>) {
    let config = EngineConfig {
        segment_bytes: 64 << 10,
        flush_bytes_max: 16 << 10,
        flushes_in_flight_max: 2,
        sealed_segments_target: 2,
        idle_mark_after: Nanos::from_millis(1),
        ..EngineConfig::default()
    };
    let (log, wake) = (Log::default(), Wake::new().expect("there are files left"));
    let directory = DataDirectory::open(path).expect("it was formatted");
    let disk = backend.start(directory, wake.clone()).expect("it starts");
    let disk = Box::new(Recording { disk, log: log.clone() });
    let (mut lone, _) = LoneEngine::open(config, disk, &mut || wake.wait()).expect("it opens");
    let mut draw = Randomness::new(7, 0).draw(Purpose::Workload, 0, &[]);
    let mut entries = Vec::new();
    for flush in 0..FLUSHES {
        // First short flushes, one at a time: every subset of their sectors can be tried. Then longer ones that overlap.
        let (overlap, most, bytes_max) = if flush < FLUSHES / 2 { (false, 1, 2000) } else { (true, 3, 4000) };
        for _ in 0..1 + draw.below(most) {
            let bytes = draw.below(bytes_max) as usize;
            entries.push(lone.append(Bytes::from(vec![draw.below(256) as u8; bytes])).expect("it is open"));
        }
        lone.flush();
        while !(lone.is_durable() || overlap && draw.coin() && lone.is_slot_free()) {
            wake.wait().expect("it can be waited for");
            lone.poll().expect("the disk works");
            log.borrow_mut().push(Event::Acknowledged(lone.durable()));
        }
    }
    (log, entries)
}

/// What is known of the disk at a moment of the run.
struct Moment {
    files: BTreeMap<FileId, Bytes>,
    /// Writes that no barrier covers, in the order of their submission.
    uncovered: Vec<(u64, FileId, usize, Bytes)>,
    allocating: BTreeMap<DiskOpId, (FileId, usize)>,
    putting: BTreeMap<DiskOpId, (FileId, Bytes)>,
    /// How much had been submitted before each barrier.
    barriers: BTreeMap<DiskOpId, u64>,
    /// Writes that have not completed, each with its place among all that was submitted.
    writing: BTreeMap<DiskOpId, u64>,
    submitted: u64,
    acknowledged: Op,
}

impl Moment {
    fn start(files: &BTreeMap<FileId, Vec<u8>>) -> Self {
        Self {
            files: files.iter().map(|(file, bytes)| (*file, Bytes::from(bytes.clone()))).collect(),
            uncovered: Vec::new(),
            allocating: BTreeMap::new(),
            putting: BTreeMap::new(),
            barriers: BTreeMap::new(),
            writing: BTreeMap::new(),
            submitted: 0,
            acknowledged: Op::GENESIS,
        }
    }

    /// # Errors
    /// When a barrier completes before a write that was submitted earlier.
    fn pass(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Submitted(op) => {
                self.submitted += 1;
                match op {
                    DiskOp::Write { id, file, offset, data } => {
                        self.writing.insert(*id, self.submitted);
                        self.uncovered.push((self.submitted, *file, *offset as usize, data.0.clone()));
                    }
                    DiskOp::Barrier { id } => {
                        self.barriers.insert(*id, self.submitted);
                    }
                    DiskOp::Allocate { id, file, bytes } => {
                        self.allocating.insert(*id, (*file, *bytes as usize));
                    }
                    DiskOp::Put { id, file, data } => {
                        self.putting.insert(*id, (*file, data.0.clone()));
                    }
                    DiskOp::Read { .. } => {}
                }
            }
            Event::Completed(DiskDone { id, outcome: DiskOutcome::Done }) => {
                self.writing.remove(id);
                if let Some(before) = self.barriers.remove(id) {
                    if let Some((write, _)) = self.writing.iter().find(|(_, at)| **at < before) {
                        return Err(format!("barrier {} completes before write {}", id.0, write.0));
                    }
                    let covered = self.uncovered.extract_if(.., |(at, ..)| *at < before).collect::<Vec<_>>();
                    covered.iter().for_each(|(_, file, offset, data)| self.put(*file, *offset, data));
                }
                if let Some((file, bytes)) = self.allocating.remove(id) {
                    self.files.insert(file, Bytes::from(vec![0; bytes]));
                }
                self.files.extend(self.putting.remove(id));
            }
            Event::Completed(_) => {}
            Event::Acknowledged(op) => self.acknowledged = self.acknowledged.max(*op),
        }
        Ok(())
    }

    fn put(&mut self, file: FileId, offset: usize, data: &[u8]) {
        let mut bytes = self.files[&file].to_vec();
        bytes[offset..offset + data.len()].copy_from_slice(data);
        self.files.insert(file, Bytes::from(bytes));
    }

    /// The sectors that the power's failure may keep or lose: of which write, and which of it.
    fn sectors(&self) -> Vec<(usize, usize)> {
        let of = |(index, (_, _, _, data)): (usize, &(u64, FileId, usize, Bytes))| {
            (0..data.len() / SECTOR_BYTES).map(move |sector| (index, sector))
        };
        self.uncovered.iter().enumerate().flat_map(of).collect()
    }

    /// The disk as the power's failure leaves it.
    fn image(&self, keeps: impl Fn(usize) -> bool, draw: &mut Draw) -> BTreeMap<FileId, Bytes> {
        let mut image: BTreeMap<FileId, Vec<u8>> = BTreeMap::new();
        for (unit, (index, sector)) in self.sectors().into_iter().enumerate().filter(|(unit, _)| keeps(*unit))
        {
            let (_, file, offset, data) = &self.uncovered[index];
            let _ = unit;
            let bytes = image.entry(*file).or_insert_with(|| self.files[file].to_vec());
            let within = sector * SECTOR_BYTES..(sector + 1) * SECTOR_BYTES;
            bytes[offset + within.start..offset + within.end].copy_from_slice(&data[within]);
        }
        let mut left = self.files.clone();
        left.extend(image.into_iter().map(|(file, bytes)| (file, Bytes::from(bytes))));
        for (file, bytes) in self.allocating.values() {
            match draw.below(3) {
                0 => drop(left.remove(file)),
                1 => drop(left.insert(*file, Bytes::from(vec![0; *bytes]))),
                _ => {}
            }
        }
        left.extend(self.putting.values().filter(|_| draw.coin()).cloned());
        left
    }
}

/// Holds what a start would read against what was acknowledged and what was ever appended.
fn judge(image: &BTreeMap<FileId, Bytes>, acknowledged: Op, entries: &[EntryHeader]) -> Result<(), String> {
    let read = |file| image.get(&file).map(|bytes| ReadFile { bytes: bytes.clone(), unreadable: Vec::new() });
    let inspection = inspect(read)?;
    if let Some(rotten) = inspection.findings.iter().find(|finding| finding.damage != Damage::Torn) {
        return Err(format!("flush {} is called rotten: {:?}", rotten.flush, rotten.damage));
    }
    if let Some(gone) = inspection.snapshots.iter().find(|snapshot| !snapshot.is_whole) {
        return Err(format!("the manifest names snapshot {}, which is not whole", gone.slot));
    }
    if let Some(lost) = inspection.chunks.iter().find(|chunk| chunk.holds.is_none()) {
        return Err(format!("the archive is to have chunk {}, which is not whole", lost.number));
    }
    let runs = inspection.chunks.iter().filter_map(|chunk| chunk.holds);
    let archived = runs.clone().map(|run| run.last).max().unwrap_or_default();
    if runs.map(|run| run.last.get() + 1 - run.first.get()).sum::<u64>() != archived.get() {
        return Err(format!("the archive goes to op {archived}, and has not all up to there"));
    }
    let covered =
        inspection.snapshots.iter().map(|snapshot| snapshot.op).max().unwrap_or_default().min(archived);
    let logs = inspection.logs?;
    let held = logs.get(&GROUP).map(|log| &log.entries);
    let hash = |op: u64| match held.and_then(|held| held.get(&Op::new(op))) {
        Some((_, RecoveredEntry::Whole(entry))) => Some(entry.hash()),
        Some((_, RecoveredEntry::Faulty(_))) | None => None,
    };
    for entry in entries.iter().filter(|entry| entry.op() > covered && entry.op() <= acknowledged) {
        if hash(entry.op().get()) != Some(entry.hash()) {
            return Err(format!("op {} was acknowledged, and is lost", entry.op()));
        }
    }
    let last = held.and_then(|held| held.keys().next_back()).map_or(0, |op| op.get());
    for op in covered.get() + 1..=last {
        let known = entries.get(op as usize - 1).map(EntryHeader::hash);
        if known.is_none() || hash(op) != known {
            return Err(format!("op {op} is there, and was never appended so"));
        }
    }
    Ok(())
}

/// How much was tried.
#[derive(Debug, Default)]
struct Tried {
    moments: u64,
    exhausted: u64,
    images: u64,
}

/// Lets the power fail at every moment of the run.
fn replay(run: &Run) -> Result<Tried, String> {
    let (mut moment, mut tried) = (Moment::start(&run.files), Tried::default());
    for (index, event) in run.events.iter().enumerate() {
        moment.pass(event)?;
        if matches!(event, Event::Submitted(DiskOp::Read { .. } | DiskOp::Barrier { .. })) {
            continue;
        }
        tried.moments += 1;
        let sectors = moment.sectors().len();
        let mut draw = Randomness::new(11, 0).draw(Purpose::DiskCrash, 0, &[index as u64]);
        let exhaustive = sectors <= EXHAUSTIVE_SECTORS_MAX;
        tried.exhausted += u64::from(exhaustive);
        for sample in 0..if exhaustive { 1 << sectors } else { SAMPLES } {
            let share = draw.below(1_000_000);
            let mut keep: Vec<bool> = (0..sectors).map(|_| draw.below(1_000_000) < share).collect();
            match (exhaustive, sample) {
                (true, subset) => keep = (0..sectors).map(|unit| subset >> unit & 1 == 1).collect(),
                (false, 0) => keep.fill(false),
                (false, 1) => keep.fill(true),
                (false, _) => {}
            }
            tried.images += 1;
            let image = moment.image(|unit| keep[unit], &mut draw);
            judge(&image, moment.acknowledged, &run.entries).map_err(|what| {
                format!("after event {index}, sample {sample} of {sectors} sectors: {what}")
            })?;
        }
    }
    Ok(tried)
}

fn holds(backend: Backend) {
    let run = record(backend);
    let tried = replay(&run).unwrap_or_else(|what| panic!("{backend}: {what}"));
    eprintln!("{backend}: {tried:?}, {} entries", run.entries.len());
    assert!(tried.images > 10_000 && tried.exhausted > 100, "too little was tried: {tried:?}");
    let recycled = run.events.iter().filter(|event| {
        let Event::Submitted(DiskOp::Write { file: FileId::Segment(_), offset: 0, data, .. }) = event else {
            return false;
        };
        data.as_slice().iter().all(|byte| *byte == 0)
    });
    assert!(recycled.count() > 0, "no segment was used again");
    let is_chunk =
        |event: &&Event| matches!(event, Event::Submitted(DiskOp::Put { file: FileId::Archive { .. }, .. }));
    let chunks = run.events.iter().filter(is_chunk).count();
    assert!(chunks > 10, "{chunks} chunks were sealed");
}

#[test]
fn what_was_acknowledged_survives_any_power_failure_on_io_uring() {
    holds(Backend::IoUring);
}

#[test]
fn what_was_acknowledged_survives_any_power_failure_on_threads() {
    holds(Backend::Sync);
}

#[test]
fn a_disk_whose_barriers_do_nothing_is_found_out() {
    let mut run = record(Backend::Sync);
    let half = run.events.len() / 2;
    let mut place = 0..;
    run.events.retain(|event| {
        let late = place.next().is_some_and(|place| place > half);
        !(late && matches!(event, Event::Completed(DiskDone { outcome: DiskOutcome::Done, .. })))
    });
    let told = replay(&run).expect_err("acknowledged entries are gone");
    let losses = ["was acknowledged, and is lost", "which is not whole", "is called rotten", "are rotten"];
    assert!(losses.iter().any(|loss| told.contains(loss)), "{told}");
}

/// Short chunks, and all of them are kept.
const ARCHIVE: Archiving = Archiving { chunk_bytes: 8 << 10, chunks_max: 1000 };
const FLUSHES: u64 = 120;
const SECTOR_BYTES: usize = 512;
/// Moments with no more sectors than this are tried with every subset of them.
const EXHAUSTIVE_SECTORS_MAX: usize = 8;
/// Images of other moments.
const SAMPLES: u64 = 24;

//! `chronon bench journal`: the journal alone, beside what the disk gives without it in the same run.

mod null_disk;
mod raw;

use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use chronon_core::engine::{self, EngineConfig, FileId, VirtualDisk};
use chronon_core::types::Archiving;
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;

use super::flush_rate::FlushRate;
use super::{Answer, Folder};
use crate::server::backend::Backend;
use crate::server::disk::{DataDirectory, inspect};
use crate::server::lone_engine::{LoneEngine, identity};
use crate::server::sync_disk;
use crate::server::wake::Wake;
use null_disk::NullDisk;

/// The journal of one node: appends a second, bytes a second, processor time and recovery, each beside the raw limit.
#[derive(Args, Debug)]
pub(in crate::cli) struct JournalArgs {
    /// Seconds to measure each figure.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// What drives the disk.
    #[arg(long, value_delimiter = ',', default_value = "io_uring,sync")]
    disk: Vec<Backend>,
    /// Flushes of 1 MiB that may be on their way at once.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=16))]
    flushes: u32,
    /// A folder on the disk to be measured; a new one in it is used, and removed afterwards.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

/// One line of the table.
struct Row {
    what: String,
    unit: Unit,
    figure: f64,
    raw: Option<f64>,
}

#[derive(Clone, Copy)]
enum Unit {
    PerSecond,
    BytesPerSecond,
    Nanoseconds,
}

pub(in crate::cli) fn run(args: &JournalArgs) -> anyhow::Result<Answer> {
    let folder = Folder::create(&args.dir)?;
    let span = Duration::from_secs(args.seconds);
    let before = FlushRate::measure(&folder.0)?;
    let mut rows = processor(span)?;
    for backend in &args.disk {
        eprintln!("{backend} ...");
        // The raw limit right before each figure and right after it: a shared disk is not the same a minute later.
        let flushes = || Ok(FlushRate::measure(&folder.0)?.per_second());
        let writes = || raw::sequential_writes(&folder.0, span);
        let (figure, raw) = between(flushes, || single_appends(*backend, &folder.0, span))?;
        let what = format!("{backend}: appends of {SHORT_BYTES} B, one in flight");
        rows.push(Row { what, unit: Unit::PerSecond, figure, raw: Some(raw) });
        let appends = |archive| large_appends(*backend, &folder.0, (args.flushes, archive), span);
        let ((figure, directory), raw) = between(writes, || appends(None))?;
        let what = format!("{backend}: appends of 1 MiB, {} in flight", args.flushes);
        rows.push(Row { what, unit: Unit::BytesPerSecond, figure, raw: Some(raw) });
        let (figure, raw) = recovery(*backend, &directory)?;
        let what = format!("{backend}: recovery of the journal that this left");
        rows.push(Row { what, unit: Unit::BytesPerSecond, figure, raw: Some(raw) });
        std::fs::remove_dir_all(&directory)?;
        let ((figure, directory), raw) = between(writes, || appends(Some(ARCHIVE)))?;
        let what =
            format!("{backend}: the appends with the archive, of {} MiB chunks", ARCHIVE.chunk_bytes >> 20);
        rows.push(Row { what, unit: Unit::BytesPerSecond, figure, raw: Some(raw) });
        std::fs::remove_dir_all(&directory)?;
    }
    let after = FlushRate::measure(&folder.0)?;
    let spoiled = before.is_spoiled() || after.is_spoiled();
    let json = json!({
        "rows": rows.iter().map(Row::as_json).collect::<Vec<_>>(),
        "flush_before": before, "flush_after": after, "spoiled": spoiled,
    });
    let spoiled =
        if spoiled { "\nThe disk is busy or slow (p50 above 0.3 ms): this run is spoiled." } else { "" };
    let text =
        format!("{}\n4 KiB write and fdatasync alone: before {before}; after {after}{spoiled}", table(&rows));
    Ok(Answer { text, json })
}

/// What the processor has to do for short entries and for long ones.
fn processor(span: Duration) -> anyhow::Result<Vec<Row>> {
    let short = processor_time(SHORT_BYTES, SHORT_A_FLUSH, span)?;
    let long = LARGE_BYTES as f64 / processor_time(LARGE_BYTES, 1, span)?.as_secs_f64();
    let row = |what: String, unit, figure| Row { what, unit, figure, raw: None };
    let of_short = format!("processor: an entry of {SHORT_BYTES} B, {SHORT_A_FLUSH} a flush");
    Ok(vec![
        row(of_short, Unit::Nanoseconds, short.as_nanos() as f64),
        row("processor: entries of 1 MiB".to_owned(), Unit::BytesPerSecond, long),
    ])
}

/// For an entry of this length, on a disk that takes no time.
fn processor_time(bytes: usize, a_flush: u32, span: Duration) -> anyhow::Result<Duration> {
    let mut disk = NullDisk::default();
    engine::format(&identity(None))?.into_iter().for_each(|op| disk.submit(op));
    disk.poll(&mut Vec::new());
    let (mut lone, _) = LoneEngine::open(EngineConfig::default(), Box::new(disk), &mut || Ok(()))?;
    let payload = Bytes::from(vec![7; bytes]);
    let (began, mut entries) = (Instant::now(), 0_u32);
    while began.elapsed() < span {
        for _ in 0..a_flush {
            lone.append(payload.clone())?;
        }
        lone.flush();
        while !lone.is_durable() {
            lone.poll()?;
        }
        entries += a_flush;
    }
    Ok(began.elapsed() / entries)
}

fn single_appends(backend: Backend, folder: &Path, span: Duration) -> anyhow::Result<f64> {
    let directory = folder.join("single");
    sync_disk::format(&directory, &identity(None))?;
    let (mut lone, wake) = open(backend, &directory, EngineConfig::default())?;
    append_large(&mut lone, &wake, WARM_UP)?;
    let payload = Bytes::from(vec![7; SHORT_BYTES]);
    let (began, mut appends) = (Instant::now(), 0_u32);
    while began.elapsed() < span {
        lone.append(payload.clone())?;
        lone.flush();
        wait_until_durable(&mut lone, &wake)?;
        appends += 1;
    }
    let rate = f64::from(appends) / began.elapsed().as_secs_f64();
    drop(lone);
    std::fs::remove_dir_all(&directory)?;
    Ok(rate)
}

/// Bytes a second, and the directory that the journal is left in.
fn large_appends(
    backend: Backend,
    folder: &Path,
    (flushes, archive): (u32, Option<Archiving>),
    span: Duration,
) -> anyhow::Result<(f64, PathBuf)> {
    let directory = folder.join("large");
    sync_disk::format(&directory, &identity(archive))?;
    let config = EngineConfig { flushes_in_flight_max: flushes, ..EngineConfig::default() };
    let (mut lone, wake) = open(backend, &directory, config)?;
    append_large(&mut lone, &wake, WARM_UP)?;
    let rate = append_large(&mut lone, &wake, span)?;
    Ok((rate, directory))
}

/// Appends 1 MiB after the other, until all of them are durable; bytes a second.
fn append_large(lone: &mut LoneEngine, wake: &Wake, span: Duration) -> anyhow::Result<f64> {
    let payload = Bytes::from(vec![7; LARGE_BYTES]);
    let (began, mut appends) = (Instant::now(), 0_u32);
    while began.elapsed() < span {
        while lone.is_slot_free() && !lone.lags() {
            lone.append(payload.clone())?;
            lone.flush();
            appends += 1;
        }
        wake.wait()?;
        lone.poll()?;
    }
    wait_until_durable(lone, wake)?;
    Ok(f64::from(appends) * LARGE_BYTES as f64 / began.elapsed().as_secs_f64())
}

fn wait_until_durable(lone: &mut LoneEngine, wake: &Wake) -> anyhow::Result<()> {
    while !lone.is_durable() {
        wake.wait()?;
        lone.poll()?;
    }
    Ok(())
}

/// Bytes of the journal that a start goes through a second, and what reading them alone gives, before and after it.
fn recovery(backend: Backend, directory: &Path) -> anyhow::Result<(f64, f64)> {
    let segments = inspect(directory)?.segments;
    let place = |slot| DataDirectory::place(directory, FileId::Segment(slot));
    let paths: Vec<PathBuf> = segments.iter().map(|segment| place(segment.slot)).collect();
    let bytes: u64 = segments.iter().map(|segment| segment.bytes).sum();
    let (took, raw) = between(
        || raw::sequential_reads(&paths),
        || {
            let began = Instant::now();
            let opened = open(backend, directory, EngineConfig::default())?;
            let took = began.elapsed();
            drop(opened);
            Ok(took)
        },
    )?;
    Ok((bytes as f64 / took.as_secs_f64(), raw))
}

/// A figure, and the raw limit right before and after it: the harmonic mean, as of a run that took both.
fn between<T>(
    raw: impl Fn() -> anyhow::Result<f64>,
    figure: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<(T, f64)> {
    let before = raw()?;
    let figure = figure()?;
    let after = raw()?;
    Ok((figure, 2.0 / (1.0 / before + 1.0 / after)))
}

fn open(backend: Backend, directory: &Path, config: EngineConfig) -> anyhow::Result<(LoneEngine, Wake)> {
    let wake = Wake::new().context("cannot make an event counter")?;
    let disk = backend.start(DataDirectory::open(directory)?, wake.clone())?;
    let (lone, _) = LoneEngine::open(config, disk, &mut || wake.wait())?;
    Ok((lone, wake))
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["", "journal", "raw", "ratio"]);
    for row in rows {
        let raw = row.raw.map(|raw| row.unit.show(raw)).unwrap_or_default();
        let ratio = row.raw.map(|raw| format!("{:.2}", row.figure / raw)).unwrap_or_default();
        table.add_row([row.what.clone(), row.unit.show(row.figure), raw, ratio]);
    }
    table
}

impl Row {
    fn as_json(&self) -> serde_json::Value {
        json!({
            "what": self.what, "unit": self.unit.to_string(), "figure": self.figure, "raw": self.raw,
            "ratio": self.raw.map(|raw| self.figure / raw),
        })
    }
}

impl Unit {
    fn show(self, figure: f64) -> String {
        match self {
            Self::PerSecond => format!("{figure:.0}/s"),
            Self::BytesPerSecond => format!("{:.0} MB/s", figure / 1e6),
            Self::Nanoseconds => format!("{figure:.0} ns"),
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PerSecond => "1/s",
            Self::BytesPerSecond => "B/s",
            Self::Nanoseconds => "ns",
        })
    }
}

const SHORT_BYTES: usize = 256;
const SHORT_A_FLUSH: u32 = 64;
/// With the head of its flush, 1 MiB.
const LARGE_BYTES: usize = (1 << 20) - 4096;
/// What is kept is short: chunks go while others come.
const ARCHIVE: Archiving = Archiving { chunk_bytes: 16 << 20, chunks_max: 16 };
/// Until segments are used again, each is written twice; and the archive is to have what it may be behind.
const WARM_UP: Duration = Duration::from_secs(1);

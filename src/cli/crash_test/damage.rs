//! Damage to a node's files, such as disks and filesystems do.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use anyhow::Context as _;
use chronon_core::engine::{BLOCK_BYTES, FileId, InspectedFlush, RecordName};
use chronon_core::types::Op;
use clap::ValueEnum;

use super::draw::Draw;
use crate::server::disk::{DataDirectory, inspect};

/// What is done to a file. All but the last hit a flush that was durable, and never the newest: nobody can tell the loss
/// of that one from a write that was torn.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum Damage {
    /// A segment of the journal ends within a flush.
    Truncate,
    /// A block of a flush is zeros.
    ZeroHole,
    /// One bit of a flush is another one.
    FlipBit,
    /// A block of a flush holds what another block holds.
    StaleBlock,
    /// The newest flush is torn, if nothing in it was acknowledged.
    TornBatch,
}

impl Damage {
    /// Does it to the data directory at `path`; what was done, or `None` when there is nothing to do it to.
    pub(super) fn apply(
        self,
        path: &Path,
        acknowledged: Op,
        draw: &mut Draw,
    ) -> anyhow::Result<Option<String>> {
        let flushes = inspect(path)?.flushes;
        if self == Self::TornBatch {
            return tear(path, &flushes, acknowledged);
        }
        let barrier = flushes.iter().map(|flush| flush.barrier).max().unwrap_or_default();
        let places: Vec<&InspectedFlush> = flushes.iter().filter(|flush| flush.number < barrier).collect();
        if places.is_empty() {
            return Ok(None);
        }
        let flush = places[draw.below(places.len() as u64) as usize];
        let bytes = flush.bytes;
        let file = open(path, flush.slot)?;
        let block = flush.offset + draw.below(bytes / BLOCK) * BLOCK;
        let what = match self {
            Self::Truncate => {
                let end = flush.offset + draw.below(bytes);
                file.set_len(end)?;
                format!("it ends at byte {end}")
            }
            Self::ZeroHole => {
                file.write_all_at(&[0; BLOCK_BYTES], block)?;
                format!("zeros from byte {block}")
            }
            Self::FlipBit => {
                let at = flush.offset + draw.below(bytes);
                let mut byte = [0];
                file.read_exact_at(&mut byte, at)?;
                file.write_all_at(&[byte[0] ^ 1 << draw.below(8)], at)?;
                format!("a bit of byte {at}")
            }
            Self::StaleBlock => {
                let other = places[draw.below(places.len() as u64) as usize];
                let mut stale = [0; BLOCK_BYTES];
                open(path, other.slot)?.read_exact_at(&mut stale, other.offset)?;
                file.write_all_at(&stale, block)?;
                format!("from byte {block} what segment {} has from byte {}", other.slot, other.offset)
            }
            Self::TornBatch => unreachable!("it was done above"),
        };
        file.sync_all()?;
        Ok(Some(format!("segment {}: {what}", flush.slot)))
    }
}

/// Tears the newest flush, or, when something in it was acknowledged, leaves behind it what a torn one would: a part of
/// its head, and nothing of the rest.
fn tear(path: &Path, flushes: &[InspectedFlush], acknowledged: Op) -> anyhow::Result<Option<String>> {
    let Some(last) = flushes.last() else { return Ok(None) };
    let file = open(path, last.slot)?;
    let is_newer = |name: &RecordName| matches!(name, RecordName::Entry(_, op) if *op > acknowledged);
    let is_new = !last.records.is_empty() && last.records.iter().all(|record| is_newer(&record.what));
    let at = if is_new { last.offset } else { last.offset + last.bytes };
    let mut torn = vec![0; BLOCK_BYTES];
    file.read_exact_at(&mut torn[..SECTOR_BYTES], last.offset)?;
    file.write_all_at(&torn, at)?;
    file.sync_all()?;
    Ok(Some(format!("segment {}: a torn flush at byte {at}", last.slot)))
}

fn open(path: &Path, slot: u32) -> anyhow::Result<File> {
    let path = DataDirectory::place(path, FileId::Segment(slot));
    let file = File::options().read(true).write(true).open(&path);
    file.with_context(|| format!("cannot open {}", path.display()))
}

const BLOCK: u64 = BLOCK_BYTES as u64;
const SECTOR_BYTES: usize = 512;

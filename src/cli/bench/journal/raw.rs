//! What the disk gives without us: sequential writes and reads of a prewritten file, past the page cache.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::fs::OFlags;

use crate::server::aligned::AlignedBuffer;

/// Bytes a second of 1 MiB writes over a prewritten file, a sync at the end included.
pub(super) fn sequential_writes(folder: &Path, span: Duration) -> anyhow::Result<f64> {
    let path = folder.join("sequential-writes");
    let file = direct(OpenOptions::new().write(true).create(true).truncate(true), &path)?;
    let mut piece = AlignedBuffer::new(PIECE_BYTES);
    for index in 0..PIECES {
        file.write_all_at(piece.as_slice(), offset(index))?;
    }
    file.sync_all()?;
    piece.as_mut_slice().fill(7);
    let (began, mut written) = (Instant::now(), 0);
    while began.elapsed() < span {
        file.write_all_at(piece.as_slice(), offset(written % PIECES))?;
        written += 1;
    }
    file.sync_data()?;
    let rate = offset(written) as f64 / began.elapsed().as_secs_f64();
    std::fs::remove_file(&path)?;
    Ok(rate)
}

/// Bytes a second of 1 MiB reads of these files, in order.
pub(super) fn sequential_reads(paths: &[PathBuf]) -> anyhow::Result<f64> {
    let mut piece = AlignedBuffer::new(PIECE_BYTES);
    let (began, mut bytes) = (Instant::now(), 0);
    for path in paths {
        let file = direct(OpenOptions::new().read(true), path)?;
        let mut at = 0;
        loop {
            let read = file.read_at(piece.as_mut_slice(), at)?;
            at += read as u64;
            if read < PIECE_BYTES {
                break;
            }
        }
        bytes += at;
    }
    Ok(bytes as f64 / began.elapsed().as_secs_f64())
}

fn direct(options: &mut OpenOptions, path: &Path) -> anyhow::Result<File> {
    let flags = OFlags::DIRECT.bits().cast_signed();
    let file = options.custom_flags(flags).open(path);
    file.with_context(|| format!("cannot open {} past the page cache", path.display()))
}

fn offset(pieces: u64) -> u64 {
    pieces * PIECE_BYTES as u64
}

const PIECE_BYTES: usize = 1 << 20;
/// Of the file that is written.
const PIECES: u64 = 256;

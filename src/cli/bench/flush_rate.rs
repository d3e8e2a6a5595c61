//! What the disk alone gives: 4 KiB writes to a prewritten file, each followed by fdatasync.

use std::fmt;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;

/// How fast the disk flushes.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct FlushRate {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl FlushRate {
    /// Measures the disk under `folder` for a second.
    pub(super) fn measure(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("flush-rate");
        let rate = measure(&path).with_context(|| format!("cannot measure the disk at {}", path.display()));
        // Best effort: the folder is removed as a whole later.
        let _ = std::fs::remove_file(&path);
        rate
    }

    /// Flushes a second.
    pub(super) fn per_second(self) -> f64 {
        self.per_second
    }

    /// Of a hundred flushes, 99 take no longer.
    pub(super) fn p99_ms(self) -> f64 {
        self.p99_ms
    }

    /// Whether figures measured beside this one mean nothing.
    pub(super) fn is_spoiled(self) -> bool {
        self.p50_ms > SPOILED_MS
    }
}

impl fmt::Display for FlushRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.0}/s, p50 {:.2} ms, p99 {:.2} ms", self.per_second, self.p50_ms, self.p99_ms)
    }
}

fn measure(path: &Path) -> anyhow::Result<FlushRate> {
    let file = File::create(path)?;
    let zeros = vec![0_u8; 1 << 20];
    for piece in 0..FILE_MIB {
        file.write_all_at(&zeros, piece << 20)?;
    }
    file.sync_all()?;
    let block = [7_u8; 4096];
    let mut histogram = Histogram::<u64>::new(3)?;
    let start = Instant::now();
    let mut offset = 0;
    while start.elapsed() < SPAN {
        let began = Instant::now();
        file.write_all_at(&block, offset)?;
        file.sync_data()?;
        histogram.record(u64::try_from(began.elapsed().as_nanos())?)?;
        offset = (offset + 4096) % (FILE_MIB << 20);
    }
    let per_second = histogram.len() as f64 / start.elapsed().as_secs_f64();
    let ms_at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e6;
    Ok(FlushRate { per_second, p50_ms: ms_at(0.5), p99_ms: ms_at(0.99) })
}

/// Above this, something else keeps the machine busy.
const SPOILED_MS: f64 = 0.3;
const SPAN: Duration = Duration::from_secs(1);
const FILE_MIB: u64 = 64;

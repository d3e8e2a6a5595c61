//! Closed loops: a few threads keep a window of operations in flight, the next as soon as one is answered.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use serde::Serialize;

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// One thread's share of a window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    /// Which thread, from 0.
    pub(super) index: u32,
    /// Operations that it keeps in flight.
    pub(super) in_flight: u32,
    from: Instant,
    until: Instant,
}

/// The latencies that a thread has seen, in nanoseconds.
#[derive(Debug)]
pub(super) struct Latencies {
    share: Share,
    histogram: Histogram<u64>,
}

/// Has `drive` keep `window` operations in flight from so many threads, for `span` after a warm-up.
pub(super) fn measure(
    window: u32,
    threads: u32,
    span: Duration,
    drive: impl Fn(Share, &mut Latencies) -> anyhow::Result<()> + Sync,
) -> anyhow::Result<Figure> {
    let from = Instant::now() + WARM_UP;
    let mut total = Histogram::<u64>::new(3)?;
    let drive = &drive;
    thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|index| {
                let in_flight = (window + threads - 1 - index) / threads;
                let share = Share { index, in_flight, from, until: from + span };
                scope.spawn(move || {
                    let mut latencies = Latencies { share, histogram: Histogram::new(3)? };
                    drive(share, &mut latencies)?;
                    anyhow::Ok(latencies.histogram)
                })
            })
            .collect();
        for thread in threads {
            let histogram = thread.join().map_err(|_| anyhow::anyhow!("a client's thread panicked"))??;
            total.add(&histogram).context("histograms do not fit")?;
        }
        anyhow::Ok(())
    })?;
    Figure::of(&total, span).context("nothing was answered")
}

impl Share {
    /// Whether the time to measure is over at `now`.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }
}

impl Latencies {
    /// An operation that began at `since` was answered at `now`.
    pub(super) fn record(&mut self, since: Instant, now: Instant) -> anyhow::Result<()> {
        if now >= self.share.from {
            self.histogram.record(u64::try_from((now - since).as_nanos())?)?;
        }
        Ok(())
    }
}

impl Figure {
    /// Of these latencies, in nanoseconds; `None` when there are none.
    pub(super) fn of(latencies: &Histogram<u64>, span: Duration) -> Option<Self> {
        let ms = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e6;
        let per_second = latencies.len() as f64 / span.as_secs_f64();
        let figure = Self { per_second, p50_ms: ms(0.5), p99_ms: ms(0.99), max_ms: ms(1.0) };
        (!latencies.is_empty()).then_some(figure)
    }
}

/// Before measuring: sessions register, caches fill.
const WARM_UP: Duration = Duration::from_secs(1);

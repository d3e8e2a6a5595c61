//! Closed-loop load: as many sessions as the window is wide, each writing as soon as its last write was answered.

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chronon_core::codec;
use chronon_core::register::RegisterCommand;
use chronon_core::types::{Blob, GroupId};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::client::{ClientConfig, SessionPool};

/// What was measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Figure {
    pub(super) per_second: f64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

/// Writes of 256 bytes to registers, `window` in flight over `connections`, for `span` after a warm-up.
pub(super) fn measure(
    addresses: Vec<SocketAddr>,
    window: u32,
    connections: u32,
    span: Duration,
) -> anyhow::Result<Figure> {
    let config = ClientConfig::new(addresses);
    let from = Instant::now() + WARM_UP;
    let until = from + span;
    let mut total = Histogram::<u64>::new(3)?;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .map(|index| {
                let share = (window + connections - 1 - index) / connections;
                let config = config.clone();
                scope.spawn(move || drive(config, index, share, from, until))
            })
            .collect();
        for worker in workers {
            let histogram = worker.join().map_err(|_| anyhow::anyhow!("a client's thread panicked"))??;
            total.add(&histogram).context("histograms do not fit")?;
        }
        anyhow::Ok(())
    })?;
    Figure::of(&total, span).context("not one write was answered")
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

/// One connection's share of the load; the latencies, in nanoseconds, of what was answered in the span.
fn drive(
    config: ClientConfig,
    connection: u32,
    sessions: u32,
    from: Instant,
    until: Instant,
) -> anyhow::Result<Histogram<u64>> {
    let mut pool = SessionPool::new(config, REGISTERS, sessions as usize)?;
    let body = |session: usize| {
        let key = format!("bench-{connection}-{session}").into_bytes();
        Blob::from(codec::encode(&RegisterCommand::Write {
            key: Blob::from(key),
            value: Blob::from(vec![7; VALUE_BYTES]),
        }))
    };
    let bodies: Vec<Blob> = (0..sessions as usize).map(body).collect();
    for (session, body) in bodies.iter().enumerate() {
        pool.submit(session, body.clone())?;
    }
    let mut histogram = Histogram::new(3)?;
    let mut completions = Vec::new();
    loop {
        pool.poll(Duration::from_secs(1), &mut completions);
        let now = Instant::now();
        if now >= until {
            return Ok(histogram);
        }
        for completion in completions.drain(..) {
            completion.result.context("a write failed")?;
            if now >= from {
                histogram.record(u64::try_from((now - completion.asked_at).as_nanos())?)?;
            }
            pool.submit(completion.session, bodies[completion.session].clone())?;
        }
    }
}

/// The group of registers that a local cluster has.
pub(super) const REGISTERS: GroupId = GroupId::new(1);
const VALUE_BYTES: usize = 256;
/// Before measuring: sessions register, caches fill.
pub(super) const WARM_UP: Duration = Duration::from_secs(1);

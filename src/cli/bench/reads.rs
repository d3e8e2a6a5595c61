//! Closed-loop reads beside the log: as many questions as the window is wide, to all nodes alike.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chronon_core::builtin::BuiltinQuery;
use chronon_core::codec;
use chronon_core::node::{Freshness, Query, QueryAnswer};
use chronon_core::types::Blob;
use hdrhistogram::Histogram;

use super::load::{Figure, REGISTERS, WARM_UP};
use crate::client::Reader;

/// Linearizable reads of registers, `window` in flight over `connections`, each to the next node, for `span` after a warm-up.
pub(super) fn measure(
    addresses: &[SocketAddr],
    window: u32,
    connections: u32,
    span: Duration,
) -> anyhow::Result<Figure> {
    let from = Instant::now() + WARM_UP;
    let until = from + span;
    let mut total = Histogram::<u64>::new(3)?;
    thread::scope(|scope| {
        let workers: Vec<_> = (0..connections)
            .zip(addresses.iter().cycle())
            .map(|(index, address)| {
                let share = (window + connections - 1 - index) / connections;
                scope.spawn(move || drive(*address, share, from, until))
            })
            .collect();
        for worker in workers {
            let histogram = worker.join().map_err(|_| anyhow::anyhow!("a reader's thread panicked"))??;
            total.add(&histogram).context("histograms do not fit")?;
        }
        anyhow::Ok(())
    })?;
    Figure::of(&total, span).context("not one read was answered")
}

fn drive(address: SocketAddr, share: u32, from: Instant, until: Instant) -> anyhow::Result<Histogram<u64>> {
    let mut reader = Reader::connect(address, Duration::from_secs(1))?;
    let key = Blob::from(b"bench-0-0".to_vec());
    let body = Blob::from(codec::encode(&BuiltinQuery::Value { key }));
    let query =
        |number| Query { number, group: REGISTERS, body: body.clone(), freshness: Freshness::Linearizable };
    let mut asked = BTreeMap::new();
    let mut next = 0;
    let mut histogram = Histogram::new(3)?;
    loop {
        while asked.len() < share as usize {
            reader.ask(&query(next));
            asked.insert(next, Instant::now());
            next += 1;
        }
        let answers = reader.poll()?;
        let now = Instant::now();
        if now >= until {
            return Ok(histogram);
        }
        for answered in answers {
            let since = asked.remove(&answered.number).context("an answer to no question")?;
            let is_answer = matches!(answered.answer, QueryAnswer::State { .. });
            anyhow::ensure!(is_answer, "a read was answered {:?}", answered.answer);
            if now >= from {
                histogram.record(u64::try_from((now - since).as_nanos())?)?;
            }
        }
    }
}

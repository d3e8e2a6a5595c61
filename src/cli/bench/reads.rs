//! Reads beside the log: as many questions as the window is wide, to all nodes alike.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chronon_core::builtin::BuiltinQuery;
use chronon_core::codec;
use chronon_core::node::{About, Freshness, Query, QueryAnswer};
use chronon_core::types::Blob;

use super::closed_loop::{self, Figure, Latencies, Share};
use super::load::REGISTERS;
use crate::client::Reader;

/// Linearizable reads of registers, `window` in flight: a connection to each node, as far as the window goes.
pub(super) fn measure(addresses: &[SocketAddr], window: u32, span: Duration) -> anyhow::Result<Figure> {
    let connections = window.min(u32::try_from(addresses.len())?);
    closed_loop::measure(window, connections, span, |share, latencies| {
        drive(addresses[share.index as usize], share, latencies)
    })
}

fn drive(address: SocketAddr, share: Share, latencies: &mut Latencies) -> anyhow::Result<()> {
    let mut reader = Reader::connect(address, Duration::from_secs(1))?;
    let key = Blob::from(b"bench-0-0".to_vec());
    let body = Blob::from(codec::encode(&BuiltinQuery::Value { key }));
    let query = |number| Query {
        number,
        group: REGISTERS,
        about: About::State,
        body: body.clone(),
        freshness: Freshness::Linearizable,
    };
    let mut asked = BTreeMap::new();
    let mut next = 0;
    loop {
        while asked.len() < share.in_flight as usize {
            reader.ask(&query(next))?;
            asked.insert(next, Instant::now());
            next += 1;
        }
        let answers = reader.poll()?;
        let now = Instant::now();
        if share.is_over(now) {
            return Ok(());
        }
        for answered in answers {
            let since = asked.remove(&answered.number).context("an answer to no question")?;
            let is_answer = matches!(answered.answer, QueryAnswer::State { .. });
            anyhow::ensure!(is_answer, "a read was answered {:?}", answered.answer);
            latencies.record(since, now)?;
        }
    }
}

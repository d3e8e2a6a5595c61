//! Writes: as many sessions as the window is wide, each writing as soon as its last write was answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use chronon_core::codec;
use chronon_core::register::RegisterCommand;
use chronon_core::types::{Blob, GroupId};

use super::closed_loop::{self, Figure, Latencies, Share};
use crate::client::{ClientConfig, SessionPool};

/// Writes of 256 bytes to registers, `window` in flight over `connections`.
pub(super) fn measure(
    addresses: Vec<SocketAddr>,
    window: u32,
    connections: u32,
    span: Duration,
) -> anyhow::Result<Figure> {
    let config = ClientConfig::new(addresses);
    closed_loop::measure(window, connections, span, |share, latencies| {
        drive(config.clone(), share, latencies)
    })
}

fn drive(config: ClientConfig, share: Share, latencies: &mut Latencies) -> anyhow::Result<()> {
    let sessions = share.in_flight as usize;
    let mut pool = SessionPool::new(config, REGISTERS, sessions)?;
    let body = |session: usize| {
        let key = format!("bench-{}-{session}", share.index).into_bytes();
        Blob::from(codec::encode(&RegisterCommand::Write {
            key: Blob::from(key),
            value: Blob::from(vec![7; VALUE_BYTES]),
        }))
    };
    let bodies: Vec<Blob> = (0..sessions).map(body).collect();
    for (session, body) in bodies.iter().enumerate() {
        pool.submit(session, body.clone())?;
    }
    let mut completions = Vec::new();
    loop {
        pool.poll(Duration::from_secs(1), &mut completions);
        let now = Instant::now();
        if share.is_over(now) {
            return Ok(());
        }
        for completion in completions.drain(..) {
            completion.result.context("a write failed")?;
            latencies.record(completion.asked_at, now)?;
            pool.submit(completion.session, bodies[completion.session].clone())?;
        }
    }
}

/// The group of registers that a local cluster has.
pub(super) const REGISTERS: GroupId = GroupId::new(1);
const VALUE_BYTES: usize = 256;

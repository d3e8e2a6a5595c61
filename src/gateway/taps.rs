//! The valves of the endpoints that a node posts to: one for all partitions of a topic, for a receiver is down for all of them.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chronon_core::catalog::Endpoint;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::valve::{Circuit, Entry, Valve};
use crate::server::status::{BreakerReport, EndpointReport};

/// A valve that tasks share.
#[derive(Debug)]
pub(super) struct Tap {
    pub endpoint: Endpoint,
    valve: Mutex<Valve>,
    changed: Notify,
    begun: Instant,
}

/// Leave to post one event.
#[derive(Debug)]
pub(super) struct Leave {
    is_probe: bool,
}

impl Tap {
    pub(super) fn new(endpoint: Endpoint) -> Self {
        let valve = Mutex::new(Valve::new(endpoint.failures_max));
        Self { endpoint, valve, changed: Notify::new(), begun: Instant::now() }
    }

    /// This node posts of so many partitions out of so many.
    pub(super) fn set_share(&self, own: usize, all: usize) {
        self.valve().set_rate(self.endpoint.rate, (own, all));
    }

    /// Waits for leave to post one event.
    pub(super) async fn enter(&self) -> Leave {
        let patience = Duration::from_nanos(self.endpoint.timeout.as_nanos()) + ANSWERING;
        loop {
            let changed = self.changed.notified();
            let (before, entry) = {
                let mut valve = self.valve();
                (valve.circuit(), valve.enter(self.now(), patience))
            };
            match entry {
                Entry::Go { is_probe } => {
                    if before != self.valve().circuit() {
                        self.changed.notify_waiters();
                    }
                    return Leave { is_probe };
                }
                // Woken or not, it is asked again.
                Entry::Wait(wait) => drop(timeout(wait, changed).await),
            }
        }
    }

    /// What became of it: whether the receiver has answered.
    pub(super) fn leave(&self, Leave { is_probe }: Leave, has_answered: bool) {
        let (before, after) = {
            let mut valve = self.valve();
            let before = valve.circuit();
            if has_answered {
                valve.answered();
            } else {
                valve.failed(self.now(), is_probe);
            }
            (before, valve.circuit())
        };
        if before == after {
            return;
        }
        self.changed.notify_waiters();
        let endpoint = &self.endpoint.name;
        match after {
            Circuit::Open { until } => {
                let rest = until.saturating_sub(self.now());
                tracing::warn!(endpoint, ?rest, "the target fails again and again, and is left alone");
            }
            Circuit::Closed => tracing::info!(endpoint, "the target answers again"),
            Circuit::HalfOpen { .. } => {}
        }
    }

    /// So many deliveries are worth having at once in a partition.
    pub(super) fn credits(&self) -> u32 {
        self.valve().credits(self.now(), self.endpoint.concurrency).0
    }

    /// Waits until that is another number; what it is then.
    pub(super) async fn credits_other_than(&self, known: u32) -> u32 {
        loop {
            let changed = self.changed.notified();
            let (credits, wait) = self.valve().credits(self.now(), self.endpoint.concurrency);
            if credits != known {
                return credits;
            }
            match wait {
                Some(wait) => drop(timeout(wait, changed).await),
                None => {
                    // A share of the rate changes without a word.
                    tokio::select! { () = changed => {} () = sleep(LOOK_EACH) => {} }
                }
            }
        }
    }

    pub(super) fn report(&self, topic: &str) -> EndpointReport {
        let valve = self.valve();
        let breaker = match valve.circuit() {
            Circuit::Closed => BreakerReport::Closed,
            Circuit::HalfOpen { .. } => BreakerReport::HalfOpen,
            Circuit::Open { until } => {
                let rest = until.saturating_sub(self.now());
                BreakerReport::Open { ms: u64::try_from(rest.as_millis()).unwrap_or(u64::MAX) }
            }
        };
        let (topic, endpoint) = (topic.to_owned(), self.endpoint.name.clone());
        EndpointReport { topic, endpoint, breaker, failures: valve.failures() }
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    fn valve(&self) -> MutexGuard<'_, Valve> {
        self.valve.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who was let through to see has its answer, or none, within its timeout and this.
const ANSWERING: Duration = Duration::from_secs(1);
const LOOK_EACH: Duration = Duration::from_secs(1);

//! Whom a client of the event database talks to: any of several gateways, and the next one when that fails.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Response, Status};

use super::error::{EventsError, is_passing};

/// The gateways. A clone is the same.
#[derive(Clone, Debug)]
pub(super) struct Gateways(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    endpoints: Vec<Endpoint>,
    patience: Duration,
    current: Mutex<Current>,
}

#[derive(Debug, Default)]
struct Current {
    place: usize,
    channel: Option<Channel>,
}

impl Gateways {
    pub(super) fn new(
        addresses: impl IntoIterator<Item = impl Into<String>>,
        patience: Duration,
    ) -> Result<Self, EventsError> {
        let endpoint = |address: String| {
            let endpoint = Endpoint::from_shared(address.clone()).ok();
            let endpoint = endpoint.filter(|endpoint| endpoint.uri().authority().is_some());
            let endpoint = endpoint.ok_or(EventsError::BadAddress { address })?;
            Ok(endpoint
                .connect_timeout(CONNECT_TIMEOUT.min(patience))
                .tcp_nodelay(true)
                .http2_keep_alive_interval(KEEP_ALIVE_EVERY)
                .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
                .keep_alive_while_idle(true))
        };
        let endpoints = addresses.into_iter().map(|address| endpoint(address.into()));
        let endpoints = endpoints.collect::<Result<Vec<_>, _>>()?;
        if endpoints.is_empty() {
            return Err(EventsError::NoAddress);
        }
        Ok(Self(Arc::new(Inner { endpoints, patience, current: Mutex::default() })))
    }

    pub(super) fn patience(&self) -> Duration {
        self.0.patience
    }

    /// A connection to the gateway whose turn it is, or to the next one that takes it.
    pub(super) async fn channel(&self) -> Result<Channel, EventsError> {
        let mut last = String::new();
        for _ in &self.0.endpoints {
            let place = {
                let current = self.current();
                if let Some(channel) = &current.channel {
                    return Ok(channel.clone());
                }
                current.place
            };
            match self.0.endpoints[place].connect().await {
                Ok(channel) => {
                    self.current().channel = Some(channel.clone());
                    return Ok(channel);
                }
                Err(error) => {
                    last = words(&error);
                    self.turn_from(place);
                }
            }
        }
        let addresses: Vec<String> =
            self.0.endpoints.iter().map(|endpoint| endpoint.uri().to_string()).collect();
        Err(EventsError::Unreachable { addresses: addresses.join(", "), last })
    }

    /// The next one is to be asked.
    pub(super) fn turn(&self) {
        let place = self.current().place;
        self.turn_from(place);
    }

    fn turn_from(&self, place: usize) {
        let mut current = self.current();
        if current.place == place {
            *current = Current { place: (place + 1) % self.0.endpoints.len(), channel: None };
        }
    }

    /// Asks until somebody answers, one gateway after the other.
    pub(super) async fn call<Q, T, F>(
        &self,
        question: Q,
        ask: impl Fn(Channel, Q) -> F,
    ) -> Result<T, EventsError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let (start, patience) = (Instant::now(), self.0.patience);
        loop {
            let left = patience.saturating_sub(start.elapsed());
            let asked = async { Ok::<_, EventsError>(ask(self.channel().await?, question.clone()).await) };
            let last = match timeout(left, asked).await {
                Ok(Ok(Ok(answer))) => return Ok(answer.into_inner()),
                Ok(Ok(Err(status))) if is_passing(&status) => status.message().to_owned(),
                Ok(Ok(Err(status))) => return Err(EventsError::of(&status)),
                Ok(Err(error)) => error.to_string(),
                Err(_) => "it took too long".to_owned(),
            };
            if start.elapsed() + PAUSE >= patience {
                return Err(EventsError::TimedOut { after: patience, last });
            }
            self.turn();
            sleep(PAUSE).await;
        }
    }

    fn current(&self) -> MutexGuard<'_, Current> {
        self.0.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An error with what caused it.
fn words(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        words = format!("{words}: {error}");
        cause = error.source();
    }
    words
}

/// Before what has failed is tried again.
pub(super) const PAUSE: Duration = Duration::from_millis(100);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Whoever is behind a connection that says nothing is asked whether it is there,
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(10);
/// and taken to be gone without an answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);

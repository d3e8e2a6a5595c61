//! A publisher that keeps its pace, whatever else happens: how long it waits for each answer.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::closed_loop::Figure;
use crate::gateway::proto::cronos_db::Event;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::event_stream_client::EventStreamClient;

/// Events that are due at once, one by one over one stream, so many a second. A latency counts from when an event was to be sent.
pub(super) struct Publisher {
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<anyhow::Result<()>>,
}

struct Seen {
    latencies: Histogram<u64>,
    since: Instant,
}

impl Publisher {
    /// `event` makes the one of this number.
    pub(super) fn start(
        channel: Channel,
        a_second: u32,
        event: impl Fn(u64) -> Event + Send + 'static,
    ) -> anyhow::Result<Self> {
        let seen = Seen { latencies: Histogram::new(3)?, since: Instant::now() };
        let seen = Arc::new(Mutex::new(seen));
        let task = tokio::spawn(publish(channel, a_second, event, Arc::clone(&seen)));
        Ok(Self { seen, task })
    }

    /// What it has seen since it was asked last.
    ///
    /// # Errors
    /// When it has ended, or nothing was answered.
    pub(super) fn taken(&self) -> anyhow::Result<Figure> {
        anyhow::ensure!(!self.task.is_finished(), "the publisher has ended");
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let figure = Figure::of(&seen.latencies, seen.since.elapsed());
        seen.latencies.reset();
        seen.since = Instant::now();
        figure.context("the publisher was not answered")
    }

    /// Ends it.
    ///
    /// # Errors
    /// What ended it before.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        self.task.abort();
        match self.task.await {
            Err(error) if error.is_cancelled() => Ok(()),
            ended => ended?,
        }
    }
}

async fn publish(
    channel: Channel,
    a_second: u32,
    event: impl Fn(u64) -> Event,
    seen: Arc<Mutex<Seen>>,
) -> anyhow::Result<()> {
    let (events, requests) = mpsc::channel(IN_FLIGHT_MAX);
    let began = Instant::now();
    let sent_at = move |id: u64| began + Duration::from_nanos(id * 1_000_000_000 / u64::from(a_second));
    let sending = async move {
        for id in 0.. {
            tokio::time::sleep_until(sent_at(id).into()).await;
            let event = ext::StreamedEvent { id, event: Some(event(id)), allow_duplicate: false };
            if events.send(event).await.is_err() {
                return;
            }
        }
    };
    let answered = async move {
        let mut client = EventStreamClient::new(channel);
        let mut answers = client.publish_stream(ReceiverStream::new(requests)).await?.into_inner();
        while let Some(answer) = answers.next().await {
            let (answer, now) = (answer?, Instant::now());
            let result = answer.result.context("an answer without a result")?;
            anyhow::ensure!(result.success, "an event was not accepted: {}", result.error);
            let latency = now.saturating_duration_since(sent_at(answer.id));
            let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.latencies.record(u64::try_from(latency.as_nanos())?)?;
        }
        anyhow::bail!("the stream of answers has ended")
    };
    tokio::select! {
        () = sending => anyhow::bail!("the stream of events has ended"),
        ended = answered => ended,
    }
}

/// Events on their way; with more it waits, and its latencies tell.
const IN_FLIGHT_MAX: usize = 4096;

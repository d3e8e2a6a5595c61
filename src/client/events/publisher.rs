//! Many events in flight on one stream.

use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::connection::Gateways;
use super::error::EventsError;
use super::event::{NewEvent, Published};
use super::exchange::{Asking, Coming, Exchange};
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::event_stream_client::EventStreamClient;

/// A stream of events. A clone is the same.
#[derive(Clone, Debug)]
pub struct Publisher(Asking<Stream>);

/// An event that was sent and has no answer yet.
#[derive(Debug)]
pub struct Pending(Coming<ext::StreamedResult>);

impl Publisher {
    pub(super) fn new(gateways: &Gateways) -> Self {
        Self(Asking::new(gateways))
    }

    /// Sends an event, once there is room for it; what becomes of it is told later.
    ///
    /// # Errors
    /// [`EventsError::Entropy`] when there is no randomness for its name.
    pub async fn publish(&self, event: NewEvent) -> Result<Pending, EventsError> {
        let event = Some(event.into_message()?);
        let question = ext::StreamedEvent { id: 0, event, allow_duplicate: false };
        Ok(Pending(self.0.ask(question).await))
    }
}

impl Pending {
    /// Waits until the event is accepted.
    ///
    /// # Errors
    /// [`EventsError::Refused`] when it cannot be accepted.
    pub async fn published(self) -> Result<Published, EventsError> {
        Published::of(self.0.wait().await?.result.unwrap_or_default())
    }
}

#[derive(Debug)]
struct Stream;

impl Exchange for Stream {
    type Question = ext::StreamedEvent;
    type Answer = ext::StreamedResult;

    async fn open(
        channel: Channel,
        questions: ReceiverStream<ext::StreamedEvent>,
    ) -> Result<Streaming<ext::StreamedResult>, Status> {
        let call = EventStreamClient::new(channel).publish_stream(questions).await;
        call.map(tonic::Response::into_inner)
    }

    fn number(question: &mut ext::StreamedEvent, number: u64) {
        question.id = number;
    }

    fn number_of(answer: &ext::StreamedResult) -> Option<u64> {
        Some(answer.id)
    }
}

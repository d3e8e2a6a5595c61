//! An asynchronous client of the event database, over gRPC.
//!
//! [`Events`] is connected to any of several gateways, and goes on at the next one when that is lost: what was asked and not answered is
//! asked again. An event has a name, so one that is published twice is accepted once; a delivery has a token, so one is settled once.
//!
//! ```no_run
//! # async fn remind() -> Result<(), chronon::client::events::EventsError> {
//! use std::time::Duration;
//! use chronon::client::events::{Due, Events, NewEvent, Subscribe};
//!
//! let events = Events::connect(["http://127.0.0.1:9000"], Duration::from_secs(10)).await?;
//! events.publish(NewEvent::new("hello", "in two seconds").due(Due::In(Duration::from_secs(2)))).await?;
//! let mut deliveries = events.subscribe(Subscribe::new("hello", "me"))?;
//! while let Some(delivered) = deliveries.next().await {
//!     delivered?.ack().await?;
//! }
//! # Ok(())
//! # }
//! ```

mod connection;
mod error;
mod event;
mod exchange;
mod publisher;
mod subscription;

use std::time::Duration;

use tonic::transport::Channel;
use tonic::{Response, Status};

use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::event_service_client::EventServiceClient;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::lifecycle_service_client::LifecycleServiceClient;
use crate::gateway::proto::ext::schedule_service_client::ScheduleServiceClient;
use connection::Gateways;
pub use error::EventsError;
pub use event::{Changed, Due, NewEvent, Published, draw_name};
pub use publisher::{Pending, Publisher};
pub use subscription::{Delivered, Subscribe, Subscription};

/// The event database. A clone is the same, over the same connection.
#[derive(Clone, Debug)]
pub struct Events(Gateways);

impl Events {
    /// Connects to the first address that takes it, each a URL such as `http://127.0.0.1:9000`. What is asked later is tried for
    /// `patience`, at one gateway after the other.
    ///
    /// # Errors
    /// [`EventsError::BadAddress`], and [`EventsError::Unreachable`] when no address takes it.
    pub async fn connect(
        addresses: impl IntoIterator<Item = impl Into<String>>,
        patience: Duration,
    ) -> Result<Self, EventsError> {
        let gateways = Gateways::new(addresses, patience)?;
        gateways.channel().await?;
        Ok(Self(gateways))
    }

    /// Publishes an event, and waits until it is accepted.
    ///
    /// # Errors
    /// [`EventsError::Refused`] when it cannot be accepted.
    pub async fn publish(&self, event: NewEvent) -> Result<Published, EventsError> {
        let request = pb::PublishRequest { event: Some(event.into_message()?), allow_duplicate: false };
        let ask = |channel, request| async move { client(channel).publish(request).await };
        Published::of(self.call(request, ask).await?)
    }

    /// Publishes events, those of one partition by one entry of its log: what became of each, in order.
    ///
    /// # Errors
    /// When nobody answers; what is wrong with one event is its own result.
    pub async fn publish_batch(
        &self,
        events: impl IntoIterator<Item = NewEvent>,
    ) -> Result<Vec<Result<Published, EventsError>>, EventsError> {
        let events = events.into_iter().map(NewEvent::into_message).collect::<Result<_, _>>()?;
        let request = pb::PublishBatchRequest { events, allow_duplicate: false };
        let ask = |channel, request| async move { client(channel).publish_batch(request).await };
        Ok(self.call(request, ask).await?.results.into_iter().map(Published::of).collect())
    }

    /// A stream for many events in flight.
    pub fn publisher(&self) -> Publisher {
        Publisher::new(&self.0)
    }

    /// Becomes a member of a consumer group. What is wrong with it is the first thing that comes.
    ///
    /// # Errors
    /// [`EventsError::Entropy`] when there is no randomness for its name.
    pub fn subscribe(&self, wanted: Subscribe) -> Result<Subscription, EventsError> {
        Subscription::start(&self.0, wanted)
    }

    /// Takes an event back that is not due yet.
    ///
    /// # Errors
    /// [`EventsError::Refused`] when it is not scheduled any more, or not known. An answer that was lost may end so as well.
    pub async fn cancel(&self, topic: &str, message_id: &str) -> Result<Changed, EventsError> {
        let request = ext::CancelRequest {
            topic: topic.to_owned(),
            message_id: message_id.to_owned(),
            partition_key: String::new(),
        };
        let ask = |channel, request| async move { ScheduleServiceClient::new(channel).cancel(request).await };
        Changed::of(self.call(request, ask).await?)
    }

    /// Has an event that is not due yet be due at another time.
    ///
    /// # Errors
    /// As for [`Events::cancel`].
    pub async fn reschedule(&self, topic: &str, message_id: &str, due: Due) -> Result<Changed, EventsError> {
        let (schedule_ts, delay_ms) = due.millis();
        let request = ext::RescheduleRequest {
            topic: topic.to_owned(),
            message_id: message_id.to_owned(),
            partition_key: String::new(),
            schedule_ts,
            delay_ms,
        };
        let ask =
            |channel, request| async move { ScheduleServiceClient::new(channel).reschedule(request).await };
        Changed::of(self.call(request, ask).await?)
    }

    /// Where an event stands; none when it is not remembered.
    ///
    /// # Errors
    /// [`EventsError::NotFound`] when there is no such topic.
    pub async fn fate(&self, topic: &str, message_id: &str) -> Result<Option<ext::EventFate>, EventsError> {
        let request = ext::GetEventRequest {
            topic: topic.to_owned(),
            message_id: message_id.to_owned(),
            partition_key: String::new(),
        };
        let ask =
            |channel, request| async move { LifecycleServiceClient::new(channel).get_event(request).await };
        Ok(Some(self.call(request, ask).await?).filter(|fate| fate.found))
    }

    /// Makes any call of the services in [`crate::gateway::proto`], one that may be made twice: again at the next gateway when it fails.
    ///
    /// # Errors
    /// [`EventsError`].
    pub async fn call<Q, T, F>(&self, question: Q, ask: impl Fn(Channel, Q) -> F) -> Result<T, EventsError>
    where
        Q: Clone,
        F: Future<Output = Result<Response<T>, Status>>,
    {
        self.0.call(question, ask).await
    }
}

fn client(channel: Channel) -> EventServiceClient<Channel> {
    EventServiceClient::new(channel)
}

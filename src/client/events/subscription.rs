//! A member of a consumer group: deliveries in, and how they ended out. It goes on at another gateway when its own is lost, as the same
//! member.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};

use super::connection::{Gateways, PAUSE};
use super::error::{EventsError, is_passing};
use super::event::{draw_name, millis};
use super::exchange::{Asking, Exchange};
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::event_service_client::EventServiceClient;

/// What a member of a consumer group wants. The group is made when there is none.
#[derive(Clone, Debug)]
pub struct Subscribe(pb::SubscribeRequest);

/// The deliveries of a member, as a stream. The member is gone with it.
#[derive(Debug)]
pub struct Subscription(mpsc::Receiver<Result<Delivered, EventsError>>);

/// A delivery. One that is neither acknowledged nor given back comes again, to this member or another.
#[derive(Debug)]
pub struct Delivered {
    delivery: pb::Delivery,
    acks: Asking<Acks>,
}

impl Subscribe {
    /// A member of a group, which takes from all partitions of the topic.
    pub fn new(topic: impl Into<String>, group: impl Into<String>) -> Self {
        Self(pb::SubscribeRequest {
            topic: topic.into(),
            consumer_group: group.into(),
            partition_id: -1,
            ..pb::SubscribeRequest::default()
        })
    }

    /// Deliveries that may be open at once, 1 to 10,000; 100 when it is not said.
    #[must_use]
    pub fn credits(mut self, credits: i32) -> Self {
        self.0.max_buffer_size = credits;
        self
    }

    /// It is this member again, with what is open with it, whenever it subscribes under this name.
    #[must_use]
    pub fn named(mut self, member: impl Into<String>) -> Self {
        self.0.subscription_id = member.into();
        self
    }

    /// The group has one delivery of an ordering key open at a time, or has not: one that was made otherwise refuses.
    #[must_use]
    pub fn ordered(mut self, ordered: bool) -> Self {
        self.0.mode = if ordered { pb::GroupMode::Ordered } else { pb::GroupMode::Shared }.into();
        self
    }

    /// A group that is made now begins with what becomes ready from now on.
    #[must_use]
    pub fn latest(mut self) -> Self {
        self.0.start_offset = -1;
        self
    }

    /// What fails so often is a dead letter: one that was made otherwise refuses.
    #[must_use]
    pub fn max_deliver(mut self, attempts: u32) -> Self {
        self.0.max_deliver = attempts;
        self
    }

    /// A delivery that is not settled for so long has failed: a group that was made otherwise refuses.
    #[must_use]
    pub fn ack_timeout(mut self, timeout: Duration) -> Self {
        self.0.ack_timeout_ms = u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        self
    }
}

impl Subscription {
    pub(super) fn start(gateways: &Gateways, wanted: Subscribe) -> Result<Self, EventsError> {
        let Subscribe(mut wanted) = wanted;
        if wanted.subscription_id.is_empty() {
            wanted.subscription_id = draw_name()?;
        }
        let acks = Asking::new(gateways);
        // What is delivered waits here, and at the gateway: no more than its credits.
        let (sender, receiver) = mpsc::channel(DELIVERIES_AHEAD);
        tokio::spawn(run(gateways.clone(), wanted, acks, sender));
        Ok(Self(receiver))
    }

    /// The next delivery; an error is the last thing that comes.
    pub async fn next(&mut self) -> Option<Result<Delivered, EventsError>> {
        self.0.recv().await
    }
}

impl Stream for Subscription {
    type Item = Result<Delivered, EventsError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().0.poll_recv(context)
    }
}

impl Delivered {
    /// All that was delivered.
    pub fn message(&self) -> &pb::Delivery {
        &self.delivery
    }

    /// The event.
    pub fn event(&self) -> Option<&pb::Event> {
        self.delivery.event.as_ref()
    }

    /// What its publisher says.
    pub fn payload(&self) -> &[u8] {
        self.delivery.event.as_ref().map_or(&[], |event| &event.payload)
    }

    /// From 1.
    pub fn attempt(&self) -> i32 {
        self.delivery.attempt
    }

    /// It was processed.
    ///
    /// # Errors
    /// [`EventsError::Refused`] when it was too late: it is delivered again. An answer that was lost may end so as well.
    pub async fn ack(&self) -> Result<(), EventsError> {
        self.settle(pb::Disposition::Ack, "", None).await
    }

    /// It failed, and is to be tried again: after this, or as the group's options say.
    ///
    /// # Errors
    /// As for [`Delivered::ack`].
    pub async fn nack(&self, why: &str, after: Option<Duration>) -> Result<(), EventsError> {
        self.settle(pb::Disposition::Nack, why, after).await
    }

    /// It is never to be tried again: a dead letter.
    ///
    /// # Errors
    /// As for [`Delivered::ack`].
    pub async fn term(&self, why: &str) -> Result<(), EventsError> {
        self.settle(pb::Disposition::Term, why, None).await
    }

    /// It goes on: the time for it begins anew.
    ///
    /// # Errors
    /// As for [`Delivered::ack`].
    pub async fn extend(&self) -> Result<(), EventsError> {
        self.settle(pb::Disposition::InProgress, "", None).await
    }

    async fn settle(
        &self,
        how: pb::Disposition,
        why: &str,
        after: Option<Duration>,
    ) -> Result<(), EventsError> {
        let ack = pb::AckRequest {
            delivery_id: self.delivery.delivery_id.clone(),
            success: how == pb::Disposition::Ack,
            error: why.to_owned(),
            disposition: how.into(),
            retry_delay_ms: after.map(millis).unwrap_or_default(),
            ..pb::AckRequest::default()
        };
        let answer = self.acks.ask(ack).await.wait().await?;
        if answer.success { Ok(()) } else { Err(EventsError::Refused { why: answer.error }) }
    }
}

/// How deliveries ended: answers come in the order of what they answer.
#[derive(Debug)]
struct Acks;

impl Exchange for Acks {
    type Question = pb::AckRequest;
    type Answer = pb::AckResponse;

    async fn open(
        channel: Channel,
        questions: ReceiverStream<pb::AckRequest>,
    ) -> Result<Streaming<pb::AckResponse>, Status> {
        EventServiceClient::new(channel).ack(questions).await.map(tonic::Response::into_inner)
    }

    fn number(_question: &mut pb::AckRequest, _number: u64) {}

    fn number_of(_answer: &pb::AckResponse) -> Option<u64> {
        None
    }
}

/// Takes deliveries until nobody wants them any more, or the cluster refuses.
async fn run(
    gateways: Gateways,
    wanted: pb::SubscribeRequest,
    acks: Asking<Acks>,
    out: mpsc::Sender<Result<Delivered, EventsError>>,
) {
    loop {
        let taken = tokio::select! {
            taken = take(&gateways, &wanted, &acks, &out) => taken,
            () = out.closed() => return,
        };
        match taken {
            Err(status) if !is_passing(&status) => {
                let _nobody_listens = out.send(Err(EventsError::of(&status))).await;
                return;
            }
            Ok(()) => {}
            Err(why) => tracing::debug!(%why, "a subscription is made anew"),
        }
        gateways.turn();
        sleep(PAUSE).await;
    }
}

/// One stream of deliveries, until it ends.
async fn take(
    gateways: &Gateways,
    wanted: &pb::SubscribeRequest,
    acks: &Asking<Acks>,
    out: &mpsc::Sender<Result<Delivered, EventsError>>,
) -> Result<(), Status> {
    let channel = gateways.channel().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let (wishes, requests) = mpsc::channel(1);
    let wished = wishes.send(wanted.clone()).await;
    wished.map_err(|error| Status::unavailable(error.to_string()))?;
    let mut client = EventServiceClient::new(channel).max_decoding_message_size(DELIVERY_BYTES_MAX);
    let mut deliveries = client.subscribe(ReceiverStream::new(requests)).await?.into_inner();
    while let Some(delivery) = deliveries.message().await? {
        let delivered = Delivered { delivery, acks: acks.clone() };
        if out.send(Ok(delivered)).await.is_err() {
            break;
        }
    }
    drop(wishes);
    Ok(())
}

/// An event of the longest payload, with room for its overhead.
const DELIVERY_BYTES_MAX: usize = 12 << 20;
const DELIVERIES_AHEAD: usize = 64;

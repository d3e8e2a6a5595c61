//! A member of the consumer group of a bench: it takes what a topic delivers, and acknowledges it.

use anyhow::Context as _;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::event_service_client::EventServiceClient;

/// The member. It is one for as long as this is kept.
pub(super) struct Member {
    _wishes: mpsc::Sender<pb::SubscribeRequest>,
    delivered: Streaming<pb::Delivery>,
    acks: mpsc::Sender<pb::AckRequest>,
    answers: Streaming<pb::AckResponse>,
}

impl Member {
    pub(super) async fn subscribe(channel: Channel, topic: &str) -> anyhow::Result<Self> {
        let (wishes, requests) = mpsc::channel(1);
        let wish = pb::SubscribeRequest {
            consumer_group: "bench".to_owned(),
            topic: topic.to_owned(),
            partition_id: -1,
            max_buffer_size: CREDITS,
            ..pb::SubscribeRequest::default()
        };
        wishes.send(wish).await?;
        let mut client = EventServiceClient::new(channel);
        let delivered = client.subscribe(ReceiverStream::new(requests)).await?.into_inner();
        let (acks, acked) = mpsc::channel(usize::try_from(CREDITS)?);
        let answers = client.ack(ReceiverStream::new(acked)).await?.into_inner();
        Ok(Self { _wishes: wishes, delivered, acks, answers })
    }

    /// The next delivery, which it is to acknowledge; `None` when an acknowledgement was accepted instead, in the order in which they
    /// were made. Nothing is lost when nobody waits for it to the end.
    pub(super) async fn hear(&mut self) -> anyhow::Result<Option<pb::Delivery>> {
        tokio::select! {
            delivery = self.delivered.next() => {
                Ok(Some(delivery.context("a subscription has ended")??))
            }
            answer = self.answers.next() => {
                let answer = answer.context("acknowledgements have ended")??;
                anyhow::ensure!(answer.success, "an acknowledgement was refused: {}", answer.error);
                Ok(None)
            }
        }
    }

    pub(super) async fn acknowledge(&self, delivery_id: String) -> anyhow::Result<()> {
        let ack = pb::AckRequest { delivery_id, success: true, ..pb::AckRequest::default() };
        Ok(self.acks.send(ack).await?)
    }
}

/// Deliveries that it has open at most.
const CREDITS: i32 = 3000;

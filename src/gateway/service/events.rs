//! `EventService`.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use chronon_core::events::{CREDITS_MAX, Disposition, Settled, Settlement};
use chronon_core::types::Nanos;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

use super::convert::{self, Wanted};
use super::{Api, status};
use crate::gateway::consuming::Subscription;
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::event_service_server::EventService;
use crate::gateway::publishing::{WhenFull, routing_key};
use crate::gateway::topics::Refused;
use crate::gateway::trace_context::Traced;

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Api {
    /// Publishes one event; what is wrong with it is part of the answer, what is wrong with the cluster is not.
    pub(super) async fn publish_one(
        &self,
        event: Option<pb::Event>,
        allow_duplicate: bool,
        when_full: WhenFull,
    ) -> Result<pb::PublishResponse, Status> {
        let asked_at = Instant::now();
        let answer = match self.try_publish(event, allow_duplicate, when_full).await {
            Ok(response) => response,
            Err(Refused::Invalid(why)) => convert::invalid(why),
            Err(other) => return Err(status(&other)),
        };
        self.0.metrics.published(status_word(answer.status()), 1, asked_at.elapsed());
        Ok(answer)
    }

    async fn try_publish(
        &self,
        event: Option<pb::Event>,
        allow_duplicate: bool,
        when_full: WhenFull,
    ) -> Result<pb::PublishResponse, Refused> {
        let event = event.ok_or_else(|| Refused::Invalid("event is required".to_owned()))?;
        let topic = event.topic.clone();
        let event = convert::new_event(event, allow_duplicate)?;
        let topic = self.0.topics.get(&topic).await?;
        let partition = self.0.topics.partition_of(&topic, routing_key(&event));
        let traced = Traced::of(&event);
        let published = self.0.publishing.publish(&partition, event, when_full).await?;
        if let Some(traced) = traced {
            traced.published(&partition, &published);
        }
        Ok(convert::response(&partition, &published))
    }

    /// Publishes each event that is valid; those of one partition by one entry.
    async fn publish_batch_of(
        &self,
        events: Vec<pb::Event>,
        allow_duplicate: bool,
    ) -> Result<Vec<pb::PublishResponse>, Refused> {
        let mut results = vec![pb::PublishResponse::default(); events.len()];
        let mut by_partition: BTreeMap<i32, (_, Vec<usize>, Vec<_>)> = BTreeMap::new();
        for (place, event) in events.into_iter().enumerate() {
            let topic = event.topic.clone();
            match convert::new_event(event, allow_duplicate) {
                Ok(event) => {
                    let topic = self.0.topics.get(&topic).await?;
                    let partition = self.0.topics.partition_of(&topic, routing_key(&event));
                    let (_, places, events) = by_partition
                        .entry(partition.id)
                        .or_insert_with(|| (partition, Vec::new(), Vec::new()));
                    places.push(place);
                    events.push(event);
                }
                Err(Refused::Invalid(why)) => results[place] = convert::invalid(why),
                Err(other) => return Err(other),
            }
        }
        for (partition, places, events) in by_partition.into_values() {
            let traced: Vec<Option<Traced>> = events.iter().map(Traced::of).collect();
            match self.0.publishing.publish_all(&partition, events).await {
                Ok(published) => {
                    for ((place, published), traced) in places.into_iter().zip(published).zip(traced) {
                        if let Some(traced) = traced {
                            traced.published(&partition, &published);
                        }
                        results[place] = convert::response(&partition, &published);
                    }
                }
                Err(Refused::Invalid(why)) => {
                    places.into_iter().for_each(|place| results[place] = convert::invalid(why.clone()));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(results)
    }

    pub(super) async fn settle_one(&self, ack: pb::AckRequest) -> pb::AckResponse {
        let delivery_id = ack.delivery_id.clone();
        let refused = |error: String| pb::AckResponse {
            error,
            delivery_id: delivery_id.clone(),
            ..pb::AckResponse::default()
        };
        let Some((of, grant, attempt)) = convert::read_delivery_id(&ack.delivery_id) else {
            return refused(format!("delivery_id {:?} names no delivery", ack.delivery_id));
        };
        let disposition = disposition(&ack);
        let how = match &disposition {
            Disposition::Ack => "ack",
            Disposition::Nack { .. } => "nack",
            Disposition::Term { .. } => "term",
            Disposition::InProgress => "in_progress",
        };
        let settlement = Settlement { seq: grant.seq, attempt, granted: grant.op, disposition };
        match self.0.settling.settle(&of, Some(settlement)).await {
            Ok((Settled::Done, floor)) => {
                self.0.metrics.settled(how);
                pb::AckResponse {
                    success: true,
                    committed_offset: convert::signed(floor),
                    ..refused(String::new())
                }
            }
            Ok((Settled::Stale { why }, floor)) => {
                self.0.metrics.settled("stale");
                pb::AckResponse { committed_offset: convert::signed(floor), ..refused(why) }
            }
            Err(error) => refused(error.to_string()),
        }
    }
}

#[tonic::async_trait]
impl EventService for Api {
    type SubscribeStream = Answers<pb::Delivery>;
    type AckStream = Answers<pb::AckResponse>;
    type ReplayStream = Answers<pb::ReplayEvent>;

    async fn publish(
        &self,
        request: Request<pb::PublishRequest>,
    ) -> Result<Response<pb::PublishResponse>, Status> {
        let pb::PublishRequest { event, allow_duplicate } = request.into_inner();
        self.publish_one(event, allow_duplicate, WhenFull::Refuse).await.map(Response::new)
    }

    async fn publish_batch(
        &self,
        request: Request<pb::PublishBatchRequest>,
    ) -> Result<Response<pb::PublishBatchResponse>, Status> {
        let pb::PublishBatchRequest { events, allow_duplicate } = request.into_inner();
        let asked_at = Instant::now();
        let results = self.publish_batch_of(events, allow_duplicate).await.map_err(|error| status(&error))?;
        let count = |status: pb::PublishStatus| {
            let count = results.iter().filter(|result| result.status() == status).count();
            i32::try_from(count).unwrap_or(i32::MAX)
        };
        for of in [pb::PublishStatus::Accepted, pb::PublishStatus::Duplicate, pb::PublishStatus::Refused] {
            let events = u64::try_from(count(of)).unwrap_or_default();
            if events > 0 {
                self.0.metrics.published(status_word(of), events, asked_at.elapsed());
            }
        }
        let offsets = results.iter().filter(|result| result.success).map(|result| result.offset);
        let (first_offset, last_offset) = (offsets.clone().min(), offsets.max());
        let error = results.iter().find(|result| result.status() == pb::PublishStatus::Refused);
        Ok(Response::new(pb::PublishBatchResponse {
            success: error.is_none(),
            error: error.map(|result| result.error.clone()).unwrap_or_default(),
            published_count: count(pb::PublishStatus::Accepted),
            duplicate_count: count(pb::PublishStatus::Duplicate),
            error_count: count(pb::PublishStatus::Refused),
            first_offset: first_offset.unwrap_or(-1),
            last_offset: last_offset.unwrap_or(-1),
            results,
        }))
    }

    async fn subscribe(
        &self,
        request: Request<Streaming<pb::SubscribeRequest>>,
    ) -> Result<Response<Self::SubscribeStream>, Status> {
        let mut requests = request.into_inner();
        let wanted = requests.message().await?;
        let wanted =
            wanted.ok_or_else(|| Status::invalid_argument("a subscribe request is to come first"))?;
        if wanted.consumer_group.is_empty() {
            return Err(Status::invalid_argument("consumer_group is required"));
        }
        if !wanted.filter.is_empty() {
            return Err(Status::invalid_argument(
                "filter must be empty: every event is delivered to each consumer group; acknowledge what is not wanted",
            ));
        }
        let refused = |error: Refused| status(&error);
        let topic = self.0.topics.get(&wanted.topic).await.map_err(refused)?;
        let partitions = self.0.topics.some_partitions(&topic, wanted.partition_id).map_err(refused)?;
        let insists = wanted.mode() != pb::GroupMode::Unspecified
            || [wanted.max_deliver, wanted.ack_timeout_ms, wanted.backoff_ms, wanted.backoff_max_ms]
                != [0; 4];
        let options = convert::options(Wanted {
            mode: wanted.mode(),
            start_offset: wanted.start_offset,
            attempts_max: wanted.max_deliver,
            ack_timeout_ms: wanted.ack_timeout_ms,
            rest_ms: wanted.backoff_ms,
            rest_max_ms: wanted.backoff_max_ms,
        });
        let credits = match u32::try_from(wanted.max_buffer_size) {
            Ok(0) => CREDITS,
            Ok(credits) if credits <= CREDITS_MAX => credits,
            _ => {
                return Err(Status::invalid_argument(format!(
                    "max_buffer_size is {}: it is 1 to {CREDITS_MAX}, or 0 for {CREDITS}",
                    wanted.max_buffer_size
                )));
            }
        };
        let share = credits.div_ceil(u32::try_from(partitions.len()).unwrap_or(1)).max(1);
        let slot = Arc::new(self.0.members.slots(partitions.len()).map_err(refused)?);
        let member = convert::member(&wanted.subscription_id).map_err(refused)?;
        let group = wanted.consumer_group;
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let gate = self.0.settling.gates.open(member, credits);
        for partition in partitions {
            let (group, options) = (group.clone(), options.clone());
            let wanted = Subscription { group, options, insists, member, credits: share };
            let consuming = Arc::clone(&self.0.consuming);
            let (gate, sender, slot) = (Arc::clone(&gate), sender.clone(), Arc::clone(&slot));
            tokio::spawn(async move {
                consuming.consume(partition, wanted, gate, sender).await;
                drop(slot);
            });
        }
        let deliveries = ReceiverStream::new(receiver).map(|delivered| match delivered {
            Ok(delivered) => Ok(convert::delivery(delivered)),
            Err(error) => Err(status(&error)),
        });
        Ok(Response::new(Box::pin(deliveries)))
    }

    async fn ack(
        &self,
        request: Request<Streaming<pb::AckRequest>>,
    ) -> Result<Response<Self::AckStream>, Status> {
        let mut requests = request.into_inner();
        let (sender, receiver) = mpsc::channel(STREAM_QUEUE);
        let api = self.clone();
        tokio::spawn(async move {
            loop {
                let ack = match requests.message().await {
                    Ok(Some(ack)) => ack,
                    Ok(None) => return,
                    Err(error) => {
                        tracing::debug!(%error, "a stream of acknowledgements has ended");
                        return;
                    }
                };
                let api = api.clone();
                let answer = tokio::spawn(async move { api.settle_one(ack).await });
                if sender.send(answer).await.is_err() {
                    return;
                }
            }
        });
        // Earlier clients tell answers by their order: it is that of what they answer.
        let answers = ReceiverStream::new(receiver).then(|answer| async {
            answer.await.map_err(|error| Status::internal(format!("an acknowledgement was lost: {error}")))
        });
        Ok(Response::new(Box::pin(answers)))
    }

    async fn replay(
        &self,
        request: Request<pb::ReplayRequest>,
    ) -> Result<Response<Self::ReplayStream>, Status> {
        let (sender, receiver) = mpsc::channel(REPLAY_QUEUE);
        self.begin_replay(request.into_inner(), sender).await.map_err(|error| status(&error))?;
        let events = ReceiverStream::new(receiver).map(|event| event.map_err(|error| status(&error)));
        Ok(Response::new(Box::pin(events)))
    }
}

fn status_word(status: pb::PublishStatus) -> &'static str {
    match status {
        pb::PublishStatus::Accepted => "accepted",
        pb::PublishStatus::Duplicate => "duplicate",
        pb::PublishStatus::Refused | pb::PublishStatus::Unspecified => "refused",
    }
}

fn disposition(ack: &pb::AckRequest) -> Disposition {
    let rest = u64::try_from(ack.retry_delay_ms).ok().filter(|ms| *ms > 0).map(Nanos::from_millis);
    let why = ack.error.clone();
    match ack.disposition() {
        pb::Disposition::Ack => Disposition::Ack,
        pb::Disposition::Unspecified if ack.success => Disposition::Ack,
        pb::Disposition::Unspecified | pb::Disposition::Nack | pb::Disposition::Delay => {
            Disposition::Nack { rest, why }
        }
        pb::Disposition::InProgress => Disposition::InProgress,
        pb::Disposition::Term => Disposition::Term { why },
    }
}

/// Of a subscriber that names none.
const CREDITS: u32 = 100;
/// Events of a replay that wait to be sent: each may have 4 MiB.
const REPLAY_QUEUE: usize = 16;
/// Messages that wait to be sent on a stream.
const STREAM_QUEUE: usize = 1024;

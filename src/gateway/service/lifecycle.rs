//! `LifecycleService`: the fate of an event, and why it is where it is.

use std::pin::Pin;

use chronon_core::events::{DeliveryState, EventName, EventState, EventView, EventsQuery, EventsView};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::convert::{millis, signed};
use super::{Api, status};
use crate::gateway::proto::ext::lifecycle_service_server::LifecycleService;
use crate::gateway::proto::ext::{
    DeliveryFate, EventFate, GetEventRequest, ListByStateRequest, ListByStateResponse,
};
use crate::gateway::topics::{Partition, Refused};

#[tonic::async_trait]
impl LifecycleService for Api {
    type WatchEventStream = Pin<Box<dyn Stream<Item = Result<EventFate, Status>> + Send>>;

    async fn get_event(&self, request: Request<GetEventRequest>) -> Result<Response<EventFate>, Status> {
        let GetEventRequest { topic, message_id, partition_key } = request.into_inner();
        let event = EventName { partition_key, message_id };
        let found = self.find_event(&topic, &event).await.map_err(|error| status(&error))?;
        let fate = found.map(|(partition, view)| fate(&partition, &view));
        Ok(Response::new(fate.unwrap_or_default()))
    }

    async fn watch_event(
        &self,
        request: Request<GetEventRequest>,
    ) -> Result<Response<Self::WatchEventStream>, Status> {
        let GetEventRequest { topic, message_id, partition_key } = request.into_inner();
        let event = EventName { partition_key, message_id };
        let found = self.find_event(&topic, &event).await.map_err(|error| status(&error))?;
        let unknown = || Status::not_found(format!("no such event is remembered: {}", event.message_id));
        let (partition, view) = found.ok_or_else(unknown)?;
        let slot = self.0.watching.slot().map_err(|error| status(&error))?;
        let (sender, receiver) = mpsc::channel(FATES_AHEAD);
        let api = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = api.tell_fates(&partition, event, view, &sender) => {}
                () = sender.closed() => {}
            }
            drop(slot);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn list_by_state(
        &self,
        request: Request<ListByStateRequest>,
    ) -> Result<Response<ListByStateResponse>, Status> {
        let listed = self.list_in_state(request.into_inner()).await;
        listed.map(Response::new).map_err(|error| status(&error))
    }
}

impl Api {
    /// The partition that remembers an event, and what it knows. Its ordering key may have sent it to any.
    pub(super) async fn find_event(
        &self,
        topic: &str,
        event: &EventName,
    ) -> Result<Option<(Partition, EventView)>, Refused> {
        let known = self.0.topics.existing(topic).await?;
        for partition in self.0.topics.partitions(&known) {
            let question = EventsQuery::Event { topic: topic.to_owned(), event: event.clone() };
            if let EventsView::Event(Some(view)) = self.0.topics.view(&partition, question).await? {
                return Ok(Some((partition, view)));
            }
        }
        Ok(None)
    }

    /// Tells the fate of an event and each change of it, until nothing is to come.
    async fn tell_fates(
        &self,
        partition: &Partition,
        event: EventName,
        mut view: EventView,
        fates: &mpsc::Sender<Result<EventFate, Status>>,
    ) {
        loop {
            let told = fate(partition, &view);
            let is_over = [PROCESSED, CANCELLED, EXPIRED].contains(&told.state.as_str());
            if fates.send(Ok(told)).await.is_err() || is_over {
                return;
            }
            loop {
                let (topic, event) = (partition.topic.name.clone(), event.clone());
                let question = EventsQuery::Watch { topic, event, known: Some(view.clone()) };
                match self.0.topics.news(partition, question).await {
                    Ok((_, EventsView::Event(Some(news)))) if news != view => {
                        view = news;
                        break;
                    }
                    // Nothing has changed for long.
                    Ok((_, EventsView::Event(Some(_)))) => {}
                    Ok(_) => {
                        let _nobody_listens = fates.send(Ok(EventFate::default())).await;
                        return;
                    }
                    Err(error) => {
                        let _nobody_listens = fates.send(Err(status(&error))).await;
                        return;
                    }
                }
            }
        }
    }
}

fn fate(partition: &Partition, view: &EventView) -> EventFate {
    let is_over = |state: &DeliveryState| match state {
        DeliveryState::Processed
        | DeliveryState::Skipped
        | DeliveryState::Expired
        | DeliveryState::FailedTerminal(_) => true,
        DeliveryState::Buffered
        | DeliveryState::Processing { .. }
        | DeliveryState::FailedRetryable { .. } => false,
    };
    let deliveries = &view.deliveries;
    let (state, why) = match view.state {
        EventState::Scheduled => ("SCHEDULED", "it is not due yet"),
        EventState::Ready { .. } if deliveries.is_empty() => {
            ("READY", "it is due, and the topic has no consumer group")
        }
        EventState::Ready { .. } if deliveries.iter().all(|(_, state)| is_over(state)) => {
            (PROCESSED, "every consumer group has settled it; it is kept for those that come later")
        }
        EventState::Ready { .. } => ("READY", "it is due, and not settled by every consumer group"),
        EventState::Settled => (PROCESSED, "every consumer group has settled it"),
        EventState::Cancelled => (CANCELLED, "its publisher has taken it back before it was due"),
        EventState::Expired { .. } => {
            (EXPIRED, "it was of no use any more, or was let go, before every consumer group had settled it")
        }
    };
    EventFate {
        found: true,
        state: state.to_owned(),
        offset: signed(view.offset),
        partition_id: partition.id,
        accepted_ts: millis(view.accepted_at),
        schedule_ts: view.open.map_or(0, |(due_ms, _)| due_ms),
        deliveries: view.deliveries.iter().map(|(group, state)| delivery_fate(group, state)).collect(),
        why: why.to_owned(),
    }
}

pub(super) fn delivery_fate(group: &str, state: &DeliveryState) -> DeliveryFate {
    let fate = |state: &str, attempts, until_ts, why: &str| DeliveryFate {
        consumer_group: group.to_owned(),
        state: state.to_owned(),
        attempts,
        until_ts,
        why: why.to_owned(),
    };
    match state {
        DeliveryState::Skipped => fate("SKIPPED", 0, 0, "the group began later"),
        DeliveryState::Buffered => fate("BUFFERED", 0, 0, "it waits for a consumer with room"),
        DeliveryState::Processing { attempt, until, .. } => {
            fate("PROCESSING", *attempt, millis(*until), "a consumer has it")
        }
        DeliveryState::FailedRetryable { attempts, until, why } => {
            fate("FAILED_RETRYABLE", *attempts, millis(*until), why)
        }
        DeliveryState::FailedTerminal(dead) => {
            fate("FAILED_TERMINAL", dead.attempts, millis(dead.at), &dead.why)
        }
        DeliveryState::Expired => fate("EXPIRED", 0, 0, "it was not settled while it was of use, and kept"),
        DeliveryState::Processed => fate("PROCESSED", 0, 0, ""),
    }
}

/// Ends of an event.
const PROCESSED: &str = "PROCESSED";
const EXPIRED: &str = "EXPIRED";
const CANCELLED: &str = "CANCELLED";
/// Fates that wait to be sent.
const FATES_AHEAD: usize = 16;

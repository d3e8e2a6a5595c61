//! `LifecycleService`: the fate of an event, and why it is where it is.

use chronon_core::events::{DeliveryState, EventName, EventState, EventView, EventsQuery, EventsView};
use tonic::{Request, Response, Status};

use super::convert::{millis, signed};
use super::{Api, status};
use crate::gateway::proto::ext::lifecycle_service_server::LifecycleService;
use crate::gateway::proto::ext::{DeliveryFate, EventFate, GetEventRequest};
use crate::gateway::topics::{Partition, Refused};

#[tonic::async_trait]
impl LifecycleService for Api {
    async fn get_event(&self, request: Request<GetEventRequest>) -> Result<Response<EventFate>, Status> {
        let GetEventRequest { topic, message_id, partition_key } = request.into_inner();
        let event = EventName { partition_key, message_id };
        let found = self.find_event(&topic, &event).await.map_err(|error| status(&error))?;
        let fate = found.map(|(partition, view)| fate(&partition, &view));
        Ok(Response::new(fate.unwrap_or_default()))
    }
}

impl Api {
    /// The partition that remembers an event, and what it knows. Its ordering key may have sent it to any.
    pub(super) async fn find_event(
        &self,
        topic: &str,
        event: &EventName,
    ) -> Result<Option<(Partition, EventView)>, Refused> {
        let unknown = || Refused::NotFound(format!("no such topic: {topic}"));
        let known = self.0.topics.find(topic).await?.ok_or_else(unknown)?;
        for partition in self.0.topics.partitions(&known) {
            let question = EventsQuery::Event { topic: topic.to_owned(), event: event.clone() };
            if let EventsView::Event(Some(view)) = self.0.topics.view(&partition, question).await? {
                return Ok(Some((partition, view)));
            }
        }
        Ok(None)
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
            ("PROCESSED", "every consumer group has settled it; it is kept for those that come later")
        }
        EventState::Ready { .. } => ("READY", "it is due, and not settled by every consumer group"),
        EventState::Settled => ("PROCESSED", "every consumer group has settled it"),
        EventState::Cancelled => ("CANCELLED", "its publisher has taken it back before it was due"),
        EventState::Expired { .. } => (
            "EXPIRED",
            "it was of no use any more, or was let go, before every consumer group had settled it",
        ),
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

fn delivery_fate(group: &str, state: &DeliveryState) -> DeliveryFate {
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

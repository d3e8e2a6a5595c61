//! `ScheduleService`: events that are not due yet.

use chronon_core::events::{Due, EventName, EventsAnswer, EventsCommand, EventsQuery, EventsView};
use tonic::{Request, Response, Status};

use super::convert::{self, signed};
use super::{Api, status};
use crate::gateway::proto::cronos_db::PublishResponse;
use crate::gateway::proto::ext::schedule_service_server::ScheduleService;
use crate::gateway::proto::ext::{
    BackfillRequest, BackfillResponse, CancelRequest, ChangeResponse, DeleteRecurringResponse,
    ListRecurringRequest, ListRecurringResponse, ListScheduledRequest, ListScheduledResponse, Recurring,
    RecurringRequest, RescheduleRequest, SetRecurringRequest,
};
use crate::gateway::topics::Refused;

#[tonic::async_trait]
impl ScheduleService for Api {
    async fn list_scheduled(
        &self,
        request: Request<ListScheduledRequest>,
    ) -> Result<Response<ListScheduledResponse>, Status> {
        let ListScheduledRequest { topic, limit } = request.into_inner();
        let limit = if limit == 0 { ROWS } else { limit as usize }.min(ROWS);
        let listed = async {
            let known = self.0.topics.find(&topic).await?;
            let known = known.ok_or_else(|| Refused::NotFound(format!("no such topic: {topic}")))?;
            let mut rows = Vec::new();
            for partition in self.0.topics.partitions(&known) {
                let question = EventsQuery::Scheduled { topic: topic.clone(), after: None };
                if let EventsView::Scheduled(scheduled) = self.0.topics.view(&partition, question).await? {
                    rows.extend(scheduled.into_iter().map(|row| (row.due_ms, partition.clone(), row)));
                }
            }
            rows.sort_by_key(|(due_ms, partition, row)| (*due_ms, partition.id, row.offset));
            let mut events = Vec::new();
            for (due_ms, partition, row) in rows.into_iter().take(limit) {
                let event = self.0.payloads.get(partition.group, row.stored).await?;
                events.push(convert::event(&partition, row.offset, due_ms, event));
            }
            Ok(ListScheduledResponse { events })
        };
        listed.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn set_recurring(
        &self,
        request: Request<SetRecurringRequest>,
    ) -> Result<Response<Recurring>, Status> {
        let set = self.set_schedule(request.into_inner()).await;
        set.map(Response::new).map_err(|error| status(&error))
    }

    async fn list_recurring(
        &self,
        request: Request<ListRecurringRequest>,
    ) -> Result<Response<ListRecurringResponse>, Status> {
        let schedules = self.list_schedules(&request.into_inner().topic).await;
        schedules
            .map(|schedules| Response::new(ListRecurringResponse { schedules }))
            .map_err(|error| status(&error))
    }

    async fn pause_recurring(
        &self,
        request: Request<RecurringRequest>,
    ) -> Result<Response<Recurring>, Status> {
        let RecurringRequest { topic, name } = request.into_inner();
        let paused = self.pause_schedule(&topic, &name, true).await;
        paused.map(Response::new).map_err(|error| status(&error))
    }

    async fn resume_recurring(
        &self,
        request: Request<RecurringRequest>,
    ) -> Result<Response<Recurring>, Status> {
        let RecurringRequest { topic, name } = request.into_inner();
        let resumed = self.pause_schedule(&topic, &name, false).await;
        resumed.map(Response::new).map_err(|error| status(&error))
    }

    async fn trigger_recurring(
        &self,
        request: Request<RecurringRequest>,
    ) -> Result<Response<PublishResponse>, Status> {
        let RecurringRequest { topic, name } = request.into_inner();
        self.trigger(&topic, &name).await.map(Response::new).map_err(|error| status(&error))
    }

    async fn backfill_recurring(
        &self,
        request: Request<BackfillRequest>,
    ) -> Result<Response<BackfillResponse>, Status> {
        self.backfill(request.into_inner()).await.map(Response::new).map_err(|error| status(&error))
    }

    async fn delete_recurring(
        &self,
        request: Request<RecurringRequest>,
    ) -> Result<Response<DeleteRecurringResponse>, Status> {
        let RecurringRequest { topic, name } = request.into_inner();
        let deleted = self.delete_schedule(&topic, &name).await;
        deleted.map(|()| Response::new(DeleteRecurringResponse {})).map_err(|error| status(&error))
    }

    async fn cancel(&self, request: Request<CancelRequest>) -> Result<Response<ChangeResponse>, Status> {
        let CancelRequest { topic, message_id, partition_key } = request.into_inner();
        let event = EventName { partition_key, message_id };
        let of_event = event.clone();
        let cancel = |topic: String| EventsCommand::Cancel { topic, event: of_event };
        self.change(topic, event, cancel).await
    }

    async fn reschedule(
        &self,
        request: Request<RescheduleRequest>,
    ) -> Result<Response<ChangeResponse>, Status> {
        let wanted = request.into_inner();
        let due = match u64::try_from(wanted.delay_ms) {
            Ok(delay) if delay > 0 => Due::In(delay),
            _ => Due::At(wanted.schedule_ts),
        };
        let event = EventName { partition_key: wanted.partition_key, message_id: wanted.message_id };
        let of_event = event.clone();
        let reschedule = |topic: String| EventsCommand::Reschedule { topic, event: of_event, due };
        self.change(wanted.topic, event, reschedule).await
    }
}

impl Api {
    async fn change(
        &self,
        topic: String,
        event: EventName,
        command: impl FnOnce(String) -> EventsCommand,
    ) -> Result<Response<ChangeResponse>, Status> {
        let changed = async {
            let found = self.find_event(&topic, &event).await?;
            let unknown = || Refused::NotFound(format!("no such event is remembered: {}", event.message_id));
            let (partition, _) = found.ok_or_else(unknown)?;
            match self.0.topics.command(&partition, &command(topic.clone())).await? {
                (_, EventsAnswer::Cancelled { offset }) => Ok((offset, 0)),
                (_, EventsAnswer::Rescheduled { offset, due_ms }) => Ok((offset, due_ms)),
                (_, other) => Err(Refused::Unavailable(format!("a change was answered with {other:?}"))),
            }
        };
        match changed.await {
            Ok((offset, schedule_ts)) => Ok(Response::new(ChangeResponse {
                success: true,
                error: String::new(),
                offset: signed(offset),
                schedule_ts,
            })),
            Err(Refused::Invalid(error) | Refused::NotFound(error)) => {
                Ok(Response::new(ChangeResponse { error, ..ChangeResponse::default() }))
            }
            Err(other) => Err(status(&other)),
        }
    }
}

/// Events that one answer tells.
const ROWS: usize = 1000;

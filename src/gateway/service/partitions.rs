//! `PartitionService`.

use std::time::SystemTime;

use chronon_core::events::{BATCH_MAX, EventsAnswer, EventsCommand, EventsQuery, EventsView, PartitionView};
use chronon_core::types::Nanos;
use tonic::{Request, Response, Status};

use super::convert::signed;
use super::{Api, status};
use crate::gateway::proto::cronos_db::partition_service_server::PartitionService;
use crate::gateway::proto::cronos_db::{
    CompactRequest, CompactResponse, GetPartitionRequest, GetSchedulerStatusRequest, GetWalStatusRequest,
    ListPartitionsRequest, ListPartitionsResponse, PartitionInfo, RetentionRequest, RetentionResponse,
    SchedulerStatus, SplitPartitionRequest, SplitPartitionResponse, WalStatus,
};
use crate::gateway::topics::{Partition, Refused};
use crate::server::disk_usage::JournalUsage;

#[tonic::async_trait]
impl PartitionService for Api {
    async fn get_partition(
        &self,
        request: Request<GetPartitionRequest>,
    ) -> Result<Response<PartitionInfo>, Status> {
        let found = async {
            let partition = self.0.topics.partition(request.into_inner().partition_id).await?;
            let view = self.partition_view(&partition).await?;
            Ok(self.info(&partition, view.as_ref()))
        };
        found.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn list_partitions(
        &self,
        request: Request<ListPartitionsRequest>,
    ) -> Result<Response<ListPartitionsResponse>, Status> {
        let topic = request.into_inner().topic;
        let listed = async {
            let topics = if topic.is_empty() {
                self.0.topics.list().await?
            } else {
                let found = self.0.topics.find(&topic).await?;
                vec![found.ok_or_else(|| Refused::NotFound(format!("no such topic: {topic}")))?]
            };
            let mut partitions = Vec::new();
            for partition in topics.iter().flat_map(|topic| self.0.topics.partitions(topic)) {
                let view = self.partition_view(&partition).await?;
                partitions.push(self.info(&partition, view.as_ref()));
            }
            Ok(ListPartitionsResponse { partitions })
        };
        listed.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn get_scheduler_status(
        &self,
        request: Request<GetSchedulerStatusRequest>,
    ) -> Result<Response<SchedulerStatus>, Status> {
        let found = async {
            let partition = self.0.topics.partition(request.into_inner().partition_id).await?;
            let view = self.partition_view(&partition).await?;
            Ok(SchedulerStatus {
                partition_id: partition.id,
                active_timers: view.as_ref().map_or(0, |view| signed(view.scheduled)),
                ready_events: view.as_ref().map_or(0, |view| signed(view.ready)),
                tick_ms: 1,
                ..SchedulerStatus::default()
            })
        };
        found.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn get_wal_status(
        &self,
        request: Request<GetWalStatusRequest>,
    ) -> Result<Response<WalStatus>, Status> {
        let found = async {
            let partition = self.0.topics.partition(request.into_inner().partition_id).await?;
            let view = self.partition_view(&partition).await?;
            Ok((partition.id, view.map_or(0, |view| view.next_offset)))
        };
        let (partition_id, next_offset) = found.await.map_err(|error: Refused| status(&error))?;
        let disk = self.0.disk.clone();
        let journal = tokio::task::spawn_blocking(move || disk.journal()).await;
        let journal = journal.map_err(|error| Status::internal(error.to_string()))?;
        let unlisted = |error| Status::unavailable(format!("the journal cannot be listed: {error}"));
        let JournalUsage { segments, available_bytes } = journal.map_err(unlisted)?;
        let written = segments.iter().map(|segment| unix_ms(segment.written_at));
        let (oldest_segment_ts, newest_segment_ts) =
            (written.clone().min().unwrap_or_default(), written.max().unwrap_or_default());
        let total: u64 = segments.iter().map(|segment| segment.bytes).sum();
        Ok(Response::new(WalStatus {
            partition_id,
            segment_files: segments.into_iter().map(|segment| segment.name).collect(),
            first_offset: if next_offset == 0 { -1 } else { 0 },
            last_offset: signed(next_offset) - 1,
            index_entries: 0,
            oldest_segment_ts,
            newest_segment_ts,
            total_size_bytes: signed(total),
            available_space_bytes: signed(available_bytes),
        }))
    }

    async fn compact(&self, request: Request<CompactRequest>) -> Result<Response<CompactResponse>, Status> {
        let found = self.0.topics.partition(request.into_inner().partition_id).await;
        found.map_err(|error| status(&error))?;
        let error = "a node frees the segments of its journal by itself, once snapshots and archives cover what is in them";
        Ok(Response::new(CompactResponse { error: error.to_owned(), ..CompactResponse::default() }))
    }

    async fn run_retention(
        &self,
        request: Request<RetentionRequest>,
    ) -> Result<Response<RetentionResponse>, Status> {
        let wanted = request.into_inner();
        let run = async {
            let partition = self.0.topics.partition(wanted.partition_id).await?;
            let (age, bytes, below) = retention_bounds(&wanted)?;
            let mut response = RetentionResponse { success: true, ..RetentionResponse::default() };
            loop {
                let topic = partition.topic.name.clone();
                let retain = EventsCommand::Retain { topic, age, bytes, below };
                let (events, freed) = match self.0.topics.command(&partition, &retain).await? {
                    (_, EventsAnswer::Retained { events, bytes }) => (events, bytes),
                    (_, other) => {
                        return Err(Refused::Unavailable(format!("retention was answered with {other:?}")));
                    }
                };
                response.events_deleted += signed(events);
                response.bytes_freed += signed(freed);
                // One command lets go of so many at most.
                if events < BATCH_MAX {
                    return Ok(response);
                }
            }
        };
        run.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn split_partition(
        &self,
        request: Request<SplitPartitionRequest>,
    ) -> Result<Response<SplitPartitionResponse>, Status> {
        let found = async {
            let partition = self.0.topics.partition(request.into_inner().source_partition_id).await?;
            let view = self.partition_view(&partition).await?;
            let of = &partition.topic;
            Ok(SplitPartitionResponse {
                success: false,
                error: format!("topic {} has {} partitions, for good", of.name, of.topic.partitions),
                source_high_watermark: view.map_or(0, |view| signed(view.next_offset)),
                new_first_offset: 0,
            })
        };
        found.await.map(Response::new).map_err(|error: Refused| status(&error))
    }
}

type RetentionBounds = (Option<Nanos>, Option<u64>, Option<u64>);

/// What the request names, and something it must.
fn retention_bounds(wanted: &RetentionRequest) -> Result<RetentionBounds, Refused> {
    let bound = |what: &str, value: i64| match u64::try_from(value) {
        Ok(0) => Ok(None),
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(Refused::Invalid(format!("{what} is {value}: it must not be negative"))),
    };
    let age = bound("max_age_hours", i64::from(wanted.max_age_hours))?;
    let bytes = bound("max_size_bytes", wanted.max_size_bytes)?;
    let below = bound("min_offset", wanted.min_offset)?;
    if age.is_none() && bytes.is_none() && below.is_none() {
        return Err(Refused::Invalid("max_age_hours, max_size_bytes or min_offset is required".to_owned()));
    }
    Ok((age.map(|hours| Nanos::from_secs(hours.saturating_mul(3600))), bytes, below))
}

impl Api {
    /// What is seen of a partition; nothing of one that nobody has used.
    pub(super) async fn partition_view(
        &self,
        partition: &Partition,
    ) -> Result<Option<PartitionView>, Refused> {
        let question = EventsQuery::Partition { topic: partition.topic.name.clone() };
        match self.0.topics.view(partition, question).await? {
            EventsView::Partition(view) => Ok(Some(view)),
            _ => Ok(None),
        }
    }

    fn info(&self, partition: &Partition, view: Option<&PartitionView>) -> PartitionInfo {
        let report = self.group_report(partition.group);
        let primary = report.as_ref().and_then(|report| report.primary);
        let members = report.map(|report| report.members).unwrap_or_default();
        PartitionInfo {
            partition_id: partition.id,
            topic: partition.topic.name.clone(),
            leader_id: primary.map(|node| node.to_string()).unwrap_or_default(),
            replica_ids: members.iter().map(|member| member.node.to_string()).collect(),
            high_watermark: view.map_or(0, |view| signed(view.next_offset)),
            last_offset: view.map_or(-1, |view| signed(view.next_offset) - 1),
            ..PartitionInfo::default()
        }
    }
}

fn unix_ms(at: SystemTime) -> i64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

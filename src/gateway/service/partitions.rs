//! `PartitionService`.

use chronon_core::events::{EventsQuery, EventsView, PartitionView};
use tonic::{Request, Response, Status};

use super::convert::signed;
use super::{Api, status};
use crate::gateway::proto::cronos_db::partition_service_server::PartitionService;
use crate::gateway::proto::cronos_db::{
    GetPartitionRequest, GetSchedulerStatusRequest, ListPartitionsRequest, ListPartitionsResponse,
    PartitionInfo, SchedulerStatus,
};
use crate::gateway::topics::{Partition, Refused};

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
}

impl Api {
    /// What is seen of a partition; nothing of one that nobody has used.
    async fn partition_view(&self, partition: &Partition) -> Result<Option<PartitionView>, Refused> {
        let question = EventsQuery::Partition { topic: partition.topic.name.clone() };
        match self.0.topics.view(partition, question).await? {
            EventsView::Partition(view) => Ok(Some(view)),
            _ => Ok(None),
        }
    }

    fn info(&self, partition: &Partition, view: Option<&PartitionView>) -> PartitionInfo {
        let cluster = &self.0.topics.cluster;
        PartitionInfo {
            partition_id: partition.id,
            topic: partition.topic.name.clone(),
            leader_id: cluster.primary(partition.group).to_string(),
            replica_ids: cluster.voters(partition.group).iter().map(ToString::to_string).collect(),
            high_watermark: view.map_or(0, |view| signed(view.next_offset)),
            last_offset: view.map_or(-1, |view| signed(view.next_offset) - 1),
            ..PartitionInfo::default()
        }
    }
}

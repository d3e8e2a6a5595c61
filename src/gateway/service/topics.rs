//! `TopicService`.

use chronon_core::events::{EventsQuery, EventsView, TopicConfig};
use chronon_core::types::Nanos;
use tonic::{Request, Response, Status};

use super::convert::signed;
use super::{Api, status};
use crate::gateway::proto::ext::topic_service_server::TopicService;
use crate::gateway::proto::ext::{
    CreateTopicRequest, DescribeTopicRequest, ListTopicsRequest, ListTopicsResponse, PartitionState,
    TopicInfo,
};
use crate::gateway::topics::{KnownTopic, Refused};

#[tonic::async_trait]
impl TopicService for Api {
    async fn create_topic(
        &self,
        request: Request<CreateTopicRequest>,
    ) -> Result<Response<TopicInfo>, Status> {
        let wanted = request.into_inner();
        let usual = TopicConfig::default();
        let or = |value: u64, usual: u64| if value == 0 { usual } else { value };
        let window = u64::try_from(wanted.dedup_window_ms).unwrap_or_default();
        let config = TopicConfig {
            payload_bytes_max: match wanted.payload_bytes_max {
                0 => usual.payload_bytes_max,
                max => max.min(usual.payload_bytes_max),
            },
            dedup_window: if window == 0 { usual.dedup_window } else { Nanos::from_millis(window) },
            dedup_ids_max: or(wanted.dedup_ids_max, usual.dedup_ids_max),
            pending_max: or(wanted.pending_max, usual.pending_max),
            strict: wanted.strict,
            ..usual
        };
        let made = self.0.topics.create(&wanted.topic, wanted.partitions, config).await;
        let topic = made.map_err(|error| status(&error))?;
        Ok(Response::new(info(&topic, Vec::new())))
    }

    async fn list_topics(
        &self,
        _request: Request<ListTopicsRequest>,
    ) -> Result<Response<ListTopicsResponse>, Status> {
        let topics = self.0.topics.list().await.map_err(|error| status(&error))?;
        let topics = topics.iter().map(|topic| topic.name.clone()).collect();
        Ok(Response::new(ListTopicsResponse { topics }))
    }

    async fn describe_topic(
        &self,
        request: Request<DescribeTopicRequest>,
    ) -> Result<Response<TopicInfo>, Status> {
        let name = request.into_inner().topic;
        let described = async {
            let unknown = || Refused::NotFound(format!("no such topic: {name}"));
            let topic = self.0.topics.find(&name).await?.ok_or_else(unknown)?;
            let mut partitions = Vec::new();
            for partition in self.0.topics.partitions(&topic) {
                let question = EventsQuery::Partition { topic: name.clone() };
                let mut state = PartitionState { partition_id: partition.id, ..PartitionState::default() };
                // One that nobody has published to or consumed from is empty.
                if let EventsView::Partition(view) = self.0.topics.view(&partition, question).await? {
                    state.next_offset = signed(view.next_offset);
                    state.next_ready_seq = signed(view.next_seq);
                    state.scheduled = signed(view.scheduled);
                    state.ready = signed(view.ready);
                    state.message_ids = signed(view.ids);
                }
                partitions.push(state);
            }
            Ok(info(&topic, partitions))
        };
        described.await.map(Response::new).map_err(|error: Refused| status(&error))
    }
}

fn info(KnownTopic { name, topic }: &KnownTopic, partitions: Vec<PartitionState>) -> TopicInfo {
    let config = &topic.config;
    TopicInfo {
        topic: name.clone(),
        partitions,
        payload_bytes_max: config.payload_bytes_max,
        dedup_window_ms: signed(config.dedup_window.as_nanos() / 1_000_000),
        dedup_ids_max: config.dedup_ids_max,
        strict: config.strict,
        pending_max: config.pending_max,
    }
}

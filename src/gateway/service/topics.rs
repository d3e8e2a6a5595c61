//! `TopicService`.

use chronon_core::events::{EventsQuery, EventsView, TopicConfig};
use chronon_core::types::Nanos;
use tonic::{Request, Response, Status};

use super::convert::signed;
use super::{Api, status};
use crate::gateway::proto::ext::topic_service_server::TopicService;
use crate::gateway::proto::ext::{
    AlterTopicRequest, CreateTopicRequest, DeleteTopicRequest, DeleteTopicResponse, DescribeTopicRequest,
    ListTopicsRequest, ListTopicsResponse, PartitionState, PauseTopicRequest, TopicInfo,
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
            retain_age: retain_age(wanted.retain_age_ms).map_err(|error| status(&error))?,
            retain_bytes: Some(wanted.retain_bytes).filter(|bytes| *bytes > 0),
            expires_unsettled: wanted.expires_unsettled,
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
            let topic = self.0.topics.existing(&name).await?;
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

    async fn alter_topic(&self, request: Request<AlterTopicRequest>) -> Result<Response<TopicInfo>, Status> {
        let wanted = request.into_inner();
        let altered = async {
            let topic = self.0.topics.existing(&wanted.topic).await?;
            let config = altered(&topic.topic.config, &wanted)?;
            let topic = self.0.topics.alter(&wanted.topic, config).await?;
            Ok(info(&topic, Vec::new()))
        };
        altered.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn pause_topic(&self, request: Request<PauseTopicRequest>) -> Result<Response<TopicInfo>, Status> {
        let paused = self.0.topics.pause(&request.into_inner().topic, true).await;
        paused.map(|topic| Response::new(info(&topic, Vec::new()))).map_err(|error| status(&error))
    }

    async fn resume_topic(&self, request: Request<PauseTopicRequest>) -> Result<Response<TopicInfo>, Status> {
        let resumed = self.0.topics.pause(&request.into_inner().topic, false).await;
        resumed.map(|topic| Response::new(info(&topic, Vec::new()))).map_err(|error| status(&error))
    }

    async fn delete_topic(
        &self,
        request: Request<DeleteTopicRequest>,
    ) -> Result<Response<DeleteTopicResponse>, Status> {
        let DeleteTopicRequest { topic, confirm } = request.into_inner();
        if confirm != topic {
            return Err(Status::invalid_argument(format!(
                "confirm is {confirm:?}: what deletes a topic is its name once more, {topic:?}"
            )));
        }
        let gone = self.0.topics.delete(&topic).await.map_err(|error| status(&error))?;
        Ok(Response::new(DeleteTopicResponse {
            scheduled: signed(gone.scheduled),
            ready: signed(gone.ready),
            dead: signed(gone.dead),
        }))
    }
}

/// How a topic is to behave: as it does, but for what is wanted.
fn altered(config: &TopicConfig, wanted: &AlterTopicRequest) -> Result<TopicConfig, Refused> {
    let usual = TopicConfig::default();
    let mut config = config.clone();
    if let Some(max) = wanted.payload_bytes_max {
        if !(1..=usual.payload_bytes_max).contains(&max) {
            let most = usual.payload_bytes_max;
            return Err(Refused::Invalid(format!("payload_bytes_max is {max}: it is 1 to {most}")));
        }
        config.payload_bytes_max = max;
    }
    if let Some(window) = wanted.dedup_window_ms {
        let window = u64::try_from(window).ok().filter(|window| (1..=DEDUP_WINDOW_MS_MAX).contains(window));
        let refused = || {
            let told = wanted.dedup_window_ms.unwrap_or_default();
            Refused::Invalid(format!("dedup_window_ms is {told}: it is 1 to {DEDUP_WINDOW_MS_MAX}"))
        };
        config.dedup_window = Nanos::from_millis(window.ok_or_else(refused)?);
    }
    if wanted.dedup_ids_max == Some(0) {
        return Err(Refused::Invalid("dedup_ids_max is 0: it is 1 or more".to_owned()));
    }
    config.dedup_ids_max = wanted.dedup_ids_max.unwrap_or(config.dedup_ids_max);
    config.strict = wanted.strict.unwrap_or(config.strict);
    config.pending_max = wanted.pending_max.unwrap_or(config.pending_max);
    config.kept_max = wanted.kept_max.unwrap_or(config.kept_max);
    config.dead_max = wanted.dead_max.unwrap_or(config.dead_max);
    if let Some(age) = wanted.retain_age_ms {
        config.retain_age = retain_age(age)?;
    }
    if let Some(bytes) = wanted.retain_bytes {
        config.retain_bytes = Some(bytes).filter(|bytes| *bytes > 0);
    }
    config.expires_unsettled = wanted.expires_unsettled.unwrap_or(config.expires_unsettled);
    Ok(config)
}

fn retain_age(ms: i64) -> Result<Option<Nanos>, Refused> {
    match u64::try_from(ms) {
        Ok(0) => Ok(None),
        Ok(ms) => Ok(Some(Nanos::from_millis(ms))),
        Err(_) => Err(Refused::Invalid(format!("retain_age_ms is {ms}: it must not be negative"))),
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
        kept_max: config.kept_max,
        dead_max: config.dead_max,
        revision: config.revision,
        retain_age_ms: config.retain_age.map_or(0, |age| signed(age.as_nanos() / 1_000_000)),
        retain_bytes: config.retain_bytes.unwrap_or_default(),
        expires_unsettled: config.expires_unsettled,
        paused: config.is_paused,
    }
}

/// A hundred years.
const DEDUP_WINDOW_MS_MAX: u64 = 100 * 365 * 24 * 3_600_000;

//! `ConsumerGroupService`.

use std::collections::BTreeMap;

use chronon_core::events::{EventsAnswer, EventsCommand, EventsQuery, EventsView, GroupView, Mode};

use tonic::{Request, Response, Status};

use super::convert::{self, Wanted, signed};
use super::{Api, status};
use crate::gateway::proto::cronos_db::consumer_group_service_server::ConsumerGroupService;
use crate::gateway::proto::cronos_db::{
    ConsumerGroupMetadata, CreateConsumerGroupRequest, CreateConsumerGroupResponse, GetConsumerGroupRequest,
    GroupMode, ListConsumerGroupsRequest, ListConsumerGroupsResponse,
};
use crate::gateway::topics::Refused;

#[tonic::async_trait]
impl ConsumerGroupService for Api {
    async fn create_consumer_group(
        &self,
        request: Request<CreateConsumerGroupRequest>,
    ) -> Result<Response<CreateConsumerGroupResponse>, Status> {
        match self.create_group(request.into_inner()).await {
            Ok(()) => Ok(Response::new(CreateConsumerGroupResponse { success: true, error: String::new() })),
            Err(Refused::Invalid(error) | Refused::NotFound(error)) => {
                Ok(Response::new(CreateConsumerGroupResponse { success: false, error }))
            }
            Err(other) => Err(status(&other)),
        }
    }

    async fn get_consumer_group(
        &self,
        request: Request<GetConsumerGroupRequest>,
    ) -> Result<Response<ConsumerGroupMetadata>, Status> {
        let GetConsumerGroupRequest { group_id, topic } = request.into_inner();
        let found = self.groups_of(&topic).await.map_err(|error| status(&error))?;
        let group = found.into_iter().find(|group| group.group_id == group_id);
        group
            .map(Response::new)
            .ok_or_else(|| Status::not_found(format!("no such consumer group: {group_id}")))
    }

    async fn list_consumer_groups(
        &self,
        request: Request<ListConsumerGroupsRequest>,
    ) -> Result<Response<ListConsumerGroupsResponse>, Status> {
        let groups = self.groups_of(&request.into_inner().topic).await.map_err(|error| status(&error))?;
        Ok(Response::new(ListConsumerGroupsResponse { groups }))
    }
}

impl Api {
    /// A group is made in every partition: by a member that comes and goes at once.
    async fn create_group(&self, wanted: CreateConsumerGroupRequest) -> Result<(), Refused> {
        let topic = self.0.topics.get(&wanted.topic).await?;
        let options = convert::options(Wanted {
            mode: wanted.mode(),
            start_offset: wanted.start_offset,
            attempts_max: wanted.max_deliver,
            ack_timeout_ms: wanted.ack_timeout_ms,
            rest_ms: wanted.backoff_ms,
            rest_max_ms: wanted.backoff_max_ms,
        });
        for partition in self.0.topics.partitions(&topic) {
            let make = EventsCommand::MakeGroup {
                topic: topic.name.clone(),
                group: wanted.group_id.clone(),
                options: options.clone(),
            };
            match self.0.topics.command(&partition, &make).await? {
                (_, EventsAnswer::GroupMade) => {}
                (_, other) => {
                    return Err(Refused::Unavailable(format!("a group was answered with {other:?}")));
                }
            }
        }
        Ok(())
    }

    /// The consumer groups of a topic, or of all of them when it has no name, each over all partitions.
    async fn groups_of(&self, topic: &str) -> Result<Vec<ConsumerGroupMetadata>, Refused> {
        let topics = if topic.is_empty() {
            self.0.topics.list().await?
        } else {
            let found = self.0.topics.find(topic).await?;
            vec![found.ok_or_else(|| Refused::NotFound(format!("no such topic: {topic}")))?]
        };
        let mut groups: BTreeMap<(String, String), ConsumerGroupMetadata> = BTreeMap::new();
        for topic in topics {
            for partition in self.0.topics.partitions(&topic) {
                let question = EventsQuery::Partition { topic: topic.name.clone() };
                let EventsView::Partition(view) = self.0.topics.view(&partition, question).await? else {
                    continue;
                };
                for group in view.groups {
                    let name = (topic.name.clone(), group.name.clone());
                    add(groups.entry(name).or_default(), &topic.name, partition.id, &group);
                }
            }
        }
        Ok(groups.into_values().collect())
    }
}

fn add(all: &mut ConsumerGroupMetadata, topic: &str, partition: i32, group: &GroupView) {
    all.group_id.clone_from(&group.name);
    all.topic = topic.to_owned();
    all.partitions.push(partition);
    all.committed_offsets.insert(partition, signed(group.floor));
    all.lag += signed(group.lag);
    all.open += signed(group.open);
    all.resting += signed(group.resting);
    all.dead += signed(group.dead);
    all.members = all.members.max(i32::try_from(group.members).unwrap_or(i32::MAX));
    let mode = match group.options.mode {
        Mode::Shared => GroupMode::Shared,
        Mode::Ordered => GroupMode::Ordered,
    };
    all.mode = mode.into();
}

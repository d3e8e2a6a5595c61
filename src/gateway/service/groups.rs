//! `ConsumerGroupService`, as earlier clients know it.

use std::collections::{BTreeMap, HashMap};

use chronon_core::events::{EventsAnswer, EventsCommand, EventsQuery, EventsView, GroupView, Mode};
use tonic::{Request, Response, Status};

use super::convert::{self, Wanted, signed};
use super::{Api, status};
use crate::gateway::proto::cronos_db::consumer_group_service_server::ConsumerGroupService;
use crate::gateway::proto::cronos_db::{
    ConsumerGroupMetadata, CreateConsumerGroupRequest, CreateConsumerGroupResponse, GetConsumerGroupRequest,
    GroupMode, ListConsumerGroupsRequest, ListConsumerGroupsResponse, RebalanceConsumerGroupRequest,
    RebalanceConsumerGroupResponse,
};
use crate::gateway::topics::Refused;

#[tonic::async_trait]
impl ConsumerGroupService for Api {
    async fn create_consumer_group(
        &self,
        request: Request<CreateConsumerGroupRequest>,
    ) -> Result<Response<CreateConsumerGroupResponse>, Status> {
        match self.make_group(request.into_inner()).await {
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
        let found = self.group_of(&group_id, &topic).await;
        found.map(Response::new).map_err(|error| status(&error))
    }

    async fn list_consumer_groups(
        &self,
        request: Request<ListConsumerGroupsRequest>,
    ) -> Result<Response<ListConsumerGroupsResponse>, Status> {
        let groups = self.groups_of(&request.into_inner().topic).await.map_err(|error| status(&error))?;
        Ok(Response::new(ListConsumerGroupsResponse { groups }))
    }

    async fn rebalance_consumer_group(
        &self,
        request: Request<RebalanceConsumerGroupRequest>,
    ) -> Result<Response<RebalanceConsumerGroupResponse>, Status> {
        let RebalanceConsumerGroupRequest { group_id, member_ids, topic } = request.into_inner();
        let answer = match self.group_of(&group_id, &topic).await {
            Ok(_) if member_ids.is_empty() => RebalanceConsumerGroupResponse {
                error: "member_ids is required".to_owned(),
                ..RebalanceConsumerGroupResponse::default()
            },
            Ok(group) => RebalanceConsumerGroupResponse {
                success: true,
                error: String::new(),
                partition_assignments: assignments(&group.partitions, member_ids),
            },
            Err(Refused::NotFound(error)) => {
                RebalanceConsumerGroupResponse { error, ..RebalanceConsumerGroupResponse::default() }
            }
            Err(other) => return Err(status(&other)),
        };
        Ok(Response::new(answer))
    }
}

impl Api {
    /// A group is made in every partition.
    pub(super) async fn make_group(&self, wanted: CreateConsumerGroupRequest) -> Result<(), Refused> {
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

    /// A consumer group of a topic, or of the first topic that has one of this name.
    async fn group_of(&self, group_id: &str, topic: &str) -> Result<ConsumerGroupMetadata, Refused> {
        let group = self.groups_of(topic).await?.into_iter().find(|group| group.group_id == group_id);
        group.ok_or_else(|| Refused::NotFound(format!("no such consumer group: {group_id}")))
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

/// Where each member is to subscribe: one partition each, in turn, or all where there are fewer members than partitions. The same
/// members get the same answer, in whatever order they are told.
fn assignments(partitions: &[i32], mut members: Vec<String>) -> HashMap<String, i32> {
    members.sort();
    members.dedup();
    let is_spread = members.len() >= partitions.len();
    let places = partitions.iter().copied().cycle();
    let places = places.map(|partition| if is_spread { partition } else { ALL_PARTITIONS });
    members.into_iter().zip(places).collect()
}

pub(super) fn group_mode(mode: Mode) -> GroupMode {
    match mode {
        Mode::Shared => GroupMode::Shared,
        Mode::Ordered => GroupMode::Ordered,
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
    all.mode = group_mode(group.options.mode).into();
}

/// What a member subscribes to that takes from all partitions.
const ALL_PARTITIONS: i32 = -1;

#[cfg(test)]
mod tests {
    use super::{ALL_PARTITIONS, assignments};

    #[test]
    fn every_partition_has_a_member_however_many_there_are() {
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>();
        let few = assignments(&[1000, 1001], named(&["a"]));
        assert_eq!(few["a"], ALL_PARTITIONS);
        let many = assignments(&[1000, 1001], named(&["c", "a", "b", "a"]));
        assert_eq!((many.len(), many["a"], many["b"], many["c"]), (3, 1000, 1001, 1000));
    }
}

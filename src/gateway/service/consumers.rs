//! `GroupService`: consumer groups, each over all partitions of its topic.
//!
//! What is ordered is a command of each partition. An order that fails halfway is given again: each is done once, however often.

use std::collections::BTreeMap;
use std::sync::Arc;

use chronon_core::events::{EventsAnswer, EventsCommand, GroupChange, GroupOptions, GroupView, Start};
use chronon_core::types::Nanos;
use tonic::{Request, Response, Status};

use super::convert::{at_ms, signed};
use super::groups::group_mode;
use super::{Api, status};
use crate::gateway::proto::cronos_db::CreateConsumerGroupRequest;
use crate::gateway::proto::ext::group_service_server::GroupService;
use crate::gateway::proto::ext::seek_group_request::To;
use crate::gateway::proto::ext::{
    AlterGroupRequest, DeleteGroupRequest, DeleteGroupResponse, DescribeGroupRequest, GroupInfo,
    GroupPartition, GroupRequest, ListGroupsRequest, ListGroupsResponse, SeekGroupRequest, SeekGroupResponse,
    SoughtPartition,
};
use crate::gateway::topics::{KnownTopic, Partition, Refused};

#[tonic::async_trait]
impl GroupService for Api {
    async fn create_group(
        &self,
        request: Request<CreateConsumerGroupRequest>,
    ) -> Result<Response<GroupInfo>, Status> {
        let wanted = request.into_inner();
        let (topic, group) = (wanted.topic.clone(), wanted.group_id.clone());
        let made = async {
            self.make_group(wanted).await?;
            self.describe(&topic, &group).await
        };
        made.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn describe_group(
        &self,
        request: Request<DescribeGroupRequest>,
    ) -> Result<Response<GroupInfo>, Status> {
        let DescribeGroupRequest { topic, consumer_group } = request.into_inner();
        let described = self.describe(&topic, &consumer_group).await;
        described.map(Response::new).map_err(|error| status(&error))
    }

    async fn list_groups(
        &self,
        request: Request<ListGroupsRequest>,
    ) -> Result<Response<ListGroupsResponse>, Status> {
        let topic = request.into_inner().topic;
        let listed = async {
            let topics = if topic.is_empty() {
                self.0.topics.list().await?
            } else {
                vec![self.0.topics.existing(&topic).await?]
            };
            let mut groups = Vec::new();
            for topic in topics {
                groups.extend(self.infos(&topic).await?.into_values());
            }
            Ok(ListGroupsResponse { groups })
        };
        listed.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn pause_group(&self, request: Request<GroupRequest>) -> Result<Response<GroupInfo>, Status> {
        let paused = self.pause(&request.into_inner(), true).await;
        paused.map(Response::new).map_err(|error| status(&error))
    }

    async fn resume_group(&self, request: Request<GroupRequest>) -> Result<Response<GroupInfo>, Status> {
        let resumed = self.pause(&request.into_inner(), false).await;
        resumed.map(Response::new).map_err(|error| status(&error))
    }

    async fn seek_group(
        &self,
        request: Request<SeekGroupRequest>,
    ) -> Result<Response<SeekGroupResponse>, Status> {
        let sought = self.seek(&request.into_inner()).await;
        sought.map(Response::new).map_err(|error| status(&error))
    }

    async fn alter_group(&self, request: Request<AlterGroupRequest>) -> Result<Response<GroupInfo>, Status> {
        let AlterGroupRequest {
            topic,
            consumer_group: group,
            max_deliver,
            ack_timeout_ms,
            backoff_ms,
            backoff_max_ms,
        } = request.into_inner();
        let ms = |ms: Option<u32>| ms.map(|ms| Nanos::from_millis(u64::from(ms)));
        let change = GroupChange {
            ack_timeout: ms(ack_timeout_ms),
            attempts_max: max_deliver,
            rest: ms(backoff_ms),
            rest_max: ms(backoff_max_ms),
        };
        let altered = async {
            let known = self.0.topics.existing(&topic).await?;
            check_no_endpoint(&known, &group)?;
            for partition in self.everywhere(&known, &group).await? {
                let (topic, group) = (topic.clone(), group.clone());
                self.0
                    .topics
                    .command(&partition, &EventsCommand::AlterGroup { topic, group, change })
                    .await?;
            }
            self.describe(&topic, &group).await
        };
        altered.await.map(Response::new).map_err(|error: Refused| status(&error))
    }

    async fn delete_group(
        &self,
        request: Request<DeleteGroupRequest>,
    ) -> Result<Response<DeleteGroupResponse>, Status> {
        let deleted = self.delete(&request.into_inner()).await;
        deleted.map(Response::new).map_err(|error| status(&error))
    }
}

impl Api {
    /// A consumer group, partition by partition.
    async fn describe(&self, topic: &str, group: &str) -> Result<GroupInfo, Refused> {
        let known = self.0.topics.existing(topic).await?;
        let info = self.infos(&known).await?.remove(group);
        info.ok_or_else(|| unknown(topic, group))
    }

    /// The consumer groups of a topic, by name.
    async fn infos(&self, topic: &Arc<KnownTopic>) -> Result<BTreeMap<String, GroupInfo>, Refused> {
        let mut infos: BTreeMap<String, GroupInfo> = BTreeMap::new();
        for partition in self.0.topics.partitions(topic) {
            let groups = self.partition_view(&partition).await?.map(|view| view.groups).unwrap_or_default();
            for group in groups {
                let info = infos.entry(group.name.clone()).or_insert_with(|| group_info(&topic.name, &group));
                info.paused |= group.is_paused;
                info.partitions.push(group_partition(partition.id, &group));
            }
        }
        Ok(infos)
    }

    /// The partitions of a topic, each of which has the group: it is made where nobody has subscribed yet, so that what is ordered
    /// holds there as well.
    async fn everywhere(&self, topic: &Arc<KnownTopic>, group: &str) -> Result<Vec<Partition>, Refused> {
        let (found, lacking) = self.split(topic, group).await?;
        let (_, first) = found.first().ok_or_else(|| unknown(&topic.name, group))?;
        for partition in lacking {
            let make = EventsCommand::MakeGroup {
                topic: topic.name.clone(),
                group: group.to_owned(),
                options: first.options.clone(),
            };
            self.0.topics.command(&partition, &make).await?;
        }
        Ok(self.0.topics.partitions(topic))
    }

    /// The partitions that have a group, and those that have not.
    async fn split(
        &self,
        topic: &Arc<KnownTopic>,
        group: &str,
    ) -> Result<(Vec<(Partition, GroupView)>, Vec<Partition>), Refused> {
        let (mut found, mut lacking) = (Vec::new(), Vec::new());
        for partition in self.0.topics.partitions(topic) {
            let groups = self.partition_view(&partition).await?.map(|view| view.groups).unwrap_or_default();
            match groups.into_iter().find(|known| known.name == group) {
                Some(known) => found.push((partition, known)),
                None => lacking.push(partition),
            }
        }
        Ok((found, lacking))
    }

    async fn pause(&self, of: &GroupRequest, pauses: bool) -> Result<GroupInfo, Refused> {
        let GroupRequest { topic, consumer_group: group } = of;
        let known = self.0.topics.existing(topic).await?;
        for partition in self.everywhere(&known, group).await? {
            let pause = EventsCommand::PauseGroup { topic: topic.clone(), group: group.clone(), pauses };
            self.0.topics.command(&partition, &pause).await?;
        }
        self.describe(topic, group).await
    }

    async fn seek(&self, wanted: &SeekGroupRequest) -> Result<SeekGroupResponse, Refused> {
        let SeekGroupRequest { topic, consumer_group: group, to, partition_id } = wanted;
        let to = place(*to)?;
        let known = self.0.topics.existing(topic).await?;
        let mut places = self.everywhere(&known, group).await?;
        if let Some(id) = *partition_id {
            places = self.0.topics.some_partitions(&known, id)?;
        }
        let mut partitions = Vec::new();
        for partition in places {
            let seek = EventsCommand::Seek { topic: topic.clone(), group: group.clone(), to };
            match self.0.topics.command(&partition, &seek).await? {
                (_, EventsAnswer::Sought { seq, closed }) => partitions.push(SoughtPartition {
                    partition_id: partition.id,
                    ready_seq: signed(seq),
                    closed: signed(closed),
                }),
                (_, other) => {
                    return Err(Refused::Unavailable(format!("a seek was answered with {other:?}")));
                }
            }
        }
        Ok(SeekGroupResponse { partitions })
    }

    async fn delete(&self, wanted: &DeleteGroupRequest) -> Result<DeleteGroupResponse, Refused> {
        let DeleteGroupRequest { topic, consumer_group: group, force } = wanted;
        let known = self.0.topics.existing(topic).await?;
        check_no_endpoint(&known, group)?;
        let (found, _) = self.split(&known, group).await?;
        if found.is_empty() {
            return Err(unknown(topic, group));
        }
        let members = found.iter().map(|(_, group)| group.members).max().unwrap_or_default();
        if members > 0 && !force {
            // Before any partition has deleted it.
            return Err(Refused::Invalid(format!(
                "consumer group {group} has {members} members: they go first, or the deletion is forced"
            )));
        }
        let mut gone = DeleteGroupResponse::default();
        for (partition, _) in found {
            let (topic, group) = (topic.clone(), group.clone());
            let delete = EventsCommand::DeleteGroup { topic, group, force: *force };
            match self.0.topics.command(&partition, &delete).await {
                Ok((_, EventsAnswer::GroupDeleted { closed, dead })) => {
                    (gone.closed, gone.dead) = (gone.closed + signed(closed), gone.dead + signed(dead));
                }
                Ok((_, other)) => {
                    return Err(Refused::Unavailable(format!("a deletion was answered with {other:?}")));
                }
                // Somebody else was quicker.
                Err(Refused::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(gone)
    }
}

/// The group of an endpoint follows from that.
fn check_no_endpoint(topic: &KnownTopic, group: &str) -> Result<(), Refused> {
    match topic.topic.endpoints.iter().find(|endpoint| endpoint.group() == group) {
        Some(endpoint) => Err(Refused::Invalid(format!(
            "consumer group {group} is endpoint {} of the topic, and is changed or removed with it",
            endpoint.name
        ))),
        None => Ok(()),
    }
}

fn place(to: Option<To>) -> Result<Start, Refused> {
    match to {
        Some(To::Beginning(true)) => Ok(Start::Earliest),
        Some(To::End(true)) => Ok(Start::Latest),
        Some(To::ReadyTs(ms)) if ms >= 0 => Ok(Start::Since(at_ms(ms))),
        Some(To::ReadySeq(seq)) if seq >= 0 => Ok(Start::At(u64::try_from(seq).unwrap_or_default())),
        _ => Err(Refused::Invalid(
            "a seek is to the beginning, to the end, or to a ready_ts or ready_seq that is not negative"
                .to_owned(),
        )),
    }
}

fn unknown(topic: &str, group: &str) -> Refused {
    Refused::NotFound(format!("topic {topic} has no consumer group {group}"))
}

fn group_info(topic: &str, group: &GroupView) -> GroupInfo {
    let GroupOptions { mode, ack_timeout, attempts_max, rest, rest_max, .. } = group.options;
    let ms = |span: Nanos| u32::try_from(span.as_nanos() / 1_000_000).unwrap_or(u32::MAX);
    GroupInfo {
        topic: topic.to_owned(),
        consumer_group: group.name.clone(),
        mode: group_mode(mode).into(),
        max_deliver: attempts_max,
        ack_timeout_ms: ms(ack_timeout),
        backoff_ms: ms(rest),
        backoff_max_ms: ms(rest_max),
        partitions: Vec::new(),
        paused: false,
    }
}

fn group_partition(partition_id: i32, group: &GroupView) -> GroupPartition {
    GroupPartition {
        partition_id,
        committed_offset: signed(group.floor),
        lag: signed(group.lag),
        open: signed(group.open),
        resting: signed(group.resting),
        dead: signed(group.dead),
        dead_dropped: signed(group.dead_dropped),
        members: i32::try_from(group.members).unwrap_or(i32::MAX),
    }
}

//! `ClusterService`: who leads what.

use chronon_core::types::{GroupId, NodeId};
use tonic::{Request, Response, Status};

use super::{Api, status};
use crate::gateway::operating::farthest;
use crate::gateway::proto::ext::cluster_service_server::ClusterService;
use crate::gateway::proto::ext::{
    ClusterStatusRequest, ClusterStatusResponse, ConsensusGroup, ConsensusMember, TransferLeaderRequest,
    TransferLeaderResponse,
};
use crate::gateway::topics::Refused;
use crate::server::status::GroupReport;

#[tonic::async_trait]
impl ClusterService for Api {
    async fn status(
        &self,
        _request: Request<ClusterStatusRequest>,
    ) -> Result<Response<ClusterStatusResponse>, Status> {
        let cluster = &self.0.topics.cluster;
        let statuses = cluster.statuses().await;
        let group = |(group, kind): (GroupId, &str)| {
            farthest(statuses.values().flatten(), group).map(|known| consensus_group(known, kind))
        };
        let silent = statuses.iter().filter(|(_, status)| status.is_none());
        Ok(Response::new(ClusterStatusResponse {
            groups: cluster.groups().filter_map(group).collect(),
            silent_nodes: silent.map(|(node, _)| node.get()).collect(),
        }))
    }

    async fn transfer_leader(
        &self,
        request: Request<TransferLeaderRequest>,
    ) -> Result<Response<TransferLeaderResponse>, Status> {
        let TransferLeaderRequest { group, node } = request.into_inner();
        let answer = match self.0.topics.cluster.transfer(GroupId::new(group), NodeId::new(node)).await {
            Ok(()) => TransferLeaderResponse { success: true, error: String::new() },
            Err(Refused::Invalid(error) | Refused::NotFound(error)) => {
                TransferLeaderResponse { success: false, error }
            }
            Err(other) => return Err(status(&other)),
        };
        Ok(Response::new(answer))
    }
}

fn consensus_group(known: &GroupReport, kind: &str) -> ConsensusGroup {
    let members = known.members.iter().map(|member| ConsensusMember {
        node: member.node,
        votes: member.votes,
        acknowledged: member.acknowledged,
    });
    ConsensusGroup {
        group: known.group,
        kind: kind.to_owned(),
        leader: known.primary.unwrap_or_default(),
        view: known.view,
        commit_index: known.commit.unwrap_or_default(),
        members: members.collect(),
    }
}

//! `ClusterService`: who leads what, and who is a member.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use chronon_core::types::{GroupId, NodeId};
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::membership::Wish;
use super::{Api, status};
use crate::gateway::operating::farthest;
use crate::gateway::proto::ext::cluster_service_server::ClusterService;
use crate::gateway::proto::ext::{
    AddNodeRequest, ClusterStatusRequest, ClusterStatusResponse, ConsensusGroup, ConsensusMember,
    MembershipStep, RemoveNodeRequest, TransferLeaderRequest, TransferLeaderResponse,
};
use crate::gateway::topics::Refused;
use crate::server::status::GroupReport;

#[tonic::async_trait]
impl ClusterService for Api {
    type AddNodeStream = Steps;
    type RemoveNodeStream = Steps;

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

    async fn add_node(
        &self,
        request: Request<AddNodeRequest>,
    ) -> Result<Response<Self::AddNodeStream>, Status> {
        let AddNodeRequest { node, address, learner, replaces, patience_ms } = request.into_inner();
        let node = node_id("node", node)?;
        let parsed: Result<SocketAddr, _> = address.parse();
        parsed.map_err(|_| {
            Status::invalid_argument(format!("address is {address:?}: it is IP:PORT, as in 10.0.0.4:9200"))
        })?;
        let wish = match replaces {
            0 => Wish::Join { node, address, votes: !learner },
            _ if learner => {
                return Err(Status::invalid_argument("a learner replaces nobody: learner or replaces"));
            }
            voter if voter == node.get() => {
                return Err(Status::invalid_argument(
                    "a node does not replace itself: it comes under another id",
                ));
            }
            voter => Wish::Replace { node: node_id("replaces", voter)?, by: node, address },
        };
        Ok(Response::new(self.steps(wish, patience_ms)))
    }

    async fn remove_node(
        &self,
        request: Request<RemoveNodeRequest>,
    ) -> Result<Response<Self::RemoveNodeStream>, Status> {
        let RemoveNodeRequest { node, patience_ms } = request.into_inner();
        let wish = Wish::Leave { node: node_id("node", node)? };
        Ok(Response::new(self.steps(wish, patience_ms)))
    }
}

type Steps = Pin<Box<dyn Stream<Item = Result<MembershipStep, Status>> + Send>>;

impl Api {
    fn steps(&self, wish: Wish, patience_ms: u32) -> Steps {
        let patience = match patience_ms {
            0 => PATIENCE,
            ms => Duration::from_millis(u64::from(ms)),
        };
        let (sender, receiver) = mpsc::channel(STEPS_AHEAD);
        tokio::spawn(self.clone().fulfil(wish, patience, sender));
        Box::pin(ReceiverStream::new(receiver))
    }
}

fn node_id(what: &str, node: u64) -> Result<NodeId, Status> {
    let refused =
        || Status::invalid_argument(format!("{what} is {node}: a node id is a whole number from 1"));
    (node > 0).then(|| NodeId::new(node)).ok_or_else(refused)
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

/// How long a change may take of which nothing is said: a node learns the log of a group meanwhile.
const PATIENCE: Duration = Duration::from_secs(600);
/// Steps that wait to be sent.
const STEPS_AHEAD: usize = 16;

//! `RaftService` and `TransactionService`: what earlier clients ask of consensus. The answers are of view-stamped replication: a term is
//! a view.

use chronon_core::types::GroupId;
use tonic::{Request, Response, Status};

use super::convert::signed;
use super::{Api, status};
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::raft_service_server::RaftService;
use crate::gateway::proto::cronos_db::transaction_service_server::TransactionService;
use crate::gateway::topics::Refused;
use crate::server::status::GroupReport;

#[tonic::async_trait]
impl RaftService for Api {
    async fn join(
        &self,
        request: Request<pb::RaftJoinRequest>,
    ) -> Result<Response<pb::RaftJoinResponse>, Status> {
        let node = request.into_inner().node_id;
        let error = format!(
            "node {node:?} does not join by itself: an operator has it join with `chronon cluster add`"
        );
        Ok(Response::new(pb::RaftJoinResponse { error, ..pb::RaftJoinResponse::default() }))
    }

    async fn leave(
        &self,
        request: Request<pb::RaftLeaveRequest>,
    ) -> Result<Response<pb::RaftLeaveResponse>, Status> {
        let node = request.into_inner().node_id;
        let error = format!(
            "node {node:?} does not leave by itself: an operator has it leave with `chronon cluster remove`"
        );
        Ok(Response::new(pb::RaftLeaveResponse { success: false, error }))
    }

    async fn status(
        &self,
        request: Request<pb::RaftStatusRequest>,
    ) -> Result<Response<pb::RaftStatusResponse>, Status> {
        let asked = async {
            let group = match request.into_inner().partition_id {
                Some(id) => Some(self.0.topics.partition(id).await?.group),
                None => self.0.topics.cluster.groups_of("events").first().copied(),
            };
            let unknown = || Refused::Unavailable("the node has not recovered yet".to_owned());
            let report = group.and_then(|group| self.group_report(group)).ok_or_else(unknown)?;
            Ok(raft_status(self.0.topics.cluster.local().get(), &report))
        };
        asked.await.map(Response::new).map_err(|error: Refused| status(&error))
    }
}

impl Api {
    /// How the node last said that its replica of a group is; none before it has recovered.
    pub(super) fn group_report(&self, group: GroupId) -> Option<GroupReport> {
        self.0.status.get().groups.into_iter().find(|report| report.group == group.get())
    }
}

fn raft_status(local: u64, report: &GroupReport) -> pb::RaftStatusResponse {
    let others = report.members.iter().filter(|member| member.node != local);
    pb::RaftStatusResponse {
        node_id: local.to_string(),
        is_leader: report.role == "primary",
        term: signed(report.view),
        peers: others.map(|member| member.node.to_string()).collect(),
        commit_index: signed(report.commit.unwrap_or_default()),
        last_applied: signed(report.applied),
        leader_id: report.primary.map(|node| node.to_string()).unwrap_or_default(),
        group: report.group,
    }
}

#[tonic::async_trait]
impl TransactionService for Api {
    async fn begin_transaction(
        &self,
        _request: Request<pb::BeginTransactionRequest>,
    ) -> Result<Response<pb::BeginTransactionResponse>, Status> {
        let error = NO_TRANSACTIONS.to_owned();
        Ok(Response::new(pb::BeginTransactionResponse { error, ..pb::BeginTransactionResponse::default() }))
    }

    async fn prepare_transaction(
        &self,
        _request: Request<pb::PrepareTransactionRequest>,
    ) -> Result<Response<pb::PrepareTransactionResponse>, Status> {
        let error = NO_TRANSACTIONS.to_owned();
        Ok(Response::new(pb::PrepareTransactionResponse {
            error,
            ..pb::PrepareTransactionResponse::default()
        }))
    }

    async fn commit_transaction(
        &self,
        _request: Request<pb::CommitTransactionRequest>,
    ) -> Result<Response<pb::CommitTransactionResponse>, Status> {
        let error = NO_TRANSACTIONS.to_owned();
        Ok(Response::new(pb::CommitTransactionResponse { success: false, error }))
    }

    async fn abort_transaction(
        &self,
        _request: Request<pb::AbortTransactionRequest>,
    ) -> Result<Response<pb::AbortTransactionResponse>, Status> {
        let error = NO_TRANSACTIONS.to_owned();
        Ok(Response::new(pb::AbortTransactionResponse { success: false, error }))
    }
}

const NO_TRANSACTIONS: &str = "there are no transactions over partitions; a PublishBatch to one partition is accepted by one entry of its log, \
     and what is published again under its message_id is accepted once";

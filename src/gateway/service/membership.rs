//! `ClusterService.AddNode` and `RemoveNode`: a node becomes a member of each group, or of none, one change after the other.

use std::time::{Duration, Instant};

use chronon_core::types::{GroupId, MembershipChange, NodeId};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::Status;

use super::{Api, status};
use crate::gateway::proto::ext::MembershipStep;
use crate::gateway::topics::Refused;
use crate::server::members;
use crate::server::status::GroupReport;

/// What is to become of a node.
#[derive(Clone, Debug)]
pub(super) enum Wish {
    /// It is to be a member of each group, and to vote, if it does not only learn.
    Join { node: NodeId, address: String, votes: bool },
    /// It is to vote where another one does.
    Replace { node: NodeId, by: NodeId, address: String },
    /// It is to be a member of none.
    Leave { node: NodeId },
}

pub(super) type Steps = mpsc::Sender<Result<MembershipStep, Status>>;

impl Api {
    /// Makes all changes, and tells of each; a client that listens no more has them end with the one that is on its way.
    pub(super) async fn fulfil(self, wish: Wish, patience: Duration, steps: Steps) {
        if let Err(error) = self.change_all(&wish, patience, &steps).await {
            let refused = match error {
                Refused::Invalid(why) => Status::failed_precondition(why),
                other => status(&other),
            };
            let _nobody_listens = steps.send(Err(refused)).await;
        }
    }

    async fn change_all(&self, wish: &Wish, patience: Duration, steps: &Steps) -> Result<(), Refused> {
        let cluster = &self.0.topics.cluster;
        let groups = cluster.group_reports().await?;
        let changes: Vec<(GroupId, Vec<MembershipChange>)> =
            groups.iter().map(|group| (GroupId::new(group.group), wish.changes(group))).collect();
        let is_member = |node: NodeId| {
            groups.iter().flat_map(|group| &group.members).any(|member| member.node == node.get())
        };
        if let Wish::Leave { node } | Wish::Replace { node, .. } = wish
            && !is_member(*node)
        {
            return Err(Refused::NotFound(format!("node {node} is a member of no group")));
        }
        for (group, changes) in changes {
            for change in changes {
                if !self.change_one(group, &change, patience, steps).await? {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Asks until the change is made; false when nobody listens any more.
    async fn change_one(
        &self,
        group: GroupId,
        change: &MembershipChange,
        patience: Duration,
        steps: &Steps,
    ) -> Result<bool, Refused> {
        let deadline = Instant::now() + patience;
        let step = |done, waits_for| {
            Ok(MembershipStep { group: group.get(), change: change.to_string(), done, waits_for })
        };
        let mut told = String::new();
        loop {
            let Some(waits_for) = self.0.topics.cluster.change(group, change).await? else {
                return Ok(steps.send(step(true, String::new())).await.is_ok());
            };
            if Instant::now() >= deadline {
                return Err(Refused::Unavailable(format!("group {group}, {change}: {waits_for}")));
            }
            if waits_for != told && steps.send(step(false, waits_for.clone())).await.is_err() {
                return Ok(false);
            }
            told = waits_for;
            sleep(PAUSE).await;
        }
    }
}

impl Wish {
    fn changes(&self, group: &GroupReport) -> Vec<MembershipChange> {
        match self {
            Self::Join { node, address, votes } => members::to_join(group, *node, address, *votes),
            Self::Replace { node, by, address } => members::to_replace(group, *node, *by, address),
            Self::Leave { node } => members::to_leave(group, *node),
        }
    }
}

/// Between two questions for a change that waits.
const PAUSE: Duration = Duration::from_millis(50);

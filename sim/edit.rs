//! Smaller runs: a configuration without one of its parts. What remains keeps its names, and with them its draws.

use chronon_core::types::{GroupId, NodeId};

use crate::config::{Asks, WorldConfig};
use crate::net::Endpoint;
use crate::plan::{Fault, FaultKind};

impl WorldConfig {
    /// The run without the faults that `keeps` refuses, by their place in the plan.
    #[must_use]
    pub fn with_faults(&self, keeps: impl Fn(usize) -> bool) -> Self {
        let mut smaller = self.clone();
        let mut place = 0;
        smaller.plan.retain(|_| {
            place += 1;
            keeps(place - 1)
        });
        smaller
    }

    /// The run without `client`; none when nobody would ask anything.
    pub fn without_client(&self, client: u32) -> Option<Self> {
        self.asked_by(|asks| asks.client != client)
    }

    /// The run in which nobody asks what `keeps` refuses; none when nobody would ask anything. Clients that ask nothing
    /// more leave the faults of links.
    pub fn asked_by(&self, keeps: impl Fn(&Asks) -> bool) -> Option<Self> {
        let mut smaller = self.clone();
        smaller.asking.retain(keeps);
        let clients = smaller.client_ids();
        smaller.keep_ends(|end| match end {
            Endpoint::Node(_) => true,
            Endpoint::Client(client) => clients.contains(&client),
        });
        (!smaller.asking.is_empty()).then_some(smaller)
    }

    /// The run without group `group`; none when it is the only one that is asked anything.
    pub fn without_group(&self, group: GroupId) -> Option<Self> {
        let mut smaller = self.asked_by(|asks| asks.group != group)?;
        smaller.groups.retain(|init| init.group != group);
        smaller.changes.retain(|change| change.group != group);
        Some(smaller)
    }

    /// The run without `node`: it leaves every group, and a group of which it was the only voter is gone. None when
    /// nothing would be left.
    pub fn without_node(&self, node: NodeId) -> Option<Self> {
        let mut smaller = self.clone();
        smaller.nodes.retain(|other| *other != node);
        for init in &mut smaller.groups {
            init.voters.retain(|voter| *voter != node);
        }
        smaller.changes.retain(|change| !change.what.concerns(node));
        smaller.keep_ends(|end| end != Endpoint::Node(node));
        let empty: Vec<GroupId> =
            smaller.groups.iter().filter(|init| init.voters.is_empty()).map(|init| init.group).collect();
        let mut smaller =
            empty.into_iter().try_fold(smaller, |smaller, group| smaller.without_group(group))?;
        if smaller.check_changes().is_err() {
            // What is left does not follow from what was taken out.
            smaller.changes.clear();
        }
        Some(smaller)
    }

    /// Takes every endpoint that `keeps` refuses out of the plan.
    fn keep_ends(&mut self, keeps: impl Fn(Endpoint) -> bool) {
        let plan = std::mem::take(&mut self.plan);
        let kept = plan.into_iter().filter_map(|Fault { at, what }| {
            let what = what.among(&keeps)?;
            Some(Fault { at, what })
        });
        self.plan = kept.collect();
    }
}

impl FaultKind {
    /// The same fault among the endpoints that `keeps` accepts; none when it befalls nobody then.
    pub(crate) fn among(self, keeps: impl Fn(Endpoint) -> bool) -> Option<Self> {
        match self {
            Self::Crash { node, .. }
            | Self::CrashAtDiskOp { node, .. }
            | Self::Pause { node, .. }
            | Self::DiskStall { node, .. }
            | Self::DiskError { node, .. }
            | Self::Rot { node, .. }
            | Self::DiskFull { node, .. }
            | Self::Misread { node, .. }
            | Self::RotManifest { node, .. }
            | Self::RotSnapshot { node, .. }
            | Self::RotArchive { node, .. }
            | Self::Wipe { node, .. }
            | Self::PutBack { node, .. }
            | Self::ClockFreeze { node, .. }
            | Self::ClockJump { node, .. } => keeps(Endpoint::Node(node)).then_some(self),
            Self::PowerLoss { .. } => Some(self),
            Self::Drop { rule, .. } => rule.from.into_iter().chain(rule.to).all(keeps).then_some(self),
            Self::Cut { links, for_ns } => links_among(links, keeps).map(|links| Self::Cut { links, for_ns }),
            Self::Lossy { links, loss_ppm, for_ns } => {
                links_among(links, keeps).map(|links| Self::Lossy { links, loss_ppm, for_ns })
            }
            Self::Clog { links, for_ns } => {
                links_among(links, keeps).map(|links| Self::Clog { links, for_ns })
            }
            Self::Echo { links, for_ns } => {
                links_among(links, keeps).map(|links| Self::Echo { links, for_ns })
            }
        }
    }
}

fn links_among(
    mut links: Vec<(Endpoint, Endpoint)>,
    keeps: impl Fn(Endpoint) -> bool,
) -> Option<Vec<(Endpoint, Endpoint)>> {
    links.retain(|(from, to)| keeps(*from) && keeps(*to));
    (!links.is_empty()).then_some(links)
}

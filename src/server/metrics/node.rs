//! What a node's report says, set anew for each scrape.

use std::time::Instant;

use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::ages::Ages;
use super::{Labels, Seconds, signed};
use crate::server::status::{GroupReport, StatusReport};

/// What the node's report says, set anew for each scrape.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeMetrics {
    ready: Gauge,
    disk_full: Gauge,
    starts: Gauge,
    peers_linked: Gauge,
    primary: Family<Labels, Gauge>,
    view: Family<Labels, Gauge>,
    head: Family<Labels, Gauge>,
    applied: Family<Labels, Gauge>,
    side_effects: Family<Labels, Gauge>,
    dead: Family<Labels, Gauge>,
    halted: Family<Labels, Gauge>,
    oldest: Family<Labels, Seconds>,
}

impl NodeMetrics {
    pub(super) fn register(&self, to: &mut Registry) {
        to.register(
            "ready",
            "Whether the node recovered, sees a majority, and every group has a primary",
            self.ready.clone(),
        );
        to.register("disk_full", "Whether no space is left on the disk", self.disk_full.clone());
        to.register("starts", "Starts of the node on this data directory", self.starts.clone());
        to.register("peers_linked", "Nodes to which there is a connection", self.peers_linked.clone());
        to.register("group_primary", "Whether the node leads the group", self.primary.clone());
        to.register("group_view", "View of the group's replica", self.view.clone());
        to.register("group_head_op", "Highest op of the replica's log", self.head.clone());
        to.register("group_applied_op", "Highest op that the replica has applied", self.applied.clone());
        to.register("group_side_effects", "Side effects that have not ended", self.side_effects.clone());
        to.register("group_dead_side_effects", "Side effects that were given up", self.dead.clone());
        to.register("group_halted", "Whether the group stands still on this node", self.halted.clone());
        to.register_with_unit(
            "group_side_effects_oldest",
            "How long the oldest side effect has not ended, as far as this process has seen",
            Unit::Seconds,
            self.oldest.clone(),
        );
    }

    pub(super) fn set(&self, report: &StatusReport, ages: &Ages) {
        self.ready.set(report.ready.into());
        self.disk_full.set(report.full.into());
        self.starts.set(signed(report.incarnation));
        self.peers_linked.set(report.peers.iter().map(|peer| i64::from(peer.linked)).sum());
        for group in &report.groups {
            let set = |family: &Family<Labels, Gauge>, value: i64| {
                family.get_or_create(&vec![("group", group.group.to_string())]).set(value);
            };
            let GroupReport { view, head, applied, side_effects, dead, .. } = group;
            set(&self.primary, (group.role == "primary").into());
            set(&self.view, signed(*view));
            set(&self.head, signed(*head));
            set(&self.applied, signed(*applied));
            set(&self.side_effects, signed(*side_effects));
            set(&self.dead, signed(*dead));
            set(&self.halted, group.halted.is_some().into());
            let age = ages.of(group.group, Instant::now()).as_secs_f64();
            self.oldest.get_or_create(&vec![("group", group.group.to_string())]).set(age);
        }
    }
}

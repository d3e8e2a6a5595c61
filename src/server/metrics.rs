//! What a node counts and measures, for Prometheus. Names begin with `chronon_`; units are base units; no label grows with what clients
//! do.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::status::{GroupReport, StatusReport};

type Labels = Vec<(&'static str, String)>;

/// All metrics of a process. A clone is the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    node: NodeMetrics,
    /// What its gateway counts.
    pub gateway: GatewayMetrics,
}

/// What the node's report says, set anew for each scrape.
#[derive(Clone, Debug, Default)]
struct NodeMetrics {
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
}

/// What a gateway counts and measures.
#[derive(Clone, Debug)]
pub struct GatewayMetrics {
    published: Family<Labels, Counter>,
    publish: Histogram,
    deliveries: Counter,
    redeliveries: Counter,
    lateness: Histogram,
    settled: Family<Labels, Counter>,
    /// Members of consumer groups that this gateway is.
    pub members: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("chronon");
        let (node, gateway) = (NodeMetrics::default(), GatewayMetrics::default());
        node.register(&mut registry);
        gateway.register(&mut registry);
        Self { registry: Arc::new(Mutex::new(registry)), node, gateway }
    }
}

impl Metrics {
    /// Everything as text, with what `report` says of the node.
    pub fn text(&self, report: &StatusReport) -> String {
        self.node.set(report);
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        match text::encode(&mut out, &registry) {
            Ok(()) => out,
            Err(error) => panic!("writing into a string does not fail: {error}"),
        }
    }
}

impl NodeMetrics {
    fn register(&self, to: &mut Registry) {
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
    }

    fn set(&self, report: &StatusReport) {
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
        }
    }
}

impl Default for GatewayMetrics {
    fn default() -> Self {
        // From 0.25 ms to 8 s, and from 1 ms to 4.5 min.
        let (publish, lateness) =
            (exponential_buckets(0.000_25, 2.0, 16), exponential_buckets(0.001, 4.0, 10));
        Self {
            published: Family::default(),
            publish: Histogram::new(publish),
            deliveries: Counter::default(),
            redeliveries: Counter::default(),
            lateness: Histogram::new(lateness),
            settled: Family::default(),
            members: Gauge::default(),
        }
    }
}

impl GatewayMetrics {
    fn register(&self, to: &mut Registry) {
        to.register(
            "published",
            "Events that clients published, by what became of them",
            self.published.clone(),
        );
        to.register_with_unit("publish", "From a publish to its answer", Unit::Seconds, self.publish.clone());
        to.register("deliveries", "Deliveries that were handed to consumers", self.deliveries.clone());
        to.register(
            "redeliveries",
            "Those among them that were not the first attempt",
            self.redeliveries.clone(),
        );
        let lateness = "From when an event was due to its first delivery; what waited for a consumer counts";
        to.register_with_unit("delivery_lateness", lateness, Unit::Seconds, self.lateness.clone());
        to.register("settlements", "Deliveries that consumers settled, by how", self.settled.clone());
        to.register(
            "members",
            "Members of consumer groups at this gateway, one a partition",
            self.members.clone(),
        );
    }

    /// Events were answered after this span.
    pub fn published(&self, status: &str, events: u64, after: Duration) {
        self.published.get_or_create(&vec![("status", status.to_owned())]).inc_by(events);
        self.publish.observe(after.as_secs_f64());
    }

    /// A delivery was handed to its consumer.
    pub fn delivered(&self, attempt: u32, late: Duration) {
        self.deliveries.inc();
        if attempt > 1 {
            self.redeliveries.inc();
        } else {
            self.lateness.observe(late.as_secs_f64());
        }
    }

    /// A consumer has settled a delivery.
    pub fn settled(&self, how: &str) {
        self.settled.get_or_create(&vec![("result", how.to_owned())]).inc();
    }
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Metrics;
    use crate::server::status::StatusReport;

    #[test]
    fn what_was_counted_is_written_with_base_units_and_no_empty_help() {
        let metrics = Metrics::default();
        metrics.gateway.published("accepted", 3, Duration::from_millis(2));
        metrics.gateway.delivered(1, Duration::from_millis(7));
        metrics.gateway.delivered(2, Duration::ZERO);
        metrics.gateway.settled("ack");
        let text = metrics.text(&StatusReport { ready: true, ..StatusReport::default() });
        for line in [
            "chronon_ready 1",
            "chronon_published_total{status=\"accepted\"} 3",
            "chronon_publish_seconds_count 1",
            "chronon_deliveries_total 2",
            "chronon_redeliveries_total 1",
            "chronon_delivery_lateness_seconds_count 1",
            "chronon_settlements_total{result=\"ack\"} 1",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
    }
}

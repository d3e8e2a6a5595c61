//! What a node counts and measures, for Prometheus. Names begin with `chronon_`; units are base units; no label grows with what clients
//! do, but for topics and consumer groups, of which the first ones have series of their own.

mod ages;
mod driver;
mod gateway;
mod node;

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::status::StatusReport;
pub use driver::{Counted, DriverMetrics};
pub use gateway::{ConsumerTotals, GatewayMetrics, TopicTotals};
use node::NodeMetrics;

type Labels = Vec<(&'static str, String)>;
type Seconds = Gauge<f64, AtomicU64>;

/// All metrics of a process. A clone is the same.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
    node: NodeMetrics,
    /// What its driver counts.
    pub driver: DriverMetrics,
    /// What its gateway counts.
    pub gateway: GatewayMetrics,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("chronon");
        let (node, driver, gateway) =
            (NodeMetrics::default(), DriverMetrics::default(), GatewayMetrics::default());
        node.register(&mut registry);
        driver.register(&mut registry);
        gateway.register(&mut registry);
        Self { registry: Arc::new(Mutex::new(registry)), node, driver, gateway }
    }
}

impl Metrics {
    /// Everything as text, with what `report` says of the node.
    pub fn text(&self, report: &StatusReport) -> String {
        self.node.set(report, &self.driver.ages);
        let mut out = String::new();
        let registry = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        match text::encode(&mut out, &registry) {
            Ok(()) => plain(&out),
            Err(error) => panic!("writing into a string does not fail: {error}"),
        }
    }
}

/// The plain format of Prometheus, which names a counter as its samples, with their ending, and knows no units and no end.
fn plain(text: &str) -> String {
    let kinds = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    let counters: BTreeSet<&str> = kinds.filter_map(|kind| kind.strip_suffix(" counter")).collect();
    let mut out = String::with_capacity(text.len());
    for line in text.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let mut words = line.splitn(4, ' ');
        match (words.next(), words.next(), words.next(), words.next()) {
            (Some("#"), Some(what), Some(name), Some(rest)) if counters.contains(name) => {
                out.push_str(&format!("# {what} {name}_total {rest}\n"));
            }
            _ => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chronon_core::types::{Mark, Marks as _};

    use super::Metrics;
    use crate::server::status::StatusReport;

    #[test]
    fn what_was_counted_is_written_with_base_units_and_no_empty_help() {
        let metrics = Metrics::default();
        metrics.gateway.published("accepted", 3, Duration::from_millis(2));
        metrics.gateway.delivered(1, Duration::from_millis(7));
        metrics.gateway.delivered(2, Duration::ZERO);
        metrics.gateway.settled("ack");
        let mut marks = metrics.driver.marks.clone();
        marks.hit(Mark::RottenWrittenAgain);
        marks.hit(Mark::EnteredByWishes);
        let text = metrics.text(&StatusReport { ready: true, ..StatusReport::default() });
        for line in [
            "chronon_ready 1",
            "chronon_published_total{status=\"accepted\"} 3",
            "chronon_publish_seconds_count 1",
            "chronon_deliveries_total 2",
            "chronon_redeliveries_total 1",
            "chronon_delivery_lateness_seconds_count 1",
            "chronon_settlements_total{result=\"ack\"} 1",
            "# TYPE chronon_settlements_total counter",
            "# TYPE chronon_publish_seconds histogram",
            "chronon_disk_faults_repaired_total{what=\"entry\"} 1",
            "chronon_disk_faults_repaired_total{what=\"chunk\"} 0",
            "chronon_view_changes_total 1",
        ] {
            assert!(text.lines().any(|written| written == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("# UNIT") && !text.contains("# EOF"), "{text}");
    }
}

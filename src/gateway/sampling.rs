//! What topics hold and how consumer groups stand, looked at now and then in the own replicas, for the metrics.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chronon_core::events::{EventsQuery, EventsView, PartitionView};
use chronon_core::types::{GroupId, Timestamp};
use tokio::time::sleep;

use super::topics::{Refused, Topics};
use crate::server::metrics::{ConsumerTotals, GatewayMetrics, TopicTotals};

/// Over all partitions that the cluster has.
#[derive(Default)]
struct Sample {
    topics: BTreeMap<String, TopicTotals>,
    consumers: BTreeMap<(String, String), ConsumerTotals>,
}

/// Looks at everything again and again.
pub(super) async fn run(topics: Arc<Topics>, metrics: GatewayMetrics) {
    loop {
        match look(&topics, &metrics).await {
            Ok(sample) => sample.tell(&metrics),
            Err(error) => tracing::debug!(%error, "the metrics of topics stay as they were"),
        }
        sleep(EVERY).await;
    }
}

async fn look(topics: &Topics, metrics: &GatewayMetrics) -> Result<Sample, Refused> {
    let mut sample = Sample::default();
    for group in topics.cluster.groups_of("events") {
        look_at(topics, group, &mut sample, metrics).await?;
    }
    Ok(sample)
}

async fn look_at(
    topics: &Topics,
    group: GroupId,
    sample: &mut Sample,
    metrics: &GatewayMetrics,
) -> Result<(), Refused> {
    let mut after = String::new();
    loop {
        let question = EventsQuery::PartitionsAfter(after);
        let EventsView::Partitions { next_alarm, partitions } = topics.glance(group, question).await? else {
            return Err(Refused::Unavailable(format!("group {group} does not tell its partitions")));
        };
        metrics.overdue(group.get(), next_alarm.map_or(Duration::ZERO, overdue));
        let Some((last, _)) = partitions.last() else { return Ok(()) };
        after = last.clone();
        for (topic, partition) in &partitions {
            sample.add(topic, partition);
        }
    }
}

impl Sample {
    fn add(&mut self, topic: &str, partition: &PartitionView) {
        let totals = self.topics.entry(topic.to_owned()).or_default();
        totals.scheduled += partition.scheduled;
        totals.ready += partition.ready;
        totals.message_ids += partition.ids;
        for group in &partition.groups {
            let totals = self.consumers.entry((topic.to_owned(), group.name.clone())).or_default();
            totals.lag += group.lag;
            totals.open += group.open;
            totals.dead += group.dead;
        }
    }

    /// The first ones by name have series of their own.
    fn tell(&self, metrics: &GatewayMetrics) {
        for (topic, totals) in self.topics.iter().take(SERIES_MAX) {
            metrics.topic(topic, *totals);
        }
        for ((topic, group), totals) in self.consumers.iter().take(SERIES_MAX) {
            metrics.consumer_group(topic, group, *totals);
        }
    }
}

/// How long ago something was due, by this machine's clock.
fn overdue(due: Timestamp) -> Duration {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(Duration::from_nanos(due.as_nanos()))
}

/// How old what is told may be.
const EVERY: Duration = Duration::from_secs(5);
/// Topics, and consumer groups, that have series.
const SERIES_MAX: usize = 1000;

//! What a gateway counts and measures.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::{Labels, Seconds, signed};

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
    scheduled: Family<Labels, Gauge>,
    ready: Family<Labels, Gauge>,
    message_ids: Family<Labels, Gauge>,
    lag: Family<Labels, Gauge>,
    open: Family<Labels, Gauge>,
    dead: Family<Labels, Gauge>,
    overdue: Family<Labels, Seconds>,
    breakers: Family<Labels, Gauge>,
    posts: Family<Labels, Counter>,
}

/// What a topic holds, as the replicas of this node have it.
#[derive(Clone, Copy, Debug, Default)]
pub struct TopicTotals {
    /// Events that are not due yet.
    pub scheduled: u64,
    /// Events that are ready and not settled by every consumer group.
    pub ready: u64,
    /// Message ids that are remembered.
    pub message_ids: u64,
}

/// How a consumer group stands, as the replicas of this node have it.
#[derive(Clone, Copy, Debug, Default)]
pub struct ConsumerTotals {
    /// Events that are ready and not settled.
    pub lag: u64,
    /// Deliveries that are open.
    pub open: u64,
    /// Dead letters.
    pub dead: u64,
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
            scheduled: Family::default(),
            ready: Family::default(),
            message_ids: Family::default(),
            lag: Family::default(),
            open: Family::default(),
            dead: Family::default(),
            overdue: Family::default(),
            breakers: Family::default(),
            posts: Family::default(),
        }
    }
}

impl GatewayMetrics {
    pub(super) fn register(&self, to: &mut Registry) {
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
        let mut of_topics = |name, help: &str, gauge: &Family<Labels, Gauge>| {
            to.register(name, format!("{help}, as the replicas of this node have it"), gauge.clone());
        };
        of_topics("topic_scheduled_events", "Events that are not due yet", &self.scheduled);
        of_topics("topic_ready_events", "Events that not every consumer group has settled", &self.ready);
        of_topics("topic_message_ids", "Message ids that are remembered", &self.message_ids);
        of_topics(
            "consumer_group_lag",
            "Events that are ready and that the group has not settled",
            &self.lag,
        );
        of_topics("consumer_group_open_deliveries", "Deliveries that consumers have", &self.open);
        of_topics("consumer_group_dead_letters", "Deliveries that were given up", &self.dead);
        to.register_with_unit(
            "group_alarm_overdue",
            "How long the next timer of a group of partitions has been due",
            Unit::Seconds,
            self.overdue.clone(),
        );
        to.register(
            "endpoint_breaker",
            "Whether an endpoint that this node posts to is left alone: 0 it is not, 1 one event is posted to see, 2 it is",
            self.breakers.clone(),
        );
        to.register(
            "endpoint_posts",
            "What was posted to endpoints, by what became of it",
            self.posts.clone(),
        );
    }

    /// What a topic held when it was looked at.
    pub fn topic(&self, topic: &str, totals: TopicTotals) {
        let labels = vec![("topic", topic.to_owned())];
        self.scheduled.get_or_create(&labels).set(signed(totals.scheduled));
        self.ready.get_or_create(&labels).set(signed(totals.ready));
        self.message_ids.get_or_create(&labels).set(signed(totals.message_ids));
    }

    /// How a consumer group stood when it was looked at.
    pub fn consumer_group(&self, topic: &str, group: &str, totals: ConsumerTotals) {
        let labels = vec![("topic", topic.to_owned()), ("consumer_group", group.to_owned())];
        self.lag.get_or_create(&labels).set(signed(totals.lag));
        self.open.get_or_create(&labels).set(signed(totals.open));
        self.dead.get_or_create(&labels).set(signed(totals.dead));
    }

    /// How late a group of partitions was with what is due when it was looked at.
    pub fn overdue(&self, group: u32, by: Duration) {
        self.overdue.get_or_create(&vec![("group", group.to_string())]).set(by.as_secs_f64());
    }

    /// The endpoints that this node posts to, and how far the circuit of each is open; the first ones by name have series of their own.
    pub fn breakers<'a>(&self, seen: impl Iterator<Item = (&'a str, &'a str, i64)>) {
        self.breakers.clear();
        for (topic, endpoint, open) in seen.take(SERIES_MAX) {
            let labels = vec![("topic", topic.to_owned()), ("endpoint", endpoint.to_owned())];
            self.breakers.get_or_create(&labels).set(open);
        }
    }

    /// An event was posted.
    pub fn posted(&self, result: &str) {
        self.posts.get_or_create(&vec![("result", result.to_owned())]).inc();
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

/// Endpoints that have series.
const SERIES_MAX: usize = 1000;

//! Workers that ask for each of their deliveries: members of consumer groups to which nothing comes by itself.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chronon_core::events::{
    Deliveries, EventsAnswer, EventsCommand, EventsQuery, EventsView, GroupOptions, MemberId,
};
use chronon_core::types::Nanos;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::consuming::{Delivered, late};
use super::heralds::Heralds;
use super::payloads::Payloads;
use super::settling::Membership;
use super::topics::{Partition, Refused, Topics};
use crate::server::metrics::GatewayMetrics;

/// What a worker wants.
#[derive(Clone, Debug)]
pub(super) struct Pull {
    pub group: String,
    /// Of a group that is made by it.
    pub options: GroupOptions,
    /// Whether a group that is there is to have these options.
    pub insists: bool,
    pub member: MemberId,
    pub count: u32,
    pub wait: Duration,
}

/// What all workers share.
#[derive(Debug)]
pub(super) struct Pulling {
    topics: Arc<Topics>,
    payloads: Arc<Payloads>,
    metrics: GatewayMetrics,
    heralds: Arc<Heralds>,
    /// So that none of a topic's partitions always comes first.
    turn: AtomicUsize,
    /// By partition and name: what consumer groups were made with that somebody has claimed from.
    known: Mutex<BTreeMap<(i32, String), GroupOptions>>,
}

impl Pulling {
    pub(super) fn new(topics: Arc<Topics>, payloads: Arc<Payloads>, metrics: GatewayMetrics) -> Self {
        let (heralds, turn, known) = (Arc::default(), AtomicUsize::new(0), Mutex::default());
        Self { topics, payloads, metrics, heralds, turn, known }
    }

    /// Claims deliveries of these partitions, or waits until there is one, or none for as long as it may.
    pub(super) async fn claim(
        &self,
        mut partitions: Vec<Partition>,
        wanted: &Pull,
    ) -> Result<Vec<Delivered>, Refused> {
        let deadline = Instant::now() + wanted.wait;
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let count = partitions.len().max(1);
        partitions.rotate_left(turn % count);
        loop {
            let claimed = self.claim_now(&partitions, wanted).await?;
            if !claimed.is_empty() || Instant::now() >= deadline {
                return Ok(claimed);
            }
            self.await_news(&partitions, wanted, deadline).await?;
        }
    }

    /// What there is now. Of partitions that have nothing, no entry is made.
    async fn claim_now(&self, partitions: &[Partition], wanted: &Pull) -> Result<Vec<Delivered>, Refused> {
        let mut claimed = Vec::new();
        for partition in partitions {
            let count = wanted.count.saturating_sub(u32::try_from(claimed.len()).unwrap_or(u32::MAX));
            if count == 0 {
                break;
            }
            match self.claim_of(partition, wanted, count, &mut claimed).await {
                Ok(()) => {}
                Err(error) if claimed.is_empty() => return Err(error),
                // What was claimed already is told.
                Err(error) => {
                    tracing::debug!(%error, partition = partition.id, "nothing is claimed");
                    break;
                }
            }
        }
        Ok(claimed)
    }

    async fn claim_of(
        &self,
        partition: &Partition,
        wanted: &Pull,
        count: u32,
        claimed: &mut Vec<Delivered>,
    ) -> Result<(), Refused> {
        let (topic, group) = (partition.topic.name.clone(), wanted.group.clone());
        let question = EventsQuery::Buffered { topic: topic.clone(), group: group.clone() };
        let name = (partition.id, group.clone());
        let known = self.known().get(&name).cloned();
        let (options, insists, member) = (wanted.options.clone(), wanted.insists, wanted.member);
        let is_same = known
            .as_ref()
            .is_some_and(|known| GroupOptions { start: known.start, ..options.clone() } == *known);
        // Who insists on other options is refused, whether there is something or not.
        let is_asked = insists && !is_same;
        if !is_asked && self.topics.view(partition, question).await? == EventsView::Buffered(false) {
            return Ok(());
        }
        let lease = lease(known.map_or(options.ack_timeout, |known| known.ack_timeout));
        let claim = EventsCommand::Claim { topic, group, options, insists, member, count, lease };
        let (options, granted) = match self.topics.command(partition, &claim).await? {
            (_, EventsAnswer::Claimed { options, granted }) => (options, granted),
            (_, other) => return Err(Refused::Unavailable(format!("a claim was answered with {other:?}"))),
        };
        self.note(name, &options);
        if lease < self::lease(options.ack_timeout) {
            self.stay(partition, wanted, &options).await?;
        }
        self.read(partition, wanted, &options, granted, claimed).await;
        Ok(())
    }

    /// The group was made with a longer lease than was asked for: the worker is a member for as long as what it has may be open.
    async fn stay(
        &self,
        partition: &Partition,
        wanted: &Pull,
        options: &GroupOptions,
    ) -> Result<(), Refused> {
        let attach = EventsCommand::Attach {
            topic: partition.topic.name.clone(),
            group: wanted.group.clone(),
            options: options.clone(),
            insists: false,
            member: wanted.member,
            credits: 0,
            lease: lease(options.ack_timeout),
        };
        self.topics.command(partition, &attach).await.map(|_| ())
    }

    async fn read(
        &self,
        partition: &Partition,
        wanted: &Pull,
        options: &GroupOptions,
        granted: Deliveries,
        claimed: &mut Vec<Delivered>,
    ) {
        let (group, member) = (wanted.group.clone(), wanted.member);
        let membership = Membership { partition: partition.id, group, member };
        for delivery in granted.deliveries {
            match self.payloads.next(partition.group, delivery.stored).await {
                Ok((accepted, event)) => {
                    self.metrics.delivered(delivery.attempt, late(accepted, delivery.due_ms));
                    let (partition, membership) = (partition.clone(), membership.clone());
                    let ack_timeout = options.ack_timeout;
                    claimed.push(Delivered { partition, membership, delivery, ack_timeout, event });
                }
                Err(error) => {
                    let offset = delivery.offset;
                    tracing::warn!(%error, partition = partition.id, offset, "what was claimed cannot be read, and is delivered again once its lease is over");
                }
            }
        }
    }

    /// A group keeps what it was made with. One that was made anew is asked for its options when somebody gets something of it.
    fn note(&self, name: (i32, String), options: &GroupOptions) {
        let mut known = self.known();
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(name, options.clone());
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<(i32, String), GroupOptions>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn await_news(
        &self,
        partitions: &[Partition],
        wanted: &Pull,
        deadline: Instant,
    ) -> Result<(), Refused> {
        // Others may have been faster, or what is buffered is of no use any more.
        sleep(PAUSE).await;
        let mut waiting = JoinSet::new();
        for partition in partitions {
            let herald = self.heralds.herald(&self.topics, partition, &wanted.group)?;
            waiting.spawn(async move { herald.news().await });
        }
        let left = deadline.saturating_duration_since(Instant::now());
        // The deadline is looked at by who asked.
        drop(timeout(left, waiting.join_next()).await);
        Ok(())
    }
}

/// A worker is a member for as long as a delivery may be open with it, and somewhat longer; an hour at most.
fn lease(ack_timeout: Nanos) -> Nanos {
    Nanos::from_nanos(ack_timeout.as_nanos().saturating_add(LINGERS.as_nanos())).min(LEASE_MAX)
}

const LINGERS: Nanos = Nanos::from_secs(15);
const LEASE_MAX: Nanos = Nanos::from_secs(3600);
/// Consumer groups, each in one partition, whose options are remembered.
const KNOWN_MAX: usize = 10_000;
/// Between two claims of one worker that found nothing.
const PAUSE: Duration = Duration::from_millis(20);

//! Subscriptions: a member of a consumer group in each partition, whose deliveries come together in one stream.
//!
//! What is granted to the member is in the state of every replica, so it is read from the own one, which tells when there is more.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chronon_core::events::{
    Delivery, EventsAnswer, EventsCommand, EventsQuery, EventsView, GrantPlace, GroupOptions, MemberId,
    NewEvent,
};
use chronon_core::types::{Nanos, Op, Timestamp};
use tokio::sync::mpsc;
use tokio::time::sleep;

use super::gate::Gate;
use super::payloads::Payloads;
use super::settling::{Membership, Settling};
use super::topics::{Partition, Refused, Topics};
use super::trace_context::Traced;
use crate::server::metrics::GatewayMetrics;

/// What a subscriber wants.
#[derive(Clone, Debug)]
pub(super) struct Subscription {
    pub group: String,
    /// Of a group that is made by it.
    pub options: GroupOptions,
    /// Whether a group that is there is to have these options.
    pub insists: bool,
    pub member: MemberId,
    pub credits: u32,
}

/// A delivery with what is delivered.
#[derive(Debug)]
pub(super) struct Delivered {
    pub partition: Partition,
    pub membership: Membership,
    pub delivery: Delivery,
    /// How long it may be open.
    pub ack_timeout: Nanos,
    pub event: NewEvent,
}

/// What a member begins with.
struct Attached {
    op: Op,
    ack_timeout: Nanos,
    open: Vec<Delivery>,
}

/// What all subscriptions share.
#[derive(Debug)]
pub(super) struct Consuming {
    pub topics: Arc<Topics>,
    pub payloads: Arc<Payloads>,
    pub settling: Arc<Settling>,
    pub metrics: GatewayMetrics,
}

impl Consuming {
    /// Delivers what the partition grants, until nobody takes it any more.
    pub(super) async fn consume(
        self: Arc<Self>,
        partition: Partition,
        wanted: Subscription,
        gate: Arc<Gate>,
        out: mpsc::Sender<Result<Delivered, Refused>>,
    ) {
        let membership =
            Membership { partition: partition.id, group: wanted.group.clone(), member: wanted.member };
        self.metrics.members.inc();
        let delivering = self.deliver(&partition, &wanted, &membership, &gate, &out);
        let ended = tokio::select! {
            ended = delivering => ended,
            ended = self.stay(&membership) => ended,
            () = out.closed() => Ok(()),
        };
        self.metrics.members.dec();
        if let Err(error) = ended {
            let _nobody_listens = out.send(Err(error)).await;
        }
        let (topic, group, member) = (partition.topic.name.clone(), wanted.group, wanted.member);
        let detach = EventsCommand::Detach { topic, group, member };
        if let Err(error) = self.topics.command(&partition, &detach).await {
            tracing::debug!(%error, partition = partition.id, "a member is left to its lease");
        }
    }

    async fn deliver(
        &self,
        partition: &Partition,
        wanted: &Subscription,
        membership: &Membership,
        gate: &Gate,
        out: &mpsc::Sender<Result<Delivered, Refused>>,
    ) -> Result<(), Refused> {
        let Attached { op: mut attached, ack_timeout, mut open } = self.attach(partition, wanted).await?;
        let mut after = GrantPlace::default();
        loop {
            for delivery in open {
                after = after.max(delivery.grant);
                let (accepted, event) = self.payloads.next(partition.group, delivery.stored).await?;
                gate.enter((partition.id, delivery.grant.seq)).await;
                self.metrics.delivered(delivery.attempt, late(accepted, delivery.due_ms));
                if let Some(traced) = Traced::of(&event) {
                    traced.delivered(partition, &wanted.group, &delivery);
                }
                let (partition, membership) = (partition.clone(), membership.clone());
                let delivered = Delivered { partition, membership, delivery, ack_timeout, event };
                if out.send(Ok(delivered)).await.is_err() {
                    return Ok(());
                }
            }
            let (topic, group, member) = (partition.topic.name.clone(), wanted.group.clone(), wanted.member);
            let question = EventsQuery::Deliveries { topic, group, member, after };
            open = match self.topics.news(partition, question).await {
                Ok((_, EventsView::Deliveries(open))) => open.deliveries,
                Ok((op, _)) if op < attached => {
                    // The own replica has not heard yet that it is a member.
                    sleep(PAUSE).await;
                    Vec::new()
                }
                Ok((_, EventsView::Unknown)) => {
                    return Err(Refused::NotFound(format!(
                        "consumer group {} of topic {} was deleted",
                        wanted.group, partition.topic.name
                    )));
                }
                Ok(_) => {
                    let again = self.attach(partition, wanted).await?;
                    attached = again.op;
                    again.open
                }
                Err(error) => {
                    tracing::debug!(%error, partition = partition.id, "no news of deliveries");
                    sleep(PAUSE).await;
                    Vec::new()
                }
            };
        }
    }

    /// A member that is there is to have other credits.
    pub(super) async fn set_credits(
        &self,
        partition: &Partition,
        wanted: &Subscription,
    ) -> Result<(), Refused> {
        // What is granted by it is found where all grants are.
        self.attach(partition, wanted).await.map(|_| ())
    }

    async fn attach(&self, partition: &Partition, wanted: &Subscription) -> Result<Attached, Refused> {
        let command = EventsCommand::Attach {
            topic: partition.topic.name.clone(),
            group: wanted.group.clone(),
            options: wanted.options.clone(),
            insists: wanted.insists,
            member: wanted.member,
            credits: wanted.credits,
            lease: LEASE,
        };
        match self.topics.command(partition, &command).await? {
            (op, EventsAnswer::Attached { options, open }) => {
                Ok(Attached { op, ack_timeout: options.ack_timeout, open: open.deliveries })
            }
            (_, other) => Err(Refused::Unavailable(format!("a member was answered with {other:?}"))),
        }
    }

    /// Says again and again that the member is there.
    async fn stay(&self, membership: &Membership) -> Result<(), Refused> {
        loop {
            sleep(Duration::from_nanos(LEASE.as_nanos() / 3)).await;
            match self.settling.settle(membership, None).await {
                // Whoever delivers attaches again.
                Ok(_) | Err(Refused::NotAMember) => {}
                Err(error) => tracing::debug!(%error, "a member's lease is not renewed"),
            }
        }
    }
}

/// How long ago an event was due, by this machine's clock: not before it was accepted.
pub(super) fn late(accepted: Timestamp, due_ms: i64) -> Duration {
    let due = Duration::from_millis(u64::try_from(due_ms).unwrap_or_default());
    let due = due.max(Duration::from_nanos(accepted.as_nanos()));
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    now.saturating_sub(due)
}

/// A member whose gateway is gone is one for so long.
const LEASE: Nanos = Nanos::from_secs(15);
const PAUSE: Duration = Duration::from_millis(20);

//! Endpoints: what a topic's events are posted to. Of each partition that it leads, a node is the member of the consumer group that an
//! endpoint is; retries and dead letters are those of every group.
//!
//! Two nodes that both take themselves for the leader share the deliveries, each of which is granted to one of them.
//!
//! A target that fails again and again is left alone (`valve.rs`): its groups have no credits then, so nothing is granted and no attempts
//! are spent. What was granted already waits in hand.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use chronon_core::catalog::Endpoint;
use chronon_core::events::{
    Disposition, Due, MESSAGE_ID_BYTES_MAX, MemberId, NewEvent, Published, Settled, Settlement,
};
use chronon_core::types::Nanos;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::consuming::{Consuming, Delivered, Subscription};
use super::publishing::{Publishing, WhenFull, routing_key};
use super::signature;
use super::taps::Tap;
use super::topics::{Partition, Refused};
use super::trace_context;
use crate::server::metrics::GatewayMetrics;
use crate::server::poster::{Post, Posted, Poster};
use crate::server::status::{BreakerReport, EndpointReport, StatusCell};

/// Posts what endpoints are to have.
#[derive(Debug)]
pub(super) struct Posting {
    pub consuming: Arc<Consuming>,
    pub publishing: Arc<Publishing>,
    pub poster: Arc<Poster>,
    pub status: StatusCell,
    pub metrics: GatewayMetrics,
}

/// An endpoint of a partition that is seen to.
struct Running {
    tap: Arc<Tap>,
    task: JoinHandle<()>,
}

/// By topic and name: the endpoints of which this node posts something, with the partitions.
type Wanted = BTreeMap<(String, String), (Endpoint, Vec<Partition>)>;

impl Drop for Running {
    fn drop(&mut self) {
        // Whoever delivers to it notices that nobody listens, and leaves the group.
        self.task.abort();
    }
}

impl Posting {
    /// Sees to all endpoints, as long as the gateway runs.
    pub(super) async fn run(self: Arc<Self>) {
        let mut taps: BTreeMap<(String, String), Arc<Tap>> = BTreeMap::new();
        let mut running: BTreeMap<(i32, String), Running> = BTreeMap::new();
        loop {
            match self.wanted().await {
                Ok(wanted) => self.see_to_all(&wanted, &mut taps, &mut running),
                Err(error) => tracing::debug!(%error, "the catalog does not tell of endpoints"),
            }
            self.tell(&taps);
            sleep(LOOK_EACH).await;
        }
    }

    fn see_to_all(
        self: &Arc<Self>,
        wanted: &Wanted,
        taps: &mut BTreeMap<(String, String), Arc<Tap>>,
        running: &mut BTreeMap<(i32, String), Running>,
    ) {
        // One that is changed begins anew, and is believed to answer.
        taps.retain(|name, tap| wanted.get(name).is_some_and(|(endpoint, _)| *endpoint == tap.endpoint));
        let mut places = BTreeMap::new();
        for (name, (endpoint, partitions)) in wanted {
            let tap = taps.entry(name.clone()).or_insert_with(|| Arc::new(Tap::new(endpoint.clone())));
            let all = partitions.first().map_or(1, |first| first.topic.topic.partitions as usize);
            tap.set_share(partitions.len(), all);
            let place = |partition: &Partition| {
                ((partition.id, endpoint.name.clone()), (partition.clone(), Arc::clone(tap)))
            };
            places.extend(partitions.iter().map(place));
        }
        running.retain(|place, running| {
            let is_same = |(_, tap): &(Partition, Arc<Tap>)| Arc::ptr_eq(tap, &running.tap);
            !running.task.is_finished() && places.get(place).is_some_and(is_same)
        });
        for (place, (partition, tap)) in places {
            running.entry(place).or_insert_with(|| {
                let see_to = Arc::clone(self).see_to(partition, Arc::clone(&tap));
                Running { tap, task: tokio::spawn(see_to) }
            });
        }
    }

    /// Whoever asks the node is told how its endpoints are.
    fn tell(&self, taps: &BTreeMap<(String, String), Arc<Tap>>) {
        let reports: Vec<EndpointReport> = taps.iter().map(|((topic, _), tap)| tap.report(topic)).collect();
        self.metrics.breakers(reports.iter().map(|report| {
            let open = match report.breaker {
                BreakerReport::Closed => 0,
                BreakerReport::HalfOpen => 1,
                BreakerReport::Open { .. } => 2,
            };
            (report.topic.as_str(), report.endpoint.as_str(), open)
        }));
        self.status.set_endpoints(reports);
    }

    /// The endpoints of the partitions that the own node leads.
    async fn wanted(&self) -> Result<Wanted, Refused> {
        let topics = &self.consuming.topics;
        let mut wanted = Wanted::new();
        for topic in topics.list_as_known().await?.iter().filter(|topic| !topic.topic.endpoints.is_empty()) {
            let mut partitions = topics.partitions(topic);
            partitions.retain(|partition| self.status.leads(partition.group));
            if partitions.is_empty() {
                continue;
            }
            for endpoint in &topic.topic.endpoints {
                let name = (topic.name.clone(), endpoint.name.clone());
                wanted.insert(name, (endpoint.clone(), partitions.clone()));
            }
        }
        Ok(wanted)
    }

    async fn see_to(self: Arc<Self>, partition: Partition, tap: Arc<Tap>) {
        let mut drawn = [0; 16];
        if let Err(error) = getrandom::fill(&mut drawn) {
            tracing::error!(%error, "no random bytes: nothing is posted");
            return;
        }
        let member = MemberId(u128::from_le_bytes(drawn));
        let endpoint = &tap.endpoint;
        let (group, options, credits) = (endpoint.group(), endpoint.group_options(), tap.credits());
        let mut wanted = Subscription { group, options, insists: false, member, credits };
        let gate = self.consuming.settling.gates.open(member, endpoint.concurrency);
        let (sender, mut delivered) = mpsc::channel(1);
        tracing::debug!(partition = partition.id, endpoint = endpoint.name, "posting");
        let consume = Arc::clone(&self.consuming).consume(partition.clone(), wanted.clone(), gate, sender);
        tokio::spawn(consume);
        loop {
            tokio::select! {
                delivered = delivered.recv() => match delivered {
                    Some(Ok(delivered)) => drop(tokio::spawn(Arc::clone(&self).deliver(Arc::clone(&tap), delivered))),
                    Some(Err(error)) => {
                        tracing::warn!(%error, endpoint = endpoint.name, "posting has stopped, and begins again");
                    }
                    None => return,
                },
                credits = tap.credits_other_than(wanted.credits) => {
                    let other = Subscription { credits, ..wanted.clone() };
                    match self.consuming.set_credits(&partition, &other).await {
                        Ok(()) => wanted = other,
                        Err(error) => {
                            tracing::debug!(%error, endpoint = endpoint.name, "the credits stay as they were");
                            sleep(LOOK_EACH).await;
                        }
                    }
                }
            }
        }
    }

    async fn deliver(self: Arc<Self>, tap: Arc<Tap>, delivered: Delivered) {
        let membership = delivered.membership.clone();
        let (grant, attempt) = (delivered.delivery.grant, delivered.delivery.attempt);
        let settlement = |disposition| Settlement { seq: grant.seq, attempt, granted: grant.op, disposition };
        let leave = loop {
            let goes_on = Duration::from_nanos(delivered.ack_timeout.as_nanos() / 3);
            tokio::select! {
                leave = tap.enter() => break leave,
                () = sleep(goes_on) => {}
            }
            // It is not its receiver's fault that it waits here: no attempt is spent by that.
            match self.consuming.settling.settle(&membership, Some(settlement(Disposition::InProgress))).await
            {
                Ok((Settled::Done, _)) => {}
                Ok((Settled::Stale { .. }, _)) | Err(Refused::NotAMember) => return,
                Err(error) => tracing::debug!(%error, "a post that waits is not prolonged"),
            }
        };
        let disposition = match tap.endpoint.target.strip_prefix(TOPIC_SCHEME) {
            Some(topic) => self.forward(topic, delivered).await,
            None => self.post(Arc::clone(&tap), delivered).await,
        };
        let (has_answered, result) = match disposition {
            Disposition::Ack | Disposition::InProgress => (true, "done"),
            Disposition::Term { .. } => (true, "refused"),
            Disposition::Nack { .. } => (false, "failed"),
        };
        tap.leave(leave, has_answered);
        self.metrics.posted(result);
        if let Err(error) = self.consuming.settling.settle(&membership, Some(settlement(disposition))).await {
            tracing::debug!(%error, group = membership.group, "a post is not settled, and will be made again");
        }
    }

    async fn post(&self, tap: Arc<Tap>, delivered: Delivered) -> Disposition {
        let poster = Arc::clone(&self.poster);
        let posted = tokio::task::spawn_blocking(move || {
            let Delivered { partition, delivery, event, .. } = delivered;
            let endpoint = &tap.endpoint;
            let key = format!("{}:{}:{}", partition.id, delivery.offset, endpoint.name);
            let token = format!("{}:{}", partition.group, delivery.grant.op);
            let body = event.payload.as_slice();
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            let mut headers = signature::headers(&endpoint.secrets, &key, now.as_secs(), body);
            headers.push(("Chronon-Topic", header(&partition.topic.name)));
            headers.push(("Chronon-Message-Id", header(&event.name.message_id)));
            headers.push(("Chronon-Due", delivery.due_ms.to_string()));
            headers.push(("Chronon-Attempt", delivery.attempt.to_string()));
            headers.extend(trace_context::headers(&event).map(|(name, value)| (name, header(value))));
            let timeout = Duration::from_nanos(endpoint.timeout.as_nanos());
            let (key, token, headers) = (key.as_str(), token.as_str(), headers.as_slice());
            poster.post(&Post { target: &endpoint.target, key, token, headers, body, timeout })
        });
        match posted.await {
            Ok(Posted::Done(_)) => Disposition::Ack,
            Ok(Posted::Failed { why, rest }) => {
                let rest = u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX);
                Disposition::Nack { rest: (rest > 0).then(|| Nanos::from_nanos(rest)), why }
            }
            Ok(Posted::Refused { why }) => Disposition::Term { why },
            Err(error) => Disposition::Nack { rest: None, why: format!("the post broke off: {error}") },
        }
    }

    /// Publishes an event to another topic, under a name that follows from where it stands: once, however often it is tried.
    async fn forward(&self, topic: &str, delivered: Delivered) -> Disposition {
        let Delivered { partition, delivery, event, .. } = delivered;
        let published = async {
            let topics = &self.consuming.topics;
            let target = topics.get(topic).await?;
            let mut event = NewEvent { allow_duplicate: false, ..event };
            let place = format!("{}:{}", partition.id, delivery.offset);
            let named = format!("{place}:{}", event.name.message_id);
            // Where it stands is enough to tell it from all others.
            let fits = named.len() <= MESSAGE_ID_BYTES_MAX as usize;
            event.name.message_id = if fits { named } else { place };
            let hops = event.meta.iter().position(|(key, _)| key == HOPS);
            let hop = hops.and_then(|place| event.meta[place].1.parse::<u32>().ok()).unwrap_or_default() + 1;
            if hop > HOPS_MAX {
                return Err(Refused::Invalid(format!("it went from topic to topic {HOPS_MAX} times")));
            }
            match hops {
                Some(place) => event.meta[place].1 = hop.to_string(),
                None => event.meta.push((HOPS.to_owned(), hop.to_string())),
            }
            event.due = Due::In(0);
            let partition = topics.partition_of(&target, routing_key(&event));
            self.publishing.publish(&partition, event, WhenFull::Wait).await
        };
        match published.await {
            Ok(Published::Accepted { .. } | Published::Duplicate { .. }) => Disposition::Ack,
            Ok(Published::Refused(refusal)) => Disposition::Term { why: refusal.to_string() },
            Err(Refused::Invalid(why)) => Disposition::Term { why },
            Err(other) => Disposition::Nack { rest: None, why: other.to_string() },
        }
    }
}

/// As much of a text as a header may hold.
fn header(text: &str) -> String {
    text.chars().map(|char| if char.is_ascii_graphic() || char == ' ' { char } else { '?' }).collect()
}

/// Targets that are topics begin with it.
pub(super) const TOPIC_SCHEME: &str = "topic:";
/// Meta of an event: from how many topics it came by endpoints.
const HOPS: &str = "chronon-hops";
const HOPS_MAX: u32 = 16;
/// How soon a change of endpoints is seen.
const LOOK_EACH: Duration = Duration::from_millis(500);

//! Three nodes whose timers fire: how late, how soon many are ready that are due at once, and what a publisher feels meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use bytes::Bytes;
use hdrhistogram::Histogram;
use serde::Serialize;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use super::super::READY_WAIT;
use super::super::closed_loop::Figure;
use super::super::member::Member;
use super::super::paced::Publisher;
use super::TimersArgs;
use crate::cli::local_cluster::LocalCluster;
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::event_service_client::EventServiceClient;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::topic_service_client::TopicServiceClient;

/// What was measured.
#[derive(Debug, Serialize)]
pub(super) struct Fired {
    /// From when an event was due to when a subscriber had it; none was early.
    pub(super) lateness: Figure,
    /// From the beginning of the second in which all were due until all were ready.
    pub(super) burst_ready_s: f64,
    /// Of a publisher, before anything fired.
    pub(super) publisher_before: Figure,
    /// While events fired one after the other and were delivered.
    pub(super) publisher_meanwhile: Figure,
    /// While all were due at once.
    pub(super) publisher_in_burst: Figure,
}

pub(super) fn measure(args: &TimersArgs, folder: &Path) -> anyhow::Result<Fired> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut cluster = LocalCluster::at(&program, folder, 3)?.for_events();
    cluster.format_all()?;
    cluster.start_all()?;
    cluster.wait_ready(READY_WAIT)?;
    let servers: Vec<String> =
        (0..cluster.size()).map(|index| format!("http://{}", cluster.grpc_address(index))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime
        .block_on(fire(args, &servers))
        .with_context(|| format!("the nodes' logs were in {}", folder.display()))
}

async fn fire(args: &TimersArgs, servers: &[String]) -> anyhow::Result<Fired> {
    let mut channels = Vec::new();
    for server in servers {
        channels.push(Channel::from_shared(server.clone())?.connect().await?);
    }
    let mut topics = TopicServiceClient::new(channels[0].clone());
    for topic in [BESIDE, WARM_UP, FIRES, BURST] {
        let request =
            ext::CreateTopicRequest { topic: topic.to_owned(), ..ext::CreateTopicRequest::default() };
        topics.create_topic(request).await?;
    }
    // Due when nobody is here any more; how fast they are accepted tells how far ahead the others must be scheduled.
    let began = Instant::now();
    let next_year = now_ms() + 365 * 24 * 3_600_000;
    schedule(&channels, WARM_UP, WARM_UP_EVENTS, move |_| next_year).await?;
    let accepted = WARM_UP_EVENTS as f64 / began.elapsed().as_secs_f64();
    let publisher = Publisher::start(channels[0].clone(), args.publishes, |id| {
        event(BESIDE, &format!("beside-{id}"), 1)
    })?;
    tokio::time::sleep(Duration::from_secs(1)).await;
    publisher.taken()?;
    tokio::time::sleep(Duration::from_secs(args.seconds.min(5))).await;
    let publisher_before = publisher.taken()?;
    eprintln!("{} fires a second ...", args.rate);
    let fires = u64::from(args.rate) * args.seconds;
    let members = Members::subscribe(&channels, fires);
    let first = now_ms() + lead_ms(fires, accepted);
    let rate = u64::from(args.rate);
    schedule(&channels, FIRES, fires, move |number| first + number * 1000 / rate).await?;
    until(first).await?;
    publisher.taken()?;
    let lateness = members.all_delivered(Duration::from_secs(args.seconds)).await?;
    let publisher_meanwhile = publisher.taken()?;
    eprintln!("{} due in one second ...", args.burst);
    let first = now_ms() + lead_ms(args.burst, accepted);
    schedule(&channels, BURST, args.burst, move |number| first + number % 1000).await?;
    anyhow::ensure!(
        ready(&mut topics).await? == 0 || now_ms() >= first,
        "an event was ready before it was due"
    );
    until(first).await?;
    publisher.taken()?;
    let began = Instant::now();
    while ready(&mut topics).await? < args.burst {
        anyhow::ensure!(began.elapsed() < BURST_WAIT, "not all were ready after {} s", BURST_WAIT.as_secs());
        tokio::time::sleep(PAUSE).await;
    }
    let burst_ready_s = began.elapsed().as_secs_f64();
    let publisher_in_burst = publisher.taken()?;
    publisher.stop().await?;
    Ok(Fired { lateness, burst_ready_s, publisher_before, publisher_meanwhile, publisher_in_burst })
}

/// Publishes so many events, in batches over all nodes; `due_ms` tells when each is due.
async fn schedule(
    channels: &[Channel],
    topic: &'static str,
    count: u64,
    due_ms: impl Fn(u64) -> u64 + Copy + Send + 'static,
) -> anyhow::Result<()> {
    let next = Arc::new(AtomicU64::new(0));
    let lanes: Vec<JoinHandle<anyhow::Result<()>>> = (0..LANES)
        .zip(channels.iter().cycle())
        .map(|(_, channel)| {
            let (mut client, next) = (EventServiceClient::new(channel.clone()), Arc::clone(&next));
            tokio::spawn(async move {
                loop {
                    let first = next.fetch_add(BATCH, Ordering::Relaxed);
                    if first >= count {
                        return Ok(());
                    }
                    let numbers = first..(first + BATCH).min(count);
                    let size = numbers.end - numbers.start;
                    let events =
                        numbers.map(|number| event(topic, &format!("{topic}-{number}"), due_ms(number)));
                    let events = events.collect();
                    let request = pb::PublishBatchRequest { events, allow_duplicate: false };
                    let answer = client.publish_batch(request).await?.into_inner();
                    anyhow::ensure!(u64::try_from(answer.published_count)? == size, "{}", answer.error);
                }
            })
        })
        .collect();
    for lane in lanes {
        lane.await??;
    }
    Ok(())
}

/// Members of one consumer group, one at each node, which acknowledge what they are given.
struct Members {
    count: Arc<AtomicU64>,
    all: u64,
    tasks: Vec<JoinHandle<anyhow::Result<Histogram<u64>>>>,
}

impl Members {
    fn subscribe(channels: &[Channel], all: u64) -> Self {
        let count = Arc::new(AtomicU64::new(0));
        let member = |channel: &Channel| tokio::spawn(consume(channel.clone(), Arc::clone(&count), all));
        let tasks = channels.iter().map(member).collect();
        Self { count, all, tasks }
    }

    async fn all_delivered(self, span: Duration) -> anyhow::Result<Figure> {
        let mut lateness = Histogram::<u64>::new(3)?;
        let patience = span + DELIVERY_WAIT;
        for task in self.tasks {
            let ended = tokio::time::timeout(patience, task).await;
            let (count, all) = (self.count.load(Ordering::Relaxed), self.all);
            let seen = ended.with_context(|| format!("{count} of {all} events were delivered"))???;
            lateness.add(&seen).context("histograms do not fit")?;
        }
        Figure::of(&lateness, span).context("nothing was delivered")
    }
}

/// Takes events until all are there; how late each was, in nanoseconds.
async fn consume(channel: Channel, count: Arc<AtomicU64>, all: u64) -> anyhow::Result<Histogram<u64>> {
    let mut lateness = Histogram::<u64>::new(3)?;
    let mut member = Member::subscribe(channel, FIRES).await?;
    while count.load(Ordering::Relaxed) < all {
        let heard = match tokio::time::timeout(PAUSE, member.hear()).await {
            Ok(heard) => heard?,
            // Others may have had the last one.
            Err(_) => continue,
        };
        let Some(delivery) = heard else { continue };
        let event = delivery.event.context("a delivery without an event")?;
        let due = Duration::from_millis(u64::try_from(event.schedule_ts)?);
        let late = SystemTime::now().duration_since(UNIX_EPOCH)?.checked_sub(due);
        let late = late.with_context(|| format!("{} was delivered before it was due", event.message_id))?;
        lateness.record(u64::try_from(late.as_nanos())?)?;
        count.fetch_add(1, Ordering::Relaxed);
        member.acknowledge(delivery.delivery_id).await?;
    }
    Ok(lateness)
}

/// Events of the burst that are ready.
async fn ready(topics: &mut TopicServiceClient<Channel>) -> anyhow::Result<u64> {
    let request = ext::DescribeTopicRequest { topic: BURST.to_owned() };
    let partitions = topics.describe_topic(request).await?.into_inner().partitions;
    Ok(u64::try_from(partitions.iter().map(|partition| partition.ready).sum::<i64>())?)
}

/// So far ahead events are due that are to be accepted before the first of them is.
fn lead_ms(count: u64, accepted_a_second: f64) -> u64 {
    LEAD_MS + (1500.0 * count as f64 / accepted_a_second) as u64
}

/// Waits until then.
///
/// # Errors
/// When it is over: what was to be scheduled took too long.
async fn until(ms: u64) -> anyhow::Result<()> {
    let span = ms.checked_sub(now_ms());
    let span =
        span.context("events were due before all were accepted: the machine is busy with something else")?;
    tokio::time::sleep(Duration::from_millis(span)).await;
    Ok(())
}

/// An event that is due then.
fn event(topic: &str, message_id: &str, due_ms: u64) -> pb::Event {
    pb::Event {
        message_id: message_id.to_owned(),
        topic: topic.to_owned(),
        schedule_ts: i64::try_from(due_ms).unwrap_or(i64::MAX),
        payload: Bytes::from_static(&[7; PAYLOAD_BYTES]),
        ..pb::Event::default()
    }
}

/// Since the Unix epoch.
fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The topic of the publisher that keeps its pace.
const BESIDE: &str = "beside";
const PAYLOAD_BYTES: usize = 64;
const WARM_UP: &str = "warm-up";
const WARM_UP_EVENTS: u64 = 50_000;
const FIRES: &str = "fires";
const BURST: &str = "burst";
const BATCH: u64 = 1000;
/// Batches in flight.
const LANES: usize = 6;
const LEAD_MS: u64 = 3000;
const PAUSE: Duration = Duration::from_millis(20);
/// How late the last delivery may be.
const DELIVERY_WAIT: Duration = Duration::from_secs(30);
const BURST_WAIT: Duration = Duration::from_secs(300);

//! `chronon bench publish`: events a second into and out of three processes on this machine, on the disks of a quorum before each answer.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use hdrhistogram::Histogram;
use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;

use super::closed_loop::Figure;
use super::flush_rate::FlushRate;
use super::member::Member;
use super::paced::Publisher;
use super::{Folder, READY_WAIT, yardstick};
use crate::cli::Answer;
use crate::cli::local_cluster::LocalCluster;
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::cronos_db::event_service_client::EventServiceClient;
use crate::gateway::proto::ext;
use crate::gateway::proto::ext::event_stream_client::EventStreamClient;
use crate::gateway::proto::ext::topic_service_client::TopicServiceClient;

/// Three processes on this machine: events a second that a quorum has on disk before each answer, and deliveries a second.
#[derive(Args, Debug)]
pub(in crate::cli) struct PublishArgs {
    /// Seconds to measure each line.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Events in flight that are published one by one, over one stream a node.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=4096))]
    window: u32,
    /// Events of a batch.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=4096))]
    batch: u32,
    /// Batches in flight.
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=256))]
    batches: u32,
    /// A folder on the disk to be measured; a new one in it is used, and removed afterwards.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// A program to compare with, as `chronon bench cluster` runs one: with as many writes in flight as events.
    #[arg(long)]
    yardstick: Option<PathBuf>,
}

/// A line of the table.
struct Row {
    what: String,
    figure: Figure,
}

struct Measured {
    rows: Vec<Row>,
    /// Published at a tenth of the pace that is the highest.
    tenth: Figure,
}

pub(in crate::cli) fn run(args: &PublishArgs) -> anyhow::Result<Answer> {
    let folder = Folder::create(&args.dir)?;
    let before = FlushRate::measure(&folder.0)?;
    let program = std::env::current_exe().context("cannot find this program")?;
    let mut cluster = LocalCluster::at(&program, &folder.0, 3)?.for_events();
    cluster.format_all()?;
    cluster.start_all()?;
    cluster.wait_ready(READY_WAIT)?;
    let yardstick = match &args.yardstick {
        Some(path) => {
            let what = format!("yardstick, {} in flight", args.window);
            Some(Row { what, figure: yardstick::measure(path, &folder.0, args.window, args.seconds)? })
        }
        None => None,
    };
    let servers: Vec<String> =
        (0..cluster.size()).map(|index| format!("http://{}", cluster.grpc_address(index))).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let Measured { rows, tenth } = runtime
        .block_on(measure(args, &servers))
        .with_context(|| format!("the nodes' logs were in {}", folder.0.display()))?;
    drop(cluster);
    let after = FlushRate::measure(&folder.0)?;
    let rows: Vec<Row> = yardstick.into_iter().chain(rows).collect();
    Ok(shown(&rows, tenth, before, after))
}

async fn measure(args: &PublishArgs, servers: &[String]) -> anyhow::Result<Measured> {
    let mut channels = Vec::new();
    for server in servers {
        channels.push(Channel::from_shared(server.clone())?.connect().await?);
    }
    let mut topics = TopicServiceClient::new(channels[0].clone());
    let request = ext::CreateTopicRequest { topic: TOPIC.to_owned(), ..ext::CreateTopicRequest::default() };
    topics.create_topic(request).await?;
    let (span, names) = (Duration::from_secs(args.seconds), Arc::new(AtomicU64::new(0)));
    eprintln!("one by one ...");
    let one_by_one = one_by_one(&channels, args.window, span, &names).await?;
    eprintln!("at a tenth of that ...");
    let tenth = at_a_tenth(&channels[0], one_by_one.per_second / 10.0, span).await?;
    eprintln!("in batches ...");
    let in_batches = in_batches(&channels, args, span, &names).await?;
    eprintln!("deliveries ...");
    let delivered = deliveries(&channels, names.load(Ordering::Relaxed), span).await?;
    let rows = vec![
        Row { what: format!("published one by one, {} in flight", args.window), figure: one_by_one },
        Row { what: "published one by one, at a tenth of that".to_owned(), figure: tenth },
        Row {
            what: format!("published in batches of {}, {} in flight", args.batch, args.batches),
            figure: in_batches,
        },
        Row { what: "delivered and acknowledged, one group".to_owned(), figure: delivered },
    ];
    Ok(Measured { rows, tenth })
}

/// Events at a steady pace over one stream, to another topic: what is to be delivered stays what it is.
async fn at_a_tenth(channel: &Channel, a_second: f64, span: Duration) -> anyhow::Result<Figure> {
    let mut topics = TopicServiceClient::new(channel.clone());
    let request = ext::CreateTopicRequest { topic: PACED.to_owned(), ..ext::CreateTopicRequest::default() };
    topics.create_topic(request).await?;
    let event = |number| pb::Event { topic: PACED.to_owned(), ..event(number) };
    let publisher = Publisher::start(channel.clone(), a_second.max(1.0) as u32, event)?;
    tokio::time::sleep(span).await;
    let figure = publisher.taken()?;
    publisher.stop().await?;
    Ok(figure)
}

/// As many events in flight as the window is wide, over one stream a node.
async fn one_by_one(
    channels: &[Channel],
    window: u32,
    span: Duration,
    names: &Arc<AtomicU64>,
) -> anyhow::Result<Figure> {
    let share = window.div_ceil(u32::try_from(channels.len())?);
    let began = Instant::now();
    let streams = channels.iter().map(|channel| {
        let (mut client, names) = (EventStreamClient::new(channel.clone()), Arc::clone(names));
        tokio::spawn(async move {
            let mut latencies = Histogram::<u64>::new(3)?;
            let (events, requests) = mpsc::channel(share as usize);
            let mut asked = std::collections::BTreeMap::new();
            for _ in 0..share {
                let id = names.fetch_add(1, Ordering::Relaxed);
                asked.insert(id, Instant::now());
                events
                    .send(ext::StreamedEvent { id, event: Some(event(id)), allow_duplicate: false })
                    .await?;
            }
            let mut answers = client.publish_stream(ReceiverStream::new(requests)).await?.into_inner();
            while let Some(answer) = answers.next().await {
                let (answer, now) = (answer?, Instant::now());
                check(answer.result.as_ref())?;
                if let Some(asked_at) = asked.remove(&answer.id) {
                    latencies.record(u64::try_from((now - asked_at).as_nanos())?)?;
                }
                if now - began >= span {
                    break;
                }
                let id = names.fetch_add(1, Ordering::Relaxed);
                asked.insert(id, now);
                events
                    .send(ext::StreamedEvent { id, event: Some(event(id)), allow_duplicate: false })
                    .await?;
            }
            anyhow::Ok(latencies)
        })
    });
    gather(streams.collect(), began).await
}

/// Batches, each as soon as an earlier one was answered.
async fn in_batches(
    channels: &[Channel],
    args: &PublishArgs,
    span: Duration,
    names: &Arc<AtomicU64>,
) -> anyhow::Result<Figure> {
    let began = Instant::now();
    let size = u64::from(args.batch);
    let lanes = channels.iter().cycle().take(args.batches as usize).map(|channel| {
        let (mut client, names) = (EventServiceClient::new(channel.clone()), Arc::clone(names));
        tokio::spawn(async move {
            let mut latencies = Histogram::<u64>::new(3)?;
            while began.elapsed() < span {
                let first = names.fetch_add(size, Ordering::Relaxed);
                let events = (first..first + size).map(event).collect();
                let asked_at = Instant::now();
                let request = pb::PublishBatchRequest { events, allow_duplicate: false };
                let answer = client.publish_batch(request).await?.into_inner();
                anyhow::ensure!(u64::try_from(answer.published_count)? == size, "{}", answer.error);
                let now = Instant::now();
                for _ in 0..size {
                    latencies.record(u64::try_from((now - asked_at).as_nanos())?)?;
                }
            }
            anyhow::Ok(latencies)
        })
    });
    gather(lanes.collect(), began).await
}

/// A member at each node takes what there is and acknowledges it, until all is there or the time is up.
async fn deliveries(channels: &[Channel], published: u64, span: Duration) -> anyhow::Result<Figure> {
    let began = Instant::now();
    let count = Arc::new(AtomicU64::new(0));
    let members = channels.iter().map(|channel| {
        let (channel, count) = (channel.clone(), Arc::clone(&count));
        tokio::spawn(async move {
            let mut latencies = Histogram::<u64>::new(3)?;
            let mut member = Member::subscribe(channel, TOPIC).await?;
            let mut asked = VecDeque::new();
            while count.load(Ordering::Relaxed) < published && began.elapsed() < span {
                let heard = match tokio::time::timeout(PAUSE, member.hear()).await {
                    Ok(heard) => heard?,
                    // Others may have had the last one.
                    Err(_) => continue,
                };
                match heard {
                    Some(delivery) => {
                        asked.push_back(Instant::now());
                        member.acknowledge(delivery.delivery_id).await?;
                    }
                    None => {
                        if let Some(asked_at) = asked.pop_front() {
                            latencies.record(u64::try_from(asked_at.elapsed().as_nanos())?)?;
                        }
                        count.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            anyhow::Ok(latencies)
        })
    });
    gather(members.collect(), began).await
}

async fn gather(
    tasks: Vec<tokio::task::JoinHandle<anyhow::Result<Histogram<u64>>>>,
    began: Instant,
) -> anyhow::Result<Figure> {
    let mut all = Histogram::<u64>::new(3)?;
    for task in tasks {
        all.add(&task.await??).context("histograms do not fit")?;
    }
    Figure::of(&all, began.elapsed()).context("nothing was answered")
}

fn check(result: Option<&pb::PublishResponse>) -> anyhow::Result<()> {
    let result = result.context("an answer without a result")?;
    anyhow::ensure!(result.success, "{}", result.error);
    Ok(())
}

fn event(number: u64) -> pb::Event {
    pb::Event {
        message_id: format!("bench-{number}"),
        topic: TOPIC.to_owned(),
        schedule_ts: 1,
        payload: Bytes::from_static(&[7; PAYLOAD_BYTES]),
        ..pb::Event::default()
    }
}

fn shown(rows: &[Row], tenth: Figure, before: FlushRate, after: FlushRate) -> Answer {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["", "events/s", "p50 ms", "p99 ms", "max ms"]);
    for Row { what, figure } in rows {
        let ms = |ms: f64| format!("{ms:.2}");
        let (per_second, p50) = (format!("{:.0}", figure.per_second), ms(figure.p50_ms));
        table.add_row([what.clone(), per_second, p50, ms(figure.p99_ms), ms(figure.max_ms)]);
    }
    let is_spoiled = before.is_spoiled() || after.is_spoiled();
    let spoiled =
        if is_spoiled { "\nThe disk is busy or slow (p50 above 0.3 ms): this run is spoiled." } else { "" };
    let to_flush = tenth.p99_ms / before.p99_ms();
    let text = format!(
        "Three processes, events of {PAYLOAD_BYTES} bytes, on the disks of a quorum before each answer.\n{table}\n\
         p99 at a tenth of the peak is {to_flush:.1} times that of a flush alone.\n4 KiB write and fdatasync alone: before {before}; after {after}{spoiled}"
    );
    let rows: Vec<serde_json::Value> =
        rows.iter().map(|Row { what, figure }| json!({ "what": what, "figure": figure })).collect();
    Answer {
        text,
        json: json!({ "rows": rows, "p99_at_a_tenth_to_flush": to_flush, "flush_before": before, "flush_after": after, "spoiled": is_spoiled }),
    }
}

const TOPIC: &str = "bench";
const PACED: &str = "bench-paced";
const PAYLOAD_BYTES: usize = 256;
/// Whoever has nothing to take looks so often whether all is there.
const PAUSE: Duration = Duration::from_millis(50);

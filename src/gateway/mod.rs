//! The gRPC interface of the event database: a gateway beside each node, on a runtime of its own.
//!
//! ```text
//! client -- gRPC --> service/ --> publishing, consuming, settling --> topics --> cluster --> link -- frames --> nodes
//! ```
//!
//! A gateway decides nothing: it batches, routes commands to whoever leads a group, and reads from the own replica. What it forgets
//! when it ends, the log knows.

mod cluster;
mod consuming;
mod farewell;
mod gate;
mod heralds;
mod link;
mod operating;
mod payloads;
mod planning;
mod posting;
mod publishing;
mod pulling;
mod recurrence;
mod sampling;
mod service;
mod settling;
mod signature;
mod slots;
mod taps;
mod topics;
mod trace_context;
mod valve;

use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;

use crate::server::disk_usage::DiskUsage;
use crate::server::metrics::GatewayMetrics;
use crate::server::poster::Poster;
use crate::server::status::StatusCell;
use cluster::Cluster;
pub use cluster::ClusterMap;
use consuming::Consuming;
use payloads::Payloads;
use planning::Planning;
use posting::Posting;
use publishing::Publishing;
use pulling::Pulling;
use settling::Settling;
use slots::Slots;
use topics::Topics;

/// What clients and services say to each other, made from `proto/`.
pub mod proto {
    /// Package `cronos_db`.
    pub mod cronos_db {
        #![expect(missing_docs, reason = "generated; proto/cronos_db.proto has the words")]
        tonic::include_proto!("cronos_db");
        /// Package `cronos_db.ext`.
        pub mod ext {
            /// Package `cronos_db.ext.v1`.
            pub mod v1 {
                tonic::include_proto!("cronos_db.ext.v1");
            }
        }
    }
    pub use cronos_db::ext::v1 as ext;

    pub(super) const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/cronos_db.bin"));
}

/// The node that a gateway is beside.
#[derive(Clone, Debug)]
pub struct Beside {
    /// What it last said of itself.
    pub status: StatusCell,
    /// What its data directory takes.
    pub disk: DiskUsage,
    /// Where its gateway counts.
    pub metrics: GatewayMetrics,
}

/// What the services share.
#[derive(Debug)]
pub(crate) struct Gateway {
    metrics: GatewayMetrics,
    status: StatusCell,
    disk: DiskUsage,
    topics: Arc<Topics>,
    publishing: Arc<Publishing>,
    payloads: Arc<Payloads>,
    settling: Arc<Settling>,
    consuming: Arc<Consuming>,
    pulling: Pulling,
    /// Members of consumer groups, one a partition.
    members: Slots,
    /// Who watches an event.
    watching: Slots,
}

/// Whether a cluster has what a gateway is for.
pub fn is_wanted(map: &ClusterMap) -> bool {
    let has = |kind| map.groups.iter().any(|init| init.kind == kind);
    has("catalog") && has("events")
}

/// Serves gRPC on `listener` from a thread of its own, until the process ends. `makes_topics`: whoever first publishes to a topic, or
/// consumes from it, makes it. What endpoints are to have is posted by `poster`.
///
/// # Errors
/// When the cluster has no groups for events, or the thread or its runtime cannot be started.
pub fn start(
    listener: TcpListener,
    map: ClusterMap,
    makes_topics: bool,
    poster: Poster,
    node: Beside,
) -> io::Result<()> {
    let topics = Topics::new(Cluster::new(map), makes_topics).ok_or_else(|| {
        io::Error::other("a gateway needs a group of kind `catalog` and one of kind `events`")
    })?;
    let gateway = Arc::new(Gateway::new(topics, node));
    let planning = Arc::new(Planning {
        topics: Arc::clone(&gateway.topics),
        payloads: Arc::clone(&gateway.payloads),
        status: gateway.status.clone(),
    });
    let posting = Posting {
        consuming: Arc::clone(&gateway.consuming),
        publishing: Arc::clone(&gateway.publishing),
        poster: Arc::new(poster),
        status: gateway.status.clone(),
        metrics: gateway.metrics.clone(),
    };
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let described = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let reflection = described().build_v1().map_err(io::Error::other)?;
    // What earlier tools ask for.
    let reflection_before = described().build_v1alpha().map_err(io::Error::other)?;
    let serve = async move {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        tokio::spawn(Arc::new(posting).run());
        for group in gateway.topics.groups() {
            tokio::spawn(Arc::clone(&planning).run(group));
        }
        tokio::spawn(farewell::run(Arc::clone(&gateway.topics), gateway.status.clone()));
        tokio::spawn(sampling::run(Arc::clone(&gateway.topics), gateway.metrics.clone()));
        let (_reporter, health) = tonic_health::server::health_reporter();
        let routes = service::routes(&gateway)
            .add_service(reflection)
            .add_service(reflection_before)
            .add_service(health);
        // Small answers must not wait for the acknowledgement of those before them.
        let incoming = TcpListenerStream::new(listener).map(|stream| {
            let stream = stream?;
            stream.set_nodelay(true)?;
            io::Result::Ok(stream)
        });
        let mut server = Server::builder()
            .max_concurrent_streams(CALLS_MAX)
            .http2_keepalive_interval(Some(KEEP_ALIVE_EVERY))
            .http2_keepalive_timeout(Some(KEEP_ALIVE_TIMEOUT));
        server.add_routes(routes).serve_with_incoming(incoming).await.map_err(io::Error::other)
    };
    thread::Builder::new().name("grpc".to_owned()).spawn(move || {
        if let Err(error) = runtime.block_on(serve) {
            tracing::error!(%error, "gRPC has stopped");
        }
    })?;
    Ok(())
}

impl Gateway {
    fn new(topics: Topics, Beside { status, disk, metrics }: Beside) -> Self {
        let topics = Arc::new(topics);
        let payloads = Arc::new(Payloads::new(Arc::clone(&topics)));
        let settling = Settling::new(Arc::clone(&topics));
        let consuming = Arc::new(Consuming {
            topics: Arc::clone(&topics),
            payloads: Arc::clone(&payloads),
            settling: Arc::clone(&settling),
            metrics: metrics.clone(),
        });
        let pulling = Pulling::new(Arc::clone(&topics), Arc::clone(&payloads), metrics.clone());
        Self {
            metrics,
            pulling,
            status,
            disk,
            publishing: Arc::new(Publishing::new(Arc::clone(&topics))),
            topics,
            payloads,
            settling,
            consuming,
            members: Slots::new("members of consumer groups", MEMBERS_MAX),
            watching: Slots::new("watchers of events", WATCHERS_MAX),
        }
    }
}

/// Calls of one connection at once, streams among them: who makes more waits.
const CALLS_MAX: u32 = 4096;
/// Whoever is behind a connection that says nothing is asked whether it is there,
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);
/// and taken to be gone without an answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Members of consumer groups at one gateway, one a partition. Each waits at its node, where so many more questions have room.
const MEMBERS_MAX: usize = 10_000;
/// Watchers of events at one gateway.
const WATCHERS_MAX: usize = 1000;

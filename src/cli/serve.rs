//! `chronon serve`: a configuration becomes a running node.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use chronon_core::builtin::Builtin;
use chronon_core::engine::EngineConfig;
use chronon_core::kernel::ChrApplication;
use chronon_core::node::{Limits, NodeConfig, Timeouts};
use chronon_core::types::{Archiving, ClusterId, GroupId, NodeId};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use serde_json::json;

use super::{Answer, Format, format};
use crate::gateway::{self, Beside, ClusterMap};
use crate::server::config::{Given, KEYS, ServeConfig, Settings, Source, flag, read_file, variable};
use crate::server::disk::{self, DataDirectory};
use crate::server::disk_usage::DiskUsage;
use crate::server::http;
use crate::server::metrics::Metrics;
use crate::server::poster::Poster;
use crate::server::runtime::{Listeners, Runtime, RuntimeConfig};
use crate::server::status::StatusCell;
use crate::server::sync_disk;

/// Run a node. A flag has the word over its variable, that over the configuration file, that over the default.
#[derive(Args, Debug)]
pub(super) struct ServeArgs {
    /// A TOML file; its keys are the flags below with `_` for `-`.
    #[arg(long, env = "CHRONON_CONFIG")]
    config: Option<PathBuf>,
    /// A cluster of one node, formatted on first use; it prints commands to try.
    #[arg(long, conflicts_with_all = ["config", "cluster", "node", "peers", "peers_listen"])]
    dev: bool,
    /// Where the node keeps its data.
    #[arg(long, env = "CHRONON_DATA_DIR")]
    data_dir: Option<String>,
    /// What drives its disk: io_uring, which gives way to sync where the kernel refuses it, or sync [default: io_uring].
    #[arg(long, env = "CHRONON_DISK")]
    disk: Option<String>,
    /// The cluster it belongs to, in hex.
    #[arg(long, env = "CHRONON_CLUSTER")]
    cluster: Option<String>,
    /// Which node it is.
    #[arg(long, env = "CHRONON_NODE")]
    node: Option<String>,
    /// Where to listen for clients [default: 127.0.0.1:9100].
    #[arg(long, env = "CHRONON_REQUESTS")]
    requests: Option<String>,
    /// Where to listen for other nodes [default: 127.0.0.1:9200].
    #[arg(long, env = "CHRONON_PEERS_LISTEN")]
    peers_listen: Option<String>,
    /// Where to serve HTTP [default: 127.0.0.1:8080].
    #[arg(long, env = "CHRONON_HTTP")]
    http: Option<String>,
    /// Where to serve gRPC, if the cluster has groups for events [default: 127.0.0.1:9000].
    #[arg(long, env = "CHRONON_GRPC")]
    grpc: Option<String>,
    /// Where the other nodes listen for clients, as in 1=10.0.0.1:9100,2=10.0.0.2:9100: the gateway sends them what they lead.
    #[arg(long, env = "CHRONON_PEERS_REQUESTS")]
    peers_requests: Option<String>,
    /// Where the other nodes listen for nodes, as in 1=10.0.0.1:9200,2=10.0.0.2:9200.
    #[arg(long, env = "CHRONON_PEERS")]
    peers: Option<String>,
    /// Where side effects may be posted: what their URLs may begin with, as in https://hooks.example.com/,http://127.0.0.1:*/in/
    /// [default: nowhere; with --dev this machine].
    #[arg(long, env = "CHRONON_WEBHOOKS")]
    webhooks: Option<String>,
    /// Milliseconds that a node's wall clock may be off: a majority of clocks must agree within twice this [default: 500].
    #[arg(long, env = "CHRONON_CLOCK_TOLERANCE_MS")]
    clock_tolerance_ms: Option<String>,
}

/// What a node serves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Served<A> {
    /// The application.
    pub application: A,
    /// The groups of a node for trying things out, each with its kind.
    pub dev_groups: &'static [(u32, &'static str)],
    /// Commands to try there; `{nodes}` and `{http}` stand for where it listens.
    pub invitation: &'static str,
}

/// What the binary serves.
pub(super) const BUILTIN: Served<Builtin> = Served {
    application: Builtin,
    dev_groups: &[(0, "bank"), (1, "register"), (2, "post"), (3, "catalog"), (4, "events"), (5, "events")],
    invitation: "  chronon publish hello \"hello in three seconds\" --in 3s{grpc}\n\
                 \x20 chronon subscribe hello --group me{grpc}\n  chronon topic list{grpc}\n\
                 \x20 chronon kv set greeting hello{nodes}\n  chronon kv get greeting{nodes}\n\
                 \x20 chronon bank open 1 100{nodes}\n  chronon bank open 2 0{nodes}\n  chronon bank transfer 1 2 30{nodes}\n\
                 \x20 chronon bank audit{nodes}\n  chronon post send http://{http}/health hello{nodes}\n",
};

/// Runs a node; comes back only when it has halted.
pub(super) fn run<A: ChrApplication>(
    served: Served<A>,
    args: &ServeArgs,
    given: &ArgMatches,
    output: Format,
) -> anyhow::Result<Answer> {
    let config =
        if args.dev { dev_config(settings(given), served.dev_groups)? } else { config(args, given)? };
    let directory = DataDirectory::open(&config.data_dir)?;
    let listeners = Listeners {
        requests: bind("requests", config.requests)?,
        peers: bind("peers_listen", config.peers_listen)?,
    };
    let http_listener = bind("http", config.http)?;
    let groups = directory.identity()?.groups;
    let map = |requests: SocketAddr| {
        let mut nodes = config.peers_requests.clone();
        nodes.insert(config.node, requests);
        ClusterMap { local: config.node, nodes, groups: groups.clone() }
    };
    let requests = listeners.requests.local_addr().context("cannot listen for requests")?;
    let gateway = map(within_reach(requests));
    let grpc = gateway::is_wanted(&gateway).then(|| bind("grpc", config.grpc)).transpose()?;
    let grpc_address = grpc.as_ref().map(TcpListener::local_addr).transpose().context("cannot serve gRPC")?;
    let http_address = http_listener.local_addr().context("cannot serve HTTP")?;
    let node = NodeConfig {
        cluster: config.cluster,
        node: config.node,
        engine: EngineConfig::default(),
        limits: Limits::default(),
        timeouts: Timeouts { clock_tolerance: config.clock_tolerance, ..Timeouts::default() },
    };
    let status = StatusCell::default();
    let runtime =
        RuntimeConfig { node, disk: config.disk, peers: config.peers, webhooks: config.webhooks.clone() };
    let metrics = Metrics::default();
    let (application, counts) = (served.application, metrics.driver.clone());
    let runtime = Runtime::new(application, runtime, directory, listeners, status.clone(), counts)?;
    let disk = DiskUsage { data_dir: config.data_dir.clone() };
    let beside = Beside { status: status.clone(), disk, metrics: metrics.gateway.clone() };
    http::start(http_listener, status, metrics).context("cannot serve HTTP")?;
    if let Some(listener) = grpc {
        let poster = Poster::new(config.cluster, config.webhooks);
        gateway::start(listener, gateway, args.dev, poster, beside).context("cannot serve gRPC")?;
    }
    tracing::info!(
        node = %config.node,
        cluster = format!("{:032x}", config.cluster.get()),
        data_dir = %config.data_dir.display(),
        disk = %config.disk,
        %requests,
        http = %http_address,
        grpc = grpc_address.map(tracing::field::display),
        "serving"
    );
    if args.dev {
        let addresses = Addresses { requests, http: http_address, grpc: grpc_address };
        super::print(output, &invitation(served.invitation, addresses, &config.data_dir));
    }
    Err(runtime.run()).with_context(|| format!("data directory {}", config.data_dir.display()))
}

fn config(args: &ServeArgs, given: &ArgMatches) -> anyhow::Result<ServeConfig> {
    let nothing = args.config.is_none() && settings(given).is_empty();
    anyhow::ensure!(
        !nothing,
        "nothing says what to serve: give --dev to try things out, --config FILE, or flags"
    );
    let file = args.config.as_deref().map(read_file).transpose()?.unwrap_or_default();
    Ok(ServeConfig::resolve(settings(given), file)?)
}

/// What the command line and the environment say.
fn settings(given: &ArgMatches) -> Settings {
    let mut settings = Settings::new();
    for (key, _) in KEYS {
        if let Some(text) = given.get_one::<String>(key) {
            let source = match given.value_source(key) {
                Some(ValueSource::EnvVariable) => Source::Variable(variable(key)),
                _ => Source::Flag(format!("--{}", flag(key))),
            };
            settings.insert(key, Given { text: text.clone(), source });
        }
    }
    settings
}

/// A cluster of one, formatted when its directory is not there yet.
fn dev_config(mut settings: Settings, groups: &[(u32, &str)]) -> anyhow::Result<ServeConfig> {
    // Variables meant for a member of a cluster mean nothing here.
    settings.retain(|key, _| {
        let keys = ["data_dir", "disk", "requests", "http", "grpc", "webhooks", "clock_tolerance_ms"];
        keys.contains(key)
    });
    let mut rest = Settings::new();
    let mut default = |key, text: String| rest.insert(key, Given { text, source: Source::Default });
    default("cluster", "0".to_owned());
    default("node", DEV_NODE.to_string());
    default("peers_listen", "127.0.0.1:0".to_owned());
    let own = std::env::temp_dir().join(format!("chronon-dev-{}", std::process::id()));
    default("webhooks", "http://127.0.0.1:*/,http://localhost:*/".to_owned());
    default("data_dir", own.display().to_string());
    let mut config = ServeConfig::resolve(settings, rest)?;
    config.cluster = dev_cluster(&config.data_dir)?;
    if !holds_anything(&config.data_dir) {
        let group = |(group, kind): &(u32, &str)| (GroupId::new(*group), (*kind).to_owned());
        let groups: Vec<_> = groups.iter().map(group).collect();
        let identity = format::identity(
            config.cluster,
            DEV_NODE,
            &[DEV_NODE],
            &groups,
            format::SESSIONS_MAX,
            Some(DEV_ARCHIVE),
        );
        sync_disk::format(&config.data_dir, &identity)?;
    }
    Ok(config)
}

/// The cluster of a directory for trying things out; of a new one it is drawn, so that no two have side effects of one name.
fn dev_cluster(data_dir: &Path) -> anyhow::Result<ClusterId> {
    if holds_anything(data_dir) {
        let inspection = disk::inspect(data_dir)
            .with_context(|| format!("data directory {} cannot be read", data_dir.display()))?;
        return Ok(inspection.identity.cluster);
    }
    let mut drawn = [0; 16];
    getrandom::fill(&mut drawn)
        .map_err(|error| anyhow::anyhow!("the operating system gives no random bytes: {error}"))?;
    Ok(ClusterId::new(u128::from_le_bytes(drawn)))
}

fn holds_anything(path: &Path) -> bool {
    path.read_dir().is_ok_and(|mut entries| entries.next().is_some())
}

fn bind(key: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).map_err(|error| {
        let elsewhere = format!("choose another with --{} or {}", flag(key), variable(key));
        match error.kind() {
            io::ErrorKind::AddrInUse => {
                anyhow::anyhow!("key `{key}`: {address} is taken by another process; {elsewhere}")
            }
            _ => anyhow::anyhow!("key `{key}`: cannot listen on {address}: {error}; {elsewhere}"),
        }
    })
}

/// What to try on a fresh node.
fn invitation(commands: &str, addresses: Addresses, data_dir: &Path) -> Answer {
    let Addresses { requests, http, grpc } = addresses;
    let server = match grpc {
        Some(grpc) if grpc.port() != 9000 => format!(" --server http://{grpc}"),
        _ => String::new(),
    };
    let commands = commands.replace("{grpc}", &server);
    let nodes = if requests.port() == 9100 { String::new() } else { format!(" --nodes {requests}") };
    let commands = commands.replace("{nodes}", &nodes).replace("{http}", &http.to_string());
    let text = format!(
        "One node of a cluster of its own, with its data in {}. Try:\n\n{commands}  chronon status{nodes}\n\
         \x20 curl http://{http}/readyz\n",
        data_dir.display()
    );
    let data_dir = data_dir.display().to_string();
    let json = json!({
        "requests": requests.to_string(),
        "http": http.to_string(),
        "grpc": grpc.map(|grpc| grpc.to_string()),
        "data_dir": data_dir,
    });
    Answer { text, json }
}

/// Where a node listens, seen from itself: what listens everywhere listens here as well.
fn within_reach(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}

/// Where a node listens.
#[derive(Clone, Copy, Debug)]
struct Addresses {
    requests: SocketAddr,
    http: SocketAddr,
    grpc: Option<SocketAddr>,
}

const DEV_NODE: NodeId = NodeId::new(1);
/// A gibibyte of each group's past.
const DEV_ARCHIVE: Archiving = Archiving { chunk_bytes: 4 << 20, chunks_max: 256 };

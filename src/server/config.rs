//! The configuration of `chronon serve`: flag, else `CHRONON_` variable, else the key of a TOML file, else a default.
//!
//! Whatever a value came from, it is the same text read by the same rule, and an error says where it stands, which key
//! it is, what was found and what is allowed.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chronon_core::types::{ClusterId, Nanos, NodeId};
use toml::Spanned;

use super::allowed::Allowed;
use super::backend::Backend;

/// What a node is served with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ServeConfig {
    /// Where the node keeps its data.
    pub data_dir: PathBuf,
    /// What drives its disk.
    pub disk: Backend,
    /// The cluster it belongs to.
    pub cluster: ClusterId,
    /// Which node it is.
    pub node: NodeId,
    /// Where it listens for clients.
    pub requests: SocketAddr,
    /// Where it listens for other nodes.
    pub peers_listen: SocketAddr,
    /// Where it serves HTTP.
    pub http: SocketAddr,
    /// Where it serves gRPC, if the cluster has groups for events.
    pub grpc: SocketAddr,
    /// Where the nodes of the cluster listen for each other; this node's own place in it is allowed and ignored.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// Where the other nodes listen for clients: whom a gateway sends what they lead.
    pub peers_requests: BTreeMap<NodeId, SocketAddr>,
    /// Where side effects may be posted.
    pub webhooks: Allowed,
    /// How far the wall clock of a node may be off.
    pub clock_tolerance: Nanos,
}

/// Every key, and what it may be. The names of flags and variables derive from the keys.
pub const KEYS: [(&str, &str); 12] = [
    ("data_dir", "the path of a formatted data directory"),
    ("disk", "io_uring or sync"),
    ("cluster", "a cluster id: up to 32 hex digits"),
    ("node", "a node id: a whole number from 1"),
    ("requests", ADDRESS),
    ("peers_listen", ADDRESS),
    ("http", ADDRESS),
    ("grpc", ADDRESS),
    ("peers", "a list such as 1=10.0.0.1:9200,2=10.0.0.2:9200, each node once"),
    ("peers_requests", "a list such as 1=10.0.0.1:9100,2=10.0.0.2:9100, each node once"),
    (
        "webhooks",
        "a list such as https://hooks.example.com/,http://127.0.0.1:*/in/: scheme, host and port of a URL, and what its path begins with",
    ),
    ("clock_tolerance_ms", "milliseconds from 1 to 60000"),
];

const ADDRESS: &str = "an IP address and a port, such as 127.0.0.1:9100";

/// Where a value came from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Source {
    /// A flag of the command line.
    Flag(String),
    /// A variable of the environment.
    Variable(String),
    /// A place in a file.
    File {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The column in it, from 1.
        column: usize,
    },
    /// Nowhere: it is the default.
    Default,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File { path, line, column } => write!(f, "{}:{line}:{column}", path.display()),
            Self::Default => write!(f, "default"),
        }
    }
}

/// A value as it was given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Given {
    /// The value.
    pub text: String,
    /// Where it came from.
    pub source: Source,
}

/// Values by key.
pub type Settings = BTreeMap<&'static str, Given>;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("configuration file {}: {cause}", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's word.
        cause: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}:{column}: {what}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Its line, from 1.
        line: usize,
        /// The column in it, from 1.
        column: usize,
        /// What is wrong.
        what: String,
    },
    /// A key that means nothing.
    #[error("{place}: unknown key `{key}`; allowed are {}", all_keys())]
    UnknownKey {
        /// Where it stands.
        place: Source,
        /// The key.
        key: String,
    },
    /// A value that its key does not take.
    #[error("{place}: key `{key}`: {found:?} is not allowed; it takes {allowed}")]
    Value {
        /// Where it stands.
        place: Source,
        /// The key.
        key: &'static str,
        /// What was found.
        found: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A key without a default was not given.
    #[error(
        "key `{key}` is missing: give --{}, {} or `{key}` in the configuration file; it takes {}",
        flag(key),
        variable(key),
        allowed(key)
    )]
    Missing {
        /// The key.
        key: &'static str,
    },
}

/// The flag of a key, without its dashes.
pub fn flag(key: &str) -> String {
    key.replace('_', "-")
}

/// The variable of a key.
pub fn variable(key: &str) -> String {
    format!("CHRONON_{}", key.to_uppercase())
}

/// Reads the settings of a configuration file.
///
/// # Errors
/// [`ConfigError`] naming file, line and column.
pub fn read_file(path: &Path) -> Result<Settings, ConfigError> {
    let text =
        fs::read_to_string(path).map_err(|cause| ConfigError::File { path: path.to_owned(), cause })?;
    let table: BTreeMap<Spanned<String>, Spanned<toml::Value>> = toml::from_str(&text).map_err(|error| {
        let (line, column) = position(&text, error.span().map_or(0, |span| span.start));
        ConfigError::Syntax { path: path.to_owned(), line, column, what: error.message().to_owned() }
    })?;
    let mut settings = Settings::new();
    for (key, value) in table {
        let place = |offset| {
            let (line, column) = position(&text, offset);
            Source::File { path: path.to_owned(), line, column }
        };
        let Some((known, _)) = KEYS.iter().find(|(known, _)| known == key.get_ref()) else {
            return Err(ConfigError::UnknownKey { place: place(key.span().start), key: key.into_inner() });
        };
        let source = place(value.span().start);
        settings.insert(known, Given { text: as_text(value.get_ref()), source });
    }
    Ok(settings)
}

impl ServeConfig {
    /// Makes a configuration of the settings; of two, `first` has the word.
    ///
    /// # Errors
    /// [`ConfigError`] naming key, value and place.
    pub fn resolve(first: Settings, second: Settings) -> Result<Self, ConfigError> {
        let mut settings = second;
        settings.extend(first);
        let default = |text: &str| Given { text: text.to_owned(), source: Source::Default };
        for (key, text) in DEFAULTS {
            settings.entry(key).or_insert_with(|| default(text));
        }
        Ok(Self {
            data_dir: get(&settings, "data_dir", |text| (!text.is_empty()).then(|| PathBuf::from(text)))?,
            disk: get(&settings, "disk", |text| text.parse().ok())?,
            cluster: get(&settings, "cluster", parse_cluster)?,
            node: get(&settings, "node", parse_node)?,
            requests: get(&settings, "requests", |text| text.parse().ok())?,
            peers_listen: get(&settings, "peers_listen", |text| text.parse().ok())?,
            http: get(&settings, "http", |text| text.parse().ok())?,
            grpc: get(&settings, "grpc", |text| text.parse().ok())?,
            peers: get(&settings, "peers", parse_peers)?,
            peers_requests: get(&settings, "peers_requests", parse_peers)?,
            webhooks: get(&settings, "webhooks", Allowed::parse)?,
            clock_tolerance: get(&settings, "clock_tolerance_ms", parse_tolerance)?,
        })
    }
}

/// A cluster id in hex.
pub fn parse_cluster(text: &str) -> Option<ClusterId> {
    let plain = !text.starts_with('+');
    u128::from_str_radix(text, 16).ok().filter(|_| plain).map(ClusterId::new)
}

/// A node id: a whole number from 1.
pub fn parse_node(text: &str) -> Option<NodeId> {
    u64::from_str(text).ok().filter(|number| *number > 0).map(NodeId::new)
}

/// `1=ADDRESS,2=ADDRESS`; nothing at all is an empty list.
fn parse_peers(text: &str) -> Option<BTreeMap<NodeId, SocketAddr>> {
    let mut peers = BTreeMap::new();
    for peer in text.split(',').map(str::trim).filter(|peer| !peer.is_empty()) {
        let (node, address) = peer.split_once('=')?;
        let twice = peers.insert(parse_node(node.trim())?, address.trim().parse().ok()?);
        if twice.is_some() {
            return None;
        }
    }
    Some(peers)
}

fn parse_tolerance(text: &str) -> Option<Nanos> {
    u64::from_str(text).ok().filter(|ms| (1..=60_000).contains(ms)).map(Nanos::from_millis)
}

fn get<T>(
    settings: &Settings,
    key: &'static str,
    parse: impl FnOnce(&str) -> Option<T>,
) -> Result<T, ConfigError> {
    let Some(given) = settings.get(key) else { return Err(ConfigError::Missing { key }) };
    parse(&given.text).ok_or_else(|| ConfigError::Value {
        place: given.source.clone(),
        key,
        found: given.text.clone(),
        allowed: allowed(key),
    })
}

/// A value of the file in the form a flag would have.
fn as_text(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Array(items) => items.iter().map(as_text).collect::<Vec<_>>().join(","),
        toml::Value::Table(table) => {
            let items: Vec<String> =
                table.iter().map(|(key, value)| format!("{key}={}", as_text(value))).collect();
            items.join(",")
        }
        other => other.to_string(),
    }
}

fn allowed(key: &str) -> &'static str {
    KEYS.iter().find(|(known, _)| *known == key).map_or("", |(_, allowed)| allowed)
}

fn all_keys() -> String {
    KEYS.map(|(key, _)| key).join(", ")
}

/// Line and column of a byte, both from 1.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

const DEFAULTS: [(&str, &str); 9] = [
    ("disk", "io_uring"),
    ("requests", "127.0.0.1:9100"),
    ("peers_listen", "127.0.0.1:9200"),
    ("http", "127.0.0.1:8080"),
    ("grpc", "127.0.0.1:9000"),
    ("peers_requests", ""),
    ("peers", ""),
    ("webhooks", ""),
    ("clock_tolerance_ms", "500"),
];

#[cfg(test)]
mod tests;

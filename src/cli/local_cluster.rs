//! A cluster of real processes on this machine, for measuring and for tests. Its processes die with it.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use crate::client;
use crate::server::backend::Backend;
use crate::server::status::StatusReport;

/// The cluster's processes and where to find them.
#[derive(Debug)]
pub struct LocalCluster {
    program: PathBuf,
    folder: PathBuf,
    disk: Backend,
    /// How many of its nodes it is founded with; the others are to join.
    founders: usize,
    /// What `chronon format` is told beside that.
    format: &'static [&'static str],
    nodes: Vec<LocalNode>,
}

/// One node of the cluster.
#[derive(Debug)]
pub struct LocalNode {
    number: u16,
    requests: SocketAddr,
    peers: SocketAddr,
    http: SocketAddr,
    grpc: SocketAddr,
    process: Option<Child>,
}

/// Why there is no cluster.
#[derive(Debug, thiserror::Error)]
pub enum LocalClusterError {
    /// The operating system refused.
    #[error("cannot {what}: {cause}")]
    Io {
        /// What was being done.
        what: String,
        /// The system's word.
        cause: io::Error,
    },
    /// A node could not be formatted.
    #[error("node {number} was not formatted: {words}")]
    Format {
        /// The node.
        number: u16,
        /// What it said.
        words: String,
    },
    /// A node did not become ready.
    #[error("node {number} is not ready after {after:?}: {last}; its log is {}", .log.display())]
    NotReady {
        /// The node.
        number: u16,
        /// How long it had.
        after: Duration,
        /// What it said last.
        last: String,
        /// Where its log is.
        log: PathBuf,
    },
}

impl LocalCluster {
    /// Formats `size` nodes under `folder`, each with group 0 a bank, group 1 registers and group 2 a post office. None runs yet.
    ///
    /// # Errors
    /// [`LocalClusterError`] when a directory or a free port is not to be had.
    pub fn format(program: &Path, folder: &Path, size: u16) -> Result<Self, LocalClusterError> {
        let cluster = Self::at(program, folder, size)?;
        cluster.format_all()?;
        Ok(cluster)
    }

    /// Formats the directories of all nodes.
    ///
    /// # Errors
    /// As for [`LocalCluster::format_node`].
    pub fn format_all(&self) -> Result<(), LocalClusterError> {
        (0..self.size()).try_for_each(|index| self.format_node(index))
    }

    /// The cluster of `size` nodes that was formatted under `folder` before. None runs yet.
    ///
    /// # Errors
    /// [`LocalClusterError`] when a free port is not to be had.
    pub fn at(program: &Path, folder: &Path, size: u16) -> Result<Self, LocalClusterError> {
        let first = adjacent_ports(4 * size)?;
        let address = |offset| SocketAddr::from((Ipv4Addr::LOCALHOST, first + offset));
        let node = |number| LocalNode {
            number,
            requests: address(4 * number - 4),
            peers: address(4 * number - 3),
            http: address(4 * number - 2),
            grpc: address(4 * number - 1),
            process: None,
        };
        let nodes: Vec<LocalNode> = (1..=size).map(node).collect();
        let (program, folder, disk) = (program.to_owned(), folder.to_owned(), Backend::default());
        Ok(Self { program, folder, disk, founders: nodes.len(), format: &[], nodes })
    }

    /// The same, founded with the first nodes alone: these know of no others, and the others are to join.
    #[must_use]
    pub fn founded_with(mut self, founders: usize) -> Self {
        self.founders = founders;
        self
    }

    /// The same, formatted with groups for events: a catalog, and one of partitions for each of three nodes.
    #[must_use]
    pub fn for_events(mut self) -> Self {
        self.format = &EVENTS;
        self
    }

    /// The same, its disks driven by `disk`.
    #[must_use]
    pub fn on(mut self, disk: Backend) -> Self {
        self.disk = disk;
        self
    }

    /// How many nodes there are.
    pub fn size(&self) -> usize {
        self.nodes.len()
    }

    /// Where all nodes listen for requests.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.nodes.iter().map(|node| node.requests).collect()
    }

    /// Where a node, counted from 0, listens for peers.
    pub fn peer_address(&self, index: usize) -> SocketAddr {
        self.nodes[index].peers
    }

    /// Where a node, counted from 0, serves HTTP.
    pub fn http_address(&self, index: usize) -> SocketAddr {
        self.nodes[index].http
    }

    /// Where a node, counted from 0, serves gRPC.
    pub fn grpc_address(&self, index: usize) -> SocketAddr {
        self.nodes[index].grpc
    }

    /// Where a node, counted from 0, keeps its data.
    pub fn data_dir(&self, index: usize) -> PathBuf {
        self.folder.join(format!("node-{}", index + 1))
    }

    /// The process of a node, counted from 0, if it runs.
    pub fn process(&self, index: usize) -> Option<u32> {
        self.nodes[index].process.as_ref().map(Child::id)
    }

    /// Where a node, counted from 0, writes its log.
    pub fn log(&self, index: usize) -> PathBuf {
        self.folder.join(format!("node-{}.log", index + 1))
    }

    /// Starts a node, counted from 0.
    ///
    /// # Errors
    /// [`LocalClusterError::Io`] when the process cannot be started.
    pub fn start(&mut self, index: usize) -> Result<(), LocalClusterError> {
        let io = |cause| LocalClusterError::Io { what: format!("start node {}", index + 1), cause };
        let log = File::options().create(true).append(true).open(self.log(index)).map_err(io)?;
        let founders = self.nodes.iter().take(self.founders);
        let peers: Vec<String> = founders.map(|node| format!("{}={}", node.number, node.peers)).collect();
        let requests = self.nodes.iter().map(|node| format!("{}={}", node.number, node.requests));
        let requests: Vec<String> = requests.collect();
        let disk = self.disk.to_string();
        let node = &mut self.nodes[index];
        let child = Command::new(&self.program)
            .args(["serve", "--cluster", CLUSTER, "--node", &node.number.to_string()])
            .arg("--data-dir")
            .arg(self.folder.join(format!("node-{}", node.number)))
            .args(["--requests", &node.requests.to_string(), "--peers-listen", &node.peers.to_string()])
            .args(["--http", &node.http.to_string(), "--peers", &peers.join(","), "--disk", &disk])
            .args(["--grpc", &node.grpc.to_string(), "--peers-requests", &requests.join(",")])
            .args(["--webhooks", "http://127.0.0.1:*/"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .map_err(io)?;
        node.process = Some(child);
        Ok(())
    }

    /// Starts every node that does not run.
    ///
    /// # Errors
    /// As for [`LocalCluster::start`].
    pub fn start_all(&mut self) -> Result<(), LocalClusterError> {
        for index in 0..self.size() {
            if self.nodes[index].process.is_none() {
                self.start(index)?;
            }
        }
        Ok(())
    }

    /// Ends a node, counted from 0, without warning (`SIGKILL`).
    pub fn kill(&mut self, index: usize) {
        if let Some(mut child) = self.nodes[index].process.take() {
            // A process that has ended by itself cannot be killed, and is waited for all the same.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// How a node, counted from 0, has ended by itself; `None` while it runs or when it was never started or was killed.
    pub fn ended(&mut self, index: usize) -> Option<ExitStatus> {
        self.nodes[index].process.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Waits until all nodes say that they are ready.
    ///
    /// # Errors
    /// [`LocalClusterError::NotReady`], which names the log of the node that is not.
    pub fn wait_ready(&self, patience: Duration) -> Result<Vec<StatusReport>, LocalClusterError> {
        let start = Instant::now();
        let mut reports = Vec::new();
        for (index, node) in self.nodes.iter().enumerate() {
            loop {
                let last = match client::status(node.requests, Duration::from_secs(1)) {
                    Ok(report) if report.ready => {
                        reports.push(report);
                        break;
                    }
                    Ok(report) => format!("it is {}", report.phase),
                    Err(error) => error.to_string(),
                };
                if start.elapsed() > patience {
                    let (number, log) = (node.number, self.log(index));
                    return Err(LocalClusterError::NotReady { number, after: patience, last, log });
                }
                thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(reports)
    }

    /// Formats the directory of a node, counted from 0, which must be empty, or not exist.
    ///
    /// # Errors
    /// [`LocalClusterError::Format`] with the words of `chronon format`.
    pub fn format_node(&self, index: usize) -> Result<(), LocalClusterError> {
        let node = &self.nodes[index];
        let founders = self.nodes.iter().take(self.founders);
        let voters: Vec<String> = founders.map(|node| node.number.to_string()).collect();
        let join = (index >= self.founders).then_some("--join");
        let output = Command::new(&self.program)
            .args([
                "format",
                "--cluster",
                CLUSTER,
                "--node",
                &node.number.to_string(),
                "--voters",
                &voters.join(","),
            ])
            .args(join)
            .args(self.format)
            .arg("--data-dir")
            .arg(self.folder.join(format!("node-{}", node.number)))
            .output()
            .map_err(|cause| LocalClusterError::Io {
                what: format!("run {}", self.program.display()),
                cause,
            })?;
        if output.status.success() {
            return Ok(());
        }
        let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(LocalClusterError::Format { number: node.number, words })
    }
}

impl Drop for LocalCluster {
    fn drop(&mut self) {
        for index in 0..self.size() {
            self.kill(index);
        }
    }
}

/// The first of `count` free ports that follow each other, below the range from which the system takes ports for
/// outgoing connections: a node that is down for a while finds its own free again. No process that asks here is ever given
/// what another was given; should somebody else take one all the same, the node says so and ends.
pub(super) fn adjacent_ports(count: u16) -> Result<u16, LocalClusterError> {
    let io = |cause| LocalClusterError::Io { what: "find free ports".to_owned(), cause };
    let mut held = HELD_BLOCKS.lock().unwrap_or_else(PoisonError::into_inner);
    let first = held.last_mut().and_then(|block| block.take(count)).or_else(|| {
        let mut block = PortBlock::hold()?;
        let first = block.take(count);
        held.push(block);
        first
    });
    first.ok_or_else(|| io(io::ErrorKind::AddrNotAvailable.into()))
}

/// Ports of this process alone.
struct PortBlock {
    /// Listens on the block's first port: while it lives, no other process can hold the block.
    _mark: TcpListener,
    unused: Range<u16>,
}

impl PortBlock {
    /// The first block that nobody holds. Each process begins to look elsewhere.
    fn hold() -> Option<Self> {
        let blocks = (PORTS.end - PORTS.start) / BLOCK_PORTS;
        let begin = u16::try_from(std::process::id() % u32::from(blocks)).unwrap_or_default();
        (begin..blocks).chain(0..begin).find_map(|block| {
            let first = PORTS.start + block * BLOCK_PORTS;
            let mark = listen(first).ok()?;
            Some(Self { _mark: mark, unused: first + 1..first + BLOCK_PORTS })
        })
    }

    fn take(&mut self, count: u16) -> Option<u16> {
        let mut firsts = self.unused.start..=self.unused.end.checked_sub(count)?;
        let first = firsts.find(|first| (*first..first + count).all(|port| listen(port).is_ok()))?;
        self.unused.start = first + count;
        Some(first)
    }
}

fn listen(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

/// Those that this process has come to need.
static HELD_BLOCKS: Mutex<Vec<PortBlock>> = Mutex::new(Vec::new());

/// Ports of a block: those of a cluster follow each other within one.
const BLOCK_PORTS: u16 = 100;
/// Where ports are looked for.
const PORTS: Range<u16> = 20_000..30_000;
/// The cluster that all of these nodes belong to, in hex.
pub const CLUSTER: &str = "10ca1";
const EVENTS: [&str; 10] = [
    "--group",
    "0:catalog",
    "--group",
    "1:events",
    "--group",
    "2:events",
    "--group",
    "3:events",
    "--archive",
    "4194304:256",
];

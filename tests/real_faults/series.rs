//! A single node with one client, who writes numbers that count upwards: how far they were asked for, how far acknowledged.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronon::cli::local_cluster::LocalCluster;
use chronon::client::{Client, ClientConfig, ClientError};
use chronon::server::backend::Backend;
use chronon_core::register::{RegisterAnswer, RegisterCommand};
use chronon_core::types::{Blob, GroupId};

use crate::folder::{CHRONON, log_of};

/// Starts the node, run by `program`.
pub fn start(program: &Path, folder: &Path, disk: Backend) -> LocalCluster {
    let mut cluster = LocalCluster::at(program, folder, 1).unwrap().on(disk);
    cluster.start(0).unwrap();
    cluster
}

/// Starts the node as it is, and waits until it is ready.
pub fn start_sound(folder: &Path, disk: Backend) -> LocalCluster {
    let cluster = start(Path::new(CHRONON), folder, disk);
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    cluster
}

/// A client that gives up after so long.
pub fn client(cluster: &LocalCluster, patience: Duration) -> Client {
    let config = ClientConfig::new(cluster.addresses());
    Client::new(ClientConfig { request_timeout: patience, ..config })
}

/// Formats a node, and starts it; once it has written a little, and made all files that it wants for now.
pub fn start_new(folder: &Path, disk: Backend, series: &mut Series) -> LocalCluster {
    LocalCluster::format(Path::new(CHRONON), folder, 1).unwrap();
    let cluster = start_sound(folder, disk);
    let mut client = client(&cluster, Duration::from_secs(10));
    (0..5).for_each(|_| series.write(&mut client, SHORT).unwrap());
    // The reserve comes last.
    let reserve = cluster.data_dir(0).join("reserve");
    wait_until("the reserve is made", || reserve.metadata().is_ok_and(|reserve| reserve.len() > 0));
    cluster
}

pub fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < Duration::from_secs(20), "waited in vain until {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until the node has ended by itself, and looks into its log for why.
pub fn assert_halts_for_an_io_error(cluster: &mut LocalCluster) {
    wait_until("the node has halted", || cluster.ended(0).is_some());
    let words = log_of(cluster, 0);
    let last = words.trim().lines().last().unwrap_or_default();
    assert!(last.contains("the node has halted: a disk operation failed"), "{words}");
    let is_named = words.lines().any(|line| line.contains("ERROR") && line.contains("Input/output error"));
    assert!(is_named, "{words}");
}

/// The numbers that were written.
#[derive(Debug, Default)]
pub struct Series {
    asked: u64,
    acknowledged: u64,
}

impl Series {
    /// Writes the next number, in so many bytes.
    pub fn write(&mut self, client: &mut Client, bytes: usize) -> Result<(), ClientError> {
        self.asked += 1;
        let mut value = self.asked.to_le_bytes().to_vec();
        value.resize(bytes, 0);
        let command = RegisterCommand::Write { key: key(), value: Blob::from(value) };
        assert_eq!(client.register(REGISTERS, &command)?, RegisterAnswer::Written);
        self.acknowledged = self.asked;
        Ok(())
    }

    /// Writes until a write is not acknowledged, and says what was heard instead. Nobody knows what becomes of that one:
    /// nothing may follow it before the next start.
    pub fn write_until_silence(&mut self, cluster: &LocalCluster, bytes: usize) -> String {
        let mut client = client(cluster, Duration::from_secs(5));
        let error = (0..WRITES_MAX).find_map(|_| self.write(&mut client, bytes).err());
        let Some(ClientError::TimedOut { last, .. }) = error else {
            panic!("writes end with {error:?}, after {self:?}");
        };
        last
    }

    /// The last number that was acknowledged is there, or a later one that was asked for.
    pub fn assert_kept(&self, cluster: &LocalCluster) {
        let read = RegisterCommand::Read { key: key() };
        let answer = client(cluster, Duration::from_secs(10)).register(REGISTERS, &read).unwrap();
        let RegisterAnswer::Value(value) = answer else { panic!("a read was answered by {answer:?}") };
        let found = value.map_or(0, |value| u64::from_le_bytes(value.as_slice()[..8].try_into().unwrap()));
        assert!(found >= self.acknowledged, "LOST: {found} is there of {self:?}");
        assert!(found <= self.asked, "INVENTED: {found} is there of {self:?}");
    }
}

/// Bytes of a write of which a segment holds few.
pub const LONG: usize = 60 << 10;
/// Bytes of one that is none of these.
pub const SHORT: usize = 100;

/// A new data directory holds the register in this group.
const REGISTERS: GroupId = GroupId::new(1);

fn key() -> Blob {
    Blob::from(b"series".to_vec())
}

/// Far more than a full journal holds of [`LONG`] ones.
const WRITES_MAX: u64 = 5_000;

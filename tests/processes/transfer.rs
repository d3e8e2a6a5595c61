//! A node is away until the others have let go of what it lacks: it comes back by a snapshot of theirs. Then its own snapshots
//! rot: it comes back by theirs once more.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronon::cli::local_cluster::LocalCluster;
use chronon_core::engine::EngineConfig;
use chronon_core::register::RegisterCommand;
use chronon_core::types::Blob;

use crate::folder::{Folder, log_of};
use crate::load;
use crate::support::{assert_replicas_converge, cluster_of_three};

/// Bytes of a value.
const VALUE_BYTES: u64 = 60 << 10;
const WRITERS: u64 = 16;

#[test]
fn a_node_comes_back_by_a_snapshot_of_its_peers() {
    let folder = Folder::new("transfer");
    let mut cluster = cluster_of_three(&folder);
    load::open_accounts(&mut load::client(cluster.addresses()));
    cluster.kill(2);
    write_more_than_a_journal_holds(&cluster.addresses()[..2]);
    assert_comes_back(&mut cluster);
    assert_logged(&cluster, 0, "the journal was too long to wait for this voter");

    cluster.kill(2);
    let rotten = rot_snapshots(&cluster.data_dir(2));
    assert!(rotten > 0, "it had fetched a snapshot");
    assert_comes_back(&mut cluster);
    for line in
        ["the group's snapshot is lost here, and is fetched from a peer", "the group has a snapshot again"]
    {
        assert_logged(&cluster, 2, line);
    }
}

/// Until the oldest segments are let go, although a voter has not got what is in them.
fn write_more_than_a_journal_holds(addresses: &[SocketAddr]) {
    let EngineConfig { segment_bytes, sealed_segments_max, .. } = EngineConfig::default();
    let writes = (u64::from(sealed_segments_max) + 3) * segment_bytes / VALUE_BYTES;
    let write = |writer| {
        let mut client = load::client(addresses.to_vec());
        for _ in 0..writes / WRITERS {
            let key = Blob::from(format!("key-{writer}").into_bytes());
            let value = Blob::from(vec![7; usize::try_from(VALUE_BYTES).unwrap()]);
            client.register(load::REGISTERS, &RegisterCommand::Write { key, value }).unwrap();
        }
    };
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || write(writer));
        }
    });
}

/// The node that was killed comes back, and has applied what the others have.
fn assert_comes_back(cluster: &mut LocalCluster) {
    cluster.start_all().unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    assert_replicas_converge(cluster);
}

/// A line is logged now and then, when something has changed.
fn assert_logged(cluster: &LocalCluster, index: usize, line: &str) {
    let start = Instant::now();
    while !log_of(cluster, index).contains(line) {
        assert!(start.elapsed() < Duration::from_secs(5), "not logged: {line}: {}", log_of(cluster, index));
        thread::sleep(Duration::from_millis(50));
    }
}

/// Changes a byte in every snapshot; how many there are.
fn rot_snapshots(data_dir: &Path) -> usize {
    let mut rotten = 0;
    for file in std::fs::read_dir(data_dir.join("snapshots")).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = std::fs::read(&path).unwrap();
        if let Some(byte) = bytes.get_mut(200) {
            *byte ^= 1;
            rotten += 1;
            std::fs::write(path, bytes).unwrap();
        }
    }
    rotten
}

//! Archives on real disks: entries are found by op and time on every node, and a chunk that rots is named offline and comes back
//! from a peer.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use chronon::cli::local_cluster::{CLUSTER, LocalCluster};
use chronon_core::register::RegisterCommand;
use chronon_core::types::Blob;
use serde_json::Value;

use crate::folder::{CHRONON, Folder};
use crate::load;

fn chronon(arguments: &[&str]) -> (Output, Value) {
    let output = Command::new(CHRONON).args(["-o", "json"]).args(arguments).output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, said)
}

/// Three nodes that archive in short chunks.
fn archiving_cluster(folder: &Folder) -> LocalCluster {
    let mut cluster = LocalCluster::at(Path::new(CHRONON), folder.path(), 3).unwrap();
    for index in 0..3 {
        let (path, node) = (cluster.data_dir(index), (index + 1).to_string());
        let words = [
            "format",
            "--data-dir",
            path.to_str().unwrap(),
            "--cluster",
            CLUSTER,
            "--node",
            &node,
            "--voters",
            "1,2,3",
            "--archive",
            "16384:1000",
        ];
        let (output, _) = chronon(&words);
        assert!(output.status.success(), "{output:?}");
    }
    cluster.start_all().unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    cluster
}

/// Entries of register commands, each in an entry of its own.
fn write(addresses: Vec<SocketAddr>, count: u64) {
    let mut client = load::client(addresses);
    for number in 0..count {
        let key = Blob::from(format!("key-{}", number % 7).into_bytes());
        let value = Blob::from(vec![b'v'; 200]);
        client.register(load::REGISTERS, &RegisterCommand::Write { key, value }).unwrap();
    }
}

/// Asks one node, until it answers.
fn entry(address: SocketAddr, at: &[&str]) -> Value {
    let (address, start) = (address.to_string(), Instant::now());
    loop {
        let group = load::REGISTERS.get().to_string();
        let mut words = vec!["log", "entry", "--nodes", &address, "--group", &group];
        words.extend(at);
        let (output, said) = chronon(&words);
        if output.status.success() {
            return said;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{output:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn chunks(data_dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(data_dir.join("archive")).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn archived_entries_are_found_everywhere_and_come_back_when_they_rot() {
    let folder = Folder::new("archive");
    let mut cluster = archiving_cluster(&folder);
    let addresses = cluster.addresses();
    write(addresses.clone(), 600);
    for op in ["2", "57", "333"] {
        let found = entry(addresses[0], &["--op", op]);
        assert_eq!(found["op"].to_string(), op);
        let time = found["time"].to_string();
        for address in &addresses {
            assert_eq!(entry(*address, &["--op", op]), found, "node {address}");
            assert_eq!(entry(*address, &["--time", &time]), found, "node {address}");
        }
    }

    cluster.kill(2);
    let path = cluster.data_dir(2);
    let (output, said) = chronon(&["log", "verify", path.to_str().unwrap()]);
    assert!(output.status.success() && said["sound"] == true, "{said}");
    let files = chunks(&path);
    assert!(files.len() > 8, "{} chunks", files.len());
    assert_eq!(fs::read(&files[3]).unwrap(), fs::read(&chunks(&cluster.data_dir(0))[3]).unwrap());

    let (_, dumped) = chronon(&["log", "dump", path.to_str().unwrap()]);
    let chunk =
        dumped["chunks"].as_array().unwrap().iter().find(|chunk| chunk["chunk"] == 4).unwrap().clone();
    let whole = fs::read(&files[3]).unwrap();
    let mut bytes = whole.clone();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&files[3], bytes).unwrap();
    let output = Command::new(CHRONON).args(["log", "verify"]).arg(&path).output().unwrap();
    let words = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success() && words.contains("chunk 4 of the archive of group 1"), "{words}");

    cluster.start(2).unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    // Whoever looks there finds what rotted, and then what came in its place.
    for op in chunk["first"].as_u64().unwrap()..=chunk["last"].as_u64().unwrap() {
        let op = op.to_string();
        assert_eq!(entry(addresses[2], &["--op", &op]), entry(addresses[0], &["--op", &op]));
    }
    assert_eq!(fs::read(&files[3]).unwrap(), whole);
}

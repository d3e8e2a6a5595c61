//! An entry rots on one disk of three: it is named offline, repaired from a peer at the next start, and changed in
//! nothing by whoever looks at it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::folder::{CHRONON, Folder};
use crate::support::cluster_of_three;

/// Runs `chronon log verify` on a data directory.
fn verify(path: &Path) -> (Output, Value) {
    let output = Command::new(CHRONON).args(["-o", "json", "log", "verify"]).arg(path).output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, said)
}

/// Every file of a data directory, and what is in it.
fn contents(path: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for entry in std::fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.append(&mut contents(&path));
        } else if let Ok(bytes) = std::fs::read(&path) {
            // A node at work gives a file its name only once it is whole.
            files.insert(path, bytes);
        }
    }
    files
}

/// Flips a bit of each place where `text` stands in the journal at `path`.
fn rot(path: &Path, text: &[u8]) -> usize {
    let mut places = 0;
    for (file, mut bytes) in contents(&path.join("journal")) {
        let found: Vec<usize> =
            bytes.windows(text.len()).enumerate().filter(|(_, w)| *w == text).map(|(at, _)| at).collect();
        for at in &found {
            bytes[*at] ^= 1;
        }
        places += found.len();
        if !found.is_empty() {
            std::fs::write(file, bytes).unwrap();
        }
    }
    places
}

#[test]
fn an_entry_that_rots_on_one_disk_is_named_and_repaired_from_a_peer() {
    let folder = Folder::new("rot");
    let mut cluster = cluster_of_three(&folder);
    let nodes = cluster.addresses().iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    for value in ["before", "a-rotten-apple", "after", "and-after-that"] {
        let set = Command::new(CHRONON).args(["kv", "set", "k", value, "--nodes", &nodes]).output().unwrap();
        assert!(set.status.success(), "{set:?}");
    }
    // The entry is on this disk, and so is a flush behind it.
    let path = cluster.data_dir(2);
    let start = Instant::now();
    let holds = |text: &str| {
        let files = contents(&path.join("journal"));
        files.values().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
    };
    while !holds("and-after-that") {
        assert!(start.elapsed() < Duration::from_secs(10), "a backup does not get the entry");
        std::thread::sleep(Duration::from_millis(50));
    }
    let (output, _) = verify(&path);
    assert!(String::from_utf8_lossy(&output.stderr).contains("another process is using it"), "{output:?}");
    cluster.kill(2);
    assert_eq!(rot(&path, b"a-rotten-apple"), 1);

    let before = contents(&path);
    let (output, said) = verify(&path);
    assert!(!output.status.success() && said["sound"] == false, "{said}");
    let faulty: Vec<&Value> =
        said["groups"].as_array().unwrap().iter().map(|group| &group["faulty"]).collect();
    assert_eq!(faulty.iter().filter_map(|ops| ops.as_array()).map(Vec::len).sum::<usize>(), 1, "{said}");
    assert!(
        said["findings"][0].as_str().unwrap().contains("is rotten in its body; lost: group 1 op"),
        "{said}"
    );
    assert!(contents(&path) == before, "looking at it changed it");

    cluster.start(2).unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    let start = Instant::now();
    while !holds("a-rotten-apple") {
        assert!(start.elapsed() < Duration::from_secs(10), "the entry is not repaired");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(200));
    cluster.kill(2);
    let (output, said) = verify(&path);
    assert!(output.status.success() && said["sound"] == true, "{said}");
}

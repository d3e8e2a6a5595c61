//! A node's disk loses its power, goes away, or is full, on a filesystem of its own: nothing acknowledged is lost, and nobody
//! is told what is not so.

use std::fs::File;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use chronon::cli::local_cluster::LocalCluster;
use chronon::cli::loop_disk::LoopDisk;
use chronon::client;
use chronon::server::backend::Backend;
use chronon::server::status::StatusReport;
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use serde_json::Value;

use crate::folder::{CHRONON, Folder};
use crate::series::{
    LONG, SHORT, Series, assert_halts_for_an_io_error, client, start_new, start_sound, wait_until,
};

#[test]
fn what_was_acknowledged_survives_power_cuts_on_either_disk() {
    let folder = Folder::new("power-cut");
    let output = Command::new(CHRONON)
        .args(["-o", "json", "crash-test", "test", "--rounds", "6", "--power-cut", "--dir"])
        .arg(folder.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (disk, backend) in said["disks"].as_array().unwrap().iter().zip(["io_uring", "sync"]) {
        assert_eq!((&disk["disk"], &disk["rounds"]), (&Value::from(backend), &Value::from(6)));
        assert!(disk["acknowledged"].as_u64().unwrap() > 0, "{disk}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it tidies up");
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(folder.path().to_str().unwrap()), "{mounts}");
}

#[test]
fn a_node_whose_disk_goes_away_halts_and_says_so_on_either_disk() {
    for (backend, word) in Backend::WORDS {
        let folder = Folder::new(&format!("disk-gone-{word}"));
        let disk = loop_disk(&folder);
        let mut series = Series::default();
        let mut node = start_new(folder.path(), backend, &mut series);
        thread::scope(|scope| {
            scope.spawn(|| {
                thread::sleep(Duration::from_millis(300));
                disk.cut().unwrap();
            });
            series.write_until_silence(&node, SHORT)
        });
        assert_halts_for_an_io_error(&mut node);
        drop(node);
        disk.restore().unwrap();
        series.assert_kept(&start_sound(folder.path(), backend));
    }
}

#[test]
fn a_node_on_a_full_disk_refuses_and_goes_on_once_there_is_space_on_either_disk() {
    for (backend, word) in Backend::WORDS {
        let folder = Folder::new(&format!("disk-full-{word}"));
        let disk = loop_disk(&folder);
        let mut series = Series::default();
        let node = start_new(folder.path(), backend, &mut series);
        fill(disk.top());
        let refusal = series.write_until_silence(&node, LONG);
        assert!(refusal.contains("no space is left"), "{refusal}");
        assert!(report(&node).full, "{:?}", report(&node));
        drop(node);

        // A start needs no space, and nothing that was acknowledged does.
        let mut node = start_sound(folder.path(), backend);
        std::fs::remove_file(disk.top().join(FILLER)).unwrap();
        wait_until("the node sees that there is space", || !report(&node).full);
        series.assert_kept(&node);
        let mut client = client(&node, Duration::from_secs(10));
        // More than the journal had room for.
        (0..1000).for_each(|_| series.write(&mut client, LONG).unwrap());
        assert!(node.ended(0).is_none());
        series.assert_kept(&node);
    }
}

/// A filesystem of its own for the node whose directory lies in `folder`.
fn loop_disk(folder: &Folder) -> LoopDisk {
    let disk = LoopDisk::make(&folder.path().join("disk")).unwrap();
    std::os::unix::fs::symlink(disk.top(), folder.path().join("node-1")).unwrap();
    disk
}

fn report(node: &LocalCluster) -> StatusReport {
    client::status(node.addresses()[0], Duration::from_secs(5)).unwrap()
}

/// Leaves less space than a segment takes.
fn fill(top: &Path) {
    let space = statvfs(top).unwrap();
    let file = File::create_new(top.join(FILLER)).unwrap();
    fallocate(&file, FallocateFlags::empty(), 0, space.f_bavail * space.f_frsize - (10 << 20)).unwrap();
}

const FILLER: &str = "filler";

//! System calls of a node on `SyncDisk` fail as on a bad disk: it halts at once and says so, and keeps what it acknowledged.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use chronon::cli::local_cluster::LocalCluster;
use chronon::server::backend::Backend;

use crate::folder::{CHRONON, Folder, log_of};
use crate::series::{
    LONG, SHORT, Series, assert_halts_for_an_io_error, client, start, start_new, start_sound, wait_until,
};

#[test]
fn a_call_that_fails_once_halts_the_node_and_loses_nothing() {
    // The manifest, as it is written at a start; a flush of the journal; a new file, its folder and its name. Which of the two
    // calls a write is depends on where its bytes happen to lie.
    let faults = [
        ("pwritev,pwrite64", "1", SHORT),
        ("pwritev,pwrite64", "40", SHORT),
        ("fsync", "1", LONG),
        ("fsync", "2", LONG),
        ("rename", "1", LONG),
    ];
    thread::scope(|scope| {
        for (call, number, bytes) in faults {
            scope.spawn(move || halts_and_loses_nothing(call, number, bytes));
        }
    });
}

fn halts_and_loses_nothing(call: &str, number: &str, bytes: usize) {
    let (folder, mut series, mut node) =
        start_injected(&format!("injected-{call}-{number}"), call, "EIO", number);
    series.write_until_silence(&node, bytes);
    assert_halts_for_an_io_error(&mut node);
    drop(node);
    series.assert_kept(&start_sound(folder.path(), Backend::Sync));
}

#[test]
fn a_call_that_is_interrupted_is_no_failure() {
    let (folder, mut series, mut node) = start_injected("interrupted", "pwritev,pwrite64", "EINTR", "3..9");
    let mut client = client(&node, Duration::from_secs(10));
    (0..20).for_each(|_| series.write(&mut client, SHORT).unwrap());
    assert!(node.ended(0).is_none());
    series.assert_kept(&node);
    let calls = folder.path().join("calls");
    wait_until("calls were interrupted", || fs::read_to_string(&calls).unwrap().contains("EINTR"));
}

#[test]
fn a_start_that_cannot_flush_the_disk_says_so() {
    let (folder, series, mut node) = start_injected("no-flush", "fdatasync", "EIO", "1");
    wait_until("the start has failed", || node.ended(0).is_some());
    let words = log_of(&node, 0);
    assert!(
        words.trim().ends_with("cannot flush what was written before: Input/output error (os error 5)"),
        "{words}"
    );
    drop(node);
    series.assert_kept(&start_sound(folder.path(), Backend::Sync));
}

/// A node that has written a little on a sound disk, started again with calls that fail.
fn start_injected(name: &str, calls: &str, error: &str, numbers: &str) -> (Folder, Series, LocalCluster) {
    let folder = Folder::new(name);
    let mut series = Series::default();
    drop(start_new(folder.path(), Backend::Sync, &mut series));
    let program = injecting(folder.path(), calls, error, numbers);
    let node = start(&program, folder.path(), Backend::Sync);
    (folder, series, node)
}

/// A program that runs `chronon`, lists calls of these kinds in the file `calls`, and has them fail by their number in each
/// thread.
fn injecting(folder: &Path, calls: &str, error: &str, numbers: &str) -> PathBuf {
    let path = folder.join("injecting");
    // The node is the process that is started, and strace its grandchild: so the node can be killed.
    let strace = format!(
        "strace -D -f --seccomp-bpf -o '{}' -e trace={calls} -e inject={calls}:error={error}:when={numbers}",
        folder.join("calls").display()
    );
    fs::write(&path, format!("#!/bin/sh\nexec {strace} '{CHRONON}' \"$@\"\n")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path
}

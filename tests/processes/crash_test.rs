//! `chronon crash-test`, the test that a user can run: nothing acknowledged is lost on either disk, damage is told, and
//! nothing but a test's directory is ever removed.

use std::process::{Command, Output};

use serde_json::Value;

use crate::folder::{CHRONON, Folder};

fn crash_test(arguments: &[&str]) -> (Output, Value) {
    let output = Command::new(CHRONON).args(["-o", "json", "crash-test"]).args(arguments).output().unwrap();
    let said = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, said)
}

#[test]
fn what_was_acknowledged_survives_kills_on_either_disk() {
    let folder = Folder::new("crash-test");
    let dir = folder.path().to_str().unwrap();
    let (output, said) = crash_test(&["test", "--dir", dir, "--rounds", "3"]);
    assert!(output.status.success(), "{output:?}");
    let disks = said["disks"].as_array().unwrap();
    assert_eq!(
        disks.iter().map(|disk| disk["disk"].as_str().unwrap()).collect::<Vec<_>>(),
        ["io_uring", "sync"]
    );
    for disk in disks {
        assert!(disk["acknowledged"].as_u64().unwrap() > 0, "{disk}");
        let in_flight = disk["survived"].as_u64().unwrap() + disk["gone"].as_u64().unwrap();
        assert!(in_flight > 0, "it was killed in the middle of writes: {disk}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "it tidies up");
}

#[test]
fn a_flipped_bit_is_told_or_made_up_for() {
    let folder = Folder::new("crash-test-flip");
    let dir = folder.path().to_str().unwrap();
    let (output, said) =
        crash_test(&["test", "--dir", dir, "--rounds", "4", "--disk", "sync", "--fault", "flip-bit"]);
    assert!(output.status.success(), "{output:?}");
    assert!(said["disks"][0]["damaged"].as_u64().unwrap() >= 2, "{said}");
    assert!(said["disks"][0]["told"].as_u64().unwrap() >= 1, "{said}");
}

#[test]
fn what_is_gone_is_lost_and_what_is_no_tests_is_left_alone() {
    let folder = Folder::new("crash-test-lost");
    let dir = folder.path().join("test");
    let dir = dir.to_str().unwrap();
    assert!(crash_test(&["clean", dir]).0.status.success());
    let (output, said) = crash_test(&["write", dir]);
    assert!(output.status.success() && said["acknowledged"].as_u64().unwrap() > 0, "{output:?}");
    assert!(crash_test(&["recover", dir]).0.status.success());
    // Other data in its place: all that was acknowledged is gone, and the node cannot know.
    let notes = std::fs::read(folder.path().join("test/crash-test.json")).unwrap();
    assert!(crash_test(&["clean", dir]).0.status.success());
    std::fs::write(folder.path().join("test/crash-test.json"), notes).unwrap();
    let (output, _) = crash_test(&["recover", dir]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && words.contains("LOST: key 0 holds write 0"), "{words}");

    std::fs::write(folder.path().join("mine"), "precious").unwrap();
    let (output, _) = crash_test(&["clean", folder.path().to_str().unwrap()]);
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && words.contains("is not empty, and no crash test's directory"),
        "{words}"
    );
    assert!(folder.path().join("mine").is_file());
    let (output, _) = crash_test(&["write", folder.path().to_str().unwrap()]);
    assert!(!output.status.success(), "it has no notes");
}

#[test]
fn what_a_power_cut_takes_is_named_where_it_is_lacking() {
    let folder = Folder::new("no-power-cut");
    let output = Command::new(CHRONON)
        .args(["crash-test", "test", "--power-cut", "--dir"])
        .arg(folder.path())
        .env("PATH", folder.path())
        .output()
        .unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && words.lines().count() == 1, "{words}");
    assert!(words.contains("mkfs.xfs (package xfsprogs), xfs_io (package xfsprogs)"), "{words}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

//! A disk is put back as it was, or wiped and formatted again: its node says nothing any more, and the others go on.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronon::cli::local_cluster::LocalCluster;
use chronon::client;
use chronon_core::bank::{BankAnswer, BankCommand};

use crate::folder::{Folder, log_of};
use crate::load;
use crate::support::cluster_of_three;

#[test]
fn a_node_whose_disk_was_put_back_is_mute() {
    let folder = Folder::new("put-back");
    let mut cluster = cluster_of_three(&folder);
    load::open_accounts(&mut load::client(cluster.addresses()));
    let (disk, copy) = (cluster.data_dir(2), folder.path().join("copy"));
    cluster.kill(2);
    copy_dir(&disk, &copy);
    cluster.start(2).unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();

    cluster.kill(2);
    std::fs::remove_dir_all(&disk).unwrap();
    std::fs::rename(&copy, &disk).unwrap();
    cluster.start(2).unwrap();
    assert_mute(&cluster, "was made on another copy of the disk");
    assert_others_serve(&cluster);

    // It knows from now on, whether or not anybody tells it again.
    (0..3).for_each(|index| cluster.kill(index));
    cluster.start(2).unwrap();
    assert_mute(&cluster, "was made on another copy of the disk");
}

#[test]
fn a_node_whose_disk_was_wiped_and_formatted_is_mute() {
    let folder = Folder::new("wiped");
    let mut cluster = cluster_of_three(&folder);
    load::open_accounts(&mut load::client(cluster.addresses()));
    cluster.kill(2);
    cluster.start(2).unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();

    cluster.kill(2);
    std::fs::remove_dir_all(cluster.data_dir(2)).unwrap();
    cluster.format_node(2).unwrap();
    cluster.start(2).unwrap();
    assert_mute(&cluster, "has heard start 2, and this is only start 1");
    assert_others_serve(&cluster);
}

/// The third node says so itself, with `why`.
fn assert_mute(cluster: &LocalCluster, why: &str) {
    let (address, start) = (cluster.addresses()[2], Instant::now());
    loop {
        let report = client::status(address, Duration::from_secs(1));
        let amnesia = report.as_ref().ok().and_then(|report| report.amnesia.clone());
        if let (Ok(report), Some(amnesia)) = (&report, &amnesia) {
            assert!(amnesia.contains(why), "{amnesia}");
            assert!(!report.ready);
            break;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "it is not mute: {report:?}");
        thread::sleep(Duration::from_millis(20));
    }
    while !log_of(cluster, 2).contains(why) {
        assert!(start.elapsed() < Duration::from_secs(20), "not logged: {}", log_of(cluster, 2));
        thread::sleep(Duration::from_millis(20));
    }
}

fn assert_others_serve(cluster: &LocalCluster) {
    // The mute one is asked first.
    let mut addresses = cluster.addresses();
    addresses.rotate_right(1);
    let mut client = load::client(addresses);
    let audit = client.bank(load::BANK, &BankCommand::Audit).unwrap();
    let total = load::ACCOUNTS * load::PAID_IN;
    assert_eq!(audit, BankAnswer::Audit { accounts: load::ACCOUNTS, total });
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, name) = entry.map(|entry| (entry.path(), entry.file_name())).unwrap();
        if path.is_dir() {
            copy_dir(&path, &to.join(name));
        } else {
            std::fs::copy(&path, to.join(name)).unwrap();
        }
    }
}

//! Members come and go: a node joins, one whose disk is lost is replaced, one leaves, and everything acknowledged stays.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use chronon::cli::local_cluster::LocalCluster;
use chronon_core::bank::{BankAnswer, BankCommand};
use serde_json::Value;

use crate::folder::{CHRONON, Folder};
use crate::load;

/// What a verb of `chronon cluster` answers, of these nodes.
fn cluster_verb(nodes: &[SocketAddr], words: &[&str]) -> Result<Value, String> {
    let nodes: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    let output = Command::new(CHRONON)
        .args(["-o", "json", "cluster"])
        .args(words)
        .args(["--nodes", &nodes.join(",")])
        .output()
        .unwrap();
    if output.status.success() {
        Ok(serde_json::from_slice(&output.stdout).unwrap())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The members of every group, and whether each votes.
fn members(nodes: &[SocketAddr]) -> Vec<Vec<(u64, bool)>> {
    let groups = cluster_verb(nodes, &["status"]).unwrap();
    let of = |group: &Value| {
        let members = group["members"].as_array().unwrap().iter();
        members.map(|member| (member["node"].as_u64().unwrap(), member["votes"].as_bool().unwrap())).collect()
    };
    groups.as_array().unwrap().iter().map(of).collect()
}

fn total(addresses: Vec<SocketAddr>) -> u64 {
    let start = Instant::now();
    loop {
        match load::client(addresses.clone()).bank(load::BANK, &BankCommand::Audit) {
            Ok(BankAnswer::Audit { total, .. }) => return total,
            other => assert!(start.elapsed() < Duration::from_secs(30), "{other:?}"),
        }
    }
}

#[test]
fn nodes_join_are_replaced_and_leave() {
    let folder = Folder::new("membership");
    let mut cluster = LocalCluster::at(Path::new(CHRONON), folder.path(), 5).unwrap().founded_with(3);
    (0..5).for_each(|index| cluster.format_node(index).unwrap());
    (0..4).for_each(|index| cluster.start(index).unwrap());
    let all = cluster.addresses();
    load::open_accounts(&mut load::client(all[..3].to_vec()));
    let paid_in = total(all[..3].to_vec());

    let fourth = cluster.peer_address(3).to_string();
    let added = cluster_verb(&all[..3], &["add", "4", "--address", &fourth]).unwrap();
    assert_eq!(
        added["changes"].as_array().unwrap().len(),
        6,
        "a learner and a voter in each of three groups"
    );
    assert_eq!(members(&all[..4]), vec![vec![(1, true), (2, true), (3, true), (4, true)]; 3]);
    let again = cluster_verb(&all[..3], &["add", "4", "--address", &fourth]).unwrap();
    assert_eq!(again["changes"].as_array().unwrap().len(), 0, "there is nothing left to do");

    for node in ["1", "3", "1"] {
        let led = cluster_verb(&all[..4], &["transfer", "1", node]).unwrap();
        assert_eq!(led["primary"].as_u64(), node.parse().ok(), "{led}");
    }
    let refused = cluster_verb(&all[..4], &["transfer", "1", "5"]).unwrap_err();
    assert!(refused.contains("node 5 has no vote: 1, 2, 3, 4 have one"), "{refused}");
    assert_eq!(total(all[..4].to_vec()), paid_in);

    // The first node is gone with its disk. Founders have never heard of the fifth, nor it of the fourth.
    cluster.kill(0);
    std::fs::remove_dir_all(cluster.data_dir(0)).unwrap();
    cluster.start(4).unwrap();
    let fifth = cluster.peer_address(4).to_string();
    cluster_verb(&all[1..4], &["replace", "1", "--by", "5", "--address", &fifth]).unwrap();
    cluster_verb(&all[1..], &["remove", "2"]).unwrap();
    assert_eq!(members(&all[2..]), vec![vec![(3, true), (4, true), (5, true)]; 3]);
    cluster.kill(1);
    assert_eq!(total(all[2..].to_vec()), paid_in);

    // They find each other after a restart as well, though no configuration says where.
    (2..5).for_each(|index| cluster.kill(index));
    (3..5).for_each(|index| cluster.start(index).unwrap());
    assert_eq!(total(all[3..].to_vec()), paid_in);

    let refused = cluster_verb(&all[3..], &["remove", "77"]).unwrap();
    assert_eq!(refused["changes"].as_array().unwrap().len(), 0, "it is no member");
}

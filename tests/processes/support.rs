//! What these tests share.

use std::net::SocketAddr;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use chronon::cli::local_cluster::LocalCluster;
use chronon::client::{self, ClientConfig};
use chronon::server::status::StatusReport;
use chronon_core::builtin::{BuiltinQuery, BuiltinView};
use chronon_core::kernel::SideEffectId;
use chronon_core::node::Freshness;
use chronon_core::post::Letter;
use chronon_core::types::GroupId;

use crate::folder::{CHRONON, Folder};
use crate::nemesis::assert_runs;

/// A cluster of three that is ready.
pub fn cluster_of_three(folder: &Folder) -> LocalCluster {
    let mut cluster = LocalCluster::format(Path::new(CHRONON), folder.path(), 3).unwrap();
    cluster.start_all().unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    cluster
}

/// Without load, all replicas of a group end up with the same log applied to the same effect.
pub fn assert_replicas_converge(cluster: &mut LocalCluster) {
    let start = Instant::now();
    loop {
        for index in 0..cluster.size() {
            assert_runs(cluster, index);
        }
        let patience = Duration::from_secs(5);
        let reports: Vec<StatusReport> =
            cluster.addresses().iter().map(|address| client::status(*address, patience).unwrap()).collect();
        let applied = |report: &StatusReport| -> Vec<(u32, u64, String)> {
            let groups = report.groups.iter();
            groups.map(|group| (group.group, group.applied, group.digest.clone())).collect()
        };
        let all: Vec<_> = reports.iter().map(applied).collect();
        if all.iter().all(|one| *one == all[0] && one.len() == 3) {
            assert!(all[0].iter().any(|(_, applied, _)| *applied > 0), "nothing was applied: {all:?}");
            return;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "replicas differ for 30 s: {all:#?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A letter of the post office is delivered within a minute.
pub fn assert_delivered(addresses: &[SocketAddr], letter: SideEffectId) {
    let config = ClientConfig::new(addresses.to_vec());
    let start = Instant::now();
    loop {
        let question = BuiltinQuery::Letter { letter };
        match client::query(&config, GroupId::new(2), &question, Freshness::Linearizable).unwrap() {
            (_, BuiltinView::Letter(Some(Letter::Delivered { .. }))) => return,
            (_, BuiltinView::Letter(Some(Letter::UnderWay))) => {}
            (op, other) => panic!("letter {letter} as of op {op}: {other:?}"),
        }
        assert!(start.elapsed() < Duration::from_secs(60), "letter {letter} is under way for a minute");
        thread::sleep(Duration::from_millis(20));
    }
}

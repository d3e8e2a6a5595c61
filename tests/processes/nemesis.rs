//! Whoever kills, pauses and restarts nodes at random.

use std::thread;
use std::time::{Duration, Instant};

use chronon::cli::local_cluster::LocalCluster;
use chronon_core::types::Prng;
use rustix::process::{Pid, Signal, kill_process};

/// What was done to the cluster.
#[derive(Debug, Default)]
pub struct Deeds {
    pub kills: usize,
    pub pauses: usize,
    /// Times that a majority was down.
    pub blackouts: usize,
}

/// Torments the cluster until `until`, then makes it whole again. A node that ended by itself fails the test.
pub fn torment(cluster: &mut LocalCluster, random: &mut Prng, until: Instant) -> Deeds {
    let mut deeds = Deeds::default();
    while Instant::now() < until {
        thread::sleep(Duration::from_millis(random.between(200, 1500)));
        let victim = usize::try_from(random.below(3)).unwrap();
        match random.below(6) {
            0..=2 => {
                kill(cluster, &[victim], &mut deeds);
                thread::sleep(Duration::from_millis(random.below(1500)));
            }
            3 => {
                kill(cluster, &[victim, (victim + 1) % 3], &mut deeds);
                deeds.blackouts += 1;
                thread::sleep(Duration::from_millis(random.below(800)));
            }
            4 => {
                kill(cluster, &[0, 1, 2], &mut deeds);
                deeds.blackouts += 1;
                thread::sleep(Duration::from_millis(random.below(400)));
            }
            _ => {
                signal(cluster, victim, Signal::STOP);
                thread::sleep(Duration::from_millis(random.between(200, 2500)));
                signal(cluster, victim, Signal::CONT);
                deeds.pauses += 1;
            }
        }
        cluster.start_all().unwrap();
    }
    deeds
}

fn kill(cluster: &mut LocalCluster, victims: &[usize], deeds: &mut Deeds) {
    for victim in victims {
        assert_runs(cluster, *victim);
        cluster.kill(*victim);
        deeds.kills += 1;
    }
}

fn signal(cluster: &mut LocalCluster, victim: usize, signal: Signal) {
    assert_runs(cluster, victim);
    let process = cluster.process(victim).unwrap();
    let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}

/// Fails when a node has ended without being killed: it halted or panicked.
pub fn assert_runs(cluster: &mut LocalCluster, index: usize) {
    let ended = cluster.ended(index);
    let log = std::fs::read_to_string(cluster.log(index)).unwrap();
    let last: Vec<&str> = log.lines().rev().take(5).collect();
    assert!(
        ended.is_none(),
        "node {} ended by itself ({ended:?}); its log ends, last line first: {last:#?}",
        index + 1
    );
}

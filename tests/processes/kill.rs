//! Three processes under load are killed and paused at random; then the books are checked.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crate::folder::Folder;
use crate::load::{self, Load};
use crate::nemesis::{Deeds, torment};
use crate::support::{assert_replicas_converge, cluster_of_three};
use chronon_core::bank::{BankAnswer, BankCommand};
use chronon_core::types::Prng;
use chronon_sim::checker::{History, Limits, Verdict, check};

#[test]
fn nothing_is_lost_or_doubled_while_nodes_are_killed_and_paused() {
    let folder = Folder::new("kill");
    let mut cluster = cluster_of_three(&folder);
    let mut first = load::client(cluster.addresses());
    load::open_accounts(&mut first);
    let shared = Arc::new(Load::default());
    let clients: Vec<_> = (0..6)
        .map(|process| {
            let (shared, addresses) = (Arc::clone(&shared), cluster.addresses());
            let work = if process < 4 { load::use_registers } else { load::use_bank };
            thread::spawn(move || work(&shared, process, addresses))
        })
        .collect();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let deeds = torment(&mut cluster, &mut Prng::from_key(seed), Instant::now() + span());
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    // After the last harm there must be progress again.
    let answered = shared.history.answered();
    thread::sleep(Duration::from_secs(2));
    assert!(shared.history.answered() > answered, "nothing is answered although all nodes run");
    shared.stop.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().unwrap();
    }
    let audit = load::client(cluster.addresses()).bank(load::BANK, &BankCommand::Audit).unwrap();
    let total = load::ACCOUNTS * load::PAID_IN;
    assert_eq!(audit, BankAnswer::Audit { accounts: load::ACCOUNTS, total }, "money came or went");
    assert_replicas_converge(&mut cluster);
    tell(&shared, &deeds);
    assert_enough_was_tried(&shared, &deeds);
    assert_linearizable(&shared, &folder);
}

/// A minute, or a quarter of one when somebody waits.
fn span() -> Duration {
    let quick = std::env::var("CHRONON_QUICK").is_ok_and(|quick| quick == "1");
    Duration::from_secs(if quick { 15 } else { 60 })
}

fn tell(load: &Load, deeds: &Deeds) {
    println!(
        "{} register operations answered, {} unknown; {:?} transfers, {:?} audits; {deeds:?}",
        load.history.answered(),
        load.history.without_answer(),
        load.transfers,
        load.audits
    );
}

/// A test that tried nothing proves nothing.
fn assert_enough_was_tried(load: &Load, deeds: &Deeds) {
    assert!(deeds.kills >= 4, "only {} kills", deeds.kills);
    let answered = load.history.answered();
    assert!(answered >= 1000, "only {answered} register operations were answered");
    assert!(load.transfers.load(Ordering::Relaxed) >= 100, "hardly a transfer took place");
    assert!(load.audits.load(Ordering::Relaxed) >= 10, "hardly an audit took place");
}

fn assert_linearizable(load: &Load, folder: &Folder) {
    let text = load.history.text();
    let path = folder.path().join("history.jsonl");
    std::fs::write(&path, &text).unwrap();
    let history = History::read(&text).unwrap();
    let verdict = check("cas-register", &history, Limits::default()).unwrap();
    let Verdict::Linearizable { keys, operations } = verdict else {
        panic!("the history in {} is not linearizable: {verdict:?}", path.display());
    };
    println!("linearizable: {operations} operations on {keys} keys");
}

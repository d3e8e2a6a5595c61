//! The verbs of the event database, against three processes of which one is killed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use chronon::cli::local_cluster::LocalCluster;
use serde_json::Value;

use crate::folder::{CHRONON, Folder};

/// What a verb answers, a value a line.
fn verb(cluster: &LocalCluster, node: usize, words: &[&str]) -> Result<Vec<Value>, String> {
    // Nobody is at the first address.
    let server = format!("http://127.0.0.1:1,http://{}", cluster.grpc_address(node));
    let output =
        Command::new(CHRONON).args(["-o", "json"]).args(words).args(["--server", &server]).output().unwrap();
    if output.status.success() {
        let lines = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect())
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

#[test]
fn an_event_is_scheduled_at_one_node_and_consumed_at_another_after_a_third_was_killed() {
    let folder = Folder::new("events");
    let mut cluster = LocalCluster::at(Path::new(CHRONON), folder.path(), 3).unwrap().for_events();
    cluster.format_all().unwrap();
    cluster.start_all().unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();

    let missing = verb(&cluster, 0, &["publish", "orders", "one"]).unwrap_err();
    assert!(missing.contains("no such topic: orders; `chronon topic create` makes one"), "{missing}");
    verb(&cluster, 0, &["topic", "create", "orders"]).unwrap();
    let published = verb(&cluster, 0, &["publish", "orders", "one", "--id", "a", "--in", "2s"]).unwrap();
    let due = published[0]["due"].as_i64().unwrap();
    assert!((now_ms() + 1..now_ms() + 3000).contains(&due), "{published:?}");
    let again = verb(&cluster, 1, &["publish", "orders", "one", "--id", "a"]).unwrap();
    assert_eq!(again[0]["status"], "duplicate");
    verb(&cluster, 1, &["publish", "orders", "two", "--id", "b", "--in", "1h"]).unwrap();
    assert_eq!(verb(&cluster, 2, &["event", "show", "orders", "b"]).unwrap()[0]["state"], "SCHEDULED");
    let scheduled = verb(&cluster, 2, &["schedule", "list", "orders"]).unwrap();
    assert_eq!((&scheduled[0][0]["id"], &scheduled[0][1]["id"]), (&"a".into(), &"b".into()));
    verb(&cluster, 2, &["schedule", "cancel", "orders", "b"]).unwrap();

    let listed = verb(&cluster, 2, &["event", "list", "orders", "--state", "scheduled"]).unwrap();
    assert_eq!(listed[0].as_array().unwrap().len(), 1, "{listed:?}");
    assert_eq!(listed[0][0]["id"], "a");
    let groupless = verb(&cluster, 2, &["event", "list", "orders", "--state", "dead"]).unwrap_err();
    assert!(groupless.contains("--group"), "{groupless}");
    let altered = verb(&cluster, 1, &["topic", "alter", "orders", "--dedup-window", "1h"]).unwrap();
    assert_eq!((&altered[0]["dedup_window_ms"], &altered[0]["revision"]), (&3_600_000.into(), &2.into()));
    let nothing = verb(&cluster, 1, &["topic", "alter", "orders"]).unwrap_err();
    assert!(nothing.contains("--dedup-window"), "{nothing}");

    cluster.kill(0);
    let words = ["subscribe", "orders", "--group", "g", "--count", "1", "--wait", "30s"];
    let delivered = verb(&cluster, 1, &words).unwrap();
    assert_eq!((&delivered[0]["id"], &delivered[0]["payload"]), (&"a".into(), &"one".into()));
    assert!(now_ms() >= due, "it came {} ms early", due - now_ms());
    assert_eq!(verb(&cluster, 2, &["event", "show", "orders", "a"]).unwrap()[0]["state"], "PROCESSED");
    assert_eq!(verb(&cluster, 2, &["event", "show", "orders", "b"]).unwrap()[0]["state"], "CANCELLED");
    let watched = verb(&cluster, 2, &["event", "watch", "orders", "a"]).unwrap();
    assert_eq!((&watched[0]["state"], &watched[1]["steps"]), (&"PROCESSED".into(), &1.into()));
    let lag = verb(&cluster, 2, &["topic", "lag", "orders", "g"]).unwrap();
    assert_eq!((&lag[0]["lag"], lag[0]["partitions"].as_array().unwrap().len()), (&0.into(), 3));
    let late = verb(&cluster, 2, &["schedule", "cancel", "orders", "a"]).unwrap_err();
    assert!(late.contains("not scheduled any more: it is ready"), "{late}");

    cluster.start(0).unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    let topic = &verb(&cluster, 0, &["topic", "describe", "orders"]).unwrap()[0];
    assert_eq!((&topic["groups"][0]["group"], &topic["groups"][0]["lag"]), (&"g".into(), &0.into()));
    let published = topic["partitions"].as_array().unwrap().iter();
    assert_eq!(published.map(|row| row["published"].as_i64().unwrap()).sum::<i64>(), 2);
}

#[test]
fn a_worker_claims_at_one_node_and_ends_at_others_though_one_was_killed() {
    let folder = Folder::new("effects");
    let mut cluster = LocalCluster::at(Path::new(CHRONON), folder.path(), 3).unwrap().for_events();
    cluster.format_all().unwrap();
    cluster.start_all().unwrap();
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    verb(&cluster, 0, &["topic", "create", "jobs"]).unwrap();
    for id in ["a", "b", "c"] {
        verb(&cluster, 0, &["publish", "jobs", "work", "--id", id]).unwrap();
    }

    let words = ["effect", "claim", "jobs", "w", "--worker", "anne", "--count", "3", "--within", "10s"];
    let mut held = Vec::new();
    while held.len() < 3 {
        held.extend(verb(&cluster, 0, &words).unwrap()[0].as_array().unwrap().clone());
    }
    let deliveries: Vec<String> =
        held.iter().map(|held| held["delivery"].as_str().unwrap().to_owned()).collect();
    cluster.kill(0);

    verb(&cluster, 1, &["effect", "renew", &deliveries[0]]).unwrap();
    verb(&cluster, 1, &["effect", "complete", &deliveries[0]]).unwrap();
    let late = verb(&cluster, 2, &["effect", "complete", &deliveries[0]]).unwrap_err();
    assert!(late.contains("is not being delivered"), "{late}");
    verb(&cluster, 2, &["effect", "fail", &deliveries[1], "no paper", "--give-up"]).unwrap();
    verb(&cluster, 2, &["effect", "fail", &deliveries[2], "later", "--retry-in", "1h"]).unwrap();
    let listed = verb(&cluster, 1, &["effect", "list", "jobs", "w"]).unwrap();
    let listed = listed[0].as_array().unwrap();
    let states: Vec<&str> = listed.iter().map(|row| row["state"].as_str().unwrap()).collect();
    assert_eq!(states, ["FAILED_RETRYABLE", "FAILED_TERMINAL"], "{listed:?}");
    assert_eq!(listed[1]["why"], "no paper");
    let letter = listed[1]["letter"].as_str().unwrap();
    assert_eq!(verb(&cluster, 1, &["effect", "retry", "jobs", "w", letter]).unwrap()[0]["retried"], 1);
    let abandoned = verb(&cluster, 1, &["effect", "abandon", "jobs", "w", letter]).unwrap();
    assert_eq!(abandoned[0]["abandoned"], 0, "it is delivered again");

    let rated = ["endpoint", "set", "jobs", "e", "topic:copies", "--rate", "2000000"];
    let refused = verb(&cluster, 1, &rated).unwrap_err();
    assert!(refused.contains("its rate must be 1 to 1000000 events a second"), "{refused}");
}

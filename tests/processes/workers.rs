//! Workers pull side effects from three processes that are killed and paused; some workers dawdle, and some forget what they have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use chronon::client::{Client, ClientConfig, ClientError, Worker};
use chronon_core::kernel::{Attempt, Retry, SideEffectId};
use chronon_core::post::{PostAnswer, PostCommand};
use chronon_core::types::{Blob, GroupId, Nanos, Prng};

use crate::folder::{CHRONON, Folder};
use crate::nemesis::torment;
use crate::support::{assert_delivered, assert_replicas_converge, cluster_of_three};

const POST: GroupId = GroupId::new(2);

/// Where workers have what they do take effect: once a key, and never under a lower token than before.
#[derive(Debug, Default)]
struct Sink {
    effects: BTreeMap<SideEffectId, Vec<u8>>,
    token: u64,
    repeated: u64,
    fenced: u64,
    stale: u64,
    recorded: u64,
}

impl Sink {
    /// Whether it takes effect, or did before.
    fn take(&mut self, attempt: &Attempt) -> bool {
        if attempt.token.0 < self.token {
            self.fenced += 1;
            return false;
        }
        self.token = attempt.token.0;
        let known = self.effects.insert(attempt.id, attempt.side_effect.body().as_slice().to_vec());
        self.repeated += u64::from(known.is_some());
        true
    }
}

#[test]
fn every_job_is_executed_once_while_nodes_are_killed_and_workers_forget() {
    let folder = Folder::new("workers");
    let mut cluster = cluster_of_three(&folder);
    let (sink, stop) = (Arc::new(Mutex::new(Sink::default())), Arc::new(AtomicBool::new(false)));
    let working: Vec<_> = (0..3_u64)
        .map(|worker| {
            let (sink, stop, addresses) = (Arc::clone(&sink), Arc::clone(&stop), cluster.addresses());
            thread::spawn(move || work(worker, &addresses, &sink, &stop))
        })
        .collect();
    let done = Arc::new(AtomicBool::new(false));
    let posting = {
        let (done, addresses) = (Arc::clone(&done), cluster.addresses());
        thread::spawn(move || post_jobs(&addresses, &done))
    };
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let deeds = torment(&mut cluster, &mut Prng::from_key(seed), Instant::now() + Duration::from_secs(8));
    done.store(true, Ordering::Relaxed);
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    let jobs = posting.join().unwrap();
    jobs.keys().for_each(|job| assert_delivered(&cluster.addresses(), *job));
    stop.store(true, Ordering::Relaxed);
    working.into_iter().for_each(|worker| worker.join().unwrap());
    assert_replicas_converge(&mut cluster);
    let sink = sink.lock().unwrap();
    for (job, body) in &jobs {
        assert_eq!(sink.effects.get(job), Some(body), "job {job}");
    }
    let bodies: BTreeSet<&Vec<u8>> = sink.effects.values().collect();
    assert_eq!(bodies.len(), sink.effects.len(), "a job was executed under two keys");
    let Sink { repeated, fenced, stale, recorded, .. } = *sink;
    let accepted = jobs.len();
    println!(
        "{accepted} jobs, {repeated} repeated, {fenced} fenced, {stale} stale, {recorded} recorded, {deeds:?}"
    );
    assert!(accepted >= 30 && recorded >= 30, "only {accepted} jobs were accepted, {recorded} recorded");
    assert!(repeated > 0 && stale > 0, "nothing was granted again");
}

/// Executes what it is granted; forgets every seventh, and dawdles over every fifth.
fn work(worker: u64, addresses: &[SocketAddr], sink: &Mutex<Sink>, stop: &AtomicBool) {
    let config =
        ClientConfig { request_timeout: Duration::from_secs(2), ..ClientConfig::new(addresses.to_vec()) };
    let lease = Duration::from_millis(300);
    let mut own = Worker::new(config, POST, "jobs".to_owned(), lease);
    let mut count = worker;
    while !stop.load(Ordering::Relaxed) {
        let granted = match own.claim(2) {
            Ok(granted) => granted,
            Err(ClientError::TimedOut { .. }) => continue,
            Err(error) => panic!("{error}"),
        };
        if granted.is_empty() {
            thread::sleep(Duration::from_millis(20));
        }
        for attempt in granted {
            count += 1;
            let took_effect = sink.lock().unwrap().take(&attempt);
            if count.is_multiple_of(7) {
                continue;
            }
            if count.is_multiple_of(5) {
                thread::sleep(lease * 2);
            }
            let told = if took_effect {
                own.complete(&attempt, b"done".to_vec())
            } else {
                own.fail(&attempt, b"fenced".to_vec(), Duration::ZERO)
            };
            let mut sink = sink.lock().unwrap();
            match told {
                Ok(()) => sink.recorded += 1,
                Err(ClientError::Stale { .. }) => sink.stale += 1,
                Err(ClientError::TimedOut { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}

/// Posts jobs, each of its own wording, until it is told to stop; those that were accepted.
fn post_jobs(addresses: &[SocketAddr], done: &AtomicBool) -> BTreeMap<SideEffectId, Vec<u8>> {
    let config =
        ClientConfig { request_timeout: Duration::from_secs(5), ..ClientConfig::new(addresses.to_vec()) };
    let mut own = Client::new(config);
    let mut accepted = BTreeMap::new();
    for number in 0.. {
        if done.load(Ordering::Relaxed) {
            break;
        }
        let body = format!("job {number}").into_bytes();
        let retry =
            Retry { attempts_max: 1000, first: Nanos::from_millis(50), most: Nanos::from_millis(200) };
        let (target, text) = ("worker:jobs".to_owned(), Blob::from(body.clone()));
        match own.post(POST, &PostCommand::Send { target, body: text, retry }) {
            Ok(PostAnswer::Sent { letter }) => {
                accepted.insert(letter, body);
            }
            Err(ClientError::TimedOut { .. } | ClientError::Evicted) => {}
            Err(error) => panic!("{error}"),
        }
        thread::sleep(Duration::from_millis(30));
    }
    accepted
}

#[test]
fn the_verb_runs_a_command_for_each_job_and_tells_how_it_ended() {
    let folder = Folder::new("work");
    let cluster = cluster_of_three(&folder);
    let nodes: Vec<String> = cluster.addresses().iter().map(ToString::to_string).collect();
    let nodes = nodes.join(",");
    let chronon = |arguments: &[&str]| {
        let output = Command::new(CHRONON)
            .args(arguments)
            .args(["--nodes", &nodes, "-o", "json"])
            .env("CHRONON_LOG", "off")
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice::<serde_json::Value>(&output.stdout).unwrap()
    };
    let send = |body: &str| {
        let sent = chronon(&["post", "send", "worker:press", body]);
        sent["letter"].as_str().unwrap().to_owned()
    };
    let (good, bad) = (send("good"), send("bad"));
    let exec =
        r#"body=$(cat); [ "$body" = good ] || exit 65; echo "$CHRONON_IDEMPOTENCY_KEY $CHRONON_ATTEMPT""#;
    let worked = chronon(&["effect", "work", "press", "--exec", exec, "--count", "2"]);
    assert_eq!((&worked["done"], &worked["refused"]), (&1.into(), &1.into()));
    let shown = chronon(&["post", "show", &good]);
    assert_eq!((&shown["state"], &shown["answer"]), (&"delivered".into(), &format!("{good} 1\n").into()));
    assert_eq!(chronon(&["post", "show", &bad])["state"], "given_up");
    assert_eq!(chronon(&["effect", "list"])["dead"][0]["id"], bad.as_str());
    chronon(&["effect", "redrive", &bad]);
    let worked = chronon(&["effect", "work", "press", "--exec", "sleep 2", "--lease", "1", "--count", "1"]);
    assert_eq!(worked["done"], 1, "it renews its lease");
    assert_eq!(chronon(&["post", "show", &bad])["state"], "delivered");
}

//! Letters are posted by three processes that are killed and paused, to a receiver that drops answers: each takes effect once.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use chronon::client::{Client, ClientConfig, ClientError};
use chronon_core::kernel::{Retry, SideEffectId};
use chronon_core::post::{PostAnswer, PostCommand};
use chronon_core::types::{Blob, GroupId, Nanos, Prng};

use crate::folder::Folder;
use crate::nemesis::torment;
use crate::support::{assert_delivered, assert_replicas_converge, cluster_of_three};

const POST: GroupId = GroupId::new(2);

#[test]
fn every_letter_takes_effect_once_while_nodes_are_killed_and_paused() {
    let folder = Folder::new("webhooks");
    let mut cluster = cluster_of_three(&folder);
    let receiver = Receiver::start();
    let stop = Arc::new(AtomicBool::new(false));
    let posting: Vec<_> = (0..4)
        .map(|client| {
            let (stop, addresses, url) = (Arc::clone(&stop), cluster.addresses(), receiver.url.clone());
            thread::spawn(move || post_letters(client, &addresses, &url, &stop))
        })
        .collect();
    let mut seed = [0; 32];
    getrandom::fill(&mut seed).unwrap();
    let deeds = torment(&mut cluster, &mut Prng::from_key(seed), Instant::now() + Duration::from_secs(12));
    stop.store(true, Ordering::Relaxed);
    cluster.wait_ready(Duration::from_secs(30)).unwrap();
    let letters: BTreeMap<SideEffectId, Vec<u8>> =
        posting.into_iter().flat_map(|posting| posting.join().unwrap()).collect();
    letters.keys().for_each(|letter| assert_delivered(&cluster.addresses(), *letter));
    assert_replicas_converge(&mut cluster);
    let seen = receiver.seen.lock().unwrap();
    for (letter, body) in &letters {
        assert_eq!(seen.effects.get(&letter.to_string()), Some(body), "letter {letter}");
    }
    // Whatever was posted and not acknowledged took effect once as well, or not at all.
    let bodies: BTreeSet<&Vec<u8>> = seen.effects.values().collect();
    assert_eq!(bodies.len(), seen.effects.len(), "a letter was delivered under two keys");
    println!("{} letters, {seen:?}, {deeds:?}", letters.len(), seen = seen.counts());
    assert!(letters.len() >= 50, "only {} letters were accepted", letters.len());
    assert!(seen.repeated > 0 && deeds.kills > 2, "nothing was tried again: {deeds:?}");
}

/// Posts letters, each of its own wording, until it is told to stop; those that were accepted.
fn post_letters(
    client: usize,
    addresses: &[SocketAddr],
    url: &str,
    stop: &AtomicBool,
) -> Vec<(SideEffectId, Vec<u8>)> {
    let config =
        ClientConfig { request_timeout: Duration::from_secs(5), ..ClientConfig::new(addresses.to_vec()) };
    let mut own = Client::new(config);
    let mut accepted = Vec::new();
    for number in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = format!("letter {number} of client {client}").into_bytes();
        let retry =
            Retry { attempts_max: 1000, first: Nanos::from_millis(50), most: Nanos::from_millis(500) };
        let command = PostCommand::Send { target: url.to_owned(), body: Blob::from(body.clone()), retry };
        match own.post(POST, &command) {
            Ok(PostAnswer::Sent { letter }) => accepted.push((letter, body)),
            // Its fate is open: it is not asked for again.
            Err(ClientError::TimedOut { .. } | ClientError::Evicted) => {}
            Err(error) => panic!("{error}"),
        }
        thread::sleep(Duration::from_millis(20));
    }
    accepted
}

/// Does what it is told once a key, refuses who comes with a lower token than it has seen, and often says nothing.
struct Receiver {
    url: String,
    seen: Arc<Mutex<Seen>>,
}

#[derive(Default)]
struct Seen {
    effects: BTreeMap<String, Vec<u8>>,
    token: u64,
    repeated: u64,
    fenced: u64,
    silent: u64,
}

impl Seen {
    fn counts(&self) -> String {
        let Self { effects, token, repeated, fenced, silent } = self;
        let effects = effects.len();
        format!(
            "{effects} took effect, {repeated} repeated, {fenced} fenced, {silent} unanswered, token {token}"
        )
    }
}

impl Receiver {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/letters", listener.local_addr().unwrap());
        let seen = Arc::new(Mutex::new(Seen::default()));
        let shared = Arc::clone(&seen);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                // A node that dies in the middle of a request is none of its business.
                thread::spawn(move || serve(stream, &shared));
            }
        });
        Self { url, seen }
    }
}

fn serve(mut stream: TcpStream, seen: &Mutex<Seen>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    let mut headers = BTreeMap::new();
    for line in reader.by_ref().lines() {
        let line = line.ok()?;
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    let mut body = vec![0; headers.get("content-length")?.parse().ok()?];
    reader.read_exact(&mut body).ok()?;
    let (group, token) = headers.get("fencing-token")?.split_once(':')?;
    assert_eq!(group, POST.to_string());
    let status = take(&mut seen.lock().unwrap(), headers.get("idempotency-key")?, token.parse().ok()?, body)?;
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").ok()
}

/// What it answers, if it does.
fn take(seen: &mut Seen, key: &str, token: u64, body: Vec<u8>) -> Option<&'static str> {
    if token < seen.token {
        seen.fenced += 1;
        return Some("409 Conflict");
    }
    seen.token = token;
    let known = seen.effects.insert(key.to_owned(), body.clone());
    if let Some(known) = known {
        assert_eq!(known, body, "one key says two things");
        seen.repeated += 1;
        return Some("200 OK");
    }
    if seen.effects.len().is_multiple_of(4) {
        seen.silent += 1;
        return None;
    }
    Some("200 OK")
}

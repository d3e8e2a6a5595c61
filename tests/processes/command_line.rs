//! What the binary says when it is used wrongly, and that it does what it says when it is not.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::folder::{CHRONON, Folder};
use serde_json::Value;

/// Runs the binary to its end.
fn chronon(arguments: &[&str]) -> Output {
    Command::new(CHRONON).args(arguments).env("CHRONON_LOG", "off").output().unwrap()
}

/// What the binary says as it fails; it must not be a panic.
fn error(arguments: &[&str]) -> String {
    let output = chronon(arguments);
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} did not fail");
    assert!(!words.contains("panicked"), "{words}");
    words.trim().to_owned()
}

fn format(path: &Path, node: &str) {
    let path = path.to_str().unwrap();
    let output =
        chronon(&["format", "--data-dir", path, "--cluster", "c1", "--node", node, "--voters", "1,2,3"]);
    assert!(output.status.success(), "{output:?}");
}

/// Arguments that serve a data directory on ports of the system's choice.
fn serve<'a>(path: &'a Path, cluster: &'a str, node: &'a str) -> Vec<&'a str> {
    let free = "127.0.0.1:0";
    let path = path.to_str().unwrap();
    vec![
        "serve",
        "--data-dir",
        path,
        "--cluster",
        cluster,
        "--node",
        node,
        "--requests",
        free,
        "--peers-listen",
        free,
        "--http",
        free,
    ]
}

#[test]
fn a_directory_that_cannot_be_served_is_named_with_the_reason() {
    let folder = Folder::new("directories");
    let path = folder.path().join("n1");
    let words = error(&serve(&path, "c1", "1"));
    assert!(words.ends_with("n1: it does not exist; `chronon format` makes one"), "{words}");
    std::fs::create_dir(&path).unwrap();
    let words = error(&serve(&path, "c1", "1"));
    assert!(
        words.ends_with("it is not formatted (no file `manifest`); `chronon format` makes a new one"),
        "{words}"
    );
    format(&path, "1");
    let words = error(&serve(&path, "c1", "2"));
    assert!(words.contains("n1") && words.contains("it belongs to node 1, not to 2"), "{words}");
    let words = error(&serve(&path, "c2", "1"));
    assert!(words.contains("n1") && words.contains("it belongs to cluster"), "{words}");
}

#[test]
fn a_directory_is_formatted_once() {
    let folder = Folder::new("once");
    let path = folder.path().join("n1");
    format(&path, "1");
    let path = path.to_str().unwrap();
    let again = ["format", "--data-dir", path, "--cluster", "c1", "--node", "1", "--voters", "1,2,3"];
    let words = error(&again);
    assert!(
        words.contains("n1: it is not empty") && words.contains("only an empty one is formatted"),
        "{words}"
    );
}

#[test]
fn a_manifest_of_nonsense_is_refused_without_a_panic() {
    let folder = Folder::new("nonsense");
    let path = folder.path().join("n1");
    format(&path, "1");
    let manifest = path.join("manifest");
    let bytes = std::fs::metadata(&manifest).unwrap().len();
    for byte in [0x00, 0xff] {
        std::fs::write(&manifest, vec![byte; usize::try_from(bytes).unwrap()]).unwrap();
        let words = error(&serve(&path, "c1", "1"));
        assert!(words.contains("n1") && words.contains("manifest"), "{words}");
    }
    std::fs::write(&manifest, b"short").unwrap();
    let words = error(&serve(&path, "c1", "1"));
    assert!(words.contains("n1") && words.contains("manifest"), "{words}");
}

#[test]
fn a_taken_port_is_named_with_its_key() {
    let folder = Folder::new("port");
    let path = folder.path().join("n1");
    format(&path, "1");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for (flag, key) in [("--requests", "requests"), ("--peers-listen", "peers_listen"), ("--http", "http")] {
        let mut arguments = serve(&path, "c1", "1");
        let place = arguments.iter().position(|argument| *argument == flag).unwrap();
        arguments[place + 1] = &address;
        let words = error(&arguments);
        assert!(words.contains(&format!("key `{key}`: {address} is taken by another process")), "{words}");
    }
}

#[test]
fn a_variable_with_a_bad_value_is_named() {
    let output = Command::new(CHRONON)
        .args(["serve", "--data-dir", "x", "--cluster", "c1"])
        .env("CHRONON_NODE", "one")
        .output()
        .unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert!(
        words.contains("variable CHRONON_NODE: key `node`: \"one\" is not allowed; it takes a node id: a whole number from 1"),
        "{words}"
    );
}

/// A `serve --dev` that ends with its handle.
struct Dev {
    process: Child,
    requests: String,
    http: String,
}

impl Dev {
    fn start(folder: &Folder) -> Self {
        let free = "127.0.0.1:0";
        let mut process = Command::new(CHRONON)
            .args([
                "serve",
                "--dev",
                "-o",
                "json",
                "--requests",
                free,
                "--http",
                free,
                "--grpc",
                free,
                "--data-dir",
            ])
            .arg(folder.path().join("dev"))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said: Value = serde_json::from_str(&line).unwrap();
        let text = |key: &str| said[key].as_str().unwrap().to_owned();
        Self { requests: text("requests"), http: text("http"), process }
    }

    /// Runs a verb against this node and reads what it says.
    fn ask(&self, arguments: &[&str]) -> Value {
        let output = chronon(&[arguments, &["--nodes", &self.requests, "-o", "json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn get(&self, path: &str) -> (String, String) {
        use std::io::{Read as _, Write as _};
        let mut stream = std::net::TcpStream::connect(&self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_node_for_trying_things_out_needs_nothing_and_forgets_nothing() {
    let folder = Folder::new("dev");
    let dev = Dev::start(&folder);
    assert_eq!(dev.ask(&["kv", "get", "greeting"])["value"], Value::Null);
    assert_eq!(dev.ask(&["kv", "set", "greeting", "hello"])["written"], true);
    assert_eq!(dev.ask(&["kv", "cas", "greeting", "goodbye", "--expected", "hello"])["written"], true);
    dev.ask(&["bank", "open", "1", "100"]);
    dev.ask(&["bank", "open", "2", "0"]);
    dev.ask(&["bank", "transfer", "1", "2", "30"]);
    assert_eq!(dev.ask(&["bank", "audit"])["total"], 100);
    let balance = dev.ask(&["bank", "balance", "1"]);
    assert_eq!(balance["balance"], 70);
    assert!(balance["op"].as_u64().unwrap() > 0, "an answer says what it reflects");
    assert_eq!(dev.ask(&["bank", "balance", "1", "--stale"])["balance"], 70);
    let missing = error(&["bank", "balance", "3", "--nodes", &dev.requests]);
    assert!(missing.contains("account 3"), "{missing}");
    let sent = dev.ask(&["post", "send", &format!("http://{}/health", dev.http), "hello"]);
    let letter = sent["letter"].as_str().unwrap().to_owned();
    let refused = dev.ask(&["post", "send", &format!("http://{}/nowhere", dev.http), "hello"]);
    let refused = refused["letter"].as_str().unwrap().to_owned();
    let state = |letter: &str| dev.ask(&["post", "show", letter])["state"].as_str().unwrap().to_owned();
    let start = Instant::now();
    while (state(&letter), state(&refused)) != ("delivered".to_owned(), "given_up".to_owned()) {
        assert!(start.elapsed() < Duration::from_secs(10), "the letters are under way for ten seconds");
    }
    let told = dev.ask(&["post", "show", &refused]);
    assert!(told["why"].as_str().unwrap().contains("404"), "{told}");
    assert!(error(&["post", "show", "x", "--nodes", &dev.requests]).contains("64 hex digits"));
    let elsewhere = error(&["kv", "get", "greeting", "--group", "0", "--nodes", &dev.requests]);
    assert!(elsewhere.contains("group 0 holds no registers"), "{elsewhere}");
    let refused = error(&["bank", "transfer", "1", "2", "71", "--nodes", &dev.requests]);
    assert_eq!(refused, "error: account 1 holds 70, which is less than asked for");
    let unknown = error(&["kv", "get", "x", "--group", "9", "--nodes", &dev.requests]);
    assert_eq!(unknown, "error: group 9: the cluster has no such group");
    drop(dev);

    let dev = Dev::start(&folder);
    assert_eq!(dev.ask(&["kv", "get", "greeting"])["value"], "goodbye");
    assert_eq!(dev.ask(&["bank", "balance", "2"])["balance"], 30);
    assert_eq!(dev.ask(&["status"])[0]["incarnation"], 2);
    let ok = ("HTTP/1.1 200 OK".to_owned(), "OK".to_owned());
    for path in ["/health", "/livez"] {
        assert_eq!(dev.get(path), ok, "{path}");
    }
    // What HTTP tells may be a moment old.
    let start = Instant::now();
    while dev.get("/readyz") != ok {
        assert!(start.elapsed() < Duration::from_secs(10), "it answers requests and is not ready");
    }
    let (_, status) = dev.get("/status");
    assert_eq!(serde_json::from_str::<Value>(&status).unwrap()["phase"], "running");
}

#[test]
fn what_was_given_up_is_listed_redriven_and_discarded() {
    let folder = Folder::new("effect");
    let dev = Dev::start(&folder);
    let sent = dev.ask(&["post", "send", &format!("http://{}/nowhere", dev.http), "hello"]);
    let letter = sent["letter"].as_str().unwrap();
    let dead = |dev: &Dev| dev.ask(&["effect", "list"])["dead"].as_array().unwrap().clone();
    let wait_until_dead_after = |attempts: u64| {
        let start = Instant::now();
        while dead(&dev).first().is_none_or(|row| row["attempts"] != attempts) {
            assert!(start.elapsed() < Duration::from_secs(10), "it is under way for ten seconds");
        }
    };
    wait_until_dead_after(1);
    assert_eq!(dead(&dev)[0]["id"], letter);
    assert!(dead(&dev)[0]["why"].as_str().unwrap().contains("404"));
    let shown = dev.ask(&["effect", "show", letter]);
    assert_eq!((&shown["body"], &shown["attempts_max"]), (&"hello".into(), &20.into()));
    assert!(dev.ask(&["effect", "redrive", letter])["redriven_by"].as_u64().unwrap() > 0);
    wait_until_dead_after(2);
    assert_eq!(dev.ask(&["status"])[0]["groups"][2]["dead"], 1);
    drop(dev);

    let dev = Dev::start(&folder);
    assert_eq!(dead(&dev).len(), 1, "a start forgets none");
    let words = chronon(&["effect", "list", "--nodes", &dev.requests]).stdout;
    assert!(String::from_utf8(words).unwrap().contains(letter));
    assert!(dev.ask(&["effect", "discard", letter])["discarded_by"].as_u64().unwrap() > 0);
    assert_eq!(dead(&dev), Vec::<Value>::new());
    for verb in ["redrive", "discard", "show"] {
        let words = error(&["effect", verb, letter, "--nodes", &dev.requests]);
        assert!(words.contains(letter) && words.contains("chronon effect list"), "{words}");
        assert!(error(&["effect", verb, "x", "--nodes", &dev.requests]).contains("64 hex digits"));
    }
    let words = error(&["effect", "list", "--group", "9", "--nodes", &dev.requests]);
    assert_eq!(words, "error: group 9: the cluster has no such group");
}

#[test]
fn a_shell_is_told_every_verb() {
    for shell in ["bash", "zsh", "fish"] {
        let output = chronon(&["completions", shell]);
        assert!(output.status.success(), "{output:?}");
        let script = String::from_utf8(output.stdout).unwrap();
        for verb in ["publish", "redrive", "completions"] {
            assert!(script.contains(verb), "{shell}: {verb} is not in the script");
        }
    }
    let words = error(&["completions", "sh"]);
    assert!(words.contains("bash"), "{words}");
}

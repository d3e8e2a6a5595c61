use std::path::PathBuf;

use chronon_core::types::Nanos;

use super::{ConfigError, Given, ServeConfig, Settings, Source, read_file};

const WHOLE: &str = r#"
data_dir = "/var/lib/chronon"
cluster = "c0ffee"
node = 2
peers = { 1 = "10.0.0.1:9200", 3 = "10.0.0.3:9200" }
"#;

/// Reads `text` as a file called `c.toml` and resolves it; an error comes back in words.
fn resolve(flags: Settings, text: &str) -> Result<ServeConfig, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, text).unwrap();
    let words = |error: ConfigError| error.to_string().replace(path.to_str().unwrap(), "c.toml");
    let file = read_file(&path).map_err(words)?;
    ServeConfig::resolve(flags, file)
        .map_err(|error| error.to_string().replace(path.to_str().unwrap(), "c.toml"))
}

fn error(text: &str) -> String {
    resolve(Settings::new(), text).unwrap_err()
}

#[test]
fn a_file_says_all_and_defaults_fill_in() {
    let config = resolve(Settings::new(), WHOLE).unwrap();
    assert_eq!(config.data_dir, PathBuf::from("/var/lib/chronon"));
    assert_eq!((config.cluster.get(), config.node.get()), (0xc0ffee, 2));
    assert_eq!(config.requests.to_string(), "127.0.0.1:9100");
    let peers: Vec<String> = config.peers.iter().map(|(node, address)| format!("{node}={address}")).collect();
    assert_eq!(peers, ["1=10.0.0.1:9200", "3=10.0.0.3:9200"]);
}

#[test]
fn how_far_clocks_may_be_off_is_bounded() {
    let config = resolve(Settings::new(), &format!("{WHOLE}clock_tolerance_ms = 2000")).unwrap();
    assert_eq!(config.clock_tolerance, Nanos::from_millis(2000));
    for wrong in ["0", "60001", "-1", "\"1s\""] {
        let error = error(&format!("{WHOLE}clock_tolerance_ms = {wrong}"));
        assert!(error.contains("`clock_tolerance_ms`") && error.contains("from 1 to 60000"), "{error}");
    }
}

#[test]
fn peers_are_also_a_list() {
    let listed = WHOLE.replace(
        r#"{ 1 = "10.0.0.1:9200", 3 = "10.0.0.3:9200" }"#,
        r#"["1=10.0.0.1:9200", "3=10.0.0.3:9200"]"#,
    );
    assert_ne!(listed, WHOLE);
    assert_eq!(resolve(Settings::new(), &listed), resolve(Settings::new(), WHOLE));
}

#[test]
fn a_flag_has_the_word_over_the_file() {
    let given = Given { text: "7".to_owned(), source: Source::Flag("--node".to_owned()) };
    let config = resolve(Settings::from([("node", given)]), WHOLE).unwrap();
    assert_eq!(config.node.get(), 7);
}

#[test]
fn errors_name_place_key_value_and_what_is_allowed() {
    assert_eq!(
        error("node = 1\n  colour = 3"),
        "c.toml:2:3: unknown key `colour`; allowed are data_dir, disk, cluster, node, requests, peers_listen, http, grpc, peers, peers_requests, webhooks, clock_tolerance_ms"
    );
    assert_eq!(
        error(&WHOLE.replace("node = 2", "node = 0")),
        "c.toml:4:8: key `node`: \"0\" is not allowed; it takes a node id: a whole number from 1"
    );
    assert_eq!(
        error(&WHOLE.replace("c0ffee", "tea")),
        "c.toml:3:11: key `cluster`: \"tea\" is not allowed; it takes a cluster id: up to 32 hex digits"
    );
    assert_eq!(
        error(&WHOLE.replace("10.0.0.3:9200", "nowhere")),
        "c.toml:5:9: key `peers`: \"1=10.0.0.1:9200,3=nowhere\" is not allowed; \
         it takes a list such as 1=10.0.0.1:9200,2=10.0.0.2:9200, each node once"
    );
    assert_eq!(
        error("node = 1"),
        "key `data_dir` is missing: give --data-dir, CHRONON_DATA_DIR or `data_dir` in the configuration file; \
         it takes the path of a formatted data directory"
    );
    assert!(error("node = 1\nnode = 2").starts_with("c.toml:2:1: "), "{}", error("node = 1\nnode = 2"));
    assert!(error("node = \n").starts_with("c.toml:1:"), "{}", error("node = \n"));
}

#[test]
fn a_missing_file_is_named() {
    let error = read_file(&PathBuf::from("/nowhere/c.toml")).unwrap_err().to_string();
    assert_eq!(error, "configuration file /nowhere/c.toml: No such file or directory (os error 2)");
}

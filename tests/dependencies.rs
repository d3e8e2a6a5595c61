//! Who may depend on whom, outside the source: the core's dependency tree against a list of names, and the
//! simulator's against the root package.
//!
//! The list is short on purpose. The core is pure, so whatever enters its tree is read first, and named here.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// What the core may link, its dependencies' own ones included, by whose sake they are there.
const CORE_MAY_LINK: [&str; 22] = [
    // The core's own list.
    "bincode",
    "blake3",
    "bytes",
    "crc32c",
    "rand_chacha",
    "rand_core",
    "thiserror",
    // bincode's.
    "bincode_derive",
    "unty",
    "virtue",
    // blake3's.
    "arrayvec",
    "cfg-if",
    "constant_time_eq",
    "cpufeatures",
    // rand_chacha's.
    "ppv-lite86",
    "zerocopy",
    // thiserror's, and what every derive needs.
    "proc-macro2",
    "quote",
    "syn",
    "thiserror-impl",
    "unicode-ident",
    // The core.
    "chronon-core",
];

/// What may run while the core is built, beside the above.
const CORE_MAY_BUILD_WITH: [&str; 5] = ["cc", "find-msvc-tools", "shlex", "rustc_version", "semver"];

/// Packages that only a driver may know: a runtime, a socket, a thread pool or a clock of their own.
const NEVER_NEAR_THE_SIMULATOR: [&str; 4] = ["chronon", "tokio", "axum", "mio"];

#[test]
fn the_core_links_only_what_is_on_the_list() {
    let allowed = BTreeSet::from(CORE_MAY_LINK);
    assert_eq!(beyond(&tree("chronon-core", "normal"), &allowed), Vec::<String>::new());
}

#[test]
fn the_list_names_nothing_that_the_core_does_not_link() {
    let linked = tree("chronon-core", "normal");
    let stale: Vec<&str> = CORE_MAY_LINK.into_iter().filter(|name| !linked.contains(*name)).collect();
    assert_eq!(stale, Vec::<&str>::new(), "take these off the list");
}

#[test]
fn the_core_is_built_only_with_what_is_on_the_list() {
    let allowed = CORE_MAY_LINK.into_iter().chain(CORE_MAY_BUILD_WITH).collect();
    assert_eq!(beyond(&tree("chronon-core", "normal,build"), &allowed), Vec::<String>::new());
}

#[test]
fn the_simulator_needs_neither_the_product_nor_a_runtime() {
    let linked = tree("chronon-sim", "normal,build,dev");
    assert!(linked.contains("chronon-core"), "the tree was not read: {linked:?}");
    let found: Vec<&str> =
        NEVER_NEAR_THE_SIMULATOR.into_iter().filter(|name| linked.contains(*name)).collect();
    assert_eq!(found, Vec::<&str>::new());
}

#[test]
fn a_planted_dependency_is_named() {
    let planted =
        names("chronon-core v0.1.0 (/x)\nbytes v1.12.1\ntokio v1.54.1\nserde_derive v1.0.0 (proc-macro)\n");
    let allowed = BTreeSet::from(CORE_MAY_LINK);
    assert_eq!(beyond(&planted, &allowed), ["serde_derive", "tokio"]);
}

/// The names in `linked` that are not in `allowed`.
fn beyond(linked: &BTreeSet<String>, allowed: &BTreeSet<&str>) -> Vec<String> {
    linked.iter().filter(|name| !allowed.contains(name.as_str())).cloned().collect()
}

/// Every package in the dependency tree of `package`, itself included.
fn tree(package: &str, edges: &str) -> BTreeSet<String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")))
        .args(["tree", "--locked", "--prefix", "none", "-p", package, "-e", edges])
        .output()
        .expect("cargo can be started");
    let text = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    assert!(output.status.success(), "cargo tree failed: {}", String::from_utf8_lossy(&output.stderr));
    let names = names(&text);
    assert!(names.contains(package), "cargo tree did not name {package}: {text}");
    names
}

/// The first word of every line.
fn names(text: &str) -> BTreeSet<String> {
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

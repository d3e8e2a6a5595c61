//! Coverage marks: each stands somewhere in the core, and none is left in the binary that ships.

use std::fs;
use std::path::Path;

use chronon_core::types::Mark;

/// A text of the core that production does need: were it not found, a mark's would not be found either.
const SHIPPED: &str = "the manifest read back is not the one written";

#[test]
fn the_binary_holds_no_mark() {
    let binary = fs::read(env!("CARGO_BIN_EXE_chronon")).expect("the binary was built for this test");
    let holds = |text: &str| binary.windows(text.len()).any(|window| window == text.as_bytes());
    assert!(holds(SHIPPED), "texts of the core are not found in the binary as they are");
    let left: Vec<&str> = Mark::ALL.iter().map(|mark| mark.text()).filter(|text| holds(text)).collect();
    assert_eq!(left, Vec::<&str>::new());
}

#[test]
fn every_mark_stands_in_the_core() {
    let core = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core");
    let list = fs::read_to_string(core.join("types/marks.rs")).expect("the list of marks");
    let mut source = String::new();
    read_folder(&core, &mut source);
    let variants: Vec<(&str, &str)> = list.lines().filter_map(variant).collect();
    assert_eq!(variants.len(), Mark::ALL.len(), "the list is read otherwise than it is compiled");
    let stands = |name: &str| {
        let hit = format!("Mark::{name}");
        source.match_indices(&hit).any(|(at, _)| !continues(&source[at + hit.len()..]))
    };
    let absent: Vec<_> = variants.into_iter().filter(|(name, _)| !stands(name)).collect();
    assert_eq!(absent, Vec::<(&str, &str)>::new());
}

/// Name and text of a line of the list.
fn variant(line: &str) -> Option<(&str, &str)> {
    let (name, text) = line.trim().split_once(" => \"")?;
    Some((name, text.strip_suffix("\",")?))
}

/// Whether a name goes on.
fn continues(rest: &str) -> bool {
    rest.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

/// Every source file but the list itself and tests.
fn read_folder(folder: &Path, source: &mut String) {
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.expect("a folder can be listed").path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if path.is_dir() {
            read_folder(&path, source);
        } else if name.ends_with(".rs") && name != "marks.rs" && !name.starts_with("tests") {
            source.push_str(&fs::read_to_string(&path).expect("a source file is text"));
        }
    }
}

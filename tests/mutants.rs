//! The planted bugs of `sim/mutants/` can be planted: each is a file that says what it is, and each text to find stands
//! exactly once in the file that it names. Whether they are found is for `sim/mutants/run`.

use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// A planted bug.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutant {
    /// Its name, and its file's.
    name: String,
    /// Where the bug was seen.
    seen: String,
    /// The fault that must expose it.
    fault: String,
    /// What it does, in a sentence.
    what: String,
    /// It changes nothing that anybody could rely on: it must not be found.
    #[serde(default)]
    equivalent: bool,
    /// Why not; of equivalents alone.
    why: Option<String>,
    edit: Vec<Edit>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Edit {
    file: String,
    find: String,
    replace: String,
}

#[test]
fn every_mutant_can_be_planted() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = mutants(root);
    assert!(files.len() >= 60, "only {} mutants", files.len());
    let complaints: Vec<String> = files.iter().flat_map(|file| complaints(root, file)).collect();
    assert_eq!(complaints, Vec::<String>::new());
}

#[test]
fn a_mutant_that_cannot_be_planted_is_told() {
    let root = tempfile::tempdir().expect("a folder can be made");
    let file = root.path().join("twice.toml");
    let edit = |find: &str| format!("[[edit]]\nfile = \"a.rs\"\nfind = '{find}'\nreplace = 'x'\n");
    let head = "name = 'twice'\nseen = 's'\nfault = 'f'\nwhat = 'w'\n";
    fs::write(root.path().join("a.rs"), "one two two").expect("a file can be written");
    let told = |text: String| {
        fs::write(&file, text).expect("a file can be written");
        complaints(root.path(), &file)
    };
    assert_eq!(told(format!("{head}{}", edit("one"))), Vec::<String>::new());
    assert_eq!(
        told(format!("{head}{}", edit("two"))),
        ["twice.toml: the text to find stands 2 times in a.rs"]
    );
    assert_eq!(
        told(format!("{head}{}", edit("three"))),
        ["twice.toml: the text to find stands 0 times in a.rs"]
    );
    assert_eq!(told(head.to_owned()).len(), 1, "no edit");
    assert_eq!(told(format!("{head}equivalent = true\n{}", edit("one"))).len(), 1, "no why");
    assert_eq!(told(format!("{head}why = 'y'\n{}", edit("one"))).len(), 1, "no equivalent");
    let equivalent = format!("{head}equivalent = true\nwhy = 'y'\n");
    assert_eq!(told(format!("{equivalent}{}", edit("one"))), Vec::<String>::new());
    assert_eq!(told(format!("{}{}", head.replace("twice", "once"), edit("one"))).len(), 1, "another name");
}

fn mutants(root: &Path) -> Vec<PathBuf> {
    let folder = root.join("sim/mutants");
    let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths = entries.map(|entry| entry.expect("a folder can be listed").path());
    let mut files: Vec<PathBuf> =
        paths.filter(|path| path.extension().is_some_and(|e| e == "toml")).collect();
    files.sort();
    files
}

fn complaints(root: &Path, file: &Path) -> Vec<String> {
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let text = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let mutant: Mutant = match toml::from_str(&text) {
        Ok(mutant) => mutant,
        Err(error) => return vec![format!("{name}: {error}")],
    };
    let mut found = Vec::new();
    if format!("{}.toml", mutant.name) != name {
        found.push(format!("{name}: its name is {}", mutant.name));
    }
    if [&mutant.seen, &mutant.fault, &mutant.what].iter().any(|text| text.is_empty())
        || mutant.edit.is_empty()
    {
        found.push(format!("{name}: seen, fault, what and at least one edit are needed"));
    }
    if mutant.equivalent != mutant.why.as_ref().is_some_and(|why| !why.is_empty()) {
        found.push(format!("{name}: an equivalent, and nothing else, says why it must not be found"));
    }
    for Edit { file, find, replace } in &mutant.edit {
        let source = fs::read_to_string(root.join(file)).unwrap_or_default();
        if find == replace {
            found.push(format!("{name}: the text to put into {file} is the text to find"));
        }
        match source.matches(find.as_str()).count() {
            1 => {}
            count => found.push(format!("{name}: the text to find stands {count} times in {file}")),
        }
    }
    found
}

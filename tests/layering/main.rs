//! The floors of the core: a room imports only from floors strictly below its own. Every `crate::` path counts, in a
//! `use` or inline, and so does every `super::` that leaves its room; only macros are exempt. Nothing outside tests
//! names `std`. Modules beside each other do not import each other in a circle.
//!
//! Tests of a room may look up: the node's run an application.

mod paths;
mod tokens;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path as FilePath;

use paths::{Path, paths};
use tokens::{Token, tokens, without_tests};

/// The rooms of the core and their floors.
const FLOORS: [(&str, u8); 13] = [
    ("codec", 0),
    ("collections", 0),
    ("types", 1),
    ("engine", 2),
    ("consensus", 3),
    ("kernel", 4),
    ("bank", 5),
    ("events", 5),
    ("post", 5),
    ("register", 5),
    ("catalog", 6),
    ("builtin", 7),
    ("node", 7),
];

/// Imports that the floors would allow and the design does not: the node is for any application.
const BANNED: [(&str, &str); 6] = [
    ("node", "bank"),
    ("node", "catalog"),
    ("node", "events"),
    ("node", "post"),
    ("node", "register"),
    ("node", "builtin"),
];

#[test]
fn every_room_imports_only_from_floors_below_it() {
    assert_eq!(floor_violations(&core()), Vec::<String>::new());
}

#[test]
fn nothing_but_tests_names_std() {
    assert_eq!(std_violations(&core()), Vec::<String>::new());
}

#[test]
fn modules_beside_each_other_do_not_import_in_a_circle() {
    assert_eq!(circles(&core()), Vec::<String>::new());
}

#[test]
fn the_table_names_the_rooms_that_exist() {
    let rooms: BTreeSet<String> = core().iter().filter_map(|file| file.module.first().cloned()).collect();
    let table: BTreeSet<String> = FLOORS.iter().map(|(room, _)| (*room).to_owned()).collect();
    assert_eq!(rooms, table);
}

/// A file of the core.
struct File {
    name: String,
    module: Vec<String>,
    tokens: Vec<Token>,
    is_test: bool,
}

impl File {
    fn new(name: &str, source: &str) -> Self {
        let parts: Vec<&str> = name.trim_end_matches(".rs").split('/').collect();
        let is_test = parts.iter().any(|p| *p == "tests" || p.starts_with("tests_") || p.ends_with("_tests"));
        let module = parts.iter().filter(|p| **p != "mod" && **p != "lib").map(|p| (*p).to_owned()).collect();
        Self { name: name.to_owned(), module, tokens: tokens(source), is_test }
    }

    /// The paths that the product compiles.
    fn paths_outside_tests(&self) -> Vec<Path> {
        if self.is_test { Vec::new() } else { paths(&self.module, &without_tests(&self.tokens)) }
    }
}

/// Every source file of the core.
fn core() -> Vec<File> {
    let root = FilePath::new(env!("CARGO_MANIFEST_DIR")).join("src/core");
    let mut files = Vec::new();
    read_folder(&root, "", &mut files);
    assert!(files.len() > 20, "the core was not found in {}", root.display());
    files
}

fn read_folder(folder: &FilePath, prefix: &str, files: &mut Vec<File>) {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("a folder can be listed").path()).collect();
    paths.sort();
    for path in paths {
        let name = path.file_name().and_then(|name| name.to_str()).expect("source files have plain names");
        let name = format!("{prefix}{name}");
        if path.is_dir() {
            read_folder(&path, &format!("{name}/"), files);
        } else if name.ends_with(".rs") {
            let source =
                fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            files.push(File::new(&name, &source));
        }
    }
}

fn floor_violations(files: &[File]) -> Vec<String> {
    let macros = macro_names(files);
    let mut found = Vec::new();
    for file in files {
        for path in file.paths_outside_tests() {
            let imported_macro = path.to.len() == 1 && macros.contains(&path.to[0]);
            if path.is_macro || imported_macro {
                continue;
            }
            if let Some(complaint) = complaint(path.from.first(), &path.to) {
                found.push(format!("{}:{}: {complaint}", file.name, path.line));
            }
        }
        found.extend(aliases(file));
    }
    found.dedup();
    found
}

/// What is wrong with a path to `to` in the room `from`.
fn complaint(from: Option<&String>, to: &[String]) -> Option<String> {
    // The root declares the rooms and holds nothing else.
    let from = from?;
    let Some(target) = to.first() else { return Some("names the root of the crate".to_owned()) };
    if from == target {
        return None;
    }
    let Some(floor) = floor_of(from) else { return Some(format!("`{from}` is not in the table of floors")) };
    let Some(below) = floor_of(target) else {
        return Some(format!("`{target}` is not a room: import a thing from the room it lives in"));
    };
    if below >= floor {
        return Some(format!(
            "`{from}` is on floor {floor} and may not import from `{target}` on floor {below}"
        ));
    }
    let banned = BANNED.contains(&(from.as_str(), target.as_str()));
    banned.then(|| format!("`{from}` may not import from `{target}`"))
}

fn floor_of(room: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor)
}

/// Other names for the crate itself would hide paths from this test.
fn aliases(file: &File) -> Vec<String> {
    let named = |token: &&Token| token.is("chronon_core");
    let renamed =
        file.tokens.windows(2).filter(|pair| pair[0].is("crate") && pair[1].is("as")).map(|pair| &pair[0]);
    let by_name = file.tokens.iter().filter(named);
    by_name
        .chain(renamed)
        .map(|token| format!("{}:{}: another name for the crate", file.name, token.line))
        .collect()
}

fn macro_names(files: &[File]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files {
        for window in file.tokens.windows(3) {
            if window[0].is("macro_rules") {
                names.insert(window[2].text.clone());
            }
        }
    }
    names
}

fn std_violations(files: &[File]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files.iter().filter(|file| !file.is_test) {
        for token in without_tests(&file.tokens).iter().filter(|token| token.is("std")) {
            found.push(format!("{}:{}: `std` outside tests", file.name, token.line));
        }
    }
    found
}

/// Imports in a circle between the modules of one folder. A module's own folder counts as the module; a name that the
/// folder's `mod.rs` re-exports counts as the module it comes from.
fn circles(files: &[File]) -> Vec<String> {
    let modules: BTreeSet<Vec<String>> = files.iter().map(|file| file.module.clone()).collect();
    let exports = re_exports(files, &modules);
    let mut edges: BTreeMap<Vec<String>, BTreeSet<Vec<String>>> = BTreeMap::new();
    for file in files.iter().filter(|file| !file.module.is_empty()) {
        for path in file.paths_outside_tests().iter().filter(|path| !path.is_macro) {
            if let Some((one, other)) = siblings(&file.module, &path.to, &modules, &exports) {
                edges.entry(one).or_default().insert(other);
            }
        }
    }
    let mut found = Vec::new();
    for start in edges.keys() {
        if let Some(circle) = circle_from(start, &edges) {
            found.push(circle);
        }
    }
    found
}

/// (folder, name) -> the module below the folder that defines the name.
type Exports = BTreeMap<(Vec<String>, String), Vec<String>>;

fn re_exports(files: &[File], modules: &BTreeSet<Vec<String>>) -> Exports {
    let mut exports = Exports::new();
    for file in files {
        // `use entry::{Entry, …};` in a folder's own file: read it as if it were `use self::entry::{…}`.
        let mut tokens = Vec::new();
        for token in &file.tokens {
            tokens.push(token.clone());
            if token.is("use") {
                let line = token.line;
                tokens.push(Token { text: "self".to_owned(), line });
                tokens.push(Token { text: "::".to_owned(), line });
            }
        }
        for path in paths(&file.module, &tokens) {
            let Some((name, module)) = path.to.split_last() else { continue };
            if module.len() == file.module.len() + 1 && modules.contains(module) {
                exports.insert((file.module.clone(), name.clone()), module.to_vec());
            }
        }
    }
    exports
}

/// The two modules beside each other, if any, that an import of `to` in `from` ties.
fn siblings(
    from: &[String],
    to: &[String],
    modules: &BTreeSet<Vec<String>>,
    exports: &Exports,
) -> Option<(Vec<String>, Vec<String>)> {
    let mut to = to.to_vec();
    while let Some(depth) =
        (1..to.len()).find(|depth| exports.contains_key(&(to[..*depth].to_vec(), to[*depth].clone())))
    {
        let module = exports[&(to[..depth].to_vec(), to[depth].clone())].clone();
        to.splice(..depth, module);
    }
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    // Between rooms the floors decide.
    let beside = common > 0 && common < from.len() && common < to.len();
    let other = to.get(..=common)?.to_vec();
    (beside && modules.contains(&other)).then(|| (from[..=common].to_vec(), other))
}

/// A way from `start` back to itself on which it is the smallest, so that a circle is told once.
fn circle_from(start: &Vec<String>, edges: &BTreeMap<Vec<String>, BTreeSet<Vec<String>>>) -> Option<String> {
    let mut came_from: BTreeMap<&Vec<String>, &Vec<String>> = BTreeMap::new();
    let mut open = vec![start];
    while let Some(module) = open.pop() {
        for next in edges.get(module).into_iter().flatten().filter(|next| *next >= start) {
            if next == start {
                return Some(tell_circle(start, module, &came_from));
            }
            if !came_from.contains_key(next) {
                came_from.insert(next, module);
                open.push(next);
            }
        }
    }
    None
}

fn tell_circle(
    start: &[String],
    last: &Vec<String>,
    came_from: &BTreeMap<&Vec<String>, &Vec<String>>,
) -> String {
    let mut told = vec![start.join("::"), last.join("::")];
    let mut module = last;
    while let Some(before) = came_from.get(module) {
        module = before;
        told.push(module.join("::"));
    }
    if told.last() != told.first() {
        told.push(start.join("::"));
    }
    told.reverse();
    told.join(" -> ")
}

mod planted {
    //! The rules catch what they are for.

    use super::{File, circles, floor_violations, std_violations};

    fn complaints(name: &str, source: &str) -> Vec<String> {
        floor_violations(&[File::new(name, source)])
    }

    #[test]
    fn an_import_from_above_is_caught() {
        let found =
            complaints("types/entry.rs", "use crate::codec::ByteReader;\nuse crate::engine::DiskOp;\n");
        assert_eq!(
            found,
            ["types/entry.rs:2: `types` is on floor 1 and may not import from `engine` on floor 2"]
        );
    }

    #[test]
    fn an_import_from_the_same_floor_is_caught() {
        assert_eq!(complaints("bank/mod.rs", "use crate::register::Registers;").len(), 1);
        assert_eq!(complaints("node/mod.rs", "use crate::builtin::Builtin;").len(), 1);
    }

    #[test]
    fn the_node_knows_no_application() {
        assert_eq!(
            complaints("node/mod.rs", "use crate::bank::Bank;"),
            ["node/mod.rs:1: `node` may not import from `bank`"]
        );
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        let at_fault = [
            "fn f() { let x = crate::node::Node::new(); }",
            "use crate::{codec, kernel::{Command, Outcome}};",
            "use crate::{codec as c, node as n};",
            "fn f<T>() where T: crate::kernel::ChrApplication {}",
            "fn f() -> Vec<crate::node::Input> { Vec::<crate::types::Op>::new() }",
            "use super::super::node::Node;",
            "use super::super::{codec::encode, node::{Node}};",
            "mod inner { use super::super::super::node::Node; }",
            "pub(in crate::kernel) fn f() {}",
            "#[cfg(test)] mod tests {} use crate::node::Node;",
            "use crate::*;",
            "use crate::Node;",
            "use crate as c;",
            "use chronon_core::node::Node;",
            "const C: char = '\"'; use crate::node::Node; const D: char = '\"';",
            "const C: &str = r#\"\"\"#; use crate::node::Node;",
        ];
        for source in at_fault {
            assert_eq!(complaints("engine/journal.rs", source).len(), 1, "{source}");
        }
    }

    #[test]
    fn what_is_no_import_from_above_is_let_be() {
        let fine = [
            "use crate::types::{Op, View}; use super::disk::DiskOp; use self::x::Y;",
            "// use crate::node::Node;\n/* crate::node::Node /* nested */ crate::node */",
            "/// See [`crate::node::Node::step`].\nfn f() {}",
            "const C: &str = \"crate::node::Node\"; const D: &str = r#\"crate::node\"#;",
            "crate::notation_text!(X);",
            "macro_rules! m { () => { $crate::node::Node } }",
            "mod inner { use super::super::DiskOp; }",
            "pub(crate) fn f<'a>(x: &'a u8) {}",
            "#[cfg(test)] mod tests { use crate::node::Node; }",
        ];
        for source in fine {
            assert_eq!(complaints("engine/journal.rs", source), Vec::<String>::new(), "{source}");
        }
    }

    #[test]
    fn std_is_caught_outside_tests_and_let_be_inside() {
        let count = |name: &str, source: &str| std_violations(&[File::new(name, source)]).len();
        assert_eq!(count("codec/mod.rs", "extern crate std;"), 1);
        assert_eq!(count("codec/mod.rs", "fn f() { std::mem::drop(1); }"), 1);
        assert_eq!(count("codec/mod.rs", "#[cfg(test)] mod tests { use std::vec; }\nuse std::vec;"), 1);
        assert_eq!(
            count("codec/mod.rs", "#[cfg(test)]\n#[path = \"x.rs\"]\nmod tests { fn f() { std::vec![] } }"),
            0
        );
        assert_eq!(count("codec/mod.rs", "#[cfg(test)] extern crate std;"), 0);
        assert_eq!(count("codec/tests.rs", "use std::vec;"), 0);
    }

    #[test]
    fn a_circle_is_caught_directly_and_through_a_re_export() {
        let direct = [
            File::new("engine/mod.rs", "mod a; mod b;"),
            File::new("engine/a.rs", "use super::b::B;"),
            File::new("engine/b.rs", "use crate::engine::a::A;"),
        ];
        assert_eq!(circles(&direct), ["engine::a -> engine::b -> engine::a"]);
        let through_exports = [
            File::new("engine/mod.rs", "mod a; mod b; pub use a::A; pub use b::{self, B};"),
            File::new("engine/a/mod.rs", ""),
            File::new("engine/a/deep.rs", "fn f(b: crate::engine::B) {}"),
            File::new("engine/b.rs", "use crate::engine::A;"),
        ];
        assert_eq!(circles(&through_exports), ["engine::a -> engine::b -> engine::a"]);
    }

    #[test]
    fn a_chain_and_a_test_are_no_circle() {
        let files = [
            File::new("engine/mod.rs", "mod a; mod b; mod c;"),
            File::new("engine/a.rs", "use super::b::B; use super::c::C; use super::Shared;"),
            File::new("engine/b.rs", "use super::c::C; #[cfg(test)] mod tests { use super::super::a::A; }"),
            File::new("engine/c.rs", "use crate::types::Op;"),
        ];
        assert_eq!(circles(&files), Vec::<String>::new());
    }
}

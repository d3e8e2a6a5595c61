//! The file of a mutant.
//!
//! ```toml
//! name = "quorum-one-short"               # the file's name
//! seen = "where the bug was seen: a paper, a report"
//! fault = "power_loss"                    # what must expose it: a fault, a condition, or "none"
//! what = "An op commits with one durable copy less than a majority."
//! seeds = 300                             # optional: its own budget
//! equivalent = true                       # optional: not a bug, and must not be found
//! why = "why not"                         # of equivalents alone
//!
//! [[edit]]
//! file = "src/core/types/quorum.rs"
//! find = "text that stands there once"
//! replace = "text to put there"
//! ```

use std::fs;
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use crate::plan::FaultKind;
use crate::scenario::error::Located;

/// A planted bug, or an equivalent.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// Its name.
    pub name: String,
    /// What must expose it.
    pub fault: String,
    /// What it does.
    pub what: String,
    /// Why it must not be found, if it must not.
    pub equivalent: Option<String>,
    /// Its own budget, in seeds.
    pub seeds: Option<u64>,
    /// The hash of its file.
    pub digest: String,
    path: PathBuf,
    text: String,
    edits: Vec<EditShape>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Shape {
    name: Spanned<String>,
    seen: Spanned<String>,
    fault: Spanned<String>,
    what: Spanned<String>,
    #[serde(default)]
    equivalent: Option<Spanned<bool>>,
    why: Option<Spanned<String>>,
    seeds: Option<Spanned<u64>>,
    edit: Vec<EditShape>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EditShape {
    file: Spanned<String>,
    find: Spanned<String>,
    replace: Spanned<String>,
}

impl Mutant {
    /// The mutants of the tree at `root`, by name; all of them when none is named.
    ///
    /// # Errors
    /// A file that cannot be read or is no mutant, with line and column; a name that there is not, with those there are.
    pub fn load_all(root: &Path, names: &[String]) -> Result<Vec<Self>, String> {
        let folder = root.join(FOLDER);
        let refuse = |error| format!("{}: {error}", folder.display());
        let mut paths = Vec::new();
        for entry in fs::read_dir(&folder).map_err(refuse)? {
            let path = entry.map_err(refuse)?.path();
            if path.extension().is_some_and(|extension| extension == "toml") {
                paths.push(path);
            }
        }
        paths.sort();
        let all = paths.iter().map(|path| Self::load(path)).collect::<Result<Vec<_>, _>>()?;
        if names.is_empty() {
            return Ok(all);
        }
        let one = |name: &String| {
            let there = || all.iter().map(|mutant| mutant.name.as_str()).collect::<Vec<_>>().join(", ");
            let found = all.iter().find(|mutant| mutant.name == *name).cloned();
            found.ok_or_else(|| format!("there is no mutant `{name}`; there are {}", there()))
        };
        names.iter().map(one).collect()
    }

    /// Reads one file.
    ///
    /// # Errors
    /// The place of a mistake, what was found and what is allowed.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        let read = || {
            let shape: Shape = toml::from_str(&text).map_err(|error| Located::of_toml(&error))?;
            check(&shape, path)?;
            Ok(shape)
        };
        let shape = read().map_err(|error: Located| error.show(&path.display().to_string(), &text))?;
        Ok(Self {
            name: shape.name.into_inner(),
            fault: shape.fault.into_inner(),
            what: shape.what.into_inner(),
            equivalent: shape.why.map(Spanned::into_inner),
            seeds: shape.seeds.map(Spanned::into_inner),
            digest: blake3::hash(text.as_bytes()).to_hex().as_str().to_owned(),
            path: path.to_owned(),
            text,
            edits: shape.edit,
        })
    }

    /// The files that it edits, each once, with the text that they have when it is planted in the tree at `root`.
    ///
    /// # Errors
    /// The place of an edit whose text to find does not stand in its file exactly once.
    pub fn planted(&self, root: &Path) -> Result<Vec<(String, String)>, String> {
        let planted = || -> Result<Vec<(String, String)>, Located> {
            let mut files: Vec<&str> = self.edits.iter().map(|edit| edit.file.get_ref().as_str()).collect();
            files.sort_unstable();
            files.dedup();
            files.into_iter().map(|file| Ok((file.to_owned(), self.planted_in(root, file)?))).collect()
        };
        planted().map_err(|error| error.show(&self.path.display().to_string(), &self.text))
    }

    /// Every text to find is looked for in the file as it is, not in what another edit makes of it.
    fn planted_in(&self, root: &Path, file: &str) -> Result<String, Located> {
        let mut text = None;
        let mut places = Vec::new();
        for edit in self.edits.iter().filter(|edit| edit.file.get_ref() == file) {
            let unreadable = |error| Located::at(edit.file.span(), format!("{file}: {error}"));
            if text.is_none() {
                text = Some(fs::read_to_string(root.join(file)).map_err(unreadable)?);
            }
            let source = text.as_deref().unwrap_or_default();
            let found: Vec<usize> = source.match_indices(edit.find.get_ref()).map(|(at, _)| at).collect();
            let [at] = found[..] else {
                let what =
                    format!("the text to find stands {} times in {file}, and must stand once", found.len());
                return Err(Located::at(edit.find.span(), what));
            };
            places.push((at, edit));
        }
        places.sort_by_key(|(at, _)| *at);
        let (source, mut result, mut end) = (text.unwrap_or_default(), String::new(), 0);
        for (at, edit) in places {
            if at < end {
                let what = format!("the text to find overlaps that of another edit of {file}");
                return Err(Located::at(edit.find.span(), what));
            }
            result.push_str(&source[end..at]);
            result.push_str(edit.replace.get_ref());
            end = at + edit.find.get_ref().len();
        }
        result.push_str(&source[end..]);
        Ok(result)
    }
}

/// What a file says must make sense, whatever the tree.
fn check(shape: &Shape, path: &Path) -> Result<(), Located> {
    let refuse = |span, what: String| Err(Located::at(span, what));
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    if shape.name.get_ref() != stem {
        return refuse(shape.name.span(), format!("the name must be the file's, `{stem}`"));
    }
    let texts = [&shape.seen, &shape.fault, &shape.what].into_iter().chain(&shape.why);
    if let Some(empty) = texts.into_iter().find(|text| text.get_ref().trim().is_empty()) {
        return refuse(empty.span(), "this must not be empty".to_owned());
    }
    let fault = shape.fault.get_ref().as_str();
    let mut faults = FaultKind::WORDS.iter().map(|(word, _)| *word).chain(CONDITIONS);
    if !faults.any(|word| word == fault) {
        let words: Vec<&str> = FaultKind::WORDS.iter().map(|(word, _)| *word).chain(CONDITIONS).collect();
        return refuse(
            shape.fault.span(),
            format!("there is no fault `{fault}`; there are {}", words.join(", ")),
        );
    }
    match (&shape.equivalent, &shape.why) {
        (Some(equivalent), None) if *equivalent.get_ref() => {
            return refuse(equivalent.span(), "`why` is missing: why it must not be found".to_owned());
        }
        (equivalent, Some(why)) if !equivalent.as_ref().is_some_and(|equivalent| *equivalent.get_ref()) => {
            return refuse(why.span(), "`why` belongs to `equivalent = true`".to_owned());
        }
        _ => {}
    }
    if let Some(seeds) = shape.seeds.as_ref().filter(|seeds| *seeds.get_ref() == 0) {
        return refuse(seeds.span(), "at least one seed".to_owned());
    }
    if shape.edit.is_empty() {
        return Err(Located::nowhere("at least one [[edit]] is needed".to_owned()));
    }
    for edit in &shape.edit {
        let file = Path::new(edit.file.get_ref());
        if !file.components().all(|part| matches!(part, Component::Normal(_))) {
            return refuse(edit.file.span(), "a path inside the tree, such as src/core/lib.rs".to_owned());
        }
        if edit.find.get_ref().is_empty() || edit.find == edit.replace {
            let what = "a text, and another one than the text to put there".to_owned();
            return refuse(edit.find.span(), what);
        }
    }
    Ok(())
}

/// What exposes a bug and is no fault of the plan.
const CONDITIONS: [&str; 3] = ["duplicates", "few sessions", "none"];
/// Where mutants lie in the tree.
const FOLDER: &str = "sim/mutants";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::Mutant;

    const HEAD: &str = "name = 'twice'\nseen = 's'\nfault = 'none'\nwhat = 'w'\n";

    fn edit(find: &str, replace: &str) -> String {
        format!("[[edit]]\nfile = \"a.rs\"\nfind = '{find}'\nreplace = '{replace}'\n")
    }

    /// What is wrong with a file of this text, in a tree where `a.rs` is "one two two".
    fn planted(text: &str) -> Result<Vec<(String, String)>, String> {
        let root = tempfile::tempdir().expect("a folder");
        let file = root.path().join("twice.toml");
        fs::write(root.path().join("a.rs"), "one two two").expect("a file");
        fs::write(&file, text).expect("a file");
        let result = Mutant::load(&file).and_then(|mutant| mutant.planted(root.path()));
        result.map_err(|error| error.replace(&file.display().to_string(), "twice.toml"))
    }

    #[test]
    fn edits_are_made_where_their_text_stands_once() {
        let made = |text: &str| Ok(vec![("a.rs".to_owned(), text.to_owned())]);
        assert_eq!(planted(&format!("{HEAD}{}", edit("one", "1"))), made("1 two two"));
        // The second is looked for in the file, not in what the first makes of it.
        let both = format!("{HEAD}{}{}", edit("e two", "e 2"), edit("on", "e two on"));
        assert_eq!(planted(&both), made("e two one 2 two"));
        let equivalent = format!("{HEAD}equivalent = true\nwhy = 'y'\nseeds = 7\n{}", edit("one", "1"));
        assert_eq!(planted(&equivalent), made("1 two two"));
    }

    #[test]
    fn a_mutant_that_cannot_be_planted_is_told_with_its_place() {
        let cases = [
            (
                format!("{HEAD}{}", edit("two", "x")),
                "twice.toml:7:8: the text to find stands 2 times in a.rs",
            ),
            (
                format!("{HEAD}{}", edit("three", "x")),
                "twice.toml:7:8: the text to find stands 0 times in a.rs",
            ),
            (
                format!("{HEAD}{}{}", edit("one t", "x"), edit("e tw", "x")),
                "twice.toml:11:8: the text to find overlaps",
            ),
            (format!("{HEAD}{}", edit("one", "one")), "twice.toml:7:8: a text, and another one"),
            (format!("{HEAD}{}", edit("one", "x").replace("a.rs", "b.rs")), "twice.toml:6:8: b.rs: "),
            (
                format!("{HEAD}{}", edit("one", "x").replace("a.rs", "../a.rs")),
                "twice.toml:6:8: a path inside",
            ),
            (HEAD.to_owned(), "twice.toml:1:1: missing field `edit`"),
            (format!("{HEAD}edit = []\n"), "twice.toml: at least one [[edit]]"),
            (
                HEAD.replace("twice", "once") + &edit("one", "x"),
                "twice.toml:1:8: the name must be the file's, `twice`",
            ),
            (
                HEAD.replace("none", "noon") + &edit("one", "x"),
                "twice.toml:3:9: there is no fault `noon`; there are crash, ",
            ),
            (HEAD.replace("'w'", "' '") + &edit("one", "x"), "twice.toml:4:8: this must not be empty"),
            (format!("{HEAD}sead = 1\n{}", edit("one", "x")), "twice.toml:5:1: unknown field `sead`"),
            (format!("{HEAD}equivalent = true\n{}", edit("one", "x")), "twice.toml:5:14: `why` is missing"),
            (format!("{HEAD}why = 'y'\n{}", edit("one", "x")), "twice.toml:5:7: `why` belongs to"),
            (format!("{HEAD}seeds = 0\n{}", edit("one", "x")), "twice.toml:5:9: at least one seed"),
        ];
        for (text, expected) in cases {
            let error = planted(&text).expect_err(expected);
            assert!(error.starts_with(expected), "{error}\ninstead of {expected}");
        }
    }
}

//! A copy of the tree in which mutants are planted and built.

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;

use super::mutant::Mutant;
use super::process::{Ended, Running};

/// A copy, locked as long as this lives. It stays where it is: the next one there builds what has changed since.
pub struct Tree {
    work: PathBuf,
    hash: String,
    _lock: File,
}

/// The product's files, by their path in the tree.
type Files = BTreeMap<PathBuf, Vec<u8>>;

impl Tree {
    /// Makes the copy in `work` like the tree at `root`: all of its files but those below `target` and `.git`.
    ///
    /// # Errors
    /// What file refuses, and why; another process that works in `work`.
    pub fn copy(root: &Path, work: &Path) -> Result<Self, String> {
        let told = |path: &Path| {
            let path = path.display().to_string();
            move |error: io::Error| format!("{path}: {error}")
        };
        let copy = work.join(COPY);
        fs::create_dir_all(&copy).map_err(told(&copy))?;
        let lock_path = work.join("lock");
        let lock = File::create(&lock_path).map_err(told(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!("{}: another process plants bugs there", work.display()));
            }
            Err(TryLockError::Error(error)) => return Err(told(&lock_path)(error)),
        }
        let (files, there) = (files_below(root)?, files_below(&copy)?);
        for path in there.keys().filter(|path| !files.contains_key(*path)) {
            fs::remove_file(copy.join(path)).map_err(told(path))?;
        }
        let mut hasher = blake3::Hasher::new();
        for (path, content) in &files {
            // What is as it was keeps its time, and is not built again.
            if there.get(path) != Some(content) {
                write(&copy, path, content)?;
            }
            if is_built(path) {
                hasher.update(path.as_os_str().as_encoded_bytes()).update(blake3::hash(content).as_bytes());
            }
        }
        let hash = hasher.finalize().to_hex().as_str().to_owned();
        Ok(Self { work: work.to_owned(), hash, _lock: lock })
    }

    /// The hash of the tree: mutants judged in another one may be judged otherwise.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// A folder for what is written while a mutant is judged.
    pub(super) fn work(&self) -> &Path {
        &self.work
    }

    /// Builds the simulator with `mutant` in it, or as it is; where the program lies, or what the compiler says. After
    /// that the copy is as it was.
    pub(super) fn build(
        &self,
        mutant: Option<&Mutant>,
        stop: &AtomicBool,
    ) -> Result<Result<PathBuf, String>, Ended> {
        let Some(mutant) = mutant else { return self.build_copy(stop) };
        // The copy's own texts: the tree may have changed since.
        let copy = self.work.join(COPY);
        let mut originals = Vec::new();
        for (file, text) in mutant.planted(&copy).map_err(Ended::Failed)? {
            let path = copy.join(&file);
            let original = fs::read(&path).map_err(failed(&path))?;
            originals.push((file, text, original));
        }
        let put = |file: &str, text: &[u8]| write(&copy, Path::new(file), text).map_err(Ended::Failed);
        originals.iter().try_for_each(|(file, text, _)| put(file, text.as_bytes()))?;
        let built = self.build_copy(stop);
        originals.iter().try_for_each(|(file, _, original)| put(file, original))?;
        built
    }

    fn build_copy(&self, stop: &AtomicBool) -> Result<Result<PathBuf, String>, Ended> {
        let (target, log) = (self.work.join("target"), self.work.join("build.log"));
        self.drop_half_built(&target)?;
        let errors = File::create(&log).map_err(failed(&log))?;
        let half_built = self.work.join(HALF_BUILT);
        File::create(&half_built).map_err(failed(&half_built))?;
        let mut cargo = Command::new("cargo");
        cargo
            .args([
                "build",
                "--quiet",
                "--locked",
                "--profile",
                PROFILE,
                "-p",
                "chronon-sim",
                "--bin",
                "chronon-sim",
            ])
            .current_dir(self.work.join(COPY))
            .env("CARGO_TARGET_DIR", &target)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors);
        let status = Running::start(&mut cargo)?.wait(stop, None)?;
        fs::remove_file(&half_built).map_err(failed(&half_built))?;
        if status.success() {
            return Ok(Ok(target.join(PROFILE).join("chronon-sim")));
        }
        let log = fs::read_to_string(&log).unwrap_or_else(|error| format!("{}: {error}", log.display()));
        let first = log.lines().find(|line| line.starts_with("error")).or(log.lines().next());
        Ok(Err(first.unwrap_or("cargo says nothing").to_owned()))
    }

    /// Removes what a build left that was killed: objects of two trees may lie there side by side, and Cargo would link
    /// them.
    fn drop_half_built(&self, target: &Path) -> Result<(), Ended> {
        let built = target.join(PROFILE);
        if self.work.join(HALF_BUILT).exists() && built.exists() {
            fs::remove_dir_all(&built).map_err(failed(&built))?;
        }
        Ok(())
    }
}

fn failed(path: &Path) -> impl Fn(io::Error) -> Ended {
    let path = path.display().to_string();
    move |error| Ended::Failed(format!("{path}: {error}"))
}

/// Whether a file is part of the program. Of the others, a mutant is judged by its own text whatever the rest say.
fn is_built(path: &Path) -> bool {
    let is_source = path.extension().is_some_and(|extension| extension == "rs");
    is_source || path.ends_with("Cargo.toml") || path.ends_with("Cargo.lock")
}

fn write(copy: &Path, path: &Path, content: &[u8]) -> Result<(), String> {
    let path = copy.join(path);
    let folder = path.parent().unwrap_or(copy);
    let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, content));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

fn files_below(root: &Path) -> Result<Files, String> {
    let mut files = Files::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let here = root.join(&folder);
        let refuse = |error: io::Error| format!("{}: {error}", here.display());
        for entry in fs::read_dir(&here).map_err(refuse)? {
            let entry = entry.map_err(refuse)?;
            let (name, kind) = (entry.file_name(), entry.file_type().map_err(refuse)?);
            let path = folder.join(&name);
            if kind.is_dir() && !LEFT_OUT.iter().any(|left_out| name == *left_out) {
                folders.push(path);
            } else if kind.is_file() {
                let content = fs::read(root.join(&path));
                files.insert(path, content.map_err(refuse)?);
            }
        }
    }
    Ok(files)
}

/// The copy, in its folder.
const COPY: &str = "tree";
/// A file that is there while Cargo builds.
const HALF_BUILT: &str = "half-built";
/// Declared in the tree's Cargo.toml.
const PROFILE: &str = "mutants";
const LEFT_OUT: [&str; 2] = ["target", ".git"];

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{HALF_BUILT, PROFILE, Tree};

    #[test]
    fn what_a_killed_build_left_is_not_built_upon() {
        let (root, work) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let tree = Tree::copy(root.path(), work.path()).expect("a copy");
        let target = work.path().join("target");
        let object = target.join(PROFILE).join("object");
        super::write(&target, &object, b"of a tree").expect("a file");
        tree.drop_half_built(&target).expect("nothing to do");
        assert!(object.exists());
        fs::write(work.path().join(HALF_BUILT), "").expect("a file");
        tree.drop_half_built(&target).expect("a clean start");
        assert!(!object.exists());
    }

    #[test]
    fn the_copy_is_the_tree_and_a_file_that_did_not_change_keeps_its_time() {
        let (root, work) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        for (file, text) in [("a.rs", "a"), ("src/b.rs", "b"), ("target/c", "c"), (".git/d", "d")] {
            super::write(root.path(), file.as_ref(), text.as_bytes()).expect("a file");
        }
        let first = Tree::copy(root.path(), work.path()).expect("a copy");
        assert!(Tree::copy(root.path(), work.path()).is_err_and(|error| error.contains("another process")));
        let hash = first.hash().to_owned();
        drop(first);
        let copy = work.path().join("tree");
        let time = || fs::metadata(copy.join("a.rs")).and_then(|data| data.modified()).expect("a time");
        let before = time();
        fs::write(copy.join("src/b.rs"), "planted").expect("a file");
        fs::write(copy.join("left.rs"), "gone from the tree").expect("a file");
        let again = Tree::copy(root.path(), work.path()).expect("a copy");
        assert_eq!((again.hash(), time()), (hash.as_str(), before));
        assert_eq!(fs::read_to_string(copy.join("src/b.rs")).expect("a file"), "b");
        assert!(
            !copy.join("left.rs").exists() && !copy.join("target").exists() && !copy.join(".git").exists()
        );
    }
}

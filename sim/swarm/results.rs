//! `DIR/results.jsonl`: what a swarm was in the first line, then a line a run.
//!
//! Lines are appended whole, each by one write, as the runs end. Whoever stops the swarm, and however, leaves a file
//! that can be read: only its last line may be cut off, and that one is left out by whoever reads it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::record::{Record, read_json};
use super::seeds::Seeds;
use crate::units::Shard;

/// What a swarm was: results that differ in it do not belong together.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    #[serde(rename = "type")]
    line: LineOfSwarm,
    /// The first seed.
    pub start: u64,
    /// How many; no end when there is none.
    pub seeds: Option<u64>,
    /// Which of the seeds.
    #[serde(with = "shard_text")]
    pub shard: Option<Shard>,
    /// Each was run twice and compared.
    pub check_determinism: bool,
    /// The version of the program.
    pub version: String,
    /// The hash of the program: another program may run the same seed another way.
    pub program: String,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum LineOfSwarm {
    #[serde(rename = "swarm")]
    Swarm,
}

impl Header {
    /// The header of a swarm that this program runs.
    ///
    /// # Errors
    /// When the program's own file cannot be read.
    pub fn new(
        start: u64,
        seeds: Option<u64>,
        shard: Option<Shard>,
        check_determinism: bool,
    ) -> io::Result<Self> {
        let program = blake3::hash(&fs::read(std::env::current_exe()?)?).to_hex().as_str().to_owned();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        Ok(Self { line: LineOfSwarm::Swarm, start, seeds, shard, check_determinism, version, program })
    }

    /// The seeds that it names.
    ///
    /// # Errors
    /// When there are no such seeds.
    pub fn seeds(&self) -> Result<Seeds, String> {
        Seeds::new(self.start, self.seeds, self.shard)
    }

    /// As the arguments that made it.
    pub fn arguments(&self) -> String {
        let mut text = format!("--start {}", self.start);
        if let Some(seeds) = self.seeds {
            text += &format!(" --seeds {seeds}");
        }
        if let Some(shard) = self.shard {
            text += &format!(" --shard {shard}");
        }
        if self.check_determinism {
            text += " --check-determinism";
        }
        text
    }
}

/// What a results file holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Past {
    /// The file.
    pub path: PathBuf,
    /// What the swarm was.
    pub header: Header,
    /// The runs, as they ended.
    pub records: Vec<Record>,
    /// The last line was cut off, and is left out.
    pub torn: bool,
    /// Where the last whole line ends.
    end: u64,
}

/// Why results cannot be read or written.
#[derive(Debug, Error)]
pub enum ResultsError {
    /// A file or folder refuses.
    #[error("{}: {error}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What it says.
        error: io::Error,
    },
    /// A line is not what it must be.
    #[error("{}:{line}:{column}: {what}", path.display())]
    Line {
        /// Of which file.
        path: PathBuf,
        /// From 1.
        line: u64,
        /// From 1, in bytes.
        column: usize,
        /// What was found and what is allowed.
        what: String,
    },
    /// There are no results.
    #[error("{}: no results: `swarm --out DIR` writes {RESULTS} into DIR", dir.display())]
    Missing {
        /// Where they were looked for.
        dir: PathBuf,
    },
    /// There are results already.
    #[error("{} exists: --resume goes on with it, and another DIR begins anew", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another process writes to the file.
    #[error("{}: another process is writing to it", path.display())]
    Busy {
        /// The file.
        path: PathBuf,
    },
    /// Results of different programs do not add up.
    #[error(
        "{} and {} come from different programs ({} and {}): only results of one build can be put together",
        one.0.display(), other.0.display(), one.1, other.1
    )]
    Programs {
        /// A file, and the program that wrote it.
        one: (PathBuf, String),
        /// Another one.
        other: (PathBuf, String),
    },
}

/// Reads the results in `dir`; `None` when there are none, or not even a whole first line.
///
/// # Errors
/// [`ResultsError`] when the file cannot be read, or a whole line of it is not what a swarm writes.
pub fn read(dir: &Path) -> Result<Option<Past>, ResultsError> {
    let path = dir.join(RESULTS);
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ResultsError::Io { path, error }),
    };
    let mut lines =
        WholeLines { file: BufReader::new(file), path: &path, line: Vec::new(), number: 0, end: 0 };
    let Some(header) = lines.next(read_json::<Header>)? else { return Ok(None) };
    if let Err(what) = header.seeds() {
        return Err(ResultsError::Line { path, line: 1, column: 1, what });
    }
    let mut records = Vec::new();
    while let Some(record) = lines.next(Record::read)? {
        records.push(record);
    }
    let (torn, end) = (!lines.line.is_empty(), lines.end);
    Ok(Some(Past { header, records, torn, end, path }))
}

/// The lines of a file that have an end.
struct WholeLines<'a> {
    file: BufReader<File>,
    path: &'a Path,
    /// The last line read; not empty after the last one when that was cut off.
    line: Vec<u8>,
    number: u64,
    end: u64,
}

impl WholeLines<'_> {
    fn next<T>(
        &mut self,
        read: impl FnOnce(&[u8]) -> Result<T, (usize, String)>,
    ) -> Result<Option<T>, ResultsError> {
        let path = || self.path.to_owned();
        self.line.clear();
        let length = self
            .file
            .read_until(b'\n', &mut self.line)
            .map_err(|error| ResultsError::Io { path: path(), error })?;
        let Some(line) = self.line.strip_suffix(b"\n") else { return Ok(None) };
        self.number += 1;
        self.end += length as u64;
        let number = self.number;
        let refuse = |(column, what)| ResultsError::Line { path: path(), line: number, column, what };
        read(line).map(Some).map_err(refuse)
    }
}

/// A results file that is being written. It is locked as long as this lives.
#[derive(Debug)]
pub struct Results {
    file: File,
    path: PathBuf,
}

impl Results {
    /// Opens the file in `dir`, both made if they are not there, and reads what it holds; `None` when that is not even
    /// a whole first line. Then [`Self::begin`] or [`Self::go_on`].
    ///
    /// # Errors
    /// [`ResultsError`] when the file cannot be written or read, or another process writes to it.
    pub fn open(dir: &Path) -> Result<(Self, Option<Past>), ResultsError> {
        fs::create_dir_all(dir).map_err(|error| ResultsError::Io { path: dir.to_owned(), error })?;
        let path = dir.join(RESULTS);
        let refuse = |error| ResultsError::Io { path: path.clone(), error };
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(refuse)?;
        // Before it is read: a swarm that is just ending must not add lines after that.
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ResultsError::Busy { path }),
            Err(TryLockError::Error(error)) => return Err(refuse(error)),
        }
        Ok((Self { file, path }, read(dir)?))
    }

    /// Makes it the file of a new swarm.
    ///
    /// # Errors
    /// [`ResultsError`] when the file cannot be written.
    pub fn begin(&mut self, header: &Header) -> Result<(), ResultsError> {
        self.cut(0)?;
        self.write(serde_json::to_string(header).expect("plain data is always JSON"))
    }

    /// Goes on after what was read; a line that was cut off is taken away.
    ///
    /// # Errors
    /// [`ResultsError`] when the file cannot be written.
    pub fn go_on(&mut self, past: &Past) -> Result<(), ResultsError> {
        self.cut(past.end)
    }

    /// Appends a run.
    ///
    /// # Errors
    /// [`ResultsError`] when the file cannot be written.
    pub fn add(&mut self, record: &Record) -> Result<(), ResultsError> {
        self.write(record.to_line())
    }

    fn cut(&mut self, end: u64) -> Result<(), ResultsError> {
        let cut = self.file.set_len(end).and_then(|()| self.file.seek(SeekFrom::Start(end)));
        cut.map(drop).map_err(|error| ResultsError::Io { path: self.path.clone(), error })
    }

    fn write(&mut self, mut line: String) -> Result<(), ResultsError> {
        line.push('\n');
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|error| ResultsError::Io { path: self.path.clone(), error })
    }
}

/// A shard as `--shard` takes it.
mod shard_text {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::units::Shard;

    pub(super) fn serialize<S: Serializer>(shard: &Option<Shard>, to: S) -> Result<S::Ok, S::Error> {
        shard.map(|shard| shard.to_string()).serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Shard>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| Shard::parse(&text)).transpose().map_err(serde::de::Error::custom)
    }
}

/// The name of the file in its folder.
const RESULTS: &str = "results.jsonl";

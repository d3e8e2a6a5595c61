//! Files of results: what they are results of in the first line, then a line a result, all of it JSON.
//!
//! Lines are appended whole, each by one write, as the results come. Whoever stops the writer, and however, leaves a
//! file that can be read: only its last line may be cut off, and that one is left out by whoever reads it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

/// What a file of results holds.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Past<H, R> {
    /// The file.
    pub path: PathBuf,
    /// What they are results of.
    pub header: H,
    /// The results, as they came.
    pub records: Vec<R>,
    /// The last line was cut off, and is left out.
    pub torn: bool,
    /// Where the last whole line ends.
    end: u64,
}

/// What is wrong with a line: the column, from 1 in bytes, and what was found and is allowed.
pub type LineError = (usize, String);

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
    #[error("{}: no results: `swarm --out DIR` writes them into DIR", dir.display())]
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

/// Reads one JSON value.
///
/// # Errors
/// [`LineError`] when the line is not such a value.
pub fn read_json<T: DeserializeOwned>(line: &[u8]) -> Result<T, LineError> {
    serde_json::from_slice(line).map_err(|error| {
        let what = error.to_string();
        // The line is this one alone: its place in the file is for the caller to say.
        let what = what.rsplit_once(" at line ").map_or(what.as_str(), |(what, _)| what);
        (error.column().max(1), what.to_owned())
    })
}

/// Reads a file by what reads its first line and what reads the others; `None` when it is not there, or has not even a
/// whole first line.
///
/// # Errors
/// [`ResultsError`] when the file cannot be read, or a whole line of it is not what it must be.
pub fn read_lines<H, R>(
    path: &Path,
    read_header: impl Fn(&[u8]) -> Result<H, LineError>,
    read_record: impl Fn(&[u8]) -> Result<R, LineError>,
) -> Result<Option<Past<H, R>>, ResultsError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ResultsError::Io { path: path.to_owned(), error }),
    };
    let mut lines = WholeLines { file: BufReader::new(file), path, line: Vec::new(), number: 0, end: 0 };
    let Some(header) = lines.next(read_header)? else { return Ok(None) };
    let mut records = Vec::new();
    while let Some(record) = lines.next(&read_record)? {
        records.push(record);
    }
    let (torn, end) = (!lines.line.is_empty(), lines.end);
    Ok(Some(Past { path: path.to_owned(), header, records, torn, end }))
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
        read: impl FnOnce(&[u8]) -> Result<T, LineError>,
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

/// A file of results that is being written. It is locked as long as this lives.
#[derive(Debug)]
pub struct Results {
    file: File,
    path: PathBuf,
}

impl Results {
    /// Opens the file, which is made with its folder if it is not there, and reads what it holds, as [`read_lines`] does.
    /// Then [`Self::begin`] or [`Self::go_on`].
    ///
    /// # Errors
    /// [`ResultsError`] when the file cannot be written or read, or another process writes to it.
    pub fn open<H, R>(
        path: &Path,
        read_header: impl Fn(&[u8]) -> Result<H, LineError>,
        read_record: impl Fn(&[u8]) -> Result<R, LineError>,
    ) -> Result<(Self, Option<Past<H, R>>), ResultsError> {
        let refuse = |error| ResultsError::Io { path: path.to_owned(), error };
        fs::create_dir_all(path.parent().unwrap_or(Path::new("."))).map_err(refuse)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path).map_err(refuse)?;
        // Before it is read: whoever is just ending must not add lines after that.
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(ResultsError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(error)) => return Err(refuse(error)),
        }
        Ok((Self { file, path: path.to_owned() }, read_lines(path, read_header, read_record)?))
    }

    /// Makes it a new file, of what `header` says.
    ///
    /// # Errors
    /// [`ResultsError`] when the file cannot be written.
    pub fn begin(&mut self, header: &impl Serialize) -> Result<(), ResultsError> {
        self.cut(0)?;
        self.add(header)
    }

    /// Goes on after what was read; a line that was cut off is taken away.
    ///
    /// # Errors
    /// [`ResultsError`] when the file cannot be written.
    pub fn go_on<H, R>(&mut self, past: &Past<H, R>) -> Result<(), ResultsError> {
        self.cut(past.end)
    }

    /// Appends a line.
    ///
    /// # Errors
    /// [`ResultsError`] when the file cannot be written.
    pub fn add(&mut self, record: &impl Serialize) -> Result<(), ResultsError> {
        let mut line = serde_json::to_string(record).expect("plain data is always JSON");
        line.push('\n');
        let written = self.file.write_all(line.as_bytes());
        written.map_err(|error| ResultsError::Io { path: self.path.clone(), error })
    }

    fn cut(&mut self, end: u64) -> Result<(), ResultsError> {
        let cut = self.file.set_len(end).and_then(|()| self.file.seek(SeekFrom::Start(end)));
        cut.map(drop).map_err(|error| ResultsError::Io { path: self.path.clone(), error })
    }
}

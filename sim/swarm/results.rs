//! `DIR/results.jsonl`: what a swarm was in the first line, then a line a run.

use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::record::Record;
use super::seeds::Seeds;
use crate::lines::{self, LineError, Results, ResultsError, read_json, read_lines};
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

    fn read(line: &[u8]) -> Result<Self, LineError> {
        let header: Self = read_json(line)?;
        header.seeds().map_err(|what| (1, what))?;
        Ok(header)
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
pub type Past = lines::Past<Header, Record>;

/// Reads the results in `dir`; `None` when there are none.
///
/// # Errors
/// [`ResultsError`] when the file cannot be read, or a whole line of it is not what a swarm writes.
pub fn read(dir: &Path) -> Result<Option<Past>, ResultsError> {
    read_lines(&dir.join(RESULTS), Header::read, Record::read)
}

/// Opens the file in `dir` for writing, and reads what it holds.
///
/// # Errors
/// [`ResultsError`] when the file cannot be written or read, or another process writes to it.
pub fn open(dir: &Path) -> Result<(Results, Option<Past>), ResultsError> {
    Results::open(&dir.join(RESULTS), Header::read, Record::read)
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

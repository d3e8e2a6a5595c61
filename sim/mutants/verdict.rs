//! What came of a mutant: one line of JSON.

use serde::{Deserialize, Serialize};

use super::mutant::Mutant;
use crate::lines::{LineError, read_json};

/// What mutants were judged by: verdicts that differ in it do not belong together.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MutantsHeader {
    #[serde(rename = "type")]
    line: LineOfMutants,
    /// The hash of the tree.
    pub tree: String,
    /// Seeds for each, at most.
    pub seeds: u64,
    /// Time for the swarm of each, at most.
    pub time_ns: u64,
    /// Time for the shrinking of each, at most; none when they are not shrunk.
    pub shrink_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum LineOfMutants {
    #[serde(rename = "mutants")]
    Mutants,
}

impl MutantsHeader {
    /// Of a tree, and a budget.
    pub fn new(tree: &str, seeds: u64, time_ns: u64, shrink_ns: Option<u64>) -> Self {
        Self { line: LineOfMutants::Mutants, tree: tree.to_owned(), seeds, time_ns, shrink_ns }
    }

    /// Reads the first line of a file.
    ///
    /// # Errors
    /// [`LineError`] when it is no such line.
    pub fn read(line: &[u8]) -> Result<Self, LineError> {
        read_json(line)
    }
}

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    #[serde(rename = "type")]
    line: LineOfMutant,
    /// Its name.
    pub name: String,
    /// The hash of its file.
    pub digest: String,
    /// It is no bug, and must not be found.
    pub equivalent: bool,
    /// What must expose it.
    pub fault: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Seeds tried: up to the lowest that finds it, or all.
    pub seeds: u64,
    /// How long the build took.
    pub build_ms: u64,
    /// How long the swarm took until the bug was found, or in all.
    pub swarm_ms: u64,
    /// Whether the fault that it names is what exposes it.
    pub exposed: Exposed,
    /// What is left of the failing run when it is shrunk.
    pub smallest: Smallest,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum LineOfMutant {
    #[serde(rename = "mutant")]
    Mutant,
}

/// How a mutant ended.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// A run failed.
    Found(Finding),
    /// All seeds of the budget held.
    Survived,
    /// The time of the budget was over before its seeds were.
    OutOfTime,
    /// It does not build: what the compiler says first.
    DoesNotBuild(String),
    /// The swarm ended without a summary, or a run without a verdict: how.
    Broke(String),
}

/// The failure of the lowest seed.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finding {
    /// The seed.
    pub seed: u64,
    /// The exit status of the command.
    pub exit: u8,
    /// The invariant that broke, or a word.
    pub kind: String,
    /// Where it was noticed.
    pub site: String,
    /// What failed, in words.
    pub cause: String,
}

/// Whether a bug is found because of the fault that it names: the same run without that fault holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exposed {
    /// It names no fault of the plan, or was not found.
    NotAsked,
    /// It is, in the run of this seed.
    Shown(u64),
    /// It is not in so many runs that found it: something else exposes it there too.
    NotShown(u64),
}

/// The failing run, shrunk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Smallest {
    /// Nobody asked for it, or nothing failed.
    NotAsked,
    /// What is left.
    Run(ShrunkRun),
    /// The command that shrinks failed: how.
    Failed(String),
}

/// What `shrink` says of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShrunkRun {
    /// The invariant that breaks, or a word.
    pub kind: String,
    /// Faults of the plan.
    pub faults: BeforeAfter,
    /// How long it took.
    pub wall_secs: f64,
    /// Nothing that could be left out was left in.
    pub finished: bool,
}

/// A number before and after.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
pub struct BeforeAfter {
    /// Before.
    pub before: u64,
    /// After.
    pub after: u64,
}

impl Verdict {
    /// The verdict on a mutant; nothing was asked beyond its outcome.
    pub fn new(mutant: &Mutant, outcome: Outcome, seeds: u64, [build_ms, swarm_ms]: [u64; 2]) -> Self {
        Self {
            line: LineOfMutant::Mutant,
            name: mutant.name.clone(),
            digest: mutant.digest.clone(),
            equivalent: mutant.equivalent.is_some(),
            fault: mutant.fault.clone(),
            outcome,
            seeds,
            build_ms,
            swarm_ms,
            exposed: Exposed::NotAsked,
            smallest: Smallest::NotAsked,
        }
    }

    /// Whether it is as it must be: a bug is found, an equivalent is not.
    pub fn is_right(&self) -> bool {
        match self.outcome {
            Outcome::Found(_) => !self.equivalent,
            Outcome::Survived => self.equivalent,
            Outcome::OutOfTime | Outcome::DoesNotBuild(_) | Outcome::Broke(_) => false,
        }
    }

    /// Reads a line.
    ///
    /// # Errors
    /// [`LineError`] when it is no such line.
    pub fn read(line: &[u8]) -> Result<Self, LineError> {
        read_json(line)
    }
}

//! What is kept of a run: one line of JSON.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use crate::lines::{LineError, read_json};
use crate::marks::MarkCounts;
use crate::oracle::Counts;
use crate::run::{ALL_HELD, Cause, CauseKey, Report};
use crate::tally::Tally;
use crate::units::quoted;

/// How a run ended, as results files and `--json` show it.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    #[serde(rename = "type")]
    line: LineOfRun,
    /// The scenario, if it was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The seed.
    pub seed: u64,
    /// The exit status of the command, had this been the only run.
    pub exit: u8,
    /// The kind of failure: an invariant, or a word.
    pub kind: Option<String>,
    /// Where the failure was noticed. Failures of one kind and site are taken for one bug.
    pub site: Option<String>,
    /// What failed, in words.
    pub cause: Option<String>,
    /// The hash of the trace, in hex.
    pub trace: String,
    /// Steps of nodes.
    pub steps: u64,
    /// World time at the end.
    pub simulated_ns: u64,
    /// Time on the wall.
    pub wall_us: u64,
    /// How many nodes.
    pub nodes: u32,
    /// How many groups.
    pub groups: u64,
    /// What there was of everything.
    pub tally: Tally,
    /// How much the oracles compared, by invariant.
    pub compared: Counts,
    /// The marks that it passed, and how often.
    pub marks: MarkCounts,
    /// The command that runs it once more.
    pub replay: String,
}

/// Tells the line of a run from the first line of a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, Deserialize)]
enum LineOfRun {
    #[serde(rename = "run")]
    Run,
}

impl Record {
    /// What is kept of the run of a seed.
    pub fn of_seed(report: &Report) -> Self {
        Self::new(report, &report.seed.to_string())
    }

    /// What is kept of the run of a scenario file.
    pub fn of_scenario(report: &Report, name: &str, file: &str) -> Self {
        Self { name: Some(name.to_owned()), ..Self::new(report, file) }
    }

    fn new(report: &Report, what: &str) -> Self {
        let key = report.cause.as_ref().map(Cause::key);
        let (kind, site) = key.map(|key| (key.kind, key.site)).unzip();
        Self {
            line: LineOfRun::Run,
            name: None,
            seed: report.seed,
            exit: report.exit_code(),
            kind,
            site,
            cause: report.cause.as_ref().map(ToString::to_string),
            trace: report.hash.to_string(),
            steps: report.steps,
            simulated_ns: report.simulated.as_nanos(),
            wall_us: u64::try_from(report.wall.as_micros()).unwrap_or(u64::MAX),
            nodes: report.nodes,
            groups: report.groups as u64,
            tally: report.tally.clone(),
            compared: report.counts.clone(),
            marks: report.marks.clone(),
            replay: replay_of(what, report.cause.as_ref()),
        }
    }

    /// What the failure shares with others of its bug; `None` when all held.
    pub fn key(&self) -> Option<CauseKey> {
        let (kind, site) = (self.kind.clone()?, self.site.clone()?);
        Some(CauseKey { exit: self.exit, kind, site })
    }

    /// As a line, without its end.
    pub fn to_line(&self) -> String {
        serde_json::to_string(self).expect("plain data is always JSON")
    }

    /// Reads a line that [`Self::to_line`] wrote.
    ///
    /// # Errors
    /// [`LineError`] when it is no such line.
    pub fn read(line: &[u8]) -> Result<Self, LineError> {
        let record: Self = read_json(line)?;
        let told = [&record.kind, &record.site, &record.cause].map(Option::is_some);
        if told != [record.exit != ALL_HELD; 3] {
            let what = format!("exit {}: kind, site and cause belong to a failure, all or none", record.exit);
            return Err((1, what));
        }
        Ok(record)
    }
}

fn replay_of(what: &str, cause: Option<&Cause>) -> String {
    let how = match cause {
        Some(Cause::NotDeterministic { .. }) => "--check-determinism",
        _ => "--trace",
    };
    format!("{} replay {} {how}", program(), quoted(what))
}

/// How the program that runs is called on a command line.
pub(crate) fn program() -> &'static str {
    PROGRAM.get().copied().unwrap_or("chronon-sim")
}

/// Set by programs of others, once, before anything runs: it is for people to copy.
pub(crate) static PROGRAM: OnceLock<&str> = OnceLock::new();

#[cfg(test)]
mod tests {
    use chronon_core::builtin::Builtin;

    use super::Record;
    use crate::run::{Cause, Simulation};
    use crate::workload::BuiltinWorkload;

    #[test]
    fn a_line_that_is_written_is_read_back() {
        let simulation = Simulation::new(Builtin, BuiltinWorkload::default());
        let mut config = simulation.config_of_seed(3);
        config.steps_max = 2_000;
        let report = simulation.run(config, None);
        assert!(report.cause.is_some(), "out of steps");
        for record in [
            Record::of_seed(&report),
            Record::of_scenario(&report, "two \"words\"\n", "a b.toml"),
            Record::of_seed(&crate::run::Report { cause: None, ..report.clone() }),
            Record::of_seed(&crate::run::Report { cause: Some(Cause::ComparedNothing), ..report }),
        ] {
            let line = record.to_line();
            assert!(!line.contains('\n'), "{line}");
            assert_eq!(Record::read(line.as_bytes()), Ok(record));
        }
    }

    #[test]
    fn a_line_with_a_mistake_is_refused_with_its_column() {
        let simulation = Simulation::new(Builtin, BuiltinWorkload::default());
        let mut config = simulation.config_of_seed(3);
        config.steps_max = 100;
        let line = Record::of_seed(&simulation.run(config, None)).to_line();
        let refused = |from: &str, to: &str| {
            let changed = line.replacen(from, to, 1);
            assert_ne!(changed, line);
            Record::read(changed.as_bytes()).expect_err(to)
        };
        assert_eq!(refused("\"seed\":3", "\"seed\":\"x\"").1, "invalid type: string \"x\", expected u64");
        let (column, what) = refused("\"seed\"", "\"sed\"");
        assert!(column > 10 && what.starts_with("unknown field `sed`, expected one of"), "{column}: {what}");
        assert!(refused("\"run\"", "\"walk\"").1.contains("unknown variant `walk`, expected `run`"));
        assert!(refused("\"exit\":15", "\"exit\":0").1.contains("belong to a failure"));
        let (column, what) = Record::read(&line.as_bytes()[..line.len() - 1]).expect_err("cut off");
        assert_eq!((column, what.as_str()), (line.len() - 1, "EOF while parsing an object"));
    }
}

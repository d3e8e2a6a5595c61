//! The table of verdicts, and the score.

use std::fmt;
use std::time::Duration;

use super::verdict::{Exposed, Outcome, ShrunkRun, Smallest, Verdict};
use crate::run::{ALL_HELD, INVARIANT_BROKE, NOTHING_COMPARED};

/// Verdicts, counted.
#[derive(Clone, Debug, Default)]
pub struct Score {
    verdicts: Vec<Verdict>,
}

impl Score {
    /// Adds a verdict.
    pub fn add(&mut self, verdict: Verdict) {
        self.verdicts.push(verdict);
    }

    /// The exit status: all held when every bug was found and no equivalent was. Without any, nothing was compared.
    pub fn exit_code(&self) -> u8 {
        if self.verdicts.is_empty() {
            return NOTHING_COMPARED;
        }
        if self.verdicts.iter().all(Verdict::is_right) { ALL_HELD } else { INVARIANT_BROKE }
    }

    /// The head of the table.
    pub fn head() -> String {
        row(["mutant", "found by", "seeds", "build s", "swarm s", "fault", "it exposes", "exit", "shrunk"])
    }

    /// A line of the table, and a second one where there is more to say.
    pub fn line(verdict: &Verdict) -> String {
        let (by, exit) = match &verdict.outcome {
            Outcome::Found(finding) => (finding.kind.as_str(), finding.exit.to_string()),
            Outcome::Survived => ("-", String::new()),
            Outcome::OutOfTime => ("OUT OF TIME", String::new()),
            Outcome::DoesNotBuild(_) => ("DOES NOT BUILD", String::new()),
            Outcome::Broke(_) => ("SWARM BROKE", String::new()),
        };
        let exposes = match verdict.exposed {
            Exposed::NotAsked => String::new(),
            Exposed::Shown(seed) => format!("yes, seed {seed}"),
            Exposed::NotShown(tried) => format!("not in {tried} runs"),
        };
        let seconds = |ms: u64| format!("{:.1}", ms as f64 / 1e3);
        let Verdict { name, seeds, build_ms, swarm_ms, fault, .. } = verdict;
        let (seeds, build, swarm) = (seeds.to_string(), seconds(*build_ms), seconds(*swarm_ms));
        let shrunk = match &verdict.smallest {
            Smallest::NotAsked => String::new(),
            Smallest::Run(run) => told(run),
            Smallest::Failed(what) => what.clone(),
        };
        let line = row([name, by, &seeds, &build, &swarm, fault, &exposes, &exit, &shrunk]);
        match &verdict.outcome {
            Outcome::Found(finding) if verdict.equivalent => {
                format!("{line}\n  FLAGGED, and it is no bug: seed {}: {}", finding.seed, finding.cause)
            }
            Outcome::Survived if !verdict.equivalent => format!("{line}\n  NOT FOUND"),
            Outcome::DoesNotBuild(what) | Outcome::Broke(what) => format!("{line}\n  {what}"),
            Outcome::Found(_) | Outcome::Survived | Outcome::OutOfTime => line,
        }
    }

    /// As one JSON object.
    pub fn to_json(&self, wall: Duration) -> serde_json::Value {
        let Counts { bugs, found, equivalents, flagged, asked, shown, median, shrunk } = self.counts();
        serde_json::json!({
            "type": "score",
            "bugs": bugs,
            "found": found,
            "equivalents": equivalents,
            "flagged": flagged,
            "faults_asked": asked,
            "faults_shown": shown,
            "median_seeds": median,
            "shrunk": shrunk.runs,
            "median_faults": shrunk.faults,
            "median_shrink_secs": shrunk.secs,
            "wall_secs": wall.as_secs_f64(),
            "exit": self.exit_code(),
        })
    }

    fn counts(&self) -> Counts {
        let found = |verdict: &&Verdict| matches!(verdict.outcome, Outcome::Found(_));
        let of =
            |equivalent: bool| self.verdicts.iter().filter(move |verdict| verdict.equivalent == equivalent);
        let seeds: Vec<u64> = of(false).filter(found).map(|verdict| verdict.seeds).collect();
        let exposed =
            |wanted: fn(&Exposed) -> bool| of(false).filter(|verdict| wanted(&verdict.exposed)).count();
        Counts {
            bugs: of(false).count(),
            found: seeds.len(),
            equivalents: of(true).count(),
            flagged: of(true).filter(found).count(),
            asked: exposed(|exposed| *exposed != Exposed::NotAsked),
            shown: exposed(|exposed| matches!(exposed, Exposed::Shown(_))),
            median: median(seeds),
            shrunk: self.shrunk(),
        }
    }

    /// Of the runs that were shrunk to the same invariant.
    fn shrunk(&self) -> Shrunk {
        let run = |verdict: &Verdict| match (&verdict.outcome, &verdict.smallest) {
            (Outcome::Found(finding), Smallest::Run(run)) if run.kind == finding.kind => Some(run.clone()),
            _ => None,
        };
        let mut runs: Vec<ShrunkRun> = self.verdicts.iter().filter_map(run).collect();
        let faults = median(runs.iter().map(|run| run.faults.after).collect());
        runs.sort_by(|a, b| a.wall_secs.total_cmp(&b.wall_secs));
        Shrunk { runs: runs.len(), faults, secs: runs.get(runs.len() / 2).map(|run| run.wall_secs) }
    }
}

struct Counts {
    bugs: usize,
    found: usize,
    equivalents: usize,
    flagged: usize,
    /// Found bugs that name a fault that can be taken out.
    asked: usize,
    shown: usize,
    /// Of the seeds that the found ones took.
    median: Option<u64>,
    shrunk: Shrunk,
}

/// The runs that were shrunk, and the medians of what is left and of how long it took.
struct Shrunk {
    runs: usize,
    faults: Option<u64>,
    secs: Option<f64>,
}

fn median(mut numbers: Vec<u64>) -> Option<u64> {
    numbers.sort_unstable();
    numbers.get(numbers.len() / 2).copied()
}

/// What is left of a run, in the table.
fn told(run: &ShrunkRun) -> String {
    let ShrunkRun { faults, wall_secs, finished, .. } = run;
    let how = if *finished { "" } else { ", stopped" };
    format!("{} > {} in {wall_secs:.1} s{how}", faults.before, faults.after)
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { bugs, found, equivalents, flagged, asked, shown, median, shrunk } = self.counts();
        write!(f, "found {found} of {bugs} bugs")?;
        if let Some(share) = (found * 100).checked_div(bugs) {
            write!(f, " ({share} %)")?;
        }
        write!(f, ", flagged {flagged} of {equivalents} equivalents")?;
        if let Some(median) = median {
            write!(f, ", median {median} seeds")?;
        }
        write!(f, ", the named fault exposes {shown} of {asked}")?;
        if let Shrunk { runs, faults: Some(faults), secs: Some(secs) } = shrunk {
            write!(f, ", {runs} shrunk to a median of {faults} faults in {secs:.1} s")?;
        }
        Ok(())
    }
}

fn row([name, by, seeds, build, swarm, fault, exposes, exit, shrunk]: [&str; 9]) -> String {
    let found = format!("{name:<46}{by:<22}{seeds:>6}{build:>9}{swarm:>9}");
    let row = format!("{found}  {fault:<18}{exposes:<16}{exit:>4}  {shrunk}");
    row.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::Score;
    use crate::mutants::Verdict;

    fn verdict(equivalent: bool, outcome: &str, seeds: u64, exposed: &str) -> Verdict {
        let line = format!(
            "{{\"type\":\"mutant\",\"name\":\"m\",\"digest\":\"d\",\"equivalent\":{equivalent},\"fault\":\"crash\",\
             \"outcome\":{outcome},\"seeds\":{seeds},\"build_ms\":1200,\"swarm_ms\":300,\"exposed\":{exposed},\"smallest\":\"not_asked\"}}"
        );
        Verdict::read(line.as_bytes()).unwrap_or_else(|error| panic!("{error:?}"))
    }

    const FOUND: &str =
        r#"{"found":{"seed":4,"exit":10,"kind":"StateSafety","site":"a.rs:1","cause":"op 7"}}"#;

    fn score(verdicts: &[Verdict]) -> (String, u8) {
        let mut score = Score::default();
        verdicts.iter().for_each(|verdict| score.add(verdict.clone()));
        (score.to_string(), score.exit_code())
    }

    #[test]
    fn every_bug_must_be_found_and_no_equivalent() {
        let bug = verdict(false, FOUND, 4, r#"{"shown":4}"#);
        let other = verdict(false, FOUND, 9, r#"{"not_shown":5}"#);
        let equivalent = verdict(true, "\"survived\"", 300, "\"not_asked\"");
        let (text, exit) = score(&[bug.clone(), other, bug.clone(), equivalent.clone()]);
        assert_eq!(exit, 0);
        assert_eq!(
            score(&[]),
            ("found 0 of 0 bugs, flagged 0 of 0 equivalents, the named fault exposes 0 of 0".to_owned(), 14)
        );
        assert_eq!(
            text,
            "found 3 of 3 bugs (100 %), flagged 0 of 1 equivalents, median 4 seeds, the named fault exposes 2 of 3"
        );
        let wrong = [
            (verdict(false, "\"survived\"", 300, "\"not_asked\""), "NOT FOUND"),
            (verdict(false, "\"out_of_time\"", 7, "\"not_asked\""), "OUT OF TIME"),
            (verdict(false, r#"{"does_not_build":"error: x"}"#, 0, "\"not_asked\""), "error: x"),
            (verdict(false, r#"{"broke":"killed"}"#, 0, "\"not_asked\""), "killed"),
            (verdict(true, FOUND, 4, "\"not_asked\""), "FLAGGED, and it is no bug: seed 4: op 7"),
            (verdict(true, "\"out_of_time\"", 7, "\"not_asked\""), "OUT OF TIME"),
        ];
        for (wrong, told) in wrong {
            let line = Score::line(&wrong);
            assert!(line.contains(told), "{line}");
            assert_eq!(score(&[bug.clone(), equivalent.clone(), wrong]).1, 10, "{told}");
        }
    }

    #[test]
    fn a_line_names_the_oracle_the_seeds_the_seconds_and_the_fault() {
        let line = Score::line(&verdict(false, FOUND, 4, r#"{"shown":4}"#));
        let words: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(words, ["m", "StateSafety", "4", "1.2", "0.3", "crash", "yes,", "seed", "4", "10"]);
    }
}

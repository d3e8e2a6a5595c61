//! The trial of one mutant: built, swarmed until found, and run again without the fault that it names.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use super::mutant::Mutant;
use super::process::{BETWEEN_LOOKS, Ended, Running, go_on};
use super::smallest::Shrinking;
use super::tree::Tree;
use super::verdict::{Exposed, Finding, Outcome, Smallest, Verdict};
use crate::run::{ALL_HELD, GAVE_UP, NOTHING_COMPARED, WRONG_USAGE};
use crate::swarm::Record;

/// How much is tried before a mutant counts as one that survives.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    /// Seeds, unless the mutant has its own number.
    pub seeds: u64,
    /// Time of the swarm.
    pub time: Duration,
}

/// What mutants are tried in.
pub struct Trial<'a> {
    /// The tree that they are planted in.
    pub tree: &'a Tree,
    /// How much is tried.
    pub budget: Budget,
    /// How failing runs are shrunk; they are not when there is none.
    pub shrink: Option<Shrinking<'a>>,
    /// Ends it when set.
    pub stop: &'a AtomicBool,
}

/// What came of a span of seeds.
pub(super) struct Hunt {
    pub(super) runs: u64,
    /// The failure of the lowest seed.
    pub(super) finding: Option<Finding>,
    pub(super) out_of_time: bool,
    /// How a run ended that says nothing, if one did: it compared nothing, or gave up.
    unjudged: Option<String>,
}

impl Trial<'_> {
    /// Builds the tree as it is, so that every mutant's build is only of what it changes.
    ///
    /// # Errors
    /// [`Ended`], when the tree does not build too.
    pub fn prepare(&self) -> Result<(), Ended> {
        let built = self.tree.build(None, self.stop)?;
        built
            .map(drop)
            .map_err(|what| Ended::Failed(format!("the tree does not build, without any mutant: {what}")))
    }

    /// Plants a mutant and tries to find it; `tell` hears how far it is.
    ///
    /// # Errors
    /// [`Ended`] when there is no verdict.
    pub fn judge(&self, mutant: &Mutant, tell: &dyn Fn(String)) -> Result<Verdict, Ended> {
        let verdict = |outcome, seeds, times| Verdict::new(mutant, outcome, seeds, times);
        tell(format!("{}: building", mutant.name));
        let began = Instant::now();
        let built = self.tree.build(Some(mutant), self.stop)?;
        let build_ms = millis(began);
        let program = match built {
            Ok(program) => program,
            Err(what) => {
                let outcome = Outcome::DoesNotBuild(what);
                return Ok(verdict(outcome, 0, [build_ms, 0]));
            }
        };
        let (began, seeds) = (Instant::now(), mutant.seeds.unwrap_or(self.budget.seeds));
        let until = began + self.budget.time;
        let hunt = match self
            .hunt(&program, (1, seeds), until, &|runs| tell(format!("{}: {runs} seeds", mutant.name)))
        {
            Ok(hunt) => hunt,
            Err(Ended::Failed(what)) => {
                return Ok(verdict(Outcome::Broke(what), 0, [build_ms, millis(began)]));
            }
            Err(ended) => return Err(ended),
        };
        let times = [build_ms, millis(began)];
        let Some(finding) = hunt.finding else {
            let outcome = match hunt.unjudged {
                Some(unjudged) => Outcome::Broke(unjudged),
                None if hunt.out_of_time => Outcome::OutOfTime,
                None => Outcome::Survived,
            };
            return Ok(verdict(outcome, hunt.runs, times));
        };
        tell(format!("{}: without {}", mutant.name, mutant.fault));
        let exposed = match mutant.equivalent {
            Some(_) => Exposed::NotAsked,
            None => self.exposed(&program, &mutant.fault, &finding, seeds, until)?,
        };
        tell(format!("{}: shrinking seed {}", mutant.name, finding.seed));
        let smallest = match self.shrink {
            Some(shrink) if mutant.equivalent.is_none() => {
                shrink.smallest(self.tree, &program, &mutant.name, &finding, self.stop)?
            }
            _ => Smallest::NotAsked,
        };
        let seed = finding.seed;
        let mut verdict = verdict(Outcome::Found(finding), seed, times);
        (verdict.exposed, verdict.smallest) = (exposed, smallest);
        Ok(verdict)
    }

    /// Swarms over the seeds from the first to the last until one fails and all below it are known.
    pub(super) fn hunt(
        &self,
        program: &Path,
        (first, last): (u64, u64),
        until: Instant,
        tell: &dyn Fn(u64),
    ) -> Result<Hunt, Ended> {
        let (count, log) = (last - first + 1, self.tree.work().join("swarm.log"));
        let errors =
            File::create(&log).map_err(|error| Ended::Failed(format!("{}: {error}", log.display())))?;
        let mut command = Command::new(program);
        command.args(["--json", "swarm", "--start", &first.to_string(), "--seeds", &count.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(errors);
        let mut running = Running::start(&mut command)?;
        let lines = lines_of(&mut running)?;
        let mut hunt = Hunt { runs: 0, finding: None, out_of_time: false, unjudged: None };
        let mut below: Vec<u64> = Vec::new();
        loop {
            match lines.recv_timeout(BETWEEN_LOOKS) {
                Ok(line) => {
                    let Some(record) = record_of(&line)? else { continue };
                    hunt.runs += 1;
                    below.push(record.seed);
                    match record.exit {
                        ALL_HELD => {}
                        NOTHING_COMPARED | GAVE_UP | WRONG_USAGE => {
                            let how = record.cause.as_deref().unwrap_or_default();
                            hunt.unjudged = Some(format!("seed {}: {how}", record.seed));
                        }
                        _ => hunt.finding = lower(hunt.finding, &record),
                    }
                    tell(hunt.runs);
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if let Some(finding) = &hunt.finding {
                below.retain(|seed| *seed < finding.seed);
                if below.len() as u64 == finding.seed - first {
                    return Ok(hunt);
                }
            }
            match go_on(self.stop, Some(until)) {
                Ok(()) => {}
                Err(Ended::OutOfTime) => return Ok(Hunt { out_of_time: true, ..hunt }),
                Err(ended) => return Err(ended),
            }
        }
        let status = running.wait(self.stop, None)?;
        if hunt.finding.is_none() && hunt.runs < count {
            let log = fs::read_to_string(&log).unwrap_or_default();
            let said = log.lines().last().unwrap_or("it says nothing");
            return Err(Ended::Failed(format!(
                "the swarm ended with {status} after {} seeds: {said}",
                hunt.runs
            )));
        }
        Ok(hunt)
    }
}

/// What the process prints, line by line, without waiting for it.
fn lines_of(running: &mut Running) -> Result<mpsc::Receiver<Vec<u8>>, Ended> {
    let output = running.child.stdout.take();
    let output = output.ok_or_else(|| Ended::Failed("a swarm without output".to_owned()))?;
    // Bounded: the swarm waits for its reader, not the memory.
    let (sender, lines) = mpsc::sync_channel(LINES_WAITING_MAX);
    // Ends with the pipe, or with whoever takes the lines.
    thread::spawn(move || {
        let read = BufReader::new(output).split(b'\n').map_while(Result::ok);
        for line in read {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    Ok(lines)
}

/// The run that a line tells of; none when it tells of something else.
pub(super) fn record_of(line: &[u8]) -> Result<Option<Record>, Ended> {
    let failed = |what: String| Ended::Failed(format!("a line of another version's simulator: {what}"));
    let value: serde_json::Value = serde_json::from_slice(line).map_err(|error| failed(error.to_string()))?;
    if value["type"] != "run" {
        return Ok(None);
    }
    Record::read(line).map(Some).map_err(|(column, what)| failed(format!("column {column}: {what}")))
}

/// The finding of the lower seed.
fn lower(found: Option<Finding>, record: &Record) -> Option<Finding> {
    if found.as_ref().is_some_and(|found| found.seed < record.seed) {
        return found;
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let [kind, site, cause] = [&record.kind, &record.site, &record.cause].map(text);
    Some(Finding { seed: record.seed, exit: record.exit, kind, site, cause })
}

pub(super) fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

const LINES_WAITING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use super::{Budget, Ended, Hunt, Trial};
    use crate::mutants::Tree;

    /// A command that prints the line of a run.
    fn run(seed: u64, exit: u8) -> String {
        let rest = match exit {
            0 => r#""kind":null,"site":null,"cause":null"#,
            _ => r#""kind":"StateSafety","site":"a.rs:1","cause":"op 7""#,
        };
        let tally = serde_json::to_string(&crate::tally::Tally::default()).expect("plain data");
        format!(
            "echo '{{\"type\":\"run\",\"seed\":{seed},\"exit\":{exit},{rest},\"trace\":\"aa\",\"steps\":1,\
             \"simulated_ns\":2,\"wall_us\":3,\"nodes\":3,\"groups\":1,\"tally\":{tally},\"compared\":{{}},\
             \"marks\":{{}},\"replay\":\"r\"}}'\n"
        )
    }

    /// What a hunt over `seeds` makes of a program that does what the shell script says.
    fn hunt(script: &str, seeds: (u64, u64), time: Duration) -> Result<Hunt, Ended> {
        let (root, work) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let tree = Tree::copy(root.path(), work.path()).unwrap_or_else(|error| panic!("{error}"));
        let program: PathBuf = root.path().join("program");
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("a file");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("a program");
        let (stop, budget) = (AtomicBool::new(false), Budget { seeds: 1, time });
        Trial { tree: &tree, budget, shrink: None, stop: &stop }.hunt(
            &program,
            seeds,
            Instant::now() + time,
            &|_| {},
        )
    }

    const LONG: Duration = Duration::from_secs(50);

    #[test]
    fn a_hunt_ends_with_the_lowest_seed_that_fails_once_all_below_are_known() {
        let began = Instant::now();
        let script = [run(12, 0), run(13, 10), run(11, 10), run(14, 10), "sleep 60".to_owned()].concat();
        let hunt = hunt(&script, (11, 20), LONG).unwrap_or_else(|ended| panic!("{ended:?}"));
        assert_eq!((hunt.runs, hunt.finding.map(|finding| finding.seed)), (3, Some(11)));
        assert!(began.elapsed() < LONG, "it waits for nothing more");
    }

    #[test]
    fn a_hunt_that_finds_nothing_ran_all_its_seeds_or_says_why_not() {
        let both = [run(2, 0), run(1, 0), "echo '{\"type\":\"summary\"}'".to_owned()].concat();
        let held = hunt(&both, (1, 2), LONG).unwrap_or_else(|ended| panic!("{ended:?}"));
        assert_eq!((held.runs, held.finding, held.out_of_time), (2, None, false));
        let late = hunt(&(run(1, 0) + "sleep 60"), (1, 2), Duration::from_secs(1));
        assert!(late.is_ok_and(|hunt| hunt.finding.is_none() && hunt.out_of_time));
        let early = hunt(&(run(1, 0) + "echo overflow >&2\nexit 134"), (1, 2), LONG).map(|hunt| hunt.runs);
        let Err(Ended::Failed(what)) = early else { panic!("{early:?}") };
        assert!(what.contains("134") && what.contains("after 1 seeds: overflow"), "{what}");
        let strange = hunt("echo hello", (1, 2), LONG).map(|hunt| hunt.runs);
        assert!(matches!(strange, Err(Ended::Failed(_))), "{strange:?}");
    }
}

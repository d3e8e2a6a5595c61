//! The trial of one mutant: built, swarmed until found, and run again without the fault that it names.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use chronon_core::builtin::Builtin;

use super::mutant::Mutant;
use super::process::{BETWEEN_LOOKS, Ended, Running, go_on};
use super::tree::Tree;
use super::verdict::{Exposed, Finding, Outcome, Verdict};
use crate::config::WorldConfig;
use crate::plan::FaultKind;
use crate::run::{ALL_HELD, Simulation};
use crate::scenario;
use crate::swarm::Record;
use crate::workload::BuiltinWorkload;

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
    /// Ends it when set.
    pub stop: &'a AtomicBool,
}

/// What came of a span of seeds.
struct Hunt {
    runs: u64,
    /// The failure of the lowest seed.
    finding: Option<Finding>,
    out_of_time: bool,
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
        tell(format!("{}: building", mutant.name));
        let began = Instant::now();
        let built = self.tree.build(Some(mutant), self.stop);
        self.tree.restore(mutant).map_err(Ended::Failed)?;
        let build_ms = millis(began);
        let program = match built? {
            Ok(program) => program,
            Err(what) => {
                let outcome = Outcome::DoesNotBuild(what);
                return Ok(Verdict::new(mutant, outcome, 0, [build_ms, 0], Exposed::NotAsked));
            }
        };
        let (began, seeds) = (Instant::now(), mutant.seeds.unwrap_or(self.budget.seeds));
        let until = began + self.budget.time;
        let hunt = match self
            .hunt(&program, (1, seeds), until, &|runs| tell(format!("{}: {runs} seeds", mutant.name)))
        {
            Ok(hunt) => hunt,
            Err(Ended::Failed(what)) => {
                let times = [build_ms, millis(began)];
                return Ok(Verdict::new(mutant, Outcome::Broke(what), 0, times, Exposed::NotAsked));
            }
            Err(ended) => return Err(ended),
        };
        let times = [build_ms, millis(began)];
        let Some(finding) = hunt.finding else {
            let outcome = if hunt.out_of_time { Outcome::OutOfTime } else { Outcome::Survived };
            return Ok(Verdict::new(mutant, outcome, hunt.runs, times, Exposed::NotAsked));
        };
        tell(format!("{}: without {}", mutant.name, mutant.fault));
        let exposed = match mutant.equivalent {
            Some(_) => Exposed::NotAsked,
            None => self.exposed(&program, &mutant.fault, &finding, seeds, until)?,
        };
        let seed = finding.seed;
        Ok(Verdict::new(mutant, Outcome::Found(finding), seed, times, exposed))
    }

    /// Swarms over the seeds from the first to the last until one fails and all below it are known.
    fn hunt(
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
        let mut hunt = Hunt { runs: 0, finding: None, out_of_time: false };
        let mut below: Vec<u64> = Vec::new();
        loop {
            match lines.recv_timeout(BETWEEN_LOOKS) {
                Ok(line) => {
                    let Some(record) = record_of(&line)? else { continue };
                    hunt.runs += 1;
                    below.push(record.seed);
                    hunt.finding = lower(hunt.finding, &record);
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

    /// Looks for a run that finds the bug and does not without the fault: the first that found it, then some more.
    fn exposed(
        &self,
        program: &Path,
        fault: &str,
        finding: &Finding,
        last: u64,
        until: Instant,
    ) -> Result<Exposed, Ended> {
        if fault != DUPLICATES && FaultKind::WORDS.iter().all(|(word, _)| *word != fault) {
            return Ok(Exposed::NotAsked);
        }
        let mut finding = finding.clone();
        let mut tried = 0;
        loop {
            // A run that ends without a verdict shows nothing.
            match self.fails_without(program, fault, &finding, until) {
                Ok(false) => return Ok(Exposed::Shown(finding.seed)),
                Ok(true) | Err(Ended::Failed(_)) => tried += 1,
                Err(Ended::OutOfTime) => return Ok(Exposed::NotShown(tried)),
                Err(Ended::Stopped) => return Err(Ended::Stopped),
            }
            if tried == PROOFS_MAX || finding.seed >= last {
                return Ok(Exposed::NotShown(tried));
            }
            match self.hunt(program, (finding.seed + 1, last), until, &|_| {}) {
                Ok(Hunt { finding: Some(next), .. }) => finding = next,
                Ok(_) | Err(Ended::Failed(_) | Ended::OutOfTime) => return Ok(Exposed::NotShown(tried)),
                Err(Ended::Stopped) => return Err(Ended::Stopped),
            }
        }
    }

    /// Whether the run of a seed fails by the same invariant when `fault` is taken out of it.
    fn fails_without(
        &self,
        program: &Path,
        fault: &str,
        finding: &Finding,
        until: Instant,
    ) -> Result<bool, Ended> {
        let config = Simulation::new(Builtin, BuiltinWorkload::default()).config_of_seed(finding.seed);
        let Some(less) = without(&config, fault) else { return Ok(true) };
        let (file, out) = (self.tree.work().join("without.toml"), self.tree.work().join("replay.log"));
        let failed = |error| Ended::Failed(format!("{}: {error}", self.tree.work().display()));
        let name = format!("seed {} without {fault}", finding.seed);
        fs::write(&file, scenario::text_of(&name, &less)).map_err(failed)?;
        let mut command = Command::new(program);
        command.args(["--json", "replay"]).arg(&file).stdin(Stdio::null()).stderr(Stdio::null());
        command.stdout(File::create(&out).map_err(failed)?);
        let status = Running::start(&mut command)?.wait(self.stop, Some(until))?;
        let said = fs::read(&out).map_err(failed)?;
        let record = said.split(|byte| *byte == b'\n').next().map_or(Ok(None), record_of)?;
        let record =
            record.ok_or_else(|| Ended::Failed(format!("{name}: the replay ended with {status}")))?;
        Ok(record.kind.as_ref() == Some(&finding.kind))
    }
}

/// The run without a kind of fault; none when it has no such fault.
fn without(config: &WorldConfig, fault: &str) -> Option<WorldConfig> {
    let mut less = config.with_faults(|place| config.plan[place].what.word() != fault);
    match fault {
        // What links lose and double all the time is of the same kind.
        "lossy" => less.net.loss_ppm = 0,
        DUPLICATES => less.net.duplicate_ppm = 0,
        _ => {}
    }
    (less != *config).then_some(less)
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
fn record_of(line: &[u8]) -> Result<Option<Record>, Ended> {
    let failed = |what: String| Ended::Failed(format!("a line of another version's simulator: {what}"));
    let value: serde_json::Value = serde_json::from_slice(line).map_err(|error| failed(error.to_string()))?;
    if value["type"] != "run" {
        return Ok(None);
    }
    Record::read(line).map(Some).map_err(|(column, what)| failed(format!("column {column}: {what}")))
}

/// The finding of the lower seed.
fn lower(found: Option<Finding>, record: &Record) -> Option<Finding> {
    if record.exit == ALL_HELD || found.as_ref().is_some_and(|found| found.seed < record.seed) {
        return found;
    }
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let [kind, site, cause] = [&record.kind, &record.site, &record.cause].map(text);
    Some(Finding { seed: record.seed, exit: record.exit, kind, site, cause })
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Messages that arrive twice: a condition of the network, not a fault of the plan.
const DUPLICATES: &str = "duplicates";
/// Runs that find a bug, each run once more without the fault.
const PROOFS_MAX: u64 = 5;
const LINES_WAITING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::sync::atomic::AtomicBool;
    use std::time::{Duration, Instant};

    use chronon_core::builtin::Builtin;

    use super::{Budget, Ended, Hunt, Trial, without};
    use crate::mutants::Tree;
    use crate::run::Simulation;
    use crate::workload::BuiltinWorkload;

    /// A command that prints the line of a run.
    fn run(seed: u64, exit: u8) -> String {
        let rest = match exit {
            0 => r#""kind":null,"site":null,"cause":null"#,
            _ => r#""kind":"StateSafety","site":"a.rs:1","cause":"op 7""#,
        };
        let tally = serde_json::to_string(&crate::world::Tally::default()).expect("plain data");
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
        Trial { tree: &tree, budget, stop: &stop }.hunt(&program, seeds, Instant::now() + time, &|_| {})
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

    #[test]
    fn a_fault_is_taken_out_of_a_run_if_it_is_there() {
        let simulation = Simulation::new(Builtin, BuiltinWorkload::default());
        let has = |seed: &u64| {
            let plan = simulation.config_of_seed(*seed).plan;
            plan.iter().any(|fault| fault.what.word() == "crash")
        };
        let with = simulation.config_of_seed((1..100).find(has).expect("a seed with crashes"));
        let less = without(&with, "crash").expect("a smaller run");
        assert!(!less.plan.is_empty() && less.plan.iter().all(|fault| fault.what.word() != "crash"));
        let none = simulation.config_of_seed((1..100).find(|seed| !has(seed)).expect("a seed without"));
        assert!(without(&none, "crash").is_none());
    }
}

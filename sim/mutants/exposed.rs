//! Whether the fault that a mutant names is what exposes it: a run that found it, once more without that fault.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use chronon_core::builtin::Builtin;

use super::process::{Ended, Running};
use super::trial::{Hunt, Trial, record_of};
use super::verdict::{Exposed, Finding};
use crate::config::WorldConfig;
use crate::plan::FaultKind;
use crate::run::{ALL_HELD, Simulation};
use crate::scenario;
use crate::workload::BuiltinWorkload;

impl Trial<'_> {
    /// Looks for a run that finds the bug and does not without the fault: the first that found it, then some more.
    pub(super) fn exposed(
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
            match self.holds_without(program, fault, &finding, until) {
                Ok(true) => return Ok(Exposed::Shown(finding.seed)),
                Ok(false) | Err(Ended::Failed(_)) => tried += 1,
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

    /// Whether the run of a seed holds when `fault` is taken out of it.
    fn holds_without(
        &self,
        program: &Path,
        fault: &str,
        finding: &Finding,
        until: Instant,
    ) -> Result<bool, Ended> {
        let config = Simulation::new(Builtin, BuiltinWorkload::default()).config_of_seed(finding.seed);
        let Some(less) = without(&config, fault) else { return Ok(false) };
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
        Ok(record.exit == ALL_HELD)
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

/// Messages that arrive twice: a condition of the network, not a fault of the plan.
const DUPLICATES: &str = "duplicates";
/// Runs that find a bug, each run once more without the fault.
const PROOFS_MAX: u64 = 5;

#[cfg(test)]
mod tests {
    use chronon_core::builtin::Builtin;

    use super::without;
    use crate::run::Simulation;
    use crate::workload::BuiltinWorkload;

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

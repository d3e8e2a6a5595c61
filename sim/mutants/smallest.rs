//! The failing run of a mutant, shrunk by the simulator that has the bug in it.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::process::{Ended, Running};
use super::tree::Tree;
use super::verdict::{Finding, Smallest};
use crate::lines::read_json;

/// How failing runs are shrunk.
#[derive(Clone, Copy, Debug)]
pub struct Shrinking<'a> {
    /// For how long, each.
    pub time: Duration,
    /// Where the scenarios go, each under its mutant's name.
    pub dir: &'a Path,
}

impl Shrinking<'_> {
    /// Shrinks the run of a finding of the mutant `name`, with the simulator that `tree` was built to.
    pub(super) fn smallest(
        &self,
        tree: &Tree,
        program: &Path,
        name: &str,
        finding: &Finding,
        stop: &AtomicBool,
    ) -> Result<Smallest, Ended> {
        let (scenario, out) = (self.dir.join(format!("{name}.toml")), tree.work().join("shrink.log"));
        let failed = |error| Ended::Failed(format!("{}: {error}", out.display()));
        let mut command = Command::new(program);
        command.args(["--json", "shrink", &finding.seed.to_string(), "-o"]).arg(scenario);
        command.args(["--for", &format!("{}ms", self.time.as_millis())]);
        command.stdin(Stdio::null()).stderr(Stdio::null()).stdout(File::create(&out).map_err(failed)?);
        let status = Running::start(&mut command)?.wait(stop, None)?;
        let said = fs::read(&out).map_err(failed)?;
        let shrunk = read_json(said.trim_ascii_end()).map(Smallest::Run);
        Ok(shrunk.unwrap_or_else(|_| Smallest::Failed(format!("it ended with {status}"))))
    }
}

//! `chronon-sim explain`.

use chronon_core::kernel::ChrApplication;
use clap::Args;

use super::replayed;
use crate::explain::{Explanation, Need, explain};
use crate::run::Simulation;
use crate::workload::Workload;

/// What to explain.
#[derive(Debug, Args)]
pub(super) struct ExplainArgs {
    /// A scenario file, or a seed (decimal or 0x hex).
    #[arg(value_name = "FILE|SEED")]
    what: String,
    /// Threads; one a core when not given.
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

/// Runs it and tells the story; the exit status is that of the run.
pub(super) fn run<A, W>(simulation: &Simulation<A, W>, args: &ExplainArgs, json: bool) -> Result<u8, String>
where
    A: ChrApplication,
    W: Workload<A>,
    Simulation<A, W>: Sync,
{
    let (name, config, scenario) = replayed(simulation, &args.what)?;
    let judge = |report| match &scenario {
        Some(scenario) => scenario.judge(report),
        None => report,
    };
    let explanation = explain(simulation, &config, &judge, super::jobs(args.jobs));
    if json {
        println!("{}", to_json(&name, &explanation));
    } else {
        println!("{name}: {explanation}");
    }
    Ok(explanation.report.exit_code())
}

fn to_json(name: &str, explanation: &Explanation) -> serde_json::Value {
    let Explanation { setup, story, report, promise, last_step, parts } = explanation;
    let story: Vec<_> = story
        .iter()
        .map(|told| serde_json::json!({ "at_ns": told.at.as_nanos(), "what": told.what }))
        .collect();
    let parts: Vec<_> = parts
        .iter()
        .map(|part| {
            serde_json::json!({ "part": part.what, "needed": part.need != Need::Not, "without": part.need.word() })
        })
        .collect();
    serde_json::json!({
        "type": "explanation",
        "name": name,
        "exit": report.exit_code(),
        "kind": report.cause.as_ref().map(crate::run::Cause::word),
        "cause": report.cause.as_ref().map(ToString::to_string),
        "promise": promise,
        "setup": setup,
        "story": story,
        "last_step": last_step,
        "parts": parts,
    })
}

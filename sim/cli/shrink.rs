//! `chronon-sim shrink`.

use std::fs::{self, OpenOptions};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use chronon_core::kernel::ChrApplication;
use clap::Args;

use super::progress::Progress;
use super::{interrupt, replayed};
use crate::oracle::promise_of;
use crate::run::{ALL_HELD, Simulation};
use crate::scenario;
use crate::shrink::{Effort, Shrunk, Size, Standing, is_shrinkable, shrink};
use crate::swarm::record::program;
use crate::units::{parse_span, quoted};
use crate::workload::Workload;

/// What to shrink, and where to.
#[derive(Debug, Args)]
pub(super) struct ShrinkArgs {
    /// A seed (decimal or 0x hex) or a scenario file.
    #[arg(value_name = "SEED|FILE")]
    what: String,
    /// The scenario file to write.
    #[arg(short, long, value_name = "OUT.toml")]
    out: PathBuf,
    /// Stop after this span with the smallest plan so far.
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span, default_value = "1m")]
    time: u64,
    /// Threads; one a core when not given.
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
}

/// Shrinks and tells; the exit status is that of the run that is left.
pub(super) fn run<A, W>(simulation: &Simulation<A, W>, args: &ShrinkArgs, json: bool) -> Result<u8, String>
where
    A: ChrApplication,
    W: Workload<A>,
    Simulation<A, W>: Sync,
{
    let (name, config, scenario) = replayed(simulation, &args.what)?;
    // It goes into a comment.
    let name = name.replace(char::is_control, " ");
    let first = simulation.run(config.clone(), None);
    let Some(cause) = first.cause.clone() else {
        let expected = scenario.map(|scenario| scenario.judge(first)).and_then(|report| report.cause);
        let what = match expected {
            Some(cause) => format!("{name} breaks no invariant ({cause}): there is nothing to shrink"),
            None => format!("{name} holds: there is nothing to shrink"),
        };
        if json {
            println!(
                "{}",
                serde_json::json!({ "type": "shrink", "name": name, "exit": ALL_HELD, "holds": what })
            );
        } else {
            println!("{what}");
        }
        return Ok(ALL_HELD);
    };
    if !is_shrinkable(&cause) {
        return Err(format!("{name}: {cause}: a smaller run would say nothing about that"));
    }
    let unwritable = |error: std::io::Error| format!("{}: {error}", args.out.display());
    // Before a minute's work, not after it.
    OpenOptions::new().create(true).append(true).open(&args.out).map_err(unwritable)?;
    let stop = interrupt::flag()?;
    let (before, began) = (Size::of(&config), Instant::now());
    let mut progress = Progress::new("smaller runs", None);
    let effort = Effort { jobs: super::jobs(args.jobs), time: Some(Duration::from_nanos(args.time)) };
    let run = |config| simulation.run(config, None);
    let tell = &mut |standing: Standing| {
        progress.advance(format!("{}, {} runs tried", told(standing.size), standing.tried));
    };
    let shrunk = shrink(&run, config, (cause, first.simulated), effort, &stop, tell);
    progress.finish();
    let text = text_of(&name, before, &shrunk);
    fs::write(&args.out, text).map_err(unwritable)?;
    tell_shrunk(args, &name, before, &shrunk, began.elapsed(), json);
    Ok(shrunk.cause.exit_code())
}

fn tell_shrunk(args: &ShrinkArgs, name: &str, before: Size, shrunk: &Shrunk, took: Duration, json: bool) {
    let Shrunk { config, cause, at, tried, finished } = shrunk;
    let (after, file) = (Size::of(config), args.out.display());
    if json {
        println!(
            "{}",
            serde_json::json!({
                "type": "shrink",
                "name": name,
                "exit": cause.exit_code(),
                "kind": cause.word(),
                "cause": cause.to_string(),
                "faults": { "before": before.faults, "after": after.faults },
                "nodes": { "before": before.nodes, "after": after.nodes },
                "groups": { "before": before.groups, "after": after.groups },
                "clients": { "before": before.clients, "after": after.clients },
                "simulated_secs": at.as_secs_f64(),
                "runs": tried,
                "wall_secs": took.as_secs_f64(),
                "finished": finished,
                "file": file.to_string(),
            })
        );
        return;
    }
    println!("{name}: {}", told(before));
    println!("{file}: {}, in {:.1} s and {tried} runs", told(after), took.as_secs_f64());
    println!("  {at}: {cause}");
    if !finished {
        println!("  stopped before everything was tried: shrink {file} again to go on");
    }
    let file = file.to_string();
    let quoted = quoted(&file);
    println!("  replay: {} replay {quoted} --trace", program());
    println!("  explain: {} explain {quoted}", program());
}

fn told(size: Size) -> String {
    let Size { faults, nodes, groups, clients } = size;
    format!("{faults} faults, {nodes} nodes, {groups} groups, {clients} clients")
}

/// The scenario, under a comment that says what it breaks.
fn text_of(name: &str, before: Size, shrunk: &Shrunk) -> String {
    let Shrunk { config, cause, at, .. } = shrunk;
    let promise =
        promise_of(cause.word()).map_or_else(String::new, |promise| format!("\n# The promise: {promise}."));
    let cause = cause.to_string().replace('\n', "\n# ");
    let title = format!("{name} breaks {}", shrunk.cause.word());
    format!(
        "# Broke at {at}: {cause}{promise}\n#\n# Shrunk from {name}, which has {}.\n{}",
        told(before),
        scenario::text_of(&title, config)
    )
}

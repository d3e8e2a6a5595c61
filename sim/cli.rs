//! The command line: a contract, see `chronon-sim --help` and the exit statuses in [`crate::run`].

// The first: its macros are for all the others.
#[macro_use]
mod print;

mod bench;
mod bench_checker;
mod check;
mod core_share;
mod explain;
mod interrupt;
mod list;
mod memory;
mod merge;
mod mutants;
mod progress;
mod shrink;
mod swarm;

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chronon_core::builtin::Builtin;
use chronon_core::kernel::ChrApplication;
use clap::{Parser, Subcommand};

use crate::config::WorldConfig;
use crate::run::{ALL_HELD, Simulation, WRONG_USAGE, gravest};
use crate::scenario::{self, Scenario};
use crate::swarm::record::{self, Record};
use crate::time::WorldTime;
use crate::units::parse_seed;
use crate::workload::{BuiltinWorkload, Workload};

/// Simulates clusters of chronon nodes from seeds and scenarios, with faults, and judges what happens.
///
/// Exit status: 0 all held; 2 wrong usage or unreadable file; 10 a safety invariant broke; 11 no progress that
/// nothing excuses; 12 panic or halt; 13 not deterministic; 14 the run compared nothing; 15 gave up within its limits;
/// of several the gravest: 10, 12, 11, 13, 14. 130 stopped by Ctrl-C and nothing had failed; 141 nobody reads the output.
#[derive(Debug, Parser)]
#[command(name = "chronon-sim", version, max_term_width = 120)]
struct Cli {
    /// Print results as JSON Lines.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Runs(Runs),
    Mutants(mutants::MutantsArgs),
    /// Steps and simulated seconds a wall second, forks a second, memory; or the checker's time and memory.
    Bench(bench::BenchArgs),
}

/// What an application of one's own has as well.
#[derive(Debug, Subcommand)]
enum Runs {
    /// Run scenario files.
    Run {
        /// Scenario files, or directories of them.
        #[arg(required = true, value_name = "FILE|DIR")]
        paths: Vec<PathBuf>,
    },
    /// Run one seed or scenario file once more.
    Replay {
        /// A seed (decimal or 0x hex) or a scenario file.
        #[arg(value_name = "SEED|FILE")]
        what: String,
        /// Print everything that happens, a line a step.
        #[arg(long)]
        trace: bool,
        /// Run twice and report the first difference.
        #[arg(long, conflicts_with = "trace")]
        check_determinism: bool,
        /// Write configuration and fault plan as a scenario file, to be read and edited, before it runs.
        #[arg(long, value_name = "FILE")]
        save: Option<PathBuf>,
    },
    Swarm(swarm::SwarmArgs),
    /// The smallest run that still fails in the same way, as a scenario file.
    ///
    /// Exits with the status of the run that is left; 0 when there was nothing to shrink.
    Shrink(shrink::ShrinkArgs),
    /// A failing run in words: what happened, which promise it broke, which parts of it are needed.
    Explain(explain::ExplainArgs),
    Merge(merge::MergeArgs),
    /// Judge whether a recorded history is linearizable.
    Check(check::CheckArgs),
    /// What there is: protocols, workloads, faults, oracles, marks, scenarios.
    List,
}

/// The same for an application of one's own.
#[derive(Debug, Parser)]
#[command(
    max_term_width = 120,
    about = "Simulates clusters that run this application, with faults, and judges what happens."
)]
struct OwnCli {
    /// Print results as JSON Lines.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Runs,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let Cli { json, command } = Cli::parse();
    let simulation = Simulation::new(Builtin, BuiltinWorkload::default());
    end(match command {
        Command::Runs(runs) => run_one(&simulation, runs, json),
        Command::Mutants(args) => mutants::run(&args, json),
        Command::Bench(args) => bench::run(&args, json),
    })
}

/// `swarm`, `replay`, `shrink` and `explain` for an application of one's own, for its `main` to call: `program` is how it is
/// called on a command line, and `arguments` are what follows that.
///
/// See `examples/seats.rs` for one.
pub fn main_of<A, W>(
    program: &'static str,
    arguments: impl IntoIterator<Item = OsString>,
    application: A,
    workload: W,
) -> ExitCode
where
    A: ChrApplication,
    W: Workload<A>,
    Simulation<A, W>: Sync,
{
    record::PROGRAM.get_or_init(|| program);
    let arguments = std::iter::once(program.into()).chain(arguments);
    let OwnCli { json, command } = OwnCli::parse_from(arguments);
    end(run_one(&Simulation::new(application, workload), command, json))
}

fn end(result: Result<u8, String>) -> ExitCode {
    match result {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("{}: {message}", record::program());
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn run_one<A, W>(simulation: &Simulation<A, W>, command: Runs, json: bool) -> Result<u8, String>
where
    A: ChrApplication,
    W: Workload<A>,
    Simulation<A, W>: Sync,
{
    match command {
        Runs::Run { paths } => run(simulation, &paths, json),
        Runs::Replay { what, trace, check_determinism, save } => {
            save_scenario(simulation, &what, save.as_deref())?;
            replay(simulation, &what, trace, check_determinism, json)
        }
        Runs::Swarm(args) => swarm::run(simulation, &args, json),
        Runs::Shrink(args) => shrink::run(simulation, &args, json),
        Runs::Explain(args) => explain::run(simulation, &args, json),
        Runs::Merge(args) => merge::run(&args, json),
        Runs::Check(args) => check::run(&args, json),
        Runs::List => Ok(list::print(simulation.kinds(), json)),
    }
}

fn run<A: ChrApplication, W: Workload<A>>(
    simulation: &Simulation<A, W>,
    paths: &[PathBuf],
    json: bool,
) -> Result<u8, String> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(scenario::files_of(path)?);
    }
    // All files are read before any runs, so that a mistake in the last one shows at once.
    let load = |file| Scenario::load(file, simulation.kinds());
    let scenarios = files.iter().map(|file| load(file)).collect::<Result<Vec<_>, _>>()?;
    let mut codes = Vec::new();
    for (file, scenario) in files.iter().zip(&scenarios) {
        let report = scenario.judge(simulation.run(scenario.config.clone(), None));
        tell_record(&Record::of_scenario(&report, &scenario.name, &file.display().to_string()), json);
        codes.push(report.exit_code());
    }
    let failed = codes.iter().filter(|code| **code != ALL_HELD).count();
    if !json {
        println!("{} scenarios, {failed} failed", codes.len());
    }
    Ok(gravest(codes))
}

fn replay<A: ChrApplication, W: Workload<A>>(
    simulation: &Simulation<A, W>,
    what: &str,
    trace: bool,
    check_determinism: bool,
    json: bool,
) -> Result<u8, String> {
    let (name, config, scenario) = replayed(simulation, what)?;
    let report = if check_determinism {
        simulation.check_determinism(config)
    } else if trace {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        let mut tell = |line: &str| print::end_unless(writeln!(out, "{line}"));
        let report = simulation.run(config, Some(&mut tell));
        print::end_unless(out.flush());
        report
    } else {
        simulation.run(config, None)
    };
    let record = match &scenario {
        Some(scenario) => Record::of_scenario(&scenario.judge(report), &name, what),
        None => Record::of_seed(&report),
    };
    tell_record(&record, json);
    Ok(record.exit)
}

/// Writes what `replay` was asked to run, if a file is named.
fn save_scenario<A: ChrApplication, W: Workload<A>>(
    simulation: &Simulation<A, W>,
    what: &str,
    save: Option<&Path>,
) -> Result<(), String> {
    let Some(path) = save else { return Ok(()) };
    let (name, config, _) = replayed(simulation, what)?;
    let text = scenario::text_of(&name, &config);
    std::fs::write(path, text).map_err(|error| format!("--save {}: {error}", path.display()))
}

/// What `replay` was asked to run: a seed, or a scenario file.
fn replayed<A: ChrApplication, W: Workload<A>>(
    simulation: &Simulation<A, W>,
    what: &str,
) -> Result<(String, WorldConfig, Option<Scenario>), String> {
    let looks_like_a_file = Path::new(what).exists() || what.ends_with(".toml") || what.contains('/');
    if looks_like_a_file {
        let scenario = Scenario::load(Path::new(what), simulation.kinds())?;
        return Ok((scenario.name.clone(), scenario.config.clone(), Some(scenario)));
    }
    let seed = parse_seed(what).map_err(|error| format!("{error}; and there is no such file"))?;
    Ok((format!("seed {seed}"), simulation.config_of_seed(seed), None))
}

/// Threads: one a core when nobody says how many.
fn jobs(asked: Option<u16>) -> usize {
    asked.map_or_else(|| std::thread::available_parallelism().map_or(1, usize::from), usize::from)
}

/// One run's verdict, and when it failed the line that replays it.
fn tell_record(record: &Record, json: bool) {
    if json {
        println!("{}", record.to_line());
        return;
    }
    let Record { seed, steps, tally, nodes, groups, trace, wall_us, .. } = record;
    let name = record.name.clone().unwrap_or_else(|| format!("seed {seed}"));
    let (simulated, wall) = (WorldTime::from_nanos(record.simulated_ns), *wall_us as f64 / 1e6);
    let verdict = if record.cause.is_none() { "held" } else { "FAILED" };
    println!(
        "{verdict} {name}: {nodes} nodes, {groups} groups, {:.1} s simulated in {wall:.3} s, {steps} steps, {} \
         operations, {} view changes, trace {trace:.8}",
        simulated.as_secs_f64(),
        tally.committed,
        tally.view_changes,
    );
    if let Some(cause) = &record.cause {
        println!("  {simulated}: {cause}");
        println!("  replay: {}", record.replay);
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Builtin, BuiltinWorkload, Cli, Command, Runs, Simulation, replayed};

    fn refused(arguments: &[&str]) -> String {
        let all = ["chronon-sim"].iter().chain(arguments);
        match Cli::try_parse_from(all) {
            Ok(cli) => panic!("accepted: {cli:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn wrong_arguments_are_named_with_what_is_allowed() {
        let cases: [(&[&str], &str); 9] = [
            (&["swarm", "--start", "0xzz"], "`0xzz` is not a seed"),
            (&["swarm", "--for", "10"], "`10` is not a span"),
            (&["swarm", "--shard", "3/2"], "`3/2` is not a shard"),
            (&["swarm", "--jobs", "0"], "1..=1024"),
            (&["swarm", "--seeds", "5", "--for", "1s"], "cannot be used with"),
            (&["swarm", "--seeds", "0"], "0 is not in 1.."),
            (&["swarm", "--resume"], "--out <DIR>"),
            (&["merge"], "<DIR>..."),
            (&["run"], "<FILE|DIR>..."),
        ];
        for (arguments, expected) in cases {
            let error = refused(arguments);
            assert!(error.contains(expected), "{arguments:?} gives {error}");
        }
    }

    #[test]
    fn a_swarm_needs_no_arguments() {
        let cli = Cli::try_parse_from(["chronon-sim", "swarm"]).expect("a swarm");
        let Command::Runs(Runs::Swarm(args)) = cli.command else { panic!("a swarm") };
        assert_eq!((args.start, args.seeds, args.time), (None, None, None));
    }

    #[test]
    fn replay_takes_a_seed_or_a_file_and_says_what_it_could_not_read() {
        let simulation = Simulation::new(Builtin, BuiltinWorkload::default());
        let replayed = |what| replayed(&simulation, what);
        assert_eq!(replayed("0x11").expect("a seed").1.seed, 17);
        let error = replayed("17x").expect_err("no seed and no file");
        assert!(error.contains("`17x` is not a seed") && error.contains("no such file"), "{error}");
        let error = replayed("no/such.toml").expect_err("no such file");
        assert!(error.starts_with("no/such.toml: "), "{error}");
    }
}

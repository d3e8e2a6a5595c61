//! The command line: a contract, see `chronon-sim --help` and the exit statuses in [`crate::run`].

mod bench;
mod bench_checker;
mod check;
mod list;

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chronon_core::builtin::Builtin;
use clap::{Args, Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};

use crate::config::WorldConfig;
use crate::run::{ALL_HELD, Report, Simulation, WRONG_USAGE, gravest};
use crate::scenario::{self, Scenario};
use crate::swarm::{Summary, SwarmPlan, swarm};
use crate::units::{Shard, parse_seed, parse_span};
use crate::workload::BuiltinWorkload;

/// Simulates clusters of chronon nodes from seeds and scenarios, with faults, and judges what happens.
///
/// Exit status: 0 all held; 2 wrong usage or unreadable file; 10 a safety invariant broke; 11 no progress that
/// nothing excuses; 12 panic or halt; 13 not deterministic; 14 the run compared nothing; 15 gave up within its limits.
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
    /// Run many seeds.
    Swarm(SwarmArgs),
    /// Judge whether a recorded history is linearizable.
    Check(check::CheckArgs),
    /// What there is: protocols, workloads, faults, oracles, scenarios.
    List,
    /// Steps and simulated seconds a wall second, forks a second, memory; or the checker's time and memory.
    Bench(bench::BenchArgs),
}

#[derive(Debug, Args)]
struct SwarmArgs {
    /// How many seeds; 100 when neither this nor --for is given.
    #[arg(long, value_name = "N", conflicts_with = "time")]
    seeds: Option<u64>,
    /// For how long, such as 10m.
    #[arg(long = "for", id = "time", value_name = "SPAN", value_parser = parse_span)]
    time: Option<u64>,
    /// The first seed.
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_seed)]
    start: u64,
    /// Threads; one a core when not given.
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Only the seeds whose number modulo N is I - 1.
    #[arg(long, value_name = "I/N", value_parser = Shard::parse)]
    shard: Option<Shard>,
    /// Write every result as JSON Lines into DIR/results.jsonl.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Run every seed twice and report the first difference.
    #[arg(long)]
    check_determinism: bool,
}

/// Runs the command that the arguments name.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Run { paths } => run(&paths, cli.json),
        Command::Replay { what, trace, check_determinism, save } => save_scenario(&what, save.as_deref())
            .and_then(|()| replay(&what, trace, check_determinism, cli.json)),
        Command::Swarm(args) => run_swarm(&args, cli.json),
        Command::Check(args) => check::run(&args, cli.json),
        Command::List => Ok(list::print(cli.json)),
        Command::Bench(args) => bench::run(&args, cli.json),
    };
    match result {
        Ok(code) => ExitCode::from(code),
        Err(message) => {
            eprintln!("chronon-sim: {message}");
            ExitCode::from(WRONG_USAGE)
        }
    }
}

fn simulation() -> Simulation<Builtin, BuiltinWorkload> {
    Simulation::new(Builtin, BuiltinWorkload::default())
}

fn run(paths: &[PathBuf], json: bool) -> Result<u8, String> {
    let mut files = Vec::new();
    for path in paths {
        files.extend(scenario::files_of(path)?);
    }
    // All files are read before any runs, so that a mistake in the last one shows at once.
    let scenarios = files.iter().map(|file| Scenario::load(file)).collect::<Result<Vec<_>, _>>()?;
    let mut codes = Vec::new();
    for (file, scenario) in files.iter().zip(&scenarios) {
        let report = scenario.judge(simulation().run(scenario.config.clone(), None));
        tell_run(&scenario.name, &file.display().to_string(), &report, json);
        codes.push(report.exit_code());
    }
    let failed = codes.iter().filter(|code| **code != ALL_HELD).count();
    if !json {
        println!("{} scenarios, {failed} failed", codes.len());
    }
    Ok(gravest(codes))
}

fn replay(what: &str, trace: bool, check_determinism: bool, json: bool) -> Result<u8, String> {
    let (name, config, scenario) = replayed(what)?;
    let simulation = simulation();
    let report = if check_determinism {
        simulation.check_determinism(config)
    } else if trace {
        let mut out = std::io::BufWriter::new(std::io::stdout().lock());
        // A reader that closes the pipe has seen enough; the run goes on to its verdict.
        let mut tell = |line: &str| drop(writeln!(out, "{line}"));
        simulation.run(config, Some(&mut tell))
    } else {
        simulation.run(config, None)
    };
    let report = match &scenario {
        Some(scenario) => scenario.judge(report),
        None => report,
    };
    tell_run(&name, what, &report, json);
    Ok(report.exit_code())
}

/// Writes what `replay` was asked to run, if a file is named.
fn save_scenario(what: &str, save: Option<&Path>) -> Result<(), String> {
    let Some(path) = save else { return Ok(()) };
    let (name, config, _) = replayed(what)?;
    let text = scenario::text_of(&name, &config);
    std::fs::write(path, text).map_err(|error| format!("--save {}: {error}", path.display()))
}

/// What `replay` was asked to run: a seed, or a scenario file.
fn replayed(what: &str) -> Result<(String, WorldConfig, Option<Scenario>), String> {
    let looks_like_a_file = Path::new(what).exists() || what.ends_with(".toml") || what.contains('/');
    if looks_like_a_file {
        let scenario = Scenario::load(Path::new(what))?;
        return Ok((scenario.name.clone(), scenario.config.clone(), Some(scenario)));
    }
    let seed = parse_seed(what).map_err(|error| format!("{error}; and there is no such file"))?;
    Ok((format!("seed {seed}"), simulation().config_of_seed(seed), None))
}

/// One run's verdict, and when it failed the line that replays it.
fn tell_run(name: &str, replay: &str, report: &Report, json: bool) {
    if json {
        println!("{}", report_json(name, report));
        return;
    }
    let Report { steps, simulated, tally, nodes, groups, hash, wall, .. } = report;
    let committed = tally.committed;
    let verdict = if report.cause.is_none() { "held" } else { "FAILED" };
    println!(
        "{verdict} {name}: {nodes} nodes, {groups} groups, {:.1} s simulated in {:.3} s, {steps} steps, {committed} \
         operations, {} view changes, trace {hash:?}",
        simulated.as_secs_f64(),
        wall.as_secs_f64(),
        tally.view_changes,
    );
    if let Some(cause) = &report.cause {
        println!("  {simulated}: {cause}");
        println!("  replay: chronon-sim replay {replay} --trace");
    }
}

fn report_json(name: &str, report: &Report) -> serde_json::Value {
    let cause = report.cause.as_ref();
    serde_json::json!({
        "type": "run",
        "name": name,
        "seed": report.seed,
        "exit": report.exit_code(),
        "kind": cause.map(crate::run::Cause::word),
        "cause": cause.map(ToString::to_string),
        "nodes": report.nodes,
        "groups": report.groups,
        "steps": report.steps,
        "simulated_secs": report.simulated.as_secs_f64(),
        "wall_secs": report.wall.as_secs_f64(),
        "committed": report.tally.committed,
        "view_changes": report.tally.view_changes,
        "compared": report.counts.total(),
        "trace": report.hash.to_string(),
    })
}

fn run_swarm(args: &SwarmArgs, json: bool) -> Result<u8, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let plan = SwarmPlan {
        start: args.start,
        seeds: args.seeds.or(if args.time.is_none() { Some(SEEDS_DEFAULT) } else { None }),
        time: args.time.map(Duration::from_nanos),
        jobs: args.jobs.map_or(cores, usize::from),
        shard: args.shard,
        check_determinism: args.check_determinism,
    };
    let mut out = args.out.as_deref().map(open_results).transpose()?;
    let bar = progress(&plan);
    let began = Instant::now();
    let mut broken: Option<std::io::Error> = None;
    let summary = swarm(&simulation(), &plan, |report, summary| {
        if let Some(file) = &mut out
            && let Err(error) = writeln!(file, "{}", report_json(&format!("seed {}", report.seed), report))
        {
            broken.get_or_insert(error);
        }
        tell_progress(&bar, report, summary, json);
    });
    bar.finish_and_clear();
    if let (Some(error), Some(dir)) = (broken, &args.out) {
        return Err(format!("{}: results could not be written: {error}", dir.display()));
    }
    if json {
        println!("{}", summary.to_json(began.elapsed()));
    } else {
        println!("{summary}, in {:.1} s", began.elapsed().as_secs_f64());
    }
    Ok(summary.exit_code())
}

fn tell_progress(bar: &ProgressBar, report: &Report, summary: &Summary, json: bool) {
    let seconds = summary.simulated_secs();
    bar.set_message(format!("{} failed, {seconds:.0} s simulated", summary.failed()));
    bar.inc(1);
    if report.cause.is_some() {
        bar.suspend(|| tell_run(&format!("seed {}", report.seed), &report.seed.to_string(), report, json));
    }
}

/// A bar on a terminal, nothing elsewhere.
fn progress(plan: &SwarmPlan) -> ProgressBar {
    if !std::io::stdout().is_terminal() {
        return ProgressBar::hidden();
    }
    let (bar, template) = match plan.total() {
        Some(total) => (ProgressBar::new(total), "{bar:40} {pos}/{len} seeds, {per_sec}, {msg}, {eta} left"),
        None => (ProgressBar::new_spinner(), "{spinner} {pos} seeds, {per_sec}, {msg}, {elapsed}"),
    };
    match ProgressStyle::with_template(template) {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

fn open_results(dir: &Path) -> Result<std::fs::File, String> {
    std::fs::create_dir_all(dir).map_err(|error| format!("--out {}: {error}", dir.display()))?;
    let path = dir.join("results.jsonl");
    std::fs::File::create(&path).map_err(|error| format!("--out {}: {error}", path.display()))
}

/// Seeds of a swarm when nobody says how many.
const SEEDS_DEFAULT: u64 = 100;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::{Cli, Command, replayed};

    fn refused(arguments: &[&str]) -> String {
        let all = ["chronon-sim"].iter().chain(arguments);
        match Cli::try_parse_from(all) {
            Ok(cli) => panic!("accepted: {cli:?}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn wrong_arguments_are_named_with_what_is_allowed() {
        let cases: [(&[&str], &str); 6] = [
            (&["swarm", "--start", "0xzz"], "`0xzz` is not a seed"),
            (&["swarm", "--for", "10"], "`10` is not a span"),
            (&["swarm", "--shard", "3/2"], "`3/2` is not a shard"),
            (&["swarm", "--jobs", "0"], "1..=1024"),
            (&["swarm", "--seeds", "5", "--for", "1s"], "cannot be used with"),
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
        let Command::Swarm(args) = cli.command else { panic!("a swarm") };
        assert_eq!((args.start, args.seeds, args.time), (1, None, None));
    }

    #[test]
    fn replay_takes_a_seed_or_a_file_and_says_what_it_could_not_read() {
        assert_eq!(replayed("0x11").expect("a seed").1.seed, 17);
        let error = replayed("17x").expect_err("no seed and no file");
        assert!(error.contains("`17x` is not a seed") && error.contains("no such file"), "{error}");
        let error = replayed("no/such.toml").expect_err("no such file");
        assert!(error.starts_with("no/such.toml: "), "{error}");
    }
}

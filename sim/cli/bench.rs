//! `chronon-sim bench`: how fast the simulator is, on three nodes at 100 requests a simulated second, all oracles on.

use std::time::Instant;

use chronon_core::builtin::Builtin;
use clap::{Args, Subcommand};

use super::bench_checker;
use super::core_share::CoreShare;
use super::memory::peak_memory_mib;
use crate::config::{Asks, WorldConfig};
use crate::run::{ALL_HELD, NOT_DETERMINISTIC, Report, Simulation};
use crate::scenario::{nodes_up_to, quiet_config};
use crate::time::{SECOND, WorldTime};
use crate::workload::BuiltinWorkload;

/// What to measure.
#[derive(Debug, Args)]
pub(super) struct BenchArgs {
    #[command(subcommand)]
    what: Option<What>,
    /// Simulated seconds.
    #[arg(long, default_value = "600", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The linearizability checker, on generated histories of every model: seconds, memory, what it gives up on.
    Checker(bench_checker::CheckerArgs),
}

/// Runs and prints the figures; the exit status.
pub(super) fn run(args: &BenchArgs, json: bool) -> Result<u8, String> {
    match &args.what {
        Some(What::Checker(args)) => bench_checker::run(args, json),
        None => Ok(run_simulator(args.seconds, json)),
    }
}

pub(super) fn simulation() -> Simulation<Builtin, BuiltinWorkload> {
    Simulation::new(Builtin, BuiltinWorkload::default())
}

fn run_simulator(seconds: u64, json: bool) -> u8 {
    let config = bench_config(seconds);
    let simulation = simulation();
    let report = simulation.run(config.clone(), None);
    let forks = forks_a_second(&config);
    let Report { steps, simulated, tally, wall, .. } = &report;
    let wall = wall.as_secs_f64().max(1e-9);
    let (steps_rate, time_rate) = (*steps as f64 / wall, simulated.as_secs_f64() / wall);
    let requests = tally.committed as f64 / simulated.as_secs_f64();
    let memory = peak_memory_mib();
    let (quiet, seeds) = match shares(&simulation) {
        Ok(shares) => shares,
        Err(what) => {
            eprintln!("FAILED: {what}");
            return NOT_DETERMINISTIC;
        }
    };
    if json {
        println!(
            "{}",
            serde_json::json!({
                "type": "bench",
                "steps": steps,
                "steps_per_sec": steps_rate,
                "simulated_secs_per_sec": time_rate,
                "requests_per_simulated_sec": requests,
                "forks_per_sec": forks,
                "peak_memory_mib": memory,
                "core_share": quiet.fraction(),
                "core_share_of_seeds": seeds.fraction(),
                "exit": report.exit_code(),
            })
        );
    } else {
        println!(
            "{steps_rate:.0} steps a second, {time_rate:.0} simulated seconds a second, {forks:.0} forks a second"
        );
        println!("{steps} steps, {requests:.0} requests a simulated second, all oracles on");
        let percent = |share: CoreShare| 100.0 * share.fraction();
        println!(
            "the nodes themselves take {:.0}% of the time here, {:.0}% in seeds 1 to {SHARE_SEEDS} of a swarm; the rest is the \
             simulator's",
            percent(quiet),
            percent(seeds),
        );
        match memory {
            Some(mib) => println!("{mib} MiB of memory at most"),
            None => println!("memory: this system does not tell"),
        }
    }
    if let Some(cause) = &report.cause {
        eprintln!("FAILED: {cause}");
        return report.exit_code();
    }
    ALL_HELD
}

/// The core's share of the time: of the bench itself, and of a swarm's seeds.
fn shares(simulation: &Simulation<Builtin, BuiltinWorkload>) -> Result<(CoreShare, CoreShare), String> {
    let (mut quiet, mut seeds) = (CoreShare::default(), CoreShare::default());
    quiet.add(&bench_config(SHARE_SECONDS))?;
    for seed in 1..=SHARE_SEEDS {
        seeds.add(&simulation.config_of_seed(seed))?;
    }
    Ok((quiet, seeds))
}

fn bench_config(seconds: u64) -> WorldConfig {
    let mut config = quiet_config(&nodes_up_to(3), &["register"]);
    config.faults_ns = seconds * SECOND;
    config.asking = Asks::everything(8, &config.groups);
    config.clients.think_ns = 80 * crate::time::MILLISECOND;
    config.steps_max = u64::MAX;
    config
}

/// How often a world in the middle of its run can be cloned.
fn forks_a_second(config: &WorldConfig) -> f64 {
    let Ok(mut world) = simulation().world(config.clone(), false) else { return 0.0 };
    world.run_until(WorldTime::from_nanos(10 * SECOND));
    let began = Instant::now();
    let mut steps = 0;
    for _ in 0..FORKS {
        let mut fork = world.clone();
        fork.step();
        steps += fork.steps();
    }
    assert!(steps >= world.steps(), "a fork goes on from where it was made");
    f64::from(FORKS) / began.elapsed().as_secs_f64()
}

const FORKS: u32 = 1000;
const SHARE_SECONDS: u64 = 60;
const SHARE_SEEDS: u64 = 20;

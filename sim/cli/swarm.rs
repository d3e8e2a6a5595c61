//! `chronon-sim swarm`.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use chronon_core::kernel::ChrApplication;
use clap::Args;

use super::interrupt::{self, INTERRUPTED};
use super::progress::Progress;
use super::tell_record;
use crate::lines::{Results, ResultsError};
use crate::run::Simulation;
use crate::swarm::{self, Header, Past, Record, Summary, SwarmPlan, swarm};
use crate::time::SECOND;
use crate::units::{Shard, parse_seed, parse_span, show_span};
use crate::workload::Workload;

/// Run many seeds.
///
/// With --out, each result is a line of DIR/results.jsonl as soon as it is there. Ctrl-C ends a swarm after the runs
/// that it is in: what was done is summed up, and the exit status is that of the gravest failure, or 130 when nothing
/// failed. However a swarm ends, --resume goes on after its last result. A second Ctrl-C kills.
#[derive(Debug, Args)]
pub(super) struct SwarmArgs {
    /// How many seeds; 100 when neither this nor --for is given.
    #[arg(long, value_name = "N", conflicts_with = "time", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) seeds: Option<u64>,
    /// For how long, such as 10m; with --resume, for how long from now.
    #[arg(long = "for", id = "time", value_name = "SPAN", value_parser = parse_span)]
    pub(super) time: Option<u64>,
    /// The first seed; 1 when not given.
    #[arg(long, value_name = "S", value_parser = parse_seed)]
    pub(super) start: Option<u64>,
    /// Threads; one a core when not given.
    #[arg(long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Only the seeds whose number modulo N is I - 1.
    #[arg(long, value_name = "I/N", value_parser = Shard::parse)]
    shard: Option<Shard>,
    /// Write every result as JSON Lines into DIR/results.jsonl.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the results in DIR: the seeds that they hold are not run again. Whatever of --start, --seeds, --shard
    /// and --check-determinism is given must be as it was. Without results in DIR, begin.
    #[arg(long, requires = "out")]
    resume: bool,
    /// Run every seed twice and report the first difference.
    #[arg(long)]
    check_determinism: bool,
}

/// Runs the swarm; the exit status.
pub(super) fn run<A, W>(simulation: &Simulation<A, W>, args: &SwarmArgs, json: bool) -> Result<u8, String>
where
    A: ChrApplication,
    W: Workload<A>,
    Simulation<A, W>: Sync,
{
    let (mut results, past) = open(args).map_err(|error| error.to_string())?;
    let header = header_of(args, past.as_ref())?;
    if let Some(results) = &mut results {
        let ready = match &past {
            Some(past) => results.go_on(past),
            None => results.begin(&header),
        };
        ready.map_err(|error| error.to_string())?;
    }
    let mut summary = Summary::default();
    let plan = plan_of(args, &header, past.as_ref(), &mut summary)?;
    let stop = interrupt::flag()?;
    let began = Instant::now();
    let broken = run_plan(simulation, &plan, &stop, results.as_mut(), &mut summary, json);
    let wall = began.elapsed().as_secs_f64();
    if json {
        let mut told = summary.to_json();
        told["wall_secs"] = wall.into();
        println!("{told}");
    } else {
        println!("{summary}, in {wall:.1} s");
    }
    if let Some(error) = broken {
        return Err(format!("{error}: the swarm was stopped"));
    }
    if stop.load(Ordering::Relaxed) {
        eprintln!(
            "chronon-sim: stopped before the end{}",
            args.out.as_ref().map_or("", |_| "; --resume goes on")
        );
        if summary.failed() == 0 {
            return Ok(INTERRUPTED);
        }
    }
    Ok(summary.exit_code())
}

/// The results file, if there is to be one, and what it holds.
fn open(args: &SwarmArgs) -> Result<(Option<Results>, Option<Past>), ResultsError> {
    let Some(dir) = &args.out else { return Ok((None, None)) };
    let (results, past) = swarm::open(dir)?;
    match past {
        Some(Past { path, .. }) if !args.resume => Err(ResultsError::Exists { path }),
        past => Ok((Some(results), past)),
    }
}

/// What the swarm is: as the arguments say, and where they are silent as it was.
fn header_of(args: &SwarmArgs, past: Option<&Past>) -> Result<Header, String> {
    let header = |start, seeds, shard, check_determinism| {
        Header::new(start, seeds, shard, check_determinism).map_err(|error| {
            format!("this program cannot read itself, to tell its results from others': {error}")
        })
    };
    let Some(Past { header: was, path, .. }) = past else {
        let seeds = args.seeds.or(if args.time.is_none() { Some(SEEDS_DEFAULT) } else { None });
        return header(args.start.unwrap_or(1), seeds, args.shard, args.check_determinism);
    };
    let is = header(
        args.start.unwrap_or(was.start),
        args.seeds.or(was.seeds),
        args.shard.or(was.shard),
        args.check_determinism || was.check_determinism,
    )?;
    let file = path.display();
    if is.arguments() != was.arguments() {
        let (is, was) = (is.arguments(), was.arguments());
        return Err(format!(
            "{file}: these are results of a swarm {was}, not of {is}: leave that out to go on with it, or begin in \
             another DIR"
        ));
    }
    if is != *was {
        return Err(format!(
            "{file}: these results are of another build (version {}, program {}), which may run a seed another way: \
             begin in another DIR",
            was.version, was.program
        ));
    }
    if is.seeds.is_none() && args.time.is_none() {
        return Err(format!("{file}: this swarm has no end: say --for how long it is to go on"));
    }
    Ok(is)
}

fn plan_of(
    args: &SwarmArgs,
    header: &Header,
    past: Option<&Past>,
    summary: &mut Summary,
) -> Result<SwarmPlan, String> {
    let records = past.map_or(&[][..], |past| &past.records);
    for record in records {
        summary.add(record);
    }
    if let Some(Past { path, torn, .. }) = past {
        let torn = if *torn { "; its last line was cut off, that seed runs again" } else { "" };
        eprintln!("{}: {} seeds are done{torn}", path.display(), records.len());
    }
    Ok(SwarmPlan {
        seeds: header.seeds()?,
        done: records.iter().map(|record| record.seed).collect(),
        time: args.time.map(Duration::from_nanos),
        jobs: super::jobs(args.jobs),
        check_determinism: header.check_determinism,
    })
}

/// Runs what is left; why results could not be written, if they could not.
fn run_plan<A, W>(
    simulation: &Simulation<A, W>,
    plan: &SwarmPlan,
    stop: &AtomicBool,
    mut results: Option<&mut Results>,
    summary: &mut Summary,
    json: bool,
) -> Option<ResultsError>
where
    A: ChrApplication,
    W: Workload<A>,
    Simulation<A, W>: Sync,
{
    let mut progress = Progress::new("seeds", plan.total());
    let began = Instant::now();
    let mut broken = None;
    swarm(simulation, plan, stop, |report| {
        let record = Record::of_seed(report);
        if let Some(results) = &mut results
            && broken.is_none()
            && let Err(error) = results.add(&record)
        {
            broken = Some(error);
            stop.store(true, Ordering::Relaxed);
        }
        // Of failures that are alike the first is told as it comes, and the summary counts the others.
        if summary.add(&record) || json {
            progress.beside(|| tell_record(&record, json));
        }
        progress.advance(standing(summary, plan.time.map(|time| time.saturating_sub(began.elapsed()))));
    });
    progress.finish();
    broken
}

fn standing(summary: &Summary, left: Option<Duration>) -> String {
    let left = left.map_or_else(String::new, |left| format!(", {} left", show_span(left.as_secs() * SECOND)));
    format!("{} failed, {:.0} s simulated{left}", summary.failed(), summary.simulated_secs())
}

/// Seeds of a swarm when nobody says how many.
const SEEDS_DEFAULT: u64 = 100;

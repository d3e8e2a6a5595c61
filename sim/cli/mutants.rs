//! `chronon-sim mutants`.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::interrupt::{self, INTERRUPTED};
use super::progress::Progress;
use crate::lines::{Results, ResultsError};
use crate::mutants::{Budget, Ended, Mutant, MutantsHeader, Outcome, Score, Shrinking, Tree, Trial, Verdict};
use crate::run::ALL_HELD;
use crate::units::{parse_span, show_span};

/// Plant each known bug and report the seeds and seconds that finding it took.
///
/// Each mutant of sim/mutants is planted in a copy of the tree (in target/mutants, where it stays for the next time),
/// built, and swarmed until a run fails or the budget is used up. A run that found it is then run once more without the
/// fault that the mutant names. Equivalents must survive their whole budget. Needs cargo.
///
/// Exit status: 0 when every bug was found and no equivalent was, else 10. Ctrl-C ends it with what was judged, and
/// with 130 if that was right; --resume goes on.
#[derive(Debug, Args)]
pub(super) struct MutantsArgs {
    /// Which mutants; all when none is named.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The tree.
    #[arg(long, value_name = "DIR", default_value = ".")]
    root: PathBuf,
    /// Seeds for each mutant, at most.
    #[arg(long, value_name = "N", default_value = "300", value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// Time for the swarm of each mutant, at most.
    #[arg(long = "for", id = "time", value_name = "SPAN", default_value = "5m", value_parser = parse_span)]
    time: u64,
    /// Shrink the failing run of each bug that is found, for so long at most, into the scenario DIR/MUTANT.toml.
    #[arg(long, value_name = "SPAN", requires = "out", value_parser = parse_span)]
    shrink: Option<u64>,
    /// Write every verdict as JSON Lines into DIR/mutants.jsonl.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Go on with the verdicts in DIR: mutants that they hold are not judged again, unless their file changed.
    #[arg(long, requires = "out")]
    resume: bool,
}

/// Judges the mutants; the exit status.
pub(super) fn run(args: &MutantsArgs, json: bool) -> Result<u8, String> {
    let began = Instant::now();
    let root =
        args.root.canonicalize().map_err(|error| format!("--root {}: {error}", args.root.display()))?;
    let mut mutants = Mutant::load_all(&root, &args.names)?;
    // A mistake in the last one shows before the first is built.
    mutants.iter().try_for_each(|mutant| mutant.planted(&root).map(drop))?;
    mutants.sort_by_key(|mutant| mutant.equivalent.is_some());
    let tree = Tree::copy(&root, &root.join(WORK))?;
    let (mut results, known) = open(args, &tree)?;
    let stop = interrupt::flag()?;
    let budget = Budget { seeds: args.seeds, time: Duration::from_nanos(args.time) };
    let shrink = args.shrink.zip(args.out.as_deref());
    let shrink = shrink.map(|(ns, dir)| Shrinking { time: Duration::from_nanos(ns), dir });
    let trial = Trial { tree: &tree, budget, shrink, stop: &stop };
    let mut score = Score::default();
    if !json {
        println!("{}", Score::head());
    }
    let ended = judge_all(&trial, &mutants, &known, results.as_mut(), &mut score, json);
    let wall = began.elapsed();
    if json {
        println!("{}", score.to_json(wall));
    } else {
        println!("{score}, in {:.1} s", wall.as_secs_f64());
    }
    match ended {
        Ok(()) => Ok(score.exit_code()),
        Err(Ended::Failed(what)) => Err(what),
        Err(Ended::Stopped | Ended::OutOfTime) => {
            eprintln!(
                "chronon-sim: stopped before the end{}",
                if args.out.is_some() { "; --resume goes on" } else { "" }
            );
            Ok(if score.exit_code() == ALL_HELD { INTERRUPTED } else { score.exit_code() })
        }
    }
}

/// The file of verdicts, if there is to be one, and those it holds.
fn open(args: &MutantsArgs, tree: &Tree) -> Result<(Option<Results>, Vec<Verdict>), String> {
    let Some(dir) = &args.out else { return Ok((None, Vec::new())) };
    let told = |error: ResultsError| error.to_string();
    let header = MutantsHeader::new(tree.hash(), args.seeds, args.time, args.shrink);
    let (mut results, past) =
        Results::open(&dir.join(VERDICTS), MutantsHeader::read, Verdict::read).map_err(told)?;
    let Some(past) = past else {
        results.begin(&header).map_err(told)?;
        return Ok((Some(results), Vec::new()));
    };
    if !args.resume {
        return Err(told(ResultsError::Exists { path: past.path }));
    }
    if past.header != header {
        return Err(format!(
            "{}: these verdicts are of another tree or another budget (--seeds {}, --for {}{}): begin in another DIR",
            past.path.display(),
            past.header.seeds,
            show_span(past.header.time_ns),
            past.header.shrink_ns.map_or_else(String::new, |ns| format!(", --shrink {}", show_span(ns))),
        ));
    }
    results.go_on(&past).map_err(told)?;
    Ok((Some(results), past.records))
}

fn judge_all(
    trial: &Trial<'_>,
    mutants: &[Mutant],
    known: &[Verdict],
    mut results: Option<&mut Results>,
    score: &mut Score,
    json: bool,
) -> Result<(), Ended> {
    let mut progress = Progress::new("mutants", Some(mutants.len() as u64));
    let known = |mutant: &Mutant| known.iter().rfind(|verdict| verdict.digest == mutant.digest).cloned();
    if mutants.iter().any(|mutant| known(mutant).is_none()) {
        progress.say("building the tree as it is".to_owned());
        trial.prepare()?;
    }
    let mut equivalents = false;
    for mutant in mutants {
        let verdict = match known(mutant) {
            Some(verdict) => verdict,
            None => {
                let verdict = trial.judge(mutant, &|how| progress.say(how))?;
                // One that does not build here and now may do so the next time.
                let lasts = !matches!(verdict.outcome, Outcome::DoesNotBuild(_) | Outcome::Broke(_));
                if let Some(results) = results.as_mut().filter(|_| lasts) {
                    results.add(&verdict).map_err(|error| Ended::Failed(error.to_string()))?;
                }
                verdict
            }
        };
        progress.beside(|| {
            if !json && !equivalents && verdict.equivalent {
                println!("equivalents, which must not be found:");
            }
            if json {
                println!("{}", serde_json::to_string(&verdict).expect("plain data is always JSON"));
            } else {
                println!("{}", Score::line(&verdict));
            }
        });
        equivalents |= verdict.equivalent;
        score.add(verdict);
        progress.advance(format!("{score}"));
    }
    progress.finish();
    Ok(())
}

/// Where in the tree the copy lies.
const WORK: &str = "target/mutants";
/// The name of the file in its folder.
const VERDICTS: &str = "mutants.jsonl";

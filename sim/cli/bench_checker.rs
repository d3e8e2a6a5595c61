//! `chronon-sim bench checker`: how fast the linearizability checker is, how much memory it takes, what it gives up on.
//!
//! Every history is judged in a process of its own, so that its memory is its own as well: this command starts itself
//! once a row. A row's histories are generated from seeds, so anybody gets the same ones.

use std::process::Command;
use std::time::Instant;

use clap::Args;

use super::memory::peak_memory_mib;
use crate::checker::generate::{Recipe, history};
use crate::checker::{Limits, MODELS, Verdict, check};
use crate::run::ALL_HELD;

/// Which histories.
#[derive(Clone, Debug, Args)]
pub(super) struct CheckerArgs {
    /// Only this model.
    #[arg(long, value_name = "NAME", value_parser = MODELS)]
    model: Option<String>,
    /// Histories of each row.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    histories: u64,
    /// Only this row, in this process.
    #[arg(long, value_name = "N", hide = true)]
    row: Option<usize>,
}

/// Operations, clients a key, keys.
const SIZES: [(usize, u64, u64); 3] = [(10_000, 20, 1), (100_000, 5, 1), (100_000, 5, 20)];

/// How many different values are written: never one twice, or so many.
const VALUES: [Option<u64>; 3] = [None, Some(100), Some(5)];

const LOST_PPM: u32 = 10_000;

/// Runs and prints the table; the exit status.
pub(super) fn run(args: &CheckerArgs, json: bool) -> Result<u8, String> {
    let rows = rows();
    if let Some(row) = args.row {
        let recipe = rows.get(row).ok_or_else(|| format!("--row {row}: there are {}", rows.len()))?;
        println!("{}", measure(recipe, args.histories)?);
        return Ok(ALL_HELD);
    }
    if !json {
        println!(
            "model        operations clients keys  values  answers  seconds at most  MiB  linearizable  violated  given up"
        );
    }
    let program =
        std::env::current_exe().map_err(|error| format!("this program cannot be found: {error}"))?;
    for (row, recipe) in rows.iter().enumerate() {
        if args.model.as_ref().is_some_and(|model| model != recipe.model) {
            continue;
        }
        let mut command = Command::new(&program);
        command.args(["bench", "checker", "--row", &row.to_string()]);
        command.args(["--histories", &args.histories.to_string()]);
        let output = command.output().map_err(|error| format!("{}: {error}", program.display()))?;
        if !output.status.success() {
            return Err(format!("row {row} failed: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let figures: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("row {row}: {error}"))?;
        if json {
            println!("{figures}");
        } else {
            println!("{}", line(recipe, &figures));
        }
    }
    Ok(ALL_HELD)
}

fn rows() -> Vec<Recipe> {
    let mut rows = Vec::new();
    for model in MODELS {
        for (operations, clients, keys) in SIZES {
            for values in VALUES {
                // What a mutex holds has no values.
                if model == "mutex" && values.is_some() {
                    continue;
                }
                for wrong in [false, true] {
                    rows.push(Recipe { model, operations, clients, keys, lost_ppm: LOST_PPM, values, wrong });
                }
            }
        }
    }
    rows
}

fn measure(recipe: &Recipe, histories: u64) -> Result<serde_json::Value, String> {
    let (mut slowest, mut held, mut violated, mut given_up) = (0.0_f64, 0, 0, 0);
    for seed in 1..=histories {
        let history = history(recipe, seed).map_err(|error| error.to_string())?;
        let began = Instant::now();
        let verdict = check(recipe.model, &history, Limits::default()).map_err(|error| error.to_string())?;
        slowest = slowest.max(began.elapsed().as_secs_f64());
        match verdict {
            Verdict::Linearizable { .. } => held += 1,
            Verdict::Violation(_) => violated += 1,
            Verdict::GaveUp { .. } => given_up += 1,
        }
    }
    Ok(serde_json::json!({
        "type": "bench checker",
        "model": recipe.model,
        "operations": recipe.operations,
        "clients": recipe.clients,
        "keys": recipe.keys,
        "values": recipe.values,
        "lost_ppm": recipe.lost_ppm,
        "wrong": recipe.wrong,
        "seconds_at_most": slowest,
        "peak_memory_mib": peak_memory_mib(),
        "linearizable": held,
        "violated": violated,
        "given_up": given_up,
    }))
}

fn line(recipe: &Recipe, figures: &serde_json::Value) -> String {
    let Recipe { model, operations, clients, keys, values, wrong, .. } = recipe;
    let values = values.map_or("unique".to_owned(), |values| values.to_string());
    let answers = if *wrong { "one wrong" } else { "right" };
    let seconds = figures["seconds_at_most"].as_f64().unwrap_or_default();
    let (held, violated, given_up) = (&figures["linearizable"], &figures["violated"], &figures["given_up"]);
    format!(
        "{model:<12} {operations:>10} {clients:>7} {keys:>4}  {values:>6}  {answers:<9}{seconds:>14.2}  {:>4}  \
         {held:>12}  {violated:>8}  {given_up:>8}",
        figures["peak_memory_mib"]
    )
}

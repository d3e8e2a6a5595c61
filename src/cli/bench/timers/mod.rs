//! `chronon bench timers`: events that are due later.

mod alone;
mod applied;
mod drawn;
mod memory;

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;

use super::Answer;

/// Events that are due later: what many of them cost a replica.
#[derive(Args, Debug)]
pub(in crate::cli) struct TimersArgs {
    /// Timers that are pending in one replica's state.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(8..=100_000_000))]
    timers: u64,
}

pub(in crate::cli) fn run(args: &TimersArgs) -> anyhow::Result<Answer> {
    eprintln!("{} timers in a schedule alone ...", args.timers);
    let alone = alone::measure(args.timers)?;
    eprintln!("{} timers in one replica's state ...", args.timers);
    let applied = applied::measure(args.timers)?;
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["", "ns each"]);
    for (what, ns) in alone.lines() {
        table.add_row([format!("{what}, the schedule alone"), format!("{ns:.0}")]);
    }
    for (what, ns) in applied.lines() {
        table.add_row([format!("{what}, applied as a command"), ns.to_string()]);
    }
    let text = format!(
        "{} timers pending, due within a year.\n{table}\na timer alone: {:.0} bytes resident\n{}",
        args.timers,
        alone.bytes_each(),
        applied.words()
    );
    Ok(Answer { text, json: json!({ "alone": alone.json(), "applied": applied.json() }) })
}

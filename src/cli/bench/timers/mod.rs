//! `chronon bench timers`: events that are due later.

mod alone;
mod applied;
mod drawn;
mod memory;
mod nodes;

use std::path::PathBuf;

use clap::Args;
use comfy_table::Table;
use comfy_table::presets::NOTHING;
use serde_json::json;

use super::closed_loop::Figure;
use super::flush_rate::FlushRate;
use super::{Answer, Folder};
use alone::Alone;
use applied::Applied;
use nodes::Fired;

/// Events that are due later: what many of them cost a replica, and how late three processes on this machine are with them.
#[derive(Args, Debug)]
pub(in crate::cli) struct TimersArgs {
    /// Timers that are pending in one replica's state.
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(8..=100_000_000))]
    timers: u64,
    /// Seconds in which events fire one after the other.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Events that fire in each of these seconds.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Events that are all due in one second.
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    burst: u64,
    /// Events that a publisher publishes one by one each second while others fire.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    publishes: u32,
    /// A folder on the disk to be used; a new one in it is used, and removed afterwards.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
}

pub(in crate::cli) fn run(args: &TimersArgs) -> anyhow::Result<Answer> {
    let folder = Folder::create(&args.dir)?;
    eprintln!("{} timers in a schedule alone ...", args.timers);
    let (alone, kept) = alone::measure(args.timers)?;
    eprintln!("{} timers in one replica's state ...", args.timers);
    let applied = applied::measure(args.timers)?;
    drop(kept);
    let before = FlushRate::measure(&folder.0)?;
    let fired = nodes::measure(args, &folder.0)?;
    let after = FlushRate::measure(&folder.0)?;
    let is_spoiled = before.is_spoiled() || after.is_spoiled();
    let spoiled =
        if is_spoiled { "\nThe disk is busy or slow (p50 above 0.3 ms): this run is spoiled." } else { "" };
    let text = format!(
        "{}\n\n{}\n4 KiB write and fdatasync alone: before {before}; after {after}{spoiled}",
        in_replica(args, &alone, &applied),
        in_nodes(args, &fired)
    );
    let json = json!({ "alone": alone.json(), "applied": applied.json(), "nodes": fired,
                       "message_id_bytes": id_bytes(&alone, &applied),
                       "flush_before": before, "flush_after": after, "spoiled": is_spoiled });
    Ok(Answer { text, json })
}

fn in_replica(args: &TimersArgs, alone: &Alone, applied: &Applied) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["", "ns each"]);
    for (what, ns) in alone.lines() {
        table.add_row([format!("{what}, the schedule alone"), format!("{ns:.0}")]);
    }
    for (what, ns) in applied.lines() {
        table.add_row([format!("{what}, a command with all that belongs to it"), ns.to_string()]);
    }
    let id_bytes = id_bytes(alone, applied);
    format!(
        "One replica, in memory: {} timers pending, due at any time within a year.\n{table}\n\
         a timer, the schedule alone: {:.0} bytes resident\n{}\n\
         a message id that is remembered: {id_bytes:.0} bytes resident; {:.1} million in a GiB",
        args.timers,
        alone.bytes_each(),
        applied.words(),
        f64::from(1 << 30) / id_bytes / 1e6
    )
}

/// What the name of an event takes: what an event takes beyond its timer.
fn id_bytes(alone: &Alone, applied: &Applied) -> f64 {
    applied.bytes_each() - alone.bytes_each()
}

fn in_nodes(args: &TimersArgs, fired: &Fired) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(["", "events/s", "p50 ms", "p99 ms", "max ms"]);
    let rows = [
        (format!("late, of {} fires a second, at their subscribers", args.rate), &fired.lateness),
        (format!("a publisher of {} a second, before", args.publishes), &fired.publisher_before),
        (format!("the publisher, while {} a second fire", args.rate), &fired.publisher_meanwhile),
        (format!("the publisher, while {} are due at once", args.burst), &fired.publisher_in_burst),
    ];
    for (what, Figure { per_second, p50_ms, p99_ms, max_ms }) in rows {
        let ms = |ms: f64| format!("{ms:.2}");
        table.add_row([what, format!("{per_second:.0}"), ms(*p50_ms), ms(*p99_ms), ms(*max_ms)]);
    }
    format!(
        "Three processes, on the disks of a quorum before each answer; no event was early.\n{table}\n\
         {} events due in one second: all ready {:.2} s after it began",
        args.burst, fired.burst_ready_s
    )
}

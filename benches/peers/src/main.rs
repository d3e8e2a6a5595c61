//! What consensus costs a processor: committed commands a second of three replicas in one thread, with messages passed as values
//! and a disk that takes no time, for Chronon and, in the same run, for raft-rs and OmniPaxos.
//!
//! ```text
//! cargo run --release --manifest-path benches/peers/Cargo.toml                      # about a minute
//! cargo run --release --manifest-path benches/peers/Cargo.toml -- 9 Chronon         # 9 repetitions, of Chronon alone
//! ```
//!
//! All have the same commands of 256 bytes, as many under way, as many in all, the same allocator and the same build (that of
//! the product's `dist` profile, with overflow checks). A round is proposed once all of the one before is answered, each node works until
//! it has nothing more to do and then the next one does, timers fire, and logs are cut now and then. Time is this
//! thread's processor time. They do not do the same:
//!
//! | | Chronon | raft-rs | OmniPaxos |
//! |---|---|---|---|
//! | client sessions, a retry gets the first outcome | yes | no | no |
//! | hashes: payload, chain of headers, flush, outcomes | yes | no | no |
//! | laid out for a disk: blocks, directory twice, checksum | yes, on all three | no: a `Vec` | no: a `Vec` |
//! | acknowledges when a disk operation has completed | yes | when it is in the `Vec` | when it is in the `Vec` |
//! | executes commands, replies to each | yes, on all three | hands them out | counts them |
//! | an answer counted is | a reply with its outcome | an entry handed out by the leader | the leader's decided index |
//!
//! So what stands beside Chronon is what a system spends before it has done any of that. None of them encodes messages here.

mod chronon;
mod meter;
mod omni_paxos;
mod raft_rs;
mod system;

use std::hint::black_box;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use chronon::{Chronon, Probe};
use chronon_core::types::Hash;
use meter::{allocated, processor_time};
use omni_paxos::OmniPaxosCluster;
use raft_rs::{RaftRs, Use};
use system::{Load, System};

#[global_allocator]
static ALLOCATOR: meter::Counted = meter::Counted;

const LOADS: [Load; 3] = [
    Load { name: "1 command a proposal, 1 under way", window: 1, batch: 1, commands: 100_000 },
    Load { name: "1 command a proposal, 16 under way", window: 16, batch: 1, commands: 160_000 },
    Load { name: "64 commands a proposal, 64 under way", window: 64, batch: 64, commands: 640_000 },
];

type Make = fn(Load) -> Box<dyn System>;

/// Ours first: the others are compared with it.
const SYSTEMS: [(&str, Make); 5] = [
    ("Chronon", |load| Box::new(Chronon::new(load))),
    ("raft-rs", |load| Box::new(RaftRs::new(load, Use::Default))),
    ("raft-rs, tuned", |load| Box::new(RaftRs::new(load, Use::Tuned))),
    ("raft-rs, tuned, one entry", |load| Box::new(RaftRs::new(load, Use::OneEntry))),
    ("OmniPaxos", |load| Box::new(OmniPaxosCluster::new(load))),
];

/// One measurement.
#[derive(Clone, Copy)]
struct Figure {
    per_second: f64,
    /// A command, as all of these.
    allocations: f64,
    allocated_bytes: f64,
    messages: f64,
}

fn main() -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    let repetitions = arguments.next().map_or(Ok(5), |text| text.parse::<usize>());
    let only = arguments.next().unwrap_or_default();
    let (Ok(repetitions @ 1..), None) = (repetitions, arguments.next()) else {
        eprintln!(
            "usage: chronon-bench-peers [REPETITIONS, at least 1] [SYSTEM, or the beginning of a name]"
        );
        return ExitCode::from(2);
    };
    let systems: Vec<(&str, Make)> =
        SYSTEMS.into_iter().filter(|(name, _)| name.starts_with(&only)).collect();
    if systems.is_empty() {
        let names: Vec<&str> = SYSTEMS.iter().map(|(name, _)| *name).collect();
        eprintln!("no system's name begins with {only:?}; there are {}", names.join("; "));
        return ExitCode::from(2);
    }
    println!(
        "Three replicas in one thread, commands of {} bytes, an instant disk: commands a second of processor time that were \
         answered; {repetitions} repetitions, in turns.",
        system::PAYLOAD_BYTES
    );
    for load in LOADS {
        let mut figures = vec![Vec::new(); systems.len()];
        for _ in 0..repetitions {
            for ((_, make), figures) in systems.iter().zip(&mut figures) {
                figures.push(measure(load, *make));
            }
        }
        print_figures(load, &systems, &figures);
    }
    if "Chronon".starts_with(&only) {
        LOADS.into_iter().for_each(print_shares);
    }
    ExitCode::SUCCESS
}

fn measure(load: Load, make: Make) -> Figure {
    let mut system = make(load);
    run(load, &mut *system);
    let (messages, (allocations, allocated_bytes)) = (system.messages(), allocated());
    let began = processor_time();
    run(load, &mut *system);
    let took = processor_time() - began;
    let after = allocated();
    let each = |count: u64| count as f64 / load.commands as f64;
    Figure {
        per_second: load.commands as f64 / took.as_secs_f64(),
        allocations: each(after.0 - allocations),
        allocated_bytes: each(after.1 - allocated_bytes),
        messages: each(system.messages() - messages),
    }
}

/// Has a load's commands committed. The first ones are not measured: logs grow until something lets go of them.
fn run(load: Load, system: &mut dyn System) {
    for _ in 0..load.commands / load.window {
        let answered = system.round();
        assert_eq!(answered, load.window, "every command is answered once");
    }
}

fn print_figures(load: Load, systems: &[(&str, Make)], figures: &[Vec<Figure>]) {
    println!("\n{}", load.name);
    println!(
        "  {:26} {:>11} {:>11} {:>11} {:>8} {:>8} {:>9} {:>9} {:>14}",
        "", "median/s", "min/s", "max/s", "ns each", "allocs", "bytes", "messages", "Chronon's is"
    );
    let rates = |figures: &[Figure]| figures.iter().map(|figure| figure.per_second).collect::<Vec<_>>();
    for ((name, _), mine) in systems.iter().zip(figures) {
        let (low, middle, high) = spread(rates(mine));
        // Of what was measured in the same turn.
        let ratios = figures[0].iter().zip(mine).map(|(ours, it)| ours.per_second / it.per_second);
        let (_, ratio, _) = spread(ratios.collect());
        let Figure { allocations, allocated_bytes, messages, .. } = mine[0];
        let ratio = if systems[0].0 == "Chronon" { format!("{ratio:.2} of it") } else { String::new() };
        println!(
            "  {name:26} {middle:>11.0} {low:>11.0} {high:>11.0} {:>8.0} {allocations:>8.1} {allocated_bytes:>9.0} {messages:>9.2} \
             {ratio:>14}",
            1e9 / middle
        );
    }
}

/// The least, the median and the most.
fn spread(mut values: Vec<f64>) -> (f64, f64, f64) {
    values.sort_by(f64::total_cmp);
    (values[0], values[values.len() / 2], values[values.len() - 1])
}

/// Where Chronon's time goes, in a run that looks at each step.
fn print_shares(load: Load) {
    let mut cluster = Chronon::new(load);
    run(load, &mut cluster);
    cluster.look();
    run(load, &mut cluster);
    let Probe { steps, left_out, hashed, checked, disk_ops, flushed_bytes, .. } = cluster.seen();
    let each = |count: f64| count / load.commands as f64;
    let clock = clock_ns();
    let net = |(ns, steps): (u64, u64)| each((ns as f64 - steps as f64 * clock).max(0.0));
    let whole: f64 = steps.values().map(|spent| net(*spent)).sum();
    println!(
        "\nWhere Chronon's time goes: {}; nanoseconds a command in Node::step, the clock's own time taken off",
        load.name
    );
    let line = |what: &str, ns: f64| println!("  {what:58} {ns:>8.0} {:>5.0}%", 100.0 * ns / whole);
    for (about, spent) in &steps {
        line(about, net(*spent));
    }
    line("all steps", whole);
    let piece = vec![0x5a; hashed.iter().chain(&checked).copied().max().unwrap_or_default()];
    line(
        "  of these: blake3 of as many pieces as long, alone",
        each(alone(&hashed, |bytes| Hash::of(&piece[..bytes]))),
    );
    line(
        "  and: CRC32C of the bodies of flushes, alone",
        each(alone(&checked, |bytes| crc32c::crc32c(&piece[..bytes]))),
    );
    println!("  {left_out} steps of more than {} us were left out", chronon::STEP_NS_MAX / 1000);
    let bytes: usize = hashed.iter().sum();
    println!(
        "  a command: {:.2} hashes of {:.0} bytes together, {:.2} disk operations, {:.0} bytes of flushes, {:.2} steps",
        each(hashed.len() as f64),
        each(bytes as f64),
        each(disk_ops as f64),
        each(flushed_bytes as f64),
        each(steps.values().map(|(_, steps)| *steps as f64).sum()),
    );
}

/// Nanoseconds that `work` alone takes over pieces of these lengths.
fn alone<T>(lengths: &[usize], work: impl Fn(usize) -> T) -> f64 {
    let began = processor_time();
    lengths.iter().for_each(|bytes| {
        black_box(work(black_box(*bytes)));
    });
    (processor_time() - began).as_nanos() as f64
}

/// Nanoseconds that a look at the clock adds to a step.
fn clock_ns() -> f64 {
    let looks = 100_000;
    let added: Duration = (0..looks).map(|_| black_box(Instant::now()).elapsed()).sum();
    added.as_nanos() as f64 / f64::from(looks)
}

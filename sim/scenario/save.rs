//! Writing a run down as a scenario file: every number that its seed drew, to be read, edited and run again.
//!
//! The run of the file is the run of the seed: the same draws, the same trace.

use std::fmt::{self, Write};

use crate::config::WorldConfig;
use crate::net::{DropRule, Endpoint, MessageKind};
use crate::plan::{Fault, FaultKind};
use crate::units::show_span;

/// The scenario file of a run.
pub fn text_of(name: &str, config: &WorldConfig) -> String {
    Written { name, config }.to_string()
}

struct Written<'a> {
    name: &'a str,
    config: &'a WorldConfig,
}

impl fmt::Display for Written<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let config = self.config;
        // The formatter of TOML knows how a name is quoted.
        writeln!(f, "name = {}", toml::Value::from(self.name))?;
        writeln!(f, "seed = \"{:#x}\"", config.seed)?;
        writeln!(f, "length = {}\nheal = {}", span(config.faults_ns), span(config.heal_ns))?;
        writeln!(f, "operations_min = {}", config.operations_min)?;
        write_cluster(f, config)?;
        for group in &config.groups {
            let voters: Vec<String> = group.voters.iter().map(ToString::to_string).collect();
            writeln!(f, "\n[[group]]\nkind = \"{}\"\nvoters = [{}]", group.kind, voters.join(", "))?;
            writeln!(f, "sessions_max = {}", group.sessions_max)?;
        }
        let clients = &config.clients;
        writeln!(f, "\n[clients]\ncount = {}\nthink = {}", clients.count, span(clients.think_ns))?;
        writeln!(f, "resend = {}\ngive_up = {}", span(clients.resend_ns), span(clients.give_up_ns))?;
        writeln!(f, "repeat = {}", share(clients.repeat_ppm))?;
        config.plan.iter().try_for_each(|fault| write_fault(f, fault))
    }
}

fn write_cluster(f: &mut fmt::Formatter<'_>, config: &WorldConfig) -> fmt::Result {
    let WorldConfig { engine, limits, timeouts, disk, net, clocks, .. } = config;
    writeln!(f, "\n[cluster]\nnodes = {}", config.nodes)?;
    if let Some(group) = config.groups.first() {
        writeln!(f, "id = \"{:#x}\"", group.cluster.get())?;
    }
    writeln!(f, "bytes_on_the_wire = {}", config.bytes_on_the_wire)?;
    writeln!(f, "atomic_unit = {}", disk.atomic_unit)?;
    writeln!(f, "disk_write = {}\ndisk_read = {}", span(disk.write_ns), span(disk.read_ns))?;
    writeln!(f, "disk_barrier = {}\ndelay = {}", span(disk.barrier_ns), span(net.delay_ns))?;
    writeln!(f, "loss = {}\nduplicate = {}", share(net.loss_ppm), share(net.duplicate_ppm))?;
    writeln!(f, "drift_ppm = {}\nwall_offset = {}", clocks.drift_ppm, span(clocks.offset_ns))?;
    writeln!(f, "segment_bytes = {}\nflush_bytes_max = {}", engine.segment_bytes, engine.flush_bytes_max)?;
    writeln!(f, "flushes_in_flight = {}", engine.flushes_in_flight_max)?;
    writeln!(f, "sealed_segments = {}", engine.sealed_segments_target)?;
    writeln!(f, "idle_mark = {}", span(engine.idle_mark_after.as_nanos()))?;
    writeln!(f, "pipeline_entries = {}", limits.pipeline_entries_max)?;
    writeln!(f, "batch_commands = {}", limits.batch_commands_max)?;
    writeln!(f, "batch_bytes = {}\ncommand_bytes = {}", limits.batch_bytes_max, limits.command_bytes_max)?;
    writeln!(f, "queue_requests = {}", limits.queue_requests_max)?;
    writeln!(
        f,
        "repair_entries = {}\nrepair_bytes = {}",
        limits.repair_entries_max, limits.repair_bytes_max
    )?;
    let timers = [
        ("heartbeat", timeouts.heartbeat),
        ("primary_silence", timeouts.primary_silence),
        ("view_change", timeouts.view_change),
        ("resend", timeouts.resend),
        ("abdicate", timeouts.abdicate),
    ];
    timers.into_iter().try_for_each(|(word, ns)| writeln!(f, "{word} = {}", span(ns.as_nanos())))
}

fn write_fault(f: &mut fmt::Formatter<'_>, fault: &Fault) -> fmt::Result {
    write!(f, "\n[[fault]]\n{} = {{ at = {}", fault.what.word(), span(fault.at.as_nanos()))?;
    match &fault.what {
        FaultKind::Crash { node, down_ns } => write!(f, ", node = {node}, down = {}", span(*down_ns))?,
        FaultKind::CrashAtDiskOp { node, nth, aim, down_ns } => {
            write!(f, ", node = {node}, nth = {nth}, down = {}", span(*down_ns))?;
            aim.word().map_or(Ok(()), |file| write!(f, ", file = \"{file}\""))?;
        }
        FaultKind::PowerLoss { down_ns, apart_ns } => {
            write!(f, ", down = {}, apart = {}", span(*down_ns), span(*apart_ns))?;
        }
        FaultKind::Pause { node, for_ns } | FaultKind::DiskStall { node, for_ns } => {
            write!(f, ", node = {node}, for = {}", span(*for_ns))?;
        }
        FaultKind::Cut { links, for_ns } | FaultKind::Clog { links, for_ns } => {
            write!(f, ", for = {}, {}", span(*for_ns), links_of(links))?;
        }
        FaultKind::Lossy { links, loss_ppm, for_ns } => {
            write!(f, ", for = {}, share = {}, {}", span(*for_ns), share(*loss_ppm), links_of(links))?;
        }
        FaultKind::Drop { rule, for_ns } => write!(f, ", for = {}{}", span(*for_ns), drop_of(rule))?,
        FaultKind::ClockJump { node, by_ns } => {
            let sign = if *by_ns < 0 { "-" } else { "" };
            write!(f, ", node = {node}, by = \"{sign}{}\"", show_span(by_ns.unsigned_abs()))?;
        }
    }
    writeln!(f, " }}")
}

/// From one side to the other where that says it all, or else one by one.
fn links_of(links: &[(Endpoint, Endpoint)]) -> String {
    let mut from: Vec<Endpoint> = links.iter().map(|(from, _)| *from).collect();
    from.dedup();
    let first = from.first().copied();
    let mut to: Vec<Endpoint> = links.iter().filter(|(a, _)| Some(*a) == first).map(|(_, b)| *b).collect();
    let one_way = |from: &[Endpoint], to: &[Endpoint]| {
        from.iter().flat_map(|a| to.iter().map(move |b| (*a, *b))).collect::<Vec<_>>()
    };
    let sides = |from: &[Endpoint], to: &[Endpoint]| format!("from = {}, to = {}", ends(from), ends(to));
    if !links.is_empty() && one_way(&from, &to) == links {
        return format!("{}, one_way = true", sides(&from, &to));
    }
    // Both ways: who is not on the other side of the first one is on its own.
    from.retain(|end| !to.contains(end));
    to.sort_unstable();
    let mut both = one_way(&from, &to);
    both.extend(one_way(&to, &from));
    both.sort_unstable();
    if !links.is_empty() && both == links {
        return sides(&from, &to);
    }
    let named: Vec<String> = links.iter().map(|(a, b)| format!("\"{a}>{b}\"")).collect();
    format!("links = [{}]", named.join(", "))
}

fn ends(ends: &[Endpoint]) -> String {
    let named: Vec<String> = ends.iter().map(|end| end_of(*end)).collect();
    format!("[{}]", named.join(", "))
}

fn end_of(end: Endpoint) -> String {
    match end {
        Endpoint::Node(node) => node.to_string(),
        Endpoint::Client(client) => format!("\"c{client}\""),
    }
}

fn drop_of(rule: &DropRule) -> String {
    let mut text = String::new();
    let mut put = |key: &str, value: Option<String>| {
        value.map_or(Ok(()), |value| write!(text, ", {key} = {value}")).unwrap_or_default();
    };
    let word = |kind| MessageKind::WORDS.into_iter().find(|(known, _)| *known == kind).map(|(_, word)| word);
    put("kind", rule.kind.and_then(word).map(|word| format!("\"{word}\"")));
    put("from", rule.from.map(end_of));
    put("to", rule.to.map(end_of));
    put("attempts", (rule.attempts != u32::MAX).then(|| rule.attempts.to_string()));
    put("bytes_min", (rule.bytes_min != 0).then(|| rule.bytes_min.to_string()));
    put("count", (rule.count != u32::MAX).then(|| rule.count.to_string()));
    text
}

fn span(ns: u64) -> String {
    format!("\"{}\"", show_span(ns))
}

fn share(ppm: u32) -> String {
    format!("{}.{:06}", ppm / 1_000_000, ppm % 1_000_000)
}

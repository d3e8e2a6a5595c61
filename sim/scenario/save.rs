//! Writing a run down as a scenario file, to be read, edited and run again. What is as usual is left out.
//!
//! The run of the file is the run that was written down: the same draws, the same trace.

use std::fmt::{self, Write};

use chronon_core::types::{Archiving, GroupId, GroupInit, MembershipChange};

use super::quiet_config;
use crate::changes::{Change, Wanted};
use crate::config::{Asks, EventsModel, OperatorModel, WorldConfig};
use crate::net::{DropRule, Endpoint, MessageKind};
use crate::plan::{Fault, FaultKind};
use crate::sink::SinkModel;
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
        let usual = quiet_config(&config.nodes, &[]);
        // The formatter of TOML knows how a name is quoted.
        writeln!(f, "name = {}", toml::Value::from(self.name))?;
        writeln!(f, "seed = \"{:#x}\"\nlength = {}", config.seed, span(config.faults_ns))?;
        put(f, "heal", config.heal_ns, usual.heal_ns, span)?;
        put(f, "operations_min", config.operations_min, usual.operations_min, plain)?;
        put(f, "beyond_budget", config.beyond_budget, usual.beyond_budget, plain)?;
        put(f, "disks_lost_max", config.disks_lost_max, usual.disks_lost_max, plain)?;
        write_cluster(f, config, &usual)?;
        write_groups(f, config, &usual)?;
        write_clients(f, config, &usual)?;
        write_sinks(f, config.sinks, usual.sinks)?;
        write_operator(f, config.operator, usual.operator)?;
        write_events(f, config.events, usual.events)?;
        config.plan.iter().try_for_each(|fault| write_fault(f, fault))?;
        config.changes.iter().try_for_each(|change| write_change(f, change, config))
    }
}

/// One line, unless the value is the usual one.
fn put<T: PartialEq>(
    f: &mut fmt::Formatter<'_>,
    key: &str,
    value: T,
    usual: T,
    show: impl Fn(T) -> String,
) -> fmt::Result {
    if value == usual { Ok(()) } else { writeln!(f, "{key} = {}", show(value)) }
}

fn write_cluster(f: &mut fmt::Formatter<'_>, config: &WorldConfig, usual: &WorldConfig) -> fmt::Result {
    let count = config.nodes.len();
    match config.nodes.last() {
        Some(last) if last.get() != count as u64 => {
            writeln!(f, "\n[cluster]\nnodes = [{}]", listed(&config.nodes))?
        }
        _ => writeln!(f, "\n[cluster]\nnodes = {count}")?,
    }
    let cluster = |config: &WorldConfig| config.groups.first().map(|group| group.cluster.get());
    put(f, "id", cluster(config), cluster(usual), |id| format!("\"{:#x}\"", id.unwrap_or_default()))?;
    put(f, "bytes_on_the_wire", config.bytes_on_the_wire, usual.bytes_on_the_wire, plain)?;
    let (disk, u) = (&config.disk, &usual.disk);
    put(f, "atomic_unit", disk.atomic_unit, u.atomic_unit, plain)?;
    put(f, "disk_write", disk.write_ns, u.write_ns, span)?;
    put(f, "disk_read", disk.read_ns, u.read_ns, span)?;
    put(f, "disk_barrier", disk.barrier_ns, u.barrier_ns, span)?;
    // What is not said of it is said of barriers.
    put(f, "disk_allocate", disk.allocate_ns, disk.barrier_ns, span)?;
    put(f, "delay", config.net.delay_ns, usual.net.delay_ns, span)?;
    put(f, "loss", config.net.loss_ppm, usual.net.loss_ppm, share)?;
    put(f, "duplicate", config.net.duplicate_ppm, usual.net.duplicate_ppm, share)?;
    put(f, "drift_ppm", config.clocks.drift_ppm, usual.clocks.drift_ppm, plain)?;
    put(f, "wall_offset", config.clocks.offset_ns, usual.clocks.offset_ns, span)?;
    write_node(f, config, usual)
}

/// Bounds and timers of every node.
fn write_node(f: &mut fmt::Formatter<'_>, config: &WorldConfig, usual: &WorldConfig) -> fmt::Result {
    let (engine, u) = (&config.engine, &usual.engine);
    put(f, "segment_bytes", engine.segment_bytes, u.segment_bytes, plain)?;
    put(f, "flush_bytes_max", engine.flush_bytes_max, u.flush_bytes_max, plain)?;
    put(f, "flushes_in_flight", engine.flushes_in_flight_max, u.flushes_in_flight_max, plain)?;
    put(f, "sealed_segments", engine.sealed_segments_target, u.sealed_segments_target, plain)?;
    put(f, "sealed_segments_max", engine.sealed_segments_max, u.sealed_segments_max, plain)?;
    put(f, "snapshot_chunk_bytes", engine.snapshot_chunk_bytes, u.snapshot_chunk_bytes, plain)?;
    put(f, "idle_mark", engine.idle_mark_after.as_nanos(), u.idle_mark_after.as_nanos(), span)?;
    put(f, "scrub_every", engine.scrub_every.as_nanos(), u.scrub_every.as_nanos(), span)?;
    put(f, "scrub_bytes", engine.scrub_bytes_per_second, u.scrub_bytes_per_second, plain)?;
    let (limits, u) = (&config.limits, &usual.limits);
    put(f, "pipeline_entries", limits.pipeline_entries_max, u.pipeline_entries_max, plain)?;
    put(f, "batch_commands", limits.batch_commands_max, u.batch_commands_max, plain)?;
    put(f, "batch_bytes", limits.batch_bytes_max, u.batch_bytes_max, plain)?;
    put(f, "command_bytes", limits.command_bytes_max, u.command_bytes_max, plain)?;
    put(f, "queue_requests", limits.queue_requests_max, u.queue_requests_max, plain)?;
    put(f, "repair_entries", limits.repair_entries_max, u.repair_entries_max, plain)?;
    put(f, "repair_bytes", limits.repair_bytes_max, u.repair_bytes_max, plain)?;
    put(f, "side_effects", limits.side_effects_max, u.side_effects_max, plain)?;
    put(f, "outbox", limits.outbox_max, u.outbox_max, plain)?;
    put(f, "outbox_bytes", limits.outbox_bytes_max, u.outbox_bytes_max, plain)?;
    let (timeouts, u) = (&config.timeouts, &usual.timeouts);
    let timers = [
        ("heartbeat", timeouts.heartbeat, u.heartbeat),
        ("primary_silence", timeouts.primary_silence, u.primary_silence),
        ("view_change", timeouts.view_change, u.view_change),
        ("resend", timeouts.resend, u.resend),
        ("abdicate", timeouts.abdicate, u.abdicate),
        ("disk_patience", timeouts.disk_patience, u.disk_patience),
        ("clock_tolerance", timeouts.clock_tolerance, u.clock_tolerance),
        ("attempt", timeouts.attempt, u.attempt),
    ];
    timers.into_iter().try_for_each(|(word, ns, usual)| put(f, word, ns.as_nanos(), usual.as_nanos(), span))
}

fn write_groups(f: &mut fmt::Formatter<'_>, config: &WorldConfig, usual: &WorldConfig) -> fmt::Result {
    let GroupInit { sessions_max, .. } = &usual.groups[0];
    let mut next = 1;
    for group in &config.groups {
        writeln!(f, "\n[[group]]\nkind = \"{}\"", group.kind)?;
        put(f, "id", group.group.get(), next, plain)?;
        next = group.group.get() + 1;
        put(f, "voters", &group.voters, &config.nodes, |voters| format!("[{}]", listed(voters)))?;
        put(f, "sessions_max", group.sessions_max, *sessions_max, plain)?;
        if let Some(Archiving { chunk_bytes, chunks_max }) = group.archive {
            writeln!(f, "archive = {{ chunk_bytes = {chunk_bytes}, chunks_max = {chunks_max} }}")?;
        }
    }
    Ok(())
}

fn write_clients(f: &mut fmt::Formatter<'_>, config: &WorldConfig, usual: &WorldConfig) -> fmt::Result {
    writeln!(f, "\n[clients]")?;
    let ids = config.client_ids();
    if config.asking == Asks::everything(ids.len() as u32, &config.groups) {
        writeln!(f, "count = {}", ids.len())?;
    } else {
        let all: Vec<_> = config.groups.iter().map(|init| init.group).collect();
        let named: Vec<String> = ids.iter().map(|client| asks_of(*client, &config.asking, &all)).collect();
        writeln!(f, "asking = [{}]", named.join(", "))?;
    }
    let (clients, u) = (&config.clients, &usual.clients);
    put(f, "requests_max", clients.requests_max, u.requests_max, plain)?;
    put(f, "think", clients.think_ns, u.think_ns, span)?;
    put(f, "resend", clients.resend_ns, u.resend_ns, span)?;
    put(f, "give_up", clients.give_up_ns, u.give_up_ns, span)?;
    put(f, "repeat", clients.repeat_ppm, u.repeat_ppm, share)
}

fn asks_of(client: u32, asking: &[Asks], all: &[GroupId]) -> String {
    let groups: Vec<_> = asking.iter().filter(|asks| asks.client == client).map(|asks| asks.group).collect();
    if groups == all {
        return format!("{{ client = {client} }}");
    }
    format!("{{ client = {client}, groups = [{}] }}", listed(&groups))
}

fn write_sinks(f: &mut fmt::Formatter<'_>, sinks: SinkModel, u: SinkModel) -> fmt::Result {
    if sinks == u {
        return Ok(());
    }
    writeln!(f, "\n[sinks]")?;
    put(f, "delay", sinks.delay_ns, u.delay_ns, span)?;
    put(f, "fail", sinks.fail_ppm, u.fail_ppm, share)?;
    put(f, "silent", sinks.silent_ppm, u.silent_ppm, share)?;
    put(f, "lie", sinks.lie_ppm, u.lie_ppm, share)?;
    put(f, "down", sinks.down_ppm, u.down_ppm, share)?;
    put(f, "refuse", sinks.refuse_ppm, u.refuse_ppm, share)
}

fn write_operator(f: &mut fmt::Formatter<'_>, operator: OperatorModel, u: OperatorModel) -> fmt::Result {
    if operator == u {
        return Ok(());
    }
    writeln!(f, "\n[operator]")?;
    put(f, "every", operator.every_ns, u.every_ns, span)?;
    put(f, "redrive", operator.redrive_ppm, u.redrive_ppm, share)?;
    put(f, "discard", operator.discard_ppm, u.discard_ppm, share)
}

fn write_events(f: &mut fmt::Formatter<'_>, events: EventsModel, u: EventsModel) -> fmt::Result {
    if events == u {
        return Ok(());
    }
    writeln!(f, "\n[events]")?;
    put(f, "publish", events.publish_ppm, u.publish_ppm, share)?;
    put(f, "batch", events.batch, u.batch, plain)?;
    put(f, "delay", events.delay_ns, u.delay_ns, span)?;
    put(f, "again", events.again_ppm, u.again_ppm, share)?;
    put(f, "poison", events.poison_ppm, u.poison_ppm, share)?;
    put(f, "expires", events.expires_ppm, u.expires_ppm, share)?;
    put(f, "change", events.change_ppm, u.change_ppm, share)?;
    put(f, "past", events.past_ppm, u.past_ppm, share)?;
    put(f, "leave", events.leave_ppm, u.leave_ppm, share)?;
    put(f, "administer", events.administer_ppm, u.administer_ppm, share)?;
    put(f, "attach_after", events.attach_after, u.attach_after, plain)?;
    put(f, "credits_after", events.credits_after, u.credits_after, plain)?;
    put(f, "together", events.together_ns, u.together_ns, span)?;
    put(f, "ack_timeout", events.ack_timeout_ns, u.ack_timeout_ns, span)
}

fn write_change(f: &mut fmt::Formatter<'_>, change: &Change, config: &WorldConfig) -> fmt::Result {
    let (word, node, by) = match &change.what {
        Wanted::Members(MembershipChange::AddLearner { node, .. }) => ("add", node, None),
        Wanted::Members(MembershipChange::Promote { node }) => ("promote", node, None),
        Wanted::Members(MembershipChange::Remove { node }) => ("remove", node, None),
        Wanted::Members(MembershipChange::Replace { node, by }) => ("replace", node, Some(by)),
        Wanted::Lead(node) => ("lead", node, None),
    };
    write!(f, "\n[[change]]\n{word} = {{ at = {}, node = {node}", span(change.at.as_nanos()))?;
    if let Some(by) = by {
        write!(f, ", by = {by}")?;
    }
    if config.groups[0].group != change.group {
        write!(f, ", group = {}", change.group)?;
    }
    writeln!(f, " }}")
}

fn write_fault(f: &mut fmt::Formatter<'_>, fault: &Fault) -> fmt::Result {
    write!(f, "\n[[fault]]\n{} = {{ at = {}", fault.what.word(), span(fault.at.as_nanos()))?;
    match &fault.what {
        FaultKind::Crash { node, down_ns } | FaultKind::Wipe { node, down_ns } => {
            write!(f, ", node = {node}, down = {}", span(*down_ns))?;
        }
        FaultKind::PutBack { node, for_ns, down_ns } => {
            write!(f, ", node = {node}, for = {}, down = {}", span(*for_ns), span(*down_ns))?;
        }
        FaultKind::CrashAtDiskOp { node, nth, aim, down_ns }
        | FaultKind::DiskError { node, nth, aim, down_ns } => {
            write!(f, ", node = {node}, nth = {nth}, down = {}", span(*down_ns))?;
            aim.word().map_or(Ok(()), |file| write!(f, ", file = \"{file}\""))?;
        }
        FaultKind::PowerLoss { down_ns, apart_ns } => {
            write!(f, ", down = {}, apart = {}", span(*down_ns), span(*apart_ns))?;
        }
        FaultKind::Pause { node, for_ns }
        | FaultKind::DiskStall { node, for_ns }
        | FaultKind::ClockFreeze { node, for_ns } => {
            write!(f, ", node = {node}, for = {}", span(*for_ns))?;
        }
        FaultKind::Cut { links, for_ns }
        | FaultKind::Clog { links, for_ns }
        | FaultKind::Echo { links, for_ns } => {
            write!(f, ", for = {}, {}", span(*for_ns), links_of(links))?;
        }
        FaultKind::Lossy { links, loss_ppm, for_ns } => {
            write!(f, ", for = {}, share = {}, {}", span(*for_ns), share(*loss_ppm), links_of(links))?;
        }
        FaultKind::Drop { rule, for_ns } => write!(f, ", for = {}{}", span(*for_ns), drop_of(rule))?,
        FaultKind::Rot { node, how, nth }
        | FaultKind::RotSnapshot { node, how, nth }
        | FaultKind::RotArchive { node, how, nth } => {
            write!(f, ", node = {node}, how = \"{}\", nth = {nth}", how.word())?;
        }
        FaultKind::DiskFull { node, room, for_ns } => {
            write!(f, ", node = {node}, room = {room}, for = {}", span(*for_ns))?;
        }
        FaultKind::Misread { node, nth, aim, gives } => {
            write!(f, ", node = {node}, nth = {nth}, gives = \"{}\"", gives.word())?;
            aim.word().map_or(Ok(()), |file| write!(f, ", file = \"{file}\""))?;
        }
        FaultKind::RotManifest { node, copy, how } => {
            write!(f, ", node = {node}, copy = {copy}, how = \"{}\"", how.word())?;
        }
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

fn plain(value: impl fmt::Display) -> String {
    value.to_string()
}

fn listed(ids: &[impl fmt::Display]) -> String {
    let shown: Vec<String> = ids.iter().map(ToString::to_string).collect();
    shown.join(", ")
}

fn share(ppm: u32) -> String {
    format!("{}.{:06}", ppm / 1_000_000, ppm % 1_000_000)
}

//! Scenario files: a cluster, a workload, faults at given times, and what is expected, in TOML.
//!
//! ```toml
//! name = "the primary dies twice"
//! seed = 7
//! length = "20s"
//!
//! [cluster]
//! nodes = 3
//!
//! [[group]]
//! kind = "register"
//!
//! [[fault]]
//! crash = { at = "5s", node = 2, down = "1s" }
//!
//! [expect]
//! committed_min = 100
//! ```
//!
//! What clients of a group of kind `events` do is said in `[events]`: which shares of their requests publish (`publish`), take events
//! back or put them off (`change`), leave (`leave`), and pause, seek, alter or delete consumer groups (`administer`); how many events a publish has at most (`batch`), within which time they are
//! due (`delay`) or at which multiples of a time all together (`together`), which share of them has an earlier one's name (`again`), is over already (`past`), or is never done by anybody
//! (`poison`), or is of no use some time after it is due (`expires`); how many requests a session makes before it consumes (`attach_after`),
//! and before it has any credits (`credits_after`); and when a delivery has failed that is not
//! settled (`ack_timeout`). What must have become of events is said in `[expect]`, such as `fates_min = { duplicate = 100 }`.
//!
//! A mistake is refused with the file, line and column, what was found and what is allowed.

mod changes;
pub(crate) mod error;
mod extent;
mod fault_shape;
mod save;
mod shape;
mod value;

use std::ops::Range;
use std::path::{Path, PathBuf};

use chronon_core::types::{Archiving, ClusterId, GroupId, GroupInit, Mark, NodeId};
use toml::Spanned;

use crate::config::{Asks, CLIENTS_MAX, ClockModel, GROUPS_MAX, NODES_MAX, WorldConfig};
use crate::oracle::EventFate;
use crate::run::{Cause, Report};
use crate::sink::Verdict;
use crate::time::{MILLISECOND, SECOND};
use changes::changes;
use error::Located;
use extent::Extent;
pub use save::text_of;
use shape::{ClientsShape, File, GroupShape};
use value::{Count, NodesShape};

/// A scenario, read and checked.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What it is called.
    pub name: String,
    /// The run.
    pub config: WorldConfig,
    expect: Expect,
}

/// What a run must have had, beside breaking no invariant.
#[derive(Clone, Debug)]
struct Expect {
    committed_min: u64,
    view_changes_min: u64,
    view_changes_max: u64,
    crashes_min: u64,
    repeated_min: u64,
    rotted_min: u64,
    halts_min: u64,
    /// No data directory may ever be longer.
    disk_bytes_max: u64,
    /// Some entry held so many commands.
    entry_commands_min: u64,
    /// Whether it ends in a stall, beyond the fault budget.
    stall: bool,
    /// Paths that a node must have taken.
    marks: Vec<&'static str>,
    /// Paths that no node may take.
    never: Vec<&'static str>,
    /// Attempts at side effects, by what became of them.
    attempts_min: Vec<(Verdict, u64)>,
    /// What became of events.
    fates_min: Vec<(EventFate, u64)>,
}

impl Scenario {
    /// Reads a scenario file, whose groups may be of these kinds.
    ///
    /// # Errors
    /// The file, the line and the column, what was found and what is allowed.
    pub fn load(path: &Path, kinds: &[&str]) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text, kinds).map_err(|error| error.show(&path.display().to_string(), &text))
    }

    fn parse(text: &str, kinds: &[&str]) -> Result<Self, Located> {
        let file: File = toml::from_str(text).map_err(|error| Located::of_toml(&error))?;
        let nodes = nodes(&file.cluster.nodes)?;
        let mut config = quiet_config(&nodes, &[]);
        config.seed = file.seed.unwrap_or(1);
        config.faults_ns = file.length.0;
        config.beyond_budget = file.beyond_budget;
        config.disks_lost_max = file.disks_lost_max.map_or(config.disks_lost_max, Count::get);
        config.heal_ns = file.heal.map_or(config.heal_ns, |heal| heal.0);
        file.cluster.apply(&mut config)?;
        config.operations_min = file.operations_min.unwrap_or(config.operations_min);
        let cluster = file.cluster.id.map_or(config.groups[0].cluster, |id| ClusterId::new(u128::from(id)));
        config.groups = groups(&file.group, kinds, &nodes, cluster)?;
        bounds_agree(&config)?;
        file.clients.apply(&mut config.clients);
        file.sinks.apply(&mut config.sinks);
        file.operator.apply(&mut config.operator);
        file.events.apply(&mut config.events);
        config.asking = asking(&file.clients, &config.groups)?;
        enough_is_asked(&config)?;
        let extent = Extent { nodes, clients: config.client_ids(), length_ns: config.faults_ns };
        let faults = file.fault.iter().map(|fault| extent.faults(fault));
        config.plan = faults.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect();
        config.plan.sort_by_key(|fault| fault.at);
        config.changes = changes(&file.change, &extent, &config.groups)?;
        let checked = config.check_changes();
        checked.map_err(|(place, what)| Located::at(file.change[place].span(), what))?;
        config.steps_max = config.steps_max.max(config.faults_ns / SECOND * STEPS_A_SECOND_MAX);
        let expect = Expect {
            committed_min: file.expect.committed_min.unwrap_or(1),
            view_changes_min: file.expect.view_changes_min.unwrap_or(0),
            view_changes_max: file.expect.view_changes_max.unwrap_or(u64::MAX),
            crashes_min: file.expect.crashes_min.unwrap_or(0),
            repeated_min: file.expect.repeated_min.unwrap_or(0),
            rotted_min: file.expect.rotted_min.unwrap_or(0),
            halts_min: file.expect.halts_min.unwrap_or(0),
            disk_bytes_max: file.expect.disk_bytes_max.unwrap_or(u64::MAX),
            entry_commands_min: file.expect.entry_commands_min.unwrap_or(0),
            stall: file.expect.stall,
            marks: file.expect.marks.iter().map(mark).collect::<Result<_, _>>()?,
            never: file.expect.never.iter().map(mark).collect::<Result<_, _>>()?,
            attempts_min: file.expect.attempts_min.into_iter().map(|(word, least)| (word.0, least)).collect(),
            fates_min: file.expect.fates_min.into_iter().map(|(word, least)| (word.0, least)).collect(),
        };
        Ok(Self { name: file.name, config, expect })
    }

    /// The report, failed if the run lacks what the scenario expects.
    pub fn judge(&self, mut report: Report) -> Report {
        let tally = &report.tally;
        let least = [
            ("committed operations", tally.committed, self.expect.committed_min),
            ("view changes", tally.view_changes, self.expect.view_changes_min),
            ("crashes", tally.crashes, self.expect.crashes_min),
            ("repeated operations", tally.repeated, self.expect.repeated_min),
            ("rotten flushes", tally.rotted, self.expect.rotted_min),
            ("nodes that stop over what their disk lost", tally.halts, self.expect.halts_min),
            ("commands in the longest entry", tally.entry_commands_max, self.expect.entry_commands_min),
            ("stalls", tally.stalled, u64::from(self.expect.stall)),
        ];
        let mut missing = least
            .into_iter()
            .find(|(_, found, least)| found < least)
            .map(|(what, found, least)| format!("{found} {what}; the scenario expects at least {least}"));
        if tally.view_changes > self.expect.view_changes_max {
            let (found, most) = (tally.view_changes, self.expect.view_changes_max);
            missing = Some(format!("{found} view changes; the scenario expects at most {most}"));
        }
        if tally.disk_bytes_max > self.expect.disk_bytes_max {
            let (found, most) = (tally.disk_bytes_max, self.expect.disk_bytes_max);
            missing = Some(format!("a data directory of {found} bytes; the scenario expects at most {most}"));
        }
        let attempts = |verdict: &Verdict| tally.attempts.get(verdict.word()).copied().unwrap_or_default();
        if let Some((verdict, least)) =
            self.expect.attempts_min.iter().find(|(verdict, least)| attempts(verdict) < *least)
        {
            let (found, word) = (attempts(verdict), verdict.word());
            missing = Some(format!("{found} attempts `{word}`; the scenario expects at least {least}"));
        }
        let fates = |fate: &EventFate| tally.fates.get(fate.word()).copied().unwrap_or_default();
        if let Some((fate, least)) = self.expect.fates_min.iter().find(|(fate, least)| fates(fate) < *least) {
            let (found, word) = (fates(fate), fate.word());
            missing = Some(format!("{found} times `{word}`; the scenario expects at least {least}"));
        }
        let is_reached = |text: &&str| report.marks.reached().any(|(mark, _)| mark.text() == *text);
        if let Some(text) = self.expect.marks.iter().find(|text| !is_reached(text)) {
            missing.get_or_insert(format!("no node came by `{text}`, which the scenario expects"));
        }
        if let Some(text) = self.expect.never.iter().find(|text| is_reached(text)) {
            missing.get_or_insert(format!("a node came by `{text}`, which the scenario rules out"));
        }
        if report.cause.is_none() {
            report.cause = missing.map(|what| Cause::Unexpected { what });
        }
        report
    }
}

/// The text of a mark, if there is one that has it.
fn mark(text: &Spanned<String>) -> Result<&'static str, Located> {
    let known = Mark::ALL.iter().find(|mark| mark.text() == text.get_ref());
    known.map(|mark| mark.text()).ok_or_else(|| {
        let what = format!("there is no mark `{}`; `chronon-sim list` names them", text.get_ref());
        Located::at(text.span(), what)
    })
}

/// Whether clients may ask as much as is waited for.
fn enough_is_asked(config: &WorldConfig) -> Result<(), Located> {
    let most = config.clients.requests_max.saturating_mul(config.asking.len() as u64);
    if config.operations_min <= most {
        return Ok(());
    }
    Err(Located::nowhere(format!(
        "operations_min is {}, and with requests_max {} clients ask {most} requests at most",
        config.operations_min, config.clients.requests_max
    )))
}

/// Whether the bounds of a node agree with each other.
fn bounds_agree(config: &WorldConfig) -> Result<(), Located> {
    config.node(config.nodes[0]).validate().map_err(|error| Located::nowhere(error.to_string()))?;
    config.engine.validate(config.groups.len()).map_err(|error| Located::nowhere(error.to_string()))
}

/// A cluster in which nothing goes wrong: what a scenario starts from. One group a kind, on all nodes.
pub fn quiet_config(nodes: &[NodeId], kinds: &[&str]) -> WorldConfig {
    let mut config = WorldConfig::of_seed(1, &["register"]);
    let cluster = ClusterId::new(1);
    let kinds = if kinds.is_empty() { &["register"] } else { kinds };
    config.nodes = nodes.to_vec();
    config.groups = (1..)
        .zip(kinds)
        .map(|(group, kind)| GroupInit {
            cluster,
            group: GroupId::new(group),
            kind: (*kind).to_owned(),
            voters: nodes.to_vec(),
            sessions_max: 1024,
            archive: None,
        })
        .collect();
    config.engine = chronon_core::engine::EngineConfig {
        segment_bytes: 1 << 20,
        flush_bytes_max: 128 << 10,
        ..chronon_core::engine::EngineConfig::default()
    };
    config.limits = chronon_core::node::Limits {
        batch_bytes_max: 32 << 10,
        command_bytes_max: 8 << 10,
        repair_bytes_max: 32 << 10,
        ..chronon_core::node::Limits::default()
    };
    config.timeouts = chronon_core::node::Timeouts::default();
    config.disk = crate::disk::DiskModel::default();
    config.net = crate::net::NetModel { delay_ns: 200_000, loss_ppm: 0, duplicate_ppm: 0 };
    config.sinks = crate::sink::SinkModel::default();
    config.operator = crate::config::OperatorModel::default();
    config.events = crate::config::EventsModel::default();
    config.clocks = ClockModel::default();
    config.clients = crate::config::ClientModel {
        think_ns: 100 * MILLISECOND,
        resend_ns: 300 * MILLISECOND,
        give_up_ns: 20 * SECOND,
        repeat_ppm: 0,
        requests_max: u64::MAX,
    };
    config.asking = Asks::everything(CLIENTS_USUAL, &config.groups);
    config.bytes_on_the_wire = false;
    config.operations_min = 0;
    config.beyond_budget = false;
    config.disks_lost_max = 1;
    config.heal_ns = 60 * SECOND;
    config.plan = Vec::new();
    config.changes = Vec::new();
    config
}

/// The scenario files under `path`: itself, or every `.toml` file of the directory, in order.
///
/// # Errors
/// When there is no such file, or no scenario in the directory.
pub fn files_of(path: &Path) -> Result<Vec<PathBuf>, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", path.display());
    if !std::fs::metadata(path).map_err(fail)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let file = entry.map_err(fail)?.path();
        if file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        Err(format!("{}: no scenario (*.toml) in this directory", path.display()))
    } else {
        Ok(files)
    }
}

/// A scenario that takes more steps than this in a second of its world is a failure: something loops.
const STEPS_A_SECOND_MAX: u64 = 1_000;
/// Clients of a scenario that does not say how many.
const CLIENTS_USUAL: u32 = 3;

/// Nodes 1 to N.
pub fn nodes_up_to(count: u32) -> Vec<NodeId> {
    (1..=u64::from(count)).map(NodeId::new).collect()
}

fn nodes(shape: &Spanned<NodesShape>) -> Result<Vec<NodeId>, Located> {
    let count = |count: i64| within(&Spanned::new(shape.span(), count), 1, NODES_MAX, "nodes");
    match shape.get_ref() {
        NodesShape::Count(found) => Ok(nodes_up_to(count(*found)?)),
        NodesShape::Ids(ids) => {
            count(ids.len() as i64)?;
            let ids = ids.iter().map(|id| within(&Spanned::new(shape.span(), *id), 1, NODES_MAX, "node"));
            let ids = ids.collect::<Result<Vec<u32>, _>>()?;
            ascending(&ids, "nodes", shape.span())?;
            Ok(ids.into_iter().map(|id| NodeId::new(u64::from(id))).collect())
        }
    }
}

/// Every client asks every group, unless the file says who asks what.
fn asking(shape: &ClientsShape, groups: &[GroupInit]) -> Result<Vec<Asks>, Located> {
    let Some(named) = &shape.asking else {
        let count = shape.count.as_ref().map(|count| within(count, 1, CLIENTS_MAX, "clients"));
        return Ok(Asks::everything(count.transpose()?.unwrap_or(CLIENTS_USUAL), groups));
    };
    if let Some(count) = &shape.count {
        return Err(Located::at(count.span(), "either `count` or `asking` says which clients".to_owned()));
    }
    let mut asking = Vec::new();
    let mut clients = Vec::new();
    for shape in named {
        let client = within(&shape.get_ref().client, 1, CLIENTS_MAX, "client")?;
        clients.push(client);
        ascending(&clients, "clients", shape.get_ref().client.span())?;
        let Some(asked) = &shape.get_ref().groups else {
            asking.extend(groups.iter().map(|init| Asks { client, group: init.group }));
            continue;
        };
        let mut own = Vec::new();
        for group in asked {
            let found = within(group, 1, GROUPS_MAX, "group")?;
            if !groups.iter().any(|init| init.group.get() == found) {
                return Err(Located::at(group.span(), format!("there is no group {found}")));
            }
            own.push(found);
            ascending(&own, "groups", group.span())?;
        }
        asking.extend(own.into_iter().map(|group| Asks { client, group: GroupId::new(group) }));
    }
    Ok(asking)
}

fn ascending(ids: &[u32], what: &str, span: Range<usize>) -> Result<(), Located> {
    if ids.is_sorted_by(|a, b| a < b) {
        return Ok(());
    }
    Err(Located::at(span, format!("{what} {ids:?}: ascending, and each once, is allowed")))
}

fn groups(
    shapes: &[GroupShape],
    kinds: &[&str],
    nodes: &[NodeId],
    cluster: ClusterId,
) -> Result<Vec<GroupInit>, Located> {
    if shapes.len() > GROUPS_MAX as usize {
        let found = shapes.len();
        return Err(Located::nowhere(format!("{found} groups; at most {GROUPS_MAX} are allowed")));
    }
    let mut groups = Vec::new();
    let mut ids = Vec::new();
    for shape in shapes {
        let mut voters = nodes.to_vec();
        if let Some(named) = &shape.voters {
            let extent = Extent { nodes: nodes.to_vec(), clients: Vec::new(), length_ns: 0 };
            voters = named.iter().map(|voter| extent.node(voter)).collect::<Result<_, _>>()?;
        }
        match &shape.id {
            Some(id) => ids.push(within(id, 1, GROUPS_MAX, "group")?),
            None => ids.push(ids.last().map_or(1, |last| last + 1)),
        }
        ascending(&ids, "groups", shape.kind.span())?;
        let kind = shape.kind.get_ref().clone();
        if !kinds.contains(&kind.as_str()) {
            let known = kinds.join(", ");
            let what = format!("unknown kind `{kind}`; known are {known}");
            return Err(Located::at(shape.kind.span(), what));
        }
        let group = GroupId::new(ids[ids.len() - 1]);
        let init = GroupInit {
            cluster,
            group,
            kind,
            voters,
            sessions_max: shape.sessions_max.unwrap_or(1024),
            archive: shape.archive.as_ref().map(|archive| Archiving {
                chunk_bytes: archive.chunk_bytes,
                chunks_max: archive.chunks_max,
            }),
        };
        init.validate().map_err(|error| Located::at(shape.kind.span(), error.to_string()))?;
        groups.push(init);
    }
    if groups.is_empty() {
        groups = quiet_config(nodes, &kinds[kinds.len().saturating_sub(1)..]).groups;
        groups.iter_mut().for_each(|group| group.cluster = cluster);
    }
    Ok(groups)
}

/// The number if it is within its bounds.
fn within(number: &Spanned<i64>, least: u32, most: u32, what: &str) -> Result<u32, Located> {
    let found = *number.get_ref();
    match u32::try_from(found) {
        Ok(found) if (least..=most).contains(&found) => Ok(found),
        _ => Err(Located::at(number.span(), format!("{what} {found}: {least} to {most} are allowed"))),
    }
}

#[cfg(test)]
mod tests;

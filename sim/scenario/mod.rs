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
//! A mistake is refused with the file, line and column, what was found and what is allowed.

mod error;
mod save;
mod shape;

use std::ops::Range;
use std::path::{Path, PathBuf};

use chronon_core::node::NodeConfig;
use chronon_core::types::{ClusterId, GroupId, GroupInit, NodeId};
use toml::Spanned;

use crate::config::{CLIENTS_MAX, ClockModel, GROUPS_MAX, NODES_MAX, WorldConfig};
use crate::net::{DropRule, Endpoint};
use crate::plan::{Aim, Fault, FaultKind};
use crate::run::{Cause, Report};
use crate::time::{MILLISECOND, SECOND, WorldTime};
use error::Located;
pub use save::text_of;
use shape::{AimShape, EndpointShape, FaultShape, File, GroupShape, LinksShape, Ns};

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
#[derive(Clone, Copy, Debug)]
struct Expect {
    committed_min: u64,
    view_changes_min: u64,
    view_changes_max: u64,
    crashes_min: u64,
    repeated_min: u64,
}

impl Scenario {
    /// Reads a scenario file.
    ///
    /// # Errors
    /// The file, the line and the column, what was found and what is allowed.
    pub fn load(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Self::parse(&text).map_err(|error| error.show(&path.display().to_string(), &text))
    }

    fn parse(text: &str) -> Result<Self, Located> {
        let file: File = toml::from_str(text).map_err(|error| Located::of_toml(&error))?;
        let nodes = within(&file.cluster.nodes, 1, NODES_MAX, "nodes")?;
        let mut config = quiet_config(nodes, &[]);
        config.seed = file.seed.unwrap_or(1);
        config.faults_ns = file.length.0;
        config.heal_ns = file.heal.map_or(config.heal_ns, |heal| heal.0);
        file.cluster.apply(&mut config)?;
        config.operations_min = file.operations_min.unwrap_or(config.operations_min);
        let cluster = file.cluster.id.map_or(config.groups[0].cluster, |id| ClusterId::new(u128::from(id)));
        config.groups = groups(&file.group, nodes, cluster)?;
        bounds_agree(&config)?;
        file.clients.apply(&mut config.clients);
        config.clients.count = match &file.clients.count {
            Some(count) => within(count, 1, CLIENTS_MAX, "clients")?,
            None => config.clients.count,
        };
        let extent = Extent { nodes, clients: config.clients.count, length_ns: config.faults_ns };
        config.plan = file.fault.iter().map(|fault| extent.fault(fault)).collect::<Result<_, _>>()?;
        config.plan.sort_by_key(|fault| fault.at);
        let expect = Expect {
            committed_min: file.expect.committed_min.unwrap_or(1),
            view_changes_min: file.expect.view_changes_min.unwrap_or(0),
            view_changes_max: file.expect.view_changes_max.unwrap_or(u64::MAX),
            crashes_min: file.expect.crashes_min.unwrap_or(0),
            repeated_min: file.expect.repeated_min.unwrap_or(0),
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
        ];
        let mut missing = least
            .into_iter()
            .find(|(_, found, least)| found < least)
            .map(|(what, found, least)| format!("{found} {what}; the scenario expects at least {least}"));
        if tally.view_changes > self.expect.view_changes_max {
            let (found, most) = (tally.view_changes, self.expect.view_changes_max);
            missing = Some(format!("{found} view changes; the scenario expects at most {most}"));
        }
        if report.cause.is_none() {
            report.cause = missing.map(|what| Cause::Unexpected { what });
        }
        report
    }
}

/// Whether the bounds of a node agree with each other.
fn bounds_agree(config: &WorldConfig) -> Result<(), Located> {
    let node = NodeConfig {
        cluster: config.groups[0].cluster,
        node: NodeId::new(1),
        engine: config.engine,
        limits: config.limits,
        timeouts: config.timeouts,
    };
    node.validate().map_err(|error| Located::nowhere(error.to_string()))?;
    config.engine.validate(config.groups.len()).map_err(|error| Located::nowhere(error.to_string()))
}

/// A cluster in which nothing goes wrong: what a scenario starts from. One group a kind, on all nodes.
pub fn quiet_config(nodes: u32, kinds: &[&str]) -> WorldConfig {
    let mut config = WorldConfig::of_seed(1, &["register"]);
    let cluster = ClusterId::new(1);
    let kinds = if kinds.is_empty() { &["register"] } else { kinds };
    config.nodes = nodes;
    config.groups = (1..)
        .zip(kinds)
        .map(|(group, kind)| GroupInit {
            cluster,
            group: GroupId::new(group),
            kind: (*kind).to_owned(),
            voters: (1..=u64::from(nodes)).map(NodeId::new).collect(),
            sessions_max: 1024,
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
    config.clocks = ClockModel::default();
    config.clients = crate::config::ClientModel {
        count: 3,
        think_ns: 100 * MILLISECOND,
        resend_ns: 300 * MILLISECOND,
        give_up_ns: 20 * SECOND,
        repeat_ppm: 0,
    };
    config.bytes_on_the_wire = false;
    config.operations_min = 0;
    config.heal_ns = 60 * SECOND;
    config.plan = Vec::new();
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

fn groups(shapes: &[GroupShape], nodes: u32, cluster: ClusterId) -> Result<Vec<GroupInit>, Located> {
    let all = || (1..=u64::from(nodes)).map(NodeId::new).collect::<Vec<_>>();
    if shapes.len() > GROUPS_MAX as usize {
        let found = shapes.len();
        return Err(Located::nowhere(format!("{found} groups; at most {GROUPS_MAX} are allowed")));
    }
    let mut groups = Vec::new();
    for (number, shape) in (1..).zip(shapes) {
        let mut voters = all();
        if let Some(named) = &shape.voters {
            voters.clear();
            for voter in named {
                voters.push(NodeId::new(u64::from(within(voter, 1, nodes, "node")?)));
            }
        }
        let kind = shape.kind.get_ref().clone();
        if !chronon_core::builtin::KINDS.contains(&kind.as_str()) {
            let known = chronon_core::builtin::KINDS.join(", ");
            let what = format!("unknown kind `{kind}`; known are {known}");
            return Err(Located::at(shape.kind.span(), what));
        }
        let group = GroupId::new(number);
        let init =
            GroupInit { cluster, group, kind, voters, sessions_max: shape.sessions_max.unwrap_or(1024) };
        init.validate().map_err(|error| Located::at(shape.kind.span(), error.to_string()))?;
        groups.push(init);
    }
    if groups.is_empty() {
        groups = quiet_config(nodes, &["register"]).groups;
        groups.iter_mut().for_each(|group| group.cluster = cluster);
    }
    Ok(groups)
}

/// What the faults of a scenario may refer to.
#[derive(Clone, Copy, Debug)]
struct Extent {
    nodes: u32,
    clients: u32,
    length_ns: u64,
}

impl Extent {
    fn fault(&self, shape: &Spanned<FaultShape>) -> Result<Fault, Located> {
        let (at, what) = match shape.get_ref() {
            FaultShape::Crash(crash) => {
                (&crash.at, FaultKind::Crash { node: self.node(&crash.node)?, down_ns: crash.down.0 })
            }
            FaultShape::CrashAtDiskOp(crash) => {
                let (node, down_ns) = (self.node(&crash.node)?, crash.down.0);
                let nth = u64::from(within(&crash.nth, 1, u32::MAX, "disk operation")?);
                let aim = match crash.file {
                    None => Aim::Any,
                    Some(AimShape::Manifest) => Aim::Manifest,
                    Some(AimShape::Snapshot) => Aim::Snapshot,
                };
                (&crash.at, FaultKind::CrashAtDiskOp { node, nth, aim, down_ns })
            }
            FaultShape::PowerLoss(loss) => {
                let apart_ns = loss.apart.map_or(0, |apart| apart.0);
                (&loss.at, FaultKind::PowerLoss { down_ns: loss.down.0, apart_ns })
            }
            FaultShape::Pause(pause) => {
                (&pause.at, FaultKind::Pause { node: self.node(&pause.node)?, for_ns: pause.span.0 })
            }
            FaultShape::Cut(cut) => {
                (&cut.at, FaultKind::Cut { links: self.links(&cut.at, &cut.links())?, for_ns: cut.span.0 })
            }
            FaultShape::Lossy(lossy) => {
                let links = self.links(&lossy.at, &lossy.links())?;
                (&lossy.at, FaultKind::Lossy { links, loss_ppm: lossy.share.ppm(), for_ns: lossy.span.0 })
            }
            FaultShape::Clog(clog) => (
                &clog.at,
                FaultKind::Clog { links: self.links(&clog.at, &clog.links())?, for_ns: clog.span.0 },
            ),
            FaultShape::Drop(drop) => {
                let one =
                    |end: &Option<Spanned<EndpointShape>>| end.as_ref().map(|end| self.one(end)).transpose();
                let rule = DropRule {
                    kind: drop.kind.map(|kind| kind.0),
                    from: one(&drop.from)?,
                    to: one(&drop.to)?,
                    attempts: drop.attempts.unwrap_or(u32::MAX),
                    bytes_min: drop.bytes_min.unwrap_or(0),
                    count: drop.count.unwrap_or(u32::MAX),
                };
                (&drop.at, FaultKind::Drop { rule, for_ns: drop.span.0 })
            }
            FaultShape::DiskStall(stall) => {
                (&stall.at, FaultKind::DiskStall { node: self.node(&stall.node)?, for_ns: stall.span.0 })
            }
            FaultShape::ClockJump(jump) => {
                (&jump.at, FaultKind::ClockJump { node: self.node(&jump.node)?, by_ns: jump.by()? })
            }
        };
        Ok(Fault { at: self.moment(at)?, what })
    }

    fn moment(&self, at: &Spanned<Ns>) -> Result<WorldTime, Located> {
        let ns = at.get_ref().0;
        if ns < self.length_ns {
            return Ok(WorldTime::from_nanos(ns));
        }
        let length = WorldTime::from_nanos(self.length_ns);
        let what = format!(
            "the fault begins at {}, and the scenario's length is {length}",
            WorldTime::from_nanos(ns)
        );
        Err(Located::at(at.span(), what))
    }

    fn node(&self, node: &Spanned<i64>) -> Result<NodeId, Located> {
        within(node, 1, self.nodes, "node").map(|node| NodeId::new(u64::from(node)))
    }

    fn one(&self, end: &Spanned<EndpointShape>) -> Result<Endpoint, Located> {
        let ends = self.endpoints(end)?;
        match ends.as_slice() {
            [one] => Ok(*one),
            _ => Err(Located::at(end.span(), "one node or one client is asked for".to_owned())),
        }
    }

    fn endpoints(&self, end: &Spanned<EndpointShape>) -> Result<Vec<Endpoint>, Located> {
        self.ends(end.get_ref(), end.span())
    }

    fn ends(&self, end: &EndpointShape, span: Range<usize>) -> Result<Vec<Endpoint>, Located> {
        let outside = |found: i64, what: &str, most: u32| {
            Located::at(span.clone(), format!("there is no {what} {found}; they count from 1 to {most}"))
        };
        Ok(match end {
            EndpointShape::Node(node) => match u32::try_from(*node) {
                Ok(found) if (1..=self.nodes).contains(&found) => {
                    vec![Endpoint::Node(NodeId::new(u64::from(found)))]
                }
                _ => return Err(outside(*node, "node", self.nodes)),
            },
            EndpointShape::Client(client) => {
                if !(1..=self.clients).contains(client) {
                    return Err(outside(i64::from(*client), "client", self.clients));
                }
                vec![Endpoint::Client(*client)]
            }
            EndpointShape::Clients => (1..=self.clients).map(Endpoint::Client).collect(),
        })
    }

    /// The links of the fault that begins `at`, in order.
    fn links(&self, at: &Spanned<Ns>, shape: &LinksShape<'_>) -> Result<Vec<(Endpoint, Endpoint)>, Located> {
        let mut links = match (shape.from, shape.links) {
            (Some(from), None) => self.links_between(from, shape)?,
            (None, Some(named)) if shape.to.is_none() && !shape.one_way => {
                let mut links = Vec::new();
                for link in named {
                    let end = |end| self.ends(end, link.span());
                    let (from, to) = (end(&link.get_ref().from)?, end(&link.get_ref().to)?);
                    links.extend(from.into_iter().zip(to));
                }
                links
            }
            _ => {
                let what = "either `from`, with `to` and `one_way`, or `links` alone says which links";
                return Err(Located::at(at.span(), what.to_owned()));
            }
        };
        links.sort_unstable();
        links.dedup();
        Ok(links)
    }

    fn links_between(
        &self,
        ends: &[Spanned<EndpointShape>],
        shape: &LinksShape<'_>,
    ) -> Result<Vec<(Endpoint, Endpoint)>, Located> {
        let mut from = Vec::new();
        for end in ends {
            from.extend(self.endpoints(end)?);
        }
        let mut to = Vec::new();
        match shape.to {
            Some(ends) => {
                for end in ends {
                    let here = self.endpoints(end)?;
                    if here.iter().any(|end| from.contains(end)) {
                        return Err(Located::at(end.span(), "stands on both sides".to_owned()));
                    }
                    to.extend(here);
                }
            }
            None => {
                let nodes = (1..=u64::from(self.nodes)).map(|node| Endpoint::Node(NodeId::new(node)));
                to.extend(
                    nodes.chain((1..=self.clients).map(Endpoint::Client)).filter(|end| !from.contains(end)),
                );
            }
        }
        let mut links = Vec::new();
        for a in &from {
            for b in &to {
                links.push((*a, *b));
                if !shape.one_way {
                    links.push((*b, *a));
                }
            }
        }
        Ok(links)
    }
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

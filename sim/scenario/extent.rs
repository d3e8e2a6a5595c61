//! The faults of a scenario, read against the cluster that they are to befall.

use std::fmt::Display;
use std::ops::Range;

use chronon_core::types::NodeId;
use toml::Spanned;

use super::error::Located;
use super::fault_shape::{CrashAtDiskOpShape, FaultShape, LinksShape};
use super::value::{EndpointShape, Ns};
use super::within;
use crate::net::{DropRule, Endpoint};
use crate::plan::{Aim, Fault, FaultKind};
use crate::time::WorldTime;

/// What the faults of a scenario may refer to.
#[derive(Clone, Debug)]
pub(super) struct Extent {
    pub(super) nodes: Vec<NodeId>,
    pub(super) clients: Vec<u32>,
    pub(super) length_ns: u64,
}

impl Extent {
    /// What a file says once may happen again and again.
    pub(super) fn faults(&self, shape: &Spanned<FaultShape>) -> Result<Vec<Fault>, Located> {
        let first = self.fault(shape)?;
        let Some(every) = shape.get_ref().every() else { return Ok(vec![first]) };
        let (from, apart) = (first.at.as_nanos(), every.get_ref().0);
        if apart == 0 || (self.length_ns - from) / apart >= REPETITIONS_MAX {
            let what = format!("so short a span repeats it more than {REPETITIONS_MAX} times until the end");
            return Err(Located::at(every.span(), what));
        }
        let moments = (from..self.length_ns).step_by(usize::try_from(apart).unwrap_or(usize::MAX));
        Ok(moments.map(|at| Fault { at: WorldTime::from_nanos(at), what: first.what.clone() }).collect())
    }

    fn fault(&self, shape: &Spanned<FaultShape>) -> Result<Fault, Located> {
        let (at, what) = match shape.get_ref() {
            FaultShape::Crash(crash) => {
                (&crash.at, FaultKind::Crash { node: self.node(&crash.node)?, down_ns: crash.down.0 })
            }
            FaultShape::CrashAtDiskOp(crash) => {
                let (node, nth, aim, down_ns) = self.disk_op(crash)?;
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
            FaultShape::Echo(echo) => (
                &echo.at,
                FaultKind::Echo { links: self.links(&echo.at, &echo.links())?, for_ns: echo.span.0 },
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
            FaultShape::DiskError(error) => {
                let (node, nth, aim, down_ns) = self.disk_op(error)?;
                (&error.at, FaultKind::DiskError { node, nth, aim, down_ns })
            }
            FaultShape::Rot(rot) => {
                let nth = u64::from(within(&rot.nth, 1, u32::MAX, "flush")?);
                (&rot.at, FaultKind::Rot { node: self.node(&rot.node)?, how: rot.how.0, nth })
            }
            FaultShape::DiskFull(full) => {
                let (node, room, for_ns) = (self.node(&full.node)?, full.room, full.span.0);
                (&full.at, FaultKind::DiskFull { node, room, for_ns })
            }
            FaultShape::Misread(misread) => {
                let (node, gives) = (self.node(&misread.node)?, misread.gives.0);
                let nth = u64::from(within(&misread.nth, 1, u32::MAX, "read")?);
                let aim = misread.file.map_or(Aim::Any, |file| file.0);
                (&misread.at, FaultKind::Misread { node, nth, aim, gives })
            }
            FaultShape::RotManifest(rot) => {
                let copy = u64::from(within(&rot.copy, 1, 8, "copy")?);
                (&rot.at, FaultKind::RotManifest { node: self.node(&rot.node)?, copy, how: rot.how.0 })
            }
            FaultShape::RotSnapshot(rot) => {
                let nth = u64::from(within(&rot.nth, 1, u32::MAX, "snapshot")?);
                (&rot.at, FaultKind::RotSnapshot { node: self.node(&rot.node)?, how: rot.how.0, nth })
            }
            FaultShape::RotArchive(rot) => {
                let nth = u64::from(within(&rot.nth, 1, u32::MAX, "chunk")?);
                (&rot.at, FaultKind::RotArchive { node: self.node(&rot.node)?, how: rot.how.0, nth })
            }
            FaultShape::Wipe(wipe) => {
                (&wipe.at, FaultKind::Wipe { node: self.node(&wipe.node)?, down_ns: wipe.down.0 })
            }
            FaultShape::PutBack(back) => {
                let (node, for_ns, down_ns) = (self.node(&back.node)?, back.span.0, back.down.0);
                (&back.at, FaultKind::PutBack { node, for_ns, down_ns })
            }
            FaultShape::ClockFreeze(freeze) => {
                (&freeze.at, FaultKind::ClockFreeze { node: self.node(&freeze.node)?, for_ns: freeze.span.0 })
            }
            FaultShape::ClockJump(jump) => {
                (&jump.at, FaultKind::ClockJump { node: self.node(&jump.node)?, by_ns: jump.by()? })
            }
        };
        Ok(Fault { at: self.moment(at)?, what })
    }

    /// Whose disk operation is meant, which, of which kind, and how long its node is away.
    fn disk_op(&self, crash: &CrashAtDiskOpShape) -> Result<(NodeId, u64, Aim, u64), Located> {
        let (node, down_ns) = (self.node(&crash.node)?, crash.down.0);
        let nth = u64::from(within(&crash.nth, 1, u32::MAX, "disk operation")?);
        let aim = crash.file.map_or(Aim::Any, |file| file.0);
        Ok((node, nth, aim, down_ns))
    }

    pub(super) fn moment(&self, at: &Spanned<Ns>) -> Result<WorldTime, Located> {
        let ns = at.get_ref().0;
        if ns < self.length_ns {
            return Ok(WorldTime::from_nanos(ns));
        }
        let length = WorldTime::from_nanos(self.length_ns);
        let what =
            format!("it begins at {}, and the scenario's length is {length}", WorldTime::from_nanos(ns));
        Err(Located::at(at.span(), what))
    }

    pub(super) fn node(&self, node: &Spanned<i64>) -> Result<NodeId, Located> {
        let found = u64::try_from(*node.get_ref()).map(NodeId::new);
        found
            .ok()
            .filter(|found| self.nodes.contains(found))
            .ok_or_else(|| self.no_node(*node.get_ref(), node.span()))
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
        Ok(match end {
            EndpointShape::Node(node) => vec![Endpoint::Node(self.node(&Spanned::new(span, *node))?)],
            EndpointShape::Client(client) if self.clients.contains(client) => vec![Endpoint::Client(*client)],
            EndpointShape::Client(client) => {
                let what = format!("there is no client {client}; there are {}", listed(&self.clients));
                return Err(Located::at(span, what));
            }
            EndpointShape::Clients => self.clients.iter().copied().map(Endpoint::Client).collect(),
        })
    }

    fn no_node(&self, found: i64, span: Range<usize>) -> Located {
        Located::at(span, format!("there is no node {found}; there are {}", listed(&self.nodes)))
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
                    if from == to {
                        return Err(Located::at(link.span(), "nobody has a link to itself".to_owned()));
                    }
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
                let nodes = self.nodes.iter().copied().map(Endpoint::Node);
                let all = nodes.chain(self.clients.iter().copied().map(Endpoint::Client));
                to.extend(all.filter(|end| !from.contains(end)));
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

/// Such as `1, 2, 4`.
fn listed(ids: &[impl Display]) -> String {
    let shown: Vec<String> = ids.iter().map(ToString::to_string).collect();
    shown.join(", ")
}

/// A fault that is said once happens at most so often.
const REPETITIONS_MAX: u64 = 20_000;

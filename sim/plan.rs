//! The fault plan: what goes wrong, with whom, when, for how long and how much. Data, laid out before the run.

use std::fmt;

use chronon_core::engine::{DiskOp, FileId};
use chronon_core::types::NodeId;

use crate::net::{DropRule, Endpoint, MessageKind};
use crate::random::{Draw, Purpose, Randomness};
use crate::time::{MILLISECOND, SECOND, WorldTime};
use crate::units::show_span;

/// One fault.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// When it begins.
    pub at: WorldTime,
    /// What it is.
    pub what: FaultKind,
}

/// What can go wrong. Spans are in nanoseconds of world time.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum FaultKind {
    /// A process dies, and comes back on what its disk kept.
    Crash {
        /// Whose.
        node: NodeId,
        /// How long it is away.
        down_ns: u64,
    },
    /// A process dies right after it submits one disk operation, before whatever else its step wanted done.
    CrashAtDiskOp {
        /// Whose.
        node: NodeId,
        /// The operation, counted from 1 from when the fault begins.
        nth: u64,
        /// Which operations are counted.
        aim: Aim,
        /// How long it is away.
        down_ns: u64,
    },
    /// Every process dies at once.
    PowerLoss {
        /// When the first is back.
        down_ns: u64,
        /// Between node 1 and node 2, and so on.
        apart_ns: u64,
    },
    /// A process does not run for a while; what reaches it waits, and it then runs with everything late.
    Pause {
        /// Whose.
        node: NodeId,
        /// How long.
        for_ns: u64,
    },
    /// Links carry nothing.
    Cut {
        /// Which, each from one endpoint to another.
        links: Vec<(Endpoint, Endpoint)>,
        /// How long.
        for_ns: u64,
    },
    /// Links lose more than the network's model says.
    Lossy {
        /// Which, each from one endpoint to another.
        links: Vec<(Endpoint, Endpoint)>,
        /// The share, in parts per million.
        loss_ppm: u32,
        /// How long.
        for_ns: u64,
    },
    /// Links hold everything back, and then deliver it.
    Clog {
        /// Which, each from one endpoint to another.
        links: Vec<(Endpoint, Endpoint)>,
        /// How long.
        for_ns: u64,
    },
    /// Links deliver, beside what they carry, what was sent on them long before, lost or not.
    Echo {
        /// Which, each from one endpoint to another.
        links: Vec<(Endpoint, Endpoint)>,
        /// How long.
        for_ns: u64,
    },
    /// Messages of one kind are dropped.
    Drop {
        /// Which.
        rule: DropRule,
        /// How long.
        for_ns: u64,
    },
    /// A disk completes nothing for a while.
    DiskStall {
        /// Whose.
        node: NodeId,
        /// How long.
        for_ns: u64,
    },
    /// A wall clock jumps.
    ClockJump {
        /// Whose.
        node: NodeId,
        /// How far, in nanoseconds; negative is back.
        by_ns: i64,
    },
}

/// Disk operations to count. Most are the journal's: what happens seldom is met only by aiming at it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Aim {
    /// All of them.
    Any,
    /// Those on the manifest.
    Manifest,
    /// Those on files of snapshots.
    Snapshot,
}

impl Aim {
    /// Whether `op` is counted.
    pub fn takes(self, op: &DiskOp) -> bool {
        let file = match op {
            DiskOp::Allocate { file, .. } | DiskOp::Write { file, .. } | DiskOp::Read { file, .. } => {
                Some(file)
            }
            DiskOp::Barrier { .. } => None,
        };
        match self {
            Self::Any => true,
            Self::Manifest => matches!(file, Some(FileId::Manifest)),
            Self::Snapshot => matches!(file, Some(FileId::Snapshot(_))),
        }
    }

    /// The word for the file, when there is one.
    pub fn word(self) -> Option<&'static str> {
        match self {
            Self::Any => None,
            Self::Manifest => Some("manifest"),
            Self::Snapshot => Some("snapshot"),
        }
    }
}

impl FaultKind {
    /// The word for it in scenarios and summaries.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Crash { .. } => "crash",
            Self::CrashAtDiskOp { .. } => "crash_at_disk_op",
            Self::PowerLoss { .. } => "power_loss",
            Self::Pause { .. } => "pause",
            Self::Cut { .. } => "cut",
            Self::Lossy { .. } => "lossy",
            Self::Clog { .. } => "clog",
            Self::Echo { .. } => "echo",
            Self::Drop { .. } => "drop",
            Self::DiskStall { .. } => "disk_stall",
            Self::ClockJump { .. } => "clock_jump",
        }
    }

    /// Every word, and what it stands for.
    pub const WORDS: [(&'static str, &'static str); 11] = [
        ("crash", "a process dies and restarts on what its disk kept"),
        ("crash_at_disk_op", "a process dies between two given disk operations"),
        ("power_loss", "every process dies at once"),
        ("pause", "a process stands still, then runs with everything late"),
        ("cut", "links carry nothing: symmetric, one-way or partial partitions, clients included"),
        ("lossy", "links lose a share of their messages"),
        ("clog", "links hold messages back, then deliver them"),
        ("echo", "links deliver again what was sent on them long before"),
        ("drop", "messages of one kind are dropped"),
        ("disk_stall", "a disk completes nothing for a while"),
        ("clock_jump", "a wall clock jumps forward or back"),
    ];
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = self.word();
        match self {
            Self::Crash { node, down_ns } => write!(f, "{word} node {node}, down {}", show_span(*down_ns)),
            Self::CrashAtDiskOp { node, nth, aim, down_ns } => {
                let of = aim.word().map_or_else(String::new, |file| format!(" on a {file}"));
                write!(f, "{word} node {node}, op {nth}{of} from now, down {}", show_span(*down_ns))
            }
            Self::PowerLoss { down_ns, apart_ns } => {
                write!(f, "{word} down {}, back {} apart", show_span(*down_ns), show_span(*apart_ns))
            }
            Self::Pause { node, for_ns } | Self::DiskStall { node, for_ns } => {
                write!(f, "{word} node {node} for {}", show_span(*for_ns))
            }
            Self::Cut { links, for_ns } | Self::Clog { links, for_ns } | Self::Echo { links, for_ns } => {
                write!(f, "{word}{} for {}", Links(links), show_span(*for_ns))
            }
            Self::Lossy { links, loss_ppm, for_ns } => {
                write!(f, "{word} {loss_ppm} ppm{} for {}", Links(links), show_span(*for_ns))
            }
            Self::Drop { rule, for_ns } => write!(f, "{word} {rule:?} for {}", show_span(*for_ns)),
            Self::ClockJump { node, by_ns } => write!(
                f,
                "{word} node {node} by {}{}",
                if *by_ns < 0 { "-" } else { "" },
                show_span(by_ns.unsigned_abs())
            ),
        }
    }
}

struct Links<'a>(&'a [(Endpoint, Endpoint)]);

impl fmt::Display for Links<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (from, to) in self.0 {
            write!(f, " {from}>{to}")?;
        }
        Ok(())
    }
}

/// What the faults of a seed are drawn for.
#[derive(Clone, Copy, Debug)]
pub struct PlanShape {
    /// Nodes, with ids from 1.
    pub nodes: u32,
    /// Clients, counted from 1.
    pub clients: u32,
    /// No fault begins after this.
    pub until_ns: u64,
}

/// Draws the fault plan of a seed: each kind exists in about half of all seeds, at a rate of its own.
pub fn draw_plan(randomness: &Randomness, shape: PlanShape) -> Vec<Fault> {
    let mut plan = Vec::new();
    for (kind, draw_one) in KINDS.into_iter().enumerate() {
        let kind = kind as u64;
        let mut draw = randomness.draw(Purpose::Plan, kind, &[]);
        if !draw.coin() {
            continue;
        }
        let mean = draw.between(3 * SECOND, 25 * SECOND);
        let mut at = 0;
        for index in 0..FAULTS_A_KIND_MAX {
            let mut draw = randomness.draw(Purpose::Plan, kind, &[index]);
            at += draw.below(2 * mean) + 1;
            if at >= shape.until_ns {
                break;
            }
            plan.push(Fault { at: WorldTime::from_nanos(at), what: draw_one(&mut draw, shape) });
        }
    }
    draw_rotations(randomness, shape, &mut plan);
    plan.sort_by_key(|fault| fault.at);
    plan
}

/// Cuts one node after the other off from all other nodes, each as the one before comes back, in about half of all seeds.
/// Primaries take turns in the same order, so that views change while the logs of several earlier ones are still about.
/// Clients see everybody all the while.
fn draw_rotations(randomness: &Randomness, shape: PlanShape, plan: &mut Vec<Fault>) {
    let mut draw = randomness.draw(Purpose::Plan, ROTATIONS, &[]);
    if shape.nodes < 2 || !draw.coin() {
        return;
    }
    let mean = draw.between(5 * SECOND, 25 * SECOND);
    let mut at = 0;
    for index in 0..FAULTS_A_KIND_MAX {
        let mut draw = randomness.draw(Purpose::Plan, ROTATIONS, &[index]);
        at += draw.below(2 * mean) + 1;
        let (first, turns) = (draw.below(u64::from(shape.nodes)), draw.between(2, 8));
        let for_ns = draw.between(300 * MILLISECOND, 3 * SECOND);
        for turn in 0..turns {
            if at >= shape.until_ns {
                return;
            }
            let node = NodeId::new((first + turn) % u64::from(shape.nodes) + 1);
            plan.push(Fault { at: WorldTime::from_nanos(at), what: cut_off(node, shape, for_ns) });
            at += for_ns;
            if draw.below(3) == 0 {
                plan.extend(returns_slow(node, at, draw.below(for_ns), shape, &mut draw));
            }
        }
    }
}

/// The disk of a node stalls from a while before the node is back: it hears of the next view while what it wrote in the
/// old one is still on its way.
fn returns_slow(node: NodeId, back: u64, before: u64, shape: PlanShape, draw: &mut Draw) -> Option<Fault> {
    let at = back - before;
    let for_ns = before + draw.tailed(200 * MILLISECOND);
    let what = FaultKind::DiskStall { node, for_ns };
    (at < shape.until_ns).then_some(Fault { at: WorldTime::from_nanos(at), what })
}

/// One node sees no other node, and none sees it.
fn cut_off(node: NodeId, shape: PlanShape, for_ns: u64) -> FaultKind {
    let nodes = (1..=u64::from(shape.nodes)).map(NodeId::new).filter(|other| *other != node);
    let both = |other| [(node, other), (other, node)].map(|(a, b)| (Endpoint::Node(a), Endpoint::Node(b)));
    let mut links: Vec<_> = nodes.flat_map(both).collect();
    links.sort_unstable();
    FaultKind::Cut { links, for_ns }
}

/// Keys the draws of rotations.
const ROTATIONS: u64 = 1000;

/// No seed has more faults of one kind.
const FAULTS_A_KIND_MAX: u64 = 64;

/// The place of a kind is the key of its draws: new ones go to the end.
const KINDS: [fn(&mut Draw, PlanShape) -> FaultKind; 11] = [
    crash,
    crash_at_disk_op,
    power_loss,
    pause,
    partition,
    lossy,
    clog,
    disk_stall,
    clock_jump,
    echo,
    drop_kind,
];

fn crash(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    FaultKind::Crash { node: some_node(draw, shape), down_ns: draw.tailed(400 * MILLISECOND) }
}

fn crash_at_disk_op(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let (node, nth, down_ns) = (some_node(draw, shape), draw.between(1, 40), draw.tailed(200 * MILLISECOND));
    let aim = *draw.pick(&[Aim::Any, Aim::Any, Aim::Manifest, Aim::Snapshot]);
    // Of the seldom ones, one of the first few.
    let nth = if aim == Aim::Any { nth } else { nth.div_ceil(10) };
    FaultKind::CrashAtDiskOp { node, nth, aim, down_ns }
}

fn power_loss(draw: &mut Draw, _shape: PlanShape) -> FaultKind {
    let down_ns = draw.tailed(300 * MILLISECOND);
    FaultKind::PowerLoss { down_ns, apart_ns: draw.below(500 * MILLISECOND) }
}

fn pause(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    FaultKind::Pause { node: some_node(draw, shape), for_ns: draw.tailed(500 * MILLISECOND) }
}

fn partition(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let node = Endpoint::Node(some_node(draw, shape));
    let everyone: Vec<Endpoint> = endpoints(shape).collect();
    let others = || everyone.iter().copied().filter(move |other| *other != node);
    let mut links = Vec::new();
    match draw.below(6) {
        // Two sides, clients on either.
        0 | 1 => {
            let side: Vec<bool> = everyone.iter().map(|_| draw.coin()).collect();
            for (a, here) in everyone.iter().zip(&side) {
                for (b, there) in everyone.iter().zip(&side) {
                    if here != there {
                        links.push((*a, *b));
                    }
                }
            }
        }
        // One node hears nobody, or nobody hears it.
        2 => links.extend(others().map(|other| (node, other))),
        3 => links.extend(others().map(|other| (other, node))),
        // One node apart from all others.
        4 => links.extend(others().flat_map(|other| [(node, other), (other, node)])),
        // Two nodes do not see each other, and all others see both.
        _ => {
            let other = Endpoint::Node(some_node(draw, shape));
            if other != node {
                links.extend([(node, other), (other, node)]);
            }
        }
    }
    links.sort_unstable();
    FaultKind::Cut { links, for_ns: draw.tailed(900 * MILLISECOND) }
}

fn lossy(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let (links, loss_ppm) = (some_links(draw, shape), draw.between(20_000, 600_000) as u32);
    FaultKind::Lossy { links, loss_ppm, for_ns: draw.tailed(2 * SECOND) }
}

fn clog(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    // Some outlast several view changes: what was said in the first of them comes late.
    let typical = *draw.pick(&[300 * MILLISECOND, 300 * MILLISECOND, 2 * SECOND]);
    FaultKind::Clog { links: some_links(draw, shape), for_ns: draw.tailed(typical) }
}

/// One node hears again what everybody told it.
fn echo(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let to = Endpoint::Node(some_node(draw, shape));
    let links = endpoints(shape).filter(|from| *from != to).map(|from| (from, to)).collect();
    FaultKind::Echo { links, for_ns: draw.tailed(2 * SECOND) }
}

/// Messages of one kind are lost, of everybody or from or to one node: what would have been settled within a round trip
/// stays open through several views.
fn drop_kind(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let kind = Some(draw.pick(&MessageKind::WORDS).0);
    let mut end = || (draw.below(3) == 0).then(|| Endpoint::Node(some_node(draw, shape)));
    let (from, to) = (end(), end());
    let rule = DropRule { kind, from, to, attempts: u32::MAX, bytes_min: 0, count: u32::MAX };
    FaultKind::Drop { rule, for_ns: draw.tailed(2 * SECOND) }
}

fn disk_stall(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    FaultKind::DiskStall { node: some_node(draw, shape), for_ns: draw.tailed(300 * MILLISECOND) }
}

fn clock_jump(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let by_ns = draw.tailed(2 * SECOND) as i64;
    FaultKind::ClockJump { node: some_node(draw, shape), by_ns: if draw.coin() { by_ns } else { -by_ns } }
}

fn some_node(draw: &mut Draw, shape: PlanShape) -> NodeId {
    NodeId::new(draw.between(1, u64::from(shape.nodes)))
}

/// About a third of all links.
fn some_links(draw: &mut Draw, shape: PlanShape) -> Vec<(Endpoint, Endpoint)> {
    let mut links = Vec::new();
    for a in endpoints(shape) {
        for b in endpoints(shape) {
            if a != b && draw.below(3) == 0 {
                links.push((a, b));
            }
        }
    }
    links
}

fn endpoints(shape: PlanShape) -> impl Iterator<Item = Endpoint> {
    let nodes = (1..=u64::from(shape.nodes)).map(|node| Endpoint::Node(NodeId::new(node)));
    nodes.chain((1..=shape.clients).map(Endpoint::Client))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use chronon_core::engine::{DiskOp, DiskOpId, FileId};
    use chronon_core::types::{Blob, NodeId};

    use super::{Aim, Endpoint, FaultKind, PlanShape, draw_plan, draw_rotations};
    use crate::random::Randomness;
    use crate::time::SECOND;

    const SHAPE: PlanShape = PlanShape { nodes: 3, clients: 2, until_ns: 60 * SECOND };

    #[test]
    fn each_kind_exists_in_about_half_of_all_seeds() {
        let mut seeds: BTreeMap<&str, u32> = BTreeMap::new();
        for seed in 0..400 {
            let mut words: Vec<_> =
                draw_plan(&Randomness::new(seed, 0), SHAPE).iter().map(|fault| fault.what.word()).collect();
            words.sort_unstable();
            words.dedup();
            for word in words {
                *seeds.entry(word).or_default() += 1;
            }
        }
        assert_eq!(seeds.len(), FaultKind::WORDS.len());
        for (word, count) in seeds {
            // These may come with a rotation, in another half.
            let about = if ["cut", "disk_stall"].contains(&word) { 240..360 } else { 140..260 };
            assert!(about.contains(&count), "{word} exists in {count} of 400 seeds");
        }
    }

    #[test]
    fn rotations_cut_every_node_off_one_after_the_other() {
        let mut plan = Vec::new();
        let seed = (0..100).find(|seed| {
            plan.clear();
            draw_rotations(&Randomness::new(*seed, 0), SHAPE, &mut plan);
            plan.iter().filter(|fault| fault.what.word() == "cut").count() >= 4
        });
        assert!(seed.is_some(), "no seed of a hundred rotates");
        let cut = plan.iter().filter_map(|fault| match &fault.what {
            FaultKind::Cut { links, .. } => {
                assert_eq!(links.len(), 4, "both ways with two other nodes");
                let apart = |node: &Endpoint| links.iter().all(|(from, to)| [from, to].contains(&node));
                (1..=3).map(|node| Endpoint::Node(NodeId::new(node))).find(apart)
            }
            FaultKind::DiskStall { .. } => None,
            other => panic!("{other} is no part of a rotation"),
        });
        let nodes: Vec<_> = cut.collect();
        assert!(plan.iter().all(|fault| fault.at.as_nanos() < SHAPE.until_ns));
        assert_ne!(nodes[0], nodes[1]);
        let alone = PlanShape { nodes: 1, ..SHAPE };
        plan.clear();
        draw_rotations(&Randomness::new(seed.unwrap_or_default(), 0), alone, &mut plan);
        assert_eq!(plan, Vec::new(), "there is nobody to be cut off from");
    }

    #[test]
    fn an_aim_takes_the_operations_of_its_file() {
        let id = DiskOpId(1);
        let ops = [FileId::Manifest, FileId::Snapshot(3), FileId::Segment(3)].map(|file| {
            let data = Blob::default();
            DiskOp::Write { id, file, offset: 0, data }
        });
        let taken = |aim: Aim| ops.each_ref().map(|op| aim.takes(op));
        assert_eq!(taken(Aim::Any), [true, true, true]);
        assert_eq!(taken(Aim::Manifest), [true, false, false]);
        assert_eq!(taken(Aim::Snapshot), [false, true, false]);
        assert!(Aim::Any.takes(&DiskOp::Barrier { id }) && !Aim::Manifest.takes(&DiskOp::Barrier { id }));
    }

    #[test]
    fn a_plan_is_in_order_and_ends_in_time() {
        for seed in 0..100 {
            let plan = draw_plan(&Randomness::new(seed, 0), SHAPE);
            assert!(plan.is_sorted_by_key(|fault| fault.at));
            assert!(plan.iter().all(|fault| fault.at.as_nanos() < SHAPE.until_ns));
        }
    }
}

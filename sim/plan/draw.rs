//! The faults that a seed draws.

use chronon_core::types::NodeId;

use super::{Aim, Damage, Fault, FaultKind, Misread};
use crate::net::{DropRule, Endpoint, MessageKind};
use crate::random::{Draw, Purpose, Randomness};
use crate::time::{MILLISECOND, SECOND, WorldTime};

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
        for (gap, mut draw) in arrivals(randomness, kind, mean) {
            at += gap;
            if at >= shape.until_ns {
                break;
            }
            plan.push(Fault { at: WorldTime::from_nanos(at), what: draw_one(&mut draw, shape) });
        }
    }
    draw_rotations(randomness, shape, &mut plan);
    draw_stalemate(randomness, shape, &mut plan);
    draw_laggards(randomness, shape, &mut plan);
    draw_lost_disk(randomness, shape, &mut plan);
    plan.sort_by_key(|fault| fault.at);
    plan
}

/// The spans between faults of a kind, `mean` on average, each with what the fault draws from.
fn arrivals(randomness: &Randomness, kind: u64, mean: u64) -> impl Iterator<Item = (u64, Draw)> {
    (0..FAULTS_A_KIND_MAX).map(move |index| {
        let mut draw = randomness.draw(Purpose::Plan, kind, &[index]);
        (draw.below(2 * mean) + 1, draw)
    })
}

/// Cuts one node after the other off from all other nodes, each as the one before comes back, in about half of all seeds;
/// some only so that nobody hears them.
/// Primaries take turns in the same order, so that views change while the logs of several earlier ones are still about.
/// Clients see everybody all the while.
fn draw_rotations(randomness: &Randomness, shape: PlanShape, plan: &mut Vec<Fault>) {
    let mut draw = randomness.draw(Purpose::Plan, ROTATIONS, &[]);
    if shape.nodes < 2 || !draw.coin() {
        return;
    }
    let mean = draw.between(5 * SECOND, 25 * SECOND);
    let mut at = 0;
    for (gap, mut draw) in arrivals(randomness, ROTATIONS, mean) {
        at += gap;
        let (first, turns) = (draw.below(u64::from(shape.nodes)), draw.between(2, 8));
        let for_ns = draw.between(300 * MILLISECOND, 3 * SECOND);
        for turn in 0..turns {
            if at >= shape.until_ns {
                return;
            }
            let node = NodeId::new((first + turn) % u64::from(shape.nodes) + 1);
            let begins = WorldTime::from_nanos(at);
            at += for_ns;
            match draw.below(4) {
                0 => plan.extend(mute(node, shape, for_ns).map(|what| Fault { at: begins, what })),
                1 => {
                    plan.push(Fault { at: begins, what: cut_off(node, shape, for_ns) });
                    plan.extend(returns_slow(node, at, draw.below(for_ns), shape, &mut draw));
                }
                _ => plan.push(Fault { at: begins, what: cut_off(node, shape, for_ns) }),
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

/// One node sees the others, and none sees it, while its disk stalls: as a primary it goes on with what nobody hears, is
/// told of the next view at once, and has entries of both on their way to the disk.
fn mute(node: NodeId, shape: PlanShape, for_ns: u64) -> [FaultKind; 2] {
    let others = (1..=u64::from(shape.nodes)).map(NodeId::new).filter(|other| *other != node);
    let links = others.map(|other| (Endpoint::Node(node), Endpoint::Node(other))).collect();
    [FaultKind::Cut { links, for_ns }, FaultKind::DiskStall { node, for_ns }]
}

/// One node sees no other node, and none sees it.
fn cut_off(node: NodeId, shape: PlanShape, for_ns: u64) -> FaultKind {
    let nodes = (1..=u64::from(shape.nodes)).map(NodeId::new).filter(|other| *other != node);
    let both = |other| [(node, other), (other, node)].map(|(a, b)| (Endpoint::Node(a), Endpoint::Node(b)));
    let mut links: Vec<_> = nodes.flat_map(both).collect();
    links.sort_unstable();
    FaultKind::Cut { links, for_ns }
}

/// Nothing is acknowledged until primaries took turns, in a third of all seeds, and meanwhile all links between nodes
/// echo: what was said in an early view reaches its primary when that one leads again, with the same entries still open.
fn draw_stalemate(randomness: &Randomness, shape: PlanShape, plan: &mut Vec<Fault>) {
    let mut draw = randomness.draw(Purpose::Plan, STALEMATE, &[]);
    if shape.nodes < 2 || draw.below(3) > 0 {
        return;
    }
    let at = WorldTime::from_nanos(draw.below(shape.until_ns / 2) + 1);
    let for_ns = draw.between(8 * SECOND, 25 * SECOND);
    let kind = Some(MessageKind::PrepareOk);
    let rule = DropRule { kind, from: None, to: None, attempts: u32::MAX, bytes_min: 0, count: u32::MAX };
    let nodes = || (1..=u64::from(shape.nodes)).map(|node| Endpoint::Node(NodeId::new(node)));
    let links = nodes().flat_map(|from| nodes().map(move |to| (from, to))).filter(|(from, to)| from != to);
    plan.push(Fault { at, what: FaultKind::Drop { rule, for_ns } });
    plan.push(Fault { at, what: FaultKind::Echo { links: links.collect(), for_ns } });
    if draw.coin() {
        plan.extend(rot_of_what_waits(&mut draw, at, for_ns, shape));
    }
}

/// Nodes are away for so long that the others let go of what they lack, in a third of all seeds. Of some a snapshot rots
/// meanwhile, and some die again while they fetch one.
fn draw_laggards(randomness: &Randomness, shape: PlanShape, plan: &mut Vec<Fault>) {
    let mut draw = randomness.draw(Purpose::Plan, LAGGARDS, &[]);
    if shape.nodes < 2 || draw.below(3) > 0 {
        return;
    }
    let mean = draw.between(6 * SECOND, 20 * SECOND);
    let mut at = 0;
    for (gap, mut draw) in arrivals(randomness, LAGGARDS, mean) {
        at += gap;
        let (node, away_ns) = (some_node(&mut draw, shape), draw.between(SECOND, 8 * SECOND));
        let back = at + away_ns;
        if back >= shape.until_ns {
            return;
        }
        let mut fault = |at: u64, what| plan.push(Fault { at: WorldTime::from_nanos(at), what });
        if draw.coin() {
            let how = draw.pick(&Damage::WORDS).0;
            fault(at - 1, FaultKind::RotSnapshot { node, how, nth: draw.between(1, 8) });
        }
        let crashes = draw.coin();
        let what =
            if crashes { FaultKind::Crash { node, down_ns: away_ns } } else { cut_off(node, shape, away_ns) };
        fault(at, what);
        if draw.coin() {
            let (nth, down_ns) = (draw.between(1, 6), draw.tailed(200 * MILLISECOND));
            let aim = *draw.pick(&[Aim::Snapshot, Aim::Manifest]);
            fault(back - 1, FaultKind::CrashAtDiskOp { node, nth, aim, down_ns });
        }
        at = back;
    }
}

/// A disk is lost, in a quarter of all seeds. What was on it the others must have: nothing rots on them then. What they know of
/// it is put to the test: they die as well about that time, and hear again what the disk's node said long before.
fn draw_lost_disk(randomness: &Randomness, shape: PlanShape, plan: &mut Vec<Fault>) {
    let mut draw = randomness.draw(Purpose::Plan, LOST_DISK, &[]);
    if shape.nodes < 3 || draw.below(4) > 0 {
        return;
    }
    let rots = |what: &FaultKind| {
        matches!(what, FaultKind::Rot { .. } | FaultKind::RotSnapshot { .. } | FaultKind::RotArchive { .. })
    };
    plan.retain(|fault| !rots(&fault.what));
    let node = some_node(&mut draw, shape);
    let at = draw.between(shape.until_ns / 20, shape.until_ns / 2);
    let down_ns = draw.tailed(400 * MILLISECOND);
    let mut fault = |at: u64, what| plan.push(Fault { at: WorldTime::from_nanos(at), what });
    let lost = if draw.coin() {
        fault(at, FaultKind::Wipe { node, down_ns });
        at
    } else {
        let for_ns = draw.tailed(4 * SECOND);
        fault(at, FaultKind::PutBack { node, for_ns, down_ns });
        at + for_ns
    };
    for other in (1..=u64::from(shape.nodes)).map(NodeId::new).filter(|other| *other != node) {
        let dies = lost.saturating_sub(SECOND) + draw.below(3 * SECOND);
        if draw.coin() && dies < shape.until_ns {
            fault(dies, FaultKind::Crash { node: other, down_ns: draw.tailed(400 * MILLISECOND) });
        }
    }
    if draw.coin() && lost < shape.until_ns {
        let others = endpoints(shape).filter(|to| *to != Endpoint::Node(node));
        let links = others.map(|to| (Endpoint::Node(node), to)).collect();
        fault(
            lost.saturating_sub(2 * SECOND),
            FaultKind::Echo { links, for_ns: draw.between(4 * SECOND, 10 * SECOND) },
        );
    }
}

/// Entries that wait to be acknowledged rot on disks, and the power fails: what a replica says of them decides whether
/// they stay.
fn rot_of_what_waits(draw: &mut Draw, at: WorldTime, for_ns: u64, shape: PlanShape) -> Vec<Fault> {
    let fails = at.after(draw.between(for_ns / 2, for_ns));
    let mut faults = Vec::new();
    for node in (1..=u64::from(shape.nodes)).map(NodeId::new) {
        for nth in 1..=draw.below(4) {
            let how = draw.pick(&Damage::WORDS).0;
            faults.push(Fault { at: fails, what: FaultKind::Rot { node, how, nth } });
        }
    }
    let down_ns = draw.tailed(300 * MILLISECOND);
    let apart_ns = draw.below(500 * MILLISECOND);
    faults.push(Fault { at: fails.after(1), what: FaultKind::PowerLoss { down_ns, apart_ns } });
    faults.retain(|fault| fault.at.as_nanos() < shape.until_ns);
    faults
}

/// Keys the draws of rotations.
const ROTATIONS: u64 = 1000;
/// Keys those of the stalemate.
const STALEMATE: u64 = 1001;
/// Keys those of nodes that are away for long.
const LAGGARDS: u64 = 1002;
/// Keys those of the disk that is lost.
const LOST_DISK: u64 = 1003;

/// No seed has more faults of one kind.
const FAULTS_A_KIND_MAX: u64 = 64;

/// The place of a kind is the key of its draws: new ones go to the end.
const KINDS: [fn(&mut Draw, PlanShape) -> FaultKind; 19] = [
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
    rot,
    disk_error,
    misread,
    rot_manifest,
    disk_full,
    rot_snapshot,
    rot_archive,
    clock_freeze,
];

fn crash(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    FaultKind::Crash { node: some_node(draw, shape), down_ns: draw.tailed(400 * MILLISECOND) }
}

fn crash_at_disk_op(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let (node, nth, down_ns) = (some_node(draw, shape), draw.between(1, 40), draw.tailed(200 * MILLISECOND));
    let aim = *draw.pick(&[Aim::Any, Aim::Any, Aim::Manifest, Aim::Snapshot, Aim::Archive]);
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
    // Some outlast a primary's patience.
    let typical = *draw.pick(&[300 * MILLISECOND, 300 * MILLISECOND, 300 * MILLISECOND, 3 * SECOND]);
    FaultKind::DiskStall { node: some_node(draw, shape), for_ns: draw.tailed(typical) }
}

fn disk_error(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    match crash_at_disk_op(draw, shape) {
        FaultKind::CrashAtDiskOp { node, nth, aim, down_ns } => {
            FaultKind::DiskError { node, nth, aim, down_ns }
        }
        other => other,
    }
}

/// Most rot hits what was written last: what lies farther back is soon covered by a snapshot.
fn rot(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let how = draw.pick(&Damage::WORDS).0;
    FaultKind::Rot { node: some_node(draw, shape), how, nth: draw.tailed(4) + 1 }
}

/// Nodes read when they start: most reads are the manifest's, then the snapshots' and the journal's.
fn misread(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let aim = *draw.pick(&[Aim::Any, Aim::Segment, Aim::Segment, Aim::Manifest, Aim::Archive]);
    let (node, nth, gives) = (some_node(draw, shape), draw.tailed(3) + 1, draw.pick(&Misread::WORDS).0);
    FaultKind::Misread { node, nth, aim, gives }
}

fn rot_manifest(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let how = draw.pick(&Damage::WORDS).0;
    FaultKind::RotManifest { node: some_node(draw, shape), copy: draw.between(1, 8), how }
}

fn rot_snapshot(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let how = draw.pick(&Damage::WORDS).0;
    FaultKind::RotSnapshot { node: some_node(draw, shape), how, nth: draw.between(1, 8) }
}

fn rot_archive(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let how = draw.pick(&Damage::WORDS).0;
    FaultKind::RotArchive { node: some_node(draw, shape), how, nth: draw.tailed(3) + 1 }
}

/// Some outlast many segments.
fn disk_full(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let room = draw.tailed(64 << 10) / 2;
    FaultKind::DiskFull { node: some_node(draw, shape), room, for_ns: draw.tailed(3 * SECOND) }
}

fn clock_jump(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let typical = *draw.pick(&[300 * MILLISECOND, 2 * SECOND, 2 * SECOND, 3600 * SECOND]);
    let by_ns = draw.tailed(typical) as i64;
    FaultKind::ClockJump { node: some_node(draw, shape), by_ns: if draw.coin() { by_ns } else { -by_ns } }
}

/// Most lose no more than clocks may be off by, and some far more.
fn clock_freeze(draw: &mut Draw, shape: PlanShape) -> FaultKind {
    let typical = *draw.pick(&[300 * MILLISECOND, 2 * SECOND, 6 * SECOND]);
    FaultKind::ClockFreeze { node: some_node(draw, shape), for_ns: draw.tailed(typical) }
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

    use chronon_core::types::NodeId;

    use super::{Endpoint, FaultKind, PlanShape, draw_plan, draw_rotations};
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
            // These may come with a rotation, in another half, or with a stalemate or laggards, in a third.
            let together = ["cut", "disk_stall", "drop", "echo", "power_loss", "rot", "rot_snapshot"];
            let in_more = together.contains(&word) || word.starts_with("crash");
            // A disk is lost in a quarter, in one of two ways, and nothing rots there.
            let about = match word {
                "wipe" | "put_back" => 30..70,
                "rot" | "rot_snapshot" => 150..270,
                "rot_archive" => 110..200,
                _ if in_more => 200..360,
                _ => 140..260,
            };
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
                assert!([2, 4].contains(&links.len()), "one way or both with two other nodes");
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
    fn a_plan_is_in_order_and_ends_in_time() {
        for seed in 0..100 {
            let plan = draw_plan(&Randomness::new(seed, 0), SHAPE);
            assert!(plan.is_sorted_by_key(|fault| fault.at));
            assert!(plan.iter().all(|fault| fault.at.as_nanos() < SHAPE.until_ns));
        }
    }
}

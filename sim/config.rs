//! What one run is made of. A seed draws its own; a scenario file writes it down.

mod changes;

use chronon_core::engine::EngineConfig;
use chronon_core::node::{Limits, NodeConfig, Timeouts, flush_bytes_least};
use chronon_core::types::{Archiving, ClusterId, GroupId, GroupInit, Nanos, NodeId};

use crate::changes::{Change, draw_changes};
use crate::disk::DiskModel;
use crate::net::NetModel;
use crate::plan::{Fault, PlanShape, draw_plan};
use crate::random::{Draw, Purpose, Randomness};
use crate::sink::SinkModel;
use crate::time::{MICROSECOND, MILLISECOND, SECOND};

/// A run has at most this many nodes.
pub const NODES_MAX: u32 = 7;
/// A run has at most this many groups.
pub const GROUPS_MAX: u32 = 8;
/// A run has at most this many clients.
pub const CLIENTS_MAX: u32 = 512;

/// A seed commits at least so many client operations.
pub const OPERATIONS_MIN: u64 = 200;

/// One run, before it begins.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct WorldConfig {
    /// Keys every draw.
    pub seed: u64,
    /// Tells the futures of one forked world apart.
    pub branch: u64,
    /// The nodes, ascending.
    pub nodes: Vec<NodeId>,
    /// The groups, ascending.
    pub groups: Vec<GroupInit>,
    /// Every node's engine.
    pub engine: EngineConfig,
    /// Every node's bounds.
    pub limits: Limits,
    /// Every node's timers.
    pub timeouts: Timeouts,
    /// Every node's disk.
    pub disk: DiskModel,
    /// Every link.
    pub net: NetModel,
    /// The outside world.
    pub sinks: SinkModel,
    /// Who looks after side effects that were given up.
    pub operator: OperatorModel,
    /// What is asked of event partitions.
    pub events: EventsModel,
    /// Every node's clocks.
    pub clocks: ClockModel,
    /// How clients behave.
    pub clients: ClientModel,
    /// Who asks what group, ascending.
    pub asking: Vec<Asks>,
    /// Messages between nodes go through the codec as bytes, not as values.
    pub bytes_on_the_wire: bool,
    /// How long the first phase lasts; the faults are in it.
    pub faults_ns: u64,
    /// Clients go on in the healed world until so many operations are acknowledged.
    pub operations_min: u64,
    /// How long the healed world may take to get there, and to converge.
    pub heal_ns: u64,
    /// What goes wrong, by when it begins.
    pub plan: Vec<Fault>,
    /// Who joins, leaves and is to lead, by when that is due.
    pub changes: Vec<Change>,
    /// Rot may take every copy of an entry, and what names it: the run may end in a stall or with halted nodes, if they
    /// say why.
    pub beyond_budget: bool,
    /// So many disks may be wiped or put back. A second one needs a scenario that keeps up whoever knows that the two are
    /// not what they were: nobody else could tell them.
    pub disks_lost_max: u32,
    /// A run that takes more steps is a failure: something loops.
    pub steps_max: u64,
}

/// What an operator does about side effects that were given up, while faults go on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct OperatorModel {
    /// Between two looks; nobody looks when it is zero.
    pub every_ns: u64,
    /// The share of those it sees that it has tried again, each time, in parts per million.
    pub redrive_ppm: u32,
    /// The share of the others that it has forgotten, each time, in parts per million.
    pub discard_ppm: u32,
}

/// What clients of event partitions do: each publishes, and consumes what it is granted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EventsModel {
    /// The share of requests that publish, in parts per million.
    pub publish_ppm: u32,
    /// Events of a publish, at most.
    pub batch: u32,
    /// An event is due this long after it was accepted, at most.
    pub delay_ns: u64,
    /// The share of events whose name is an earlier one's, in parts per million.
    pub again_ppm: u32,
    /// The share of events that no consumer ever gets done, in parts per million.
    pub poison_ppm: u32,
    /// The share of events that are of no use some time after they are due, in parts per million.
    pub expires_ppm: u32,
    /// The share of requests that take an event back or put it off, in parts per million.
    pub change_ppm: u32,
    /// Of new times for events, the share that are over already, in parts per million.
    pub past_ppm: u32,
    /// The share of requests by which a consumer goes, in parts per million.
    pub leave_ppm: u32,
    /// The share of requests that pause a consumer group, set it to another place, alter or delete it, in parts per million.
    pub administer_ppm: u32,
    /// A session makes so many requests before it consumes.
    pub attach_after: u64,
    /// It makes so many before it wants any delivery: until then it is a member without credits.
    pub credits_after: u64,
    /// Events are due together, at the next multiple of this time; not when it is zero.
    pub together_ns: u64,
    /// A delivery has failed if it is not settled for so long.
    pub ack_timeout_ns: u64,
}

impl Default for EventsModel {
    fn default() -> Self {
        Self {
            publish_ppm: 350_000,
            batch: 4,
            delay_ns: 3 * SECOND,
            again_ppm: 200_000,
            poison_ppm: 0,
            expires_ppm: 50_000,
            change_ppm: 80_000,
            past_ppm: 100_000,
            leave_ppm: 20_000,
            administer_ppm: 0,
            attach_after: 0,
            credits_after: 0,
            together_ns: 0,
            ack_timeout_ns: 900 * MILLISECOND,
        }
    }
}

/// How clocks differ.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct ClockModel {
    /// Drift at most, either way, in parts per million.
    pub drift_ppm: u32,
    /// Offset of a wall clock at most, either way.
    pub offset_ns: u64,
}

/// How clients behave.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientModel {
    /// Between an answer and the next request of a session, typically.
    pub think_ns: u64,
    /// Before an unanswered request is sent again, to another node.
    pub resend_ns: u64,
    /// Before a client gives a request up and begins again under another name.
    pub give_up_ns: u64,
    /// The share of answered requests that are sent once more, in parts per million.
    pub repeat_ppm: u32,
    /// A session asks no more than this before the end of the run.
    pub requests_max: u64,
}

/// One client holds a session in one group. A session has one open request at most.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Asks {
    /// The client, from 1.
    pub client: u32,
    /// The group it asks.
    pub group: GroupId,
}

impl Asks {
    /// Every one of `clients` asks every one of `groups`.
    pub fn everything(clients: u32, groups: &[GroupInit]) -> Vec<Self> {
        let of = |client| groups.iter().map(move |init| Self { client, group: init.group });
        (1..=clients).flat_map(of).collect()
    }
}

impl WorldConfig {
    /// What `node` is told when it is made.
    pub fn node(&self, node: NodeId) -> NodeConfig {
        NodeConfig {
            cluster: self.groups[0].cluster,
            node,
            engine: self.engine,
            limits: self.limits,
            timeouts: self.timeouts,
        }
    }

    /// The clients that ask anything, ascending.
    pub fn client_ids(&self) -> Vec<u32> {
        let mut clients: Vec<u32> = self.asking.iter().map(|asks| asks.client).collect();
        clients.dedup();
        clients
    }

    /// The configuration of `seed`, for a workload that runs on groups of `kinds`.
    ///
    /// # Panics
    /// When there are no kinds.
    pub fn of_seed(seed: u64, kinds: &[&str]) -> Self {
        let randomness = Randomness::new(seed, 0);
        let mut draw = randomness.draw(Purpose::Config, 0, &[]);
        let nodes = *draw.pick(&[1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7]);
        let group_count = if draw.below(10) < 4 { 1 } else { draw.between(2, u64::from(GROUPS_MAX)) as u32 };
        let cluster = ClusterId::new(u128::from(draw.word()));
        let mut groups: Vec<GroupInit> =
            (1..=group_count).map(|group| draw_group(&mut draw, cluster, group, nodes, kinds)).collect();
        let faults_ns = draw.between(60 * SECOND, 75 * SECOND);
        let (count, clients) = draw_clients(&mut draw, group_count, faults_ns);
        let (mut engine, limits) = (draw_engine(&mut draw), draw_limits(&mut draw));
        draw_snapshots(&mut engine, &mut randomness.draw(Purpose::Config, 0, &[SNAPSHOTS]));
        // Some journals write as little at once as the bounds allow, so that one step's records take several flushes.
        if randomness.draw(Purpose::Config, 0, &[FLUSH]).below(4) == 0 {
            engine.flush_bytes_max = flush_bytes_least(&limits) as u32;
        }
        let mut scrub = randomness.draw(Purpose::Config, 0, &[SCRUB]);
        engine.scrub_every = Nanos::from_millis(scrub.between(500, 15_000));
        engine.scrub_bytes_per_second = *scrub.pick(&[64 << 10, 512 << 10, 4 << 20]);
        // In some worlds members come and go, one node more among them.
        let mut members = randomness.draw(Purpose::Config, 0, &[MEMBERS]);
        let changes_members = members.below(5) == 0;
        let all = if changes_members { (nodes + 1).min(NODES_MAX) } else { nodes };
        let node_ids: Vec<NodeId> = (1..=u64::from(all)).map(NodeId::new).collect();
        let shape = PlanShape { nodes: all, clients: count, until_ns: faults_ns };
        let mut plan = draw_plan(&randomness, shape);
        // In some others groups are handed over to who is to lead them.
        let hands_over = changes_members || members.below(4) == 0;
        let mut changes = Vec::new();
        for init in groups.iter().filter(|_| hands_over && members.coin()) {
            let mut draw = randomness.draw(Purpose::Config, u64::from(init.group.get()), &[MEMBERS]);
            changes.extend(draw_changes(&mut draw, init, &node_ids, (changes_members, faults_ns)));
        }
        changes.sort_by_key(|change| change.at);
        if changes_members {
            // How many copies there are to lose is known while the members stay.
            plan.retain(|fault| !fault.what.takes_copies());
        }
        for init in &mut groups {
            let about = [ARCHIVE, u64::from(init.group.get())];
            init.archive = draw_archive(&mut randomness.draw(Purpose::Config, 0, &about));
        }
        Self {
            seed,
            branch: 0,
            nodes: node_ids,
            asking: Asks::everything(count, &groups),
            groups,
            engine,
            limits,
            timeouts: Timeouts {
                clock_tolerance: draw_tolerance(&mut randomness.draw(Purpose::Config, 0, &[TOLERANCE])),
                ..draw_timeouts(&mut draw)
            },
            disk: draw_disk(&mut draw, &mut randomness.draw(Purpose::Config, 0, &[ALLOCATION])),
            net: draw_net(&mut draw),
            sinks: SinkModel {
                refuse_ppm: draw_refusals(&mut randomness.draw(Purpose::Config, 0, &[REFUSALS])),
                ..draw_sinks(&mut randomness.draw(Purpose::Config, 0, &[SINKS]))
            },
            operator: draw_operator(&mut randomness.draw(Purpose::Config, 0, &[OPERATOR])),
            events: draw_events(&mut randomness.draw(Purpose::Config, 0, &[EVENTS])),
            clocks: draw_clocks(&mut draw),
            clients,
            bytes_on_the_wire: draw.coin(),
            faults_ns,
            operations_min: OPERATIONS_MIN,
            heal_ns: 60 * SECOND,
            plan,
            changes,
            beyond_budget: !changes_members && randomness.draw(Purpose::Config, 0, &[BUDGET]).below(16) == 0,
            disks_lost_max: 1,
            steps_max: 3_000_000,
        }
    }
}

fn draw_group(draw: &mut Draw, cluster: ClusterId, group: u32, nodes: u32, kinds: &[&str]) -> GroupInit {
    let mut voters: Vec<NodeId> = (1..=u64::from(nodes)).map(NodeId::new).collect();
    if draw.below(4) == 0 {
        draw.shuffle(&mut voters);
        voters.truncate(draw.between(1, u64::from(nodes)) as usize);
        voters.sort_unstable();
    }
    // With six, seven clients evict each other all the time, and fewer only who began again.
    let sessions_max = *draw.pick(&[6, 32, 256, 256]);
    GroupInit {
        cluster,
        group: GroupId::new(group),
        kind: (*draw.pick(kinds)).to_owned(),
        voters,
        sessions_max,
        archive: None,
    }
}

/// Two groups of three archive; chunks are short, and often few of them are kept.
fn draw_archive(draw: &mut Draw) -> Option<Archiving> {
    let chunk_bytes = *draw.pick(&[1 << 10, 4 << 10, 16 << 10, 64 << 10]);
    let chunks_max = *draw.pick(&[2, 8, 1000]);
    (draw.below(3) < 2).then_some(Archiving { chunk_bytes, chunks_max })
}

/// How many clients there are, and how they behave.
fn draw_clients(draw: &mut Draw, groups: u32, faults_ns: u64) -> (u32, ClientModel) {
    let count = draw.between(2, 8) as u32;
    let requests = draw.between(500, 1400);
    let model = ClientModel {
        think_ns: faults_ns * u64::from(count) * u64::from(groups) / requests,
        resend_ns: draw.between(100 * MILLISECOND, 800 * MILLISECOND),
        give_up_ns: if draw.coin() { draw.between(3 * SECOND, 20 * SECOND) } else { 60 * SECOND },
        repeat_ppm: if draw.coin() { draw.between(10_000, 200_000) as u32 } else { 0 },
        requests_max: u64::MAX,
    };
    (count, model)
}

fn draw_engine(draw: &mut Draw) -> EngineConfig {
    // Small segments roll often; each must hold the largest flush, which may be twice its bound.
    let (segment_bytes, flush_bytes_max) = *draw.pick(&[
        (112 << 10, 32 << 10),
        (160 << 10, 64 << 10),
        (320 << 10, 128 << 10),
        (1 << 20, 64 << 10),
    ]);
    EngineConfig {
        segment_bytes,
        flush_bytes_max,
        flushes_in_flight_max: draw.between(1, 4) as u32,
        sealed_segments_target: draw.between(1, 4) as u32,
        idle_mark_after: Nanos::from_millis(draw.between(1, 40)),
        ..EngineConfig::default()
    }
}

/// In half of the clusters who lags is left behind soon. States are small, and so are chunks.
fn draw_snapshots(engine: &mut EngineConfig, draw: &mut Draw) {
    let spare = if draw.coin() { draw.between(0, 2) } else { draw.between(4, 40) };
    engine.sealed_segments_max = engine.sealed_segments_target + spare as u32;
    engine.snapshot_chunk_bytes = *draw.pick(&[4 << 10, 4 << 10, 8 << 10, 64 << 10]);
}

fn draw_limits(draw: &mut Draw) -> Limits {
    let side_effects_max = *draw.pick(&[1, 4, 64]);
    Limits {
        pipeline_entries_max: *draw.pick(&[1, 2, 4, 8, 16, 32]),
        batch_commands_max: *draw.pick(&[1, 2, 8, 64, 4096]),
        batch_bytes_max: *draw.pick(&[2 << 10, 8 << 10, 16 << 10]),
        command_bytes_max: 1 << 10,
        queue_requests_max: *draw.pick(&[1, 4, 64, 1024]),
        repair_entries_max: *draw.pick(&[1, 4, 32, 256]),
        repair_bytes_max: *draw.pick(&[4 << 10, 16 << 10]),
        side_effects_max,
        outbox_bytes_max: *draw.pick(&[64, 4 << 10, 64 << 10]),
        // Few enough that a slow sink has taken them all when the healed world is looked at.
        outbox_max: side_effects_max * draw.pick(&[2, 16]),
    }
}

fn draw_timeouts(draw: &mut Draw) -> Timeouts {
    // The spans keep their proportions; some clusters are quick and some slow.
    let unit = draw.between(MILLISECOND, 3 * MILLISECOND);
    let span = |draw: &mut Draw, low: u64, high: u64| Nanos::from_nanos(unit * draw.between(low, high));
    Timeouts {
        heartbeat: span(draw, 60, 110),
        primary_silence: span(draw, 350, 700),
        view_change: span(draw, 400, 900),
        resend: span(draw, 80, 200),
        abdicate: span(draw, 1500, 3000),
        attempt: span(draw, 300, 2000),
        disk_patience: span(draw, 1500, 6000),
        ..Timeouts::default()
    }
}

/// Enough for clocks that only drift and were set within half a second: those that jump leave it, or not.
fn draw_tolerance(draw: &mut Draw) -> Nanos {
    Nanos::from_nanos(draw.between(600 * MILLISECOND, 2 * SECOND))
}

fn draw_disk(draw: &mut Draw, allocation: &mut Draw) -> DiskModel {
    let mut model = DiskModel {
        atomic_unit: if draw.coin() { 512 } else { 4096 },
        write_ns: draw.between(20 * MICROSECOND, 400 * MICROSECOND),
        read_ns: draw.between(20 * MICROSECOND, 400 * MICROSECOND),
        barrier_ns: draw.between(50 * MICROSECOND, 3 * MILLISECOND),
        allocate_ns: 0,
    };
    // On some disks zeros are so slow that a segment is full before the next one is there.
    let slow = allocation.below(4) == 0;
    model.allocate_ns =
        if slow { allocation.between(20 * MILLISECOND, 200 * MILLISECOND) } else { model.barrier_ns };
    model
}

fn draw_net(draw: &mut Draw) -> NetModel {
    let mut share = |low: u64, high: u64| if draw.coin() { draw.between(low, high) as u32 } else { 0 };
    let (loss_ppm, duplicate_ppm) = (share(1_000, 40_000), share(1_000, 60_000));
    NetModel { delay_ns: draw.between(50 * MICROSECOND, 5 * MILLISECOND), loss_ppm, duplicate_ppm }
}

fn draw_sinks(draw: &mut Draw) -> SinkModel {
    let mut share = |most: u64| if draw.coin() { draw.below(most) as u32 } else { 0 };
    let (fail_ppm, silent_ppm) = (share(500_000), share(300_000));
    let (lie_ppm, down_ppm) = (share(300_000), share(600_000));
    let delay_ns = *draw.pick(&[MILLISECOND, 20 * MILLISECOND, 300 * MILLISECOND]);
    SinkModel { delay_ns, fail_ppm, silent_ppm, lie_ppm, down_ppm, refuse_ppm: 0 }
}

/// In one cluster of three sinks refuse now and then what they would have done at another time.
fn draw_refusals(draw: &mut Draw) -> u32 {
    if draw.below(3) == 0 { draw.between(50_000, 500_000) as u32 } else { 0 }
}

/// In half of the clusters somebody looks after what was given up.
fn draw_operator(draw: &mut Draw) -> OperatorModel {
    if draw.coin() {
        return OperatorModel::default();
    }
    OperatorModel {
        every_ns: draw.between(300 * MILLISECOND, 6 * SECOND),
        redrive_ppm: draw.between(50_000, 900_000) as u32,
        discard_ppm: if draw.coin() { draw.between(10_000, 300_000) as u32 } else { 0 },
    }
}

/// Half of the clusters have events as usual.
fn draw_events(draw: &mut Draw) -> EventsModel {
    if draw.coin() {
        return EventsModel { administer_ppm: *draw.pick(&[0, 50_000]), ..EventsModel::default() };
    }
    EventsModel {
        publish_ppm: draw.between(150_000, 600_000) as u32,
        batch: draw.between(1, 6) as u32,
        delay_ns: *draw.pick(&[100 * MILLISECOND, SECOND, 20 * SECOND]),
        again_ppm: draw.between(50_000, 500_000) as u32,
        poison_ppm: if draw.coin() { draw.between(20_000, 200_000) as u32 } else { 0 },
        expires_ppm: if draw.coin() { draw.between(20_000, 500_000) as u32 } else { 0 },
        change_ppm: draw.between(20_000, 200_000) as u32,
        past_ppm: draw.between(0, 300_000) as u32,
        leave_ppm: draw.between(0, 60_000) as u32,
        attach_after: if draw.below(4) == 0 { draw.below(60) } else { 0 },
        credits_after: 0,
        together_ns: 0,
        ack_timeout_ns: *draw.pick(&[200 * MILLISECOND, 900 * MILLISECOND, 4 * SECOND]),
        administer_ppm: if draw.coin() { draw.between(20_000, 300_000) as u32 } else { 0 },
    }
}

fn draw_clocks(draw: &mut Draw) -> ClockModel {
    ClockModel {
        drift_ppm: if draw.coin() { draw.between(1, 500) as u32 } else { 0 },
        offset_ns: if draw.coin() { draw.tailed(500 * MILLISECOND) } else { 0 },
    }
}

/// Keys the draw of how long allocations take.
const ALLOCATION: u64 = 1;
/// Keys the draw of what becomes of snapshots.
const SNAPSHOTS: u64 = 4;
/// Keys the draw of how much a flush holds.
const FLUSH: u64 = 2;
/// Keys the draw of whether the run goes beyond its fault budget.
const BUDGET: u64 = 3;
/// Keys the draw of what a group archives.
const ARCHIVE: u64 = 5;
/// Keys how sinks behave.
const SINKS: u64 = 6;
/// Keys when sinks refuse.
const REFUSALS: u64 = 8;
/// Keys what an operator does.
const OPERATOR: u64 = 9;
/// Keys what is asked of event partitions.
const EVENTS: u64 = 10;
/// Keys how far off clocks may be.
const TOLERANCE: u64 = 7;
const MEMBERS: u64 = 8;
/// Keys how often the scrub reads everything, and how fast.
const SCRUB: u64 = 4;

#[cfg(test)]
mod tests {
    use super::{CLIENTS_MAX, GROUPS_MAX, NODES_MAX, WorldConfig};

    #[test]
    fn seeds_differ_and_stay_within_what_is_promised() {
        let configs: Vec<_> =
            (0..400).map(|seed| WorldConfig::of_seed(seed, &["bank", "register"])).collect();
        for config in &configs {
            assert!((1..=NODES_MAX as usize).contains(&config.nodes.len()));
            assert!((1..=GROUPS_MAX as usize).contains(&config.groups.len()));
            assert!((2..=CLIENTS_MAX as usize).contains(&config.client_ids().len()));
            for group in &config.groups {
                assert_eq!(group.validate(), Ok(()));
            }
            assert_eq!(config.engine.validate(config.groups.len()), Ok(()));
            assert_eq!(config.node(config.nodes[0]).validate(), Ok(()));
        }
        let several = configs.iter().filter(|config| config.groups.len() > 1).count();
        assert!(several >= 200, "{several} of 400 seeds have several groups");
        assert!(
            configs.iter().any(|config| config.nodes.len() == 1)
                && configs.iter().any(|config| config.nodes.len() == 7)
        );
    }

    #[test]
    fn a_seed_draws_the_same_configuration_every_time() {
        let config = || WorldConfig::of_seed(42, &["bank", "register"]);
        assert_eq!(config(), config());
    }
}

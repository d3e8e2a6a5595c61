//! Smaller runs to try, the smallest first.

use crate::config::{Asks, ClientModel, WorldConfig};
use crate::scenario::quiet_config;
use crate::time::{MILLISECOND, SECOND, WorldTime};

/// The run that ends where it fails.
pub(super) fn ends_at(config: &WorldConfig, at: WorldTime) -> Vec<WorldConfig> {
    let mut ended = config.with_faults(|place| config.plan[place].at <= at);
    let after = round_up(at.as_nanos() + 1);
    ended.faults_ns = ended.faults_ns.min(after);
    // A failure of the healed world: heal as soon as the last fault has begun.
    let last = config.plan.last().map_or(0, |fault| fault.at.as_nanos());
    let mut healed = config.clone();
    healed.faults_ns = healed.faults_ns.min(round_up(last + 1));
    healed.operations_min = 0;
    vec![healed, ended]
}

/// One group alone, or all but one.
pub(super) fn fewer_groups(config: &WorldConfig) -> Vec<WorldConfig> {
    let ids: Vec<_> = config.groups.iter().map(|init| init.group).collect();
    let alone = ids.iter().filter_map(|id| {
        let others = ids.iter().filter(|other| *other != id);
        others.into_iter().try_fold(config.clone(), |smaller, other| smaller.without_group(*other))
    });
    let mut tries: Vec<WorldConfig> = alone.collect();
    if ids.len() > 2 {
        tries.extend(ids.iter().filter_map(|id| config.without_group(*id)));
    }
    tries.retain(|smaller| smaller.groups.len() < config.groups.len());
    tries
}

/// One client alone, all but one, or one group less that it asks.
pub(super) fn fewer_clients(config: &WorldConfig) -> Vec<WorldConfig> {
    let ids = config.client_ids();
    let mut tries = Vec::new();
    if ids.len() > 1 {
        tries.extend(ids.iter().filter_map(|id| config.asked_by(|asks| asks.client == *id)));
        tries.extend(ids.iter().filter_map(|id| config.without_client(*id)));
    }
    if config.asking.len() > ids.len() {
        let one_less = |left_out: &Asks| config.asked_by(|asks| asks != left_out);
        tries.extend(config.asking.iter().filter_map(one_less));
    }
    tries
}

/// All nodes but one.
pub(super) fn fewer_nodes(config: &WorldConfig) -> Vec<WorldConfig> {
    if config.nodes.len() < 2 {
        return Vec::new();
    }
    config.nodes.iter().filter_map(|node| config.without_node(*node)).collect()
}

/// Fewer changes of membership: the last ones gone, or one that the others do not need.
pub(super) fn fewer_changes(config: &WorldConfig) -> Vec<WorldConfig> {
    let with = |keeps: &dyn Fn(usize) -> bool| {
        let mut smaller = config.clone();
        let mut place = 0..;
        smaller.changes.retain(|_| place.next().is_some_and(keeps));
        smaller
    };
    let shorter = (0..config.changes.len()).map(|length| with(&|place| place < length));
    let one_less = (0..config.changes.len()).map(|left_out| with(&|place| place != left_out));
    shorter.chain(one_less).filter(|smaller| smaller.check_changes().is_ok()).collect()
}

/// The run with one aspect of it as it is when nothing is said.
type AsUsual = fn(&WorldConfig) -> WorldConfig;

/// Every aspect that can be as usual, or at least a round number.
pub(super) fn as_usual(config: &WorldConfig) -> Vec<AsUsual> {
    let all: [AsUsual; 22] = [
        |config| with(config, |own, usual| own.net = usual.net),
        |config| with(config, |own, _| own.net.loss_ppm = 0),
        |config| with(config, |own, _| own.net.duplicate_ppm = 0),
        |config| with(config, |own, usual| own.net.delay_ns = usual.net.delay_ns),
        |config| with(config, |own, usual| own.sinks = usual.sinks),
        |config| with(config, |own, usual| own.operator = usual.operator),
        |config| with(config, |own, usual| own.events = usual.events),
        |config| {
            with(config, |own, usual| {
                (own.sinks.fail_ppm, own.sinks.down_ppm) = (usual.sinks.fail_ppm, usual.sinks.down_ppm)
            })
        },
        |config| with(config, |own, usual| own.clocks = usual.clocks),
        |config| with(config, |own, usual| own.disk = usual.disk),
        |config| with(config, |own, usual| (own.engine, own.limits) = (usual.engine, usual.limits)),
        |config| with(config, |own, usual| own.timeouts = usual.timeouts),
        |config| with(config, clients_as_usual),
        |config| with(config, |own, usual| own.clients.repeat_ppm = usual.clients.repeat_ppm),
        |config| with(config, |own, usual| own.clients.give_up_ns = usual.clients.give_up_ns),
        |config| with(config, |own, usual| own.bytes_on_the_wire = usual.bytes_on_the_wire),
        |config| with(config, |own, usual| own.operations_min = usual.operations_min),
        |config| with(config, groups_as_usual),
        |config| with(config, |own, _| round_all([&mut own.disk.write_ns, &mut own.disk.read_ns])),
        |config| with(config, |own, _| round_all([&mut own.disk.barrier_ns, &mut own.disk.allocate_ns])),
        |config| with(config, |own, _| round_all([&mut own.net.delay_ns, &mut own.clocks.offset_ns])),
        |config| with(config, |own, _| round_all([&mut own.clients.think_ns, &mut own.clients.resend_ns])),
    ];
    all.into_iter().filter(|usual| usual(config) != *config).collect()
}

fn with(config: &WorldConfig, change: impl Fn(&mut WorldConfig, &WorldConfig)) -> WorldConfig {
    let mut changed = config.clone();
    change(&mut changed, &quiet_config(&config.nodes, &[]));
    changed
}

/// Two digits are easier to read than nine.
fn round_all<const N: usize>(spans: [&mut u64; N]) {
    spans.into_iter().for_each(|ns| *ns = round_up(*ns));
}

/// How many requests there are has its own candidates: here it would be undone again and again.
fn clients_as_usual(own: &mut WorldConfig, usual: &WorldConfig) {
    own.clients = ClientModel { requests_max: own.clients.requests_max, ..usual.clients };
}

fn groups_as_usual(own: &mut WorldConfig, usual: &WorldConfig) {
    for init in &mut own.groups {
        init.voters.clone_from(&own.nodes);
        init.sessions_max = usual.groups[0].sessions_max;
        init.cluster = usual.groups[0].cluster;
    }
}

/// Few requests a session.
pub(super) fn fewer_requests(config: &WorldConfig) -> Vec<WorldConfig> {
    let bounds = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000];
    let fewer = bounds.into_iter().filter(|bound| *bound < config.clients.requests_max);
    fewer
        .map(|bound| {
            let mut changed = config.clone();
            changed.clients.requests_max = bound;
            changed.operations_min = 0;
            changed
        })
        .collect()
}

/// Everything sooner: the first fault, and with it the others, or what lies between two of them.
pub(super) fn earlier(config: &WorldConfig) -> Vec<WorldConfig> {
    let mut tries = Vec::new();
    for (place, fault) in config.plan.iter().enumerate() {
        let before = place.checked_sub(1).map_or(0, |before| config.plan[before].at.as_nanos());
        let gap = fault.at.as_nanos() - before;
        for keep in [gap / 10, gap / 2] {
            let keep = round_up(keep.max(if place == 0 { SECOND } else { 0 }));
            if keep < gap && gap - keep >= 10 * MILLISECOND {
                tries.push(sooner(config, place, gap - keep));
            }
        }
    }
    tries
}

/// The faults from `place` on, and the end, sooner by `by`.
fn sooner(config: &WorldConfig, place: usize, by: u64) -> WorldConfig {
    let mut changed = config.clone();
    for fault in &mut changed.plan[place..] {
        fault.at = WorldTime::from_nanos(fault.at.as_nanos() - by);
    }
    let last = changed.plan.last().map_or(0, |fault| fault.at.as_nanos());
    changed.faults_ns = changed.faults_ns.saturating_sub(by).max(last + 1);
    changed
}

/// The next number with two digits, so that a person can read it.
pub(super) fn round_up(ns: u64) -> u64 {
    let unit = 10_u64.pow(ns.max(1).ilog10().saturating_sub(1));
    ns.div_ceil(unit) * unit
}

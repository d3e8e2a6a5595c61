//! Draws are keyed: taking a fault, a client or a node out of a run leaves everybody whom it does not concern as they
//! were, to the last step.
//!
//! A run is split in two halves that share no group, so that it is known who is not concerned.

use std::collections::BTreeMap;

use chronon_core::builtin::Builtin;
use chronon_core::types::{Hash, NodeId};
use proptest::prelude::*;

use super::World;
use crate::config::WorldConfig;
use crate::net::Endpoint;
use crate::oracle;
use crate::plan::{Fault, FaultKind};
use crate::time::{MILLISECOND, SECOND, WorldTime};
use crate::trace::Entity;
use crate::workload::BuiltinWorkload;

/// The hash of everything that happened to each before the world healed.
fn parts(config: &WorldConfig) -> BTreeMap<Entity, Hash> {
    let end = WorldTime::from_nanos(config.faults_ns);
    let mut world = World::new(config.clone(), Builtin, BuiltinWorkload::default(), oracle::all(), false)
        .expect("a cluster that can be");
    world.run_until(end);
    assert_eq!(world.failure(), None, "seed {}", config.seed);
    world.trace_parts().into_iter().collect()
}

/// Odd nodes, groups and clients form one half, even ones the other.
fn is_odd(end: Endpoint) -> bool {
    match end {
        Endpoint::Node(node) => node.get() % 2 == 1,
        Endpoint::Client(client) => client % 2 == 1,
    }
}

/// A short run of `seed` on four to seven nodes, in two halves.
fn halves(seed: u64) -> WorldConfig {
    let mut config = (0..)
        .map(|more| WorldConfig::of_seed(seed.wrapping_add(more << 32), &["bank", "register"]))
        .find(|config| config.nodes.len() >= 4 && config.groups.len() >= 2 && config.client_ids().len() >= 4)
        .expect("some seeds are as wanted");
    for init in &mut config.groups {
        let odd = init.group.get() % 2 == 1;
        init.voters =
            config.nodes.iter().copied().filter(|node| is_odd(Endpoint::Node(*node)) == odd).collect();
    }
    // A member that came would take a group to the other half.
    config.changes.clear();
    config.asking.retain(|asks| asks.client % 2 == asks.group.get() % 2);
    // The faults of a minute within a few seconds.
    for fault in &mut config.plan {
        fault.at = WorldTime::from_nanos(fault.at.as_nanos() / FASTER);
    }
    config.clients.think_ns /= FASTER;
    config.faults_ns = 60 * SECOND / FASTER;
    config.plan.retain(|fault| (SECOND..config.faults_ns).contains(&fault.at.as_nanos()));
    // One fault that is sure to be noticed: by then every node runs, and none has had a fault.
    let what = FaultKind::Crash { node: NodeId::new(1), down_ns: 300 * MILLISECOND };
    config.plan.insert(0, Fault { at: WorldTime::from_nanos(500 * MILLISECOND), what });
    config
}

const FASTER: u64 = 12;

/// Whoever of the even half is not as it was.
fn disturbed(before: &BTreeMap<Entity, Hash>, after: &BTreeMap<Entity, Hash>) -> Vec<Entity> {
    let even = before.iter().filter(|(entity, _)| match entity {
        Entity::World => false,
        Entity::Node(node) => !is_odd(Endpoint::Node(*node)),
        Entity::Client(client) => !is_odd(Endpoint::Client(*client)),
    });
    even.filter(|(entity, was)| after.get(entity) != Some(was)).map(|(entity, _)| *entity).collect()
}

/// Whether anybody of the odd half noticed.
fn noticed(before: &BTreeMap<Entity, Hash>, after: &BTreeMap<Entity, Hash>) -> bool {
    before
        .iter()
        .any(|(entity, was)| *entity != Entity::World && after.get(entity).is_some_and(|is| is != was))
}

/// The faults that befall the odd half alone. The power fails for all, and a seed has no rules that drop messages.
fn of_the_odd_half(config: &WorldConfig) -> Vec<Fault> {
    let spares_the_even = |fault: &&Fault| match &fault.what {
        FaultKind::PowerLoss { .. } | FaultKind::Drop { .. } => false,
        what => what.clone().among(is_odd).as_ref() == Some(what),
    };
    config.plan.iter().filter(spares_the_even).cloned().collect()
}

/// Of `config`, what `without` leaves out is noticed by the odd half, and the even half stays as it was.
fn concerns_one_half(config: &WorldConfig, without: &WorldConfig, what: &str) -> Result<(), TestCaseError> {
    let (before, after) = (parts(config), parts(without));
    prop_assert_eq!(disturbed(&before, &after), [], "without {}", what);
    // Now and then a client's few requests all get lost: such a world shows nothing, and may not be the rule.
    if noticed(&before, &after) {
        Ok(())
    } else {
        Err(TestCaseError::reject(format!("seed {}: {what} did nothing", config.seed)))
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_global_rejects: 3, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_client_that_is_taken_out_leaves_who_shares_no_group_with_it_as_they_were(seed in 1_u64..1 << 30) {
        let config = halves(seed);
        concerns_one_half(&config, &config.without_client(3).expect("others ask"), "client 3")?;
    }

    #[test]
    fn a_node_that_is_taken_out_leaves_who_shares_no_group_with_it_as_they_were(seed in 1_u64..1 << 30) {
        let config = halves(seed);
        concerns_one_half(&config, &config.without_node(NodeId::new(3)).expect("others serve"), "node 3")?;
    }

    #[test]
    fn a_fault_that_is_taken_out_leaves_whom_it_spared_as_they_were(seed in 1_u64..1 << 30) {
        let config = halves(seed);
        concerns_one_half(&config, &config.with_faults(|place| place != 0), "a crash")?;
    }

    #[test]
    fn all_faults_of_one_half_that_are_taken_out_leave_the_other_as_it_was(seed in 1_u64..1 << 30) {
        let config = halves(seed);
        let odd = of_the_odd_half(&config);
        let without = config.with_faults(|place| !odd.contains(&config.plan[place]));
        concerns_one_half(&config, &without, "what befell one half")?;
    }
}

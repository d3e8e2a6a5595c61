use chronon_core::builtin::Builtin;
use chronon_core::types::NodeId;

use super::{Failure, World};
use crate::config::WorldConfig;
use crate::oracle;
use crate::plan::{Fault, FaultKind};
use crate::scenario::{nodes_up_to, quiet_config};
use crate::time::{MILLISECOND, SECOND, WorldTime};
use crate::workload::BuiltinWorkload;

fn world(config: WorldConfig) -> World<Builtin, BuiltinWorkload> {
    World::new(config, Builtin, BuiltinWorkload::default(), oracle::all(), false)
        .expect("a cluster that can be")
}

fn seed(seed: u64) -> World<Builtin, BuiltinWorkload> {
    world(WorldConfig::of_seed(seed, &["bank", "register"]))
}

#[test]
fn one_node_serves_and_converges() {
    let mut config = quiet_config(&nodes_up_to(1), &["register", "bank"]);
    config.faults_ns = 2 * SECOND;
    let mut world = world(config);
    world.run();
    assert_eq!(world.failure(), None);
    assert!(world.tally().committed > 10);
    assert!(world.counts().total() > 100);
}

#[test]
fn three_nodes_serve_and_converge() {
    let mut config = quiet_config(&nodes_up_to(3), &["register", "bank"]);
    config.faults_ns = 2 * SECOND;
    let mut world = world(config);
    world.run();
    assert_eq!(world.failure(), None);
    assert!(world.tally().committed > 10);
}

#[test]
fn the_same_seed_goes_the_same_way_and_another_one_does_not() {
    let hash = |number| {
        let mut world = seed(number);
        world.run();
        world.trace_hash()
    };
    assert_eq!(hash(5), hash(5));
    assert_ne!(hash(5), hash(6));
}

#[test]
fn a_fork_goes_on_as_the_world_it_was_made_from() {
    let mut world = seed(11);
    world.run_until(WorldTime::from_nanos(20 * SECOND));
    let mut fork = world.clone();
    world.run();
    fork.run();
    assert_eq!(world.trace_hash(), fork.trace_hash());
    assert_eq!(world.counts(), fork.counts());
    assert!(world.now().as_nanos() > 60 * SECOND);
}

#[test]
fn a_stall_is_reported_with_what_is_missing() {
    // Two of three nodes die at the end of the first phase, and the world has next to no time to heal.
    let mut config = quiet_config(&nodes_up_to(3), &["register"]);
    config.faults_ns = SECOND;
    config.heal_ns = 30 * MILLISECOND;
    config.clients.think_ns = MILLISECOND;
    let at = WorldTime::from_nanos(900 * MILLISECOND);
    let crash = |node| Fault { at, what: FaultKind::Crash { node: NodeId::new(node), down_ns: SECOND } };
    config.plan = vec![crash(1), crash(2)];
    let mut world = world(config);
    world.run();
    let Some(Failure::Violation(violation)) = world.failure() else { panic!("{:?}", world.failure()) };
    assert_eq!(violation.invariant, "Heals");
    let what = &violation.what;
    assert!(what.contains("group 1: quorum: node 1 is down"), "{what}");
    assert!(what.contains("waits for request"), "{what}");
}

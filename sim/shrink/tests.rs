use std::sync::atomic::AtomicBool;

use chronon_core::types::GroupId;

use super::{Effort, Shrunk, Size, shrink};
use crate::config::WorldConfig;
use crate::forgetful::failing;
use crate::plan::FaultKind;
use crate::run::Cause;
use crate::scenario::text_of;

const EFFORT: Effort = Effort { jobs: 2, time: None };

fn shrunk(effort: Effort, stop: bool) -> (Cause, Shrunk, Vec<usize>) {
    let (simulation, config) = failing();
    let first = simulation.run(config.clone(), None);
    let cause = first.cause.expect("the application forgets");
    let run = |config| simulation.run(config, None);
    let mut sizes = Vec::new();
    let tell = &mut |standing: super::Standing| sizes.push(standing.size.faults);
    let stop = AtomicBool::new(stop);
    let shrunk = shrink(&run, config, (cause.clone(), first.simulated), effort, &stop, tell);
    (cause, shrunk, sizes)
}

#[test]
fn what_does_not_matter_is_left_out_and_the_failure_stays_what_it_was() {
    let (cause, shrunk, sizes) = shrunk(EFFORT, false);
    assert!(shrunk.finished && shrunk.cause.is_like(&cause), "{}", shrunk.cause);
    let config = &shrunk.config;
    assert_eq!(config.plan.len(), 1, "{:?}", config.plan);
    assert!(matches!(config.plan[0].what, FaultKind::Crash { .. }), "{:?}", config.plan);
    let Size { nodes, groups, clients, .. } = Size::of(config);
    assert!(nodes < 4 && (groups, clients) == (1, 1), "{nodes} nodes, {groups} groups, {clients} clients");
    assert_eq!((config.net.loss_ppm, config.clients.repeat_ppm), (0, 0));
    assert!(sizes.is_sorted_by(|before, after| before >= after), "{sizes:?}");
    // It fails by itself, in the same way, at the same moment.
    let again = failing().0.run(config.clone(), None);
    assert_eq!((again.cause, again.simulated), (Some(shrunk.cause.clone()), shrunk.at));
    let text = text_of("shrunk", config);
    assert!(text.lines().count() < 35, "a person can read this:\n{text}");
}

#[test]
fn a_group_goes_with_its_only_voter() {
    let (_, mut config) = failing();
    let [first, last] = [config.nodes[0], config.nodes[config.nodes.len() - 1]];
    let mut lonely = config.groups[0].clone();
    lonely.group = GroupId::new(77);
    lonely.voters = vec![last];
    config.groups.push(lonely);
    let holds = |config: &WorldConfig| config.groups.iter().any(|init| init.group == GroupId::new(77));
    assert!(holds(&config.without_node(first).expect("others serve")));
    assert!(!holds(&config.without_node(last).expect("others serve")));
}

#[test]
fn the_number_of_threads_does_not_change_the_result() {
    let (_, one, _) = shrunk(Effort { jobs: 1, ..EFFORT }, false);
    let (_, three, _) = shrunk(Effort { jobs: 3, ..EFFORT }, false);
    assert_eq!(one.config, three.config);
}

#[test]
fn who_stops_it_gets_the_smallest_run_so_far() {
    let (cause, shrunk, _) = shrunk(EFFORT, true);
    assert!(!shrunk.finished && shrunk.tried == 0);
    assert_eq!(shrunk.config, failing().1);
    assert_eq!(shrunk.cause, cause);
}

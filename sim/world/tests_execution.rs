//! Applications that break the contract are found, and the event at which they do is named.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use chronon_core::kernel::{ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Schema};
use chronon_core::node::GroupStatus;
use chronon_core::types::{GroupId, GroupInit, Mark};

use super::machine::Machine;
use super::{Failure, World};
use crate::marks::MarkCounts;
use crate::random::Draw;
use crate::run::{Cause, Simulation};
use crate::scenario::{nodes_up_to, quiet_config};
use crate::time::{MILLISECOND, SECOND, WorldTime};
use crate::workload::{Asking, Workload};

/// Sums numbers up, and does one thing more that it must not do.
#[derive(Clone)]
struct Sums(Sin);

#[derive(Clone)]
enum Sin {
    None,
    /// Numbers beyond a limit are refused, after they were added.
    KeepsWhatItRefuses,
    /// The answer counts the calls of a counter that is no part of the state.
    CountsBesides(Arc<AtomicU64>),
    /// The state holds that count, and no answer tells.
    CountsInSilence(Arc<AtomicU64>),
    /// One number makes it panic in the first group, half way through.
    Panics,
}

/// Numbers above are refused.
const LIMIT: u64 = 90;

impl ChrApplication for Sums {
    const SCHEMA: Schema = Schema(1);
    type State = (u64, u64);
    type QueryRequest = ();
    type QueryResponse = u64;
    type Error = ();

    fn genesis(&self, _group: &GroupInit) -> (u64, u64) {
        (0, 0)
    }

    fn apply(
        &self,
        (sum, besides): &mut (u64, u64),
        event: Event<'_>,
        ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, ()> {
        let Event::Command(&[number]) = event else { return Err(()) };
        let number = u64::from(number);
        if number > LIMIT {
            *sum += if matches!(self.0, Sin::KeepsWhatItRefuses) { number } else { 0 };
            return Err(());
        }
        *sum += number;
        let is_cursed = number == CURSED && ctx.group().group.get() == 1;
        assert!(!(is_cursed && matches!(self.0, Sin::Panics)), "{CURSED} is cursed");
        let answer = match &self.0 {
            Sin::None | Sin::KeepsWhatItRefuses | Sin::Panics => *sum,
            Sin::CountsBesides(counter) => counter.fetch_add(1, Ordering::Relaxed),
            Sin::CountsInSilence(counter) => {
                *besides = counter.fetch_add(1, Ordering::Relaxed);
                *sum
            }
        };
        Ok(Bytes::copy_from_slice(&answer.to_le_bytes()))
    }

    fn query(&self, state: &(u64, u64), _request: (), _ctx: &mut QueryContext) -> u64 {
        state.0
    }

    fn snapshot(&self, (sum, besides): &(u64, u64), _from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        out.extend([sum.to_le_bytes(), besides.to_le_bytes()].concat());
        None
    }

    fn restore(&self, state: &mut (u64, u64), _from: Schema, chunk: &[u8]) -> Result<(), ()> {
        let (sum, besides) = chunk.split_first_chunk::<8>().ok_or(())?;
        *state = (u64::from_le_bytes(*sum), u64::from_le_bytes(besides.try_into().map_err(|_| ())?));
        Ok(())
    }
}

const CURSED: u64 = 66;

/// Asks for sums, and has what cannot be summed up skipped after so long.
#[derive(Clone)]
struct Numbers(Option<u64>);

impl Workload<Sums> for Numbers {
    fn kinds(&self) -> &[&'static str] {
        &["sums"]
    }

    fn command(&mut self, _group: &GroupInit, _asking: Asking, draw: &mut Draw) -> Bytes {
        Bytes::from(vec![draw.below(100) as u8])
    }

    fn skips_after(&self) -> Option<u64> {
        self.0
    }
}

fn found(sin: Sin) -> (Option<Cause>, u64) {
    let mut config = quiet_config(&nodes_up_to(3), &["sums"]);
    config.faults_ns = 5 * SECOND;
    let report = Simulation::new(Sums(sin), Numbers(None)).run(config, None);
    let kept = report.counts.iter().find(|(name, _)| *name == "ErrorKeepsState");
    (report.cause, kept.map_or(0, |(_, count)| count))
}

fn broken(sin: Sin) -> (&'static str, Option<u32>, String) {
    match found(sin).0 {
        Some(Cause::World(Failure::Violation(violation))) => {
            (violation.invariant, violation.group.map(|group| group.get()), violation.what)
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_application_that_keeps_the_contract_passes() {
    let (cause, kept) = found(Sin::None);
    assert_eq!(cause, None);
    assert!(kept > 0, "nothing was refused");
}

#[test]
fn a_refusal_that_changes_the_state_is_found_with_its_op() {
    let (invariant, group, what) = broken(Sin::KeepsWhatItRefuses);
    assert_eq!((invariant, group), ("ErrorKeepsState", Some(1)));
    assert!(what.starts_with("op ") && what.contains("is refused, and the state is not as it was"), "{what}");
}

#[test]
fn an_answer_that_does_not_follow_from_the_state_is_found_with_its_op() {
    let (invariant, group, what) = broken(Sin::CountsBesides(Arc::default()));
    assert_eq!((invariant, group), ("ApplyPure", Some(1)));
    // The first entries register clients: of the first that does not, the first command is wrong.
    assert!(
        what.starts_with("op ") && what.contains("place 0: a command of 1 bytes, executed twice, is"),
        "{what}"
    );
}

#[test]
fn a_state_that_nobody_sees_and_that_does_not_follow_is_found_with_its_op() {
    let (invariant, _, what) = broken(Sin::CountsInSilence(Arc::default()));
    assert_eq!(invariant, "ApplyPure");
    assert!(what.starts_with("op ") && what.contains("leads to two different states"), "{what}");
}

#[test]
fn a_panic_is_found_with_its_op() {
    let (invariant, group, what) = broken(Sin::Panics);
    assert_eq!((invariant, group), ("NeverPanics", Some(1)));
    assert!(what.starts_with("op ") && what.contains("66 is cursed"), "{what}");
}

#[test]
fn a_panic_halts_every_replica_of_its_group_and_no_other_group() {
    let mut config = quiet_config(&nodes_up_to(3), &["sums", "sums"]);
    config.faults_ns = 60 * SECOND;
    let simulation = Simulation::new(Sums(Sin::Panics), Numbers(Some(1000 * SECOND)));
    let mut world = simulation.world(config, false).expect("a cluster that can be");
    let shown = |world: &World<Sums, Numbers>, group: u32| -> Vec<GroupStatus> {
        let node = |machine: &Machine<Sums>| {
            machine.process.as_ref().and_then(|process| process.node.group_status(GroupId::new(group)))
        };
        world.machines.iter().filter_map(node).collect()
    };
    world.run_until(WorldTime::from_nanos(30 * SECOND));
    let (halted, others) = (shown(&world, 1), shown(&world, 2));
    world.run_until(WorldTime::from_nanos(40 * SECOND));
    assert_eq!(world.failure(), None);
    assert!(halted.len() == 3 && halted[0].halted.is_some(), "{halted:?}");
    assert!(halted.iter().all(|status| status.halted == halted[0].halted));
    let applied = |statuses: &[GroupStatus]| statuses.iter().map(|status| status.applied).collect::<Vec<_>>();
    assert_eq!(applied(&halted), applied(&shown(&world, 1)), "it stands still");
    assert!(others.iter().zip(shown(&world, 2)).all(|(before, after)| before.applied < after.applied));
    assert!(shown(&world, 2).iter().all(|status| status.halted.is_none()));
}

#[test]
fn a_group_goes_on_after_a_skip_whatever_else_goes_wrong() {
    let simulation = Simulation::new(Sums(Sin::Panics), Numbers(Some(300 * MILLISECOND)));
    let mut marks = MarkCounts::default();
    for seed in 1..=12 {
        let report = simulation.run(simulation.config_of_seed(seed), None);
        assert_eq!(report.cause, None, "seed {seed}");
        marks.merge(&report.marks);
    }
    for mark in [Mark::GroupHalted, Mark::RefusedHalted, Mark::SkipPrepared, Mark::StateRebuilt] {
        assert!(marks.of(mark) > 10, "{} was passed {} times", mark.text(), marks.of(mark));
    }
}

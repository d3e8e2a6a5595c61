//! How much of a run's time the nodes themselves take: what they were given is recorded and given to them once more,
//! without a world around them. Time is of this thread's processor: what else the machine does plays no part.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use chronon_core::builtin::Builtin;
use chronon_core::codec::{decode, encode};
use chronon_core::node::{Effect, Input, Node};
use chronon_core::types::{NodeId, Now};

use crate::config::WorldConfig;
use crate::marks::MarkCounts;
use crate::oracle::{self, Counts, Observed, Oracle, Violation};
use crate::random::{Purpose, Randomness};
use crate::time::WorldTime;
use crate::workload::BuiltinWorkload;
use crate::world::World;

/// Time of runs, and what of it the nodes take: `Node::step`, `Node::deadline`, which every driver asks after it, and, in
/// runs whose messages go as bytes, reading and writing these, as a node's driver does with the same code.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct CoreShare {
    whole: Duration,
    core: Duration,
}

impl CoreShare {
    /// The part of the time that is the core's, from 0 to 1.
    pub(super) fn fraction(&self) -> f64 {
        self.core.as_secs_f64() / self.whole.as_secs_f64().max(1e-9)
    }

    /// Runs `config`, and its nodes alone, in turns, and adds the least time of each: what else the machine does makes
    /// either slower, never quicker.
    ///
    /// # Errors
    /// Says where the nodes alone went another way than in the world.
    pub(super) fn add(&mut self, config: &WorldConfig) -> Result<(), String> {
        let (mut whole, mut core) = (Duration::MAX, Duration::MAX);
        for _ in 0..ROUNDS {
            let mut world = world(config, oracle::all())?;
            let began = processor_time();
            world.run();
            whole = whole.min(processor_time() - began);
            drop(world);
            core = core.min(replay(config, record(config)?)?);
        }
        self.whole += whole;
        self.core += core;
        Ok(())
    }
}

/// How often each is measured.
const ROUNDS: u32 = 3;

/// What the nodes of a run are given.
fn record(config: &WorldConfig) -> Result<Vec<Recorded>, String> {
    let recorder = Recorder { in_bytes: config.bytes_on_the_wire, ..Recorder::default() };
    let mut oracles = oracle::all();
    oracles.push(Box::new(recorder.clone()));
    world(config, oracles)?.run();
    Ok(recorder.take())
}

fn world(
    config: &WorldConfig,
    oracles: Vec<Box<dyn Oracle>>,
) -> Result<World<Builtin, BuiltinWorkload>, String> {
    let world = World::new(config.clone(), Builtin, BuiltinWorkload::default(), oracles, false);
    world.map_err(|error| error.to_string())
}

/// Gives nodes what was recorded; the time that it took them.
fn replay(config: &WorldConfig, recorded: Vec<Recorded>) -> Result<Duration, String> {
    let randomness = Randomness::new(config.seed, config.branch);
    let mut nodes: BTreeMap<NodeId, Node<Builtin, MarkCounts>> = BTreeMap::new();
    let mut effects = Vec::new();
    let began = processor_time();
    for Recorded { node, boot, step } in recorded {
        let Some(Step { now, given, effects: expected }) = step else {
            let entropy = randomness.draw(Purpose::Entropy, node.get(), &[boot]).bytes32();
            let fresh = Node::with_marks(config.node(node), Builtin, entropy, MarkCounts::default());
            nodes.insert(node, fresh);
            continue;
        };
        let input = match given {
            Given::Input(input) => input,
            Given::Bytes { from, bytes } => {
                let message = decode(&bytes).map_err(|error| format!("a message of node {from}: {error}"))?;
                Input::Message { from, message }
            }
        };
        if let Some(node) = nodes.get_mut(&node) {
            node.step(now, input, &mut effects);
            black_box(node.deadline());
        }
        for effect in effects.iter().filter(|_| config.bytes_on_the_wire) {
            if let Effect::Send { message, .. } = effect {
                black_box(encode(message));
            }
        }
        let found = effects.len();
        if found != expected {
            return Err(format!("node {node} alone has {found} effects; in the world {expected}"));
        }
        effects.clear();
    }
    Ok(processor_time() - began)
}

/// What this thread has computed so far.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Writes down what nodes are given.
#[derive(Clone, Default)]
struct Recorder {
    /// Messages go as bytes in this run.
    in_bytes: bool,
    recorded: Arc<Mutex<Vec<Recorded>>>,
}

struct Recorded {
    node: NodeId,
    boot: u64,
    /// Nothing when the process started.
    step: Option<Step>,
}

struct Step {
    now: Now,
    given: Given,
    effects: usize,
}

enum Given {
    Input(Input),
    /// A message as it goes from node to node.
    Bytes {
        from: NodeId,
        bytes: Bytes,
    },
}

impl Recorder {
    fn take(&self) -> Vec<Recorded> {
        match self.recorded.lock() {
            Ok(mut recorded) => std::mem::take(&mut recorded),
            Err(_) => Vec::new(),
        }
    }

    fn push(&self, node: NodeId, boot: u64, step: Option<Step>) {
        if let Ok(mut recorded) = self.recorded.lock() {
            recorded.push(Recorded { node, boot, step });
        }
    }

    /// The step that was pushed last had so many effects.
    fn went(&self, effects: usize) {
        if let Ok(mut recorded) = self.recorded.lock()
            && let Some(step) = recorded.last_mut().and_then(|last| last.step.as_mut())
        {
            step.effects = effects;
        }
    }
}

impl Oracle for Recorder {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, _found: &mut Vec<Violation>) {
        match seen {
            Observed::Start { node, boot } => self.push(*node, *boot, None),
            Observed::Input { node, boot, now, input } => {
                let given = match input {
                    Input::Message { from, message } if self.in_bytes => {
                        Given::Bytes { from: *from, bytes: Bytes::from(encode(message)) }
                    }
                    input => Given::Input(Input::clone(input)),
                };
                self.push(*node, *boot, Some(Step { now: *now, given, effects: 0 }));
            }
            Observed::Step { effects, .. } => self.went(effects.len()),
            _ => {}
        }
    }

    fn invariants(&self) -> &'static [&'static str] {
        &[]
    }

    fn count(&self, _counts: &mut Counts) {}

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::CoreShare;
    use crate::cli::bench::simulation;

    #[test]
    fn nodes_alone_do_what_they_did_in_the_world_and_take_a_part_of_the_time() {
        let mut share = CoreShare::default();
        for in_bytes in [false, true] {
            let mut config = simulation().config_of_seed(1);
            config.bytes_on_the_wire = in_bytes;
            share.add(&config).expect("the nodes go the same way");
            assert!(share.fraction() > 0.0, "{share:?}");
        }
    }
}

//! An application with a bug, for the tests of what finds bugs: it counts, and its snapshots do not hold the count.

use bytes::Bytes;
use chronon_core::kernel::{ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Schema};
use chronon_core::types::{GroupInit, NodeId};

use crate::config::{Asks, WorldConfig};
use crate::plan::{Fault, FaultKind};
use crate::random::Draw;
use crate::run::Simulation;
use crate::scenario::{nodes_up_to, quiet_config};
use crate::time::{MILLISECOND, SECOND, WorldTime};
use crate::workload::{Asking, Workload};

/// It forgets its count when a node comes back on a snapshot.
#[derive(Clone, Debug)]
pub(crate) struct Forgetful;

impl ChrApplication for Forgetful {
    const SCHEMA: Schema = Schema(1);
    type State = u64;
    type QueryRequest = ();
    type QueryResponse = u64;
    type Error = ();

    fn genesis(&self, _group: &GroupInit) -> u64 {
        0
    }

    fn apply(&self, state: &mut u64, _event: Event<'_>, _ctx: &mut ApplyContext<'_>) -> Result<Bytes, ()> {
        *state += 1;
        Ok(Bytes::copy_from_slice(&state.to_le_bytes()))
    }

    fn query(&self, state: &u64, _request: (), _ctx: &mut QueryContext) -> u64 {
        *state
    }

    fn snapshot(&self, _state: &u64, _from: Cursor, _out: &mut Chunk) -> Option<Cursor> {
        None
    }

    fn restore(&self, _state: &mut u64, _from: Schema, _chunk: &[u8]) -> Result<(), ()> {
        Ok(())
    }
}

/// It asks to count.
#[derive(Clone, Debug)]
pub(crate) struct Counts;

impl Workload<Forgetful> for Counts {
    fn kinds(&self) -> &[&'static str] {
        &["count"]
    }

    fn command(&mut self, _group: &GroupInit, asking: Asking, _draw: &mut Draw) -> Bytes {
        // Long, so that the journal rolls and snapshots are written.
        Bytes::from(vec![asking.number as u8; 900])
    }
}

/// The application under every oracle, and a run that shows its bug among much that does not matter: of its eleven
/// faults one late restart does.
pub(crate) fn failing() -> (Simulation<Forgetful, Counts>, WorldConfig) {
    let mut config = quiet_config(&nodes_up_to(4), &["count", "count"]);
    config.engine.segment_bytes = 112 << 10;
    config.engine.flush_bytes_max = 32 << 10;
    // Who lags is waited for: a snapshot of a peer would show the bug without any fault.
    config.engine.sealed_segments_max = 64;
    config.limits.batch_bytes_max = 8 << 10;
    config.limits.command_bytes_max = 1 << 10;
    config.limits.repair_bytes_max = 8 << 10;
    config.net.loss_ppm = 5_000;
    config.clients.repeat_ppm = 50_000;
    config.clients.think_ns = 30 * MILLISECOND;
    config.asking = Asks::everything(3, &config.groups);
    config.faults_ns = 6 * SECOND;
    let pause = |n: u64| Fault {
        at: WorldTime::from_nanos(SECOND + n * 400 * MILLISECOND + 23_456_789),
        what: FaultKind::Pause { node: NodeId::new(1 + n % 4), for_ns: 121 * MILLISECOND },
    };
    config.plan = (0..10).map(pause).collect();
    let crash = FaultKind::Crash { node: NodeId::new(3), down_ns: 700 * MILLISECOND };
    config.plan.push(Fault { at: WorldTime::from_nanos(4_345_678_901), what: crash });
    config.plan.sort_by_key(|fault| fault.at);
    (Simulation::new(Forgetful, Counts), config)
}

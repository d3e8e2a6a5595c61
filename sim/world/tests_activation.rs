//! A group behaves as its first schema says until a later one is activated: on every replica from the same op on, also on
//! one that comes back on a snapshot or lags behind.

use bytes::Bytes;
use chronon_core::kernel::{
    ApplyContext, ChrApplication, Chunk, Cursor, Event, Outcome, QueryContext, Schema,
};
use chronon_core::types::{GroupInit, Mark};

use crate::marks::MarkCounts;
use crate::random::Draw;
use crate::run::Simulation;
use crate::time::SECOND;
use crate::workload::{Asking, Workload};

/// Counts; from schema 2 on by tens, and it also keeps how often it has done so.
#[derive(Clone)]
struct Counter;

impl ChrApplication for Counter {
    const SCHEMA: Schema = Schema(2);
    type State = (u64, Option<u64>);
    type QueryRequest = ();
    type QueryResponse = u64;
    type Error = ();

    fn genesis(&self, _group: &GroupInit) -> Self::State {
        (0, None)
    }

    fn apply(
        &self,
        (count, since): &mut Self::State,
        event: Event<'_>,
        ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, ()> {
        let Event::Command(_) = event else { return Err(()) };
        assert_eq!(since.is_some(), ctx.schema() == Schema(2), "the state is one of the schema in force");
        let step = if let Some(since) = since {
            *since += 1;
            10
        } else {
            1
        };
        *count += step;
        Ok(Bytes::from([count.to_le_bytes(), step.to_le_bytes()].concat()))
    }

    fn query(&self, state: &Self::State, _request: (), _ctx: &mut QueryContext) -> u64 {
        state.0
    }

    fn snapshot(&self, (count, since): &Self::State, _from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        out.extend(count.to_le_bytes());
        out.extend(since.iter().flat_map(|since| since.to_le_bytes()));
        None
    }

    fn restore(&self, state: &mut Self::State, from: Schema, chunk: &[u8]) -> Result<(), ()> {
        let (count, since) = chunk.split_first_chunk::<8>().ok_or(())?;
        let since = (from == Schema(2)).then(|| since.try_into().map(u64::from_le_bytes).map_err(|_| ()));
        *state = (u64::from_le_bytes(*count), since.transpose()?);
        Ok(())
    }

    fn migrate(&self, (_, since): &mut Self::State, from: Schema, to: Schema) {
        assert_eq!((from, to), (Schema(1), Schema(2)));
        *since = Some(0);
    }
}

/// Asks to count, and notes whether the count went by tens.
#[derive(Clone, Default)]
struct Counting {
    by_tens: bool,
}

impl Workload<Counter> for Counting {
    fn kinds(&self) -> &[&'static str] {
        &["counter"]
    }

    fn command(&mut self, _group: &GroupInit, _asking: Asking, _draw: &mut Draw) -> Bytes {
        Bytes::new()
    }

    fn answered(&mut self, _group: &GroupInit, _body: &[u8], outcome: &Outcome) -> Result<(), String> {
        if let Outcome::Done(answer) = outcome {
            self.by_tens |= answer.as_slice().ends_with(&10_u64.to_le_bytes());
        }
        Ok(())
    }

    fn activates_at(&self) -> Option<u64> {
        // Often enough that no group is busy each time.
        Some(7 * SECOND)
    }

    fn converged(
        &self,
        _group: &GroupInit,
        _counter: &Counter,
        state: &(u64, Option<u64>),
    ) -> Result<(), String> {
        let (_, since) = state;
        if self.by_tens && since.is_none() {
            return Err("somebody was answered as schema 2 says, and it is not in force here".to_owned());
        }
        Ok(())
    }
}

#[test]
fn a_schema_comes_into_force_at_one_op_whatever_else_goes_wrong() {
    let simulation = Simulation::new(Counter, Counting::default());
    let mut marks = MarkCounts::default();
    for seed in 1..=12 {
        let report = simulation.run(simulation.config_of_seed(seed), None);
        assert_eq!(report.cause, None, "seed {seed}");
        marks.merge(&report.marks);
    }
    for mark in [Mark::ActivationPrepared, Mark::SchemaActivated, Mark::SnapshotRestored] {
        assert!(marks.of(mark) > 10, "{} was passed {} times", mark.text(), marks.of(mark));
    }
}

//! The kernel: what stands between a committed log and an application.

mod application;
mod authority;
mod command;
mod dead;
mod executor;
mod halt;
mod leases;
mod manager;
mod outbox;
mod rows;
mod sessions;
mod side_effect;
mod snapshot;
#[cfg(test)]
mod tests;

pub use application::{ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Schema};
pub use authority::{FencingToken, VsrAuthority};
pub use command::{Batch, COMMAND_OVERHEAD_BYTES, Command, Outcome, commands};
pub use dead::{DEAD_BYTES_MAX, DEAD_MAX, Dead, DeadPage, DeadQuery, DeadRow, DeadSideEffects, DeadView};
pub use executor::{ANSWER_BYTES_MAX, Executed, Executor};
pub use halt::{EventPlace, Guard, Halt};
pub use leases::{Caller, Held, LEASE_MAX, LEASE_MIN};
pub use manager::{Attempt, AttemptDone, Pace, Recorded, SideEffectManager};
pub use outbox::{Intent, Outbox};
pub use rows::{NoRows, read_rows, write_rows};
pub use sessions::{SESSION_BYTES_MAX, SessionMap};
pub use side_effect::{
    ATTEMPTS_MAX, AttemptResult, Place, QUEUE_BYTES_MAX, Report, Retry, SIDE_EFFECT_ANSWER_BYTES_MAX,
    SIDE_EFFECT_BYTES_MAX, SideEffect, SideEffectError, SideEffectId, SideEffectOutcome, WORKER_PREFIX,
};
pub use snapshot::{SnapshotError, SnapshotWriter};

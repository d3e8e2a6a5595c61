//! The kernel: what stands between a committed log and an application.

mod application;
mod authority;
mod command;
mod executor;
mod halt;
mod manager;
mod outbox;
mod sessions;
mod side_effect;
mod snapshot;
#[cfg(test)]
mod tests;

pub use application::{ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Schema};
pub use authority::{FencingToken, VsrAuthority};
pub use command::{Batch, COMMAND_OVERHEAD_BYTES, Command, Outcome, commands};
pub use executor::{ANSWER_BYTES_MAX, Executed, Executor};
pub use halt::{EventPlace, Guard, Halt};
pub use manager::{Attempt, AttemptDone, Pace, SideEffectManager};
pub use outbox::{Intent, Outbox};
pub use sessions::SessionMap;
pub use side_effect::{
    ATTEMPTS_MAX, AttemptResult, Place, Report, Retry, SIDE_EFFECT_ANSWER_BYTES_MAX, SIDE_EFFECT_BYTES_MAX,
    SideEffect, SideEffectError, SideEffectId, SideEffectOutcome,
};
pub use snapshot::{SnapshotError, SnapshotWriter};

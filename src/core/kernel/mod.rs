//! The kernel: what stands between a committed log and an application.

mod application;
mod command;
mod executor;
mod sessions;
mod snapshot;

pub use application::{ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Schema};
pub use command::{Batch, COMMAND_OVERHEAD_BYTES, Command, Outcome, commands};
pub use executor::{ANSWER_BYTES_MAX, Executed, Executor};
pub use sessions::SessionMap;
pub use snapshot::SnapshotError;

//! The kernel: what stands between a committed log and an application.

mod application;
mod command;

pub use application::{ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Schema};
pub use command::{Batch, COMMAND_OVERHEAD_BYTES, Command, Outcome, commands};

//! Linearizability of histories, from anywhere.
//!
//! [`History`] puts operations together from what processes asked and heard, or reads them from JSON Lines; [`check`]
//! judges it by a model's name; [`judge`] judges typed operations of one object by any [`Model`], a user's own too.
//!
//! An operation that was answered took effect between its invocation and its answer. One that failed did not take
//! effect at all, except that a `cas` refused for a mismatch is an answer and binds. One that nobody heard of again may
//! take effect at any later moment, or never. A search that reaches its limits says so: it never passes for a proof.

mod bank;
mod bank_op;
mod bank_ways;
mod beam;
mod bits;
mod course;
mod evidence;
mod frontier;
pub mod generate;
mod history;
mod json;
mod judge;
mod log;
mod log_order;
mod lost;
mod model;
mod movers;
mod mutex;
mod named;
mod operations;
mod picture;
mod queue;
mod queue_order;
mod register;
mod register_layout;
mod register_zones;
mod search;
mod sweep;
mod tail;
mod text;
mod text_sight;
mod value;

pub use bank::{Bank, Books};
pub use bank_op::{Account, BankOp};
pub use evidence::Evidence;
pub use history::{End, Event, EventKind, History, HistoryError, Operation, ReadError};
pub use judge::{Judged, judge, proves};
pub use log::Log;
pub use model::{Bounds, Limit, Limits, Model, Quick, Timed, Wants, Ways, Work};
pub use mutex::{Mutex, MutexOp};
pub use named::{CheckError, MODELS, Verdict, Violation, check};
pub use operations::{LogOp, QueueOp, RegisterOp, TextOp, UNSET};
pub use picture::{picture, tell};
pub use queue::Queue;
pub use register::Register;
pub use text::Text;
pub use value::Value;

#[cfg(test)]
mod tests;

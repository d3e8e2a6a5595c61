//! The whole Chronon node as pure state machines.
//!
//! Nothing here knows a clock, a thread, a socket, a file or ambient randomness: all of it enters through
//! [`node::Node::step`] as an [`node::Input`] and leaves as an [`node::Effect`]. Two drivers exist: the production
//! server and the simulator.
//!
//! A room imports only from floors below its own (`tests/layering.rs` holds the table):
//!
//! ```text
//! 7  node  builtin       composition; the applications a binary ships
//! 6  catalog             which topics there are
//! 5  bank  events  post  register applications
//! 4  kernel              ChrApplication, executor, sessions, outbox
//! 3  consensus           vsr behind the contract
//! 2  engine              journal and manifest: emits DiskOp, takes DiskDone
//! 1  types               ids, units, entries, the one notation
//! 0  codec               bytes <-> values; the one place that knows bincode
//! ```
#![no_std]

extern crate alloc;

pub mod codec;
pub mod collections;
#[macro_use]
pub mod types;
pub mod bank;
pub mod builtin;
pub mod catalog;
pub mod consensus;
pub mod engine;
pub mod events;
pub mod kernel;
pub mod node;
pub mod post;
pub mod register;

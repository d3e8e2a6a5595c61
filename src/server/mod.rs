//! The production driver: it carries inputs to the node and effects away from it, and decides nothing.

pub(crate) mod aligned;
pub mod allowed;
pub mod backend;
mod clients;
pub mod config;
mod connection;
pub mod disk;
pub mod disk_usage;
mod durability_worker;
mod guard;
pub mod http;
pub mod io_uring_disk;
pub mod lone_engine;
pub(crate) mod members;
pub mod metrics;
mod peers;
pub mod poster;
pub mod protocol;
mod ring;
pub mod runtime;
pub mod status;
pub mod sync_disk;
pub mod wake;
mod webhooks;

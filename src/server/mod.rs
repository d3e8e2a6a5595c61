//! The production driver: it carries inputs to the node and effects away from it, and decides nothing.

mod aligned;
mod clients;
pub mod config;
mod connection;
pub mod disk;
mod durability_worker;
pub mod http;
mod peers;
pub mod protocol;
pub mod runtime;
pub mod status;
pub mod sync_disk;

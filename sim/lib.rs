//! The simulated driver: a cluster of real [`chronon_core::node::Node`]s in one thread, from one seed.

pub mod checker;
pub mod client;
pub mod clock;
pub mod config;
pub mod disk;
pub mod net;
pub mod oracle;
pub mod plan;
pub mod random;
pub mod time;
pub mod trace;
pub mod workload;
pub mod world;

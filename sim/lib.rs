//! The simulated driver: a cluster of real [`chronon_core::node::Node`]s in one thread, from one seed.

mod archive;
pub mod changes;
pub mod checker;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod disk;
pub mod echo;
pub mod edit;
pub mod explain;
mod fields;
#[cfg(test)]
mod forgetful;
mod journal;
pub mod lines;
pub mod marks;
pub mod mutants;
pub mod net;
pub mod oracle;
pub mod panics;
pub mod plan;
pub mod random;
pub mod run;
pub mod scenario;
pub mod shrink;
pub mod sink;
pub mod swarm;
pub mod tally;
pub mod time;
pub mod trace;
pub mod units;
pub mod workload;
pub mod world;

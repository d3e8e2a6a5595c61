//! The simulated driver: a cluster of real [`chronon_core::node::Node`]s in one thread, from one seed.

pub mod checker;
pub mod clock;
pub mod disk;
pub mod oracle;
pub mod random;
pub mod time;

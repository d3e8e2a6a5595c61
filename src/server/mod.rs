//! The production driver: it carries inputs to the node and effects away from it, and decides nothing.

pub mod disk;
mod durability_worker;
pub mod sync_disk;

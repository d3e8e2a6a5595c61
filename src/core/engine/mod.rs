//! The durable engine: one short journal a node, and a manifest. Emits [`DiskOp`], takes [`DiskDone`].

mod disk;
mod identity;

pub use disk::{BLOCK_BYTES, DiskDone, DiskOp, DiskOpId, DiskOutcome, FileId, VirtualDisk};
pub use identity::{EngineConfig, Identity, format};

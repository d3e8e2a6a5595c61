//! Consensus: VSR behind one contract.

mod message;

pub use message::{DoViewChange, SuffixEntry, VsrMessage};

//! Collections for replicated states: a clone is cheap, and stays as it was.

mod persistent_map;
#[cfg(test)]
mod tests;

pub use persistent_map::{Iter, PersistentMap};

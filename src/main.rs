//! The `chronon` binary.
fn main() {}

//! The `chronon-sim` command.
fn main() {}

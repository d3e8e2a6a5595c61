//! Planted bugs: does the swarm find each, and let alone what is no bug?
//!
//! A mutant is a file beside this module that edits the product's text. Each is planted in a copy of the tree, built,
//! and swarmed until an oracle finds it or its budget is used up. Nothing of this is in what is shipped.

mod exposed;
mod mutant;
mod process;
mod score;
mod smallest;
mod tree;
mod trial;
mod verdict;

pub use mutant::Mutant;
pub use process::Ended;
pub use score::Score;
pub use smallest::Shrinking;
pub use tree::Tree;
pub use trial::{Budget, Trial};
pub use verdict::{Exposed, Finding, MutantsHeader, Outcome, ShrunkRun, Smallest, Verdict};

//! A promise about events that broke, before it is known where.

use std::panic::Location;

use crate::oracle::Violation;

/// A promise that broke.
#[derive(Debug)]
pub(super) struct Broken {
    pub invariant: &'static str,
    what: String,
    site: &'static Location<'static>,
}

impl Broken {
    #[track_caller]
    pub(super) fn new(invariant: &'static str, what: String) -> Self {
        Self { invariant, what, site: Location::caller() }
    }

    pub(super) fn violation(self) -> Violation {
        let (node, group) = (None, None);
        Violation { invariant: self.invariant, node, group, what: self.what, site: self.site }
    }
}

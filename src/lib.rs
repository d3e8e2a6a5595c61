//! The production driver of Chronon.

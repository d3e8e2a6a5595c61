//! What tells events that are ready to go.

use crate::events::topic::TopicConfig;
use crate::types::{Nanos, Timestamp};

/// What tells an event to go.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(in crate::events) struct Bounds {
    /// More events that have ended than this.
    pub kept_max: Option<u64>,
    /// It is ready since then, or earlier.
    pub since: Option<Timestamp>,
    /// There are more bytes than this.
    pub bytes: Option<u64>,
    /// Its place in the ready sequence is lower.
    pub below: Option<u64>,
}

impl Bounds {
    /// Those of a topic.
    pub(in crate::events) fn of(config: &TopicConfig, now: Timestamp) -> Self {
        Self {
            kept_max: Some(config.kept_max),
            since: config.retain_age.and_then(|age| before(now, age)),
            bytes: config.retain_bytes,
            below: None,
        }
    }

    /// Bounds that an operator names.
    pub(in crate::events) fn ordered(
        now: Timestamp,
        age: Option<Nanos>,
        bytes: Option<u64>,
        below: Option<u64>,
    ) -> Self {
        Self { kept_max: None, since: age.and_then(|age| before(now, age)), bytes, below }
    }

    /// Whether this event goes, which is ready since `at`, of so many that have ended, and of all that have so many bytes.
    pub(in crate::events) fn tell_to_go(&self, seq: u64, at: Timestamp, ended: u64, bytes: u64) -> bool {
        self.kept_max.is_some_and(|most| ended > most) || self.are_passed_by(seq, at, bytes)
    }

    /// Whether this one is beyond another bound than the count.
    pub(in crate::events) fn are_passed_by(&self, seq: u64, at: Timestamp, bytes: u64) -> bool {
        self.since.is_some_and(|since| at <= since)
            || self.bytes.is_some_and(|most| bytes > most)
            || self.below.is_some_and(|below| seq < below)
    }
}

fn before(now: Timestamp, age: Nanos) -> Option<Timestamp> {
    now.as_nanos().checked_sub(age.as_nanos()).map(Timestamp::from_nanos)
}

//! Schedules that publish an event again and again. The partition keeps the rule as data and the next occurrences as events; which
//! instants a rule means is worked out outside, by whoever has a table of time zones, and told as a command: the same on all replicas.
//!
//! ```text
//! Recur --> wants a plan --Occur: the next instants, as events--> planned --half of them are over--> wants a plan --> ...
//! ```
//!
//! An occurrence is an event like any other, named by its instant, so that none comes twice. A schedule that was changed or paused
//! takes back what it had planned, and may plan it again.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::events::command::{EventName, EventsAnswer, Rule, Stored};
use crate::events::error::{EventsError, check_name};
use crate::types::{Op, Timestamp};

/// A recurring schedule.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub(in crate::events) struct Recurring {
    pub name: String,
    pub rule: Rule,
    /// Where the log has the command that made it, with the event.
    pub made: Stored,
    /// The op that made or changed it last.
    pub revision: Op,
    /// All instants up to this have been planned, in milliseconds since the Unix epoch.
    pub until_ms: i64,
    pub is_paused: bool,
    /// The occurrences of the last plan.
    pub planned: Vec<EventName>,
    /// When it wants the next plan; it wants one now when there is none and it is not over.
    pub wants_at: Option<Timestamp>,
}

impl Recurring {
    pub(in crate::events) fn wants_plan(&self) -> bool {
        !self.is_paused && self.wants_at.is_none() && self.until_ms < i64::MAX
    }

    pub(in crate::events) fn place(&self) -> EventsAnswer {
        EventsAnswer::Recurs { revision: self.revision, until_ms: self.until_ms, withdrawn: Vec::new() }
    }
}

/// What a plan says beside its events.
#[derive(Clone, Copy, Debug)]
pub(in crate::events) struct Plan {
    pub revision: Op,
    pub after_ms: i64,
    pub until_ms: i64,
}

impl Rule {
    /// Whether it can be one.
    ///
    /// # Errors
    /// [`EventsError::OutOfRange`], [`EventsError::BadName`].
    pub(in crate::events) fn check(&self) -> Result<(), EventsError> {
        match self {
            Self::Every { ms } if !(EVERY_MS_MIN..=EVERY_MS_MAX).contains(ms) => {
                Err(EventsError::OutOfRange {
                    what: "the interval of a schedule".into(),
                    allowed: format!("{EVERY_MS_MIN} ms to {EVERY_MS_MAX} ms"),
                })
            }
            Self::Every { .. } => Ok(()),
            Self::Cron { expression, zone } => {
                check_name("a cron expression", expression)?;
                check_name("a time zone", zone)
            }
        }
    }
}

/// Schedules of a partition.
pub(in crate::events) const SCHEDULES_MAX: u32 = 1000;
/// The name of an occurrence holds it, and an instant.
pub(in crate::events) const SCHEDULE_NAME_BYTES_MAX: u64 = 80;
/// Each occurrence of a plan has the payload.
pub const RECURRING_PAYLOAD_BYTES_MAX: u64 = 64 << 10;
const EVERY_MS_MIN: u64 = 100;
/// Ten years.
const EVERY_MS_MAX: u64 = 3650 * 24 * 3600 * 1000;

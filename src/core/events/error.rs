//! Why a partition does nothing.

use alloc::string::{String, ToString};

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::events::topic::NAME_BYTES_MAX;
use crate::types::u64_of;

/// Why nothing was done.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode, thiserror::Error)]
#[bincode(crate = "crate::codec::wire")]
pub enum EventsError {
    /// The body is not a command of a partition.
    #[error("not a command of an event partition")]
    Malformed,
    /// The group has no partition of this topic.
    #[error("no such topic here: {0}")]
    UnknownTopic(String),
    /// The topic was deleted.
    #[error("topic {0} was deleted")]
    TopicDeleted(String),
    /// Another topic of this name is there.
    #[error("there is another topic {topic} here, number {id}")]
    OtherTopic {
        /// Its name.
        topic: String,
        /// Its number.
        id: u32,
    },
    /// A name is empty or too long.
    #[error("{what} must have 1 to {max} bytes")]
    BadName {
        /// Which.
        what: String,
        /// Bytes allowed.
        max: u32,
    },
    /// There is no such consumer group.
    #[error("no such consumer group: {0}")]
    UnknownGroup(String),
    /// There is no such recurring schedule.
    #[error("no such schedule: {0}")]
    UnknownSchedule(String),
    /// The plan is not the next one of the schedule as it is.
    #[error("the schedule wants another plan, or none: {0}")]
    StalePlan(String),
    /// The consumer group has other options.
    #[error("the consumer group has other options: {0}")]
    OtherOptions(String),
    /// Somebody consumes.
    #[error("consumer group {group} has {members} members: they go first, or the deletion is forced")]
    HasMembers {
        /// The consumer group.
        group: String,
        /// How many.
        members: u32,
    },
    /// It is no member of the group, or no more.
    #[error("not a member of the consumer group any more: attach again")]
    NotAMember,
    /// A number is out of its range.
    #[error("{what} must be {allowed}")]
    OutOfRange {
        /// Which.
        what: String,
        /// In words.
        allowed: String,
    },
    /// As many as there may be are there already.
    #[error("there are {max} {what} already, as many as there may be")]
    TooMany {
        /// Of what.
        what: String,
        /// How many.
        max: u32,
    },
    /// No event of this name is remembered.
    #[error("no such event is remembered: {0}")]
    UnknownEvent(String),
    /// The event would be due when it is of no use any more.
    #[error("schedule_ts must be earlier than expires_ts, which is {0}")]
    ExpiresEarlier(i64),
    /// The event waits no more.
    #[error("the event is not scheduled any more: it is {0}")]
    NotScheduled(String),
}

/// Whether `name` may name a topic or a consumer group.
///
/// # Errors
/// [`EventsError::BadName`].
pub fn check_name(what: &str, name: &str) -> Result<(), EventsError> {
    if name.is_empty() || u64_of(name.len()) > u64::from(NAME_BYTES_MAX) {
        return Err(EventsError::BadName { what: what.to_string(), max: NAME_BYTES_MAX });
    }
    Ok(())
}

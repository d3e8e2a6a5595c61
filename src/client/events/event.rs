//! What is published, and what became of it.

use std::time::{Duration, SystemTime};

use super::error::EventsError;
use crate::gateway::proto::cronos_db as pb;
use crate::gateway::proto::ext;

/// An event to be published: due at once, unless something else is said.
#[derive(Clone, Debug)]
pub struct NewEvent(pb::Event);

/// When an event is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Due {
    /// Then; in the past it means at once.
    At(SystemTime),
    /// So long after the cluster has heard of it, by the cluster's clock.
    In(Duration),
}

/// An event that was scheduled and is not as it was.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Changed {
    /// Its number among all that its partition accepted.
    pub offset: i64,
    /// When it is due now, in milliseconds since the Unix epoch; 0 when it never is.
    pub due_ms: i64,
}

/// An event that was accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Published {
    /// An event of this name was accepted before, maybe by an attempt whose answer was lost: nothing was done now.
    pub is_duplicate: bool,
    /// Its partition, unique in the cluster.
    pub partition: i32,
    /// Its number among all that the partition accepted; of a duplicate, that of the first one.
    pub offset: i64,
    /// When it is due, in milliseconds since the Unix epoch; not told of a duplicate.
    pub due_ms: Option<i64>,
}

impl Due {
    /// A time and a delay in milliseconds, as messages have them: never both zero, which is neither.
    pub(super) fn millis(self) -> (i64, i64) {
        match self {
            Self::At(at) => (millis(at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default()).max(1), 0),
            Self::In(delay) => (1, millis(delay)),
        }
    }
}

impl Changed {
    pub(super) fn of(answer: ext::ChangeResponse) -> Result<Self, EventsError> {
        if !answer.success {
            return Err(EventsError::Refused { why: answer.error });
        }
        Ok(Self { offset: answer.offset, due_ms: answer.schedule_ts })
    }
}

impl NewEvent {
    /// An event of a topic.
    pub fn new(topic: impl Into<String>, payload: impl Into<bytes::Bytes>) -> Self {
        // 1970 is over: at once.
        let event =
            pb::Event { topic: topic.into(), payload: payload.into(), schedule_ts: 1, ..Default::default() };
        Self(event)
    }

    /// Its name, by which it is accepted once. One is drawn when none is given.
    #[must_use]
    pub fn named(mut self, message_id: impl Into<String>) -> Self {
        self.0.message_id = message_id.into();
        self
    }

    /// When it is due.
    #[must_use]
    pub fn due(mut self, due: Due) -> Self {
        (self.0.schedule_ts, self.0.delay_ms) = due.millis();
        self
    }

    /// It is of use for so long after it is due; then it is delivered no more.
    #[must_use]
    pub fn ttl(mut self, span: Duration) -> Self {
        self.0.ttl_ms = millis(span);
        self
    }

    /// What is not to overtake what, for consumer groups that keep order.
    #[must_use]
    pub fn key(mut self, ordering_key: impl Into<String>) -> Self {
        self.0.ordering_key = ordering_key.into();
        self
    }

    /// For its consumers.
    #[must_use]
    pub fn meta(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.0.meta.insert(key.into(), value.into());
        self
    }

    /// With a name in any case, so that it can be published again when no answer comes.
    pub(crate) fn into_message(mut self) -> Result<pb::Event, EventsError> {
        if self.0.message_id.is_empty() {
            self.0.message_id = draw_name()?;
        }
        Ok(self.0)
    }
}

impl Published {
    pub(super) fn of(response: pb::PublishResponse) -> Result<Self, EventsError> {
        let is_duplicate = response.status() == pb::PublishStatus::Duplicate;
        if !response.success && !is_duplicate {
            return Err(EventsError::Refused { why: response.error });
        }
        let due_ms = (!is_duplicate).then_some(response.schedule_ts);
        Ok(Self { is_duplicate, partition: response.partition_id, offset: response.offset, due_ms })
    }
}

/// A name that nobody else has.
///
/// # Errors
/// [`EventsError::Entropy`].
pub fn draw_name() -> Result<String, EventsError> {
    let mut drawn = [0; 16];
    getrandom::fill(&mut drawn).map_err(EventsError::Entropy)?;
    Ok(format!("{:032x}", u128::from_be_bytes(drawn)))
}

/// Milliseconds; the end of i64 is further away than anything.
pub(super) fn millis(span: Duration) -> i64 {
    i64::try_from(span.as_millis()).unwrap_or(i64::MAX)
}

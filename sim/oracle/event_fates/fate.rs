//! What became of events, in words: how often a run came by each.

/// What became of an event, a delivery, or a member.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum EventFate {
    /// It was accepted.
    Accepted,
    /// Its name was known already.
    Duplicate,
    /// It waited for its time, and became ready then.
    Fired,
    /// A wake-up came a second or more after the entry before it.
    Quiet,
    /// Its publisher took it back.
    Cancelled,
    /// It was to be taken back, or put off, when it was ready already.
    TooLate,
    /// It was put off.
    Rescheduled,
    /// It was put off to a time that was over.
    RescheduledToThePast,
    /// It was ready while its topic had no consumer, when somebody looked.
    Unattended,
    /// A consumer group had fifty events and more before it, when somebody looked.
    Behind,
    /// A consumer has processed it.
    Acknowledged,
    /// It was delivered once more.
    Retried,
    /// An answer to another attempt than the open one was refused.
    Stale,
    /// It was given up by a consumer group.
    Dead,
    /// A dead letter was redriven, or discarded.
    Revived,
    /// A member was one no more, for it had said nothing.
    Lost,
    /// A member went.
    Left,
    /// It was of no use any more before it was settled.
    Expired,
    /// The next occurrences of a recurring schedule were taken.
    Planned,
    /// A consumer asked for a delivery, and got one.
    Claimed,
    /// A member wanted nothing more for a while.
    HeldOff,
    /// It was let go although somebody had not settled it.
    LetGo,
    /// A consumer group paused, or a topic.
    Paused,
    /// A consumer group was set to another place.
    Sought,
    /// A consumer group was deleted.
    GroupDeleted,
    /// A topic was deleted.
    TopicDeleted,
}

impl EventFate {
    /// Each with its word.
    pub const WORDS: [(Self, &'static str); 26] = [
        (Self::Accepted, "accepted"),
        (Self::Duplicate, "duplicate"),
        (Self::Fired, "fired"),
        (Self::Quiet, "quiet"),
        (Self::Cancelled, "cancelled"),
        (Self::TooLate, "too_late"),
        (Self::Rescheduled, "rescheduled"),
        (Self::RescheduledToThePast, "rescheduled_to_the_past"),
        (Self::Unattended, "unattended"),
        (Self::Behind, "behind"),
        (Self::Acknowledged, "acknowledged"),
        (Self::Retried, "retried"),
        (Self::Stale, "stale"),
        (Self::Dead, "dead"),
        (Self::Revived, "revived"),
        (Self::Lost, "lost"),
        (Self::Left, "left"),
        (Self::Expired, "expired"),
        (Self::Planned, "planned"),
        (Self::Claimed, "claimed"),
        (Self::HeldOff, "held_off"),
        (Self::LetGo, "let_go"),
        (Self::Paused, "paused"),
        (Self::Sought, "sought"),
        (Self::GroupDeleted, "group_deleted"),
        (Self::TopicDeleted, "topic_deleted"),
    ];

    /// For people, and for what a scenario expects.
    pub fn word(self) -> &'static str {
        Self::WORDS.into_iter().find(|(fate, _)| *fate == self).map_or("", |(_, word)| word)
    }
}

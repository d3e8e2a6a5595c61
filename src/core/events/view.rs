//! What is seen of a partition: questions and their answers.

use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::events::command::{Deliveries, EventName, GrantPlace, GroupOptions, MemberId, Rule, Stored};
use crate::events::group::DeadLetter;
use crate::events::ids::EventState;
use crate::events::topic::TopicConfig;
use crate::types::{Op, Timestamp};

/// A question to a group of kind `events`.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum EventsQuery {
    /// What is open with a member, of grants later than `after`. As a question that waits, it waits until there is something.
    Deliveries {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// The member.
        member: MemberId,
        /// The last grant that it knows.
        after: GrantPlace,
    },
    /// Whether something waits to be granted. As a question that waits, it waits until something does.
    Buffered {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
    },
    /// The fate of an event.
    Event {
        /// The topic.
        topic: String,
        /// Which.
        event: EventName,
    },
    /// The fate of an event. As a question that waits, it waits until that is another than the one that is known.
    Watch {
        /// The topic.
        topic: String,
        /// Which.
        event: EventName,
        /// What was answered before.
        known: Option<EventView>,
    },
    /// The partition, its counts and its consumer groups.
    Partition {
        /// The topic.
        topic: String,
    },
    /// All partitions of the group behind this topic, in alphabetical order.
    PartitionsAfter(String),
    /// The names of all topics of which the group has a partition.
    Topics,
    /// Events that are not due yet, the next one first; of one time, in the order of their offsets.
    Scheduled {
        /// The topic.
        topic: String,
        /// Behind the event that is due then, in milliseconds since the Unix epoch, and has this offset.
        after: Option<(i64, u64)>,
    },
    /// Events that are ready and kept, in the order in which they became ready.
    Kept {
        /// The topic.
        topic: String,
        /// Tells where each stands in this consumer group, unless it is empty.
        group: String,
        /// The first one.
        from: KeptFrom,
    },
    /// Recurring schedules of a topic.
    Recurring {
        /// The topic.
        topic: String,
    },
    /// Recurring schedules that want a plan, of all topics. As a question that waits, it waits until there is one.
    Unplanned,
    /// Dead letters of a consumer group.
    Dead {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// From this place of the ready sequence on.
        from: u64,
    },
}

/// Where to begin with events that are ready.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum KeptFrom {
    /// With this place of the ready sequence.
    Seq(u64),
    /// With what became ready at this time, or first after it.
    Time(Timestamp),
}

/// What is seen.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum EventsView {
    /// The group has no partition of this topic, or the partition no such consumer group.
    Unknown,
    /// It is no member, or no more.
    NotAMember,
    /// What is open with the member.
    Deliveries(Deliveries),
    /// Whether something waits to be granted.
    Buffered(bool),
    /// The fate of the event; none when its name is not remembered.
    Event(Option<EventView>),
    /// The partition.
    Partition(PartitionView),
    /// Partitions by topic.
    Partitions {
        /// When the group has something to do next.
        next_alarm: Option<Timestamp>,
        /// As many as an answer holds.
        partitions: Vec<(String, PartitionView)>,
    },
    /// The names of the topics.
    Topics(Vec<String>),
    /// Events that are not due yet; as many as an answer holds.
    Scheduled(Vec<ScheduledView>),
    /// Events that are ready; as many as an answer holds.
    Kept {
        /// In the order in which they became ready.
        rows: Vec<KeptView>,
        /// There are none behind these yet.
        is_end: bool,
    },
    /// Recurring schedules; as many as an answer holds.
    Recurring(Vec<RecurringView>),
    /// Dead letters; as many as an answer holds.
    Dead(Vec<DeadView>),
}

/// The fate of an event.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct EventView {
    /// Its number among all that the partition accepted.
    pub offset: u64,
    /// When it was accepted.
    pub accepted_at: Timestamp,
    /// Where it stands.
    pub state: EventState,
    /// When it is due, in milliseconds since the Unix epoch, and where the log has it: while it is open.
    pub open: Option<(i64, Stored)>,
    /// Of an event that is ready, where it stands in each consumer group.
    pub deliveries: Vec<(String, DeliveryState)>,
}

/// Where an event stands in a consumer group.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum DeliveryState {
    /// The group began later than the event became ready, or behind it.
    Skipped,
    /// It waits for a member with room.
    Buffered,
    /// It is open with a member.
    Processing {
        /// With whom.
        member: MemberId,
        /// Which attempt.
        attempt: u32,
        /// It has failed if it is not settled until then.
        until: Timestamp,
    },
    /// It failed, and rests until then.
    FailedRetryable {
        /// Attempts that were made.
        attempts: u32,
        /// When it is tried again.
        until: Timestamp,
        /// What was said.
        why: String,
    },
    /// It is a dead letter.
    FailedTerminal(DeadLetter),
    /// It was not settled while it was of use.
    Expired,
    /// It is done.
    Processed,
}

/// A partition, its counts and its consumer groups.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct PartitionView {
    /// How it behaves.
    pub config: TopicConfig,
    /// The offset of the next event that is accepted.
    pub next_offset: u64,
    /// The place in the ready sequence of the next event that becomes ready.
    pub next_seq: u64,
    /// Events that are not due yet.
    pub scheduled: u64,
    /// Events that are ready, and not settled by all consumer groups.
    pub ready: u64,
    /// Events that are kept, settled or not, since they became ready.
    pub kept: u64,
    /// Bytes of their payloads and meta.
    pub kept_bytes: u64,
    /// The place in the ready sequence of the oldest of them.
    pub first_seq: u64,
    /// Message ids that are remembered.
    pub ids: u64,
    /// The consumer groups.
    pub groups: Vec<GroupView>,
}

/// A consumer group in one partition.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct GroupView {
    /// Its name.
    pub name: String,
    /// How it behaves.
    pub options: GroupOptions,
    /// Nothing is granted.
    pub is_paused: bool,
    /// Everything below is settled or dead.
    pub floor: u64,
    /// Events that became ready and are not settled: its lag.
    pub lag: u64,
    /// Deliveries that are open.
    pub open: u64,
    /// Deliveries that rest after a failure.
    pub resting: u64,
    /// Dead letters.
    pub dead: u64,
    /// Dead letters that were dropped, for there were too many.
    pub dead_dropped: u64,
    /// Events that have expired before it had settled them.
    pub expired: u64,
    /// Members.
    pub members: u32,
}

/// An event that is not due yet.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct ScheduledView {
    /// Its number among all that the partition accepted.
    pub offset: u64,
    /// When it is due, in milliseconds since the Unix epoch.
    pub due_ms: i64,
    /// Where the log has it.
    pub stored: Stored,
}

/// A recurring schedule.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct RecurringView {
    /// Its topic.
    pub topic: String,
    /// Its name.
    pub name: String,
    /// Which instants it means.
    pub rule: Rule,
    /// Where the log has the command that made it, with the event.
    pub made: Stored,
    /// The op that made or changed it last.
    pub revision: Op,
    /// All instants up to this have been planned, in milliseconds since the Unix epoch; [`i64::MAX`] when there are no more.
    pub until_ms: i64,
    /// Whether it pauses.
    pub is_paused: bool,
    /// The occurrences of its last plan.
    pub planned: Vec<EventName>,
}

/// An event that is ready.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct KeptView {
    /// Its place in the ready sequence.
    pub seq: u64,
    /// Its number among all that the partition accepted.
    pub offset: u64,
    /// When it was due, in milliseconds since the Unix epoch.
    pub due_ms: i64,
    /// When it became ready.
    pub at: Timestamp,
    /// Where the log has it.
    pub stored: Stored,
    /// Every consumer group has settled it, or it has expired for those that had not.
    pub ended: bool,
    /// Where it stands in the consumer group that was asked about.
    pub delivery: Option<DeliveryState>,
}

/// A dead letter.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct DeadView {
    /// Its place in the ready sequence.
    pub seq: u64,
    /// Its number among all that the partition accepted.
    pub offset: u64,
    /// When and why it died.
    pub letter: DeadLetter,
    /// Where the log has it.
    pub stored: Stored,
}

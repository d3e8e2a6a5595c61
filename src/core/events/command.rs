//! What clients ask of a partition, and what they are answered.

use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::events::topic::TopicConfig;
use crate::types::{Blob, Nanos, Op, Timestamp};

/// A consumer, under the name that it gave itself: a new one for each life.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct MemberId(pub u128);

/// A command to a group of kind `events`; its body is `codec::encode` of this.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum EventsCommand {
    /// The group has a partition of this topic from now on; of several configurations the one of the latest revision holds.
    Open {
        /// The topic.
        topic: String,
        /// How it is to behave.
        config: TopicConfig,
        /// Which topic of this name: a later one has a higher number.
        id: u32,
    },
    /// Accept events. Each has its own result.
    Publish {
        /// The topic.
        topic: String,
        /// 4,096 at most.
        events: Vec<NewEvent>,
    },
    /// An event that is not due yet is never to be.
    Cancel {
        /// The topic.
        topic: String,
        /// Which event.
        event: EventName,
    },
    /// An event that is not due yet is due then.
    Reschedule {
        /// The topic.
        topic: String,
        /// Which event.
        event: EventName,
        /// When.
        due: Due,
    },
    /// There is to be a recurring schedule. One of this name is changed, and takes back what it has planned.
    Recur {
        /// The topic.
        topic: String,
        /// Its name.
        schedule: String,
        /// Which instants it means.
        rule: Rule,
        /// What is published at each; its name and its time are those of the occurrence.
        event: NewEvent,
    },
    /// The next occurrences of a schedule that wants a plan.
    Occur {
        /// The topic.
        topic: String,
        /// The schedule.
        schedule: String,
        /// As it is: a plan for another revision is refused.
        revision: Op,
        /// The plan goes on behind this time, in milliseconds since the Unix epoch: up to here was planned before.
        after_ms: i64,
        /// Up to this; [`i64::MAX`] when there are no more.
        until_ms: i64,
        /// An event each, 64 at most.
        events: Vec<NewEvent>,
    },
    /// A schedule is to pause, and takes back what it has planned; or to go on from now.
    Pause {
        /// The topic.
        topic: String,
        /// The schedule.
        schedule: String,
        /// Whether it pauses.
        pauses: bool,
    },
    /// There is to be no such schedule. It takes back what it has planned.
    Forget {
        /// The topic.
        topic: String,
        /// The schedule.
        schedule: String,
    },
    /// Make a consumer group; one that there is already is to have been made with these options.
    MakeGroup {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// How it behaves.
        options: GroupOptions,
    },
    /// A member of a consumer group, which is made if there is none. A member that is one already goes on, with what it has.
    Attach {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// How the consumer group behaves, if it is made now.
        options: GroupOptions,
        /// Nothing is done if it was made with other options.
        insists: bool,
        /// The member.
        member: MemberId,
        /// So many deliveries at most may be open with it; it is granted nothing more while that is 0.
        credits: u32,
        /// It is a member for so long after its last command, from a second to an hour.
        lease: Nanos,
    },
    /// A member that asks for each of its deliveries takes what is buffered now. It is attached by that, without credits.
    Claim {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// How the consumer group behaves, if it is made now.
        options: GroupOptions,
        /// Nothing is done if it was made with other options.
        insists: bool,
        /// The member.
        member: MemberId,
        /// So many at most, from 1 to 1,000, beside those that are open with it.
        count: u32,
        /// As in [`EventsCommand::Attach`].
        lease: Nanos,
    },
    /// How deliveries ended; and with none, that the member is still there.
    Settle {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// The member.
        member: MemberId,
        /// 4,096 at most.
        settlements: Vec<Settlement>,
        /// The answer tells what was granted to the member later than this.
        after: Option<GrantPlace>,
    },
    /// It is a member no more: what is open with it goes to others, or to it in its next life.
    Detach {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// The member.
        member: MemberId,
    },
    /// Deliver dead letters again: as if they had become ready now, with all their attempts before them.
    Redrive {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// By ready sequence, 4,096 at most.
        letters: Vec<u64>,
    },
    /// Let go of the oldest events that are ready: those that one of the bounds tells to go. What a consumer group has not settled
    /// stays, unless the topic says otherwise.
    Retain {
        /// The topic.
        topic: String,
        /// Ready for longer than this.
        age: Option<Nanos>,
        /// While there are more bytes than this.
        bytes: Option<u64>,
        /// Below this place of the ready sequence.
        below: Option<u64>,
    },
    /// Forget dead letters.
    Discard {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// By ready sequence, 4,096 at most.
        letters: Vec<u64>,
    },
    /// A consumer group is to pause: nothing is granted, and what is open may still be settled. Or it is to go on.
    PauseGroup {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// Whether it pauses.
        pauses: bool,
    },
    /// A consumer group is to begin anew. What is open is over, and its late answers are refused; what lies behind the place is
    /// delivered, once more if need be, with all its attempts before it. Dead letters stay what they are.
    Seek {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// Where it begins.
        to: Start,
    },
    /// A consumer group is to behave otherwise. What is open keeps its time.
    AlterGroup {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// How.
        change: GroupChange,
    },
    /// There is to be no such consumer group: its deliveries are over, and its dead letters go. What nobody else has settled waits
    /// for a group that comes later, as what becomes ready without one does.
    DeleteGroup {
        /// The topic.
        topic: String,
        /// The consumer group.
        group: String,
        /// Although it has members.
        force: bool,
    },
    /// The topic is no more: its events, timers, recurring schedules and consumer groups end. The same topic is never opened again.
    Close {
        /// The topic.
        topic: String,
        /// Which topic of this name.
        id: u32,
    },
}

/// An event as its publisher tells it.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct NewEvent {
    /// Its name.
    pub name: EventName,
    /// What is not to overtake what: of an ordered consumer group, events with one key are delivered one after the other.
    pub ordering_key: String,
    /// When it is due.
    pub due: Due,
    /// From when on it is of no use and delivered no more.
    pub expires: Option<Expires>,
    /// For its consumers.
    pub payload: Blob,
    /// For its consumers.
    pub meta: Vec<(String, String)>,
    /// It is accepted although its name is known.
    pub allow_duplicate: bool,
}

/// What names an event of a topic, for as long as the partition remembers it.
#[derive(Clone, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct EventName {
    /// Names are unique within it.
    pub partition_key: String,
    /// The publisher's name for it.
    pub message_id: String,
}

/// When an event is due, in consensus time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Due {
    /// Then, in milliseconds since the Unix epoch; in the past it means at once.
    At(i64),
    /// So many milliseconds after it was accepted.
    In(u64),
}

/// When an event is of no use any more, in consensus time.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Expires {
    /// Then, in milliseconds since the Unix epoch.
    At(i64),
    /// So many milliseconds after it is due.
    After(u64),
}

/// Which instants a recurring schedule means.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Rule {
    /// Those of a cron expression, in the local time of a zone. What these mean is worked out by whoever plans.
    Cron {
        /// The expression.
        expression: String,
        /// The zone's name in the IANA database.
        zone: String,
    },
    /// The multiples of a span since the Unix epoch.
    Every {
        /// The span, in milliseconds.
        ms: u64,
    },
}

/// How a consumer group behaves. It is given when the group is made; mode and start stay.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct GroupOptions {
    /// What may overtake what.
    pub mode: Mode,
    /// What it begins with.
    pub start: Start,
    /// A delivery that is not settled for so long has failed.
    pub ack_timeout: Nanos,
    /// A delivery is tried so often; 0 is without end.
    pub attempts_max: u32,
    /// How long a delivery rests after its first failure; twice as long after each further one.
    pub rest: Nanos,
    /// It rests no longer than this.
    pub rest_max: Nanos,
}

/// How a consumer group is to behave otherwise; what is not said stays as it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct GroupChange {
    /// As in [`GroupOptions`].
    pub ack_timeout: Option<Nanos>,
    /// As in [`GroupOptions`].
    pub attempts_max: Option<u32>,
    /// As in [`GroupOptions`].
    pub rest: Option<Nanos>,
    /// As in [`GroupOptions`].
    pub rest_max: Option<Nanos>,
}

/// What may overtake what.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Mode {
    /// Anything anything: a queue.
    Shared,
    /// Of one ordering key, one delivery is open at a time; one that failed holds its key up until it was settled or is dead.
    Ordered,
}

/// What a consumer group begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Start {
    /// The oldest event that is still kept.
    Earliest,
    /// What becomes ready from now on.
    Latest,
    /// This place of the ready sequence, or the oldest event that is still kept, if that is later.
    At(u64),
    /// What is ready since this time, or first after it.
    Since(Timestamp),
}

/// How one delivery ended.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Settlement {
    /// Which event, by its place in the ready sequence.
    pub seq: u64,
    /// Which attempt: another one than the last is refused.
    pub attempt: u32,
    /// The op that granted it: after a redrive attempts count anew.
    pub granted: Op,
    /// How it ended.
    pub disposition: Disposition,
}

/// How a delivery ended.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Disposition {
    /// It was processed.
    Ack,
    /// It failed, and is to be tried again: after its rest, or after this.
    Nack {
        /// Instead of what the group's options say.
        rest: Option<Nanos>,
        /// In the consumer's words.
        why: String,
    },
    /// It is never to be tried again.
    Term {
        /// In the consumer's words.
        why: String,
    },
    /// It goes on: its time begins anew.
    InProgress,
}

/// What a partition answers.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum EventsAnswer {
    /// The group has a partition of the topic.
    Opened,
    /// One result an event, in order.
    Published(Vec<Published>),
    /// The event is never due.
    Cancelled {
        /// Which.
        offset: u64,
    },
    /// The event is due then.
    Rescheduled {
        /// Which.
        offset: u64,
        /// Milliseconds since the Unix epoch.
        due_ms: i64,
    },
    /// There is such a schedule.
    Recurs {
        /// The op that made or changed it last.
        revision: Op,
        /// Its next plan goes on behind this time, in milliseconds since the Unix epoch.
        until_ms: i64,
        /// The offsets of the occurrences that it has taken back.
        withdrawn: Vec<u64>,
    },
    /// The occurrences were published.
    Occurred {
        /// The next plan goes on behind this.
        until_ms: i64,
        /// One result each, in order.
        published: Vec<Published>,
    },
    /// There is no such schedule any more.
    Forgotten {
        /// The offsets of the occurrences that it has taken back.
        withdrawn: Vec<u64>,
    },
    /// There is such a consumer group.
    GroupMade,
    /// It is a member.
    Attached {
        /// How the consumer group behaves.
        options: GroupOptions,
        /// What is open with the member.
        open: Deliveries,
    },
    /// It has these in hand beside those that it had.
    Claimed {
        /// How the consumer group behaves.
        options: GroupOptions,
        /// What was granted by this command.
        granted: Deliveries,
    },
    /// One result a settlement, in order, and what was granted.
    Settled {
        /// The results.
        results: Vec<Settled>,
        /// What was granted later than the member said.
        granted: Deliveries,
        /// Everything below this place of the ready sequence is settled or dead.
        floor: u64,
    },
    /// It is a member no more.
    Detached,
    /// So many dead letters are none any more.
    Revived(u32),
    /// What has gone; as many as one entry lets go.
    Retained {
        /// Events.
        events: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The consumer group behaves so.
    GroupChanged {
        /// How.
        options: GroupOptions,
        /// Whether it pauses.
        is_paused: bool,
    },
    /// The consumer group begins anew.
    Sought {
        /// With this place of the ready sequence.
        seq: u64,
        /// So many deliveries were open, and are over.
        closed: u64,
    },
    /// There is no such consumer group any more.
    GroupDeleted {
        /// So many deliveries were open, and are over.
        closed: u64,
        /// So many dead letters are gone.
        dead: u64,
    },
    /// The group has no partition of the topic any more.
    Closed {
        /// So many events were not due yet.
        scheduled: u64,
        /// So many were ready, and not settled by all consumer groups.
        ready: u64,
        /// So many dead letters there were.
        dead: u64,
    },
}

/// What became of an event that was to be accepted.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Published {
    /// From now on it is in exactly one state, and its fate can be asked for.
    Accepted {
        /// Its number among all that the partition accepted, from 0.
        offset: u64,
        /// Milliseconds since the Unix epoch.
        due_ms: i64,
    },
    /// Its name is known already.
    Duplicate {
        /// The offset of the first event of this name.
        offset: u64,
    },
    /// It was not accepted.
    Refused(Refusal),
}

/// Why an event is not accepted.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode, thiserror::Error)]
#[bincode(crate = "crate::codec::wire")]
pub enum Refusal {
    /// Its name is empty.
    #[error("message_id is required")]
    NoMessageId,
    /// Its name, or its partition key, is too long.
    #[error("{what} exceeds {max} characters")]
    NameTooLong {
        /// Which of them.
        what: String,
        /// Bytes allowed.
        max: u32,
    },
    /// Its payload is too long.
    #[error("payload exceeds {max} bytes")]
    PayloadTooLong {
        /// Bytes allowed.
        max: u32,
    },
    /// Its meta is too long.
    #[error("meta exceeds {max} bytes")]
    MetaTooLong {
        /// Bytes allowed.
        max: u32,
    },
    /// It would be of no use before it is due, or is already.
    #[error("expires_ts must be later than schedule_ts, and than now")]
    ExpiresTooEarly,
    /// The topic holds as many events that are not due yet as it may.
    #[error("the topic holds {max} events that are not due yet, as many as it may")]
    TooManyPending {
        /// How many that is.
        max: u64,
    },
    /// The topic remembers as many names as it may, and forgets none early.
    #[error("the topic remembers {max} message ids, as many as it may, and forgets none early")]
    TooManyIds {
        /// How many that is.
        max: u64,
    },
}

/// What became of one settlement.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Settled {
    /// It was done.
    Done,
    /// Nothing was done: this attempt is not open with this member.
    Stale {
        /// Why, in words.
        why: String,
    },
}

/// Where a grant stands among all of a member: by the op that made it, and the ready sequence.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct GrantPlace {
    /// The op.
    pub op: Op,
    /// The event's place in the ready sequence.
    pub seq: u64,
}

/// Deliveries that are open with a member.
#[derive(Clone, Debug, Default, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Deliveries {
    /// In the order of their grants.
    pub deliveries: Vec<Delivery>,
    /// There are more than one answer holds.
    pub more: bool,
}

/// A delivery that is open with a member.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Delivery {
    /// When it was granted: later attempts have higher places.
    pub grant: GrantPlace,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// It has failed if it is not settled until then.
    pub until: Timestamp,
    /// The event's number among all that the partition accepted.
    pub offset: u64,
    /// When it was due, in milliseconds since the Unix epoch.
    pub due_ms: i64,
    /// Where the log has what was published.
    pub stored: Stored,
}

/// Where the log has an event as it was published: states hold no payloads.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Stored {
    /// The entry.
    pub op: Op,
    /// The command's place in it.
    pub index: u32,
    /// The event's place in the command.
    pub item: u32,
}

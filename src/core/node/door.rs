//! The one door: what enters a node and what leaves it, as plain data.

use alloc::string::String;
use alloc::vec::Vec;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::consensus::VsrMessage;
use crate::engine::{ChunkPiece, DiskDone, DiskOp, Found, SnapshotChunk, Sought};
use crate::kernel::{
    Attempt, AttemptDone, AttemptResult, Command, EventPlace, Halt, Held, Outcome, Schema, SideEffectId,
};
use crate::node::chunk_fetch::{ChunkGone, RequestChunk};
use crate::node::heartbeat::Heartbeat;
use crate::node::transfer::RequestSnapshot;
use crate::types::{Blob, ClientId, GroupId, MembershipChange, Nanos, NodeId, Op, RequestNumber, View};

/// What enters a node.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Input {
    /// The deadline has passed.
    Timeout,
    /// A message of another node. The driver vouches for who sent it.
    Message {
        /// The sender.
        from: NodeId,
        /// What it says.
        message: Message,
    },
    /// A disk operation completed.
    Disk(DiskDone),
    /// A client's request.
    Client {
        /// Where the reply goes: the driver's word for a connection.
        route: Route,
        /// The request.
        request: Request,
    },
    /// A question about a group's state, which any replica answers.
    Query {
        /// Where the answer goes.
        route: Route,
        /// The question.
        query: Query,
    },
    /// An executor has ended an [`Effect::Execute`].
    SideEffectDone {
        /// The group whose side effect it is.
        group: GroupId,
        /// Which attempt, and how it ended.
        done: AttemptDone,
    },
    /// Somebody looks for an entry that was committed and applied here. It may be behind what is committed elsewhere.
    LookUp {
        /// Where what is found goes.
        route: Route,
        /// Of which group.
        group: GroupId,
        /// Which entry, and how many more.
        sought: Sought,
    },
    /// A worker wants something of a group's queues.
    Work {
        /// Where the answer goes.
        route: Route,
        /// What it wants.
        work: Work,
    },
    /// An operator wants something of a group. The answer is a [`Reply`] to client 0.
    Order {
        /// Where the answer goes.
        route: Route,
        /// What is wanted.
        order: Order,
    },
}

notation_enum!(Input {
    "timeout" => Timeout,
    "message" => Message { from, message },
    "disk" => Disk(done),
    "client" => Client { route, request },
    "query" => Query { route, query },
    "side-effect-done" => SideEffectDone { group, done },
    "look-up" => LookUp { route, group, sought },
    "work" => Work { route, work },
    "order" => Order { route, order },
});

/// What leaves a node. A driver matches it with no wildcard.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Effect {
    /// Send a message. It may be lost, doubled, reordered; whatever it claims to be durable is.
    Send {
        /// The receiver.
        to: NodeId,
        /// What it says.
        message: Message,
    },
    /// Start a disk operation.
    Disk(DiskOp),
    /// Answer a client.
    Reply {
        /// The connection that the request came from.
        route: Route,
        /// The answer.
        reply: Reply,
    },
    /// Answer an [`Input::Query`].
    Answer {
        /// Who asked.
        route: Route,
        /// As it was asked.
        number: u64,
        /// The answer.
        answer: QueryAnswer,
    },
    /// Execute a side effect, under a fencing token. The answer is an [`Input::SideEffectDone`]; one that does not come in time is
    /// taken for a failure.
    Execute {
        /// The group whose side effect it is.
        group: GroupId,
        /// What to do.
        attempt: Attempt,
    },
    /// Answer an [`Input::Work`].
    Worked {
        /// Which worker.
        route: Route,
        /// The group whose side effects are meant.
        group: GroupId,
        /// As it was asked.
        number: u64,
        /// The answer.
        answer: WorkAnswer,
    },
    /// What was found for [`Input::LookUp`].
    Found {
        /// Who looked for it.
        route: Route,
        /// What became of it.
        found: Found,
    },
    /// A node that came later than this one's group was founded is to be found there.
    Meet {
        /// The node.
        node: NodeId,
        /// As the operator gave it who added the node.
        address: String,
    },
    /// Stop the node: it emits nothing more.
    Halt(HaltReason),
}

notation_enum!(Effect {
    "send" => Send { to, message },
    "disk" => Disk(op),
    "reply" => Reply { route, reply },
    "answer" => Answer { route, number, answer },
    "execute" => Execute { group, attempt },
    "worked" => Worked { route, group, number, answer },
    "found" => Found { route, found },
    "meet" => Meet { node, address },
    "halt" => Halt(reason),
});

/// The driver's word for a client's connection. Never used twice between two starts of a node.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub struct Route(pub u64);

notation_newtype!(Route);

/// What nodes say to each other.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Message {
    /// One a node pair, for all groups that the two share.
    Heartbeat(Heartbeat),
    /// Between two replicas of a group.
    Group {
        /// The group.
        group: GroupId,
        /// What is said.
        body: VsrMessage,
    },
    /// Send me a snapshot, or chunks of one.
    RequestSnapshot(RequestSnapshot),
    /// A chunk of a snapshot.
    SnapshotChunk(SnapshotChunk),
    /// Send me a piece of a chunk of an archive.
    RequestChunk(RequestChunk),
    /// A piece of one.
    ChunkPiece(ChunkPiece),
    /// There is no such chunk any more.
    ChunkGone(ChunkGone),
}

notation_enum!(Message {
    "heartbeat" => Heartbeat(beat),
    "group" => Group { group, body },
    "request-snapshot" => RequestSnapshot(request),
    "snapshot-chunk" => SnapshotChunk(chunk),
    "request-chunk" => RequestChunk(request),
    "chunk-piece" => ChunkPiece(piece),
    "chunk-gone" => ChunkGone(gone),
});

/// A client's request.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Request {
    /// The group to be asked.
    pub group: GroupId,
    /// The command.
    pub command: Command,
}

notation_struct!("request" => Request { group, command });

/// What a worker wants.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Work {
    /// What tells it from others of its route.
    pub number: u64,
    /// The group whose side effects are meant.
    pub group: GroupId,
    /// What it wants of them.
    pub wish: Wish,
}

notation_struct!("work" => Work { number, group, wish });

/// What a worker wants of side effects whose target is `worker:QUEUE`.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Wish {
    /// To execute some.
    Claim {
        /// Of this queue.
        queue: String,
        /// So many at most; 16 are granted at once.
        most: u32,
        /// For so long, from 100 ms to an hour; an attempt whose lease ends has failed.
        lease: Nanos,
    },
    /// To have one for longer.
    Renew {
        /// Which.
        held: Held,
        /// For so long from now on.
        lease: Nanos,
    },
    /// To say how an attempt ended.
    End {
        /// Which.
        held: Held,
        /// How.
        result: AttemptResult,
    },
}

notation_enum!(Wish {
    "claim" => Claim { queue, most, lease },
    "renew" => Renew { held, lease },
    "end" => End { held, result },
});

/// How a worker is answered.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum WorkAnswer {
    /// These are its own for as long as it asked; none when there are none.
    Granted(Vec<Attempt>),
    /// It is its own for longer.
    Renewed,
    /// How the attempt ended is in the log, and applied.
    Recorded,
    /// Nobody here knows whether how the attempt ended came into the log: the node leads the group no more. If it did not, the side
    /// effect is granted again, under the same idempotency key.
    Unknown,
    /// Nothing was done: the worker holds no such lease any more.
    Stale {
        /// Why, in words.
        why: String,
    },
    /// Nothing was done: this node is not the group's primary.
    NotPrimary {
        /// The latest view this node knows.
        view: View,
        /// Its primary, if the view has started.
        primary: NodeId,
    },
    /// Nothing was done: the node is still recovering, or not sure yet that it leads. Try again.
    Busy,
    /// Nothing was done: this node holds no such group.
    UnknownGroup,
    /// Nothing is done: the group stands still.
    Halted(Halt),
}

notation_enum!(WorkAnswer {
    "granted" => Granted(attempts),
    "renewed" => Renewed,
    "recorded" => Recorded,
    "unknown" => Unknown,
    "stale" => Stale { why },
    "not-primary" => NotPrimary { view, primary },
    "busy" => Busy,
    "unknown-group" => UnknownGroup,
    "halted" => Halted(halt),
});

/// What an operator wants of a group.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Order {
    /// The group.
    pub group: GroupId,
    /// What is to be done.
    pub deed: Deed,
}

notation_struct!("order" => Order { group, deed });

/// What an operator may have done: an entry of the group's log, where nothing else is said.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Deed {
    /// Skip the event at which it stands still.
    Skip(EventPlace),
    /// Behave as a later schema says, which the builds of all its voters know.
    Activate(Schema),
    /// Change who its members are.
    Change(MembershipChange),
    /// Try a side effect again that was given up, under the same idempotency key.
    Redrive(SideEffectId),
    /// Forget a side effect that was given up.
    Discard(SideEffectId),
    /// Have this voter lead the group. No entry does it: the answer is [`Answer::NotYet`] until that node answers itself.
    Lead(NodeId),
}

notation_enum!(Deed {
    "skip" => Skip(place),
    "activate" => Activate(schema),
    "change" => Change(change),
    "redrive" => Redrive(id),
    "discard" => Discard(id),
    "lead" => Lead(node),
});

/// The answer to a request; client and number tell which.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Reply {
    /// The group that was asked.
    pub group: GroupId,
    /// The client that asked.
    pub client: ClientId,
    /// Its request.
    pub number: RequestNumber,
    /// The answer.
    pub answer: Answer,
}

notation_struct!("reply" => Reply { group, client, number, answer });

/// How a request was answered.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Answer {
    /// The command is committed and applied.
    Committed {
        /// The op of the entry that first held the command.
        op: Op,
        /// What became of it.
        outcome: Outcome,
    },
    /// Nothing was done: this node is not the group's primary.
    NotPrimary {
        /// The latest view this node knows.
        view: View,
        /// Its primary, if the view has started.
        primary: NodeId,
    },
    /// Nothing was done: the queue is full, or the node is still recovering. Try again.
    Busy,
    /// Nothing was done: no space is left on the primary's disk, or on those of so many backups that none may be left over.
    Full,
    /// Nothing was done: this node holds no such group.
    UnknownGroup,
    /// Nothing was done: the command's body is too long.
    TooLong {
        /// Bytes allowed.
        max: u32,
    },
    /// The group stands still. A command that is in its log already may still be executed: it is to be asked for again.
    Halted(Halt),
    /// Nothing was done: what an operator wants cannot be.
    Declined {
        /// Why, in words.
        why: String,
    },
    /// What an operator wants cannot be done yet.
    NotYet {
        /// What it waits for.
        why: String,
    },
}

notation_enum!(Answer {
    "committed" => Committed { op, outcome },
    "not-primary" => NotPrimary { view, primary },
    "busy" => Busy,
    "full" => Full,
    "unknown-group" => UnknownGroup,
    "too-long" => TooLong { max },
    "halted" => Halted(halt),
    "declined" => Declined { why },
    "not-yet" => NotYet { why },
});

/// A question about a group's state.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Query {
    /// What tells it from others of its route.
    pub number: u64,
    /// The group to be asked.
    pub group: GroupId,
    /// What it is about.
    pub about: About,
    /// The question, encoded: as what it is about says.
    pub body: Blob,
    /// How new the state must be that answers it.
    pub freshness: Freshness,
}

notation_struct!("query" => Query { number, group, about, body, freshness });

/// What a question is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum About {
    /// The application's state.
    State,
    /// Side effects that were given up: a [`crate::kernel::DeadQuery`], answered with a [`crate::kernel::DeadView`].
    Dead,
}

notation_enum!(About { "state" => State, "dead" => Dead });

/// How new a state must be.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Freshness {
    /// It shows everything that was committed before the question came: reads are linearizable with all commands.
    Linearizable,
    /// It is what the replica has, which may be far behind. A node that has just started tells it once a quorum knows that its
    /// disk is what it was.
    Stale,
    /// As stale, but not before the application has news for the question, or has had none for so long.
    Awaited {
        /// A minute at most.
        patience: Nanos,
    },
}

notation_enum!(Freshness {
    "linearizable" => Linearizable,
    "stale" => Stale,
    "awaited" => Awaited { patience },
});

/// How a question was answered.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum QueryAnswer {
    /// The answer of the application, or of the kernel.
    State {
        /// The op that the state reflects.
        op: Op,
        /// The answer, encoded.
        body: Blob,
    },
    /// Too many questions wait, the node is still recovering, or no quorum confirmed in time what is committed. Try again, or
    /// elsewhere.
    Busy,
    /// This node holds no such group.
    UnknownGroup,
    /// The application, or the kernel, cannot read the question.
    Malformed,
    /// The answer is longer than one may be.
    TooLong {
        /// Bytes allowed.
        max: u32,
    },
    /// This replica stands still, and has no state to show.
    Halted(Halt),
    /// The application panicked over the question; nothing has changed.
    Panicked {
        /// What it said.
        what: String,
    },
}

notation_enum!(QueryAnswer {
    "state" => State { op, body },
    "busy" => Busy,
    "unknown-group" => UnknownGroup,
    "malformed" => Malformed,
    "too-long" => TooLong { max },
    "halted" => Halted(halt),
    "panicked" => Panicked { what },
});

/// Why a node stopped.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum HaltReason {
    /// A write or a barrier failed: what is durable is unknown from here on.
    Disk {
        /// What was being done.
        what: String,
    },
    /// The configuration cannot work.
    Config {
        /// What is wrong with it.
        what: String,
    },
    /// The data directory cannot be used as it is.
    Storage {
        /// What is wrong with it.
        what: String,
    },
}

notation_enum!(HaltReason {
    "disk" => Disk { what },
    "config" => Config { what },
    "storage" => Storage { what },
});

/// The effects of steps, in order. A driver reuses the buffer.
pub type Effects = Vec<Effect>;

//! The simulated network: every link from one endpoint to another on its own.
//!
//! What happens to a message is a keyed draw about its link, kind, group, view, op and attempt, so it does not depend
//! on what other messages exist. Delays have long tails, so messages overtake each other. Faults change links for a
//! while: cut, lossy, clogged; and rules drop messages of one kind.

use std::fmt;
use std::sync::Arc;

use chronon_core::consensus::VsrMessage;
use chronon_core::node::{Message, Reply, Request};
use chronon_core::types::NodeId;

use crate::random::{Key, Purpose, Randomness};
use crate::time::WorldTime;

/// How links behave when no fault is at work on them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NetModel {
    /// A typical delay, in nanoseconds. Each link has its own, up to twice this; the tail reaches 64 times it.
    pub delay_ns: u64,
    /// Messages lost, in parts per million.
    pub loss_ppm: u32,
    /// Messages that arrive twice, in parts per million.
    pub duplicate_ppm: u32,
}

/// What a link connects.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum Endpoint {
    /// A node.
    Node(NodeId),
    /// A client, counted from 1.
    Client(u32),
}

impl Endpoint {
    /// Its word in the keys of draws, whoever else exists.
    pub fn word(self) -> u64 {
        match self {
            Self::Node(node) => node.get(),
            Self::Client(client) => 1 << 32 | u64::from(client),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => write!(f, "{node}"),
            Self::Client(client) => write!(f, "c{client}"),
        }
    }
}

/// The kinds of messages, nodes' and clients', in the words of the one notation.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd)]
pub enum MessageKind {
    /// A heartbeat of a node pair.
    Heartbeat,
    /// An entry to be held.
    Prepare,
    /// An acknowledgement of entries.
    PrepareOk,
    /// A wish to leave a view.
    StartViewChange,
    /// A log for a view change.
    DoViewChange,
    /// The start of a view.
    StartView,
    /// A question for entries.
    RequestEntries,
    /// Entries asked for are in a snapshot alone.
    Covered,
    /// Entries that were asked for.
    Entries,
    /// A question for a snapshot.
    RequestSnapshot,
    /// A chunk of a snapshot.
    SnapshotChunk,
    /// A question for a piece of a chunk of an archive.
    RequestChunk,
    /// A piece of one.
    ChunkPiece,
    /// The chunk asked for is kept no more.
    ChunkGone,
    /// A question for a read index.
    RequestReadIndex,
    /// A primary's question whether it still leads.
    ConfirmView,
    /// The answer that it does.
    ViewConfirmed,
    /// A read index.
    ReadIndex,
    /// A client's request.
    Request,
    /// The answer to it.
    Reply,
    /// A primary's word that another view is to follow.
    HandOver,
}

impl MessageKind {
    /// Every kind and its word.
    pub const WORDS: [(Self, &'static str); 21] = [
        (Self::Heartbeat, "heartbeat"),
        (Self::Prepare, "prepare"),
        (Self::PrepareOk, "prepare-ok"),
        (Self::StartViewChange, "start-view-change"),
        (Self::DoViewChange, "do-view-change"),
        (Self::StartView, "start-view"),
        (Self::RequestEntries, "request-entries"),
        (Self::Covered, "covered"),
        (Self::Entries, "entries"),
        (Self::RequestSnapshot, "request-snapshot"),
        (Self::SnapshotChunk, "snapshot-chunk"),
        (Self::RequestChunk, "request-chunk"),
        (Self::ChunkPiece, "chunk-piece"),
        (Self::ChunkGone, "chunk-gone"),
        (Self::RequestReadIndex, "request-read-index"),
        (Self::ConfirmView, "confirm-view"),
        (Self::ViewConfirmed, "view-confirmed"),
        (Self::ReadIndex, "read-index"),
        (Self::Request, "request"),
        (Self::Reply, "reply"),
        (Self::HandOver, "hand-over"),
    ];
}

/// What a message is about, for the draws and for the rules that drop messages.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Subject {
    /// Its kind.
    pub kind: MessageKind,
    /// Its group; zero in a heartbeat.
    pub group: u32,
    /// Its view, the index of a chunk, or the low half of the client's id.
    pub view: u64,
    /// Its op, its request number, or a heartbeat's sequence.
    pub op: u64,
    /// Bytes of the payloads it carries.
    pub bytes: u64,
}

impl Subject {
    /// What a message between nodes is about.
    pub fn of_message(message: &Message) -> Self {
        match message {
            Message::Heartbeat(beat) => {
                let view = beat.boot.incarnation.get();
                Self { kind: MessageKind::Heartbeat, group: 0, view, op: beat.sequence, bytes: 0 }
            }
            Message::RequestSnapshot(request) => {
                let view = request.chunks.first().copied().map_or(0, u64::from);
                let (group, op) = (request.group.get(), request.at_least.get());
                Self { kind: MessageKind::RequestSnapshot, group, view, op, bytes: 0 }
            }
            Message::SnapshotChunk(chunk) => {
                let (group, view, op) = (chunk.group.get(), u64::from(chunk.index), chunk.name.op.get());
                let bytes = chunk.bytes.as_slice().len() as u64;
                Self { kind: MessageKind::SnapshotChunk, group, view, op, bytes }
            }
            Message::RequestChunk(request) => {
                let (group, view, op) = (request.group.get(), request.offset, request.number);
                Self { kind: MessageKind::RequestChunk, group, view, op, bytes: 0 }
            }
            Message::ChunkPiece(piece) => {
                let (group, view, op) = (piece.group.get(), piece.offset, piece.number);
                let bytes = piece.bytes.as_slice().len() as u64;
                Self { kind: MessageKind::ChunkPiece, group, view, op, bytes }
            }
            Message::ChunkGone(gone) => {
                let (group, op) = (gone.group.get(), gone.first);
                Self { kind: MessageKind::ChunkGone, group, view: 0, op, bytes: 0 }
            }
            Message::Group { group, body } => Self { group: group.get(), ..Self::of_body(body) },
        }
    }

    fn of_body(body: &VsrMessage) -> Self {
        use MessageKind as Kind;
        let (kind, view, op, bytes) = match body {
            VsrMessage::Prepare { view, entry, .. } => {
                (Kind::Prepare, view.get(), entry.op().get(), entry.payload().len())
            }
            VsrMessage::PrepareOk { view, to, .. } => (Kind::PrepareOk, view.get(), to.get(), 0),
            VsrMessage::StartViewChange { view } => (Kind::StartViewChange, view.get(), 0, 0),
            VsrMessage::HandOver { view } => (Kind::HandOver, view.get(), 0, 0),
            VsrMessage::DoViewChange(message) => {
                (Kind::DoViewChange, message.view.get(), message.commit.get(), 0)
            }
            VsrMessage::StartView { view, commit, .. } => (Kind::StartView, view.get(), commit.get(), 0),
            VsrMessage::Covered { to } => (Kind::Covered, 0, to.get(), 0),
            VsrMessage::RequestReadIndex { token } => (Kind::RequestReadIndex, 0, *token, 0),
            VsrMessage::ConfirmView { view, round } => (Kind::ConfirmView, view.get(), *round, 0),
            VsrMessage::ViewConfirmed { view, round } => (Kind::ViewConfirmed, view.get(), *round, 0),
            VsrMessage::ReadIndex { token, index } => (Kind::ReadIndex, *token, index.get(), 0),
            VsrMessage::RequestEntries { from, to } => (Kind::RequestEntries, from.get(), to.get(), 0),
            VsrMessage::Entries { log_view, entries, .. } => {
                let first = entries.first().map_or(0, |entry| entry.op().get());
                let bytes = entries.iter().map(|entry| entry.payload().len()).sum();
                (Kind::Entries, log_view.get(), first, bytes)
            }
        };
        Self { kind, group: 0, view, op, bytes: bytes as u64 }
    }

    /// What a client's request is about.
    pub fn of_request(request: &Request) -> Self {
        let command = &request.command;
        Self {
            kind: MessageKind::Request,
            group: request.group.get(),
            view: command.client.get() as u64,
            op: command.number.get(),
            bytes: command.body.as_slice().len() as u64,
        }
    }

    /// What the answer to a client is about.
    pub fn of_reply(reply: &Reply) -> Self {
        Self {
            kind: MessageKind::Reply,
            group: reply.group.get(),
            view: reply.client.get() as u64,
            op: reply.number.get(),
            bytes: 0,
        }
    }
}

/// Drops messages of one kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct DropRule {
    /// The kind; every kind when there is none.
    pub kind: Option<MessageKind>,
    /// Who sends them; anyone when there is none.
    pub from: Option<Endpoint>,
    /// Who should receive them; anyone when there is none.
    pub to: Option<Endpoint>,
    /// Only so many sendings of the same message on the same link; later ones pass.
    pub attempts: u32,
    /// Only messages that carry at least so many bytes of payload.
    pub bytes_min: u64,
    /// Only so many messages in all; later ones pass.
    pub count: u32,
}

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Fate {
    /// When its copies arrive: none, one or two.
    pub arrivals: [Option<WorldTime>; 2],
    /// Tells this sending of this message from all others, whoever else sends what: keys what is drawn about it.
    pub sending: u64,
}

/// The network.
#[derive(Clone, Debug)]
pub struct SimNet {
    model: NetModel,
    randomness: Randomness,
    /// Ids of nodes reach up to here, and those of clients lie behind.
    nodes: usize,
    endpoints: usize,
    links: Vec<Link>,
    ways: Arc<[Way]>,
    /// By sender, so that what one sends does not touch the fate of what another one sends.
    attempts: Vec<Arc<[Attempts; ATTEMPT_SLOTS]>>,
    rules: Vec<(u64, DropRule)>,
    lost: u64,
    duplicated: u64,
}

/// Faults at work on one link.
#[derive(Clone, Copy, Debug, Default)]
struct Link {
    cuts: u32,
    loss_ppm: u32,
    clogged_until: WorldTime,
}

/// What stays of one link.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Of all draws about its messages.
    key: Key,
    typical_ns: u64,
}

/// How often one message was sent lately. A slot that another message takes starts again at zero: then a resent
/// message meets the fate of its first sending once more, which no protocol may depend on either.
#[derive(Clone, Copy, Debug, Default)]
struct Attempts {
    message: u64,
    count: u32,
}

/// Messages of one sender whose attempts are remembered.
const ATTEMPT_SLOTS: usize = 512;

impl SimNet {
    /// A network of nodes with ids from 1 to `nodes` and clients from 1 to `clients`, whoever of them exists.
    pub fn new(nodes: usize, clients: usize, model: NetModel, randomness: Randomness) -> Self {
        let endpoints = nodes + clients;
        let silent = Arc::new([Attempts::default(); ATTEMPT_SLOTS]);
        let ids = (1..=nodes as u64).map(|node| Endpoint::Node(NodeId::new(node)));
        let ends: Vec<Endpoint> = ids.chain((1..=clients as u32).map(Endpoint::Client)).collect();
        let way = |from: Endpoint, to: Endpoint| {
            let key = randomness.key(Purpose::Message, from.word()).and(to.word());
            let own = key.draw(&[]).below(model.delay_ns + 1);
            Way { key, typical_ns: model.delay_ns / 2 + own }
        };
        let ways = ends.iter().flat_map(|from| ends.iter().map(|to| way(*from, *to))).collect();
        Self {
            model,
            randomness,
            nodes,
            endpoints,
            links: vec![Link::default(); endpoints * endpoints],
            ways,
            // All share one table until they write.
            attempts: (0..endpoints).map(|_| Arc::clone(&silent)).collect(),
            rules: Vec::new(),
            lost: 0,
            duplicated: 0,
        }
    }

    /// Messages lost and messages doubled so far.
    pub fn losses_and_duplicates(&self) -> (u64, u64) {
        (self.lost, self.duplicated)
    }

    /// Decides what happens to a message sent now.
    pub fn fate(&mut self, now: WorldTime, from: Endpoint, to: Endpoint, subject: Subject) -> Fate {
        let index = self.link_index(from, to);
        let (link, way) = (self.links[index], self.ways[index]);
        let (message, attempt) = self.attempt(self.index(from), way.key, subject);
        let mut draw = self.randomness.draw(Purpose::Message, message, &[u64::from(attempt)]);
        let sending = message.wrapping_add(u64::from(attempt));
        let lost = draw.chance(self.model.loss_ppm.saturating_add(link.loss_ppm));
        if link.cuts > 0 || lost || self.dropped_by_rule(from, to, subject, attempt) {
            self.lost += 1;
            return Fate { arrivals: [None, None], sending };
        }
        let typical = way.typical_ns;
        let mut arrival = |typical| {
            let delayed = now.after(draw.tailed(typical));
            // What was stuck in a clogged link comes out soon after it clears, in any order.
            delayed.max(link.clogged_until.after(if link.clogged_until > now {
                draw.below(typical + 1)
            } else {
                0
            }))
        };
        let first = arrival(typical);
        let second = arrival(typical * 4);
        let doubled = draw.chance(self.model.duplicate_ppm);
        self.duplicated += u64::from(doubled);
        Fate { arrivals: [Some(first), doubled.then_some(second)], sending }
    }

    /// Whether the link carries nothing at present.
    pub fn is_cut(&self, from: Endpoint, to: Endpoint) -> bool {
        self.links[self.link_index(from, to)].cuts > 0
    }

    /// Cuts one direction; cuts add up.
    pub fn cut(&mut self, from: Endpoint, to: Endpoint) {
        let index = self.link_index(from, to);
        self.links[index].cuts += 1;
    }

    /// Takes one cut of one direction back.
    pub fn mend(&mut self, from: Endpoint, to: Endpoint) {
        let index = self.link_index(from, to);
        self.links[index].cuts = self.links[index].cuts.saturating_sub(1);
    }

    /// Makes one direction lose this share of its messages, beside what the model loses.
    pub fn set_loss(&mut self, from: Endpoint, to: Endpoint, loss_ppm: u32) {
        let index = self.link_index(from, to);
        self.links[index].loss_ppm = loss_ppm;
    }

    /// Holds what is sent in one direction until a moment.
    pub fn clog(&mut self, from: Endpoint, to: Endpoint, until: WorldTime) {
        let index = self.link_index(from, to);
        self.links[index].clogged_until = self.links[index].clogged_until.max(until);
    }

    /// Adds a rule under a name of the caller's.
    pub fn add_rule(&mut self, name: u64, rule: DropRule) {
        self.rules.push((name, rule));
    }

    /// Takes a rule back.
    pub fn remove_rule(&mut self, name: u64) {
        self.rules.retain(|(of, _)| *of != name);
    }

    /// Ends every fault, those of the model included.
    pub fn heal(&mut self) {
        self.links.fill(Link::default());
        self.rules.clear();
        self.model.loss_ppm = 0;
        self.model.duplicate_ppm = 0;
    }

    fn index(&self, endpoint: Endpoint) -> usize {
        match endpoint {
            Endpoint::Node(node) => node.get() as usize - 1,
            Endpoint::Client(client) => self.nodes + client as usize - 1,
        }
    }

    fn link_index(&self, from: Endpoint, to: Endpoint) -> usize {
        self.index(from) * self.endpoints + self.index(to)
    }

    /// The message's key, and how often it was sent before.
    fn attempt(&mut self, sender: usize, way: Key, subject: Subject) -> (u64, u32) {
        let Subject { kind, group, view, op, bytes: _ } = subject;
        let message = way.draw(&[kind as u64, u64::from(group), view, op]).word();
        let slot = &mut Arc::make_mut(&mut self.attempts[sender])[message as usize % ATTEMPT_SLOTS];
        if slot.message != message {
            *slot = Attempts { message, count: 0 };
        }
        slot.count = slot.count.saturating_add(1);
        (message, slot.count - 1)
    }

    fn dropped_by_rule(&mut self, from: Endpoint, to: Endpoint, subject: Subject, attempt: u32) -> bool {
        for (_, rule) in &mut self.rules {
            let hit = rule.kind.is_none_or(|kind| kind == subject.kind)
                && rule.from.is_none_or(|endpoint| endpoint == from)
                && rule.to.is_none_or(|endpoint| endpoint == to)
                && subject.bytes >= rule.bytes_min
                && attempt < rule.attempts
                && rule.count > 0;
            if hit {
                rule.count -= 1;
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests;

//! Links to the other nodes of the cluster, one a pair.
//!
//! The node with the higher id dials, again and again with a growing pause; the other waits to be dialled. A link is
//! up once both sides have said hello and found each other in the right cluster. What cannot be sent is dropped, the
//! oldest first: the protocol repairs losses, and a stale message is worth less than a fresh one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chronon_core::codec;
use chronon_core::node::Message;
use chronon_core::types::{ClusterId, NodeId};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Registry, Token};

use super::connection::{Connection, ConnectionError};
use super::protocol::{HELLO, Hello, MESSAGES, Packer, write_one};

/// All links of a node.
#[derive(Debug)]
pub(super) struct Peers {
    cluster: ClusterId,
    node: NodeId,
    links: BTreeMap<NodeId, Link>,
    /// Connections that have not said hello yet.
    strangers: Vec<Stranger>,
    /// Nodes without an address that the operator was told of.
    unknown_told: BTreeSet<NodeId>,
}

#[derive(Debug)]
struct Link {
    address: SocketAddr,
    state: LinkState,
    pause: Duration,
    /// Whether the present outage was told to the operator.
    outage_told: bool,
    messages: VecDeque<Message>,
    packer: Packer,
}

#[derive(Debug)]
enum LinkState {
    /// No connection. `redial` is `None` when it is the other side that dials.
    Down { redial: Option<Instant> },
    /// Dialled; the other side has not said hello yet.
    Dialling { connection: Connection, give_up: Instant },
    /// Both have said hello.
    Up { connection: Connection },
}

#[derive(Debug)]
struct Stranger {
    connection: Connection,
    give_up: Instant,
}

/// Why a hello was not accepted.
#[derive(Debug, thiserror::Error)]
enum HelloError {
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("it belongs to cluster {found:032x}, this node to {own:032x}")]
    Cluster { found: u128, own: u128 },
    #[error("it is node {found}; node {expected} was expected there")]
    Node { found: NodeId, expected: NodeId },
    #[error("it looks for node {wanted}; this is node {own}")]
    Address { wanted: NodeId, own: NodeId },
    #[error("node {found} is not among the peers of this node's configuration")]
    Unknown { found: NodeId },
}

impl Peers {
    pub(super) fn new(
        cluster: ClusterId,
        node: NodeId,
        addresses: &BTreeMap<NodeId, SocketAddr>,
        now: Instant,
    ) -> Self {
        let others = addresses.iter().filter(|(peer, _)| **peer != node);
        let links = others.map(|(peer, address)| (*peer, Link::new(*address, node > *peer, now)));
        Self { cluster, node, links: links.collect(), strangers: Vec::new(), unknown_told: BTreeSet::new() }
    }

    /// A node that came later than this one's configuration. What the configuration says of it holds.
    pub(super) fn meet(&mut self, peer: NodeId, address: &str, now: Instant) {
        if self.links.contains_key(&peer) {
            return;
        }
        match address.parse() {
            Ok(address) => {
                tracing::info!(%peer, %address, "a node joins");
                self.links.insert(peer, Link::new(address, self.node > peer, now));
            }
            Err(error) => tracing::warn!(%peer, address, %error, "a node joins that cannot be found there"),
        }
    }

    /// Which peers are linked, of all there are.
    pub(super) fn linked(&self) -> impl Iterator<Item = (NodeId, bool)> {
        self.links.iter().map(|(peer, link)| (*peer, matches!(link.state, LinkState::Up { .. })))
    }

    /// Takes a connection that somebody opened to this node.
    pub(super) fn accept(
        &mut self,
        stream: TcpStream,
        address: SocketAddr,
        token: Token,
        registry: &Registry,
        now: Instant,
    ) {
        if self.strangers.len() >= STRANGERS_MAX {
            tracing::warn!(%address, "peer connection refused: {STRANGERS_MAX} others have not said hello yet");
            return;
        }
        match Connection::accepted(stream, address, token, registry) {
            Ok(connection) => self.strangers.push(Stranger { connection, give_up: now + HELLO_WAIT }),
            Err(error) => tracing::warn!(%address, %error, "peer connection lost as it was accepted"),
        }
    }

    /// Passes a readiness event on; false when the token is none of ours.
    pub(super) fn ready(&mut self, event: &Event) -> bool {
        let linked = self.links.values_mut().filter_map(Link::connection);
        let all = linked.chain(self.strangers.iter_mut().map(|stranger| &mut stranger.connection));
        for connection in all {
            if connection.token() == event.token() {
                connection.ready(event);
                return true;
            }
        }
        false
    }

    /// Dials who is due, gives up on who keeps silent.
    pub(super) fn tend(&mut self, registry: &Registry, new_token: &mut impl FnMut() -> Token, now: Instant) {
        let (cluster, from) = (self.cluster, self.node);
        for (peer, link) in &mut self.links {
            match &link.state {
                LinkState::Down { redial: Some(due) } if *due <= now => {
                    link.dial(Hello { cluster, from, to: *peer }, new_token(), registry, now);
                }
                LinkState::Dialling { give_up, .. } if *give_up <= now => {
                    link.lost(*peer, self.node, &"no hello came back in time", now);
                }
                LinkState::Down { .. } | LinkState::Dialling { .. } | LinkState::Up { .. } => {}
            }
        }
        self.strangers.retain(|stranger| {
            let patient = stranger.give_up > now;
            if !patient {
                let address = stranger.connection.address();
                tracing::warn!(%address, "peer connection closed: it did not say hello in time");
            }
            patient
        });
    }

    /// When [`Peers::tend`] has something to do again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let links = self.links.values().filter_map(|link| match &link.state {
            LinkState::Down { redial } => *redial,
            LinkState::Dialling { give_up, .. } => Some(*give_up),
            LinkState::Up { .. } => None,
        });
        links.chain(self.strangers.iter().map(|stranger| stranger.give_up)).min()
    }

    /// Whether a connection has more to be read.
    pub(super) fn is_readable(&self) -> bool {
        let linked = self.links.values().any(|link| match &link.state {
            LinkState::Down { .. } => false,
            LinkState::Dialling { connection, .. } | LinkState::Up { connection } => connection.is_readable(),
        });
        linked || self.strangers.iter().any(|stranger| stranger.connection.is_readable())
    }

    /// Reads all links and appends what the peers said.
    pub(super) fn receive(
        &mut self,
        scratch: &mut [u8],
        messages: &mut Vec<(NodeId, Message)>,
        now: Instant,
    ) {
        self.welcome(scratch);
        for (peer, link) in &mut self.links {
            if let Err(error) = link.receive(self.cluster, self.node, *peer, scratch, messages) {
                link.lost(*peer, self.node, &error, now);
            }
        }
    }

    /// Queues a message; without a link it is lost, as the protocol allows.
    pub(super) fn send(&mut self, to: NodeId, message: Message) {
        let Some(link) = self.links.get_mut(&to) else {
            if self.unknown_told.insert(to) {
                tracing::warn!(peer = %to, "a peer of this node is missing in its configuration: key `peers`");
            }
            return;
        };
        if !matches!(link.state, LinkState::Up { .. }) {
            return;
        }
        if link.messages.len() >= MESSAGES_MAX {
            link.messages.pop_front();
            tracing::debug!(peer = %to, "peer link is clogged: its oldest message was dropped");
        }
        link.messages.push_back(message);
    }

    /// Writes what is queued, one write a link.
    pub(super) fn flush(&mut self, now: Instant) {
        for (peer, link) in &mut self.links {
            if let Err(error) = link.flush() {
                link.lost(*peer, self.node, &error, now);
            }
        }
    }

    /// Reads the strangers; who says a good hello becomes a link.
    fn welcome(&mut self, scratch: &mut [u8]) {
        let mut index = 0;
        while let Some(stranger) = self.strangers.get_mut(index) {
            let hello = read_hello(&mut stranger.connection, scratch);
            if matches!(hello, Ok(None)) {
                index += 1;
                continue;
            }
            let mut connection = self.strangers.swap_remove(index).connection;
            let address = connection.address();
            match hello.map_err(HelloError::from).and_then(|hello| self.check_hello(hello, &mut connection)) {
                Ok(peer) => self.link_up(peer, connection),
                Err(error) => tracing::warn!(%address, "peer connection closed: {error}"),
            }
        }
    }

    /// Answers a hello and tells whose it is.
    fn check_hello(&self, hello: Option<Hello>, connection: &mut Connection) -> Result<NodeId, HelloError> {
        let Some(Hello { cluster, from, to }) = hello else { return Err(ConnectionError::Closed.into()) };
        let answer = Hello { cluster: self.cluster, from: self.node, to: from };
        write_one(HELLO, &answer, &mut connection.outgoing);
        connection.flush()?;
        if cluster != self.cluster {
            return Err(HelloError::Cluster { found: cluster.get(), own: self.cluster.get() });
        }
        if to != self.node {
            return Err(HelloError::Address { wanted: to, own: self.node });
        }
        if !self.links.contains_key(&from) {
            return Err(HelloError::Unknown { found: from });
        }
        Ok(from)
    }

    /// A new connection of a peer takes the place of the old one: the peer would not dial while it believes in that.
    fn link_up(&mut self, peer: NodeId, connection: Connection) {
        if let Some(link) = self.links.get_mut(&peer) {
            link.up(peer, connection);
        }
    }
}

impl Link {
    /// To a peer at `address`, whom this node dials, or waits for.
    fn new(address: SocketAddr, dials: bool, now: Instant) -> Self {
        Self {
            address,
            state: LinkState::Down { redial: dials.then_some(now) },
            pause: PAUSE_MIN,
            outage_told: false,
            messages: VecDeque::new(),
            packer: Packer::new(MESSAGES),
        }
    }

    fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.state {
            LinkState::Down { .. } => None,
            LinkState::Dialling { connection, .. } | LinkState::Up { connection } => Some(connection),
        }
    }

    fn up(&mut self, peer: NodeId, connection: Connection) {
        tracing::info!(%peer, address = %connection.address(), "peer link is up");
        self.messages.clear();
        self.pause = PAUSE_MIN;
        self.outage_told = false;
        self.state = LinkState::Up { connection };
    }

    fn dial(&mut self, hello: Hello, token: Token, registry: &Registry, now: Instant) {
        match Connection::dial(self.address, token, registry) {
            Ok(mut connection) => {
                write_one(HELLO, &hello, &mut connection.outgoing);
                self.state = LinkState::Dialling { connection, give_up: now + HELLO_WAIT };
            }
            Err(error) => self.lost(hello.to, hello.from, &error, now),
        }
    }

    /// The connection is of no use any more: closes it, and plans the next one where it is ours to dial.
    fn lost(&mut self, peer: NodeId, node: NodeId, error: &dyn std::fmt::Display, now: Instant) {
        if self.outage_told {
            tracing::debug!(%peer, address = %self.address, "peer link is still down: {error}");
        } else {
            tracing::warn!(%peer, address = %self.address, "peer link is down: {error}");
            self.outage_told = true;
        }
        self.state = LinkState::Down { redial: (node > peer).then_some(now + self.pause) };
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.messages.clear();
    }

    fn receive(
        &mut self,
        cluster: ClusterId,
        node: NodeId,
        peer: NodeId,
        scratch: &mut [u8],
        messages: &mut Vec<(NodeId, Message)>,
    ) -> Result<(), HelloError> {
        if let LinkState::Dialling { connection, .. } = &mut self.state {
            let Some(hello) = read_hello(connection, scratch)? else { return Ok(()) };
            if hello.cluster != cluster {
                return Err(HelloError::Cluster { found: hello.cluster.get(), own: cluster.get() });
            }
            if hello.from != peer {
                return Err(HelloError::Node { found: hello.from, expected: peer });
            }
            if hello.to != node {
                return Err(HelloError::Address { wanted: hello.to, own: node });
            }
            let down = LinkState::Down { redial: None };
            if let LinkState::Dialling { connection, .. } = std::mem::replace(&mut self.state, down) {
                self.up(peer, connection);
            }
        }
        let LinkState::Up { connection } = &mut self.state else { return Ok(()) };
        let received = connection.receive(scratch);
        while let Some(frame) = connection.next_frame()? {
            if frame.kind != MESSAGES {
                return Err(ConnectionError::Kind { kind: frame.kind }.into());
            }
            let said: Vec<Message> = codec::decode(&frame.body).map_err(ConnectionError::from)?;
            messages.extend(said.into_iter().map(|message| (peer, message)));
        }
        Ok(received?)
    }

    fn flush(&mut self) -> Result<(), ConnectionError> {
        let (messages, packer) = (&mut self.messages, &mut self.packer);
        match &mut self.state {
            LinkState::Down { .. } => Ok(()),
            LinkState::Dialling { connection, .. } => connection.flush(),
            LinkState::Up { connection } => {
                while connection.backlog() + packer.bytes() < OUTGOING_BYTES_MAX {
                    let Some(message) = messages.pop_front() else { break };
                    if !packer.push(&message, &mut connection.outgoing) {
                        tracing::error!("a message longer than any frame was dropped");
                    }
                }
                packer.finish(&mut connection.outgoing);
                connection.flush()
            }
        }
    }
}

/// The hello of a new connection, once it has arrived.
fn read_hello(connection: &mut Connection, scratch: &mut [u8]) -> Result<Option<Hello>, ConnectionError> {
    let received = connection.receive(scratch);
    let Some(frame) = connection.next_frame()? else { return received.map(|()| None) };
    if frame.kind != HELLO {
        return Err(ConnectionError::Kind { kind: frame.kind });
    }
    Ok(Some(codec::decode(&frame.body)?))
}

/// Messages that wait for a clogged link.
const MESSAGES_MAX: usize = 4096;
/// Encoded bytes that wait for a clogged link before messages wait unencoded.
const OUTGOING_BYTES_MAX: usize = 8 << 20;
/// Connections that may be silent at once.
const STRANGERS_MAX: usize = 64;
/// How long a connection may take until its hello.
const HELLO_WAIT: Duration = Duration::from_secs(3);
/// Pause before the first redial, doubled up to the second.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

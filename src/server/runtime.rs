//! One thread owns the node, its sockets and its disk.
//!
//! ```text
//! loop: wait until something is ready or the node's deadline has come
//!       feed everything that is ready through Node::step, carrying effects away
//!       nothing was ready, or too often something: step(Timeout), if it is due
//!       write, once a connection
//! ```
//!
//! A node that has something to flush sets its deadline to "now". As `Timeout` waits until every ready input was fed,
//! one flush and one message carry all that has arrived meanwhile: that is what makes group commit.

use std::collections::BTreeMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chronon_core::engine::{DiskDone, DiskOp, DiskOpId, VirtualDisk};
use chronon_core::kernel::{AttemptDone, ChrApplication};
use chronon_core::node::{Effect, Effects, HaltReason, Input, Message, Node, NodeConfig};
use chronon_core::types::{GroupId, Monotonic, NodeId, Now, Wall};
use mio::net::TcpListener;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};

use super::allowed::Allowed;
use super::backend::Backend;
use super::clients::{Clients, Question};
use super::connection::SCRATCH_BYTES;
use super::disk::DataDirectory;
use super::guard::{self, GUARD};
use super::metrics::{Counted, DriverMetrics};
use super::peers::Peers;
use super::protocol::{Greeting, LookUp, Worked};
use super::status::{StatusCell, StatusReport};
use super::wake::Wake;
use super::webhooks::Webhooks;

/// What a node is run with.
#[derive(Debug)]
pub struct RuntimeConfig {
    /// The node's own configuration.
    pub node: NodeConfig,
    /// What drives its disk.
    pub disk: Backend,
    /// Where the other nodes listen for peers.
    pub peers: BTreeMap<NodeId, SocketAddr>,
    /// Where side effects may be posted.
    pub webhooks: Allowed,
}

/// The sockets that the outside connects to.
#[derive(Debug)]
pub struct Listeners {
    /// For other nodes.
    pub peers: StdListener,
    /// For clients.
    pub requests: StdListener,
}

/// Why a running node came to an end.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The node stopped itself.
    #[error("the node has halted: {0}")]
    Halted(HaltWords),
    /// The operating system failed us.
    #[error("cannot {what}: {cause}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The system's word.
        cause: io::Error,
    },
    /// There is no randomness to be had.
    #[error("the operating system gives no random bytes: {0}")]
    Entropy(getrandom::Error),
}

/// A halt's reason in words for an operator.
#[derive(Debug)]
pub struct HaltWords(pub HaltReason);

impl std::fmt::Display for HaltWords {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.0 {
            HaltReason::Disk { what } => write!(f, "a disk operation failed: {what}"),
            HaltReason::Config { what } => write!(f, "the configuration cannot work: {what}"),
            HaltReason::Storage { what } => write!(f, "the data directory cannot be used: {what}"),
        }
    }
}

/// A node with everything around it.
pub struct Runtime<A: ChrApplication> {
    node: Node<A, Counted>,
    disk: Box<dyn VirtualDisk>,
    poll: Poll,
    peer_listener: TcpListener,
    request_listener: TcpListener,
    peers: Peers,
    clients: Clients,
    webhooks: Webhooks,
    next_token: usize,
    clock: Clock,
    identity: Greeting,
    status: StatusCell,
    /// When what was published is too old; `None` while nothing has changed since.
    status_due: Option<Instant>,
    events: Events,
    /// Rounds in a row that had something to feed.
    feeds: u32,
    effects: Effects,
    scratch: Vec<u8>,
    inbox: Inbox,
    metrics: DriverMetrics,
    /// Barriers that the disk has not completed, and since when it has them.
    barriers: BTreeMap<DiskOpId, Instant>,
}

/// What was read and not yet fed; kept between rounds for its room alone.
#[derive(Default)]
struct Inbox {
    disk: Vec<DiskDone>,
    messages: Vec<(NodeId, Message)>,
    questions: Vec<Question>,
    attempts: Vec<(GroupId, AttemptDone)>,
}

impl<A: ChrApplication> Runtime<A> {
    /// Puts a node of this application together; it does nothing until [`Runtime::run`].
    ///
    /// # Errors
    /// [`RuntimeError`] when the operating system refuses a thread, an event queue or randomness.
    pub fn new(
        application: A,
        config: RuntimeConfig,
        directory: DataDirectory,
        listeners: Listeners,
        status: StatusCell,
        metrics: DriverMetrics,
    ) -> Result<Self, RuntimeError> {
        let io = |what| move |cause| RuntimeError::Io { what, cause };
        let poll = Poll::new().map_err(io("make an event queue"))?;
        let wake = Wake::new().map_err(io("make an event counter"))?;
        let counter = wake.as_raw_fd();
        poll.registry()
            .register(&mut SourceFd(&counter), DISK, Interest::READABLE)
            .map_err(io("watch the disk"))?;
        let patience = Duration::from_nanos(config.node.timeouts.attempt.as_nanos());
        let webhooks = Webhooks::new(config.node.cluster, config.webhooks, patience, wake.clone())
            .map_err(io("start webhooks"))?;
        let disk = config.disk.start(directory, wake).map_err(io("start the disk"))?;
        let peer_listener = listen(listeners.peers, PEER_LISTENER, &poll)?;
        let request_listener = listen(listeners.requests, REQUEST_LISTENER, &poll)?;
        let mut entropy = [0; 32];
        getrandom::fill(&mut entropy).map_err(RuntimeError::Entropy)?;
        let identity = Greeting { cluster: config.node.cluster, node: config.node.node };
        let now = Instant::now();
        Ok(Self {
            node: Node::with_marks(config.node, application, entropy, metrics.marks.clone()).guarded(GUARD),
            disk,
            poll,
            peer_listener,
            request_listener,
            peers: Peers::new(identity.cluster, identity.node, &config.peers, now),
            clients: Clients::new(identity),
            webhooks,
            next_token: FIRST_CONNECTION,
            clock: Clock { origin: now },
            identity,
            status,
            status_due: Some(now),
            events: Events::with_capacity(EVENTS_MAX),
            feeds: 0,
            effects: Effects::new(),
            scratch: vec![0; SCRATCH_BYTES],
            inbox: Inbox::default(),
            metrics,
            barriers: BTreeMap::new(),
        })
    }

    /// Runs the node until it halts or the operating system fails.
    pub fn run(mut self) -> RuntimeError {
        guard::end_the_process_at_others();
        loop {
            if let Err(error) = self.round() {
                self.publish();
                return error;
            }
        }
    }

    /// One round of the loop.
    fn round(&mut self) -> Result<(), RuntimeError> {
        self.wait()?;
        self.feeds = if self.feed()? { self.feeds + 1 } else { 0 };
        if self.timeout_is_due() && (self.feeds == 0 || self.feeds >= FEEDS_MAX) {
            self.feeds = 0;
            self.step(Input::Timeout)?;
        }
        self.disk.kick();
        let now = Instant::now();
        self.peers.flush(now);
        self.clients.flush();
        let token = &mut self.next_token;
        self.peers.tend(self.poll.registry(), &mut || take_token(token), now);
        if self.status_due.is_some_and(|due| due <= now) {
            self.publish();
            self.status_due = None;
        }
        Ok(())
    }

    /// Waits for readiness, or until there is something to do without.
    fn wait(&mut self) -> Result<(), RuntimeError> {
        let patience = self.patience();
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, patience) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(RuntimeError::Io { what: "wait for events", cause }),
        }
        for event in &events {
            match event.token() {
                DISK => {}
                PEER_LISTENER | REQUEST_LISTENER => self.accept(event.token()),
                _ => {
                    if !self.peers.ready(event) {
                        self.clients.ready(event);
                    }
                }
            }
        }
        self.events = events;
        Ok(())
    }

    /// How long nothing needs to be done unless something becomes ready.
    fn patience(&self) -> Option<Duration> {
        if self.peers.is_readable() || self.clients.is_readable() {
            return Some(Duration::ZERO);
        }
        let now = Instant::now();
        let node = self.node.deadline().map(|deadline| self.clock.until(deadline));
        let peers = self.peers.deadline().map(|due| due.saturating_duration_since(now));
        let status = self.status_due.map(|due| due.saturating_duration_since(now));
        [node, peers, status].into_iter().flatten().min()
    }

    fn accept(&mut self, listener: Token) {
        loop {
            let socket = if listener == PEER_LISTENER { &self.peer_listener } else { &self.request_listener };
            let (stream, address) = match socket.accept() {
                Ok(accepted) => accepted,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    return;
                }
            };
            let token = take_token(&mut self.next_token);
            let registry = self.poll.registry();
            if listener == PEER_LISTENER {
                self.peers.accept(stream, address, token, registry, Instant::now());
            } else {
                self.clients.accept(stream, address, token, registry);
            }
        }
    }

    /// Feeds everything that is ready; false when nothing was.
    fn feed(&mut self) -> Result<bool, RuntimeError> {
        let mut inbox = std::mem::take(&mut self.inbox);
        self.disk.poll(&mut inbox.disk);
        self.peers.receive(&mut self.scratch, &mut inbox.messages, Instant::now());
        self.clients.receive(&mut self.scratch, &mut inbox.questions);
        self.webhooks.ended(&mut inbox.attempts);
        let fed = !(inbox.disk.is_empty()
            && inbox.messages.is_empty()
            && inbox.questions.is_empty()
            && inbox.attempts.is_empty());
        // First: whatever else comes may be so late that the node would give up on them.
        for (group, done) in inbox.attempts.drain(..) {
            self.step(Input::SideEffectDone { group, done })?;
        }
        for done in inbox.disk.drain(..) {
            if let Some(since) = self.barriers.remove(&done.id) {
                self.metrics.flushed(since.elapsed());
            }
            self.step(Input::Disk(done))?;
        }
        for (from, message) in inbox.messages.drain(..) {
            self.step(Input::Message { from, message })?;
        }
        for question in inbox.questions.drain(..) {
            match question {
                Question::Request { route, request } => self.step(Input::Client { route, request })?,
                Question::Query { route, query } => self.step(Input::Query { route, query })?,
                Question::LookUp { route, look_up: LookUp { group, sought } } => {
                    self.step(Input::LookUp { route, group, sought })?;
                }
                Question::Order { route, order } => self.step(Input::Order { route, order })?,
                Question::Work { route, work } => self.step(Input::Work { route, work })?,
                Question::Status { route } => {
                    let report = self.report();
                    self.clients.report(route, &report);
                }
            }
        }
        self.inbox = inbox;
        Ok(fed)
    }

    fn timeout_is_due(&self) -> bool {
        self.node.deadline().is_some_and(|deadline| self.clock.until(deadline).is_zero())
    }

    fn step(&mut self, input: Input) -> Result<(), RuntimeError> {
        if self.status_due.is_none() {
            self.status_due = Some(Instant::now() + STATUS_EVERY);
        }
        self.node.step(self.clock.now(), input, &mut self.effects);
        for effect in self.effects.drain(..) {
            match effect {
                Effect::Send { to, message } => self.peers.send(to, message),
                Effect::Disk(op) => {
                    if let DiskOp::Barrier { id } = &op {
                        self.barriers.insert(*id, Instant::now());
                    }
                    self.disk.submit(op);
                }
                Effect::Reply { route, reply } => self.clients.reply(route, &reply),
                Effect::Answer { route, number, answer } => self.clients.answer(route, number, answer),
                Effect::Execute { group, attempt } => self.webhooks.execute(group, attempt),
                Effect::Worked { route, number, answer, .. } => {
                    self.clients.worked(route, &Worked { number, answer });
                }
                Effect::Found { route, found } => self.clients.found(route, &found),
                Effect::Meet { node, address } => self.peers.meet(node, &address, Instant::now()),
                Effect::Halt(reason) => return Err(RuntimeError::Halted(HaltWords(reason))),
            }
        }
        Ok(())
    }

    fn report(&self) -> StatusReport {
        let report = StatusReport::of(self.identity, &self.node, self.peers.linked());
        StatusReport { endpoints: self.status.endpoints(), ..report }
    }

    fn publish(&self) {
        let report = self.report();
        report.tell_changes_since(&self.status.get());
        self.metrics.seen(&report);
        self.status.set(report);
    }
}

/// The driver's clocks.
struct Clock {
    /// Where the monotonic clock begins.
    origin: Instant,
}

impl Clock {
    fn now(&self) -> Now {
        // A wall clock before 1970 reads as 1970: the cluster outvotes it.
        let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            monotonic: Monotonic::from_nanos(nanos(self.origin.elapsed())),
            wall: Wall::from_nanos(nanos(wall)),
        }
    }

    fn until(&self, deadline: Monotonic) -> Duration {
        let now = Monotonic::from_nanos(nanos(self.origin.elapsed()));
        Duration::from_nanos(deadline.since(now).as_nanos())
    }
}

/// Nanoseconds of a span; the end of u64 is 584 years away.
fn nanos(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

fn listen(listener: StdListener, token: Token, poll: &Poll) -> Result<TcpListener, RuntimeError> {
    let io = |what| move |cause| RuntimeError::Io { what, cause };
    listener.set_nonblocking(true).map_err(io("listen"))?;
    let mut listener = TcpListener::from_std(listener);
    poll.registry().register(&mut listener, token, Interest::READABLE).map_err(io("listen"))?;
    Ok(listener)
}

/// Tokens are never used twice: a client's is its route.
fn take_token(next: &mut usize) -> Token {
    let token = Token(*next);
    *next += 1;
    token
}

/// The disk, and attempts that have ended.
const DISK: Token = Token(0);
const PEER_LISTENER: Token = Token(1);
const REQUEST_LISTENER: Token = Token(2);
const FIRST_CONNECTION: usize = 16;

/// Rounds for which a due timeout waits at most: inputs that never cease must not keep the node from flushing.
const FEEDS_MAX: u32 = 8;
/// Events taken from the operating system at once.
const EVENTS_MAX: usize = 256;
/// How old the published status may be.
const STATUS_EVERY: Duration = Duration::from_millis(100);

//! Chronon: three whole nodes behind [`Node::step`]. Commands come from registered clients with ascending numbers; entries are hashed
//! and chained, flushes are laid out block by block for a disk that takes no time, sessions are kept and outcomes are hashed
//! on all three. Messages go as values: who gets one does not verify its hash again, as a value has one that is right.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;
use chronon_core::consensus::{Limits, Timeouts, VsrMessage};
use chronon_core::engine::{DiskDone, DiskOp, DiskOutcome, EngineConfig, FileId, Identity, format};
use chronon_core::kernel::{
    ApplyContext, ChrApplication, Chunk, Command, Cursor, Event, Outcome, QueryContext, Schema,
};
use chronon_core::node::{Answer, Effect, Input, Message, Node, NodeConfig, Reply, Request, Role, Route};
use chronon_core::types::{
    Blob, ClientId, ClusterId, GroupId, GroupInit, Monotonic, NodeId, Now, RequestNumber, SessionId, Wall,
};

use crate::system::{Load, NS_A_COMMAND, System, payload};

/// The least that an application can be: it counts commands.
#[derive(Clone, Copy)]
struct Tally;

impl ChrApplication for Tally {
    const SCHEMA: Schema = Schema(1);
    type State = u64;
    type QueryRequest = ();
    type QueryResponse = u64;
    type Error = ();

    fn genesis(&self, _group: &GroupInit) -> u64 {
        0
    }

    fn apply(&self, state: &mut u64, _event: Event<'_>, _ctx: &mut ApplyContext<'_>) -> Result<Bytes, ()> {
        *state += 1;
        Ok(Bytes::new())
    }

    fn query(&self, state: &u64, _request: (), _ctx: &mut QueryContext) -> u64 {
        *state
    }

    fn snapshot(&self, state: &u64, _from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        out.extend_from_slice(&state.to_le_bytes());
        None
    }

    fn restore(&self, state: &mut u64, _from: Schema, chunk: &[u8]) -> Result<(), ()> {
        *state = u64::from_le_bytes(chunk.try_into().map_err(|_| ())?);
        Ok(())
    }
}

/// Three nodes, and a client for each command of a window.
pub struct Chronon {
    load: Load,
    nodes: Vec<Node<Tally>>,
    disks: Vec<InstantDisk>,
    inboxes: Vec<VecDeque<Input>>,
    now_ns: u64,
    primary: usize,
    clients: Vec<Client>,
    replies: Vec<Reply>,
    effects: Vec<Effect>,
    sent: u64,
    messages: u64,
    /// What is looked at beside the clock; nothing while only that counts.
    probe: Option<Probe>,
}

struct Client {
    id: ClientId,
    session: SessionId,
    number: RequestNumber,
}

/// What becomes of a command, and what that takes.
#[derive(Clone, Debug, Default)]
pub struct Probe {
    /// Nanoseconds of steps, and steps, by what they were about.
    pub steps: BTreeMap<&'static str, (u64, u64)>,
    /// Steps that took longer than [`STEP_NS_MAX`] are left out of these.
    pub left_out: u64,
    /// Bytes of each piece that was hashed: an entry's payload and header once, the head of each flush, and the outcomes of an
    /// entry on each node.
    pub hashed: Vec<usize>,
    digest_bytes: usize,
    /// Bytes of the body of each flush, of which a checksum is taken.
    pub checked: Vec<usize>,
    /// Operations on disks.
    pub disk_ops: u64,
    /// Bytes of flushes.
    pub flushed_bytes: u64,
}

impl Chronon {
    /// A cluster that has a primary, and whose clients are registered.
    pub fn new(load: Load) -> Self {
        let voters: Vec<NodeId> = (1..=3).map(NodeId::new).collect();
        let mut cluster = Self {
            load,
            nodes: Vec::new(),
            disks: Vec::new(),
            inboxes: Vec::new(),
            now_ns: 0,
            primary: 0,
            clients: Vec::new(),
            replies: Vec::new(),
            effects: Vec::new(),
            sent: 0,
            messages: 0,
            probe: None,
        };
        for (seed, node) in (1..).zip(&voters) {
            let (config, identity) = (node_config(*node, load), identity(*node, &voters));
            let mut disk = InstantDisk::default();
            for op in format(&identity).expect("the identity is right") {
                disk.run(op);
            }
            cluster.nodes.push(Node::new(config, Tally, [seed; 32]));
            cluster.disks.push(disk);
            cluster.inboxes.push(VecDeque::new());
        }
        cluster.primary = cluster.elect();
        cluster.register();
        cluster
    }

    /// Looks closely from here on.
    pub fn look(&mut self) {
        let digest_bytes = DIGEST_BYTES + self.load.batch * DIGEST_COMMAND_BYTES;
        self.probe = Some(Probe { digest_bytes, ..Probe::default() });
    }

    /// What was seen.
    pub fn seen(&mut self) -> Probe {
        self.probe.take().unwrap_or_default()
    }

    fn elect(&mut self) -> usize {
        for _ in 0..START_MS_MAX {
            self.now_ns += 1_000_000;
            self.run();
            let leads = |node: &Node<Tally>| {
                node.group_status(GROUP).is_some_and(|status| status.role == Role::Primary)
            };
            if let Some(primary) = self.nodes.iter().position(leads) {
                return primary;
            }
        }
        panic!("no primary after {START_MS_MAX} ms");
    }

    fn register(&mut self) {
        // Ids that are far from each other, as random ones are.
        let ids = (1..=self.load.window as u128).map(|index| ClientId::new(index << 64 | index));
        let ids: Vec<ClientId> = ids.collect();
        for id in &ids {
            self.ask(Command::register(*id));
        }
        self.run();
        for (id, reply) in ids.into_iter().zip(std::mem::take(&mut self.replies)) {
            let Answer::Committed { outcome: Outcome::Registered { session }, .. } = reply.answer else {
                panic!("not registered: {reply}");
            };
            assert_eq!(reply.client, id, "replies come in the order of the log");
            self.clients.push(Client { id, session, number: RequestNumber::default() });
        }
        assert_eq!(self.clients.len(), self.load.window, "every registration is answered");
    }

    fn ask(&mut self, command: Command) {
        self.sent += 1;
        let (route, request) = (Route(self.sent), Request { group: GROUP, command });
        self.inboxes[self.primary].push_back(Input::Client { route, request });
    }

    fn now(&self) -> Now {
        let wall = Wall::from_nanos(EPOCH_NS + self.now_ns);
        Now { monotonic: Monotonic::from_nanos(self.now_ns), wall }
    }

    /// Lets inputs go round until there are none and nothing is due.
    fn run(&mut self) {
        while (0..3).map(|index| self.burst(index)).fold(false, |any, busy| any | busy) {}
    }

    /// Gives a node every input that it has got, and then a due timeout, as the server does, until it has nothing more to do;
    /// whether there was anything.
    fn burst(&mut self, index: usize) -> bool {
        let mut busy = false;
        loop {
            while let Some(input) = self.inboxes[index].pop_front() {
                self.step(index, input);
                busy = true;
            }
            if self.nodes[index].deadline().is_none_or(|at| at.as_nanos() > self.now_ns) {
                return busy;
            }
            self.step(index, Input::Timeout);
            busy = true;
        }
    }

    fn step(&mut self, index: usize, input: Input) {
        let (now, mut effects) = (self.now(), std::mem::take(&mut self.effects));
        match &mut self.probe {
            None => self.nodes[index].step(now, input, &mut effects),
            Some(probe) => {
                let about = about(index == self.primary, &input);
                let began = Instant::now();
                self.nodes[index].step(now, input, &mut effects);
                let took = began.elapsed().as_nanos() as u64;
                probe.took(about, took);
                probe.look_at(&effects);
            }
        }
        for effect in effects.drain(..) {
            self.take_effect(index, effect);
        }
        self.effects = effects;
    }

    fn take_effect(&mut self, index: usize, effect: Effect) {
        match effect {
            Effect::Send { to, message } => {
                self.messages += 1;
                let from = NodeId::new(index as u64 + 1);
                self.inboxes[to.get() as usize - 1].push_back(Input::Message { from, message });
            }
            Effect::Disk(op) => {
                let done = self.disks[index].run(op);
                self.inboxes[index].push_back(Input::Disk(done));
            }
            Effect::Reply { reply, .. } => self.replies.push(reply),
            Effect::Answer { .. }
            | Effect::Execute { .. }
            | Effect::Worked { .. }
            | Effect::Found { .. }
            | Effect::Meet { .. } => {
                panic!("nobody asked for {effect}")
            }
            Effect::Halt(reason) => panic!("node {} halted: {reason}", index + 1),
        }
    }
}

impl System for Chronon {
    fn round(&mut self) -> usize {
        self.now_ns += self.load.window as u64 * NS_A_COMMAND;
        for index in 0..self.clients.len() {
            let body = Blob::from(payload(self.sent));
            let client = &mut self.clients[index];
            client.number = client.number.next();
            let Client { id, session, number } = *client;
            self.ask(Command { client: id, session, number, body });
        }
        self.run();
        let answered = self.replies.len();
        for (client, reply) in self.clients.iter().zip(self.replies.drain(..)) {
            let done = matches!(reply.answer, Answer::Committed { outcome: Outcome::Done(_), .. });
            assert!(
                done && (reply.client, reply.number) == (client.id, client.number),
                "not the outcome: {reply}"
            );
        }
        answered
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}

impl Probe {
    fn took(&mut self, about: &'static str, ns: u64) {
        if ns > STEP_NS_MAX {
            self.left_out += 1;
            return;
        }
        let about = self.steps.entry(about).or_default();
        (about.0, about.1) = (about.0 + ns, about.1 + 1);
    }

    fn look_at(&mut self, effects: &[Effect]) {
        for effect in effects {
            match effect {
                Effect::Disk(op) => {
                    self.disk_ops += 1;
                    self.look_at_write(op);
                }
                Effect::Send {
                    to,
                    message: Message::Group { body: VsrMessage::Prepare { entry, .. }, .. },
                } => {
                    self.hashed.push(self.digest_bytes);
                    // Two backups get what was hashed once.
                    if to.get() == 3 {
                        self.hashed.extend([
                            entry.payload().len(),
                            ENTRY_HEADER_HASHED_BYTES,
                            self.digest_bytes,
                        ]);
                    }
                }
                _ => {}
            }
        }
    }

    /// Lengths as the head of a flush tells them (`engine/flush.rs`).
    fn look_at_write(&mut self, op: &DiskOp) {
        let DiskOp::Write { file: FileId::Segment(_), data, .. } = op else { return };
        let bytes = data.as_slice();
        let field =
            |at: usize| bytes[at..].first_chunk().map_or(0, |field| u32::from_le_bytes(*field) as usize);
        if bytes.starts_with(b"CHRNFLSH") {
            self.flushed_bytes += bytes.len() as u64;
            self.hashed.push(field(108) - FLUSH_HASHED_FROM);
            self.checked.push(field(112));
        }
    }
}

/// What a step was about, as the table names it.
fn about(is_primary: bool, input: &Input) -> &'static str {
    match (is_primary, input) {
        (true, Input::Client { .. }) => "primary: a request comes",
        (true, Input::Timeout) => "primary: an entry is made and laid out for the disk",
        (true, Input::Disk(_)) => "primary: the disk is done",
        (true, _) => "primary: a backup holds it; commit, apply, reply",
        (false, Input::Timeout) => "backups: what came is laid out for the disk",
        (false, Input::Disk(_)) => "backups: the disk is done, acknowledge",
        (false, _) => "backups: an entry comes; apply the one before",
    }
}

/// A disk that takes no time: it keeps what is read back, and of the journal nothing.
#[derive(Default)]
struct InstantDisk(BTreeMap<FileId, Vec<u8>>);

impl InstantDisk {
    fn run(&mut self, op: DiskOp) -> DiskDone {
        let id = op.id();
        let outcome = match op {
            DiskOp::Barrier { .. }
            | DiskOp::Allocate { file: FileId::Segment(_) | FileId::Reserve, .. }
            | DiskOp::Write { file: FileId::Segment(_), .. } => DiskOutcome::Done,
            DiskOp::Allocate { file, bytes, .. } => {
                self.0.insert(file, vec![0; bytes as usize]);
                DiskOutcome::Done
            }
            DiskOp::Put { file, data, .. } => {
                self.0.insert(file, data.as_slice().to_vec());
                DiskOutcome::Done
            }
            DiskOp::Write { file, offset, data, .. } => match self.0.get_mut(&file) {
                Some(held) => {
                    held[offset as usize..][..data.as_slice().len()].copy_from_slice(data.as_slice());
                    DiskOutcome::Done
                }
                None => DiskOutcome::Missing,
            },
            DiskOp::Read { file: file @ FileId::Segment(_), .. } => panic!("{file} is not kept"),
            DiskOp::Read { file, offset, bytes, .. } => match self.0.get(&file) {
                Some(held) => {
                    DiskOutcome::Read(Blob::from(held[offset as usize..][..bytes as usize].to_vec()))
                }
                None => DiskOutcome::Missing,
            },
        };
        DiskDone { id, outcome }
    }
}

fn node_config(node: NodeId, load: Load) -> NodeConfig {
    NodeConfig {
        cluster: CLUSTER,
        node,
        // What is not kept cannot be read back: no scrub.
        engine: EngineConfig { scrub_bytes_per_second: 0, ..EngineConfig::default() },
        limits: Limits { batch_commands_max: load.batch as u32, ..Limits::default() },
        timeouts: Timeouts::default(),
    }
}

fn identity(node: NodeId, voters: &[NodeId]) -> Identity {
    let (kind, voters) = ("tally".to_owned(), voters.to_vec());
    let init = GroupInit { cluster: CLUSTER, group: GROUP, kind, voters, sessions_max: 1024, archive: None };
    Identity { cluster: CLUSTER, node, groups: vec![init] }
}

/// In a step that took longer the thread was most likely interrupted. Few are longer by themselves: those that cut the log.
pub const STEP_NS_MAX: u64 = 100_000;
const CLUSTER: ClusterId = ClusterId::new(7);
const GROUP: GroupId = GroupId::new(0);
const EPOCH_NS: u64 = 1_700_000_000_000_000_000;
const START_MS_MAX: u32 = 10_000;
/// Of the 176 bytes of an entry's header, what its hash covers (`types/entry.rs`).
const ENTRY_HEADER_HASHED_BYTES: usize = 144;
/// What a digest covers, beside the commands of its entry, and for each of these while answers are empty (`kernel/executor.rs`).
const DIGEST_BYTES: usize = 40;
const DIGEST_COMMAND_BYTES: usize = 33;
/// Where what a flush's hash covers begins (`engine/flush.rs`).
const FLUSH_HASHED_FROM: usize = 48;

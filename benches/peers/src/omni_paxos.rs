//! OmniPaxos: its sequence Paxos on its memory storage. It hashes nothing, keeps no sessions, applies nothing, and its log is a
//! vector of values: nothing is laid out for a disk.

use bytes::Bytes;
use omnipaxos::messages::Message;
use omnipaxos::storage::{Entry, NoSnapshot};
use omnipaxos::{ClusterConfig, OmniPaxos, OmniPaxosConfig, ServerConfig};
use omnipaxos_storage::memory_storage::MemoryStorage;

use crate::system::{Load, NS_A_COMMAND, System, payload};

/// A command, shared: a copy for each follower costs a count.
#[derive(Clone, Debug)]
struct Payload(#[expect(dead_code, reason = "nobody applies it")] Bytes);

impl Entry for Payload {
    type Snapshot = NoSnapshot;
}

/// Three nodes, of which the first leads.
pub struct OmniPaxosCluster {
    load: Load,
    nodes: Vec<OmniPaxos<Payload, MemoryStorage<Payload>>>,
    inboxes: Vec<Vec<Message<Payload>>>,
    outgoing: Vec<Message<Payload>>,
    proposed: u64,
    messages: u64,
    since_tick: u64,
    since_trim: usize,
}

impl OmniPaxosCluster {
    /// A cluster that has elected its leader.
    pub fn new(load: Load) -> Self {
        let nodes = (1..=3).map(|pid| {
            let cluster_config =
                ClusterConfig { configuration_id: 1, nodes: vec![1, 2, 3], flexible_quorum: None };
            let server_config = ServerConfig { pid, batch_size: load.batch, ..ServerConfig::default() };
            let config = OmniPaxosConfig { cluster_config, server_config };
            config.build(MemoryStorage::default()).expect("the configuration is valid")
        });
        let mut cluster = Self {
            load,
            nodes: nodes.collect(),
            inboxes: vec![Vec::new(), Vec::new(), Vec::new()],
            outgoing: Vec::new(),
            proposed: 0,
            messages: 0,
            since_tick: 0,
            since_trim: 0,
        };
        for _ in 0..ELECTION_TICKS {
            cluster.nodes.iter_mut().for_each(OmniPaxos::tick);
            cluster.run();
        }
        cluster.nodes[0].try_become_leader();
        cluster.run();
        assert_eq!(cluster.nodes[0].get_current_leader(), Some((1, true)), "the first was asked to lead");
        cluster
    }

    /// Lets messages go round until there are none.
    fn run(&mut self) {
        while (0..3).map(|index| self.burst(index)).fold(false, |any, busy| any | busy) {}
    }

    /// Gives a node every message that it has got, then sends what it has to say; whether there was anything.
    fn burst(&mut self, index: usize) -> bool {
        let node = &mut self.nodes[index];
        self.inboxes[index].drain(..).for_each(|message| node.handle_incoming(message));
        node.take_outgoing_messages(&mut self.outgoing);
        let busy = !self.outgoing.is_empty();
        self.messages += self.outgoing.len() as u64;
        for message in self.outgoing.drain(..) {
            self.inboxes[message.get_receiver() as usize - 1].push(message);
        }
        busy
    }

    fn tick(&mut self) {
        self.since_tick += self.load.window as u64 * NS_A_COMMAND;
        if self.since_tick >= NS_A_TICK {
            self.since_tick -= NS_A_TICK;
            self.nodes.iter_mut().for_each(OmniPaxos::tick);
        }
    }

    /// Forgets what all have decided, now and then.
    fn trim(&mut self) {
        self.since_trim += self.load.window;
        if self.since_trim >= COMMANDS_KEPT {
            self.since_trim = 0;
            self.nodes[0].trim(None).expect("all have accepted it");
            self.run();
        }
    }
}

impl System for OmniPaxosCluster {
    fn round(&mut self) -> usize {
        let before = self.nodes[0].get_decided_idx();
        self.tick();
        for _ in 0..self.load.window {
            self.proposed += 1;
            let entry = Payload(Bytes::from(payload(self.proposed)));
            self.nodes[0].append(entry).expect("a leader takes proposals");
        }
        self.run();
        self.trim();
        self.nodes[0].get_decided_idx() - before
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}

/// A tick is an election timeout.
const NS_A_TICK: u64 = 100_000_000;
const ELECTION_TICKS: u32 = 20;
const COMMANDS_KEPT: usize = 16_384;

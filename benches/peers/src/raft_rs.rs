//! raft-rs: [`RawNode`] on [`MemStorage`], driven as its own example does. It hashes nothing, keeps no sessions, and its log is a
//! vector of values: nothing is laid out for a disk.

use std::mem::take;

use raft::eraftpb::{ConfState, Entry, Message};
use raft::storage::MemStorage;
use raft::{Config, RawNode, StateRole};
use slog::{Discard, Logger, o};

use crate::system::{Load, NS_A_COMMAND, System, payload};

/// How raft-rs is used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Use {
    /// As its defaults have it: a proposal a command, a message a proposal.
    Default,
    /// With its `batch_append`, and `skip_bcast_commit`: followers hear of a commit with the next entries, as ours do.
    Tuned,
    /// Tuned, and all commands of a batch are the bytes of one entry, as in ours.
    OneEntry,
}

/// Three nodes, of which the first leads.
pub struct RaftRs {
    load: Load,
    how: Use,
    nodes: Vec<RawNode<MemStorage>>,
    inboxes: Vec<Vec<Message>>,
    /// Commands in entries that were committed and handed to the leader's application.
    answered: usize,
    proposed: u64,
    messages: u64,
    since_tick: u64,
    since_compaction: usize,
}

impl RaftRs {
    /// A cluster that has elected its leader.
    pub fn new(load: Load, how: Use) -> Self {
        let logger = Logger::root(Discard, o!());
        let nodes = (1..=3).map(|id| {
            let tuned = how != Use::Default;
            let config = Config {
                id,
                max_size_per_msg: 1 << 20,
                batch_append: tuned,
                skip_bcast_commit: tuned,
                ..Config::default()
            };
            let storage = MemStorage::new_with_conf_state(ConfState::from((vec![1, 2, 3], vec![])));
            RawNode::new(&config, storage, &logger).expect("the configuration is valid")
        });
        let mut cluster = Self {
            load,
            how,
            nodes: nodes.collect(),
            inboxes: vec![Vec::new(); 3],
            answered: 0,
            proposed: 0,
            messages: 0,
            since_tick: 0,
            since_compaction: 0,
        };
        cluster.nodes[0].campaign().expect("a follower may campaign");
        cluster.run();
        assert!(cluster.nodes[0].raft.state == StateRole::Leader, "the first campaign wins");
        cluster
    }

    /// Lets messages go round until there are none.
    fn run(&mut self) {
        while (0..3).map(|index| self.burst(index)).fold(false, |any, busy| any | busy) {}
    }

    /// Gives a node every message that it has got, then sees to what it has ready; whether there was anything.
    fn burst(&mut self, index: usize) -> bool {
        let messages = take(&mut self.inboxes[index]);
        let mut busy = !messages.is_empty();
        for message in messages {
            self.nodes[index].step(message).expect("a peer's message");
        }
        while self.nodes[index].has_ready() {
            self.see_to_ready(index);
            busy = true;
        }
        busy
    }

    fn see_to_ready(&mut self, index: usize) {
        let mut ready = self.nodes[index].ready();
        self.send(ready.take_messages());
        self.apply(index, &ready.take_committed_entries());
        {
            let mut storage = self.nodes[index].raft.raft_log.store.wl();
            storage.append(ready.entries()).expect("entries follow the log");
            if let Some(state) = ready.hs() {
                storage.set_hardstate(state.clone());
            }
        }
        self.send(ready.take_persisted_messages());
        let mut light = self.nodes[index].advance(ready);
        if let Some(commit) = light.commit_index() {
            self.nodes[index].raft.raft_log.store.wl().mut_hard_state().set_commit(commit);
        }
        self.send(light.take_messages());
        self.apply(index, &light.take_committed_entries());
        self.nodes[index].advance_apply();
    }

    fn send(&mut self, messages: Vec<Message>) {
        self.messages += messages.len() as u64;
        for message in messages {
            let to = message.to as usize - 1;
            self.inboxes[to].push(message);
        }
    }

    fn apply(&mut self, index: usize, entries: &[Entry]) {
        if index == 0 {
            let commands = if self.how == Use::OneEntry { self.load.batch } else { 1 };
            // A leader's first entry holds nothing.
            self.answered += entries.iter().filter(|entry| !entry.data.is_empty()).count() * commands;
        }
    }

    fn propose(&mut self) {
        let mut next = || {
            self.proposed += 1;
            payload(self.proposed)
        };
        if self.how == Use::OneEntry {
            for _ in 0..self.load.window / self.load.batch {
                let data = (0..self.load.batch).flat_map(|_| next()).collect();
                self.nodes[0].propose(Vec::new(), data).expect("a leader takes proposals");
            }
        } else {
            for _ in 0..self.load.window {
                let data = next();
                self.nodes[0].propose(Vec::new(), data).expect("a leader takes proposals");
            }
        }
    }

    fn tick(&mut self) {
        self.since_tick += self.load.window as u64 * NS_A_COMMAND;
        if self.since_tick >= NS_A_TICK {
            self.since_tick -= NS_A_TICK;
            self.nodes.iter_mut().for_each(|node| {
                node.tick();
            });
        }
    }

    /// Forgets what all have applied, now and then.
    fn compact(&mut self) {
        self.since_compaction += self.load.window;
        if self.since_compaction >= COMMANDS_KEPT {
            self.since_compaction = 0;
            for node in &self.nodes {
                let applied = node.raft.raft_log.applied;
                node.raft.raft_log.store.wl().compact(applied).expect("it is in the log");
            }
        }
    }
}

impl System for RaftRs {
    fn round(&mut self) -> usize {
        let before = self.answered;
        self.tick();
        self.propose();
        self.run();
        self.compact();
        self.answered - before
    }

    fn messages(&self) -> u64 {
        self.messages
    }
}

/// Two of them are a heartbeat's span.
const NS_A_TICK: u64 = 50_000_000;
const COMMANDS_KEPT: usize = 16_384;

//! Peer nonsense is discarded: whatever well-formed messages a peer sends, and in whatever order, a node goes on.

use alloc::collections::VecDeque;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use proptest::prelude::*;

use super::tests_notation::messages;
use super::{
    ChunkGone, Effect, Heartbeat, Input, Life, Limits, Message, Node, NodeConfig, Phase, RequestChunk,
    RequestSnapshot, Timeouts,
};
use crate::builtin::Builtin;
use crate::consensus::VsrMessage;
use crate::engine::perfect_disk::PerfectDisk;
use crate::engine::{ChunkPiece, DiskDone, DiskOp, EngineConfig, Identity, SnapshotChunk, Witnessed, format};
use crate::types::{
    Archiving, BootId, ClusterId, GroupId, GroupInit, Incarnation, Monotonic, NodeId, Now, Wall,
};

const CLUSTER: ClusterId = ClusterId::new(7);
const GROUP: GroupId = GroupId::new(0);

/// One of three voters, alone with a perfect disk.
struct Alone {
    node: Node<Builtin>,
    ms: u64,
    disk: PerfectDisk,
    done: VecDeque<DiskDone>,
    /// As its last beat says.
    boot: BootId,
}

impl Alone {
    fn new(me: u64) -> Self {
        let voters = [1, 2, 3].map(NodeId::new).to_vec();
        let kind = String::from("register");
        let init = GroupInit {
            cluster: CLUSTER,
            group: GROUP,
            kind,
            voters,
            sessions_max: 2,
            archive: Some(Archiving { chunk_bytes: 1 << 10, chunks_max: 3 }),
        };
        let node = NodeId::new(me);
        let config = NodeConfig {
            cluster: CLUSTER,
            node,
            engine: EngineConfig {
                segment_bytes: 64 << 10,
                flush_bytes_max: 16 << 10,
                ..EngineConfig::default()
            },
            limits: Limits { batch_bytes_max: 8 << 10, command_bytes_max: 4 << 10, ..Limits::default() },
            timeouts: Timeouts::default(),
        };
        let (disk, done) = (PerfectDisk::default(), VecDeque::new());
        let mut alone =
            Self { node: Node::new(config, Builtin, [9; 32]), ms: 0, disk, done, boot: BootId::default() };
        for op in
            format(&Identity { cluster: CLUSTER, node, groups: vec![init] }).expect("the identity is right")
        {
            alone.disk(op);
        }
        alone.done.clear();
        while alone.node.status().phase == Phase::Recovering {
            alone.step(Input::Timeout);
            alone.settle();
        }
        alone.introduce(NodeId::new(me % 3 + 1));
        let takes_part =
            |life: &Life<Builtin>| matches!(life, Life::Running(on) if !on.groups[0].is_arriving());
        assert!(takes_part(&alone.node.life), "the node was introduced");
        alone
    }

    /// A peer takes note of the node.
    fn introduce(&mut self, peer: NodeId) {
        let boot = |nonce| BootId { incarnation: Incarnation::new(1), nonce };
        let mut beat = Heartbeat {
            boot: boot(1),
            sequence: 1,
            heard_boot: BootId::default(),
            heard_sequence: 0,
            witnessed: Witnessed::default(),
            flush: 0,
            full: false,
            schema: crate::kernel::Schema::FIRST,
            clock: Default::default(),
            groups: Vec::new(),
        };
        self.step(Input::Message { from: peer, message: Message::Heartbeat(beat.clone()) });
        self.settle();
        beat.sequence = 2;
        beat.witnessed.boot = self.boot;
        self.step(Input::Message { from: peer, message: Message::Heartbeat(beat) });
        self.settle();
    }

    fn step(&mut self, input: Input) {
        let now = Now {
            monotonic: Monotonic::from_nanos(self.ms * 1_000_000),
            wall: Wall::from_nanos(1_000_000_000 + self.ms * 1_000_000),
        };
        let mut effects = Vec::new();
        self.node.step(now, input, &mut effects);
        for effect in effects {
            match effect {
                Effect::Disk(op) => self.disk(op),
                Effect::Halt(reason) => panic!("nothing a peer says halts a node: {reason}"),
                Effect::Send { message: Message::Heartbeat(beat), .. } => self.boot = beat.boot,
                Effect::Send { .. }
                | Effect::Reply { .. }
                | Effect::Answer { .. }
                | Effect::Execute { .. }
                | Effect::Worked { .. }
                | Effect::Found { .. }
                | Effect::Meet { .. } => {}
            }
        }
    }

    /// Lets the disk finish what it has.
    fn settle(&mut self) {
        while let Some(done) = self.done.pop_front() {
            self.step(Input::Disk(done));
        }
    }

    fn disk(&mut self, op: DiskOp) {
        self.done.push_back(self.disk.run(op));
    }
}

/// The message, if it is of a group, of the one that the node has; with one entry at most, since two at one op would
/// contradict each other.
fn addressed(message: Message) -> Message {
    match message {
        Message::Group { mut body, .. } => {
            if let VsrMessage::Entries { entries, .. } = &mut body {
                entries.truncate(1);
            }
            Message::Group { group: GROUP, body }
        }
        Message::Heartbeat(mut beat) => {
            for group in &mut beat.groups {
                group.group = GROUP;
            }
            Message::Heartbeat(beat)
        }
        Message::RequestSnapshot(ask) => Message::RequestSnapshot(RequestSnapshot { group: GROUP, ..ask }),
        Message::SnapshotChunk(chunk) => Message::SnapshotChunk(SnapshotChunk { group: GROUP, ..chunk }),
        Message::RequestChunk(ask) => Message::RequestChunk(RequestChunk { group: GROUP, ..ask }),
        Message::ChunkPiece(piece) => Message::ChunkPiece(ChunkPiece { group: GROUP, ..piece }),
        Message::ChunkGone(gone) => Message::ChunkGone(ChunkGone { group: GROUP, ..gone }),
    }
}

proptest! {
    /// One message alone: two may contradict each other about what is committed, and that halts a node.
    #[test]
    fn a_node_goes_on_whatever_a_peer_says(me in 1..4_u64, from in 0..5_u64, message in messages()) {
        let mut alone = Alone::new(me);
        alone.step(Input::Message { from: NodeId::new(from), message: addressed(message) });
        for _ in 0..20 {
            alone.ms += 200;
            alone.step(Input::Timeout);
            alone.settle();
        }
        prop_assert_eq!(alone.node.status().phase, Phase::Running);
    }
}

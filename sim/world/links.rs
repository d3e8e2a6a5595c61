//! The links' side of the world: messages between nodes, and what the network does to whatever is sent.

use bytes::Bytes;
use chronon_core::kernel::ChrApplication;
use chronon_core::node::{Input, Message};
use chronon_core::types::NodeId;

use super::{Item, Packet, World};
use crate::net::{Endpoint, Fate, Subject};
use crate::oracle::Violation;
use crate::workload::Workload;

impl<A: ChrApplication, W: Workload<A>> World<A, W> {
    /// A node sends a message to another.
    pub(super) fn send(&mut self, from: usize, to: NodeId, message: Message) {
        let Some(to_index) = self.nodes.iter().position(|&node| node == to) else {
            let what = format!("a message goes to node {to}, which does not exist");
            self.judges.report(Violation::new("Addressed", what).at(self.nodes[from]));
            return;
        };
        self.tally.messages += 1;
        let ends = (Endpoint::Node(self.nodes[from]), Endpoint::Node(to));
        let in_bytes = self.config.bytes_on_the_wire;
        self.carry(ends, Subject::of_message(&message), || {
            let packet = if in_bytes {
                Packet::Bytes(Bytes::from(chronon_core::codec::encode(&message)))
            } else {
                Packet::Value(Box::new(message))
            };
            Item::Message { from, to: to_index, packet }
        });
    }

    /// Leaves `item` to the network: it arrives once, twice, with something older, or not at all.
    pub(super) fn carry(
        &mut self,
        (from, to): (Endpoint, Endpoint),
        subject: Subject,
        item: impl FnOnce() -> Item,
    ) {
        let Fate { arrivals: [first, second], sending } = self.net.fate(self.now, from, to, subject);
        if first.is_none() && !self.echoes.remembers(from, to) {
            return;
        }
        let item = item();
        let older = self.echoes.sent(from, to, subject.kind, sending, &item);
        let Some(first) = first else { return };
        if let Some(older) = older {
            self.agenda.put(first, older);
        }
        if let Some(second) = second {
            self.agenda.put(second, item.clone());
        }
        self.agenda.put(first, item);
    }

    /// A message reaches the end of its link, unless that was cut since.
    pub(super) fn message_arrives(&mut self, from: usize, to: usize, packet: Packet) {
        let (from, receiver) = (self.nodes[from], self.nodes[to]);
        if self.net.is_cut(Endpoint::Node(from), Endpoint::Node(receiver)) {
            return;
        }
        let message = match packet {
            Packet::Value(message) => *message,
            Packet::Bytes(bytes) => match chronon_core::codec::decode(&bytes) {
                Ok(message) => message,
                Err(error) => {
                    let what = format!("a message does not survive its own encoding: {error}");
                    self.judges.report(Violation::new("Codec", what).at(from));
                    return;
                }
            },
        };
        self.step_node(to, Input::Message { from, message });
    }
}

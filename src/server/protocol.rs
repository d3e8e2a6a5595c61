//! What goes over the sockets: frames of `chronon_core::codec::frame`, whose bodies are these.
//!
//! ```text
//! a peer link (port 9200), one a pair; the node with the higher id dials
//!   dialler  -- HELLO --------------->  acceptor
//!   dialler  <-------------- HELLO ---  acceptor      (also when it refuses, so that both logs tell why)
//!            <== MESSAGES, many a frame ==>
//!
//! native requests (port 9100)
//!   client   <----------- GREETING ---  node          (at once: which node of which cluster this is)
//!   client   -- REQUESTS, many a frame ->
//!   client   <- REPLIES, many a frame --              (in any order; client and number tell which)
//!   client   -- STATUS_QUESTION ------>
//!   client   <------- STATUS_ANSWER ---
//!   client   -- QUERIES, many a frame ->
//!   client   <- ANSWERS, many a frame --              (in any order; the number tells which)
//!   client   -- LOOK_UP ------------->
//!   client   <--------------- FOUND ---
//!   operator -- ORDER --------------->
//!   operator <------------- REPLIES ---               (one reply, to client 0)
//!   worker   -- WORK ---------------->
//!   worker   <-------------- WORKED ---               (in any order; the number tells which)
//! ```
//!
//! The protocol version is in the header of every frame, so there is none in the bodies.

use chronon_core::codec::frame::write_frame;
use chronon_core::codec::wire::{DecodeDerive, Encode, EncodeDerive};
use chronon_core::codec::{self, BODY_BYTES_MAX};
use chronon_core::engine::Sought;
use chronon_core::node::{QueryAnswer, WorkAnswer};
use chronon_core::types::{ClusterId, GroupId, NodeId};

/// [`Hello`], both ways on a new peer link.
pub const HELLO: u16 = 1;
/// Many `Message`s between peers.
pub const MESSAGES: u16 = 2;
/// [`Greeting`], from a node to whoever connected to its port for requests.
pub const GREETING: u16 = 3;
/// Many `Request`s of clients.
pub const REQUESTS: u16 = 4;
/// Many `Reply`s to a client.
pub const REPLIES: u16 = 5;
/// No body: how is the node?
pub const STATUS_QUESTION: u16 = 6;
/// [`super::status::StatusReport`].
pub const STATUS_ANSWER: u16 = 7;

/// [`LookUp`]: one at a time a connection.
pub const LOOK_UP: u16 = 8;
/// [`chronon_core::engine::Found`].
pub const FOUND: u16 = 9;

/// Many [`chronon_core::node::Query`]s of clients.
pub const QUERIES: u16 = 10;
/// Many [`Answered`]s to a client.
pub const ANSWERS: u16 = 11;

/// [`chronon_core::node::Order`]: one at a time a connection.
pub const ORDER: u16 = 12;

/// [`chronon_core::node::Work`]: one a frame.
pub const WORK: u16 = 13;
/// [`Worked`]: one a frame.
pub const WORKED: u16 = 14;

/// The answer to a worker.
#[derive(Clone, Debug, Eq, PartialEq, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct Worked {
    /// As it was asked.
    pub number: u64,
    /// The answer.
    pub answer: WorkAnswer,
}

/// The answer to a query.
#[derive(Clone, Debug, Eq, PartialEq, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct Answered {
    /// As it was asked.
    pub number: u64,
    /// The answer.
    pub answer: QueryAnswer,
}

/// A question for entries of a group's log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct LookUp {
    /// Whose log.
    pub group: GroupId,
    /// Which entry, and how many more.
    pub sought: Sought,
}

/// Who is at this end of a peer link, and whom it believes to talk to.
#[derive(Clone, Copy, Debug, Eq, PartialEq, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct Hello {
    /// The sender's cluster.
    pub cluster: ClusterId,
    /// The sender.
    pub from: NodeId,
    /// The node it wants to talk to.
    pub to: NodeId,
}

/// Which node a client has reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq, EncodeDerive, DecodeDerive)]
#[bincode(crate = "chronon_core::codec::wire")]
pub struct Greeting {
    /// Its cluster.
    pub cluster: ClusterId,
    /// The node.
    pub node: NodeId,
}

/// Collects items and packs them into as few frames as the limits allow. A body is the encoding of the list of its
/// items, so [`chronon_core::codec::decode`] reads it as a `Vec`.
#[derive(Debug)]
pub struct Packer {
    kind: u16,
    items: u64,
    body: Vec<u8>,
}

impl Packer {
    /// Packs frames of this kind.
    pub fn new(kind: u16) -> Self {
        Self { kind, items: 0, body: vec![0; COUNT_BYTES] }
    }

    /// Adds an item; writes the frame out to `out` first when it would grow too large. An item that no frame can hold
    /// is left out, and false comes back: senders bound theirs far below.
    pub fn push<T: Encode>(&mut self, item: &T, out: &mut Vec<u8>) -> bool {
        let bytes = codec::encode(item);
        if COUNT_BYTES + bytes.len() > BODY_BYTES_MAX {
            return false;
        }
        if self.body.len() + bytes.len() > BODY_BYTES_TARGET || self.items == ITEMS_MAX {
            self.finish(out);
        }
        self.body.extend_from_slice(&bytes);
        self.items += 1;
        true
    }

    /// Bytes waiting to be written out.
    pub fn bytes(&self) -> usize {
        if self.items == 0 { 0 } else { self.body.len() }
    }

    /// Writes out what was collected, if anything was.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        if self.items == 0 {
            return;
        }
        self.body[..COUNT_BYTES].copy_from_slice(&self.items.to_le_bytes());
        write_frame(self.kind, &self.body, out);
        self.body.truncate(COUNT_BYTES);
        self.body.shrink_to(BODY_BYTES_TARGET);
        self.items = 0;
    }
}

/// Appends a frame around the encoding of one value.
pub fn write_one<T: Encode>(kind: u16, value: &T, out: &mut Vec<u8>) {
    write_frame(kind, &codec::encode(value), out);
}

/// The list's length before its items.
const COUNT_BYTES: usize = 8;
/// A body takes no further item beyond this; one item alone may be longer.
const BODY_BYTES_TARGET: usize = 1 << 20;
/// Items in a body at most.
const ITEMS_MAX: u64 = 8192;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use chronon_core::codec::frame::read_frame;
    use chronon_core::codec::{BODY_BYTES_MAX, decode};
    use chronon_core::types::Blob;

    use super::{BODY_BYTES_TARGET, Packer, REQUESTS};

    /// Packs blobs of these lengths; the lengths found in each frame.
    fn frames(lengths: &[usize]) -> Vec<Vec<usize>> {
        let (mut packer, mut out) = (Packer::new(REQUESTS), Vec::new());
        for length in lengths {
            assert!(packer.push(&Blob::from(vec![7; *length]), &mut out));
        }
        packer.finish(&mut out);
        assert_eq!(packer.bytes(), 0);
        let mut stream = BytesMut::from(&out[..]);
        let mut frames = Vec::new();
        while let Some(frame) = read_frame(&mut stream).unwrap() {
            assert_eq!(frame.kind, REQUESTS);
            let blobs: Vec<Blob> = decode(&frame.body).unwrap();
            frames.push(blobs.iter().map(|blob| blob.as_slice().len()).collect());
        }
        frames
    }

    #[test]
    fn small_items_share_a_frame_and_large_ones_do_not() {
        assert_eq!(frames(&[1, 0, 300]), [vec![1, 0, 300]]);
        let large = BODY_BYTES_TARGET / 2;
        assert_eq!(frames(&[large, 1, large, 2]), [vec![large, 1], vec![large, 2]]);
        assert_eq!(frames(&[]), Vec::<Vec<usize>>::new());
        assert_eq!(frames(&[1, 3 * BODY_BYTES_TARGET, 2]), [vec![1], vec![3 * BODY_BYTES_TARGET], vec![2]]);
        assert_eq!(frames(&vec![0; 10_000]).iter().map(Vec::len).collect::<Vec<_>>(), [8192, 1808]);
    }

    #[test]
    fn an_item_that_no_frame_holds_is_left_out() {
        let (mut packer, mut out) = (Packer::new(REQUESTS), Vec::new());
        assert!(!packer.push(&Blob::from(vec![0; BODY_BYTES_MAX]), &mut out));
        packer.finish(&mut out);
        assert!(out.is_empty());
    }
}

//! Which start of a node, on which copy of its disk.

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::Incarnation;

/// One start of a node. Two copies of a disk count alike; what they draw differs.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct BootId {
    /// How often the node has started; 0 where none is known.
    pub incarnation: Incarnation,
    /// Drawn at the start.
    pub nonce: u64,
}

notation_struct!("boot" => BootId { incarnation, nonce });

impl BootId {
    /// Whether it names a start at all.
    pub fn is_known(self) -> bool {
        self.incarnation > Incarnation::default()
    }
}

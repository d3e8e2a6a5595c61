//! How a topic behaves.

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::Nanos;

/// How a topic behaves, alike in all of its partitions.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct TopicConfig {
    /// Of two configurations the one with the higher revision holds.
    pub revision: u64,
    /// Bytes of a payload.
    pub payload_bytes_max: u32,
    /// Events of a partition that are not due yet.
    pub pending_max: u64,
    /// A message id is remembered for so long after it was accepted, and for as long as its event is open.
    pub dedup_window: Nanos,
    /// Message ids that a partition remembers; the oldest whose event has ended is forgotten early.
    pub dedup_ids_max: u64,
    /// Refuse events when there are too many ids, instead of forgetting some early.
    pub strict: bool,
    /// Events that every consumer group has settled and that are kept for groups that come later; the oldest goes.
    pub kept_max: u64,
    /// Dead letters that a consumer group keeps in a partition; the oldest goes.
    pub dead_max: u32,
    /// What has been ready for so long goes.
    pub retain_age: Option<Nanos>,
    /// While the events of a partition that are ready have more bytes than this, the oldest go.
    pub retain_bytes: Option<u64>,
    /// What goes by its age or by its bytes goes although a consumer group has not settled it: it has expired for that group.
    pub expires_unsettled: bool,
    /// Nothing is delivered, to no consumer group. Events are accepted, become ready at their time, and wait.
    pub is_paused: bool,
}

impl Default for TopicConfig {
    fn default() -> Self {
        Self {
            revision: 0,
            payload_bytes_max: 4 << 20,
            pending_max: 20_000_000,
            dedup_window: Nanos::from_secs(7 * 24 * 3600),
            dedup_ids_max: 20_000_000,
            strict: false,
            kept_max: 100_000,
            dead_max: 100_000,
            retain_age: None,
            retain_bytes: None,
            expires_unsettled: false,
            is_paused: false,
        }
    }
}

/// Bytes of a topic's name, and of a consumer group's.
pub const NAME_BYTES_MAX: u32 = 255;
/// Bytes of a message id.
pub const MESSAGE_ID_BYTES_MAX: u32 = 128;
/// Bytes of a partition key or an ordering key.
pub const KEY_BYTES_MAX: u32 = 255;
/// Bytes of an event's meta, keys and values together.
pub const META_BYTES_MAX: u32 = 64 << 10;

//! Bounds and paces of a group.

use super::Trust;
use crate::types::Nanos;

/// Bounds of queues and messages, per group unless said otherwise.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Entries prepared and not yet committed.
    pub pipeline_entries_max: u32,
    /// Commands in an entry.
    pub batch_commands_max: u32,
    /// Bytes of an entry's payload.
    pub batch_bytes_max: u32,
    /// Bytes of a command's body.
    pub command_bytes_max: u32,
    /// Requests that wait for a place in an entry.
    pub queue_requests_max: u32,
    /// Entries in one answer to a repair request.
    pub repair_entries_max: u32,
    /// Bytes in one answer to a repair request; one entry is always sent.
    pub repair_bytes_max: u32,
    /// Side effects under way at once.
    pub side_effects_max: u32,
    /// Side effects that have not ended: beyond so many a group takes no new commands.
    pub outbox_max: u32,
    /// Bytes of their targets and bodies, likewise.
    pub outbox_bytes_max: u32,
}

/// Spans of the timers, and how clocks are believed. Where several nodes would act at once, each adds jitter of up to half the
/// span.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Between two heartbeats of a node pair.
    pub heartbeat: Nanos,
    /// Silence of a primary after which its backups would leave the view.
    pub primary_silence: Nanos,
    /// Without progress in a view change, the next view is tried.
    pub view_change: Nanos,
    /// Between repetitions of a message that was not answered.
    pub resend: Nanos,
    /// A primary whose oldest entry is not committed for this long gives the view up, and one whose clock no majority shares
    /// for this long; a read whose index is not confirmed for this long is refused.
    pub abdicate: Nanos,
    /// A primary whose disk has completed nothing of what it was given for this long gives the view up.
    pub disk_patience: Nanos,
    /// A wall clock may be off by this much, either way: clocks that are farther apart than twice this disagree.
    pub clock_tolerance: Nanos,
    /// An attempt at a side effect that has not ended for so long has failed.
    pub attempt: Nanos,
}

impl Timeouts {
    /// How wall clocks are believed. Samples come with every heartbeat: that they outlast a primary's patience lets a
    /// partition be seen as what it is, before it is taken for clocks that disagree.
    pub fn trust(&self) -> Trust {
        Trust { tolerance: self.clock_tolerance, lasts: self.abdicate.times(4) }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            pipeline_entries_max: 16,
            batch_commands_max: 4096,
            batch_bytes_max: 1 << 20,
            command_bytes_max: 5 << 20,
            queue_requests_max: 16_384,
            repair_entries_max: 256,
            repair_bytes_max: 1 << 20,
            side_effects_max: 64,
            outbox_max: 100_000,
            outbox_bytes_max: 64 << 20,
        }
    }
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            heartbeat: Nanos::from_millis(100),
            primary_silence: Nanos::from_millis(600),
            view_change: Nanos::from_millis(800),
            resend: Nanos::from_millis(150),
            abdicate: Nanos::from_millis(2500),
            disk_patience: Nanos::from_secs(10),
            clock_tolerance: Nanos::from_millis(500),
            attempt: Nanos::from_secs(30),
        }
    }
}

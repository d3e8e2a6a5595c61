//! Where a group stands still, because its application panicked; and who catches such a panic.

use alloc::string::String;
use core::fmt;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::Op;

/// Where an event stands in a group's log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct EventPlace {
    /// The entry.
    pub op: Op,
    /// Which of its events, from 0: a command's place in its batch.
    pub index: u32,
}

notation_struct!("event-place" => EventPlace { op, index });

/// Why a replica executes nothing any more.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Halt {
    /// The event at which it stands. Everything before its entry was applied, and nothing of the entry.
    pub place: EventPlace,
    /// The log may skip the event. It may not where this replica is at odds with the others.
    pub skippable: bool,
    /// What is wrong, for an operator.
    pub what: String,
}

notation_struct!("halt" => Halt { place, skippable, what });

/// Runs an application's code, and gives back what a panic in it said. The core can catch none: its driver can.
#[derive(Clone, Copy)]
pub struct Guard(fn(&mut dyn FnMut()) -> Result<(), String>);

impl Guard {
    /// Lets panics through.
    pub const NONE: Self = Self(|run| {
        run();
        Ok(())
    });

    /// Runs code with `run`, which calls what it is given once.
    pub const fn new(run: fn(&mut dyn FnMut()) -> Result<(), String>) -> Self {
        Self(run)
    }

    pub(in crate::kernel) fn run(self, run: &mut dyn FnMut()) -> Result<(), String> {
        (self.0)(run).map_err(|mut what| {
            let end = (0..=WHAT_BYTES_MAX.min(what.len())).rev().find(|at| what.is_char_boundary(*at));
            what.truncate(end.unwrap_or_default());
            what
        })
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// Bytes of what a panic said that are kept.
const WHAT_BYTES_MAX: usize = 512;

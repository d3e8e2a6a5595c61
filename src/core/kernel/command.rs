//! Commands, the batch of them that an entry holds, and their outcomes.
//!
//! A batch is laid out by hand, so that reading one copies nothing:
//!
//! ```text
//! a command: client u128 | session u64 | number u64 | body length u32 | body
//! ```

use alloc::vec::Vec;

use bytes::Bytes;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{ByteReader, ByteWriter, Truncated};
use crate::types::{Blob, ClientId, RequestNumber, SessionId, usize_of};

/// Bytes of a command in a batch beside its body.
pub const COMMAND_OVERHEAD_BYTES: usize = 36;

/// A client's command as the log holds it.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Command {
    /// Who asks.
    pub client: ClientId,
    /// The session, as its registration's outcome named it; 0 in a registration.
    pub session: SessionId,
    /// 0 registers the client; its commands then count from 1, each sent after the one before was answered.
    pub number: RequestNumber,
    /// For the application; empty in a registration.
    pub body: Blob,
}

notation_struct!("command" => Command { client, session, number, body });

impl Command {
    /// A registration: opens the client's session.
    pub fn register(client: ClientId) -> Self {
        Self { client, session: SessionId::new(0), number: RequestNumber::new(0), body: Blob::default() }
    }
}

/// What became of a command. It is part of the replicated state: a retry gets the same one.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum Outcome {
    /// The client is registered.
    Registered {
        /// Goes into every command of the session.
        session: SessionId,
    },
    /// The application's answer.
    Done(Blob),
    /// The application's refusal; its state is as it was.
    Refused(Blob),
    /// The client has no such session (any more): nothing was executed.
    Evicted,
    /// The number is neither the last one nor the one after it: nothing was executed.
    OutOfOrder {
        /// The number the session expects.
        expected: RequestNumber,
    },
    /// An operator had the log skip the command, over which the application had panicked: its state is as it was.
    Skipped,
}

notation_enum!(Outcome {
    "registered" => Registered { session },
    "done" => Done(body),
    "refused" => Refused(body),
    "evicted" => Evicted,
    "out-of-order" => OutOfOrder { expected },
    "skipped" => Skipped,
});

/// The payload of an entry of commands being put together.
#[derive(Debug, Default)]
pub struct Batch {
    writer: ByteWriter,
    commands: u32,
}

impl Batch {
    /// Adds a command.
    ///
    /// # Panics
    /// When its body is longer than u32 tells; the node bounds it far below.
    pub fn push(&mut self, command: &Command) {
        let Ok(length) = u32::try_from(command.body.as_slice().len()) else {
            panic!("a command's body is bounded far below 4 GiB");
        };
        self.writer.u128(command.client.get()).u64(command.session.get()).u64(command.number.get());
        self.writer.u32(length).put(command.body.as_slice());
        self.commands += 1;
    }

    /// Commands so far.
    pub fn commands(&self) -> u32 {
        self.commands
    }

    /// Bytes so far.
    pub fn bytes(&self) -> usize {
        self.writer.as_slice().len()
    }

    /// The payload.
    pub fn finish(self) -> Bytes {
        Bytes::from(self.writer.finish())
    }
}

/// The commands of a payload, in order.
///
/// # Errors
/// [`Truncated`] when the payload is not a batch. The payload's hash was verified, so whoever proposed it was wrong.
pub fn commands(payload: &Bytes) -> Result<Vec<Command>, Truncated> {
    let mut reader = ByteReader::new(payload);
    let mut commands = Vec::new();
    while !reader.rest().is_empty() {
        let client = ClientId::new(reader.u128()?);
        let session = SessionId::new(reader.u64()?);
        let number = RequestNumber::new(reader.u64()?);
        let length = usize_of(u64::from(reader.u32()?));
        let body = Blob(payload.slice_ref(reader.take(length)?));
        commands.push(Command { client, session, number, body });
    }
    Ok(commands)
}

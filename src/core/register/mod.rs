//! Registers by key: read, write, compare-and-set. The application that linearizability is checked with.

use core::ops::Bound;

use bytes::Bytes;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, ByteReader, ByteWriter};
use crate::collections::PersistentMap;
use crate::kernel::{ApplyContext, ChrApplication, Chunk, Cursor, Event, QueryContext, Schema};
use crate::types::{Blob, GroupInit, usize_of};

/// A key or a value may have at most this many bytes.
pub const BYTES_MAX: usize = 64 << 10;

/// What a client asks of the registers; the body of its command is `codec::encode` of this.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum RegisterCommand {
    /// The value of a key.
    Read {
        /// The key.
        key: Blob,
    },
    /// Set the value of a key.
    Write {
        /// The key.
        key: Blob,
        /// Its new value.
        value: Blob,
    },
    /// Set the value of a key if it is what the client believes.
    CompareAndSet {
        /// The key.
        key: Blob,
        /// What the client believes; `None` for unset.
        expected: Option<Blob>,
        /// Its new value.
        value: Blob,
    },
}

/// What the registers answer.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum RegisterAnswer {
    /// The value read; `None` for unset.
    Value(Option<Blob>),
    /// The write took place.
    Written,
    /// The compare-and-set took place.
    Swapped,
    /// It did not: the value was another.
    Mismatch {
        /// The value found.
        found: Option<Blob>,
    },
}

/// Why the registers refuse.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode, thiserror::Error)]
#[bincode(crate = "crate::codec::wire")]
pub enum RegisterError {
    /// The body is not a register command.
    #[error("not a register command")]
    Malformed,
    /// A key or value is too long.
    #[error("key or value of {bytes} bytes; at most {BYTES_MAX} are allowed")]
    TooLong {
        /// Its length.
        bytes: u64,
    },
}

/// The application. It holds nothing itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Registers;

/// Every key that was ever written, and its value.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct RegisterState {
    values: PersistentMap<Bytes, Bytes>,
}

impl ChrApplication for Registers {
    const SCHEMA: Schema = Schema(1);
    type State = RegisterState;
    type QueryRequest = Blob;
    type QueryResponse = Option<Blob>;
    type Error = RegisterError;

    fn genesis(&self, _group: &GroupInit) -> RegisterState {
        RegisterState::default()
    }

    fn apply(
        &self,
        state: &mut RegisterState,
        event: Event<'_>,
        _ctx: &mut ApplyContext<'_>,
    ) -> Result<Bytes, RegisterError> {
        let Event::Command(body) = event else { return Err(RegisterError::Malformed) };
        let command = codec::decode(body).map_err(|_| RegisterError::Malformed)?;
        let answer = state.execute(command)?;
        Ok(Bytes::from(codec::encode(&answer)))
    }

    fn query(&self, state: &RegisterState, key: Blob, _ctx: &mut QueryContext) -> Option<Blob> {
        state.values.get(&key.0).cloned().map(Blob)
    }

    fn snapshot(&self, state: &RegisterState, from: Cursor, out: &mut Chunk) -> Option<Cursor> {
        let after = from.get::<Blob>();
        let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key.0));
        let mut rest = state.values.range(from);
        let mut writer = ByteWriter::default();
        let mut last = None;
        while writer.as_slice().len() < SLICE_BYTES
            && let Some((key, value)) = rest.next()
        {
            put(&mut writer, key);
            put(&mut writer, value);
            last = Some(key);
        }
        out.extend_from_slice(writer.as_slice());
        rest.next().and(last).map(|key| Cursor::after(&Blob(key.clone())))
    }

    fn restore(&self, state: &mut RegisterState, _from: Schema, chunk: &[u8]) -> Result<(), RegisterError> {
        let mut reader = ByteReader::new(chunk);
        while !reader.rest().is_empty() {
            let key = get(&mut reader)?;
            let value = get(&mut reader)?;
            state.values.insert(key, value);
        }
        Ok(())
    }
}

impl RegisterState {
    fn execute(&mut self, command: RegisterCommand) -> Result<RegisterAnswer, RegisterError> {
        match command {
            RegisterCommand::Read { key } => Ok(RegisterAnswer::Value(self.value(&key))),
            RegisterCommand::Write { key, value } => {
                self.set(key, value)?;
                Ok(RegisterAnswer::Written)
            }
            RegisterCommand::CompareAndSet { key, expected, value } => {
                let found = self.value(&key);
                if found != expected {
                    return Ok(RegisterAnswer::Mismatch { found });
                }
                self.set(key, value)?;
                Ok(RegisterAnswer::Swapped)
            }
        }
    }

    fn value(&self, key: &Blob) -> Option<Blob> {
        self.values.get(&key.0).cloned().map(Blob)
    }

    fn set(&mut self, key: Blob, value: Blob) -> Result<(), RegisterError> {
        let bytes = key.as_slice().len().max(value.as_slice().len());
        if bytes > BYTES_MAX {
            return Err(RegisterError::TooLong { bytes: crate::types::u64_of(bytes) });
        }
        self.values.insert(key.0, value.0);
        Ok(())
    }
}

fn put(writer: &mut ByteWriter, bytes: &[u8]) {
    writer.u64(crate::types::u64_of(bytes.len())).put(bytes);
}

fn get(reader: &mut ByteReader<'_>) -> Result<Bytes, RegisterError> {
    let length = reader.u64().map_err(|_| RegisterError::Malformed)?;
    let bytes = reader.take(usize_of(length)).map_err(|_| RegisterError::Malformed)?;
    Ok(Bytes::copy_from_slice(bytes))
}

/// A slice of a snapshot ends with the key that makes it so long.
const SLICE_BYTES: usize = 64 << 10;

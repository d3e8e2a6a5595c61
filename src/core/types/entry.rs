//! A slot of a group's log: a fixed header that chains to the one before it, and a payload.
//!
//! ```text
//! 0    own hash        32  blake3 of bytes 32..176
//! 32   parent hash     32  own hash of the entry one op below
//! 64   payload hash    32  blake3 of the payload
//! 96   snapshot id     32  of the previous snapshot, zero while there is none
//! 128  view            u64 in which the entry was first prepared; it never changes
//! 136  op              u64
//! 144  timestamp       u64 consensus time, ns
//! 152  group           u32
//! 156  payload length  u32
//! 160  kind            u8
//! 161  zero            15
//! ```

use bytes::Bytes;

use crate::codec::wire::{self, de, enc, error};
use crate::codec::{ByteReader, ByteWriter, Truncated};
use crate::types::numbers::COUNT_MAX;
use crate::types::{Blob, GroupId, Hash, Op, Timestamp, View};

/// Bytes of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = 176;

/// What an entry holds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EntryKind {
    /// Op 0: the founding facts.
    Genesis,
    /// A batch of clients' commands.
    Commands,
    /// A wake-up that the application asked for.
    Wakeup,
    /// What became of side effects.
    SideEffects,
    /// An operator has an event skipped that the application cannot execute.
    Skip,
    /// From here on the application behaves as a later schema says.
    Activation,
    /// A new membership. The last entry of its epoch.
    Membership,
    /// An operator has a side effect tried again that was given up.
    Redrive,
    /// An operator has a side effect forgotten that was given up.
    Discard,
}

impl EntryKind {
    const fn code(self) -> u8 {
        match self {
            Self::Genesis => 0,
            Self::Commands => 1,
            Self::Wakeup => 2,
            Self::SideEffects => 3,
            Self::Skip => 4,
            Self::Activation => 5,
            Self::Membership => 6,
            Self::Redrive => 7,
            Self::Discard => 8,
        }
    }

    fn from_code(code: u8) -> Result<Self, EntryError> {
        match code {
            0 => Ok(Self::Genesis),
            1 => Ok(Self::Commands),
            2 => Ok(Self::Wakeup),
            3 => Ok(Self::SideEffects),
            4 => Ok(Self::Skip),
            5 => Ok(Self::Activation),
            6 => Ok(Self::Membership),
            7 => Ok(Self::Redrive),
            8 => Ok(Self::Discard),
            code => Err(EntryError::Kind { code }),
        }
    }
}

notation_enum!(EntryKind {
    "genesis" => Genesis,
    "commands" => Commands,
    "wakeup" => Wakeup,
    "side-effects" => SideEffects,
    "skip" => Skip,
    "activation" => Activation,
    "membership" => Membership,
    "redrive" => Redrive,
    "discard" => Discard,
});

/// Why bytes are not an entry.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum EntryError {
    /// The bytes end early.
    #[error("entry ends early")]
    Truncated,
    /// The header does not hash to what it says.
    #[error("entry header checksum is wrong")]
    HeaderHash,
    /// The payload does not hash to what the header says.
    #[error("entry payload checksum is wrong")]
    PayloadHash,
    /// View, op or timestamp is beyond what any running system counts to.
    #[error("a view, op or timestamp beyond 2^62")]
    OutOfRange,
    /// The kind is not one we know.
    #[error("unknown entry kind {code}")]
    Kind {
        /// The code found.
        code: u8,
    },
}

impl From<Truncated> for EntryError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// The header of a log entry. Whoever holds one holds a header whose hash is right: it is made by sealing or by
/// verified parsing alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct EntryHeader {
    hash: Hash,
    parent: Hash,
    payload_hash: Hash,
    snapshot: Hash,
    view: View,
    op: Op,
    timestamp: Timestamp,
    group: GroupId,
    payload_bytes: u32,
    kind: EntryKind,
}

impl EntryHeader {
    /// Own hash: names the entry and, by the chain, everything below it.
    pub fn hash(&self) -> Hash {
        self.hash
    }

    /// Own hash of the entry one op below.
    pub fn parent(&self) -> Hash {
        self.parent
    }

    /// Hash of the payload.
    pub fn payload_hash(&self) -> Hash {
        self.payload_hash
    }

    /// The view in which the entry was first prepared.
    pub fn view(&self) -> View {
        self.view
    }

    /// The slot.
    pub fn op(&self) -> Op {
        self.op
    }

    /// Consensus time.
    pub fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The group.
    pub fn group(&self) -> GroupId {
        self.group
    }

    /// What the entry holds.
    pub fn kind(&self) -> EntryKind {
        self.kind
    }

    /// Length of the payload.
    pub fn payload_bytes(&self) -> u32 {
        self.payload_bytes
    }

    /// The layout of the module's diagram.
    pub fn to_layout(&self) -> [u8; ENTRY_HEADER_BYTES] {
        let mut writer = ByteWriter::with_capacity(ENTRY_HEADER_BYTES);
        writer.put(self.hash.as_bytes());
        self.put_hashed(&mut writer);
        let mut layout = [0; ENTRY_HEADER_BYTES];
        layout.copy_from_slice(writer.as_slice());
        layout
    }

    /// Reads a header and verifies its hash.
    ///
    /// # Errors
    /// [`EntryError`] when the bytes are short, damaged, or of an unknown kind.
    pub fn from_layout(bytes: &[u8]) -> Result<Self, EntryError> {
        let layout = bytes.get(..ENTRY_HEADER_BYTES).ok_or(EntryError::Truncated)?;
        let mut reader = ByteReader::new(layout);
        let hash = Hash::from_bytes(reader.array()?);
        if Hash::of(reader.rest()) != hash {
            return Err(EntryError::HeaderHash);
        }
        let header = Self {
            hash,
            parent: Hash::from_bytes(reader.array()?),
            payload_hash: Hash::from_bytes(reader.array()?),
            snapshot: Hash::from_bytes(reader.array()?),
            view: View::new(reader.u64()?),
            op: Op::new(reader.u64()?),
            timestamp: Timestamp::from_nanos(reader.u64()?),
            group: GroupId::new(reader.u32()?),
            payload_bytes: reader.u32()?,
            kind: EntryKind::from_code(reader.u8()?)?,
        };
        let counts = [header.view.get(), header.op.get(), header.timestamp.as_nanos()];
        if counts.into_iter().all(|count| count <= COUNT_MAX) {
            Ok(header)
        } else {
            Err(EntryError::OutOfRange)
        }
    }

    /// A header with its hash computed.
    #[expect(
        clippy::too_many_arguments,
        reason = "one argument a field of the layout; every caller is in this room"
    )]
    pub(in crate::types) fn seal(
        group: GroupId,
        kind: EntryKind,
        view: View,
        op: Op,
        timestamp: Timestamp,
        payload_hash: Hash,
        parent: Hash,
        payload_bytes: u32,
    ) -> Self {
        let hash = Hash::ZERO;
        let snapshot = Hash::ZERO;
        let mut header =
            Self { hash, parent, payload_hash, snapshot, view, op, timestamp, group, payload_bytes, kind };
        let mut writer = ByteWriter::with_capacity(ENTRY_HEADER_BYTES);
        header.put_hashed(&mut writer);
        header.hash = Hash::of(writer.as_slice());
        header
    }

    /// Everything after the own hash.
    fn put_hashed(&self, writer: &mut ByteWriter) {
        writer.put(self.parent.as_bytes()).put(self.payload_hash.as_bytes()).put(self.snapshot.as_bytes());
        writer.u64(self.view.get()).u64(self.op.get()).u64(self.timestamp.as_nanos());
        writer.u32(self.group.get()).u32(self.payload_bytes).u8(self.kind.code()).put(&[0; 15]);
    }
}

/// A log entry: a header and the payload it names. Made by [`Entry::next`] or by verified parsing alone.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Entry {
    header: EntryHeader,
    payload: Bytes,
}

impl Entry {
    /// The entry that follows `parent` in its group's log.
    ///
    /// # Panics
    /// When the payload is longer than u32 tells; callers bound it far below.
    pub fn next(
        parent: &EntryHeader,
        kind: EntryKind,
        view: View,
        timestamp: Timestamp,
        payload: Bytes,
    ) -> Self {
        let payload_bytes = match u32::try_from(payload.len()) {
            Ok(bytes) => bytes,
            Err(_) => panic!("a payload is bounded far below 4 GiB"),
        };
        let (group, op, hash) = (parent.group, parent.op.next(), Hash::of(&payload));
        let header = EntryHeader::seal(group, kind, view, op, timestamp, hash, parent.hash, payload_bytes);
        Self { header, payload }
    }

    /// The entry with this header.
    ///
    /// # Errors
    /// [`EntryError::PayloadHash`] when `payload` is not the one that the header names.
    pub fn verified(header: EntryHeader, payload: Bytes) -> Result<Self, EntryError> {
        if Hash::of(&payload) != header.payload_hash || payload.len() != payload_length(&header) {
            return Err(EntryError::PayloadHash);
        }
        Ok(Self { header, payload })
    }

    /// The entry with this header, its payload known to be the one that the header names.
    pub(crate) fn trusted(header: EntryHeader, payload: Bytes) -> Self {
        Self { header, payload }
    }

    /// Reads an entry as it lies in the journal: header, then payload, nothing after it.
    ///
    /// # Errors
    /// [`EntryError`] when the bytes are short, damaged, or of an unknown kind.
    pub fn from_layout(bytes: &Bytes) -> Result<Self, EntryError> {
        let header = EntryHeader::from_layout(bytes)?;
        Self::verified(header, bytes.slice(ENTRY_HEADER_BYTES..))
    }

    /// The header.
    pub fn header(&self) -> &EntryHeader {
        &self.header
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// The slot.
    pub fn op(&self) -> Op {
        self.header.op
    }

    /// The hash of the header, which names the entry.
    pub fn hash(&self) -> Hash {
        self.header.hash
    }
}

fn payload_length(header: &EntryHeader) -> usize {
    crate::types::usize_of(u64::from(header.payload_bytes))
}

fn refused(_: EntryError) -> error::DecodeError {
    error::DecodeError::Other("entry header or payload does not match its hash")
}

impl wire::Encode for EntryHeader {
    fn encode<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        wire::Encode::encode(&self.to_layout(), encoder)
    }
}

impl<C> wire::Decode<C> for EntryHeader {
    fn decode<D: de::Decoder<Context = C>>(decoder: &mut D) -> Result<Self, error::DecodeError> {
        let layout: [u8; ENTRY_HEADER_BYTES] = wire::Decode::decode(decoder)?;
        Self::from_layout(&layout).map_err(refused)
    }
}

wire::impl_borrow_decode!(EntryHeader);

impl wire::Encode for Entry {
    fn encode<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        wire::Encode::encode(&self.header, encoder)?;
        wire::Encode::encode(&Blob(self.payload.clone()), encoder)
    }
}

impl<C> wire::Decode<C> for Entry {
    fn decode<D: de::Decoder<Context = C>>(decoder: &mut D) -> Result<Self, error::DecodeError> {
        let header = wire::Decode::decode(decoder)?;
        let Blob(payload) = wire::Decode::decode(decoder)?;
        Self::verified(header, payload).map_err(refused)
    }
}

wire::impl_borrow_decode!(Entry);

/// The text of a header leaves its own hash out: reading it back computes it.
mod text {
    use core::fmt;

    use super::{Blob, Entry, EntryHeader, Hash};
    use crate::types::notation::{Notation, NotationError, Scanner};

    impl Notation for EntryHeader {
        fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Self { parent, payload_hash, view, op, timestamp, group, payload_bytes, kind, .. } = self;
            f.write_str("header")?;
            notation_fields!(f, group, kind, view, op, timestamp, payload_hash, payload_bytes, parent);
            Ok(())
        }
        fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
            scanner.expect("header{")?;
            let (group, kind) = (scanner.field("group")?, scanner.field("kind")?);
            let (view, op) = (scanner.field("view")?, scanner.field("op")?);
            let timestamp = scanner.field("timestamp")?;
            let payload_hash: Hash = scanner.field("payload_hash")?;
            let payload_bytes = scanner.field("payload_bytes")?;
            let parent = scanner.field("parent")?;
            scanner.expect("}")?;
            Ok(Self::seal(group, kind, view, op, timestamp, payload_hash, parent, payload_bytes))
        }
    }

    impl Notation for Entry {
        fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let header = &self.header;
            let payload = &Blob(self.payload.clone());
            f.write_str("entry")?;
            notation_fields!(f, header, payload);
            Ok(())
        }
        fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
            scanner.expect("entry{")?;
            let header = scanner.field("header")?;
            let here = scanner.clone();
            let Blob(payload) = scanner.field("payload")?;
            scanner.expect("}")?;
            Self::verified(header, payload).map_err(|_| here.error("the payload that the header names"))
        }
    }

    notation_text!(EntryHeader);
    notation_text!(Entry);
}

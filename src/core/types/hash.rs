//! Blake3 hashes: of payloads, headers, flushes and states.

use core::fmt;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::notation::{Notation, NotationError, Scanner, from_hex};

/// A blake3 hash of 32 bytes.
#[derive(Clone, Copy, Default, Eq, PartialEq, Ord, PartialOrd, Hash, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Hash([u8; 32]);

impl Hash {
    /// Stands where there is nothing to hash.
    pub const ZERO: Self = Self([0; 32]);

    /// The hash with these bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The hash of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The hash of several pieces, one after the other.
    pub fn of_pieces(pieces: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for piece in pieces {
            hasher.update(piece);
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The hash of pieces that come one after the other.
#[derive(Clone, Debug, Default)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Goes on with `piece`.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The hash of all pieces so far.
    pub fn finish(&self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "{a:02x}{b:02x}{c:02x}{d:02x}")
    }
}

impl Notation for Hash {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
        let here = scanner.clone();
        let bytes = from_hex(scanner.run(|c| c.is_ascii_hexdigit()));
        bytes.and_then(|b| b.try_into().ok()).map(Self).ok_or_else(|| here.error("64 hex digits"))
    }
}

notation_text!(Hash);

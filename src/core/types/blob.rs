//! Bytes that go over the wire: shared, so that a clone costs nothing.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use crate::codec::wire::{self, de, enc, error};
use crate::types::notation::{Notation, NotationError, Scanner, scan_bytes, show_bytes};

/// A run of bytes with a wire form and a notation.
#[derive(Clone, Debug, Default, Eq, PartialEq, Ord, PartialOrd)]
pub struct Blob(pub Bytes);

impl Blob {
    /// The bytes.
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Bytes::from(bytes))
    }
}

impl wire::Encode for Blob {
    fn encode<E: enc::Encoder>(&self, encoder: &mut E) -> Result<(), error::EncodeError> {
        wire::Encode::encode(self.as_slice(), encoder)
    }
}

impl<C> wire::Decode<C> for Blob {
    fn decode<D: de::Decoder<Context = C>>(decoder: &mut D) -> Result<Self, error::DecodeError> {
        let bytes: Vec<u8> = wire::Decode::decode(decoder)?;
        Ok(Self::from(bytes))
    }
}

wire::impl_borrow_decode!(Blob);

impl Notation for Blob {
    fn show(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_bytes(self.as_slice(), f)
    }
    fn scan(scanner: &mut Scanner<'_>) -> Result<Self, NotationError> {
        scan_bytes(scanner).map(Self::from)
    }
}

notation_text!(Blob);

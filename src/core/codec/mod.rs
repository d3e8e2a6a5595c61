//! Bytes to values and back: the one room that knows the serialisation library.
//!
//! * [`wire`] re-exports the derives; every message, request and stored body uses them through this module.
//! * [`encode`] and [`decode`] are total: any bytes decode to a value or to a [`CodecError`], never to a panic, and
//!   a value must use up all of its bytes.
//! * [`frame`] puts a length, a kind and two checksums around a body, so that a stream of bytes can be cut again.
//!
//! Integers are fixed-width and little-endian. A hash is always taken over the bytes received, never over a
//! re-encoding.

pub mod frame;
#[cfg(test)]
mod tests;
mod view;

use alloc::string::{String, ToString};
use alloc::vec::Vec;

use bincode::config::{Configuration, Fixint, Limit, LittleEndian};
pub use view::{ByteReader, ByteWriter, Truncated};

/// The derives and traits of the serialisation library, under a name of ours.
pub mod wire {
    pub use bincode::de::read::Reader;
    pub use bincode::de::{BorrowDecode, BorrowDecoder, Decode, Decoder};
    pub use bincode::enc::write::Writer;
    pub use bincode::enc::{Encode, Encoder};
    pub use bincode::{BorrowDecode as BorrowDecodeDerive, Decode as DecodeDerive, Encode as EncodeDerive};
    pub use bincode::{de, enc, error, impl_borrow_decode};
}

/// No body that is decoded, from the network or from a disk, may be longer than this many bytes.
pub const BODY_BYTES_MAX: usize = 16 << 20;

/// Why bytes are not a value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end early, name an unknown variant, or hold a value out of range.
    #[error("malformed body: {0}")]
    Malformed(String),
    /// The value ended before its bytes did.
    #[error("{left} bytes left over after the value")]
    LeftOver {
        /// Bytes not used by the value.
        left: usize,
    },
    /// The body is longer than [`BODY_BYTES_MAX`].
    #[error("body of {bytes} bytes; at most {BODY_BYTES_MAX} are allowed")]
    TooLong {
        /// Length of the body.
        bytes: usize,
    },
}

const CONFIG: Configuration<LittleEndian, Fixint, Limit<BODY_BYTES_MAX>> =
    bincode::config::standard().with_little_endian().with_fixed_int_encoding().with_limit();

/// The bytes of `value`.
///
/// # Panics
/// Never for the types of this crate: their encoding is total, and this is asserted.
pub fn encode<T: wire::Encode>(value: &T) -> Vec<u8> {
    match bincode::encode_to_vec(value, CONFIG) {
        Ok(bytes) => bytes,
        Err(error) => panic!("encoding is total for our types: {error}"),
    }
}

/// The value whose encoding is exactly `bytes`.
///
/// # Errors
/// [`CodecError`] when the bytes are too long, malformed, or more than the value needs.
pub fn decode<T: wire::Decode<()>>(bytes: &[u8]) -> Result<T, CodecError> {
    if bytes.len() > BODY_BYTES_MAX {
        return Err(CodecError::TooLong { bytes: bytes.len() });
    }
    match bincode::decode_from_slice::<T, _>(bytes, CONFIG) {
        Ok((value, used)) if used == bytes.len() => Ok(value),
        Ok((_, used)) => Err(CodecError::LeftOver { left: bytes.len() - used }),
        Err(error) => Err(CodecError::Malformed(error.to_string())),
    }
}

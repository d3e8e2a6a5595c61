//! A frame: a length, a kind and two checksums around a body.
//!
//! ```text
//! 0   magic "CHRN"        4 bytes
//! 4   protocol version    u16
//! 6   kind                u16, the sender's word for what the body is
//! 8   body length         u32, at most BODY_BYTES_MAX
//! 12  body checksum       u32, CRC32C
//! 16  header checksum     u32, CRC32C of bytes 0..16
//! 20  body
//! ```
//!
//! The header's checksum is verified before the length is believed, so that a flipped bit cannot make a reader wait
//! for bytes that never come.

use alloc::vec::Vec;

use bytes::{Buf, Bytes, BytesMut};

use super::BODY_BYTES_MAX;

/// Bytes of a frame before its body.
pub const FRAME_HEADER_BYTES: usize = 20;

/// The protocol version this build speaks.
pub const PROTOCOL_VERSION: u16 = 1;

const MAGIC: [u8; 4] = *b"CHRN";

/// Why a stream of bytes is not a stream of frames. The stream cannot be trusted any further: close it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrameError {
    /// The stream is not ours at all.
    #[error("not a chronon frame: it begins with {found:02x?}, not with \"CHRN\"")]
    Magic {
        /// The four bytes found.
        found: [u8; 4],
    },
    /// The other side speaks another version.
    #[error("frame of protocol version {found}; this build speaks {PROTOCOL_VERSION}")]
    Version {
        /// The version found.
        found: u16,
    },
    /// The header was damaged on its way.
    #[error("frame header checksum is wrong")]
    HeaderChecksum,
    /// The body was damaged on its way.
    #[error("frame body checksum is wrong")]
    BodyChecksum,
    /// The length is beyond the limit.
    #[error("frame body of {bytes} bytes; at most {BODY_BYTES_MAX} are allowed")]
    TooLong {
        /// The length the header claims.
        bytes: u32,
    },
}

/// A frame cut from a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Frame {
    /// The sender's word for what the body is.
    pub kind: u16,
    /// The body, its checksum verified.
    pub body: Bytes,
}

/// Appends a frame around `body` to `out`.
///
/// # Panics
/// When `body` is longer than [`BODY_BYTES_MAX`]: senders bound their bodies.
pub fn write_frame(kind: u16, body: &[u8], out: &mut Vec<u8>) {
    assert!(body.len() <= BODY_BYTES_MAX, "a sender bounds its bodies");
    let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
    let start = out.len();
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(body).to_le_bytes());
    let checksum = crc32c::crc32c(&out[start..]);
    out.extend_from_slice(&checksum.to_le_bytes());
    out.extend_from_slice(body);
}

/// Cuts the next frame from the front of `stream`; `None` until all of it has arrived.
///
/// # Errors
/// [`FrameError`]; nothing is taken from the stream then.
pub fn read_frame(stream: &mut BytesMut) -> Result<Option<Frame>, FrameError> {
    let Some((header, _)) = stream.split_first_chunk::<FRAME_HEADER_BYTES>() else {
        return Ok(None);
    };
    let (kind, length, body_checksum) = parse_header(header)?;
    let length_usize = usize::try_from(length).unwrap_or(usize::MAX);
    if length_usize > BODY_BYTES_MAX {
        return Err(FrameError::TooLong { bytes: length });
    }
    if stream.len() < FRAME_HEADER_BYTES + length_usize {
        return Ok(None);
    }
    let body = &stream[FRAME_HEADER_BYTES..FRAME_HEADER_BYTES + length_usize];
    if crc32c::crc32c(body) != body_checksum {
        return Err(FrameError::BodyChecksum);
    }
    stream.advance(FRAME_HEADER_BYTES);
    Ok(Some(Frame { kind, body: stream.split_to(length_usize).freeze() }))
}

/// Kind, body length and body checksum of a verified header.
fn parse_header(header: &[u8; FRAME_HEADER_BYTES]) -> Result<(u16, u32, u32), FrameError> {
    let [m0, m1, m2, m3, v0, v1, k0, k1, l0, l1, l2, l3, b0, b1, b2, b3, h0, h1, h2, h3] = *header;
    let found = [m0, m1, m2, m3];
    if found != MAGIC {
        return Err(FrameError::Magic { found });
    }
    if crc32c::crc32c(&header[..16]) != u32::from_le_bytes([h0, h1, h2, h3]) {
        return Err(FrameError::HeaderChecksum);
    }
    let version = u16::from_le_bytes([v0, v1]);
    if version != PROTOCOL_VERSION {
        return Err(FrameError::Version { found: version });
    }
    let kind = u16::from_le_bytes([k0, k1]);
    let length = u32::from_le_bytes([l0, l1, l2, l3]);
    Ok((kind, length, u32::from_le_bytes([b0, b1, b2, b3])))
}

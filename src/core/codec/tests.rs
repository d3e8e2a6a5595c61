//! Whatever bytes come in, a value or a typed error comes out: frames, bodies and fixed layouts.

use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;

use bytes::BytesMut;
use proptest::prelude::*;

use super::frame::{FRAME_HEADER_BYTES, Frame, FrameError, PROTOCOL_VERSION, read_frame, write_frame};
use super::{BODY_BYTES_MAX, ByteReader, ByteWriter, CodecError, Truncated, decode, encode};

fn framed(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_frame(kind, body, &mut bytes);
    bytes
}

fn read(bytes: &[u8]) -> Result<Option<Frame>, FrameError> {
    read_frame(&mut BytesMut::from(bytes))
}

/// A header whose own checksum is right, whatever it says.
fn sealed_header(version: u16, length: u32, body_checksum: u32) -> Vec<u8> {
    let mut header = ByteWriter::default();
    header.put(b"CHRN").put(&version.to_le_bytes()).put(&7_u16.to_le_bytes()).u32(length).u32(body_checksum);
    let checksum = crc32c::crc32c(header.as_slice());
    header.u32(checksum);
    header.finish()
}

proptest! {
    #[test]
    fn a_stream_of_frames_is_cut_the_same_however_it_arrives(
        frames in prop::collection::vec((any::<u16>(), prop::collection::vec(any::<u8>(), 0..64)), 1..6),
        pieces in prop::collection::vec(1..40_usize, 1..40),
    ) {
        let whole: Vec<u8> = frames.iter().flat_map(|(kind, body)| framed(*kind, body)).collect();
        let (mut stream, mut found, mut at) = (BytesMut::new(), Vec::new(), 0);
        let mut sizes = pieces.iter().cycle();
        while at < whole.len() {
            let end = (at + sizes.next().copied().unwrap_or(1)).min(whole.len());
            stream.extend_from_slice(&whole[at..end]);
            at = end;
            while let Some(frame) = read_frame(&mut stream).expect("nothing is damaged") {
                found.push((frame.kind, frame.body.to_vec()));
            }
        }
        prop_assert_eq!(found, frames);
        prop_assert!(stream.is_empty());
    }

    #[test]
    fn a_frame_cut_short_waits_for_the_rest(body in prop::collection::vec(any::<u8>(), 0..64), cut in any::<prop::sample::Index>()) {
        let bytes = framed(3, &body);
        prop_assert_eq!(read(&bytes[..cut.index(bytes.len())]), Ok(None));
    }

    #[test]
    fn a_flipped_bit_is_told_by_the_part_it_is_in(
        body in prop::collection::vec(any::<u8>(), 1..64),
        place in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let mut bytes = framed(3, &body);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        let error = read(&bytes).expect_err("a damaged frame is never a frame, nor waited for");
        match place {
            0..4 => prop_assert!(matches!(error, FrameError::Magic { .. }), "{}", error),
            4..FRAME_HEADER_BYTES => prop_assert_eq!(error, FrameError::HeaderChecksum),
            _ => prop_assert_eq!(error, FrameError::BodyChecksum),
        }
    }

    #[test]
    fn any_bytes_are_a_frame_an_error_or_a_beginning(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut stream = BytesMut::from(bytes.as_slice());
        let taken = matches!(read_frame(&mut stream), Ok(Some(_)));
        prop_assert_eq!(stream.len() < bytes.len(), taken, "only a whole frame is taken from the stream");
    }

    #[test]
    fn any_header_with_a_right_checksum_is_believed_only_within_the_limits(
        version in 0..4_u16,
        length in prop_oneof![0..8_u32, any::<u32>()],
        checksum in any::<u32>(),
    ) {
        let expected = if version != PROTOCOL_VERSION {
            Err(FrameError::Version { found: version })
        } else if usize::try_from(length).is_ok_and(|bytes| bytes > BODY_BYTES_MAX) {
            Err(FrameError::TooLong { bytes: length })
        } else if length > 0 {
            Ok(None)
        } else if checksum == crc32c::crc32c(&[]) {
            Ok(Some(Frame { kind: 7, body: bytes::Bytes::new() }))
        } else {
            Err(FrameError::BodyChecksum)
        };
        prop_assert_eq!(read(&sealed_header(version, length, checksum)), expected);
    }

    #[test]
    fn any_bytes_decode_to_a_value_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        // A value uses all its bytes and is encoded by exactly them.
        if let Ok(value) = decode::<Vec<(u32, Option<String>)>>(&bytes) {
            prop_assert_eq!(encode(&value), bytes.clone());
        }
        if let Ok(value) = decode::<(u64, Option<Vec<u16>>)>(&bytes) {
            prop_assert_eq!(encode(&value), bytes);
        }
    }

    #[test]
    fn a_body_cut_short_or_too_long_is_an_error(value in any::<(u64, Option<Vec<u16>>, String)>(), extra in 1..5_usize, cut in any::<prop::sample::Index>()) {
        let mut bytes = encode(&value);
        let short = &bytes[..cut.index(bytes.len())];
        prop_assert!(matches!(decode::<(u64, Option<Vec<u16>>, String)>(short), Err(CodecError::Malformed(_))));
        bytes.resize(bytes.len() + extra, 0);
        prop_assert_eq!(decode::<(u64, Option<Vec<u16>>, String)>(&bytes), Err(CodecError::LeftOver { left: extra }));
    }

    #[test]
    fn fixed_fields_are_read_back_and_end_where_the_bytes_end(
        fields in any::<(u8, u32, u64, u128)>(),
        cut in 0..29_usize,
    ) {
        let mut writer = ByteWriter::default();
        writer.u8(fields.0).u32(fields.1).u64(fields.2).u128(fields.3);
        let bytes = writer.finish();
        let read = |bytes: &[u8]| {
            let mut reader = ByteReader::new(bytes);
            Ok::<_, Truncated>((reader.u8()?, reader.u32()?, reader.u64()?, reader.u128()?))
        };
        prop_assert_eq!(read(&bytes), Ok(fields));
        prop_assert_eq!(read(&bytes[..cut]), Err(Truncated));
    }
}

#[test]
fn a_length_that_no_body_has_does_not_make_a_decoder_allocate() {
    // A vector of 2^60 numbers, in eight bytes.
    let bytes = (1_u64 << 60).to_le_bytes();
    assert!(matches!(decode::<Vec<u64>>(&bytes), Err(CodecError::Malformed(_))));
    let too_long = vec![0; BODY_BYTES_MAX + 1];
    assert_eq!(decode::<Vec<u8>>(&too_long), Err(CodecError::TooLong { bytes: BODY_BYTES_MAX + 1 }));
}

//! Slices of a snapshot that are made of rows, for applications whose states are.
//!
//! ```text
//! length u64 | row, encoded; as many as make a slice long enough
//! ```

use alloc::vec::Vec;

use crate::codec::wire::{Decode, Encode};
use crate::codec::{self, ByteReader, ByteWriter};
use crate::kernel::application::{Chunk, Cursor};
use crate::types::{u64_of, usize_of};

/// Bytes that are no rows.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct NoRows;

/// Appends rows, each told with its place, until the slice is long enough; where to go on, unless that was all.
pub fn write_rows<P: Encode, R: Encode>(
    mut rows: impl Iterator<Item = (P, R)>,
    out: &mut Chunk,
) -> Option<Cursor> {
    let mut writer = ByteWriter::default();
    let mut last = None;
    while writer.as_slice().len() < SLICE_BYTES
        && let Some((place, row)) = rows.next()
    {
        let row = codec::encode(&row);
        writer.u64(u64_of(row.len())).put(&row);
        last = Some(place);
    }
    out.extend_from_slice(writer.as_slice());
    rows.next().and(last).map(|place| Cursor::after(&place))
}

/// The rows of a slice.
///
/// # Errors
/// [`NoRows`].
pub fn read_rows<R: Decode<()>>(slice: &[u8]) -> Result<Vec<R>, NoRows> {
    let mut reader = ByteReader::new(slice);
    let mut rows = Vec::new();
    while !reader.rest().is_empty() {
        let length = reader.u64().map_err(|_| NoRows)?;
        let row = reader.take(usize_of(length)).map_err(|_| NoRows)?;
        rows.push(codec::decode(row).map_err(|_| NoRows)?);
    }
    Ok(rows)
}

/// A slice ends with the row that makes it so long.
const SLICE_BYTES: usize = 64 << 10;

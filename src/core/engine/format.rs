//! How a data directory's first bytes come to be.

use alloc::vec;
use alloc::vec::Vec;

use crate::engine::disk::{DiskOp, DiskOpId, FileId};
use crate::engine::identity::{FormatError, Identity};
use crate::engine::manifest::{FILE_BYTES, Manifest};
use crate::types::{Blob, u64_of};

/// The operations that make an empty directory the first data directory of `identity`, to be done one by one.
///
/// # Errors
/// [`FormatError`] naming what is wrong with the identity.
pub fn format(identity: &Identity) -> Result<Vec<DiskOp>, FormatError> {
    identity.validate()?;
    let too_large = |what| FormatError::TooLarge { groups: identity.groups.len(), what };
    Manifest::fullest(identity.clone()).to_area().map_err(too_large)?;
    let manifest = Manifest::first(identity.clone());
    let area = manifest.to_area().map_err(too_large)?;
    let file = FileId::Manifest;
    Ok(vec![
        DiskOp::Allocate { id: DiskOpId(1), file, bytes: u64_of(FILE_BYTES) },
        DiskOp::Write { id: DiskOpId(2), file, offset: manifest.offset(), data: Blob::from(area) },
        DiskOp::Barrier { id: DiskOpId(3) },
    ])
}

//! Little-endian fields of what lies on a disk, for decoders that share nothing with the engine's.

use chronon_core::types::Hash;

/// Bytes whose fields are read by their place.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    #[inline]
    pub(crate) fn array<const N: usize>(&self, at: usize) -> Result<&'a [u8; N], String> {
        let rest = self.0.get(at..).and_then(|rest| rest.first_chunk());
        rest.ok_or_else(|| format!("it ends before byte {}", at + N))
    }

    pub(crate) fn u32(&self, at: usize) -> Result<u32, String> {
        Ok(u32::from_le_bytes(*self.array(at)?))
    }

    pub(crate) fn u64(&self, at: usize) -> Result<u64, String> {
        Ok(u64::from_le_bytes(*self.array(at)?))
    }

    pub(crate) fn usize(&self, at: usize) -> Result<usize, String> {
        Ok(self.u32(at)? as usize)
    }

    pub(crate) fn hash(&self, at: usize) -> Result<Hash, String> {
        Ok(Hash::from_bytes(*self.array(at)?))
    }
}

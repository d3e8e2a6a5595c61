//! Which [`VirtualDisk`] a node's data directory is driven by.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::sync::Arc;

use chronon_core::engine::VirtualDisk;

use super::disk::DataDirectory;
use super::io_uring_disk::IoUringDisk;
use super::sync_disk::SyncDisk;
use super::wake::Wake;

/// A way to drive a disk.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Backend {
    /// [`IoUringDisk`].
    #[default]
    IoUring,
    /// [`SyncDisk`].
    Sync,
}

impl Backend {
    /// Every one and its word.
    pub const WORDS: [(Self, &'static str); 2] = [(Self::IoUring, "io_uring"), (Self::Sync, "sync")];

    /// Starts the disk of a locked directory; where the kernel refuses io_uring, the log says so and threads do the work.
    /// Completions wake through `wake`.
    ///
    /// # Errors
    /// When no thread can be started, or the disk cannot flush.
    pub fn start(self, directory: DataDirectory, wake: Wake) -> io::Result<Box<dyn VirtualDisk>> {
        let directory = Arc::new(directory);
        let cannot =
            |what| move |error: io::Error| io::Error::new(error.kind(), format!("cannot {what}: {error}"));
        // A barrier covers what this process writes; what the last one wrote is covered here.
        directory.flush_device().map_err(cannot("flush what was written before"))?;
        directory.remove_unfinished().map_err(cannot("remove unfinished files"))?;
        if self == Self::IoUring {
            match IoUringDisk::start(Arc::clone(&directory), wake.clone()) {
                Ok(disk) => return Ok(Box::new(disk)),
                Err(error) => tracing::warn!(%error, "the kernel refuses io_uring: SyncDisk is used"),
            }
        }
        Ok(Box::new(SyncDisk::start(directory, wake)?))
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known = Self::WORDS.into_iter().find(|(backend, _)| backend == self);
        f.write_str(known.expect("every one has a word").1)
    }
}

impl FromStr for Backend {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::WORDS.into_iter().find(|(_, word)| *word == text);
        known.map(|(backend, _)| backend).ok_or_else(|| format!("`{text}` is no disk: io_uring and sync are"))
    }
}

#[cfg(test)]
mod tests;

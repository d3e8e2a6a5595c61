//! What a data directory takes of its file system, for whoever asks while the node runs. It only lists: what is in the files is for the
//! node alone.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use super::disk::JOURNAL;

/// A data directory, from outside.
#[derive(Clone, Debug)]
pub struct DiskUsage {
    /// Where it is.
    pub data_dir: PathBuf,
}

/// What its journal takes.
#[derive(Clone, Debug)]
pub struct JournalUsage {
    /// Its segments, by name.
    pub segments: Vec<SegmentUsage>,
    /// Bytes that the file system has left.
    pub available_bytes: u64,
}

/// A segment's file.
#[derive(Clone, Debug)]
pub struct SegmentUsage {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// When it was last written.
    pub written_at: SystemTime,
}

impl DiskUsage {
    /// What the journal takes now.
    ///
    /// # Errors
    /// When the file system refuses.
    pub fn journal(&self) -> io::Result<JournalUsage> {
        let mut segments = Vec::new();
        for entry in fs::read_dir(self.data_dir.join(JOURNAL))? {
            let entry = entry?;
            let known = entry.metadata()?;
            let name = entry.file_name().to_string_lossy().into_owned();
            segments.push(SegmentUsage { name, bytes: known.len(), written_at: known.modified()? });
        }
        segments.sort_by(|a, b| a.name.cmp(&b.name));
        let system = rustix::fs::statvfs(&self.data_dir)?;
        Ok(JournalUsage { segments, available_bytes: system.f_bavail.saturating_mul(system.f_frsize) })
    }
}

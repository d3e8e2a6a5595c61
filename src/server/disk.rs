//! A node's data directory: where its files lie, how they are opened, and whose process may touch them.
//!
//! ```text
//! DIR/manifest
//! DIR/journal/00000000.segment
//! DIR/snapshots/00000000.snapshot
//! DIR/archive/00000000-0000000000000001.chunk
//! ```
//!
//! The directory itself is locked for as long as a process uses it: two nodes on one journal would destroy it.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use chronon_core::engine::{BLOCK_BYTES, FileId, Identity, Inspection, ReadFile};
use rustix::fs::OFlags;

use super::aligned::{AlignedBuffer, is_aligned};

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// There is no such directory.
    #[error("data directory {}: it does not exist; `chronon format` makes one", .path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// The path leads to something else.
    #[error("data directory {}: this is a file, not a directory", .path.display())]
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// It holds no node.
    #[error("data directory {}: it is not formatted (no file `manifest`); `chronon format` makes a new one", .path.display())]
    NotFormatted {
        /// The directory.
        path: PathBuf,
    },
    /// Formatting would destroy something.
    #[error("data directory {}: it is not empty (it holds `{found}`); only an empty one is formatted", .path.display())]
    NotEmpty {
        /// The directory.
        path: PathBuf,
        /// The first thing in it.
        found: String,
    },
    /// A process uses it.
    #[error("data directory {}: another process is using it", .path.display())]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("data directory {}: cannot {what}: {cause}", .path.display())]
    Io {
        /// The directory.
        path: PathBuf,
        /// What was being done.
        what: &'static str,
        /// The system's word.
        cause: io::Error,
    },
}

/// A data directory that this process has locked.
#[derive(Debug)]
pub struct DataDirectory {
    path: PathBuf,
    /// Holds the lock; it goes when the process does, however that ends.
    lock: File,
}

impl DataDirectory {
    /// Makes `path` an empty data directory, ready to be formatted.
    ///
    /// # Errors
    /// [`DirectoryError`], in particular when anything is there already.
    pub fn create(path: &Path) -> Result<Self, DirectoryError> {
        let io = |what| move |cause| DirectoryError::Io { path: path.to_owned(), what, cause };
        fs::create_dir_all(path).map_err(io("create it"))?;
        let lock = lock(path)?;
        let mut entries = fs::read_dir(path).map_err(io("list it"))?;
        if let Some(entry) = entries.next() {
            let found = entry.map_err(io("list it"))?.file_name().to_string_lossy().into_owned();
            return Err(DirectoryError::NotEmpty { path: path.to_owned(), found });
        }
        for folder in [JOURNAL, SNAPSHOTS, ARCHIVE] {
            fs::create_dir(path.join(folder)).map_err(io("create its folders"))?;
        }
        sync_directory(path).map_err(io("sync it"))?;
        if let Some(parent) = path.canonicalize().map_err(io("resolve it"))?.parent() {
            sync_directory(parent).map_err(io("sync its parent"))?;
        }
        Ok(Self { path: path.to_owned(), lock })
    }

    /// Opens a formatted data directory.
    ///
    /// # Errors
    /// [`DirectoryError`], in particular when another process uses it.
    pub fn open(path: &Path) -> Result<Self, DirectoryError> {
        let lock = lock(path)?;
        let directory = Self { path: path.to_owned(), lock };
        if !directory.path_of(FileId::Manifest).is_file() {
            return Err(DirectoryError::NotFormatted { path: path.to_owned() });
        }
        Ok(directory)
    }

    /// Who it belongs to.
    ///
    /// # Errors
    /// [`InspectError`] when its manifest cannot be read.
    pub fn identity(&self) -> Result<Identity, InspectError> {
        let manifest = self.read_what_can_be_read(FileId::Manifest);
        let identity = chronon_core::engine::identity_of(manifest);
        identity.map_err(|what| InspectError::Storage { path: self.path.clone(), what })
    }

    /// What holds the lock.
    pub(super) fn lock(&self) -> &File {
        &self.lock
    }

    /// Makes durable whatever earlier processes wrote: what is read from now on is not lost later.
    pub(super) fn flush_device(&self) -> io::Result<()> {
        match File::open(self.path_of(FileId::Manifest)) {
            Ok(manifest) => manifest.sync_data(),
            // Nothing was written yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Removes files that a process was killed over before they were whole. Nobody reads them, and for as long as none of the
    /// same name is made they take the space of others.
    pub(super) fn remove_unfinished(&self) -> io::Result<()> {
        for folder in
            [self.path.clone(), self.path.join(JOURNAL), self.path.join(SNAPSHOTS), self.path.join(ARCHIVE)]
        {
            let entries = match fs::read_dir(folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                entries => entries?,
            };
            for entry in entries {
                let path = entry?.path();
                if path.extension().is_some_and(|extension| extension == UNFINISHED) {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }

    /// Where the directory is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a file lies.
    pub fn path_of(&self, file: FileId) -> PathBuf {
        Self::place(&self.path, file)
    }

    /// Where a file of the directory at `path` lies.
    pub fn place(path: &Path, file: FileId) -> PathBuf {
        match file {
            FileId::Manifest => path.join("manifest"),
            FileId::Segment(slot) => path.join(JOURNAL).join(format!("{slot:08}.segment")),
            FileId::Snapshot(slot) => path.join(SNAPSHOTS).join(format!("{slot:08}.snapshot")),
            FileId::Archive { group, number } => {
                path.join(ARCHIVE).join(format!("{:08}-{number:016}.chunk", group.get()))
            }
            FileId::Reserve => path.join("reserve"),
        }
    }

    /// Opens a file so that a completed write is durable, past the page cache.
    pub(super) fn open_for_writes(&self, file: FileId) -> io::Result<File> {
        open_direct(OpenOptions::new().write(true), OFlags::DSYNC, &self.path_of(file))
    }

    /// Opens a file so that reads come from the device and not from the page cache.
    pub(super) fn open_for_reads(&self, file: FileId) -> io::Result<File> {
        open_direct(OpenOptions::new().read(true), OFlags::empty(), &self.path_of(file))
    }

    /// A whole file, with zeros for blocks that cannot be read; `None` when it cannot be opened.
    fn read_what_can_be_read(&self, file: FileId) -> Option<ReadFile> {
        let file = self.open_for_reads(file).ok()?;
        let bytes = usize::try_from(file.metadata().ok()?.len()).ok()?;
        let mut buffer = AlignedBuffer::new(bytes.next_multiple_of(BLOCK_BYTES));
        let mut unreadable = Vec::new();
        for (index, block) in buffer.as_mut_slice().chunks_mut(READ_BYTES).enumerate() {
            let at = index * READ_BYTES;
            if read_to(&file, block, at as u64).is_err() {
                for (index, block) in block.chunks_mut(BLOCK_BYTES).enumerate() {
                    let at = at + index * BLOCK_BYTES;
                    if read_to(&file, block, at as u64).is_err() {
                        block.fill(0);
                        unreadable.push(at);
                    }
                }
            }
        }
        Some(ReadFile { bytes: buffer.into_bytes().slice(..bytes), unreadable })
    }

    /// Makes `file` exist with `bytes` zeros, durably. Until all of that is true, what was there before is untouched. A file
    /// that is to be empty is cut where it lies: on a full disk there is no space for another one, however short.
    pub(super) fn allocate(&self, file: FileId, bytes: u64) -> io::Result<()> {
        let path = self.path_of(file);
        if bytes == 0 && matches!(file, FileId::Archive { .. }) {
            // Its name is never used again, but the next chunk may use its blocks.
            return match fs::rename(&path, self.spare_chunk()) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => sync_directory(path.parent().unwrap_or(&self.path)),
            };
        }
        if bytes == 0 {
            return match OpenOptions::new().write(true).open(&path) {
                Ok(file) => file.set_len(0).and_then(|()| file.sync_all()),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                Err(error) => Err(error),
            };
        }
        let zeros = AlignedBuffer::new(ZEROS_BYTES);
        let pieces = (0..bytes).step_by(ZEROS_BYTES).map(|at| {
            let left = usize::try_from(bytes - at).unwrap_or(usize::MAX);
            &zeros.as_slice()[..left.min(ZEROS_BYTES)]
        });
        self.replace(&path, |unfinished| write_whole(unfinished, pieces))
    }

    /// Makes `file` hold `data` and nothing else, durably. Until all of that is true, what was there before is untouched.
    pub(super) fn put(&self, file: FileId, data: &[u8]) -> io::Result<()> {
        let mut copy = AlignedBuffer::new(if is_aligned(data) { 0 } else { data.len() });
        let data = if is_aligned(data) {
            data
        } else {
            copy.as_mut_slice().copy_from_slice(data);
            copy.as_slice()
        };
        self.replace(&self.path_of(file), |unfinished| {
            if matches!(file, FileId::Archive { .. }) {
                // To write over blocks that are there takes a third of the time. Without a spare the file is made.
                let _ = fs::rename(self.spare_chunk(), unfinished);
            }
            write_whole(unfinished, data.chunks(PIECE_BYTES))
        })
    }

    fn replace(&self, path: &Path, write: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
        let unfinished = path.with_extension(UNFINISHED);
        if let Err(error) = write(&unfinished).and_then(|()| fs::rename(&unfinished, path)) {
            // Best effort: what is left over is never read, and the next one writes over it. There may be no space.
            let _ = fs::remove_file(&unfinished);
            let _ = fs::remove_file(self.spare_chunk());
            return Err(error);
        }
        sync_directory(path.parent().unwrap_or(&self.path))
    }

    /// A chunk that was kept no more.
    fn spare_chunk(&self) -> PathBuf {
        self.path.join(ARCHIVE).join("spare")
    }
}

/// Reads the data directory at `path` as a start would, while no process uses it; nothing is written.
///
/// # Errors
/// [`InspectError`], in particular when a process uses it.
pub fn inspect(path: &Path) -> Result<Inspection, InspectError> {
    let directory = DataDirectory::open(path)?;
    let inspected = chronon_core::engine::inspect(|file| directory.read_what_can_be_read(file));
    inspected.map_err(|what| InspectError::Storage { path: path.to_owned(), what })
}

/// Why a data directory cannot be looked at.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// It cannot be opened.
    #[error(transparent)]
    Directory(#[from] DirectoryError),
    /// It holds nothing that can be read.
    #[error("data directory {}: {what}", .path.display())]
    Storage {
        /// The directory.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
}

/// Makes a file of these pieces, which a device takes where they lie, and syncs it. Past the page cache, which would copy
/// every byte, and a piece at a time, so that the flushes of the journal beside it never wait behind one long burst.
fn write_whole<'a>(path: &Path, pieces: impl Iterator<Item = &'a [u8]>) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = open_direct(options.write(true).create(true).truncate(false), OFlags::empty(), path)?;
    let mut bytes = 0;
    for piece in pieces {
        file.write_all(piece)?;
        bytes += piece.len() as u64;
    }
    if file.metadata()?.len() > bytes {
        file.set_len(bytes)?;
    }
    file.sync_all()
}

/// Reads up to the end of `room` or of the file.
fn read_to(file: &File, room: &mut [u8], at: u64) -> io::Result<()> {
    let mut have = 0;
    while have < room.len() {
        match file.read_at(&mut room[have..], at + have as u64)? {
            0 => break,
            read => have += read,
        }
        // The file ends within a block, and there is no reading on from there past the page cache.
        if !have.is_multiple_of(BLOCK_BYTES) {
            break;
        }
    }
    Ok(())
}

/// Opens with `O_DIRECT`, or through the page cache where the filesystem knows no other way.
fn open_direct(options: &mut OpenOptions, others: OFlags, path: &Path) -> io::Result<File> {
    match options.custom_flags(flags(others | OFlags::DIRECT)).open(path) {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            tracing::warn!(file = %path.display(), "the filesystem refuses O_DIRECT: the page cache is used");
            options.custom_flags(flags(others)).open(path)
        }
        other => other,
    }
}

fn lock(path: &Path) -> Result<File, DirectoryError> {
    let path = path.to_owned();
    let metadata = match fs::metadata(&path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(DirectoryError::Missing { path });
        }
        Err(cause) => return Err(DirectoryError::Io { path, what: "open it", cause }),
    };
    if !metadata.is_dir() {
        return Err(DirectoryError::NotADirectory { path });
    }
    let directory = match File::open(&path) {
        Ok(directory) => directory,
        Err(cause) => return Err(DirectoryError::Io { path, what: "open it", cause }),
    };
    // A process that was just killed holds its lock until the kernel has let go of its memory.
    let deadline = Instant::now() + LOCK_WAIT_MAX;
    loop {
        match directory.try_lock() {
            Ok(()) => return Ok(directory),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => thread::sleep(LOCK_RETRY_EVERY),
            Err(TryLockError::WouldBlock) => return Err(DirectoryError::InUse { path }),
            Err(TryLockError::Error(cause)) => {
                return Err(DirectoryError::Io { path, what: "lock it", cause });
            }
        }
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// The bits of flags as the standard library takes them.
fn flags(flags: OFlags) -> i32 {
    flags.bits().cast_signed()
}

/// How long a start waits for the lock of a process that is ending.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(2);
const LOCK_RETRY_EVERY: Duration = Duration::from_millis(20);
pub(super) const JOURNAL: &str = "journal";
const SNAPSHOTS: &str = "snapshots";
const ARCHIVE: &str = "archive";
/// Extends the names of files that are being made.
const UNFINISHED: &str = "unfinished";
/// Bytes asked for at once.
const READ_BYTES: usize = 1 << 20;

/// Bytes of zeros written at a time.
const ZEROS_BYTES: usize = 256 << 10;
/// Bytes of a file that is put there, written at a time: no more than the longest flush.
const PIECE_BYTES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use chronon_core::engine::FileId;
    use chronon_core::types::GroupId;
    use rustix::fs::OFlags;

    use super::{DataDirectory, DirectoryError};

    #[test]
    fn a_directory_with_anything_in_it_is_not_formatted_again() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("node");
        drop(DataDirectory::create(&path).unwrap());
        let again = DataDirectory::create(&path).unwrap_err();
        assert!(matches!(again, DirectoryError::NotEmpty { .. }), "{again}");
    }

    #[test]
    fn a_directory_in_use_is_refused_until_its_user_is_gone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("node");
        let first = DataDirectory::create(&path).unwrap();
        first.allocate(FileId::Manifest, 4096).unwrap();
        assert!(matches!(DataDirectory::open(&path).unwrap_err(), DirectoryError::InUse { .. }));
        drop(first);
        DataDirectory::open(&path).unwrap();
    }

    #[test]
    fn a_completed_write_is_durable_and_past_the_page_cache() {
        let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let folder = tempfile::tempdir_in(beside).unwrap();
        let directory = DataDirectory::create(&folder.path().join("node")).unwrap();
        directory.allocate(FileId::Segment(0), 4096).unwrap();
        let file = directory.open_for_writes(FileId::Segment(0)).unwrap();
        let flags = rustix::fs::fcntl_getfl(&file).unwrap();
        assert!(flags.contains(OFlags::DSYNC | OFlags::DIRECT), "{flags:?}");
    }

    #[test]
    fn a_chunk_takes_the_place_of_one_that_is_kept_no_more_and_holds_nothing_of_it() {
        let beside = std::env::current_exe().unwrap().parent().unwrap().to_owned();
        let folder = tempfile::tempdir_in(beside).unwrap();
        let directory = DataDirectory::create(&folder.path().join("node")).unwrap();
        let chunk = |number| FileId::Archive { group: GroupId::new(1), number };
        let held = |number| std::fs::read(directory.path_of(chunk(number))).ok();
        let length = 3 << 20;
        directory.put(chunk(1), &vec![1; length]).unwrap();
        let inode = |number| std::fs::metadata(directory.path_of(chunk(number))).unwrap().ino();
        let first = inode(1);
        directory.allocate(chunk(1), 0).unwrap();
        assert_eq!(held(1), None);
        directory.put(chunk(2), &vec![2; length - 4096]).unwrap();
        assert_eq!((inode(2), held(2)), (first, Some(vec![2; length - 4096])), "its blocks are used again");
        directory.put(chunk(2), &vec![3; length]).unwrap();
        assert_eq!(held(2), Some(vec![3; length]));
        directory.allocate(chunk(2), 0).unwrap();
        directory.allocate(chunk(2), 0).unwrap();
        assert_eq!(held(2), None, "to remove it again changes nothing");
    }

    #[test]
    fn errors_tell_what_is_wrong_with_the_path() {
        let parent = tempfile::tempdir().unwrap();
        let missing = parent.path().join("nowhere");
        assert!(matches!(DataDirectory::open(&missing).unwrap_err(), DirectoryError::Missing { .. }));
        let empty = parent.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        assert!(matches!(DataDirectory::open(&empty).unwrap_err(), DirectoryError::NotFormatted { .. }));
        let file = parent.path().join("file");
        std::fs::write(&file, "x").unwrap();
        assert!(matches!(DataDirectory::open(&file).unwrap_err(), DirectoryError::NotADirectory { .. }));
    }
}

//! A disk whose power can be cut: an XFS filesystem of its own on a loop device.
//!
//! ```text
//! make     FOLDER/image is formatted, and mounted on FOLDER/top
//! cut      the filesystem shuts down: writes, files and renames that nobody synced are gone, and nothing more is taken
//! restore  it is mounted again, as by a machine that comes back, and goes through its log
//! drop     it is unmounted; so it is when this process is killed
//! ```
//!
//! What is synced has reached the image, an ordinary file that outlives every cut. A drive that forgets what it has in a
//! cache of its own is therefore another matter.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A mounted filesystem.
#[derive(Debug)]
pub struct LoopDisk {
    image: PathBuf,
    top: PathBuf,
    /// Unmounts once its standard input is closed: by this process, or by its end.
    keeper: Child,
}

/// Why there is no such disk.
#[derive(Debug, thiserror::Error)]
pub enum LoopDiskError {
    /// Something is not there.
    #[error("a filesystem whose power can be cut takes what is not to be had here: {}", .0.join(", "))]
    Lacking(Vec<String>),
    /// A program did not do as it was told.
    #[error("`{command}` failed: {words}")]
    Command {
        /// What was run.
        command: String,
        /// What it said.
        words: String,
    },
    /// The operating system refused.
    #[error("cannot {what} {}: {cause}", .path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To what.
        path: PathBuf,
        /// The system's word.
        cause: io::Error,
    },
    /// The filesystem is there all the same.
    #[error("{}: it is read although its power was cut", .0.display())]
    NotCut(PathBuf),
}

impl LoopDisk {
    /// Makes one in `folder`, which must not exist.
    ///
    /// # Errors
    /// [`LoopDiskError`]; nothing of it is left then. What is lacking is named before anything is made.
    pub fn make(folder: &Path) -> Result<Self, LoopDiskError> {
        let lacking = lacking();
        if !lacking.is_empty() {
            return Err(LoopDiskError::Lacking(lacking));
        }
        fs::create_dir(folder).map_err(io("make", folder))?;
        let made = Self::make_in(folder);
        if made.is_err() {
            // Best effort: the error that is told is the first one.
            let _ = fs::remove_dir_all(folder);
        }
        made
    }

    fn make_in(folder: &Path) -> Result<Self, LoopDiskError> {
        let (image, top) = (folder.join("image"), folder.join("top"));
        fs::create_dir(&top).map_err(io("make", &top))?;
        let file = File::create_new(&image).map_err(io("make", &image))?;
        file.set_len(IMAGE_BYTES).map_err(io("lengthen", &image))?;
        run(Command::new("mkfs.xfs").arg("-q").arg(&image))?;
        let keeper = Command::new("sh")
            .args(["-c", "read -r _; umount --lazy \"$0\""])
            .arg(&top)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // An interrupt from the keyboard ends the test, and not what tidies up behind it.
            .process_group(0)
            .spawn()
            .map_err(io("watch over", &top))?;
        let disk = Self { image, top, keeper };
        disk.mount()?;
        Ok(disk)
    }

    /// The file that it lies in.
    pub fn image(&self) -> &Path {
        &self.image
    }

    /// Where it is mounted.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// Cuts its power.
    ///
    /// # Errors
    /// [`LoopDiskError`], in particular when it is there all the same.
    pub fn cut(&self) -> Result<(), LoopDiskError> {
        run(Command::new("xfs_io").args(["-x", "-c", "shutdown"]).arg(&self.top))?;
        // A test whose power cuts do nothing would prove nothing.
        if fs::read_dir(&self.top).is_ok() {
            return Err(LoopDiskError::NotCut(self.top.clone()));
        }
        Ok(())
    }

    /// Brings it back after a cut, once every process that used it has ended.
    ///
    /// # Errors
    /// [`LoopDiskError`], in particular when it stays in use.
    pub fn restore(&self) -> Result<(), LoopDiskError> {
        let start = Instant::now();
        // What a killed process had given to io_uring keeps files open until the kernel is done with it.
        while let Err(error) = run(Command::new("umount").arg(&self.top)) {
            if start.elapsed() > UNMOUNT_WAIT_MAX {
                return Err(error);
            }
            thread::sleep(UNMOUNT_RETRY_EVERY);
        }
        self.mount()
    }

    fn mount(&self) -> Result<(), LoopDiskError> {
        run(Command::new("mount").args(["-t", "xfs", "-o", "loop"]).args([&self.image, &self.top]))
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        // Best effort: it ends by itself, and there is nobody left to tell.
        let _ = self.keeper.wait();
    }
}

/// What is not here and would be needed.
fn lacking() -> Vec<String> {
    let not_root = (!rustix::process::geteuid().is_root()).then(|| "the rights of root".to_owned());
    let is_missing = |program: &str| {
        let tried = Command::new(program).arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
        tried.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    };
    let programs = PROGRAMS.into_iter().filter(|(program, _)| is_missing(program));
    not_root
        .into_iter()
        .chain(programs.map(|(program, from)| format!("{program} (package {from})")))
        .collect()
}

fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LoopDiskError {
    let path = path.to_owned();
    move |cause| LoopDiskError::Io { what, path, cause }
}

fn run(command: &mut Command) -> Result<(), LoopDiskError> {
    let output = command.stdin(Stdio::null()).output();
    let words = match output {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; "),
        Err(error) => error.to_string(),
    };
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    let command = [command.get_program().to_string_lossy()].into_iter().chain(arguments);
    Err(LoopDiskError::Command { command: command.collect::<Vec<_>>().join(" "), words })
}

/// What is run, and the package that has it.
const PROGRAMS: [(&str, &str); 4] =
    [("mkfs.xfs", "xfsprogs"), ("xfs_io", "xfsprogs"), ("mount", "mount"), ("umount", "mount")];
/// Room for a journal of full length and its snapshots; `mkfs.xfs` takes no less than 300 MiB. The file has holes.
const IMAGE_BYTES: u64 = 400 << 20;
/// How long a killed process may keep the filesystem in use.
const UNMOUNT_WAIT_MAX: Duration = Duration::from_secs(20);
const UNMOUNT_RETRY_EVERY: Duration = Duration::from_millis(10);

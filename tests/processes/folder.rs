//! The binary under test, where it may write, and what it says.

use std::path::{Path, PathBuf};

use chronon::cli::local_cluster::LocalCluster;

/// The binary under test.
pub const CHRONON: &str = env!("CARGO_BIN_EXE_chronon");

/// A new folder on a real disk. It is removed afterwards unless the test failed.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("logs and data are kept in {}", self.0.display());
        } else {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

/// What a node has logged so far.
pub fn log_of(cluster: &LocalCluster, index: usize) -> String {
    std::fs::read_to_string(cluster.log(index)).unwrap()
}

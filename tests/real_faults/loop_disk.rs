//! The filesystem that can lose its power, before anybody is judged by it.

use std::fs::{self, File};
use std::io::Write as _;

use chronon::cli::loop_disk::LoopDisk;

use crate::folder::Folder;

#[test]
fn a_cut_takes_what_nobody_synced_and_nothing_else() {
    let folder = Folder::new("loop-disk");
    let disk = LoopDisk::make(&folder.path().join("disk")).unwrap();
    let at = |name: &str| disk.top().join(name);
    let mut kept = File::create(at("kept")).unwrap();
    kept.write_all(b"synced").unwrap();
    kept.sync_all().unwrap();
    File::open(disk.top()).unwrap().sync_all().unwrap();

    kept.write_all(b", and more").unwrap();
    fs::write(at("new"), "nobody synced it").unwrap();
    fs::rename(at("kept"), at("renamed")).unwrap();
    drop(kept);
    disk.cut().unwrap();
    assert!(fs::write(at("later"), "too late").is_err());
    disk.restore().unwrap();
    assert_eq!(fs::read_to_string(at("kept")).unwrap(), "synced");
    assert_eq!(fs::read_dir(disk.top()).unwrap().count(), 1);
}

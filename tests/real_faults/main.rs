//! Real faults: disks that lose their power, go away or are full, and system calls that fail. They take root, loop devices,
//! `xfsprogs` and `strace`, so these tests run when somebody asks for them by name: `cargo test --test real_faults`.
//! `./check` does wherever it can.

#[path = "../processes/folder.rs"]
mod folder;
mod injected;
mod loop_disk;
mod power_cut;
mod series;

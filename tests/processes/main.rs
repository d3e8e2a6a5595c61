//! Real processes on a real disk: they are killed, paused, misused and fed with garbage, and must keep every promise.

mod archive;
mod command_line;
mod crash_test;
mod garbage;
mod history;
mod injected;
mod kill;
mod load;
mod lost_disk;
mod nemesis;
mod power_cut;
mod rot;
mod series;
mod support;
mod transfer;

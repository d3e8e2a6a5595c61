//! Real processes on a real disk: they are killed, paused, misused and fed with garbage, and must keep every promise.

mod archive;
mod client_events;
mod command_line;
mod crash_test;
mod events;
mod folder;
mod garbage;
mod history;
mod kill;
mod load;
mod lost_disk;
mod membership;
mod nemesis;
mod rot;
mod support;
mod transfer;
mod webhooks;
mod workers;

//! The production driver of Chronon: real disks, sockets and threads around the pure node, the command line, and a
//! client library.

pub mod cli;
pub mod client;
pub mod gateway;
pub mod server;

//! What every system here is: a cluster of three in one thread that commits commands of clients.

/// How commands come.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// As the table names it.
    pub name: &'static str,
    /// Commands that are under way at once: none of a round is proposed before all of the round before were answered.
    pub window: usize,
    /// Commands in a proposal.
    pub batch: usize,
    /// Commands in a measurement, a multiple of the window.
    pub commands: usize,
}

/// A cluster.
pub trait System {
    /// Has a window of new commands committed, and everything said that follows from it; how many were answered.
    fn round(&mut self) -> usize;

    /// Messages between nodes so far.
    fn messages(&self) -> u64;
}

/// What nodes take for the time goes on by so much a command: timers fire as they would at 200,000 commands a second, and every
/// run does the same.
pub const NS_A_COMMAND: u64 = 5_000;

/// Bytes of a command.
pub const PAYLOAD_BYTES: usize = 256;

/// The body of the command of this number, fresh as one that a client sends.
pub fn payload(number: u64) -> Vec<u8> {
    let mut payload = vec![0x5a; PAYLOAD_BYTES];
    payload[..8].copy_from_slice(&number.to_le_bytes());
    payload
}

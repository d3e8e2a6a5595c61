//! What can go wrong for a client.

use std::net::SocketAddr;
use std::time::Duration;

use chronon_core::builtin::BuiltinError;
use chronon_core::types::Blob;

/// Why a request has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The client was told of no node.
    #[error("no address of a node was given")]
    NoAddress,
    /// A node cannot be asked at all.
    #[error("node at {address}: {what}")]
    Unreachable {
        /// Where it should be.
        address: SocketAddr,
        /// What happened.
        what: String,
    },
    /// No answer came in time. Whether the command was executed is not known.
    #[error("no answer within {after:?}; the last that happened: {last}")]
    TimedOut {
        /// How long the client waited.
        after: Duration,
        /// What it heard last.
        last: String,
    },
    /// The cluster has forgotten the session. Whether the command was executed is not known.
    #[error("the cluster has forgotten this session, as too many others were opened since")]
    Evicted,
    /// The application refused, with its error as `codec::decode` reads it; nothing has changed.
    #[error("the application refused")]
    Refused(Blob),
    /// The application panicked over the command, and an operator had it skipped; nothing has changed.
    #[error("the application could not execute the command, and an operator had it skipped at op {op}")]
    Skipped {
        /// The entry that held it.
        op: u64,
    },
    /// The application panicked over a question.
    #[error("the application could not answer the question, and panicked: {what}")]
    Panicked {
        /// What it said.
        what: String,
    },
    /// What an operator wants of a group cannot be done.
    #[error("{what}")]
    Declined {
        /// What a node said.
        what: String,
    },
    /// A worker's lease is in force no more, or nobody knows whether what it did is recorded: unless the side effect has ended it is
    /// granted again, to anybody, under the same idempotency key.
    #[error("the lease is of no more use: {what}")]
    Stale {
        /// What a node said.
        what: String,
    },
    /// An application that the binary ships refused; nothing has changed.
    #[error("{0}")]
    RefusedBuiltin(BuiltinError),
    /// No such group.
    #[error("group {group}: the cluster has no such group")]
    UnknownGroup {
        /// The group.
        group: u32,
    },
    /// The command or the question is too long; nothing has changed.
    #[error("command or question of {bytes} bytes; at most {max} are allowed")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// What is allowed.
        max: u32,
    },
    /// The state that was asked for is longer than an answer may be.
    #[error("the answer is longer than {max} bytes; ask for less at a time")]
    AnswerTooLong {
        /// Bytes allowed.
        max: u32,
    },
    /// There is no such session, or it waits for an answer already.
    #[error("session {session}: there is none, or it still waits for an answer")]
    NoSession {
        /// The session.
        session: usize,
    },
    /// The other side answered what cannot be an answer.
    #[error("an answer that makes no sense: {what}")]
    Protocol {
        /// What is wrong with it.
        what: String,
    },
    /// There is no randomness to draw a client id from.
    #[error("the operating system gives no random bytes: {0}")]
    Entropy(getrandom::Error),
}

//! Why nothing came of what was asked of the event database.

use std::time::Duration;

use tonic::{Code, Status};

/// Why nothing came of it.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// There is nobody to ask.
    #[error("no address was given")]
    NoAddress,
    /// It cannot be connected to.
    #[error("{address:?} is not a URL such as http://127.0.0.1:9000")]
    BadAddress {
        /// What was given.
        address: String,
    },
    /// No address could be connected to.
    #[error("no node serves gRPC at {addresses}: {last}")]
    Unreachable {
        /// All that were tried.
        addresses: String,
        /// The last one's word.
        last: String,
    },
    /// The event is not accepted, or the delivery not settled: it is of no use to try again.
    #[error("{why}")]
    Refused {
        /// In the cluster's words.
        why: String,
    },
    /// There is no such thing.
    #[error("{why}")]
    NotFound {
        /// In the cluster's words.
        why: String,
    },
    /// Nobody has answered in time: what was asked for is done, or is not.
    #[error("no answer within {after:?}: {last}")]
    TimedOut {
        /// For so long it was tried.
        after: Duration,
        /// Why the last attempt failed.
        last: String,
    },
    /// There is no randomness for a name.
    #[error("the operating system gives no random bytes: {0}")]
    Entropy(getrandom::Error),
}

impl EventsError {
    /// What a status means that is not to be tried again.
    pub(super) fn of(status: &Status) -> Self {
        let why = status.message().to_owned();
        match status.code() {
            Code::NotFound => Self::NotFound { why },
            _ => Self::Refused { why },
        }
    }
}

/// Whether it may go better the next time, or at another node.
pub(super) fn is_passing(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable
            | Code::ResourceExhausted
            | Code::Unknown
            | Code::Internal
            | Code::Cancelled
            | Code::Aborted
            | Code::DeadlineExceeded
    )
}

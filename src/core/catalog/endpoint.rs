//! Endpoints: where the events of a topic are posted, each to all of them. An endpoint is a consumer group whose member a node is.

use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

use crate::catalog::CatalogError;
use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::events::{GroupOptions, Mode, Start};
use crate::types::{Nanos, u64_of};

/// An endpoint of a topic.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Endpoint {
    /// Names it within its topic.
    pub name: String,
    /// A URL, or `topic:NAME`.
    pub target: String,
    /// So many events of a partition are posted at once.
    pub concurrency: u32,
    /// A post that has no answer for so long has failed.
    pub timeout: Nanos,
    /// Whether events of one ordering key are posted one after the other.
    pub is_ordered: bool,
    /// An event is posted so often, then it is a dead letter; 0 is without end.
    pub attempts_max: u32,
    /// How long an event rests after its first failure; twice as long after each further one.
    pub rest: Nanos,
    /// It rests no longer than this.
    pub rest_max: Nanos,
    /// Keys of signatures: the newest first, and those that receivers may still know.
    pub secrets: Vec<String>,
    /// So many events are posted in a second, of all partitions; 0 is as fast as they come. It is kept by each node for what it posts.
    pub rate: u32,
    /// After so many failures in a row the target is left alone for a while; 0 is never.
    pub failures_max: u32,
}

impl Endpoint {
    /// The consumer group that the endpoint is.
    pub fn group(&self) -> String {
        format!("{GROUP_PREFIX}{}", self.name)
    }

    /// How that behaves.
    pub fn group_options(&self) -> GroupOptions {
        GroupOptions {
            mode: if self.is_ordered { Mode::Ordered } else { Mode::Shared },
            start: Start::Latest,
            ack_timeout: Nanos::from_nanos(self.timeout.as_nanos().saturating_add(SETTLING.as_nanos())),
            attempts_max: self.attempts_max,
            rest: self.rest,
            rest_max: self.rest_max,
        }
    }

    /// Whether there may be such an endpoint.
    ///
    /// # Errors
    /// [`CatalogError::BadEndpoint`].
    pub(super) fn check(&self) -> Result<(), CatalogError> {
        let refuse = |why: String| Err(CatalogError::BadEndpoint(why));
        if self.name.is_empty() || u64_of(self.name.len()) > NAME_BYTES_MAX {
            return refuse(format!("its name must have 1 to {NAME_BYTES_MAX} bytes"));
        }
        if self.target.is_empty() || u64_of(self.target.len()) > TARGET_BYTES_MAX {
            return refuse(format!("its target must have 1 to {TARGET_BYTES_MAX} bytes"));
        }
        if !(1..=CONCURRENCY_MAX).contains(&self.concurrency) {
            return refuse(format!("its concurrency must be 1 to {CONCURRENCY_MAX}"));
        }
        if !(TIMEOUT_MIN..=TIMEOUT_MAX).contains(&self.timeout) {
            return refuse("its timeout must be 100 ms to 10 minutes".to_string());
        }
        if self.rate > RATE_MAX {
            return refuse(format!("its rate must be 1 to {RATE_MAX} events a second, or 0 for no bound"));
        }
        if self.failures_max > FAILURES_MAX {
            return refuse(format!(
                "it is left alone after 1 to {FAILURES_MAX} failures in a row, or never for 0"
            ));
        }
        if u64_of(self.secrets.len()) > SECRETS_MAX {
            return refuse(format!("it has {SECRETS_MAX} secrets at most"));
        }
        if self.secrets.iter().any(|secret| secret.is_empty() || u64_of(secret.len()) > SECRET_BYTES_MAX) {
            return refuse(format!("a secret must have 1 to {SECRET_BYTES_MAX} bytes"));
        }
        Ok(())
    }

    /// Whether the endpoint may be changed into `other`: its consumer group stays as it was made.
    ///
    /// # Errors
    /// [`CatalogError::EndpointStays`].
    pub(super) fn check_change(&self, other: &Self) -> Result<(), CatalogError> {
        if self.group_options() == other.group_options() {
            return Ok(());
        }
        Err(CatalogError::EndpointStays(self.name.clone()))
    }
}

/// Consumer groups that are endpoints.
const GROUP_PREFIX: &str = "endpoint:";
/// Endpoints of a topic.
pub(super) const ENDPOINTS_MAX: u64 = 16;
const NAME_BYTES_MAX: u64 = 64;
const TARGET_BYTES_MAX: u64 = 2048;
const CONCURRENCY_MAX: u32 = 1000;
const TIMEOUT_MIN: Nanos = Nanos::from_millis(100);
const TIMEOUT_MAX: Nanos = Nanos::from_secs(600);
const RATE_MAX: u32 = 1_000_000;
const FAILURES_MAX: u32 = 1000;
const SECRETS_MAX: u64 = 4;
const SECRET_BYTES_MAX: u64 = 128;
/// A post that was answered in time is settled within this.
const SETTLING: Nanos = Nanos::from_secs(15);

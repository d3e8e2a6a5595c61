//! What an application asks the outside world to do, and what becomes of it.

use alloc::string::String;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::types::{Blob, GroupInit, Hash, Nanos, Op, u64_of};

/// Bytes of a side effect's target and body together, at most.
pub const SIDE_EFFECT_BYTES_MAX: u32 = 256 << 10;
/// Targets that begin so are pulled by workers; the queue is what follows.
pub const WORKER_PREFIX: &str = "worker:";
/// Bytes of a queue's name, at most.
pub const QUEUE_BYTES_MAX: usize = 128;
/// Attempts at a side effect, at most.
pub const ATTEMPTS_MAX: u32 = 100_000;
/// Each failure is an entry of the log: nobody may have it filled with them.
const REST_MIN: Nanos = Nanos::from_millis(50);
/// Bytes of an executor's answer that the log keeps, at most; the rest is cut off.
pub const SIDE_EFFECT_ANSWER_BYTES_MAX: usize = 4 << 10;

/// Something to be done outside of the cluster, once.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct SideEffect {
    target: String,
    body: Blob,
    retry: Retry,
}

/// How often a side effect is tried, and how long it rests in between: twice as long after each failure.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Retry {
    /// After so many failures it is given up: 1 to [`ATTEMPTS_MAX`].
    pub attempts_max: u32,
    /// After the first failure.
    pub first: Nanos,
    /// After any failure, at most. No rest is shorter than 50 ms.
    pub most: Nanos,
}

notation_struct!("retry" => Retry { attempts_max, first, most });
notation_struct!("side-effect" => SideEffect { target, body, retry });

/// Why something is no side effect.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SideEffectError {
    /// It is too long for the log.
    #[error("a side effect of {bytes} bytes, target and body; {SIDE_EFFECT_BYTES_MAX} are allowed")]
    TooLong {
        /// Target and body.
        bytes: u64,
    },
    /// It could never be tried, or would be tried for ever.
    #[error("a side effect that is to be tried {found} times; 1 to {ATTEMPTS_MAX} are allowed")]
    Attempts {
        /// How often it was to be tried.
        found: u32,
    },
    /// Workers could not ask for it.
    #[error("a queue of {bytes} bytes; the target `worker:QUEUE` names one of 1 to {QUEUE_BYTES_MAX}")]
    Queue {
        /// Bytes of its name.
        bytes: usize,
    },
}

impl SideEffect {
    /// A side effect that whoever serves `target` executes.
    ///
    /// # Errors
    /// [`SideEffectError`].
    pub fn new(target: String, body: Blob, retry: Retry) -> Result<Self, SideEffectError> {
        let side_effect = Self { target, body, retry };
        let bytes = side_effect.bytes();
        if bytes > u64::from(SIDE_EFFECT_BYTES_MAX) {
            return Err(SideEffectError::TooLong { bytes });
        }
        if !(1..=ATTEMPTS_MAX).contains(&retry.attempts_max) {
            return Err(SideEffectError::Attempts { found: retry.attempts_max });
        }
        match side_effect.queue().map(str::len) {
            Some(bytes) if !(1..=QUEUE_BYTES_MAX).contains(&bytes) => Err(SideEffectError::Queue { bytes }),
            Some(_) | None => Ok(side_effect),
        }
    }

    /// Who is to execute it: what the driver knows an executor by, such as a URL, or `worker:QUEUE`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The queue from which workers pull it; `None` where it is pushed to an executor.
    pub fn queue(&self) -> Option<&str> {
        self.target.strip_prefix(WORKER_PREFIX)
    }

    /// What the executor is given.
    pub fn body(&self) -> &Blob {
        &self.body
    }

    /// Bytes of target and body.
    pub(in crate::kernel) fn bytes(&self) -> u64 {
        u64_of(self.target.len()) + u64_of(self.body.as_slice().len())
    }

    /// How often it is tried.
    pub fn retry(&self) -> Retry {
        self.retry
    }
}

impl Retry {
    /// How long to rest after so many failures, from 1.
    pub(in crate::kernel) fn rest(self, failures: u32) -> Nanos {
        let factor = 1_u64.checked_shl(failures.saturating_sub(1)).unwrap_or(u64::MAX);
        self.first.times(factor).min(self.most).max(REST_MIN)
    }
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts_max: 20, first: Nanos::from_millis(500), most: Nanos::from_secs(60) }
    }
}

/// Where a side effect was emitted: the op, and which of those of the op it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Place {
    /// The entry whose execution emitted it.
    pub op: Op,
    /// From 0.
    pub index: u32,
}

notation_struct!("place" => Place { op, index });

/// Names a side effect for all time, among all clusters of different ids: the idempotency key of all its attempts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Ord, PartialOrd, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct SideEffectId(pub Hash);

notation_newtype!(SideEffectId);
notation_text!(SideEffectId);

impl SideEffectId {
    /// The id of what was emitted at `place` in the group with these founding facts: blake3 of cluster, group, op and index.
    pub fn of(init: &GroupInit, place: Place) -> Self {
        Self(Hash::of_pieces(&[
            b"chronon side effect",
            &init.cluster.get().to_le_bytes(),
            &init.group.get().to_le_bytes(),
            &place.op.get().to_le_bytes(),
            &place.index.to_le_bytes(),
        ]))
    }
}

/// How an attempt ended.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub enum AttemptResult {
    /// It took effect, now or in an earlier attempt with the same key. The executor's answer.
    Done(Blob),
    /// It may have taken effect or not: it is to be tried again.
    Failed {
        /// Why.
        why: Blob,
        /// The executor asks for a rest that is at least so long.
        rest: Nanos,
    },
    /// The executor will never do it.
    Refused(Blob),
}

notation_enum!(AttemptResult {
    "done" => Done(answer),
    "failed" => Failed { why, rest },
    "refused" => Refused(why),
});

impl AttemptResult {
    /// The same, no longer than the log keeps.
    pub(in crate::kernel) fn bounded(self, bytes_max: usize) -> Self {
        let cut = |blob: Blob| {
            let length = blob.0.len().min(bytes_max);
            Blob(blob.0.slice(..length))
        };
        match self {
            Self::Done(answer) => Self::Done(cut(answer)),
            Self::Failed { why, rest } => Self::Failed { why: cut(why), rest },
            Self::Refused(why) => Self::Refused(cut(why)),
        }
    }
}

/// The end of a side effect, as its application is told.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SideEffectOutcome {
    /// It took effect. The executor's answer.
    Done(Blob),
    /// It is given up: the executor refused it, or failed too often. It may have taken effect, and an operator may have it tried
    /// again.
    GivenUp {
        /// Attempts that were made, also before an operator had it tried again.
        attempts: u32,
        /// What the executor said last.
        why: Blob,
    },
}

/// What an entry of outcomes holds of one attempt.
#[derive(Clone, Debug, Eq, PartialEq, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
pub struct Report {
    /// Which side effect.
    pub place: Place,
    /// The attempt, from 1.
    pub attempt: u32,
    /// How it ended.
    pub result: AttemptResult,
}

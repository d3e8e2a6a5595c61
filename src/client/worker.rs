//! Workers: they pull side effects whose target is `worker:QUEUE`, execute them, and say how that ended.
//!
//! ```text
//! claim -> execute -> complete, fail or refuse
//!             '-> renew, well before the lease ends
//! ```

use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use chronon_core::codec;
use chronon_core::kernel::{Attempt, AttemptResult, Held};
use chronon_core::node::{Wish, Work, WorkAnswer};
use chronon_core::types::{Blob, GroupId, Nanos};

use super::link::Link;
use super::{ClientConfig, ClientError, PAUSE, stands_still};
use crate::server::protocol::{GREETING, WORK, WORKED, Worked};

/// Pulls side effects of one queue of one group.
#[derive(Debug)]
pub struct Worker {
    config: ClientConfig,
    group: GroupId,
    queue: String,
    lease: Duration,
    /// The connection to the node that answered last, and its place among the addresses.
    link: Option<Link>,
    at: usize,
    asked: u64,
}

impl Worker {
    /// A worker for `queue`, that connects when it first claims. What it claims is its own for `lease`, from 100 ms to an hour, unless
    /// it is renewed.
    pub fn new(config: ClientConfig, group: GroupId, queue: String, lease: Duration) -> Self {
        Self { config, group, queue, lease, link: None, at: 0, asked: 0 }
    }

    /// For how long side effects are its own.
    pub fn lease(&self) -> Duration {
        self.lease
    }

    /// Takes up to `most` side effects, 16 at once; none when none are there. Of each, the id is the idempotency key of all attempts,
    /// and the token fences off whoever had it before.
    ///
    /// # Errors
    /// [`ClientError`]. What was granted and not heard of is granted again once its lease has ended.
    pub fn claim(&mut self, most: u32) -> Result<Vec<Attempt>, ClientError> {
        let wish = Wish::Claim { queue: self.queue.clone(), most, lease: nanos(self.lease) };
        match self.ask(&wish)? {
            WorkAnswer::Granted(attempts) => Ok(attempts),
            other => Err(nonsense(&other)),
        }
    }

    /// Keeps a side effect for another lease from now on.
    ///
    /// # Errors
    /// [`ClientError::Stale`] when it is no more this worker's: somebody else may execute it.
    pub fn renew(&mut self, attempt: &Attempt) -> Result<(), ClientError> {
        let wish = Wish::Renew { held: held(attempt), lease: nanos(self.lease) };
        match self.ask(&wish)? {
            WorkAnswer::Renewed => Ok(()),
            other => Err(nonsense(&other)),
        }
    }

    /// It took effect, says the worker, with this answer, of which 4 KiB are kept. That is in the log once this comes back.
    ///
    /// # Errors
    /// [`ClientError::Stale`] when it was no more this worker's, or may not be recorded; after other errors nobody knows.
    pub fn complete(&mut self, attempt: &Attempt, answer: Vec<u8>) -> Result<(), ClientError> {
        self.end(attempt, AttemptResult::Done(Blob::from(answer)))
    }

    /// It failed, and is to be tried again, after `rest` at least.
    ///
    /// # Errors
    /// As for [`Worker::complete`].
    pub fn fail(&mut self, attempt: &Attempt, why: Vec<u8>, rest: Duration) -> Result<(), ClientError> {
        self.end(attempt, AttemptResult::Failed { why: Blob::from(why), rest: nanos(rest) })
    }

    /// It will never take effect, and is given up.
    ///
    /// # Errors
    /// As for [`Worker::complete`].
    pub fn refuse(&mut self, attempt: &Attempt, why: Vec<u8>) -> Result<(), ClientError> {
        self.end(attempt, AttemptResult::Refused(Blob::from(why)))
    }

    fn end(&mut self, attempt: &Attempt, result: AttemptResult) -> Result<(), ClientError> {
        match self.ask(&Wish::End { held: held(attempt), result })? {
            WorkAnswer::Recorded => Ok(()),
            other => Err(nonsense(&other)),
        }
    }

    /// Asks one node after the other, until one answers that leads the group.
    fn ask(&mut self, wish: &Wish) -> Result<WorkAnswer, ClientError> {
        let start = Instant::now();
        let mut last = None;
        while start.elapsed() < self.config.request_timeout {
            let addresses = &self.config.addresses;
            let Some(address) = addresses.get(self.at % addresses.len().max(1)).copied() else { break };
            let group = self.group;
            let why = match self.ask_at(address, wish) {
                Ok(WorkAnswer::Stale { why }) => return Err(ClientError::Stale { what: why }),
                Ok(WorkAnswer::Unknown) => {
                    let what =
                        format!("{address} leads group {group} no more, and what it was told may be lost");
                    return Err(ClientError::Stale { what });
                }
                Ok(WorkAnswer::UnknownGroup) => {
                    return Err(ClientError::UnknownGroup { group: group.get() });
                }
                Ok(WorkAnswer::Halted(halt)) => {
                    return Err(ClientError::Declined {
                        what: format!("group {group} {}", stands_still(&halt)),
                    });
                }
                Ok(WorkAnswer::NotPrimary { .. }) => format!("{address} is not the group's primary"),
                Ok(WorkAnswer::Busy) => format!("{address} was busy"),
                Ok(answer) => return Ok(answer),
                Err(what) => format!("{address}: {what}"),
            };
            last = Some(why);
            self.link = None;
            self.at += 1;
            thread::sleep(PAUSE);
        }
        let last = last.ok_or(ClientError::NoAddress)?;
        Err(ClientError::TimedOut { after: self.config.request_timeout, last })
    }

    fn ask_at(&mut self, address: SocketAddr, wish: &Wish) -> Result<WorkAnswer, String> {
        let (start, patience) = (Instant::now(), self.config.attempt_timeout);
        self.asked += 1;
        let number = self.asked;
        let link = match &mut self.link {
            Some(link) => link,
            none => none.insert(Link::connect(address, patience).map_err(|error| error.to_string())?),
        };
        let work = Work { number, group: self.group, wish: wish.clone() };
        link.ask_for(WORK, &work).map_err(|error| error.to_string())?;
        while start.elapsed() < patience {
            for frame in link.receive().map_err(|error| error.to_string())? {
                match frame.kind {
                    WORKED => {
                        let worked: Worked = codec::decode(&frame.body).map_err(|error| error.to_string())?;
                        if worked.number == number {
                            return Ok(worked.answer);
                        }
                    }
                    GREETING => {}
                    kind => return Err(format!("it sent a frame of kind {kind}")),
                }
            }
        }
        Err(format!("no answer within {patience:?}"))
    }
}

fn held(attempt: &Attempt) -> Held {
    Held { place: attempt.place, number: attempt.number, token: attempt.token }
}

fn nanos(span: Duration) -> Nanos {
    Nanos::from_nanos(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX))
}

fn nonsense(answer: &WorkAnswer) -> ClientError {
    ClientError::Protocol { what: format!("a worker was answered with {answer}") }
}

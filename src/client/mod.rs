//! A blocking client library.
//!
//! [`Client`] asks one thing at a time. [`SessionPool`] keeps many sessions busy over one connection. Both send a
//! request again, under the same number, until it is answered or its time is up: a retry never executes twice.

mod error;
pub mod events;
mod link;
mod pool;
mod reader;
mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use chronon_core::bank::{BankAnswer, BankCommand};
use chronon_core::codec;
use chronon_core::codec::wire::{Decode, Encode};
use chronon_core::engine::Found;
use chronon_core::kernel::{DeadQuery, DeadView, Halt};
use chronon_core::node::{About, Answer, Freshness, Order, Query, QueryAnswer, Reply};
use chronon_core::post::{PostAnswer, PostCommand};
use chronon_core::register::{RegisterAnswer, RegisterCommand};
use chronon_core::types::{Blob, GroupId, Op};
pub use error::ClientError;
pub use pool::{Completion, SessionPool};
pub use reader::Reader;
pub use worker::Worker;

use crate::server::protocol::{
    FOUND, GREETING, LOOK_UP, LookUp, ORDER, REPLIES, STATUS_ANSWER, STATUS_QUESTION,
};
use crate::server::status::StatusReport;
use link::{Link, LinkError};

/// Whom a client talks to, and how patiently.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Where nodes of the cluster listen for requests; any of them will do, all of them is better.
    pub addresses: Vec<SocketAddr>,
    /// A request without an answer for this long is sent again, to another node.
    pub attempt_timeout: Duration,
    /// A request without an answer for this long is given up.
    pub request_timeout: Duration,
}

impl ClientConfig {
    /// A client of these nodes, with the usual patience.
    pub fn new(addresses: Vec<SocketAddr>) -> Self {
        Self { addresses, attempt_timeout: Duration::from_secs(1), request_timeout: Duration::from_secs(10) }
    }
}

/// Asks one thing at a time.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    /// A session of each group that was asked.
    pools: BTreeMap<GroupId, SessionPool>,
}

impl Client {
    /// A client that connects when it is first asked to do something.
    pub fn new(config: ClientConfig) -> Self {
        Self { config, pools: BTreeMap::new() }
    }

    /// Asks registers.
    ///
    /// # Errors
    /// [`ClientError`]. After [`ClientError::TimedOut`] and [`ClientError::Evicted`] nobody knows whether the command
    /// was executed.
    pub fn register(
        &mut self,
        group: GroupId,
        command: &RegisterCommand,
    ) -> Result<RegisterAnswer, ClientError> {
        self.call(group, command)
    }

    /// Asks a bank.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub fn bank(&mut self, group: GroupId, command: &BankCommand) -> Result<BankAnswer, ClientError> {
        self.call(group, command)
    }

    /// Asks a post office.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub fn post(&mut self, group: GroupId, command: &PostCommand) -> Result<PostAnswer, ClientError> {
        self.call(group, command)
    }

    fn call<Q: Encode, A: codec::wire::Decode<()>>(
        &mut self,
        group: GroupId,
        question: &Q,
    ) -> Result<A, ClientError> {
        let asked = self.ask(group, Blob::from(codec::encode(question)));
        let (_, answer) = asked.map_err(|error| match error {
            ClientError::Refused(error) => match codec::decode(error.as_slice()) {
                Ok(error) => ClientError::RefusedBuiltin(error),
                Err(error) => ClientError::Protocol { what: error.to_string() },
            },
            other => other,
        })?;
        codec::decode(answer.as_slice()).map_err(|error| ClientError::Protocol { what: error.to_string() })
    }

    /// Asks anything; the op that holds the command, and the application's answer.
    ///
    /// # Errors
    /// As for [`Client::register`].
    pub fn ask(&mut self, group: GroupId, body: Blob) -> Result<(Op, Blob), ClientError> {
        if !self.pools.contains_key(&group) {
            self.pools.insert(group, SessionPool::new(self.config.clone(), group, 1)?);
        }
        let Some(pool) = self.pools.get_mut(&group) else {
            return Err(ClientError::NoSession { session: 0 });
        };
        pool.submit(0, body)?;
        let mut completions = Vec::new();
        loop {
            // The pool gives up by itself when the request's time is up.
            pool.poll(self.config.request_timeout, &mut completions);
            if let Some(completion) = completions.pop() {
                return completion.result;
            }
        }
    }
}

/// Asks for side effects of a group that were given up.
///
/// # Errors
/// As for [`query`].
pub fn query_dead(
    config: &ClientConfig,
    group: GroupId,
    question: &DeadQuery,
    freshness: Freshness,
) -> Result<(Op, DeadView), ClientError> {
    query_about(config, group, About::Dead, question, freshness)
}

/// Asks for the state of a group, of whichever node answers first; the op that the answer reflects, and the answer.
///
/// # Errors
/// [`ClientError`]. A question changes nothing, so after any of them it can be asked again.
pub fn query<A: Decode<()>>(
    config: &ClientConfig,
    group: GroupId,
    question: &impl Encode,
    freshness: Freshness,
) -> Result<(Op, A), ClientError> {
    query_about(config, group, About::State, question, freshness)
}

fn query_about<A: Decode<()>>(
    config: &ClientConfig,
    group: GroupId,
    about: About,
    question: &impl Encode,
    freshness: Freshness,
) -> Result<(Op, A), ClientError> {
    let start = Instant::now();
    let query = Query { number: 0, group, about, body: Blob::from(codec::encode(question)), freshness };
    let mut last = None;
    for address in config.addresses.iter().cycle() {
        let left = config.request_timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            break;
        }
        let why = match ask_for_state(*address, left.min(config.attempt_timeout), &query) {
            Ok(Some(QueryAnswer::State { op, body })) => {
                let answer = codec::decode(body.as_slice());
                return answer
                    .map(|answer| (op, answer))
                    .map_err(|error| ClientError::Protocol { what: error.to_string() });
            }
            Ok(Some(QueryAnswer::UnknownGroup)) => {
                return Err(ClientError::UnknownGroup { group: group.get() });
            }
            Ok(Some(QueryAnswer::Malformed)) => {
                let what = "the group's application cannot read the question".to_owned();
                return Err(ClientError::Protocol { what });
            }
            Ok(Some(QueryAnswer::TooLong { max })) => return Err(ClientError::AnswerTooLong { max }),
            Ok(Some(QueryAnswer::Panicked { what })) => {
                return Err(ClientError::Panicked { what });
            }
            Ok(Some(QueryAnswer::Busy)) => format!("{address} was busy, or finds no quorum"),
            Ok(Some(QueryAnswer::Halted(halt))) => {
                format!("group {group} {} at {address}", stands_still(&halt))
            }
            Ok(None) => format!("{address} did not answer"),
            Err(error) => error.to_string(),
        };
        last = Some(why);
        thread::sleep(PAUSE);
    }
    let last = last.ok_or(ClientError::NoAddress)?;
    Err(ClientError::TimedOut { after: config.request_timeout, last })
}

/// What one node answers within this time, if anything.
fn ask_for_state(
    address: SocketAddr,
    timeout: Duration,
    query: &Query,
) -> Result<Option<QueryAnswer>, ClientError> {
    let start = Instant::now();
    let mut reader = Reader::connect(address, timeout)?;
    reader.ask(query)?;
    while start.elapsed() < timeout {
        if let Some(answered) = reader.poll()?.pop() {
            return Ok(Some(answered.answer));
        }
    }
    Ok(None)
}

/// Whether a frame holds a command or question with this body.
fn check_length(body: &Blob) -> Result<(), ClientError> {
    let bytes = body.as_slice().len();
    if bytes > ASK_BYTES_MAX as usize {
        return Err(ClientError::TooLong { bytes, max: ASK_BYTES_MAX });
    }
    Ok(())
}

/// Asks one node how it is.
///
/// # Errors
/// [`ClientError`] when it does not answer in time.
pub fn status(address: SocketAddr, timeout: Duration) -> Result<StatusReport, ClientError> {
    ask(address, timeout, |link| link.ask(STATUS_QUESTION), STATUS_ANSWER)
}

/// Asks the node at `address` for an entry that was committed and applied there.
///
/// # Errors
/// [`ClientError`] when it does not answer in time.
pub fn look_up(address: SocketAddr, timeout: Duration, look_up: LookUp) -> Result<Found, ClientError> {
    ask(address, timeout, |link| link.ask_for(LOOK_UP, &look_up), FOUND)
}

/// Has an order put into its group's log; its op.
///
/// # Errors
/// [`ClientError::Declined`] when it cannot be done, and others when no primary answers in time.
pub fn order(config: &ClientConfig, order: Order) -> Result<Op, ClientError> {
    let start = Instant::now();
    let mut last = None;
    for address in config.addresses.iter().cycle() {
        let left = config.request_timeout.saturating_sub(start.elapsed());
        if left.is_zero() {
            break;
        }
        let patience = left.min(config.attempt_timeout);
        let asked: Result<Vec<Reply>, _> =
            ask(*address, patience, |link| link.ask_for(ORDER, &order), REPLIES);
        let why = match asked.map(|replies| replies.into_iter().next().map(|reply| reply.answer)) {
            Ok(Some(Answer::Committed { op, .. })) => return Ok(op),
            Ok(Some(Answer::Halted(halt))) => {
                let what = format!("group {} {}", order.group, stands_still(&halt));
                return Err(ClientError::Declined { what });
            }
            Ok(Some(Answer::Declined { why })) => {
                return Err(ClientError::Declined { what: format!("group {}: {why}", order.group) });
            }
            Ok(Some(Answer::NotYet { why })) => why,
            Ok(Some(Answer::UnknownGroup)) => {
                return Err(ClientError::UnknownGroup { group: order.group.get() });
            }
            Ok(Some(Answer::NotPrimary { primary, .. })) => {
                format!("{address} is not the group's primary; node {primary} is, as far as it knows")
            }
            Ok(Some(Answer::Busy | Answer::Full)) => format!("{address} was busy"),
            Ok(Some(Answer::TooLong { .. }) | None) => {
                return Err(ClientError::Protocol {
                    what: "an order was answered like a command".to_owned(),
                });
            }
            Err(error) => error.to_string(),
        };
        last = Some(why);
        thread::sleep(PAUSE);
    }
    let last = last.ok_or(ClientError::NoAddress)?;
    Err(ClientError::TimedOut { after: config.request_timeout, last })
}

/// A halt in words that follow a group's name.
fn stands_still(halt: &Halt) -> String {
    let Halt { place, what, .. } = halt;
    format!("stands still at op {}, event {}: {what}", place.op, place.index)
}

/// Asks one question on a connection of its own; the body of the first frame of the kind `answer`.
fn ask<T: Decode<()>>(
    address: SocketAddr,
    timeout: Duration,
    question: impl FnOnce(&mut Link) -> Result<(), LinkError>,
    answer: u16,
) -> Result<T, ClientError> {
    let unreachable =
        |error: &dyn std::fmt::Display| ClientError::Unreachable { address, what: error.to_string() };
    let start = Instant::now();
    let mut link = Link::connect(address, timeout).map_err(|error| unreachable(&error))?;
    question(&mut link).map_err(|error| unreachable(&error))?;
    while start.elapsed() < timeout {
        for frame in link.receive().map_err(|error| unreachable(&error))? {
            match frame.kind {
                kind if kind == answer => {
                    return codec::decode(&frame.body).map_err(|error| unreachable(&error));
                }
                GREETING => {}
                kind => return Err(unreachable(&format!("it sent a frame of kind {kind}"))),
            }
        }
    }
    Err(unreachable(&format!("no answer within {timeout:?}")))
}

/// Bytes of a command or question, at most; a node may allow fewer.
const ASK_BYTES_MAX: u32 = 8 << 20;
/// How long to wait before trying again what just failed.
const PAUSE: Duration = Duration::from_millis(20);

//! Many sessions of one group over one connection.
//!
//! A session has one request on its way at a time. The pool talks to one node; when that is not the primary, or falls
//! silent, or goes away, the pool goes on with another and sends again whatever has no answer, under the same numbers.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use chronon_core::codec;
use chronon_core::codec::frame::Frame;
use chronon_core::kernel::{Command, Outcome};
use chronon_core::node::{Answer, Reply, Request};
use chronon_core::types::{Blob, ClientId, GroupId, NodeId, Op, RequestNumber, SessionId};

use super::link::Link;
use super::{ClientConfig, ClientError, PAUSE, check_length, stands_still};
use crate::server::protocol::{GREETING, Greeting, REPLIES};

/// The end of a request.
#[derive(Debug)]
pub struct Completion {
    /// The session that asked.
    pub session: usize,
    /// When it was asked.
    pub asked_at: Instant,
    /// The op that holds the command, and the application's answer.
    pub result: Result<(Op, Blob), ClientError>,
}

/// Many sessions of one group over one connection.
#[derive(Debug)]
pub struct SessionPool {
    config: ClientConfig,
    group: GroupId,
    sessions: Vec<Session>,
    link: Option<Link>,
    /// Which address to talk to.
    address: usize,
    /// Which address a node was found at.
    nodes: BTreeMap<NodeId, usize>,
    /// No connection is tried before.
    hold_until: Instant,
    /// Changes of address since the last answer that counted.
    detours: usize,
    /// Since when the node has only said that it is busy.
    busy_since: Option<Instant>,
    /// What happened last, for the error of a request that times out.
    last: String,
}

#[derive(Debug)]
struct Session {
    client: ClientId,
    /// `None` until the cluster has registered the client.
    id: Option<SessionId>,
    number: RequestNumber,
    work: Option<Work>,
}

#[derive(Debug)]
struct Work {
    body: Blob,
    asked_at: Instant,
    state: WorkState,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum WorkState {
    /// To be sent, not before this moment.
    Due(Instant),
    /// Sent at this moment.
    Sent(Instant),
}

impl SessionPool {
    /// A pool of `sessions` sessions of `group`; it connects when it is first polled.
    ///
    /// # Errors
    /// [`ClientError::NoAddress`] without addresses, [`ClientError::Entropy`] without randomness.
    pub fn new(config: ClientConfig, group: GroupId, sessions: usize) -> Result<Self, ClientError> {
        if config.addresses.is_empty() {
            return Err(ClientError::NoAddress);
        }
        let base = random_client()?;
        let sessions = (0..sessions).map(|index| Session::new(base.get() | index as u128)).collect();
        Ok(Self {
            config,
            group,
            sessions,
            link: None,
            address: 0,
            nodes: BTreeMap::new(),
            hold_until: Instant::now(),
            detours: 0,
            busy_since: None,
            last: "nothing was heard".to_owned(),
        })
    }

    /// Gives a session something to ask; [`SessionPool::poll`] sends it.
    ///
    /// # Errors
    /// [`ClientError::NoSession`] when there is no such session or it waits for an answer already; [`ClientError::TooLong`].
    pub fn submit(&mut self, session: usize, body: Blob) -> Result<(), ClientError> {
        check_length(&body)?;
        match self.sessions.get_mut(session) {
            Some(idle) if idle.work.is_none() => {
                let now = Instant::now();
                idle.work = Some(Work { body, asked_at: now, state: WorkState::Due(now) });
                Ok(())
            }
            _ => Err(ClientError::NoSession { session }),
        }
    }

    /// Sends, receives and sends again until a request has ended or `wait` has passed; appends what has ended.
    pub fn poll(&mut self, wait: Duration, completions: &mut Vec<Completion>) {
        let before = completions.len();
        let start = Instant::now();
        loop {
            self.expire(completions);
            let busy = self.sessions.iter().any(|session| session.work.is_some());
            if completions.len() > before || !busy {
                return;
            }
            self.exchange(completions);
            if completions.len() > before || start.elapsed() >= wait {
                return;
            }
        }
    }

    /// Gives up what has waited for too long. Nobody knows whether it was executed, so its session ends with it: the
    /// number after it might be refused.
    fn expire(&mut self, completions: &mut Vec<Completion>) {
        let after = self.config.request_timeout;
        for (index, session) in self.sessions.iter_mut().enumerate() {
            if session.work.as_ref().is_some_and(|work| work.asked_at.elapsed() >= after) {
                let result = Err(ClientError::TimedOut { after, last: self.last.clone() });
                completions.extend(session.end(index, result));
                session.reset();
            }
        }
    }

    /// One round with the node.
    fn exchange(&mut self, completions: &mut Vec<Completion>) {
        if !self.connect() {
            return;
        }
        let Some(link) = &mut self.link else { return };
        let now = Instant::now();
        let mut silent = false;
        for session in &mut self.sessions {
            silent |= session.is_silent(now, self.config.attempt_timeout);
            if let Some(command) = session.take_due(now) {
                link.queue(&Request { group: self.group, command });
            }
        }
        if silent {
            self.detour(None, "the node did not answer");
            return;
        }
        let frames = match link.flush().and_then(|()| link.receive()) {
            Ok(frames) => frames,
            Err(error) => {
                self.detour(None, &error.to_string());
                return;
            }
        };
        for frame in frames {
            if let Err(what) = self.take(&frame, completions) {
                self.detour(None, &what);
                return;
            }
        }
    }

    /// Sees to a connection; false when there is none yet.
    fn connect(&mut self) -> bool {
        if self.link.is_some() {
            return true;
        }
        let hold = self.hold_until.saturating_duration_since(Instant::now());
        if !hold.is_zero() {
            std::thread::sleep(hold);
        }
        let address = self.config.addresses[self.address % self.config.addresses.len()];
        match Link::connect(address, self.config.attempt_timeout) {
            Ok(link) => {
                self.link = Some(link);
                true
            }
            Err(error) => {
                self.detour(None, &format!("{address}: {error}"));
                false
            }
        }
    }

    /// Goes on with another node, the one given or the next; whatever has no answer is due again.
    fn detour(&mut self, to: Option<NodeId>, why: &str) {
        why.clone_into(&mut self.last);
        self.link = None;
        self.busy_since = None;
        let next = (self.address + 1) % self.config.addresses.len();
        self.address = to.and_then(|node| self.nodes.get(&node).copied()).unwrap_or(next);
        let now = Instant::now();
        // The first few changes are free; when they lead nowhere, the cluster needs a moment.
        self.detours += 1;
        self.hold_until = if self.detours > self.config.addresses.len() { now + PAUSE } else { now };
        for work in self.sessions.iter_mut().filter_map(|session| session.work.as_mut()) {
            work.state = WorkState::Due(now);
        }
    }

    fn take(&mut self, frame: &Frame, completions: &mut Vec<Completion>) -> Result<(), String> {
        match frame.kind {
            GREETING => {
                let greeting: Greeting = codec::decode(&frame.body).map_err(|error| error.to_string())?;
                self.nodes.insert(greeting.node, self.address);
                Ok(())
            }
            REPLIES => {
                let replies: Vec<Reply> = codec::decode(&frame.body).map_err(|error| error.to_string())?;
                let mut redirect = None;
                for reply in replies {
                    redirect = self.answer(reply, completions).or(redirect);
                }
                let patience = self.config.attempt_timeout;
                if self.busy_since.take_if(|since| since.elapsed() > patience).is_some() {
                    // It may be cut off from the others, or have been told to be mute.
                    self.detour(None, "the node was busy all the time");
                } else if let Some(primary) = redirect {
                    self.detour(Some(primary), &format!("node {primary} was said to be the primary"));
                }
                Ok(())
            }
            kind => Err(format!("the node sent a frame of kind {kind}")),
        }
    }

    /// Takes a reply; the primary that it points to instead, if it does.
    fn answer(&mut self, reply: Reply, completions: &mut Vec<Completion>) -> Option<NodeId> {
        // Client ids count up from a base whose low bits are zero.
        let index = (reply.client.get() & u128::from(u32::MAX)) as usize;
        let session = self.sessions.get_mut(index)?;
        if session.client != reply.client || session.awaited() != Some(reply.number) {
            return None;
        }
        let failed = match reply.answer {
            Answer::Committed { op, outcome } => {
                self.detours = 0;
                self.busy_since = None;
                completions.extend(session.committed(index, op, outcome));
                return None;
            }
            Answer::NotPrimary { primary, .. } => return Some(primary),
            Answer::Busy => {
                "the node was busy".clone_into(&mut self.last);
                self.busy_since.get_or_insert_with(Instant::now);
                session.send_again_at(Instant::now() + PAUSE);
                return None;
            }
            Answer::Full => {
                "no space is left on the nodes' disks".clone_into(&mut self.last);
                session.send_again_at(Instant::now() + PAUSE);
                return None;
            }
            // An operator may have it go on; until then the last that was heard says what is wrong.
            Answer::Halted(halt) => {
                self.last = format!("group {} {}", self.group, stands_still(&halt));
                session.send_again_at(Instant::now() + PAUSE);
                return None;
            }
            Answer::Declined { .. } | Answer::NotYet { .. } => {
                ClientError::Protocol { what: "a command was answered like an order".to_owned() }
            }
            Answer::UnknownGroup => ClientError::UnknownGroup { group: self.group.get() },
            Answer::TooLong { max } => ClientError::TooLong { bytes: session.body_bytes(), max },
        };
        completions.extend(session.end(index, Err(failed)));
        None
    }
}

impl Session {
    fn new(client: u128) -> Self {
        Self { client: ClientId::new(client), id: None, number: RequestNumber::new(1), work: None }
    }

    /// Begins anew under a client id of its own that was never used.
    fn reset(&mut self) {
        let generation = 1_u128 << 32;
        *self = Self::new(self.client.get() + generation);
    }

    /// The number that an answer must bear to count.
    fn awaited(&self) -> Option<RequestNumber> {
        self.work.as_ref()?;
        Some(if self.id.is_some() { self.number } else { RequestNumber::new(0) })
    }

    fn is_silent(&self, now: Instant, patience: Duration) -> bool {
        let state = self.work.as_ref().map(|work| work.state);
        matches!(state, Some(WorkState::Sent(at)) if now.saturating_duration_since(at) > patience)
    }

    /// The command that is due, if one is; it counts as sent.
    fn take_due(&mut self, now: Instant) -> Option<Command> {
        let work = self.work.as_mut()?;
        if !matches!(work.state, WorkState::Due(at) if at <= now) {
            return None;
        }
        work.state = WorkState::Sent(now);
        Some(match self.id {
            None => Command::register(self.client),
            Some(session) => {
                Command { client: self.client, session, number: self.number, body: work.body.clone() }
            }
        })
    }

    fn send_again_at(&mut self, at: Instant) {
        if let Some(work) = &mut self.work {
            work.state = WorkState::Due(at);
        }
    }

    fn body_bytes(&self) -> usize {
        self.work.as_ref().map_or(0, |work| work.body.as_slice().len())
    }

    fn committed(&mut self, index: usize, op: Op, outcome: Outcome) -> Option<Completion> {
        let result = match outcome {
            Outcome::Registered { session } => {
                self.id = Some(session);
                self.send_again_at(Instant::now());
                return None;
            }
            Outcome::Done(body) => Ok((op, body)),
            Outcome::Refused(body) => Err(ClientError::Refused(body)),
            Outcome::Evicted => Err(ClientError::Evicted),
            Outcome::Skipped => Err(ClientError::Skipped { op: op.get() }),
            Outcome::OutOfOrder { expected } => Err(ClientError::Protocol {
                what: format!("request {} is out of order: {expected} is next", self.number),
            }),
        };
        let lost = matches!(result, Err(ClientError::Evicted | ClientError::Protocol { .. }));
        let completion = self.end(index, result);
        if lost {
            self.reset();
        } else {
            self.number = self.number.next();
        }
        completion
    }

    fn end(&mut self, session: usize, result: Result<(Op, Blob), ClientError>) -> Option<Completion> {
        let work = self.work.take()?;
        Some(Completion { session, asked_at: work.asked_at, result })
    }
}

/// A client id whose low 64 bits are left for the sessions of a pool to count in.
fn random_client() -> Result<ClientId, ClientError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes[8..]).map_err(ClientError::Entropy)?;
    Ok(ClientId::new(u128::from_le_bytes(bytes)))
}

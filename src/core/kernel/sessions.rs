//! Client sessions, part of the replicated state: a retried request gets the first one's outcome (VRR 4.1, and
//! `consensus.md` rule 14).

use alloc::vec::Vec;
use core::ops::Bound;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, CodecError};
use crate::collections::PersistentMap;
use crate::kernel::command::{Command, Outcome};
use crate::types::{ClientId, Op, RequestNumber, SessionId, u64_of};

/// Every open session, bounded: the one that was used least recently makes room for a new one, alike on all replicas.
#[derive(Clone, Debug)]
pub struct SessionMap {
    sessions_max: u32,
    sessions: PersistentMap<ClientId, Session>,
    /// The same sessions by last use. An entry can open many sessions: the index tells them apart.
    by_use: PersistentMap<(Op, u32, ClientId), ()>,
}

/// A session, as a snapshot holds it too.
#[derive(Clone, Debug, Encode, Decode)]
#[bincode(crate = "crate::codec::wire")]
struct Session {
    id: SessionId,
    last: RequestNumber,
    op: Op,
    outcome: Outcome,
    used: (Op, u32),
}

/// What a session says to a command.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::kernel) enum Admission {
    /// It is the session's next: execute it.
    Execute,
    /// It was answered before, at this op.
    Answered(Op, Outcome),
    /// It is not to be executed.
    Refused(Outcome),
}

impl SessionMap {
    pub(in crate::kernel) fn new(sessions_max: u32) -> Self {
        assert!(sessions_max > 0, "founding facts were validated");
        Self { sessions_max, sessions: PersistentMap::default(), by_use: PersistentMap::default() }
    }

    /// How many sessions are open.
    pub fn len(&self) -> usize {
        self.sessions.len()
    }

    /// Whether no session is open.
    pub fn is_empty(&self) -> bool {
        self.sessions.is_empty()
    }

    /// Whether a new session takes the place of another.
    pub(in crate::kernel) fn is_full(&self) -> bool {
        u64_of(self.sessions.len()) >= u64::from(self.sessions_max)
    }

    /// The sessions behind that of `after` as a snapshot holds them, ascending by client, one at a time: together they may be
    /// longer than anything that is decoded in one piece.
    pub(in crate::kernel) fn saved(
        &self,
        after: Option<ClientId>,
    ) -> impl Iterator<Item = (ClientId, Vec<u8>)> {
        let from = after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let saved = |client: &ClientId, session: &Session| codec::encode(&(*client, session.clone()));
        self.sessions.range(from).map(move |(client, session)| (*client, saved(client, session)))
    }

    /// Adds a session that a snapshot holds.
    pub(in crate::kernel) fn restore(&mut self, saved: &[u8]) -> Result<(), CodecError> {
        let (client, session): (ClientId, Session) = codec::decode(saved)?;
        self.by_use.insert((session.used.0, session.used.1, client), ());
        self.sessions.insert(client, session);
        Ok(())
    }

    pub(in crate::kernel) fn admit(&self, command: &Command) -> Admission {
        let session = self.sessions.get(&command.client);
        let registers = command.number == RequestNumber::default();
        match session {
            None if registers => Admission::Execute,
            None => Admission::Refused(Outcome::Evicted),
            Some(session) if registers => {
                Admission::Answered(session.op_of_registration(), Outcome::Registered { session: session.id })
            }
            Some(session) if session.id != command.session => Admission::Refused(Outcome::Evicted),
            Some(session) if command.number == session.last => {
                Admission::Answered(session.op, session.outcome.clone())
            }
            Some(session) if command.number == session.last.next() => Admission::Execute,
            Some(session) => Admission::Refused(Outcome::OutOfOrder { expected: session.last.next() }),
        }
    }

    /// Opens the session of a client that has none; its id is the op.
    pub(in crate::kernel) fn register(&mut self, client: ClientId, op: Op, index: u32) -> Outcome {
        if self.is_full()
            && let Some(((_, _, oldest), ())) = self.by_use.pop_first()
        {
            self.sessions.remove(&oldest);
        }
        let id = SessionId::new(op.get());
        let outcome = Outcome::Registered { session: id };
        let session =
            Session { id, last: RequestNumber::default(), op, outcome: outcome.clone(), used: (op, index) };
        self.sessions.insert(client, session);
        self.by_use.insert((op, index, client), ());
        outcome
    }

    /// Keeps the outcome of the command that was just executed.
    pub(in crate::kernel) fn record(&mut self, command: &Command, op: Op, index: u32, outcome: Outcome) {
        let Some(session) = self.sessions.get_mut(&command.client) else { return };
        let (used_op, used_index) = session.used;
        self.by_use.remove(&(used_op, used_index, command.client));
        self.by_use.insert((op, index, command.client), ());
        (session.last, session.op, session.outcome, session.used) =
            (command.number, op, outcome, (op, index));
    }
}

impl Session {
    fn op_of_registration(&self) -> Op {
        Op::new(self.id.get())
    }
}

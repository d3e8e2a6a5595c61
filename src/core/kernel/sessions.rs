//! Client sessions, part of the replicated state: a retried request gets the first one's outcome (VRR 4.1, and
//! `consensus.md` rule 14).

use alloc::vec::Vec;
use core::ops::Bound;

use crate::codec::wire::{DecodeDerive as Decode, EncodeDerive as Encode};
use crate::codec::{self, CodecError};
use crate::collections::PersistentMap;
use crate::kernel::command::{Command, Outcome};
use crate::types::{ClientId, Op, RequestNumber, SessionId, u64_of};

/// Bytes of the outcomes that the sessions of a group keep, at most; of many of the longest answers, see
/// [`crate::kernel::ANSWER_BYTES_MAX`].
pub const SESSION_BYTES_MAX: u64 = 256 << 20;

/// Every open session, bounded in number and in the bytes of the outcomes that they keep: those that were used least recently make
/// room, alike on all replicas.
#[derive(Clone, Debug)]
pub struct SessionMap {
    sessions_max: u32,
    bytes_max: u64,
    /// Of all outcomes.
    bytes: u64,
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
    /// With room for so many sessions, and for so many bytes of outcomes; one session is always kept.
    pub(in crate::kernel) fn new(sessions_max: u32, bytes_max: u64) -> Self {
        assert!(sessions_max > 0, "founding facts were validated");
        let (sessions, by_use) = (PersistentMap::default(), PersistentMap::default());
        Self { sessions_max, bytes_max, bytes: 0, sessions, by_use }
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
        self.bytes += session.outcome.bytes();
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
        if self.is_full() {
            self.evict();
        }
        let id = SessionId::new(op.get());
        let outcome = Outcome::Registered { session: id };
        let session =
            Session { id, last: RequestNumber::default(), op, outcome: outcome.clone(), used: (op, index) };
        self.sessions.insert(client, session);
        self.by_use.insert((op, index, client), ());
        outcome
    }

    /// The session that was used least recently goes.
    fn evict(&mut self) {
        let oldest = self.by_use.pop_first().and_then(|((_, _, oldest), ())| self.sessions.remove(&oldest));
        self.bytes -= oldest.map_or(0, |session| session.outcome.bytes());
    }

    /// Keeps the outcome of the command that was just executed; where that takes too many bytes, other sessions go.
    pub(in crate::kernel) fn record(&mut self, command: &Command, op: Op, index: u32, outcome: Outcome) {
        let Some(session) = self.sessions.get_mut(&command.client) else { return };
        self.bytes = self.bytes - session.outcome.bytes() + outcome.bytes();
        let (used_op, used_index) = session.used;
        self.by_use.remove(&(used_op, used_index, command.client));
        self.by_use.insert((op, index, command.client), ());
        (session.last, session.op, session.outcome, session.used) =
            (command.number, op, outcome, (op, index));
        while self.bytes > self.bytes_max && self.sessions.len() > 1 {
            self.evict();
        }
    }
}

impl Session {
    fn op_of_registration(&self) -> Op {
        Op::new(self.id.get())
    }
}

impl Outcome {
    /// Of the application's answer in it.
    fn bytes(&self) -> u64 {
        match self {
            Self::Done(body) | Self::Refused(body) => u64_of(body.as_slice().len()),
            Self::Registered { .. } | Self::Evicted | Self::OutOfOrder { .. } | Self::Skipped => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use alloc::vec;
    use alloc::vec::Vec;

    use super::{Admission, SessionMap};
    use crate::kernel::command::{Command, Outcome};
    use crate::types::{Blob, ClientId, Op, RequestNumber, SessionId};

    /// Sessions of clients 1 to `count`, opened by that op each.
    fn opened(count: u64, bytes_max: u64) -> SessionMap {
        let mut sessions = SessionMap::new(100, bytes_max);
        for client in 1..=count {
            sessions.register(ClientId::new(u128::from(client)), Op::new(client), 0);
        }
        sessions
    }

    fn command(client: u64, number: u64) -> Command {
        Command {
            client: ClientId::new(u128::from(client)),
            session: SessionId::new(client),
            number: RequestNumber::new(number),
            body: Blob::default(),
        }
    }

    /// The client's next request is answered with so many bytes.
    fn answer(sessions: &mut SessionMap, (client, number): (u64, u64), op: u64, bytes: usize) {
        let command = command(client, number);
        assert_eq!(sessions.admit(&command), Admission::Execute, "client {client}");
        sessions.record(&command, Op::new(op), 0, Outcome::Done(Blob::from(vec![7; bytes])));
    }

    fn open(sessions: &SessionMap) -> Vec<u64> {
        let is_open =
            |client: &u64| sessions.admit(&command(*client, 9)) != Admission::Refused(Outcome::Evicted);
        (1..=9).filter(is_open).collect()
    }

    #[test]
    fn sessions_used_least_recently_go_when_outcomes_take_too_many_bytes_and_are_refused_from_then_on() {
        let mut sessions = opened(4, 100);
        answer(&mut sessions, (2, 1), 10, 40);
        answer(&mut sessions, (1, 1), 11, 40);
        answer(&mut sessions, (3, 1), 12, 20);
        assert_eq!(open(&sessions), [1, 2, 3, 4], "as many as may be");
        answer(&mut sessions, (1, 2), 13, 41);
        assert_eq!(open(&sessions), [1, 3], "4 has not been used since it was opened, and 2 not since op 10");
        assert_eq!(sessions.admit(&command(2, 2)), Admission::Refused(Outcome::Evicted));
        let kept = Admission::Answered(Op::new(13), Outcome::Done(Blob::from(vec![7; 41])));
        assert_eq!(sessions.admit(&command(1, 2)), kept);
        answer(&mut sessions, (3, 2), 14, 101);
        assert_eq!(open(&sessions), [3], "the last one is kept, whatever it takes");
        answer(&mut sessions, (3, 3), 15, 0);
        sessions.register(ClientId::new(5), Op::new(16), 0);
        let session = Command { session: SessionId::new(16), ..command(5, 1) };
        sessions.record(&session, Op::new(17), 0, Outcome::Refused(Blob::from(vec![7; 100])));
        assert_eq!((sessions.len(), sessions.bytes), (2, 100), "what is kept no more is not counted");
    }

    #[test]
    fn sessions_that_a_snapshot_holds_go_in_the_same_order() {
        let mut sessions = opened(3, 100);
        answer(&mut sessions, (1, 1), 10, 40);
        answer(&mut sessions, (2, 1), 11, 40);
        let mut restored = SessionMap::new(100, 100);
        for (_, saved) in sessions.saved(None) {
            restored.restore(&saved).expect("it was saved");
        }
        assert_eq!(restored.bytes, 80);
        for sessions in [&mut sessions, &mut restored] {
            answer(sessions, (3, 1), 12, 30);
            assert_eq!(open(sessions), [2, 3]);
        }
    }
}

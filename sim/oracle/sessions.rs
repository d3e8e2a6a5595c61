//! Sessions, as told from committed entries and from the replies that leave nodes: ApplyOnce (46), SameReply (47),
//! EvictDeterministic (48), ReplyOnlyCommitted (49).
//!
//! A command may be in the log more than once, because its client asked again. It is executed at one of these ops
//! alone, which follows from the log: every reply names that op and brings the same outcome.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use chronon_core::kernel::Outcome;
use chronon_core::node::{Answer, Reply};
use chronon_core::types::GroupInit;

use super::shadow::Broken;
use crate::journal::CommandId;

/// The sessions of one group.
#[derive(Clone, Debug)]
pub(super) struct Sessions {
    sessions_max: usize,
    open: BTreeMap<u128, Session>,
    /// The same sessions by last use.
    by_use: BTreeSet<(u64, usize, u128)>,
    clients: BTreeMap<u128, Asked>,
    pub compared: Compared,
}

/// How often each invariant was held against something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    pub apply_once: u64,
    pub same_reply: u64,
    pub evict_deterministic: u64,
    pub reply_only_committed: u64,
}

#[derive(Clone, Debug)]
struct Session {
    id: u64,
    last: u64,
    used: (u64, usize),
}

/// What a client had executed lately.
#[derive(Clone, Debug, Default)]
struct Asked {
    /// By op, ascending.
    executed: VecDeque<Executed>,
    /// Commands at this op and below are no longer remembered.
    forgotten: u64,
}

/// A command that the log executes: where, and what was replied.
#[derive(Clone, Debug)]
struct Executed {
    number: u64,
    /// The op that opened the session.
    session: u64,
    op: u64,
    outcome: Option<Outcome>,
}

impl Asked {
    /// Whether what was executed under `number` at `op` may be among what is no longer remembered. A session that was
    /// open by then and is still remembered executes each of its numbers once.
    fn has_forgotten(&self, number: u64, op: u64) -> bool {
        let known = |executed: &Executed| executed.number == number && executed.session < op;
        op <= self.forgotten && !self.executed.iter().any(known)
    }
}

impl Sessions {
    pub(super) fn new(init: &GroupInit) -> Self {
        Self {
            sessions_max: init.sessions_max as usize,
            open: BTreeMap::new(),
            by_use: BTreeSet::new(),
            clients: BTreeMap::new(),
            compared: Compared::default(),
        }
    }

    /// Takes the command at place `index` of the entry `op`, which was just committed; whether it is executed there.
    pub(super) fn commit(&mut self, op: u64, index: usize, command: CommandId) -> bool {
        let CommandId { client, session, number } = command;
        let executes = match self.open.get(&client) {
            None => number == 0,
            Some(open) => number > 0 && open.id == session && number == open.last + 1,
        };
        if !executes {
            return false;
        }
        self.touch(op, index, client, number);
        let asked = self.clients.entry(client).or_default();
        if asked.executed.len() >= COMMANDS_KEPT
            && let Some(oldest) = asked.executed.pop_front()
        {
            asked.forgotten = oldest.op;
        }
        let session = if number == 0 { op } else { session };
        asked.executed.push_back(Executed { number, session, op, outcome: None });
        true
    }

    /// A session is used, or opened: the one that was used least recently makes room for it.
    fn touch(&mut self, op: u64, index: usize, client: u128, number: u64) {
        if let Some(session) = self.open.get_mut(&client) {
            self.by_use.remove(&(session.used.0, session.used.1, client));
            (session.last, session.used) = (number, (op, index));
        } else {
            if self.open.len() >= self.sessions_max
                && let Some((_, _, oldest)) = self.by_use.pop_first()
            {
                self.open.remove(&oldest);
            }
            self.open.insert(client, Session { id: op, last: 0, used: (op, index) });
        }
        self.by_use.insert((op, index, client));
    }

    /// A node replies. `commit` is the highest op committed.
    pub(super) fn reply(&mut self, reply: &Reply, commit: u64) -> Result<(), Broken> {
        let Answer::Committed { op, outcome } = &reply.answer else { return Ok(()) };
        let (op, number) = (op.get(), reply.number.get());
        self.compared.reply_only_committed += 1;
        if op > commit {
            let what = format!("client {} hears of op {op}, and only op {commit} is committed", reply.client);
            return Err(Broken::new("ReplyOnlyCommitted", what));
        }
        // An operator hears that what it asked for is in the log.
        if reply.client.get() == 0 {
            return Ok(());
        }
        let asked = self.clients.get_mut(&reply.client.get());
        // A primary that stood still for long tells late what the others told long ago.
        if asked.as_ref().is_some_and(|asked| asked.has_forgotten(number, op)) {
            return Ok(());
        }
        let of_number = |executed: &&mut Executed| executed.number == number && executed.op <= op;
        let executed = asked.and_then(|asked| asked.executed.iter_mut().rev().find(of_number));
        if matches!(outcome, Outcome::Evicted | Outcome::OutOfOrder { .. }) {
            self.compared.evict_deterministic += 1;
            return match executed {
                Some(executed) if executed.op == op => {
                    let what = format!(
                        "client {} hears {outcome} for request {number}, which op {op} executes",
                        reply.client
                    );
                    Err(Broken::new("EvictDeterministic", what))
                }
                _ => Ok(()),
            };
        }
        let Some(asked) = executed else {
            let what = format!(
                "client {} hears that its request {number} was executed at op {op}, and no committed entry executes it",
                reply.client
            );
            return Err(Broken::new("ReplyOnlyCommitted", what));
        };
        self.compared.apply_once += 1;
        if asked.op != op {
            let what = format!(
                "request {number} of client {} is executed at op {}, and a reply says that it was at op {op}",
                reply.client, asked.op
            );
            return Err(Broken::new("ApplyOnce", what));
        }
        let Some(first) = &asked.outcome else {
            asked.outcome = Some(outcome.clone());
            return Ok(());
        };
        self.compared.same_reply += 1;
        if first != outcome {
            let what = format!("request {number} of client {}: {first}, then {outcome}", reply.client);
            return Err(Broken::new("SameReply", what));
        }
        Ok(())
    }
}

/// Commands remembered of a client. It has one open at a time, so that a reply is of one of the last, unless the primary
/// that sends it was paused.
const COMMANDS_KEPT: usize = 256;

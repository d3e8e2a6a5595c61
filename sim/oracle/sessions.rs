//! Sessions, as told from committed entries and from the replies that leave nodes: ApplyOnce (46), SameReply (47),
//! ReplyOnlyCommitted (49).
//!
//! A command may be in the log more than once, because its client asked again. It is applied at the first of these ops
//! alone, so every reply names that op and brings the same outcome.

use std::collections::{BTreeMap, VecDeque};

use chronon_core::kernel::Outcome;
use chronon_core::node::{Answer, Reply};

use super::journal::{self, Payload};
use super::shadow::Broken;

/// The sessions of one group.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions {
    clients: BTreeMap<u128, VecDeque<Asked>>,
    pub compared: Compared,
}

/// How often each invariant was held against something.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Compared {
    pub apply_once: u64,
    pub same_reply: u64,
    pub reply_only_committed: u64,
}

/// A command in the committed log: where it is first, and what was replied.
#[derive(Clone, Debug)]
struct Asked {
    session: u64,
    number: u64,
    op: u64,
    outcome: Option<Outcome>,
}

impl Sessions {
    /// An entry was committed.
    pub(super) fn commit(&mut self, op: u64, payload: &Payload) -> Result<(), Broken> {
        if !payload.is_commands {
            return Ok(());
        }
        let Some(commands) = journal::commands(&payload.bytes) else {
            return Err(Broken::new(
                "ApplyOnce",
                format!("op {op} is committed, and is not a batch of commands"),
            ));
        };
        for command in commands {
            let asked = self.clients.entry(command.client).or_default();
            // A registration is a new one each time, unless the session it opened is still there.
            let again = |old: &Asked| {
                (old.session, old.number) == (command.session, command.number) && command.number > 0
            };
            if asked.iter().any(again) {
                continue;
            }
            if asked.len() >= COMMANDS_KEPT {
                asked.pop_front();
            }
            asked.push_back(Asked { session: command.session, number: command.number, op, outcome: None });
        }
        Ok(())
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
        if matches!(outcome, Outcome::Evicted | Outcome::OutOfOrder { .. }) {
            return Ok(());
        }
        let Some(asked) = self.clients.get_mut(&reply.client.get()) else {
            let what =
                format!("client {} hears of op {op}, and no entry holds a command of it", reply.client);
            return Err(Broken::new("ReplyOnlyCommitted", what));
        };
        let of_number = |asked: &&mut Asked| asked.number == number && (number > 0 || asked.op == op);
        // Of two sessions of one client, the latest that is not past the reply's op.
        let Some(asked) = asked.iter_mut().rev().find(|asked| of_number(asked) && asked.op <= op) else {
            let what = format!(
                "client {} hears that its request {number} is at op {op}, and it is not",
                reply.client
            );
            return Err(Broken::new("ReplyOnlyCommitted", what));
        };
        self.compared.apply_once += 1;
        if asked.op != op {
            let what = format!(
                "request {number} of client {} is at op {} first, and a reply says that it was applied at op {op}",
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

/// Commands remembered of a client: it has one open at a time, so that a reply is of one of the last.
const COMMANDS_KEPT: usize = 32;

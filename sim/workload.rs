//! Workloads: what clients ask of an application, and what its answers must be like.
//!
//! A user's own application is attacked by giving it one of these; [`crate::run::Simulation`] runs the two together
//! under the whole fault model:
//!
//! ```
//! use bytes::Bytes;
//! use chronon_core::codec;
//! use chronon_core::register::{RegisterCommand, Registers};
//! use chronon_core::types::{Blob, GroupInit};
//! use chronon_sim::random::Draw;
//! use chronon_sim::run::Simulation;
//! use chronon_sim::workload::{Asking, Workload};
//!
//! #[derive(Clone)]
//! struct Writes;
//!
//! impl Workload<Registers> for Writes {
//!     fn kinds(&self) -> &[&'static str] {
//!         &["register"]
//!     }
//!     fn command(&mut self, _group: &GroupInit, asking: Asking, draw: &mut Draw) -> Bytes {
//!         let key = Blob::from(vec![draw.below(3) as u8]);
//!         let value = Blob::from(asking.unique().to_le_bytes().to_vec());
//!         Bytes::from(codec::encode(&RegisterCommand::Write { key, value }))
//!     }
//! }
//!
//! let simulation = Simulation::new(Registers, Writes);
//! let report = simulation.run(simulation.config_of_seed(1), None);
//! assert_eq!(report.cause, None);
//! ```

mod events;

use std::collections::BTreeMap;

use bytes::Bytes;
use chronon_core::bank::{BankAnswer, BankCommand};
use chronon_core::builtin::{Builtin, BuiltinQuery, BuiltinState, BuiltinView, KINDS};
use chronon_core::catalog::{CatalogCommand, CatalogQuery, Endpoint, Topic};
use chronon_core::codec;
use chronon_core::events::TopicConfig;
use chronon_core::kernel::{ChrApplication, Outcome, QueryContext, Retry, SideEffectId, WORKER_PREFIX};
use chronon_core::post::{Letter, PostAnswer, PostCommand};
use chronon_core::register::{RegisterAnswer, RegisterCommand};
use chronon_core::types::{Blob, GroupId, GroupInit, Nanos, Op};

use crate::config::WorldConfig;
use crate::random::Draw;
use crate::sink::REFUSES;
use events::EventClients;

/// What clients ask of the application `A`.
pub trait Workload<A: ChrApplication>: Clone {
    /// The kinds of groups it knows how to use.
    fn kinds(&self) -> &[&'static str];

    /// Hears what the run is made of, before it begins.
    fn begin(&mut self, config: &WorldConfig) {
        let _ = config;
    }

    /// The body of the next command of a session: its `number`-th, of `client` (from 1), to `group`. Two calls never
    /// have the same client, group, life and number; `unique` is different in each.
    fn command(&mut self, group: &GroupInit, asking: Asking, draw: &mut Draw) -> Bytes;

    /// A question about the state, as [`ChrApplication::query`] takes it, encoded; `None` of an application that is not asked
    /// any.
    fn question(&self, group: &GroupInit, draw: &mut Draw) -> Option<Blob> {
        let _ = (group, draw);
        None
    }

    /// Judges an answer.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    fn answered(&mut self, group: &GroupInit, body: &[u8], outcome: &Outcome) -> Result<(), String> {
        let _ = (group, body, outcome);
        Ok(())
    }

    /// So many nanoseconds after a group stood still over a panic of the application, an operator has the event skipped. `None`
    /// of an application that panics over nothing: a panic is a failure then.
    fn skips_after(&self) -> Option<u64> {
        None
    }

    /// So many nanoseconds after the run began, and again until it is in force everywhere, an operator activates the latest schema
    /// that the application knows. `None` leaves it at the first one.
    fn activates_at(&self) -> Option<u64> {
        None
    }

    /// The queues of a group from which workers pull side effects: those of the targets `worker:QUEUE`.
    fn queues(&self, group: &GroupInit) -> &[&'static str] {
        let _ = group;
        &[]
    }

    /// Judges the state of one replica once the healed world has converged.
    ///
    /// # Errors
    /// What is wrong with it, in a sentence.
    fn converged(&self, group: &GroupInit, application: &A, state: &A::State) -> Result<(), String> {
        let _ = (group, application, state);
        Ok(())
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Asking {
    /// The client, from 1.
    pub client: u32,
    /// How many times it has begun again under another name.
    pub life: u32,
    /// The request's number in its session, from 1.
    pub number: u64,
}

impl Asking {
    /// A number that no other command of the group has.
    pub fn unique(self) -> u64 {
        u64::from(self.client) << 48 | u64::from(self.life) << 32 | self.number
    }
}

/// Money moves between a few accounts; events are published and consumed; letters are posted; a few registers are read, written
/// and swapped.
#[derive(Clone, Debug, Default)]
pub struct BuiltinWorkload {
    /// The value that each register was last heard to have, so that some swaps succeed.
    heard: BTreeMap<(GroupId, Blob), Option<Blob>>,
    /// Letters that were accepted.
    letters: BTreeMap<GroupId, Vec<SideEffectId>>,
    events: EventClients,
}

impl Workload<Builtin> for BuiltinWorkload {
    fn kinds(&self) -> &[&'static str] {
        &KINDS
    }

    fn begin(&mut self, config: &WorldConfig) {
        self.events.begin(config.events);
    }

    fn command(&mut self, group: &GroupInit, asking: Asking, draw: &mut Draw) -> Bytes {
        let body = match group.kind.as_str() {
            "bank" => codec::encode(&bank_command(asking, draw)),
            "catalog" => codec::encode(&catalog_command(draw)),
            "events" => codec::encode(&self.events.command(group.group, asking, draw)),
            "post" => codec::encode(&letter(asking, draw)),
            _ => codec::encode(&self.register_command(group.group, asking, draw)),
        };
        Bytes::from(body)
    }

    fn question(&self, group: &GroupInit, draw: &mut Draw) -> Option<Blob> {
        let question = match group.kind.as_str() {
            "bank" => BuiltinQuery::Balance { account: draw.between(1, ACCOUNTS) },
            "catalog" if draw.coin() => BuiltinQuery::Catalog(CatalogQuery::TopicsAfter(topic(draw))),
            "catalog" => BuiltinQuery::Catalog(CatalogQuery::Topic(topic(draw))),
            "events" => BuiltinQuery::Events(self.events.question(group.group, draw)),
            "post" => {
                let letters = self.letters.get(&group.group)?;
                let letter = letters[draw.below(letters.len() as u64) as usize];
                BuiltinQuery::Letter { letter }
            }
            _ => BuiltinQuery::Value { key: register(draw) },
        };
        Some(Blob::from(codec::encode(&question)))
    }

    fn queues(&self, group: &GroupInit) -> &[&'static str] {
        if group.kind == "post" { &QUEUES } else { &[] }
    }

    fn answered(&mut self, group: &GroupInit, body: &[u8], outcome: &Outcome) -> Result<(), String> {
        let is_events = group.kind == "events";
        let answer = match outcome {
            Outcome::Done(answer) => answer,
            Outcome::Refused(_) if is_events => {
                self.events.refused(group.group, body);
                return Ok(());
            }
            _ => return Ok(()),
        };
        match group.kind.as_str() {
            "bank" => judge_bank(answer.as_slice()),
            "catalog" => judge_catalog(body, answer.as_slice()),
            "events" => self.events.answered(group.group, body, answer.as_slice()),
            "post" => self.hear_post(group.group, answer.as_slice()),
            _ => self.hear_register(group.group, body, answer.as_slice()),
        }
    }

    fn converged(
        &self,
        group: &GroupInit,
        application: &Builtin,
        state: &BuiltinState,
    ) -> Result<(), String> {
        match group.kind.as_str() {
            "bank" => {}
            "post" => return no_letter_is_under_way(state),
            _ => return Ok(()),
        }
        let balance = |account: u64| {
            let question = BuiltinQuery::Balance { account };
            match application.query(state, question, &mut QueryContext { op: Op::GENESIS }) {
                BuiltinView::Balance(balance) => balance,
                BuiltinView::Value(_)
                | BuiltinView::Letter(_)
                | BuiltinView::Events(_)
                | BuiltinView::Topics(_)
                | BuiltinView::WrongKind => None,
            }
        };
        let open: Vec<u64> = (1..=ACCOUNTS).filter_map(balance).collect();
        books_balance(open.len() as u64, open.iter().sum())
    }
}

impl BuiltinWorkload {
    fn register_command(&self, group: GroupId, asking: Asking, draw: &mut Draw) -> RegisterCommand {
        let key = register(draw);
        let choice = draw.below(10);
        // A unique value tells which write a read saw; some are long, so that flushes differ in size.
        let mut value = asking.unique().to_le_bytes().to_vec();
        if draw.below(8) == 0 {
            value.resize(draw.between(8, VALUE_BYTES_MAX) as usize, 0xa5);
        }
        let value = Blob::from(value);
        match choice {
            0..=3 => RegisterCommand::Read { key },
            4..=6 => RegisterCommand::Write { key, value },
            _ => {
                let expected = self.heard.get(&(group, key.clone())).cloned().flatten();
                RegisterCommand::CompareAndSet { key, expected, value }
            }
        }
    }

    fn hear_register(&mut self, group: GroupId, body: &[u8], answer: &[u8]) -> Result<(), String> {
        let command: RegisterCommand =
            codec::decode(body).map_err(|error| format!("own command: {error}"))?;
        let answer: RegisterAnswer =
            codec::decode(answer).map_err(|error| format!("register answer: {error}"))?;
        let (key, value) = match (command, answer) {
            (RegisterCommand::Read { key }, RegisterAnswer::Value(found)) => (key, found),
            (RegisterCommand::Write { key, value }, RegisterAnswer::Written) => (key, Some(value)),
            (RegisterCommand::CompareAndSet { key, value, .. }, RegisterAnswer::Swapped) => {
                (key, Some(value))
            }
            (RegisterCommand::CompareAndSet { key, .. }, RegisterAnswer::Mismatch { found }) => (key, found),
            (command, answer) => return Err(format!("{command:?} was answered with {answer:?}")),
        };
        self.heard.insert((group, key), value);
        Ok(())
    }
}

impl BuiltinWorkload {
    fn hear_post(&mut self, group: GroupId, answer: &[u8]) -> Result<(), String> {
        let PostAnswer::Sent { letter } =
            codec::decode(answer).map_err(|error| format!("post answer: {error}"))?;
        self.letters.entry(group).or_default().push(letter);
        Ok(())
    }
}

/// To one of a few sinks, or to workers; one of the sinks refuses everything, and some letters are soon given up.
fn letter(asking: Asking, draw: &mut Draw) -> PostCommand {
    let target = match draw.below(SINKS) {
        0 => REFUSES.to_owned(),
        1 => format!("{WORKER_PREFIX}{}", draw.pick(&QUEUES)),
        sink => format!("sink-{sink}"),
    };
    let attempts_max = *draw.pick(&[1, 3, 1000, 1000]);
    let retry = Retry {
        attempts_max,
        first: Nanos::from_millis(draw.between(1, 500)),
        most: Nanos::from_millis(draw.between(500, 4000)),
    };
    // No two letters say the same: so it is known which of them took effect.
    PostCommand::Send { target, body: Blob::from(asking.unique().to_le_bytes().to_vec()), retry }
}

fn no_letter_is_under_way(state: &BuiltinState) -> Result<(), String> {
    let BuiltinState::Post(post) = state else { return Err("a post office without letters".to_owned()) };
    match post.letters().find(|(_, letter)| **letter == Letter::UnderWay) {
        Some((id, _)) => Err(format!("letter {id:?} is still under way, and no side effect is")),
        None => Ok(()),
    }
}

fn catalog_command(draw: &mut Draw) -> CatalogCommand {
    let (name, partitions) = (topic(draw), draw.between(1, 2) as u32);
    let config = TopicConfig { pending_max: draw.below(1000), ..TopicConfig::default() };
    match draw.below(9) {
        6 => CatalogCommand::Pause { name, pauses: draw.coin() },
        7 => CatalogCommand::Delete { name },
        8 => CatalogCommand::Remove { name, number: draw.between(1, 2 * TOPICS) as u32 },
        0 | 1 => CatalogCommand::Alter { name, config },
        2 => CatalogCommand::SetEndpoint { topic: name, endpoint: endpoint(draw) },
        3 => CatalogCommand::RemoveEndpoint { topic: name, endpoint: endpoint(draw).name },
        _ => CatalogCommand::Create { name, partitions, config },
    }
}

fn endpoint(draw: &mut Draw) -> Endpoint {
    Endpoint {
        name: format!("endpoint-{}", draw.below(20)),
        target: format!("topic:{}", topic(draw)),
        concurrency: draw.below(4) as u32,
        timeout: Nanos::from_secs(10),
        is_ordered: draw.below(8) == 0,
        attempts_max: 5,
        rest: Nanos::from_secs(1),
        rest_max: Nanos::from_secs(60),
        secrets: Vec::new(),
        rate: draw.below(100) as u32,
        failures_max: draw.below(1010) as u32,
    }
}

fn topic(draw: &mut Draw) -> String {
    format!("topic-{}", draw.below(TOPICS))
}

/// A topic that was made, or altered, is as was asked.
fn judge_catalog(body: &[u8], answer: &[u8]) -> Result<(), String> {
    let command = codec::decode(body).map_err(|error| format!("own command: {error}"))?;
    let topic: Topic = codec::decode(answer).map_err(|error| format!("a catalog's answer: {error}"))?;
    let is_as_asked = match &command {
        CatalogCommand::Create { partitions, .. } => topic.partitions == *partitions && !topic.is_going,
        CatalogCommand::Pause { pauses, .. } => topic.config.is_paused == *pauses,
        CatalogCommand::Delete { .. } => topic.is_going && topic.endpoints.is_empty(),
        CatalogCommand::Remove { number, .. } => topic.is_going && topic.number == *number,
        CatalogCommand::Alter { config, .. } => topic.config.pending_max == config.pending_max,
        CatalogCommand::SetEndpoint { endpoint, .. } => topic.endpoints.contains(endpoint),
        CatalogCommand::RemoveEndpoint { endpoint, .. } => {
            topic.endpoints.iter().all(|known| known.name != *endpoint)
        }
    };
    if is_as_asked { Ok(()) } else { Err(format!("{command:?} was answered with {topic:?}")) }
}

fn register(draw: &mut Draw) -> Blob {
    Blob::from(format!("r{}", draw.below(REGISTERS)).into_bytes())
}

fn bank_command(asking: Asking, draw: &mut Draw) -> BankCommand {
    let (from, to) = (draw.between(1, ACCOUNTS), draw.between(1, ACCOUNTS));
    match draw.below(10) {
        0 | 1 if asking.number <= 2 * ACCOUNTS => BankCommand::Open { account: from, balance: PAID_IN },
        0..=6 => BankCommand::Transfer { from, to, amount: draw.between(1, PAID_IN / 3) },
        7 | 8 => BankCommand::Balance { account: from },
        _ => BankCommand::Audit,
    }
}

fn judge_bank(answer: &[u8]) -> Result<(), String> {
    match codec::decode(answer).map_err(|error| format!("bank answer: {error}"))? {
        BankAnswer::Audit { accounts, total } => books_balance(accounts, total),
        BankAnswer::Opened | BankAnswer::Transferred | BankAnswer::Balance(_) => Ok(()),
    }
}

fn books_balance(accounts: u64, total: u64) -> Result<(), String> {
    let paid_in = accounts * PAID_IN;
    if total == paid_in {
        return Ok(());
    }
    Err(format!("money was made or lost: {accounts} accounts hold {total}, and {paid_in} was paid in"))
}

const SINKS: u64 = 8;
/// Of the catalog.
const TOPICS: u64 = 12;
/// Of the workers.
const QUEUES: [&str; 2] = ["printer", "scanner"];
const ACCOUNTS: u64 = 6;
const PAID_IN: u64 = 1000;
const REGISTERS: u64 = 3;
const VALUE_BYTES_MAX: u64 = 900;

#[cfg(test)]
mod tests {
    use chronon_core::bank::BankAnswer;
    use chronon_core::codec;
    use chronon_core::kernel::Outcome;
    use chronon_core::types::{Blob, ClusterId, GroupId, GroupInit, NodeId};

    use super::{Asking, BuiltinWorkload, KINDS, Workload};
    use crate::random::{Purpose, Randomness};

    fn group(kind: &str) -> GroupInit {
        let (cluster, group) = (ClusterId::new(1), GroupId::new(1));
        GroupInit {
            cluster,
            group,
            kind: kind.to_owned(),
            voters: vec![NodeId::new(1)],
            sessions_max: 4,
            archive: None,
        }
    }

    #[test]
    fn an_audit_that_does_not_balance_is_refused() {
        let mut workload = BuiltinWorkload::default();
        let mut judge = |accounts, total| {
            let answer = codec::encode(&BankAnswer::Audit { accounts, total });
            workload.answered(&group("bank"), b"", &Outcome::Done(Blob::from(answer)))
        };
        assert_eq!(judge(2, 2000), Ok(()));
        let error = judge(2, 1999).expect_err("a unit is missing");
        assert!(error.contains("1999") && error.contains("2000"), "{error}");
    }

    #[test]
    fn no_command_is_longer_than_the_limit_that_seeds_run_with() {
        let mut workload = BuiltinWorkload::default();
        for number in 1..500 {
            let asking = Asking { client: 1, life: 0, number };
            let mut draw = Randomness::new(1, 0).draw(Purpose::Workload, 1, &[number]);
            for kind in KINDS {
                assert!(workload.command(&group(kind), asking, &mut draw).len() <= 1024);
            }
        }
    }
}

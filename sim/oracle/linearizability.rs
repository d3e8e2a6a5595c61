//! Linearizable (11): what the clients of each group asked and heard has an order that explains every answer.
//!
//! Operations that nobody was answered stay open. The whole history is judged once, at the end of the run: registers
//! key by key, a bank as one object. The order of the committed log is tried first: if it explains every answer, that
//! is the proof. If it does not, the search says whether another order does.
//!
//! ReadAsOf: what a read beside the log shows, a stale one too, is the state as of the op that it names.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, Hash};

use bytes::Bytes;
use chronon_core::bank::{BankAnswer, BankCommand, BankError};
use chronon_core::builtin::{BuiltinError, BuiltinQuery, BuiltinView};
use chronon_core::codec;
use chronon_core::kernel::{Command, Outcome};
use chronon_core::node::Freshness;
use chronon_core::register::{RegisterAnswer, RegisterCommand};
use chronon_core::types::{Blob, GroupInit, Op};

use super::shadow::Broken;
use crate::checker::{
    Bank, BankOp, Judged, Limits, Model, Register, RegisterOp, Timed, UNSET, judge, proves,
};
use crate::journal::CommandId;

/// The history of one group.
#[derive(Clone, Debug)]
pub(super) struct History {
    kind: Kind,
    /// Places in real time.
    events: u64,
    operations: BTreeMap<u64, Asked>,
    /// Which operation a command is.
    by_command: BTreeMap<(u128, u64, u64), u64>,
    /// Operations in the order of the committed log, each with its op.
    order: Vec<(Op, u64)>,
    /// Reads beside the log, by numbers that no operation has.
    reads: BTreeMap<u64, Read>,
    pub compared: u64,
    /// Reads that were held against the state as of their op.
    pub read_as_of: u64,
    /// Objects of which neither was known when the search reached its limits.
    pub given_up: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Bank,
    Register,
}

/// An operation of a client.
#[derive(Clone, Debug)]
struct Asked {
    body: Blob,
    invoked: u64,
    returned: Option<(u64, Outcome)>,
}

/// A read beside the log.
#[derive(Clone, Debug)]
struct Read {
    question: BuiltinQuery,
    freshness: Freshness,
    invoked: u64,
    /// When, the op that it is said to reflect, and what it shows, if it is an answer at all.
    returned: Option<(u64, Op, Option<BuiltinView>)>,
}

/// The operations on one object, and for each the operation of the history that it is.
struct Object<O> {
    timed: Vec<Timed<O>>,
    numbers: Vec<u64>,
    /// Reads that may show what was long ago, and their numbers.
    stale: BTreeMap<u64, O>,
}

impl History {
    /// The history of a group; `None` of an application that this oracle does not know.
    pub(super) fn new(init: &GroupInit) -> Option<Self> {
        let kind = match init.kind.as_str() {
            "bank" => Kind::Bank,
            "register" => Kind::Register,
            _ => return None,
        };
        let (by_command, order) = (BTreeMap::new(), Vec::new());
        Some(Self {
            kind,
            events: 0,
            operations: BTreeMap::new(),
            by_command,
            order,
            reads: BTreeMap::new(),
            compared: 0,
            read_as_of: 0,
            given_up: 0,
        })
    }

    pub(super) fn invoke(&mut self, operation: u64, command: &Command) {
        self.events += 1;
        let number = command.number.get();
        // A registration opens a session and asks the application nothing.
        if number > 0 {
            let asked = Asked { body: command.body.clone(), invoked: self.events, returned: None };
            self.operations.insert(operation, asked);
            self.by_command.insert((command.client.get(), command.session.get(), number), operation);
        }
    }

    pub(super) fn answer(&mut self, operation: u64, outcome: &Outcome) {
        self.events += 1;
        if let Some(asked) = self.operations.get_mut(&operation) {
            asked.returned = Some((self.events, outcome.clone()));
        }
    }

    /// A command is executed in the committed log.
    pub(super) fn commit(&mut self, op: u64, command: CommandId) {
        let CommandId { client, session, number } = command;
        let operation = self.by_command.remove(&(client, session, number));
        self.order.extend(operation.map(|operation| (Op::new(op), operation)));
    }

    /// Somebody reads beside the log.
    pub(super) fn ask(&mut self, read: u64, question: &Blob, freshness: Freshness) {
        self.events += 1;
        // The builtin application refuses what is no question.
        let Ok(question) = codec::decode(question.as_slice()) else { return };
        self.reads.insert(read | READS, Read { question, freshness, invoked: self.events, returned: None });
    }

    /// A read was answered.
    pub(super) fn tell(&mut self, read: u64, op: Op, answer: &Blob) {
        self.events += 1;
        if let Some(read) = self.reads.get_mut(&(read | READS)) {
            read.returned = Some((self.events, op, codec::decode(answer.as_slice()).ok()));
        }
    }

    /// The order of the log, with each read behind the op that it is said to reflect.
    fn whole_order(&self) -> Vec<u64> {
        let place = |(number, read): (&u64, &Read)| {
            let (_, op, _) = read.returned.as_ref()?;
            Some((*op, *number))
        };
        let mut order = self.order.clone();
        order.extend(self.reads.iter().filter_map(place));
        order.sort_by_key(|(op, number)| (*op, number & READS));
        order.into_iter().map(|(_, number)| number).collect()
    }

    /// Judges the whole history.
    pub(super) fn judge(&mut self) -> Vec<Broken> {
        let verdicts = match self.kind {
            Kind::Bank => self.judge_bank(),
            Kind::Register => self.judge_registers(),
        };
        let mut broken = Vec::new();
        for Verdicts { verdict, as_of } in verdicts {
            match verdict {
                Ok(compared) => self.compared += compared,
                Err(Failed::GaveUp) => self.given_up += 1,
                Err(Failed::Violation(what)) => broken.push(Broken::new("Linearizable", what)),
            }
            match as_of {
                Ok(compared) => self.read_as_of += compared,
                Err(what) => broken.push(Broken::new("ReadAsOf", what)),
            }
        }
        broken
    }

    fn judge_registers(&self) -> Vec<Verdicts> {
        let mut values = Numbers::default();
        let mut keys: BTreeMap<Blob, Object<RegisterOp>> = BTreeMap::new();
        for (number, asked) in &self.operations {
            if let Some((key, op)) = asked.register_op(&mut values) {
                keys.entry(key).or_default().put(*number, asked.timed(op));
            }
        }
        for (number, read) in &self.reads {
            let Some((_, _, view)) = &read.returned else { continue };
            let BuiltinQuery::Value { key } = &read.question else { continue };
            let op = match view {
                Some(BuiltinView::Value(None)) => RegisterOp::Read(UNSET),
                Some(BuiltinView::Value(Some(value))) => RegisterOp::Read(values.of(&value.0)),
                Some(
                    BuiltinView::Balance(_)
                    | BuiltinView::Events(_)
                    | BuiltinView::Topics(_)
                    | BuiltinView::Letter(_)
                    | BuiltinView::WrongKind,
                )
                | None => RegisterOp::Impossible,
            };
            keys.entry(key.clone()).or_default().put_read(*number, read, op);
        }
        let name = |key: &Blob| format!("register {}", String::from_utf8_lossy(key.as_slice()));
        let order = self.whole_order();
        keys.iter().map(|(key, object)| object.verdicts(&name(key), &Register, &order)).collect()
    }

    fn judge_bank(&self) -> Vec<Verdicts> {
        let mut accounts = Numbers::default();
        let mut object = Object::default();
        for (number, asked) in &self.operations {
            if let Some(op) = asked.bank_op(&mut accounts) {
                object.put(*number, asked.timed(op));
            }
        }
        for (number, read) in &self.reads {
            let Some((_, _, view)) = &read.returned else { continue };
            let BuiltinQuery::Balance { account } = &read.question else { continue };
            let account = accounts.of(account) as usize - 1;
            let op = match view {
                Some(BuiltinView::Balance(None)) => BankOp::Missing(account),
                Some(BuiltinView::Balance(Some(balance))) => BankOp::Balance(account, *balance),
                Some(
                    BuiltinView::Value(_)
                    | BuiltinView::Events(_)
                    | BuiltinView::Topics(_)
                    | BuiltinView::Letter(_)
                    | BuiltinView::WrongKind,
                )
                | None => BankOp::Impossible,
            };
            object.put_read(*number, read, op);
        }
        vec![object.verdicts("the bank", &Bank::closed(accounts.0.len()), &self.whole_order())]
    }
}

impl Read {
    fn timed<O>(&self, op: O) -> Timed<O> {
        Timed { op, invoked: self.invoked, returned: self.returned.as_ref().map(|(at, ..)| *at) }
    }
}

/// What was found of an object.
struct Verdicts {
    /// How many operations were judged and found linearizable.
    verdict: Result<u64, Failed>,
    /// How many reads were judged and show the state as of their op.
    as_of: Result<u64, String>,
}

/// Why an object's history did not pass.
enum Failed {
    /// The search reached its limits: neither proven nor refuted.
    GaveUp,
    /// Nothing explains it.
    Violation(String),
}

impl Asked {
    fn timed<O>(&self, op: O) -> Timed<O> {
        Timed { op, invoked: self.invoked, returned: self.returned.as_ref().map(|(at, _)| *at) }
    }

    /// The outcome, when the application was asked at all: `None` says that the command was refused before.
    fn executed(&self) -> Option<Option<&Outcome>> {
        match &self.returned {
            None => Some(None),
            Some((_, outcome @ (Outcome::Done(_) | Outcome::Refused(_)))) => Some(Some(outcome)),
            Some((
                _,
                Outcome::Registered { .. } | Outcome::Evicted | Outcome::OutOfOrder { .. } | Outcome::Skipped,
            )) => None,
        }
    }

    /// The key, and what the answer says about it; `None` when it says nothing.
    fn register_op(&self, values: &mut Numbers<Bytes>) -> Option<(Blob, RegisterOp)> {
        let command: RegisterCommand = codec::decode(self.body.as_slice()).ok()?;
        let answer: Option<RegisterAnswer> = match self.executed()? {
            None => None,
            Some(Outcome::Done(body)) => Some(codec::decode(body.as_slice()).ok()?),
            // A refusal speaks of the command's form alone.
            Some(_) => return None,
        };
        let mut number = |value: &Option<Blob>| value.as_ref().map_or(UNSET, |value| values.of(&value.0));
        Some(match (command, answer) {
            (RegisterCommand::Read { .. }, None) => return None,
            (RegisterCommand::Read { key }, Some(RegisterAnswer::Value(value))) => {
                (key, RegisterOp::Read(number(&value)))
            }
            (RegisterCommand::Write { key, value }, None | Some(RegisterAnswer::Written)) => {
                (key, RegisterOp::Write(number(&Some(value))))
            }
            (
                RegisterCommand::CompareAndSet { key, expected, value },
                None | Some(RegisterAnswer::Swapped),
            ) => (key, RegisterOp::swap(number(&expected), number(&Some(value)))),
            (
                RegisterCommand::CompareAndSet { key, expected, .. },
                Some(RegisterAnswer::Mismatch { found }),
            ) => (key, RegisterOp::mismatch(number(&expected), number(&found))),
            (
                RegisterCommand::Read { key }
                | RegisterCommand::Write { key, .. }
                | RegisterCommand::CompareAndSet { key, .. },
                Some(_),
            ) => (key, RegisterOp::Impossible),
        })
    }

    /// What the answer says about the books; `None` when it says nothing.
    fn bank_op(&self, accounts: &mut Numbers<u64>) -> Option<BankOp> {
        let command: BankCommand = codec::decode(self.body.as_slice()).ok()?;
        let mut account = |number: u64| accounts.of(&number) as usize - 1;
        let answer: BankAnswer = match self.executed()? {
            None => {
                return match command {
                    BankCommand::Open { account: opened, balance } => {
                        Some(BankOp::Open(account(opened), balance))
                    }
                    BankCommand::Transfer { from, to, amount } => {
                        Some(BankOp::Transfer(account(from), account(to), amount))
                    }
                    BankCommand::Balance { .. } | BankCommand::Audit => None,
                };
            }
            Some(Outcome::Refused(error)) => return refusal(error, account),
            Some(outcome) => {
                let Outcome::Done(body) = outcome else { return None };
                codec::decode(body.as_slice()).ok()?
            }
        };
        Some(match (command, answer) {
            (BankCommand::Open { account: opened, balance }, BankAnswer::Opened) => {
                BankOp::Open(account(opened), balance)
            }
            (BankCommand::Transfer { from, to, amount }, BankAnswer::Transferred) => {
                BankOp::Transfer(account(from), account(to), amount)
            }
            (BankCommand::Balance { account: asked }, BankAnswer::Balance(balance)) => {
                BankOp::Balance(account(asked), balance)
            }
            (BankCommand::Audit, BankAnswer::Audit { accounts, total }) => BankOp::Audit(accounts, total),
            _ => BankOp::Impossible,
        })
    }
}

/// What a bank's refusal says about its books.
fn refusal(error: &Blob, mut account: impl FnMut(u64) -> usize) -> Option<BankOp> {
    match decode_error(error)? {
        BankError::Exists { account: open } => Some(BankOp::Present(account(open))),
        BankError::NoAccount { account: missing } => Some(BankOp::Missing(account(missing))),
        BankError::Insufficient { account: poor, balance } => Some(BankOp::Balance(account(poor), balance)),
        BankError::Malformed | BankError::Overflow => None,
    }
}

fn decode_error(error: &Blob) -> Option<BankError> {
    match codec::decode(error.as_slice()).ok()? {
        BuiltinError::Bank(error) => Some(error),
        BuiltinError::Catalog(_)
        | BuiltinError::Events(_)
        | BuiltinError::Post(_)
        | BuiltinError::Register(_)
        | BuiltinError::UnknownKind => None,
    }
}

impl<O> Default for Object<O> {
    fn default() -> Self {
        Self { timed: Vec::new(), numbers: Vec::new(), stale: BTreeMap::new() }
    }
}

impl<O: Clone + std::fmt::Debug> Object<O> {
    fn put(&mut self, number: u64, timed: Timed<O>) {
        self.numbers.push(number);
        self.timed.push(timed);
    }

    fn put_read(&mut self, number: u64, read: &Read, op: O) {
        match read.freshness {
            Freshness::Linearizable => self.put(number, read.timed(op)),
            Freshness::Stale | Freshness::Awaited { .. } => {
                self.stale.insert(number, op);
            }
        }
    }

    fn verdicts<M: Model<Op = O>>(&self, name: &str, model: &M, order: &[u64]) -> Verdicts {
        Verdicts { verdict: self.verdict(name, model, order), as_of: self.as_of(name, model, order) }
    }

    /// The place of an operation with this number; they ascend, as they are put in their order.
    fn place(&self, number: u64) -> Option<usize> {
        self.numbers.binary_search(&number).ok()
    }

    /// Executes the log, and holds each read against the state that it is said to show. A log that does not explain its own
    /// answers says nothing about reads: that is for the other verdict.
    fn as_of<M: Model<Op = O>>(&self, name: &str, model: &M, order: &[u64]) -> Result<u64, String> {
        let (mut state, mut compared) = (model.initial(), 0);
        for number in order {
            let timed = self.place(*number).map(|place| &self.timed[place]);
            let Some(op) = timed.map(|timed| &timed.op).or_else(|| self.stale.get(number)) else { continue };
            match model.step(&state, op) {
                Some(after) => state = after,
                None if number & READS > 0 => {
                    return Err(format!(
                        "{name}: a read shows {op:?}, and as of the op that it names the state is {}",
                        model.show(&state)
                    ));
                }
                // Nobody heard its answer, so it may as well have been refused.
                None if timed.is_some_and(|timed| timed.returned.is_none()) => {}
                None => return Ok(compared),
            }
            compared += number >> READS.trailing_zeros();
        }
        Ok(compared)
    }

    fn verdict<M: Model<Op = O>>(&self, name: &str, model: &M, order: &[u64]) -> Result<u64, Failed> {
        let count = self.timed.len() as u64;
        let logged: Vec<usize> = order.iter().filter_map(|number| self.place(*number)).collect();
        if proves(model, &self.timed, &logged) {
            return Ok(count);
        }
        match judge(model, &self.timed, LIMITS) {
            Judged::Linearizable => Ok(count),
            Judged::GaveUp(_) => Err(Failed::GaveUp),
            Judged::Violation(evidence) => {
                let shown = evidence.operations.iter().take(TOLD_MAX);
                let told: Vec<String> = shown.map(|index| tell(&self.timed[*index])).collect();
                let count = evidence.operations.len();
                let all = if count > TOLD_MAX { "the first of them are " } else { "" };
                let before = if evidence.since.is_some() { ", whatever was before them" } else { "" };
                Err(Failed::Violation(format!(
                    "{name}: nothing explains {}; possible before it: {}; {count} operations prove it{before}: \
                     {all}{}",
                    tell(&self.timed[evidence.failed]),
                    evidence.states.join(" or "),
                    told.join(", ")
                )))
            }
        }
    }
}

fn tell<O: std::fmt::Debug>(timed: &Timed<O>) -> String {
    match timed.returned {
        Some(returned) => format!("{:?} [{}..{returned}]", timed.op, timed.invoked),
        None => format!("{:?} [{}..]", timed.op, timed.invoked),
    }
}

/// Numbers for values, from 1 in the order in which they are met.
///
/// The map is asked and never walked, so that its order plays no part.
#[derive(Debug)]
struct Numbers<T>(HashMap<T, u32, BuildHasherDefault<DefaultHasher>>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<T: Hash + Eq + Clone> Numbers<T> {
    fn of(&mut self, value: &T) -> u32 {
        let next = self.0.len() as u32 + 1;
        *self.0.entry(value.clone()).or_insert(next)
    }
}

/// In the numbers of reads.
const READS: u64 = 1 << 63;

/// A bound that a run of a few thousand operations stays far below.
const LIMITS: Limits = Limits { configurations_max: 200_000, steps_max: 20_000_000 };

/// Operations named in a violation's sentence.
const TOLD_MAX: usize = 12;

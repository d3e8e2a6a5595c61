//! Linearizable (11): what the clients of each group asked and heard has an order that explains every answer.
//!
//! Operations that nobody was answered stay open. The whole history is judged once, at the end of the run: registers
//! key by key, a bank as one object.

use std::collections::BTreeMap;

use chronon_core::bank::{BankAnswer, BankCommand, BankError};
use chronon_core::builtin::BuiltinError;
use chronon_core::codec::{self, wire};
use chronon_core::kernel::{Command, Outcome};
use chronon_core::node::Answer;
use chronon_core::register::{RegisterAnswer, RegisterCommand};
use chronon_core::types::{Blob, GroupId, RequestNumber};

use super::{Counts, Observed, Oracle, Violation};
use crate::checker::{Bank, BankOp, Judged, Limits, Model, Register, RegisterOp, Timed, UNSET, judge};
use crate::time::WorldTime;

/// The history of every group, judged at the end.
#[derive(Clone, Debug, Default)]
pub struct Linearizable {
    groups: BTreeMap<GroupId, History>,
    events: u64,
    judged: u64,
    given_up: u64,
}

#[derive(Clone, Debug)]
struct History {
    kind: Kind,
    operations: BTreeMap<u64, Asked>,
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

impl Linearizable {
    fn invoke(&mut self, operation: u64, group: GroupId, command: &Command) {
        self.events += 1;
        let registers = command.number == RequestNumber::default();
        if let Some(history) = self.groups.get_mut(&group).filter(|_| !registers) {
            let asked = Asked { body: command.body.clone(), invoked: self.events, returned: None };
            history.operations.insert(operation, asked);
        }
    }

    fn answer(&mut self, operation: u64, group: GroupId, answer: &Answer) {
        self.events += 1;
        let Answer::Committed { outcome, .. } = answer else { return };
        let asked = self.groups.get_mut(&group).and_then(|history| history.operations.get_mut(&operation));
        if let Some(asked) = asked {
            asked.returned = Some((self.events, outcome.clone()));
        }
    }

    fn judge_all(&mut self, found: &mut Vec<Violation>) {
        for (group, history) in &self.groups {
            let verdicts = match history.kind {
                Kind::Bank => history.judge_bank(),
                Kind::Register => history.judge_registers(),
            };
            for verdict in verdicts {
                match verdict {
                    Ok(judged) => self.judged += judged,
                    Err(Failed::GaveUp) => self.given_up += 1,
                    Err(Failed::Violation(what)) => {
                        found.push(Violation::new("Linearizable", what).of(*group))
                    }
                }
            }
        }
    }
}

/// Why an object's history did not pass.
enum Failed {
    /// The search reached its limits: neither proven nor refuted.
    GaveUp,
    /// Nothing explains it.
    Violation(String),
}

impl History {
    fn judge_registers(&self) -> Vec<Result<u64, Failed>> {
        let mut values = Numbers::default();
        let mut keys: BTreeMap<Blob, Vec<Timed<RegisterOp>>> = BTreeMap::new();
        for asked in self.operations.values() {
            if let Some((key, op)) = asked.register_op(&mut values) {
                keys.entry(key).or_default().push(asked.timed(op));
            }
        }
        keys.iter()
            .map(|(key, operations)| {
                let name = format!("register {}", String::from_utf8_lossy(key.as_slice()));
                verdict(&name, &Register, operations)
            })
            .collect()
    }

    fn judge_bank(&self) -> Vec<Result<u64, Failed>> {
        let mut accounts = Numbers::default();
        let mut operations = Vec::new();
        for asked in self.operations.values() {
            operations.extend(asked.bank_op(&mut accounts).map(|op| asked.timed(op)));
        }
        vec![verdict("the bank", &Bank::closed(accounts.0.len()), &operations)]
    }
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
            Some((_, Outcome::Registered { .. } | Outcome::Evicted | Outcome::OutOfOrder { .. })) => None,
        }
    }

    /// The key, and what the answer says about it; `None` when it says nothing.
    fn register_op(&self, values: &mut Numbers<Blob>) -> Option<(Blob, RegisterOp)> {
        let command: RegisterCommand = codec::decode(self.body.as_slice()).ok()?;
        let answer: Option<RegisterAnswer> = match self.executed()? {
            None => None,
            Some(Outcome::Done(body)) => Some(codec::decode(body.as_slice()).ok()?),
            // A refusal speaks of the command's form alone.
            Some(_) => return None,
        };
        let mut number = |value: &Option<Blob>| value.as_ref().map_or(UNSET, |value| values.of(value));
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
    fn is<T: wire::Decode<()>>(bytes: &Blob) -> Option<T> {
        codec::decode(bytes.as_slice()).ok()
    }
    match is::<BuiltinError>(error)? {
        BuiltinError::Bank(error) => Some(error),
        BuiltinError::Register(_) | BuiltinError::UnknownKind => None,
    }
}

fn verdict<M: Model>(name: &str, model: &M, operations: &[Timed<M::Op>]) -> Result<u64, Failed> {
    match judge(model, operations, LIMITS) {
        Judged::Linearizable => Ok(operations.len() as u64),
        Judged::GaveUp => Err(Failed::GaveUp),
        Judged::Violation(evidence) => {
            let failed = &operations[evidence.failed];
            let told: Vec<String> =
                evidence.operations.iter().take(TOLD_MAX).map(|index| tell(&operations[*index])).collect();
            Err(Failed::Violation(format!(
                "{name}: nothing explains {}; possible before it: {}; {} operations prove it: {}",
                tell(failed),
                evidence.states.join(" or "),
                evidence.operations.len(),
                told.join(", ")
            )))
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
#[derive(Debug)]
struct Numbers<T>(BTreeMap<T, u32>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<T: Ord + Clone> Numbers<T> {
    fn of(&mut self, value: &T) -> u32 {
        let next = self.0.len() as u32 + 1;
        *self.0.entry(value.clone()).or_insert(next)
    }
}

impl Oracle for Linearizable {
    fn observe(&mut self, _at: WorldTime, seen: &Observed<'_>, found: &mut Vec<Violation>) {
        match seen {
            Observed::Begin { groups, .. } => {
                for init in *groups {
                    let kind = match init.kind.as_str() {
                        "bank" => Kind::Bank,
                        "register" => Kind::Register,
                        // Of an application that this oracle does not know, it says nothing.
                        _ => continue,
                    };
                    self.groups.insert(init.group, History { kind, operations: BTreeMap::new() });
                }
            }
            Observed::Invoke { operation, group, command, .. } => self.invoke(*operation, *group, command),
            Observed::Return { operation, group, answer, .. } => self.answer(*operation, *group, answer),
            Observed::End { .. } => self.judge_all(found),
            _ => {}
        }
    }

    fn invariants(&self) -> &'static [&'static str] {
        &["Linearizable"]
    }

    fn count(&self, counts: &mut Counts) {
        counts.add("Linearizable", self.judged);
        counts.add("Linearizable (given up)", self.given_up);
    }

    fn fork(&self) -> Box<dyn Oracle> {
        Box::new(self.clone())
    }
}

/// A bound that a run of a few thousand operations stays far below.
const LIMITS: Limits = Limits { configurations_max: 200_000, steps_max: 20_000_000 };

/// Operations named in a violation's sentence.
const TOLD_MAX: usize = 12;

//! The models by name: how the operations of a [`History`] are read by each.

use std::collections::BTreeMap;

use super::bank::Bank;
use super::bank_op::BankOp;
use super::evidence::Evidence;
use super::history::{End, History, Operation};
use super::judge::{Judged, judge};
use super::log::Log;
use super::model::{Limit, Limits, Model, Timed};
use super::mutex::{Mutex, MutexOp};
use super::operations::{LogOp, QueueOp, RegisterOp, TextOp};
use super::queue::Queue;
use super::register::Register;
use super::text::Text;
use super::value::Value;

/// The models that [`check`] knows.
pub const MODELS: [&str; 6] = ["cas-register", "bank", "kv-append", "mutex", "queue", "log"];

/// A verdict on a history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// Every object's operations have an order that explains every answer.
    Linearizable {
        /// Objects.
        keys: usize,
        /// Operations that bind or may have taken effect.
        operations: usize,
    },
    /// One object's do not.
    Violation(Violation),
    /// A limit was reached at this object, and no other is violated.
    GaveUp {
        /// The object.
        key: Value,
        /// Which limit.
        limit: Limit,
    },
}

/// What is not linearizable.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Violation {
    /// The object.
    pub key: Value,
    /// Why, by places in [`History::operations`].
    pub evidence: Evidence,
}

/// Why a history cannot be judged by a model.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum CheckError {
    /// No such model.
    #[error("unknown model `{name}`; known are {}", MODELS.join(", "))]
    Model {
        /// The name.
        name: String,
    },
    /// The model knows no such operation, or not these arguments or answers of it.
    #[error("{spot}`{f}` of process {process}: {what}")]
    Operation {
        /// Line and column, or its number among the operations when it was not read from lines.
        spot: String,
        /// What was asked for.
        f: String,
        /// Who asked.
        process: u64,
        /// What is wrong, and what is allowed.
        what: String,
    },
}

/// Judges `history` by the model `name`.
///
/// # Errors
/// [`CheckError`] when there is no such model, or it does not know an operation of the history.
pub fn check(name: &str, history: &History, limits: Limits) -> Result<Verdict, CheckError> {
    let mut values = Numbers::default();
    match name {
        "cas-register" => by_key(history, limits, &Register, |operation| register(operation, &mut values)),
        "kv-append" => by_key(history, limits, &Text, text),
        "mutex" => by_key(history, limits, &Mutex, mutex),
        "queue" => by_key(history, limits, &Queue, |operation| queue(operation, &mut values)),
        "log" => by_key(history, limits, &Log, |operation| log(operation, &mut values)),
        "bank" => {
            // The model must know how many accounts there are before it is made; what is wrong is told after.
            let mut accounts = Numbers::default();
            for operation in history.operations() {
                bank(operation, &mut accounts).ok();
            }
            let model = Bank::founded(accounts.0.len());
            by_key(history, limits, &model, |operation| bank(operation, &mut accounts))
        }
        _ => Err(CheckError::Model { name: name.to_owned() }),
    }
}

/// Judges each object for itself. The gravest verdict counts: a violation, then having given up.
fn by_key<M: Model>(
    history: &History,
    limits: Limits,
    model: &M,
    mut read: impl FnMut(&Operation) -> ReadOp<M::Op>,
) -> Result<Verdict, CheckError> {
    let mut keys: BTreeMap<&Value, Object<M::Op>> = BTreeMap::new();
    for (index, operation) in history.operations().iter().enumerate() {
        let Operation { process, f, .. } = operation;
        let op = read(operation).map_err(|Wrong { part, what }| CheckError::Operation {
            spot: spot(history, operation, index, part),
            f: f.clone(),
            process: *process,
            what,
        })?;
        let returned = match operation.end {
            End::Ok { at, .. } | End::Fail { at, .. } => Some(at),
            End::Unknown => None,
        };
        if let Some(op) = op {
            let object = keys
                .entry(&operation.key)
                .or_insert_with(|| Object { indexes: Vec::new(), timed: Vec::new() });
            object.indexes.push(index);
            object.timed.push(Timed { op, invoked: operation.invoked, returned });
        }
    }
    let mut verdict = Verdict::Linearizable {
        keys: keys.len(),
        operations: keys.values().map(|object| object.indexes.len()).sum(),
    };
    for (key, Object { indexes, timed }) in keys {
        match judge(model, &timed, limits) {
            Judged::Linearizable => {}
            Judged::GaveUp(limit) => verdict = Verdict::GaveUp { key: key.clone(), limit },
            Judged::Violation(evidence) => {
                let operations = evidence.operations.into_iter().map(|index| indexes[index]).collect();
                let evidence = Evidence { operations, failed: indexes[evidence.failed], ..evidence };
                return Ok(Verdict::Violation(Violation { key: key.clone(), evidence }));
            }
        }
    }
    Ok(verdict)
}

/// The operations on one object, and the place of each among those of the history.
struct Object<O> {
    indexes: Vec<usize>,
    timed: Vec<Timed<O>>,
}

/// Numbers for values, from 1 in the order in which they are met; null is 0.
#[derive(Debug, Default)]
struct Numbers(BTreeMap<Value, u32>);

impl Numbers {
    fn of(&mut self, value: &Value) -> u32 {
        if *value == Value::Null {
            return 0;
        }
        let next = self.0.len() as u32 + 1;
        *self.0.entry(value.clone()).or_insert(next)
    }
}

/// The operation of a model, `None` when it binds nothing.
type ReadOp<O> = Result<Option<O>, Wrong>;

/// What a model cannot read of an operation.
struct Wrong {
    part: Part,
    what: String,
}

/// A part of an operation.
#[derive(Clone, Copy)]
enum Part {
    F,
    Asked,
    Answer,
}

fn wrong<T>(part: Part, what: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { part, what: what.into() })
}

/// Where this part of an operation was read.
fn spot(history: &History, operation: &Operation, index: usize, part: Part) -> String {
    let place = match (part, &operation.end) {
        (Part::Answer, End::Ok { at, .. } | End::Fail { at, .. }) => *at,
        _ => operation.invoked,
    };
    match (history.spot(place), part) {
        (Some(spot), Part::F) => format!("line {}, column {}: ", spot.line, spot.f),
        (Some(spot), Part::Asked | Part::Answer) => format!("line {}, column {}: ", spot.line, spot.value),
        (None, _) => format!("operation {}, ", index + 1),
    }
}

fn register(operation: &Operation, values: &mut Numbers) -> ReadOp<RegisterOp> {
    match (operation.f.as_str(), &operation.end) {
        ("read", End::Ok { value, .. }) => Ok(Some(RegisterOp::Read(values.of(value)))),
        ("read" | "write", End::Fail { .. }) | ("read", End::Unknown) => Ok(None),
        ("write", _) => Ok(Some(RegisterOp::Write(values.of(&operation.value)))),
        ("cas", end) => {
            let [from, to] = pair(Part::Asked, &operation.value, "cas [from, to]")?;
            let (from, to) = (values.of(from), values.of(to));
            Ok(match end {
                End::Fail { error, .. } if error.as_deref() == Some("mismatch") => {
                    Some(RegisterOp::Differs(from))
                }
                End::Fail { .. } => None,
                End::Ok { .. } | End::Unknown => Some(RegisterOp::swap(from, to)),
            })
        }
        _ => wrong(Part::F, "this model knows read, write and cas"),
    }
}

fn text(operation: &Operation) -> ReadOp<TextOp> {
    let argument = || match &operation.value {
        Value::Text(text) => Ok(text.clone()),
        other => wrong(Part::Asked, format!("its value is {other}; text is allowed")),
    };
    match (operation.f.as_str(), &operation.end) {
        ("get" | "put" | "append", End::Fail { .. }) | ("get", End::Unknown) => Ok(None),
        ("get", End::Ok { value: Value::Text(text), .. }) => Ok(Some(TextOp::Get(text.clone()))),
        ("get", End::Ok { value, .. }) => {
            wrong(Part::Answer, format!("it was answered {value}; text is allowed"))
        }
        ("put", _) => Ok(Some(TextOp::Put(argument()?))),
        ("append", _) => Ok(Some(TextOp::Append(argument()?))),
        _ => wrong(Part::F, "this model knows get, put and append"),
    }
}

fn mutex(operation: &Operation) -> ReadOp<MutexOp> {
    match (operation.f.as_str(), &operation.end) {
        ("acquire" | "release", End::Fail { .. }) => Ok(None),
        ("acquire", _) => Ok(Some(MutexOp::Acquire)),
        ("release", _) => Ok(Some(MutexOp::Release)),
        _ => wrong(Part::F, "this model knows acquire and release"),
    }
}

fn queue(operation: &Operation, values: &mut Numbers) -> ReadOp<QueueOp> {
    match (operation.f.as_str(), &operation.end) {
        ("enqueue" | "dequeue", End::Fail { .. }) => Ok(None),
        ("enqueue", _) if operation.value == Value::Null => {
            wrong(Part::Asked, "its value is null; anything else is allowed")
        }
        ("enqueue", _) => Ok(Some(QueueOp::Enqueue(values.of(&operation.value)))),
        ("dequeue", End::Ok { value: Value::Null, .. }) => Ok(Some(QueueOp::Empty)),
        ("dequeue", End::Ok { value, .. }) => Ok(Some(QueueOp::Dequeue(values.of(value)))),
        ("dequeue", End::Unknown) => Ok(Some(QueueOp::DequeueAny)),
        _ => wrong(Part::F, "this model knows enqueue and dequeue"),
    }
}

fn log(operation: &Operation, values: &mut Numbers) -> ReadOp<LogOp> {
    let answer = |value| {
        let [offset, found] = pair(Part::Answer, value, "an answer [offset, value]")?;
        match offset.as_u64() {
            Some(offset) => Ok((offset, found)),
            None => wrong(Part::Answer, format!("the offset is {offset}; a whole number from 0 is allowed")),
        }
    };
    match (operation.f.as_str(), &operation.end) {
        ("append" | "read", End::Fail { .. }) | ("read", End::Unknown) => Ok(None),
        ("append", End::Unknown) => Ok(Some(LogOp::AppendAny(values.of(&operation.value)))),
        ("append", End::Ok { value, .. }) => {
            let (offset, _) = answer(value)?;
            Ok(Some(LogOp::Append(offset, values.of(&operation.value))))
        }
        ("read", End::Ok { value, .. }) => match answer(value)? {
            (offset, Value::Null) => Ok(Some(LogOp::Beyond(offset))),
            (offset, found) => Ok(Some(LogOp::Read(offset, values.of(found)))),
        },
        _ => wrong(Part::F, "this model knows append and read"),
    }
}

fn bank(operation: &Operation, accounts: &mut Numbers) -> ReadOp<BankOp> {
    let mut account = |name: &Value| accounts.of(name) as usize - 1;
    match (operation.f.as_str(), &operation.end) {
        ("transfer" | "read", End::Fail { .. }) | ("read", End::Unknown) => Ok(None),
        ("transfer", _) => match operation.value.as_list() {
            Some([from, to, amount]) if *from != Value::Null && *to != Value::Null => {
                let Some(amount) = amount.as_u64() else {
                    let what = format!("the amount is {amount}; a whole number from 0 is allowed");
                    return wrong(Part::Asked, what);
                };
                // In an object, where balances are read, names of accounts are text.
                Ok(Some(BankOp::Transfer(account(&named(from)), account(&named(to)), amount)))
            }
            _ => {
                wrong(Part::Asked, format!("its value is {}; [from, to, amount] is allowed", operation.value))
            }
        },
        ("read", End::Ok { value: Value::Map(balances), .. }) => {
            let mut seen = Vec::with_capacity(balances.len());
            for (name, balance) in balances {
                let Some(balance) = balance.as_u64() else {
                    let what = format!("the balance is {balance}; a whole number from 0 is allowed");
                    return wrong(Part::Answer, what);
                };
                seen.push((account(&Value::from(name.as_str())), balance));
            }
            Ok(Some(BankOp::Read(seen)))
        }
        ("read", End::Ok { value, .. }) => {
            wrong(Part::Answer, format!("it was answered {value}; {{account: balance}} is allowed"))
        }
        _ => wrong(Part::F, "this model knows transfer and read"),
    }
}

fn named(account: &Value) -> Value {
    match account {
        Value::Int(number) => Value::Text(number.to_string()),
        other => other.clone(),
    }
}

fn pair<'a>(part: Part, value: &'a Value, wanted: &str) -> Result<[&'a Value; 2], Wrong> {
    match value.as_list() {
        Some([one, other]) => Ok([one, other]),
        _ => wrong(part, format!("its value is {value}; {wanted} is allowed")),
    }
}

//! Histories for measurements: of an object that behaves, or misbehaves once, as clients would have recorded them.

use super::history::{EventKind, History, HistoryError};
use super::value::Value;
use crate::random::{Draw, Purpose, Randomness};

/// What is generated.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Recipe {
    /// The model's name.
    pub model: &'static str,
    /// Operations in all.
    pub operations: usize,
    /// Clients of each key; each has one operation open at a time.
    pub clients: u64,
    /// Keys, that share the operations and have clients of their own.
    pub keys: u64,
    /// Of a million answers, so many are lost. Half of those operations take effect.
    pub lost_ppm: u32,
    /// Values written are drawn from so many; `None` for values that are never repeated.
    pub values: Option<u64>,
    /// One answer in the last tenth is wrong: such as an object would give that had lost what it answered before.
    pub wrong: bool,
}

/// A history by `recipe`; the same seed gives the same.
///
/// # Errors
/// When the recipe has no clients or no keys, or names no model.
pub fn history(recipe: &Recipe, seed: u64) -> Result<History, HistoryError> {
    let mut draw = Randomness::new(seed, 0).draw(Purpose::Workload, 0, &[]);
    let wrong_from = recipe.operations - recipe.operations / 10;
    let mut objects: Vec<Object> = (0..recipe.keys).map(|_| Object::default()).collect();
    let mut history = History::default();
    // The events to come, by time: what begins, takes effect, is answered.
    let mut agenda = std::collections::BTreeMap::new();
    let processes = recipe.clients * recipe.keys;
    for process in 0..processes {
        agenda.insert((draw.below(100), process), Step::Ask);
    }
    let (mut asked, mut wronged) = (0, !recipe.wrong);
    while let Some(((now, process), step)) = agenda.pop_first() {
        let key = process % recipe.keys;
        let object = &mut objects[key as usize];
        match step {
            Step::Ask if asked == recipe.operations => {}
            Step::Ask => {
                asked += 1;
                let (f, value) = object.ask(recipe, asked as u64, &mut draw);
                history.invoke(process, f, Value::Int(key as i64), value.clone())?;
                let lost = draw.chance(recipe.lost_ppm);
                let effect = if lost && draw.coin() { Step::Forget } else { Step::Effect { f, value, lost } };
                agenda.insert((now + draw.between(1, 100), process), effect);
            }
            Step::Effect { f, value, lost } => {
                let lie = !wronged && !lost && asked > wrong_from;
                let (kind, answer, lied) = object.effect(f, &value, lie);
                wronged |= lied;
                let next = if lost { Step::Forget } else { Step::Answer { kind, answer } };
                agenda.insert((now + draw.between(1, 100), process), next);
            }
            Step::Answer { kind, answer } => {
                match kind {
                    EventKind::Fail => history.refuse(process, "mismatch")?,
                    kind => history.complete(process, kind, answer)?,
                }
                agenda.insert((now + draw.between(1, 50), process), Step::Ask);
            }
            Step::Forget => {
                history.complete(process, EventKind::Info, Value::Null)?;
                agenda.insert((now + draw.between(1, 50), process), Step::Ask);
            }
        }
    }
    Ok(history)
}

enum Step {
    Ask,
    Effect { f: &'static str, value: Value, lost: bool },
    Answer { kind: EventKind, answer: Value },
    Forget,
}

/// An object of any of the models, and what its clients last heard of it.
#[derive(Debug, Default)]
struct Object {
    value: Value,
    /// Of the register, what it held some while ago.
    stale: Vec<Value>,
    text: String,
    list: Vec<Value>,
    /// How much of the list a queue has given out.
    front: usize,
    held: bool,
    balances: Vec<u64>,
}

impl Object {
    /// What a client asks for.
    fn ask(&mut self, recipe: &Recipe, number: u64, draw: &mut Draw) -> (&'static str, Value) {
        let fresh = recipe.values.map_or(number, |values| draw.between(1, values)) as i64;
        let pick = draw.below(10);
        match recipe.model {
            "cas-register" => match pick {
                0..4 => ("read", Value::Null),
                4..7 => ("write", Value::Int(fresh)),
                _ => ("cas", Value::List(vec![self.value.clone(), Value::Int(fresh)])),
            },
            "kv-append" => match pick {
                0..3 => ("get", Value::Null),
                3..9 if self.text.len() < TEXT_MAX => ("append", Value::Text(format!("{fresh},"))),
                _ => ("put", Value::Text(format!("{fresh};"))),
            },
            "mutex" => (if self.held { "release" } else { "acquire" }, Value::Null),
            "queue" => match pick {
                0..5 => ("enqueue", Value::Int(fresh)),
                _ => ("dequeue", Value::Null),
            },
            "log" => match pick {
                0..5 => ("append", Value::Int(fresh)),
                _ => ("read", Value::Int(draw.below(self.list.len() as u64 + 2) as i64)),
            },
            _ => {
                let accounts = ACCOUNTS as u64;
                self.balances.resize(ACCOUNTS, BALANCE);
                match pick {
                    0..4 => ("read", Value::Null),
                    _ => {
                        let (from, apart) = (draw.below(accounts), draw.between(1, accounts - 1));
                        let amount = draw.between(1, recipe.values.unwrap_or(BALANCE / 4));
                        let of = |account: u64| Value::Int((account % accounts) as i64);
                        ("transfer", Value::List(vec![of(from), of(from + apart), Value::Int(amount as i64)]))
                    }
                }
            }
        }
    }

    /// What happens, how it is answered, and whether that was a lie.
    fn effect(&mut self, f: &str, value: &Value, lie: bool) -> (EventKind, Value, bool) {
        let ok = |answer: Value| (EventKind::Ok, answer, false);
        let pair = |offset: usize, value: Value| Value::List(vec![Value::Int(offset as i64), value]);
        match f {
            "read" if !self.balances.is_empty() => {
                let mut seen = self.balances.clone();
                // Money that came from nowhere.
                seen[0] += u64::from(lie);
                let named =
                    |(account, balance): (usize, &u64)| (account.to_string(), Value::Int(*balance as i64));
                (EventKind::Ok, Value::Map(seen.iter().enumerate().map(named).collect()), lie)
            }
            "transfer" => self.transfer(value),
            "read" if *value != Value::Null => {
                let offset = value.as_u64().unwrap_or(0) as usize;
                match self.list.get(offset) {
                    Some(_) if lie => (EventKind::Ok, pair(offset, Value::Null), true),
                    found => ok(pair(offset, found.cloned().unwrap_or_default())),
                }
            }
            "read" => {
                let old = self.stale.len().checked_sub(STALE).map(|at| self.stale[at].clone());
                match old.filter(|old| lie && *old != self.value) {
                    Some(old) => (EventKind::Ok, old, true),
                    None => ok(self.value.clone()),
                }
            }
            "write" => {
                self.set(value.clone());
                ok(value.clone())
            }
            "cas" => match value.as_list() {
                Some([from, to]) if *from == self.value => {
                    self.set(to.clone());
                    ok(value.clone())
                }
                _ => (EventKind::Fail, value.clone(), false),
            },
            "get" if lie && !self.text.is_empty() => {
                (EventKind::Ok, Value::Text(self.text[1..].to_owned()), true)
            }
            "get" => ok(Value::Text(self.text.clone())),
            "put" => {
                self.text = value.as_text().unwrap_or_default().to_owned();
                ok(value.clone())
            }
            "append" if value.as_text().is_some() => {
                self.text.push_str(value.as_text().unwrap_or_default());
                ok(value.clone())
            }
            "append" | "enqueue" => {
                self.list.push(value.clone());
                ok(if f == "append" { pair(self.list.len() - 1, value.clone()) } else { value.clone() })
            }
            "dequeue" => match self.list.get(self.front) {
                // One that was put in long after the front comes out first.
                Some(_) if lie && self.list.len() > self.front + OVERTAKEN => {
                    let early = self.list.remove(self.front + OVERTAKEN);
                    self.list.insert(self.front, early.clone());
                    self.front += 1;
                    (EventKind::Ok, early, true)
                }
                Some(front) => {
                    self.front += 1;
                    ok(front.clone())
                }
                None => (EventKind::Ok, Value::Null, false),
            },
            // What is not free, or not held, is refused; a lie says otherwise.
            _ if (f == "release") == self.held => {
                self.held = f == "acquire";
                ok(Value::Null)
            }
            _ if lie => (EventKind::Ok, Value::Null, true),
            _ => (EventKind::Fail, Value::Null, false),
        }
    }

    fn set(&mut self, value: Value) {
        let before = std::mem::replace(&mut self.value, value);
        self.stale.push(before);
    }

    fn transfer(&mut self, value: &Value) -> (EventKind, Value, bool) {
        if let Some([from, to, amount]) = value.as_list()
            && let (Some(from), Some(to), Some(amount)) = (from.as_u64(), to.as_u64(), amount.as_u64())
            && let Some(left) = self.balances[from as usize].checked_sub(amount)
        {
            self.balances[from as usize] = left;
            self.balances[to as usize] += amount;
            return (EventKind::Ok, value.clone(), false);
        }
        (EventKind::Fail, value.clone(), false)
    }
}

const ACCOUNTS: usize = 5;
const BALANCE: u64 = 1000;
/// How many writes back a stale read looks.
const STALE: usize = 60;
/// How many a queue's wrong answer overtakes: more than are put in at the same time.
const OVERTAKEN: usize = 40;
/// Where a text is put anew.
const TEXT_MAX: usize = 400;

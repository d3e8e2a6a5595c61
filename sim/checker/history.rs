//! Histories: what processes asked and heard, in real-time order, and the reader of their JSON Lines.
//!
//! ```text
//! {"process":3,"type":"invoke","f":"cas","key":"r","value":[1,4]}
//! {"process":3,"type":"ok","f":"cas","key":"r","value":[1,4]}
//! ```

use std::collections::BTreeMap;

use super::json::{JsonError, Members, parse_object};
use super::value::Value;

/// What happened to an operation.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventKind {
    /// It was asked for.
    Invoke,
    /// It took effect.
    Ok,
    /// It did not take effect.
    Fail,
    /// Nobody knows.
    Info,
}

/// One event of a history.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Event {
    /// Who.
    pub process: u64,
    /// What happened.
    pub kind: EventKind,
    /// The operation, by the model's name for it.
    pub f: String,
    /// The object; [`Value::Null`] where there is one alone.
    pub key: Value,
    /// Of an invocation its arguments, of an answer the answer.
    pub value: Value,
    /// When, in nanoseconds; for people only: the order of the events decides.
    pub time: Option<u64>,
    /// Why it failed.
    pub error: Option<String>,
}

/// How an operation ended.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum End {
    /// It took effect before this place, and was answered so.
    Ok {
        /// The place of the answer among the events.
        at: u64,
        /// The answer.
        value: Value,
    },
    /// It did not take effect, and was answered so.
    Fail {
        /// The place of the answer among the events.
        at: u64,
        /// Why.
        error: Option<String>,
    },
    /// It may have taken effect, may still do so, or never.
    Unknown,
}

/// An operation from its invocation to its end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Operation {
    /// Who asked.
    pub process: u64,
    /// What was asked for, by the model's name for it.
    pub f: String,
    /// The object.
    pub key: Value,
    /// The arguments.
    pub value: Value,
    /// The place of the invocation among the events.
    pub invoked: u64,
    /// How it ended.
    pub end: End,
}

/// Why events are not a history.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum HistoryError {
    /// A process asked again before it was answered.
    #[error("process {process} invokes `{f}` while its `{open}` is open: a process has one open operation")]
    Busy {
        /// The process.
        process: u64,
        /// What it asks for.
        f: String,
        /// What is open.
        open: String,
    },
    /// An answer to nothing.
    #[error("process {process} hears of `{f}`, which it has not open: an answer follows its invocation")]
    NotOpen {
        /// The process.
        process: u64,
        /// What the answer names.
        f: String,
    },
}

/// A history, as it is put together.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct History {
    operations: Vec<Operation>,
    open: BTreeMap<u64, usize>,
    events: u64,
    /// Where each event was read; of none when it was not.
    spots: Vec<Spot>,
}

/// Where an event was read.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Spot {
    /// Its line, counted from 1.
    pub line: usize,
    /// The columns of its members `f` and `value`, counted from 1 in characters.
    pub f: usize,
    /// As `f`; 1 when it has none.
    pub value: usize,
}

impl History {
    /// Its operations, in the order of their invocations.
    pub fn operations(&self) -> &[Operation] {
        &self.operations
    }

    /// Where the event at this place was read, if it was.
    pub fn spot(&self, place: u64) -> Option<Spot> {
        self.spots.get(place as usize).copied()
    }

    /// Adds the next event.
    ///
    /// # Errors
    /// [`HistoryError`] when it cannot follow those before; nothing is added then.
    pub fn push(&mut self, event: Event) -> Result<(), HistoryError> {
        let Event { process, kind, f, key, value, error, .. } = event;
        let open = self.open.get(&process).copied();
        let end = match kind {
            EventKind::Invoke => {
                if let Some(open) = open {
                    return Err(HistoryError::Busy { process, f, open: self.operations[open].f.clone() });
                }
                self.open.insert(process, self.operations.len());
                self.operations.push(Operation {
                    process,
                    f,
                    key,
                    value,
                    invoked: self.events,
                    end: End::Unknown,
                });
                self.events += 1;
                return Ok(());
            }
            EventKind::Ok => End::Ok { at: self.events, value },
            EventKind::Fail => End::Fail { at: self.events, error },
            EventKind::Info => End::Unknown,
        };
        match open {
            Some(open) if self.operations[open].f == f => self.operations[open].end = end,
            _ => return Err(HistoryError::NotOpen { process, f }),
        }
        self.open.remove(&process);
        self.events += 1;
        Ok(())
    }

    /// `process` asks for `f` of `key`.
    ///
    /// # Errors
    /// When the process has an open operation.
    pub fn invoke(&mut self, process: u64, f: &str, key: Value, value: Value) -> Result<(), HistoryError> {
        let f = f.to_owned();
        self.push(Event { process, kind: EventKind::Invoke, f, key, value, time: None, error: None })
    }

    /// The open operation of `process` ended in this way.
    ///
    /// # Errors
    /// When the process has no open operation.
    pub fn complete(&mut self, process: u64, kind: EventKind, value: Value) -> Result<(), HistoryError> {
        let f = self.open.get(&process).map(|open| self.operations[*open].f.clone()).unwrap_or_default();
        self.push(Event { process, kind, f, key: Value::Null, value, time: None, error: None })
    }

    /// The open operation of `process` failed for this reason.
    ///
    /// # Errors
    /// When the process has no open operation.
    pub fn refuse(&mut self, process: u64, error: &str) -> Result<(), HistoryError> {
        let f = self.open.get(&process).map(|open| self.operations[*open].f.clone()).unwrap_or_default();
        let (key, value, error) = (Value::Null, Value::Null, Some(error.to_owned()));
        self.push(Event { process, kind: EventKind::Fail, f, key, value, time: None, error })
    }

    /// Reads JSON Lines. Empty lines are skipped.
    ///
    /// # Errors
    /// [`ReadError`] naming line and column.
    pub fn read(text: &str) -> Result<Self, ReadError> {
        let mut history = Self::default();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let at = |error: JsonError| ReadError { line: index + 1, column: error.column, what: error.what };
            let members = parse_object(line).map_err(at)?;
            let column = |name: &str| members.get(name).map_or(1, |(column, _)| *column);
            let spot = Spot { line: index + 1, f: column("f"), value: column("value") };
            let event = event(members).map_err(at)?;
            let told =
                |error: HistoryError| ReadError { line: index + 1, column: 1, what: error.to_string() };
            history.push(event).map_err(told)?;
            history.spots.push(spot);
        }
        Ok(history)
    }
}

/// What is wrong with a text of JSON Lines, and where.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("line {line}, column {column}: {what}")]
pub struct ReadError {
    /// Line, counted from 1.
    pub line: usize,
    /// Column, counted from 1 in characters.
    pub column: usize,
    /// What is wrong.
    pub what: String,
}

/// The event that an object's members tell.
fn event(mut members: Members) -> Result<Event, JsonError> {
    for (name, (column, _)) in &members {
        if !MEMBERS.contains(&name.as_str()) {
            let what = format!("unknown member `{name}`; known are {}", MEMBERS.join(", "));
            return Err(JsonError { column: *column, what });
        }
    }
    let mut take = |name: &str| members.remove(name);
    let event = Event {
        process: number("process", take("process"))?.ok_or_else(|| missing("process"))?,
        kind: kind(take("type").ok_or_else(|| missing("type"))?)?,
        f: text("f", take("f"))?.ok_or_else(|| missing("f"))?,
        key: take("key").map(|(_, value)| value).unwrap_or_default(),
        value: take("value").map(|(_, value)| value).unwrap_or_default(),
        time: number("time", take("time"))?,
        error: text("error", take("error"))?,
    };
    Ok(event)
}

fn missing(name: &str) -> JsonError {
    JsonError { column: 1, what: format!("the member `{name}` is missing") }
}

fn kind((column, value): (usize, Value)) -> Result<EventKind, JsonError> {
    match value.as_text() {
        Some("invoke") => Ok(EventKind::Invoke),
        Some("ok") => Ok(EventKind::Ok),
        Some("fail") => Ok(EventKind::Fail),
        Some("info") => Ok(EventKind::Info),
        _ => {
            Err(JsonError { column, what: format!("`type` is {value}; allowed are invoke, ok, fail, info") })
        }
    }
}

fn number(name: &str, member: Option<(usize, Value)>) -> Result<Option<u64>, JsonError> {
    let Some((column, value)) = member else { return Ok(None) };
    match value {
        Value::Null => Ok(None),
        value => value.as_u64().map(Some).ok_or_else(|| JsonError {
            column,
            what: format!("`{name}` is {value}; a whole number from 0 is allowed"),
        }),
    }
}

fn text(name: &str, member: Option<(usize, Value)>) -> Result<Option<String>, JsonError> {
    let Some((column, value)) = member else { return Ok(None) };
    match value {
        Value::Null => Ok(None),
        Value::Text(text) => Ok(Some(text)),
        value => Err(JsonError { column, what: format!("`{name}` is {value}; text is allowed") }),
    }
}

const MEMBERS: [&str; 7] = ["process", "type", "f", "key", "value", "time", "error"];

#[cfg(test)]
mod tests {
    use super::{End, History};
    use crate::checker::value::Value;

    #[test]
    fn operations_are_put_together_from_their_events() {
        let text = r#"
{"process":1,"type":"invoke","f":"read","key":"r"}
{"process":2,"type":"invoke","f":"write","key":"r","value":4,"time":17}

{"process":1,"type":"ok","f":"read","key":"r","value":4}
{"process":2,"type":"info","f":"write","key":"r","value":4}
{"process":3,"type":"invoke","f":"cas","key":"r","value":[1,2]}
{"process":3,"type":"fail","f":"cas","key":"r","value":[1,2],"error":"mismatch"}
"#;
        let history = History::read(text).expect("a history");
        let ends: Vec<&End> = history.operations().iter().map(|operation| &operation.end).collect();
        let fail = End::Fail { at: 5, error: Some("mismatch".to_owned()) };
        assert_eq!(ends, [&End::Ok { at: 2, value: Value::Int(4) }, &End::Unknown, &fail]);
    }

    #[test]
    fn what_is_no_history_is_told_with_line_and_column() {
        let cases = [
            ("{\"process\":1,\"type\":\"invoke\"}", "line 1, column 1: the member `f` is missing"),
            ("\n{\"process\":-1}", "line 2, column 12: `process` is -1; a whole number from 0 is allowed"),
            (
                "{\"process\":1,\"type\":\"maybe\",\"f\":\"read\"}",
                "line 1, column 21: `type` is \"maybe\"; allowed are invoke, ok, fail, info",
            ),
            (
                "{\"proces\":1}",
                "line 1, column 11: unknown member `proces`; known are process, type, f, key, value, time, error",
            ),
            (
                "{\"process\":1,\"type\":\"ok\",\"f\":\"read\"}",
                "line 1, column 1: process 1 hears of `read`, which it has not open: an answer follows its invocation",
            ),
        ];
        for (text, told) in cases {
            assert_eq!(History::read(text).expect_err(text).to_string(), told);
        }
        let twice = "{\"process\":1,\"type\":\"invoke\",\"f\":\"read\"}\n".repeat(2);
        let told = "line 2, column 1: process 1 invokes `read` while its `read` is open: a process has one open operation";
        assert_eq!(History::read(&twice).expect_err("busy").to_string(), told);
    }
}

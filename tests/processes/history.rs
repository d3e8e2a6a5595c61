//! What clients asked and heard, in real-time order, in the JSON Lines that the checker reads.

use std::sync::Mutex;

use serde_json::{Value, json};

/// Collects events. The order in which it takes them is real time: an invocation is recorded before anything is sent,
/// an answer after it was received.
#[derive(Debug, Default)]
pub struct Recorder(Mutex<Recorded>);

#[derive(Debug, Default)]
struct Recorded {
    lines: Vec<String>,
    answered: usize,
    unknown: usize,
}

impl Recorder {
    pub fn invoke(&self, process: usize, f: &str, key: &str, value: &Value) {
        let event = json!({ "process": process, "type": "invoke", "f": f, "key": key, "value": value });
        self.0.lock().unwrap().lines.push(event.to_string());
    }

    pub fn ok(&self, process: usize, f: &str, key: &str, value: &Value) {
        let event = json!({ "process": process, "type": "ok", "f": f, "key": key, "value": value });
        let mut recorded = self.0.lock().unwrap();
        recorded.lines.push(event.to_string());
        recorded.answered += 1;
    }

    /// A compare-and-set that found another value.
    pub fn mismatch(&self, process: usize, key: &str, value: &Value) {
        let event = json!({ "process": process, "type": "fail", "f": "cas", "key": key, "value": value, "error": "mismatch" });
        let mut recorded = self.0.lock().unwrap();
        recorded.lines.push(event.to_string());
        recorded.answered += 1;
    }

    /// Nobody knows what became of it.
    pub fn unknown(&self, process: usize, f: &str, key: &str, why: &str) {
        let event = json!({ "process": process, "type": "info", "f": f, "key": key, "error": why });
        let mut recorded = self.0.lock().unwrap();
        recorded.lines.push(event.to_string());
        recorded.unknown += 1;
    }

    /// Operations that were answered.
    pub fn answered(&self) -> usize {
        self.0.lock().unwrap().answered
    }

    /// Operations that nobody heard of again.
    pub fn without_answer(&self) -> usize {
        self.0.lock().unwrap().unknown
    }

    /// All events, one a line.
    pub fn text(&self) -> String {
        self.0.lock().unwrap().lines.join("\n")
    }
}

//! A schedule alone: what it takes to set a timer, to cancel one, to put one off and to expire one while many are pending, and
//! what a timer takes of memory.

use std::time::Instant;

use chronon_core::events::Timers;
use chronon_core::types::Timestamp;
use serde_json::{Value, json};

use super::drawn::{Drawn, NOW_MS, YEAR_MS};
use super::memory::Resident;

/// What was measured, with so many timers pending.
#[derive(Debug)]
pub(super) struct Alone {
    set_ns: f64,
    cancel_ns: f64,
    reschedule_ns: f64,
    expire_ns: f64,
    pending: u64,
    resident_bytes: u64,
}

/// When a timer is due, in milliseconds since the Unix epoch, and its event's offset.
type Timer = (i64, u64);

/// All that took memory. While it is kept, what is measured later is not put where this was.
#[derive(Debug)]
pub(super) struct Kept {
    _timers: Timers,
    _drawn: [Vec<Timer>; 4],
}

/// Sets `pending` timers, and then some more, so that there are never fewer while others are measured.
pub(super) fn measure(pending: u64) -> anyhow::Result<(Alone, Kept)> {
    let mut drawn = Drawn::new();
    let changed = CHANGED_MAX.min(pending / 4);
    let mut draw = |from: u64, count: u64| -> Vec<Timer> {
        (from..from + count).map(|offset| (drawn.due_ms(), offset)).collect()
    };
    let (first, more) = (draw(0, pending), draw(pending, changed));
    let later = draw(0, changed);
    let before = Resident::now()?;
    let mut timers = Timers::default();
    for (due_ms, offset) in &first {
        timers.set(*due_ms, *offset);
    }
    let resident_bytes = Resident::now()?.since(before);
    // Twice as many as are cancelled: those of even places are cancelled, and the others put off.
    let chosen: Vec<Timer> = Drawn::new()
        .scattered(pending)
        .take(usize::try_from(2 * changed)?)
        .filter_map(|place| first.get(usize::try_from(place).ok()?).copied())
        .collect();
    let each = |began: Instant| began.elapsed().as_nanos() as f64 / changed as f64;
    let began = Instant::now();
    for (due_ms, offset) in &more {
        timers.set(*due_ms, *offset);
    }
    let set_ns = each(began);
    let (cancelled, put_off) = chosen.split_at(chosen.len() / 2);
    let began = Instant::now();
    let done = cancelled.iter().filter(|(due_ms, offset)| timers.cancel(*due_ms, *offset)).count();
    let cancel_ns = each(began);
    let began = Instant::now();
    let put_off = put_off.iter().zip(&later).filter(|((due_ms, offset), (later_ms, _))| {
        let is_pending = timers.cancel(*due_ms, *offset);
        timers.set(*later_ms, *offset);
        is_pending
    });
    let put_off = put_off.count();
    let reschedule_ns = each(began);
    let end = Timestamp::from_nanos((NOW_MS + 2 * YEAR_MS) * 1_000_000);
    let began = Instant::now();
    let expired = (0..changed).filter(|_| timers.expire(end).is_some()).count();
    let expire_ns = each(began);
    let changed = usize::try_from(changed)?;
    anyhow::ensure!(
        done == changed
            && put_off == changed
            && expired == changed
            && timers.pending() == pending - u64::try_from(changed)?,
        "of {changed}, {done} were cancelled, {put_off} put off, {expired} expired"
    );
    let alone = Alone { set_ns, cancel_ns, reschedule_ns, expire_ns, pending, resident_bytes };
    Ok((alone, Kept { _timers: timers, _drawn: [first, more, later, chosen] }))
}

impl Alone {
    /// The lines of a table: what, how long each, in nanoseconds.
    pub(super) fn lines(&self) -> [(&'static str, f64); 4] {
        [
            ("set", self.set_ns),
            ("cancel", self.cancel_ns),
            ("reschedule", self.reschedule_ns),
            ("expire", self.expire_ns),
        ]
    }

    pub(super) fn bytes_each(&self) -> f64 {
        self.resident_bytes as f64 / self.pending as f64
    }

    pub(super) fn json(&self) -> Value {
        let [set, cancel, reschedule, expire] = self.lines().map(|(_, ns)| ns);
        json!({
            "pending": self.pending,
            "set_ns": set,
            "cancel_ns": cancel,
            "reschedule_ns": reschedule,
            "expire_ns": expire,
            "resident_bytes_each": self.bytes_each(),
        })
    }
}

/// Timers that are set, cancelled, rescheduled, and expired.
const CHANGED_MAX: u64 = 1_000_000;

//! When an event is due, as its publisher said and as it was told.

use chronon_core::events::Due;

use super::broken::Broken;

/// What an event was told to be due at is what its publisher said.
pub(super) fn check_due(due: Due, due_ms: i64, now: u64) -> Result<(), Broken> {
    let least = match due {
        Due::At(at) => nanos(at),
        Due::In(delay) => now.saturating_add(delay.saturating_mul(NANOS_PER_MS)).saturating_sub(NANOS_PER_MS),
    };
    if nanos(due_ms) < least {
        return Err(Broken::new("NeverEarly", format!("{due:?} at {now} is taken for {due_ms}")));
    }
    Ok(())
}

/// In nanoseconds.
pub(super) fn nanos(due_ms: i64) -> u64 {
    u64::try_from(due_ms).unwrap_or_default().saturating_mul(NANOS_PER_MS)
}

pub(super) const NANOS_PER_MS: u64 = 1_000_000;

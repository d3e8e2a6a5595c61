//! Ctrl-C: the first asks to stop, the second kills.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// The exit status of a command that was stopped before anything failed.
pub(super) const INTERRUPTED: u8 = 130;

/// A flag that the first SIGINT or SIGTERM sets. The next one ends the process as if nobody had listened.
///
/// # Errors
/// When the system refuses.
pub(super) fn flag() -> Result<Arc<AtomicBool>, String> {
    let stop = Arc::new(AtomicBool::new(false));
    let refuse = |error| format!("Ctrl-C cannot be listened to: {error}");
    for signal in [SIGINT, SIGTERM] {
        // In this order: the first signal finds the flag as it was, and then sets it.
        flag::register_conditional_default(signal, Arc::clone(&stop)).map_err(refuse)?;
        flag::register(signal, Arc::clone(&stop)).map_err(refuse)?;
    }
    Ok(stop)
}

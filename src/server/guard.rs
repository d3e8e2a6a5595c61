//! Panics: in an application's code they come back as what they said; anywhere else they end the process.

use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use chronon_core::kernel::Guard;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// What a node's application is run under.
pub(super) const GUARD: Guard = Guard::new(run);

fn run(what: &mut dyn FnMut()) -> Result<(), String> {
    GUARDED.set(true);
    // Whatever it leaves half changed is thrown away.
    let result = panic::catch_unwind(AssertUnwindSafe(what));
    GUARDED.set(false);
    result.map_err(|thrown| match thrown.downcast::<String>() {
        Ok(text) => *text,
        Err(thrown) => thrown.downcast_ref::<&str>().map_or("no words", |text| *text).to_owned(),
    })
}

/// From here on a panic outside of an application ends the process, whichever thread it is in: a node that lacks one of its
/// threads would wait for it for ever.
pub(super) fn end_the_process_at_others() {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            before(info);
            if !GUARDED.get() {
                std::process::abort();
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::run;

    #[test]
    fn what_a_panic_said_comes_back() {
        assert_eq!(run(&mut || ()), Ok(()));
        assert_eq!(run(&mut || panic!("seat {} is cursed", 7)), Err("seat 7 is cursed".to_owned()));
        assert_eq!(run(&mut || panic!("cursed")), Err("cursed".to_owned()));
    }
}

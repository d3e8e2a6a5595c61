//! Panics of the code under test, caught and named.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

use chronon_core::kernel::Guard;

thread_local! {
    /// The panic being caught in this thread; nothing is caught while it is `None`.
    static CAUGHT: RefCell<Option<Caught>> = const { RefCell::new(None) };
}

/// A panic that was caught.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Caught {
    /// What it said, and where it happened.
    pub message: String,
    /// Where it happened: file and line.
    pub site: String,
}

static HOOK: Once = Once::new();

/// Runs `what`; a panic becomes its message and place, and prints nothing.
///
/// # Errors
/// The panic.
pub fn catch(what: impl FnOnce()) -> Result<(), Caught> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let caught = CAUGHT.with_borrow_mut(|caught| match caught {
                Some(caught) => {
                    caught.message = info.to_string().replace('\n', " ");
                    if let Some(at) = info.location() {
                        caught.site = format!("{}:{}", at.file(), at.line());
                    }
                    true
                }
                None => false,
            });
            if !caught {
                before(info);
            }
        }));
    });
    let around = CAUGHT.replace(Some(Caught::default()));
    let result = panic::catch_unwind(AssertUnwindSafe(what));
    let caught = CAUGHT.replace(around).unwrap_or_default();
    result.map_err(|_| caught)
}

/// What a simulated node's application is run under.
pub const GUARD: Guard = Guard::new(|run| catch(run).map_err(|caught| caught.message));

#[cfg(test)]
mod tests {
    use super::catch;

    #[test]
    fn a_panic_becomes_its_message_and_place() {
        let error = catch(|| panic!("the {} broke", "lamp")).expect_err("it panics");
        assert!(error.message.contains("the lamp broke"), "{error:?}");
        assert!(error.site.contains("panics.rs:"), "{error:?}");
        assert_eq!(catch(|| ()), Ok(()));
    }
}

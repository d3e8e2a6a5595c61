//! Panics of the code under test, caught and named.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    /// The message of the panic being caught in this thread; nothing is caught while it is `None`.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

static HOOK: Once = Once::new();

/// Runs `what`; a panic becomes its message and place, and prints nothing.
///
/// # Errors
/// The message of the panic, and where it happened.
pub fn catch(what: impl FnOnce()) -> Result<(), String> {
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let caught = CAUGHT.with_borrow_mut(|caught| match caught {
                Some(message) => {
                    *message = info.to_string().replace('\n', " ");
                    true
                }
                None => false,
            });
            if !caught {
                before(info);
            }
        }));
    });
    CAUGHT.set(Some(String::new()));
    let result = panic::catch_unwind(AssertUnwindSafe(what));
    let message = CAUGHT.take().unwrap_or_default();
    result.map_err(|_| message)
}

#[cfg(test)]
mod tests {
    use super::catch;

    #[test]
    fn a_panic_becomes_its_message_and_place() {
        let error = catch(|| panic!("the {} broke", "lamp")).expect_err("it panics");
        assert!(error.contains("the lamp broke") && error.contains("panics.rs"), "{error}");
        assert_eq!(catch(|| ()), Ok(()));
    }
}

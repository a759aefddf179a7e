//! Catches panics in third-party readers, so that a malicious file is an ordinary error. Fuzzing found these panics.
//! One known file does more than panic: a page in `fuzz/known/tables` has a run length for which the reader of tables
//! requests more memory than there is, which ends the process.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    /// Whether a panic of this thread is expected and becomes an error.
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Runs `read`. Returns its result, or the message of its panic. Such a panic prints nothing. State that `read` changes
/// must not be used after an error.
///
/// # Errors
/// The panic's message, one line.
pub fn catch<T>(read: impl FnOnce() -> T) -> Result<T, String> {
    static QUIET: Once = Once::new();
    QUIET.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !EXPECTED.get() {
                before(panic);
            }
        }));
    });
    let outer = EXPECTED.replace(true);
    let result = catch_unwind(AssertUnwindSafe(read));
    EXPECTED.set(outer);
    result.map_err(|payload| format!("its reader gave up: {}", message(payload.as_ref())))
}

fn message(payload: &(dyn Any + Send)) -> &str {
    let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
    text.and_then(|text| text.lines().next()).unwrap_or("no reason given")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_first_line() {
        assert_eq!(catch(|| 5), Ok(5));
        let failed = catch(|| -> u8 { panic!("no entry {}\nfor key", 7) });
        assert_eq!(failed, Err("its reader gave up: no entry 7".to_owned()));
        assert!(!EXPECTED.get(), "later panics are loud again");
    }
}

//! Ctrl-C, termination and hang-up. A signal that was ignored when the program started stays ignored, as `nohup` and shells that
//! close a terminal expect it.

use std::io;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

/// Calls `act` on a thread of its own whenever one of the signals arrives that the program was not told to ignore.
///
/// # Errors
/// The system's error when a handler cannot be installed.
pub fn on_signal(mut act: impl FnMut() + Send + 'static) -> io::Result<()> {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mut signals = Signals::new(heeded(&status))?;
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || signals.forever().for_each(|_| act()))?;
    Ok(())
}

/// The signals that a process with this `/proc/self/status` does not ignore; all of them where it does not say.
fn heeded(status: &str) -> Vec<i32> {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_signal_is_not_heeded() {
        assert_eq!(heeded(""), [SIGINT, SIGTERM, SIGHUP]);
        assert_eq!(heeded("Name:\tx\nSigIgn:\t0000000000001001\n"), [SIGINT, SIGTERM], "SIGHUP and SIGPIPE");
        assert_eq!(heeded("SigIgn:\t0000000000004003\n"), Vec::<i32>::new());
    }
}

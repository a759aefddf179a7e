//! The lock that allows one run per folder at a time.

use std::path::Path;

use super::RunnerError;
use crate::lock::{self, Holder, Lock, Sharing};

const LOCK_FILE: &str = "lock";

/// Locks the folder until dropped. Fails with the holder's name when another run has the lock.
pub(super) fn acquire(dir: &Path) -> Result<Lock, RunnerError> {
    let locked = lock::attempt(&dir.join(LOCK_FILE), Sharing::Exclusive)?;
    locked.map_err(|holder| RunnerError::Locked { path: dir.to_owned(), holder: run(&holder) })
}

/// The run that holds the folder's lock. Takes no lock and writes nothing. `None` when no run holds it or the file
/// cannot be read.
pub fn in_use(dir: &Path) -> Option<String> {
    lock::holder(&dir.join(LOCK_FILE)).map(|holder| run(&holder))
}

/// `the run with process id 123`
fn run(holder: &Holder) -> String {
    format!("the run with {holder}")
}

//! The lock that allows one run per folder at a time.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use super::RunnerError;

const LOCK_FILE: &str = "lock";

/// Locks the folder until dropped. The kernel releases the lock when the process dies, so it is never stale. The file
/// stays.
#[derive(Debug)]
pub(super) struct RunLock {
    _file: File,
}

/// Locks the folder and writes this process's id into the lock file. Fails with the holder's name when another run has
/// the lock.
pub(super) fn acquire(dir: &Path) -> Result<RunLock, RunnerError> {
    let path = dir.join(LOCK_FILE);
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.map_err(|source| RunnerError::Directory { path: path.clone(), source })?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(RunnerError::Locked { path: dir.to_owned(), holder: holder(&mut file) });
        }
        Err(TryLockError::Error(source)) => return Err(RunnerError::Directory { path, source }),
    }
    // The id only serves the other run's message. The lock holds without it, for example on a full disk.
    let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
    Ok(RunLock { _file: file })
}

/// The run that holds the folder's lock. Takes no lock and writes nothing. `None` when no run holds it or the file
/// cannot be read.
pub fn in_use(dir: &Path) -> Option<String> {
    let mut file = File::open(dir.join(LOCK_FILE)).ok()?;
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)).then(|| holder(&mut file))
}

/// `the run with process id 123`, read from the lock file.
fn holder(file: &mut File) -> String {
    let mut id = String::new();
    let _ = file.read_to_string(&mut id);
    match id.trim().parse::<u32>() {
        Ok(id) => format!("the run with process id {id}"),
        Err(_) => "another run".to_owned(),
    }
}

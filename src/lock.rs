//! The one way to lock a file. The kernel's lock is taken where the file system has one. Where it has none (Lustre without
//! `-o flock`, some network and user-space file systems), a file of its own beside the first one is the lock: it can be created
//! only once, and names its holder.

use std::ffi::OsString;
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, test_kill_process};
use thiserror::Error;

/// Time between two looks at a lock that is held.
const INTERVAL: Duration = Duration::from_millis(20);

/// Longest wait for a process on another host, which cannot be asked whether it lives.
const PATIENCE: Duration = Duration::from_secs(600);

/// A file or folder that cannot be locked.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum LockError {
    /// The file system refuses the file of the lock.
    #[error("{path}: cannot lock: {source}; restore write access, or use a folder on another file system")]
    Io { path: PathBuf, source: io::Error },
    /// A process on another host holds it for too long.
    #[error("{path}: cannot lock: the process with {holder} holds it; if that process is gone, delete this file")]
    Stuck { path: PathBuf, holder: String },
}

/// A lock, held until dropped.
#[derive(Debug)]
pub struct Lock {
    /// Holds the kernel's lock; the kernel releases it when the process dies. `None` where there is none.
    _file: Option<File>,
    /// The file that is the lock where the kernel has none.
    beside: Option<PathBuf>,
}

impl Drop for Lock {
    fn drop(&mut self) {
        if let Some(path) = &self.beside {
            let _ = fs::remove_file(path);
        }
    }
}

/// How a lock is shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sharing {
    /// Nobody else may hold it.
    Exclusive,
    /// Others may hold it shared. A lock that is a file of its own is exclusive all the same.
    Shared,
}

/// Locks the file `path`, which is created and stays. Waits while others hold the lock; calls `busy` before it waits.
///
/// # Errors
/// [`LockError`] when the file system refuses, or a process on another host holds the lock for 10 minutes.
pub fn wait(path: &Path, sharing: Sharing, busy: impl FnOnce()) -> Result<Lock, LockError> {
    let (start, mut busy) = (Instant::now(), Some(busy));
    loop {
        let holder = match attempt(path, sharing)? {
            Ok(lock) => return Ok(lock),
            Err(holder) => holder,
        };
        if let Some(busy) = busy.take() {
            busy();
        }
        if start.elapsed() > PATIENCE && !holder.is_here() {
            return Err(LockError::Stuck { path: beside(path), holder: holder.to_string() });
        }
        sleep(INTERVAL);
    }
}

/// Locks the file `path`, which is created and stays; the holder where another process has the lock.
///
/// # Errors
/// [`LockError`] when the file system refuses.
pub fn attempt(path: &Path, sharing: Sharing) -> Result<Result<Lock, Holder>, LockError> {
    let failed = |source| LockError::Io { path: path.to_owned(), source };
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
    let mut file = opened.map_err(failed)?;
    let locked = match sharing {
        Sharing::Exclusive => file.try_lock(),
        Sharing::Shared => file.try_lock_shared(),
    };
    match locked {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(Err(Holder::read(&mut file))),
        // Whatever the reason is: the kernel does not lock this file.
        Err(TryLockError::Error(_)) => return attempt_beside(path),
    }
    if let Some(holder) = Holder::of(&beside(path)) {
        return Ok(Err(holder));
    }
    if sharing == Sharing::Exclusive {
        // The holder only serves messages. The lock holds without it, for example on a full disk.
        let _ = file.set_len(0).and_then(|()| file.rewind()).and_then(|()| file.write_all(&Holder::this().line()));
    }
    Ok(Ok(Lock { _file: Some(file), beside: None }))
}

/// Who holds the lock of the file `path` exclusively. Takes no lock and writes nothing. `None` when nobody does, or the file
/// cannot be read.
pub fn holder(path: &Path) -> Option<Holder> {
    let mut file = File::open(path).ok()?;
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Some(Holder::read(&mut file)),
        _ => Holder::of(&beside(path)),
    }
}

/// Locks by creating a file, which works on every file system.
fn attempt_beside(path: &Path) -> Result<Result<Lock, Holder>, LockError> {
    let path = beside(path);
    let failed = |source| LockError::Io { path: path.clone(), source };
    loop {
        // Written first and linked into place, so that nobody sees it without its holder.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut written = tempfile::NamedTempFile::new_in(folder).map_err(failed)?;
        written.write_all(&Holder::this().line()).map_err(failed)?;
        match written.persist_noclobber(&path) {
            Ok(_) => return Ok(Ok(Lock { _file: None, beside: Some(path) })),
            Err(error) if error.error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(failed(error.error)),
        }
        if let Some(holder) = Holder::of(&path) {
            return Ok(Err(holder));
        }
        remove_stale(&path).map_err(failed)?;
    }
}

/// Removes the lock of a dead process. Renamed first: of several processes that try, one succeeds.
fn remove_stale(path: &Path) -> io::Result<()> {
    let mut name = OsString::from(path);
    name.push(format!(".{}", std::process::id()));
    let stale = PathBuf::from(name);
    let removed = fs::rename(path, &stale).and_then(|()| {
        if Holder::of(&stale).is_some() {
            // Another process was faster, and this is its lock.
            return fs::rename(&stale, path);
        }
        fs::remove_file(&stale)
    });
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".held");
    name.into()
}

/// The process that holds a lock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    process: Option<i32>,
    /// `None` for this host.
    host: Option<String>,
}

impl Holder {
    fn this() -> Holder {
        Holder { process: i32::try_from(std::process::id()).ok(), host: Some(this_host()) }
    }

    fn line(&self) -> Vec<u8> {
        let process = self.process.unwrap_or_default();
        format!("{process} {}\n", self.host.as_deref().unwrap_or_default()).into_bytes()
    }

    /// The holder that a lock file names. Earlier versions wrote the process alone.
    fn read(file: &mut File) -> Holder {
        let mut text = String::new();
        let _ = file.read_to_string(&mut text);
        let mut words = text.split_whitespace();
        let process = words.next().and_then(|process| process.parse().ok());
        Holder { process, host: words.next().map(str::to_owned).filter(|host| *host != this_host()) }
    }

    /// The holder of a lock that is a file of its own; `None` when there is none or it is dead.
    fn of(path: &Path) -> Option<Holder> {
        let holder = Holder::read(&mut File::open(path).ok()?);
        (!holder.is_here() || holder.is_alive()).then_some(holder)
    }

    /// Whether the process is one of this host.
    fn is_here(&self) -> bool {
        self.host.is_none()
    }

    fn is_alive(&self) -> bool {
        let process = self.process.and_then(Pid::from_raw);
        // A process of another user exists too, although it cannot be signalled.
        process.is_some_and(|process| test_kill_process(process) != Err(rustix::io::Errno::SRCH))
    }
}

impl std::fmt::Display for Holder {
    /// `process id 123`, `process id 123 on node-7`
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.process {
            Some(process) => write!(f, "process id {process}")?,
            None => f.write_str("an unknown process id")?,
        }
        self.host.as_ref().map_or(Ok(()), |host| write!(f, " on {host}"))
    }
}

/// The name of this host, without white space.
fn this_host() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    name.split_whitespace().collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(folder: &tempfile::TempDir) -> PathBuf {
        folder.path().join("lock")
    }

    #[test]
    fn a_lock_excludes_others_and_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let lock = attempt(&path(&folder), Sharing::Exclusive).unwrap().unwrap();
        let named = format!("process id {}", std::process::id());
        assert_eq!(attempt(&path(&folder), Sharing::Exclusive).unwrap().unwrap_err().to_string(), named);
        assert_eq!(holder(&path(&folder)).unwrap().to_string(), named);
        drop(lock);
        assert_eq!(holder(&path(&folder)), None);
        let shared = [attempt(&path(&folder), Sharing::Shared), attempt(&path(&folder), Sharing::Shared)];
        assert!(shared.iter().all(|lock| matches!(lock, Ok(Ok(_)))));
    }

    #[test]
    fn without_the_kernels_lock_a_file_excludes_others() {
        let folder = tempfile::tempdir().unwrap();
        let lock = attempt_beside(&path(&folder)).unwrap().unwrap();
        assert!(attempt_beside(&path(&folder)).unwrap().is_err());
        // Processes that see the same folder through a file system with locks keep out too.
        assert!(attempt(&path(&folder), Sharing::Exclusive).unwrap().is_err());
        assert!(holder(&path(&folder)).is_some());
        drop(lock);
        assert!(attempt_beside(&path(&folder)).unwrap().is_ok());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "only the file that locks are taken of is left");
    }

    #[test]
    fn the_file_of_a_dead_process_is_removed_and_that_of_another_host_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        let held = beside(&path(&folder));
        fs::write(&held, format!("{} {}\n", child.id(), this_host())).unwrap();
        assert!(attempt_beside(&path(&folder)).unwrap().is_ok());
        fs::write(&held, "1 another-host\n").unwrap();
        let holder = attempt_beside(&path(&folder)).unwrap().unwrap_err();
        assert_eq!(holder.to_string(), "process id 1 on another-host");
    }
}

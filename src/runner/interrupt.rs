//! Remembers Ctrl-C, termination and hang-up signals, and passes them to the threads that wait for workers.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{LazyLock, Mutex, Once, PoisonError};
use std::thread::ThreadId;

use super::child::WorkerEvent;
use crate::signals::on_signal;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
/// Whom each thread waits for.
static LISTENERS: LazyLock<Mutex<HashMap<ThreadId, Sender<WorkerEvent>>>> = LazyLock::new(Mutex::default);
static INSTALLED: Once = Once::new();

/// Installs the handler. Where it cannot be installed, a signal ends the program at once.
pub(super) fn install() {
    INSTALLED.call_once(|| {
        let _ = on_signal(|| {
            INTERRUPTED.store(true, Ordering::SeqCst);
            let listeners = LISTENERS.lock().unwrap_or_else(PoisonError::into_inner);
            for sender in listeners.values() {
                let _ = sender.send(WorkerEvent::Interrupted);
            }
        });
    });
}

/// Whether a signal has arrived.
pub(super) fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Passes the next signal on to `sender`, in place of this thread's earlier one. Call [`requested`] afterwards, because a
/// signal may have arrived before.
pub(super) fn notify(sender: Sender<WorkerEvent>) {
    LISTENERS.lock().unwrap_or_else(PoisonError::into_inner).insert(std::thread::current().id(), sender);
}

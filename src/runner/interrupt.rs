//! Remembers Ctrl-C, termination and hang-up signals, and passes them to the thread that waits for a worker.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, Once, PoisonError};

use super::child::WorkerEvent;
use crate::signals::on_signal;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static LISTENER: Mutex<Option<Sender<WorkerEvent>>> = Mutex::new(None);
static INSTALLED: Once = Once::new();

/// Installs the handler. Where it cannot be installed, a signal ends the program at once.
pub(super) fn install() {
    INSTALLED.call_once(|| {
        let _ = on_signal(|| {
            INTERRUPTED.store(true, Ordering::SeqCst);
            let listener = LISTENER.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(sender) = listener.as_ref() {
                let _ = sender.send(WorkerEvent::Interrupted);
            }
        });
    });
}

/// Whether a signal has arrived.
pub(super) fn requested() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Passes the next signal on to `sender`. Call [`requested`] afterwards, because a signal may have arrived before.
pub(super) fn notify(sender: Sender<WorkerEvent>) {
    *LISTENER.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
}

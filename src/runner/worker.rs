//! The worker process: takes requests from standard input until it closes.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};

use super::protocol::{Request, Response};
use super::session::WorkerSession;
use crate::engine::{BuildProgress, ProgressSink};

/// The hidden subcommand that makes the program a worker.
pub const SUBCOMMAND: &str = "worker";

/// Entry point of the worker process. Only [`super::run`] starts one.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|panic| {
        let _ = writeln!(io::stderr(), "{}", panic.to_string().replace('\n', " "));
    }));
    let requests = requests();
    let mut session = WorkerSession::new(ProgressSink::new(report));
    for request in requests {
        if respond(&session.answer(request)).is_err() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Requests as they come. The thread that reads them ends the process when the input closes, even in the middle of a
/// forward pass: a worker does not outlive its parent.
fn requests() -> Receiver<Request> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in io::stdin().lock().lines() {
            let request = line.map_err(|error| error.to_string()).and_then(|line| {
                serde_json::from_str(&line).map_err(|error| format!("not a request of this program's runner: {error}"))
            });
            match request {
                Ok(request) => drop(sender.send(request)),
                Err(message) => {
                    let _ = writeln!(io::stderr(), "{message}");
                    std::process::exit(2);
                }
            }
        }
        std::process::exit(0);
    });
    receiver
}

/// Tells the parent how far a build has come. The parent's absence ends the process elsewhere.
fn report(step: BuildProgress) {
    let _ = respond(&Response::Building(step));
}

/// Writes one response. The newline before it ends whatever half line a library left on standard output.
fn respond(response: &Response) -> io::Result<()> {
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, response)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

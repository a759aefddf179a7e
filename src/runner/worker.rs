//! The worker process. It serves requests from standard input until that closes.

use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};

use super::protocol::{Request, Response};
use super::session::WorkerSession;
use crate::engine::{BuildProgress, ProgressSink};
use crate::processors::CpuList;

/// The hidden subcommand that makes the program a worker.
pub const SUBCOMMAND: &str = "worker";

/// Entry point of the worker process. Only [`super::run`] starts workers. Its threads inherit its processors.
pub fn main(cpus: Option<&CpuList>) -> ExitCode {
    if let Some(error) = cpus.and_then(|cpus| cpus.keep_this_thread().err()) {
        let _ = writeln!(io::stderr(), "cannot stay on the processors of its GPU: {error}");
        return ExitCode::FAILURE;
    }
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

/// Requests in the order of arrival. The reading thread ends the process when the input closes, even during a
/// forward, so that a worker never outlives its parent.
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

/// Reports the progress of a build to the parent. An error is ignored here: the reading thread ends the process when
/// the parent is gone.
fn report(step: BuildProgress) {
    let _ = respond(&Response::Building(step));
}

/// Writes one response. The newline before it ends any partial line that a library left on standard output.
fn respond(response: &Response) -> io::Result<()> {
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, response)?;
    line.push(b'\n');
    let mut stdout = io::stdout().lock();
    stdout.write_all(&line)?;
    stdout.flush()
}

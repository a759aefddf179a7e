//! The parent's handle to one worker process.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::failure::{Death, kernel_oom_kills};
use super::placement::GpuShare;
use super::protocol::{Request, Response};
use super::{RunnerError, interrupt, worker};
use crate::engine::BuildProgress;
use crate::record::{Failure, FailureKind};

/// Lines of a worker's other output that are kept.
const TAIL_LINES: usize = 12;

/// Time an idle worker has to exit. Libraries need a moment to tear down a device.
const FAREWELL: Duration = Duration::from_secs(10);

/// What can end the parent's wait for a worker.
#[derive(Debug)]
pub(super) enum WorkerEvent {
    /// The worker answered.
    Response(Box<Response>),
    /// The worker's standard output closed: it is dead or dying.
    Closed,
    /// Ctrl-C or a termination signal.
    Interrupted,
}

/// The result of one request.
#[derive(Debug)]
pub(super) enum Reply {
    /// The worker responded and is ready for the next request.
    Response(Box<Response>),
    /// The worker died.
    Died(Failure),
    /// The worker exceeded the time limit and was killed.
    TimedOut,
    /// The user asked to stop, and the worker was killed.
    Interrupted,
}

type Tail = Arc<Mutex<VecDeque<String>>>;

/// A running worker process. Dropping the handle kills the process.
#[derive(Debug)]
pub(super) struct Worker {
    process: Child,
    requests: Option<ChildStdin>,
    sender: Sender<WorkerEvent>,
    events: Receiver<WorkerEvent>,
    readers: Vec<JoinHandle<()>>,
    tail: Tail,
    oom_kills_before: Option<u64>,
}

impl Worker {
    /// Starts a worker in its own process group, so that only the parent receives the terminal's Ctrl-C; with a share, on its
    /// processors, and with its GPU as the only one that CUDA shows.
    pub fn spawn(share: Option<&GpuShare>) -> Result<Self, RunnerError> {
        let oom_kills_before = kernel_oom_kills();
        let spawned = program().and_then(|program| {
            let mut command = Command::new(program);
            command.arg0("mixprec").arg(worker::SUBCOMMAND).process_group(0);
            if let Some(GpuShare { uuid, cpus, .. }) = share {
                command.arg("--cpus").arg(cpus.to_string()).env("CUDA_VISIBLE_DEVICES", uuid);
            }
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        });
        let mut process = spawned.map_err(|source| RunnerError::Spawn { source })?;
        let (sender, events) = channel();
        let tail = Tail::default();
        let mut readers = Vec::new();
        if let Some(stdout) = process.stdout.take() {
            let (sender, tail) = (sender.clone(), Arc::clone(&tail));
            readers.push(std::thread::spawn(move || read_responses(stdout, &sender, &tail)));
        }
        if let Some(stderr) = process.stderr.take() {
            let tail = Arc::clone(&tail);
            readers.push(std::thread::spawn(move || for_each_line(stderr, |line| keep(&tail, line))));
        }
        let requests = process.stdin.take();
        Ok(Worker { process, requests, sender, events, readers, tail, oom_kills_before })
    }

    /// Sends one request, then waits for a response, the worker's death, a signal or the end of `limit`. The worker is
    /// gone unless it responded.
    ///
    /// # Errors
    /// [`RunnerError`] when the request cannot be written as JSON or sent.
    pub fn call(&mut self, request: &Request, limit: Duration) -> Result<Reply, RunnerError> {
        self.call_watched(request, limit, |_| ())
    }

    /// Like [`Worker::call`]. `watch` receives the progress of an engine's build.
    pub fn call_watched(
        &mut self,
        request: &Request,
        limit: Duration,
        watch: impl Fn(&BuildProgress),
    ) -> Result<Reply, RunnerError> {
        interrupt::notify(self.sender.clone());
        if interrupt::requested() {
            let _ = self.kill();
            return Ok(Reply::Interrupted);
        }
        self.send(request)?;
        let start = Instant::now();
        let event = loop {
            match self.events.recv_timeout(limit.saturating_sub(start.elapsed())) {
                Ok(WorkerEvent::Response(response)) => match *response {
                    Response::Building(step) => watch(&step),
                    _ => break Ok(WorkerEvent::Response(response)),
                },
                event => break event,
            }
        };
        Ok(match event {
            Ok(WorkerEvent::Response(response)) => Reply::Response(response),
            Ok(WorkerEvent::Closed) | Err(RecvTimeoutError::Disconnected) => Reply::Died(self.post_mortem()),
            Ok(WorkerEvent::Interrupted) => {
                let _ = self.kill();
                Reply::Interrupted
            }
            Err(RecvTimeoutError::Timeout) => {
                let _ = self.kill();
                Reply::TimedOut
            }
        })
    }

    /// A broken pipe is no error here: the worker died, and its closed output reports that.
    fn send(&mut self, request: &Request) -> Result<(), RunnerError> {
        let Some(requests) = self.requests.as_mut() else {
            return Ok(());
        };
        let mut line = serde_json::to_vec(request).map_err(RunnerError::Request)?;
        line.push(b'\n');
        match requests.write_all(&line) {
            Err(source) if source.kind() != ErrorKind::BrokenPipe => Err(RunnerError::Send { source }),
            _ => Ok(()),
        }
    }

    /// Closes the input of an idle worker, so that it exits.
    pub fn finish(mut self) {
        self.requests = None;
        let start = Instant::now();
        while let Ok(event) = self.events.recv_timeout(FAREWELL.saturating_sub(start.elapsed())) {
            if matches!(event, WorkerEvent::Closed) {
                break;
            }
        }
    }

    /// Why a worker died whose output closed. Its exit status is settled by then. Killing the rest of its process group
    /// does not change it.
    fn post_mortem(&mut self) -> Failure {
        let status = self.kill();
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        let last_words: Vec<String> =
            self.tail.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
        let kernel_oom_kill = kernel_oom_kills().zip(self.oom_kills_before).is_some_and(|(now, before)| now > before);
        match status {
            Ok(status) => Death { status, last_words: &last_words, kernel_oom_kill }.failure(),
            Err(error) => Failure::new(FailureKind::Crash, &format!("the worker is lost: {error}")),
        }
    }

    /// Kills the worker and its children, and reaps the worker.
    fn kill(&mut self) -> io::Result<ExitStatus> {
        let _ = kill_process_group(Pid::from_child(&self.process), Signal::KILL);
        self.process.wait()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if !matches!(self.process.try_wait(), Ok(Some(_))) {
            let _ = self.kill();
        }
    }
}

/// The path of this program. The link in /proc stays valid when a newer build replaces the file during the run.
fn program() -> io::Result<PathBuf> {
    let link = Path::new("/proc/self/exe");
    if link.exists() { Ok(link.to_owned()) } else { std::env::current_exe() }
}

/// Turns the worker's standard output into events. A line that is no response was printed by a library.
fn read_responses(stdout: impl Read, sender: &Sender<WorkerEvent>, tail: &Tail) {
    for_each_line(stdout, |line| match serde_json::from_str(line) {
        Ok(response) => drop(sender.send(WorkerEvent::Response(response))),
        Err(_) => keep(tail, line),
    });
    drop(sender.send(WorkerEvent::Closed));
}

fn for_each_line(stream: impl Read, mut act: impl FnMut(&str)) {
    let mut stream = BufReader::new(stream);
    let mut line = Vec::new();
    while stream.read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&line);
        if !text.trim().is_empty() {
            act(text.trim());
        }
        line.clear();
    }
}

fn keep(tail: &Tail, line: &str) {
    let mut tail = tail.lock().unwrap_or_else(PoisonError::into_inner);
    if tail.len() == TAIL_LINES {
        tail.pop_front();
    }
    tail.push_back(line.to_owned());
}

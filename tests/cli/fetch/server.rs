//! A hub on this machine: serves files with ranges and entity tags as the real one does, and misbehaves where told to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::OPTIONAL;

/// What is done with one request for a file, in place of serving it.
#[derive(Debug, Clone)]
pub enum Act {
    /// Serve it after all.
    Serve,
    /// This status and these headers, no body.
    Status(u16, Vec<(&'static str, String)>),
    /// Serve it and close the connection after so many bytes of the body.
    Break(usize),
    /// Serve it and fall silent after so many bytes, until the server ends.
    Hang(usize),
    /// Serve it a kilobyte a millisecond.
    Drip,
    /// The whole file, whatever part was asked for, closed after so many bytes.
    Whole(usize),
    /// Announce so many bytes more or less than there are.
    Length(isize),
    /// These bytes instead.
    Other(Vec<u8>),
    /// Another place.
    Redirect(String),
}

/// A request as it came: the path and the headers in lower case.
#[derive(Debug, Clone)]
pub struct Request {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

impl Request {
    pub fn file(&self) -> &str {
        let path = self.path.split('?').next().unwrap();
        path.rsplit('/').next().unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

#[derive(Debug, Default)]
struct Shelf {
    files: BTreeMap<String, Vec<u8>>,
    etag: Option<String>,
    acts: BTreeMap<String, VecDeque<Act>>,
    requests: Vec<Request>,
    sent_bytes: usize,
}

/// A running hub; it ends when dropped.
#[derive(Debug)]
pub struct Hub {
    address: SocketAddr,
    shelf: Arc<Mutex<Shelf>>,
    ended: Arc<AtomicBool>,
}

impl Hub {
    /// A hub of one repository's files, by name. Any repository and revision leads to them.
    pub fn new(files: &[(&str, Vec<u8>)]) -> Hub {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let files = files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.clone())).collect();
        let shelf = Arc::new(Mutex::new(Shelf { files, etag: Some("\"one\"".to_owned()), ..Shelf::default() }));
        let hub = Hub { address, shelf: Arc::clone(&shelf), ended: Arc::default() };
        let ended = Arc::clone(&hub.ended);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, shelf, ended) = (stream.unwrap(), Arc::clone(&shelf), Arc::clone(&ended));
                // A client that goes away in the middle is what several tests are about.
                std::thread::spawn(move || drop(answer(stream, &shelf, &ended)));
            }
        });
        hub
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What to do with the next requests for this file; after that it is served.
    pub fn next(&self, file: &str, acts: impl IntoIterator<Item = Act>) {
        self.shelf.lock().unwrap().acts.insert(file.to_owned(), acts.into_iter().collect());
    }

    /// Replaces a file and the tag of all.
    pub fn change(&self, file: &str, bytes: Vec<u8>, etag: Option<&str>) {
        let mut shelf = self.shelf.lock().unwrap();
        shelf.files.insert(file.to_owned(), bytes);
        shelf.etag = etag.map(str::to_owned);
    }

    /// The requests since the last call but those for optional files that the hub lacks, and the bytes of bodies sent for them.
    pub fn requests(&self) -> (Vec<Request>, usize) {
        let mut shelf = self.shelf.lock().unwrap();
        let mut requests = std::mem::take(&mut shelf.requests);
        requests.retain(|request| shelf.files.contains_key(request.file()) || !OPTIONAL.contains(&request.file()));
        (requests, std::mem::take(&mut shelf.sent_bytes))
    }

    /// The requests for a file since the last call of [`Hub::requests`].
    pub fn requests_for(&self, file: &str) -> Vec<Request> {
        let shelf = self.shelf.lock().unwrap();
        shelf.requests.iter().filter(|request| request.file() == file).cloned().collect()
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

fn answer(mut stream: TcpStream, shelf: &Mutex<Shelf>, ended: &AtomicBool) -> std::io::Result<()> {
    let Some(request) = read(&stream)? else { return Ok(()) };
    let (act, content, etag) = {
        let mut shelf = shelf.lock().unwrap();
        shelf.requests.push(request.clone());
        let act = shelf.acts.get_mut(request.file()).and_then(VecDeque::pop_front).unwrap_or(Act::Serve);
        (act, shelf.files.get(request.file()).cloned(), shelf.etag.clone())
    };
    let content = match (&act, content) {
        (Act::Status(status, headers), _) => return head(&mut stream, *status, headers),
        (Act::Redirect(location), _) => return head(&mut stream, 302, &[("Location", location.clone())]),
        (_, None) => return head(&mut stream, 404, &[]),
        (Act::Other(bytes), _) => bytes.clone(),
        (_, Some(content)) => content,
    };
    let start = if matches!(act, Act::Whole(_)) { 0 } else { start(&request, etag.as_deref()) };
    if start >= content.len() && start > 0 {
        return head(&mut stream, 416, &[("Content-Range", format!("bytes */{}", content.len()))]);
    }
    let body = &content[start..];
    let announced = match act {
        Act::Length(more) => body.len().checked_add_signed(more).unwrap(),
        _ => body.len(),
    };
    let mut headers = vec![("Content-Length", announced.to_string())];
    headers.extend(etag.map(|etag| ("ETag", etag)));
    if start > 0 {
        headers.push(("Content-Range", format!("bytes {start}-{}/{}", content.len() - 1, content.len())));
    }
    head(&mut stream, if start > 0 { 206 } else { 200 }, &headers)?;
    let sent = match act {
        Act::Break(bytes) | Act::Hang(bytes) | Act::Whole(bytes) => bytes.min(body.len()),
        _ => body.len(),
    };
    for piece in body[..sent].chunks(if matches!(act, Act::Drip) { 1024 } else { usize::MAX }) {
        stream.write_all(piece)?;
        shelf.lock().unwrap().sent_bytes += piece.len();
        if matches!(act, Act::Drip) {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
    while matches!(act, Act::Hang(_)) && !ended.load(Ordering::SeqCst) {
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Where the answer begins: as asked for, unless the file has another tag than the one asked for.
fn start(request: &Request, etag: Option<&str>) -> usize {
    let range = request.header("range").and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    match request.header("if-range") {
        Some(wanted) if etag != Some(wanted) => 0,
        _ => range.unwrap_or(0),
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Option<Request>> {
    let mut lines = BufReader::new(stream).lines();
    let Some(first) = lines.next().transpose()? else { return Ok(None) };
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = BTreeMap::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    Ok(Some(Request { path, headers }))
}

fn head(stream: &mut TcpStream, status: u16, headers: &[(&str, String)]) -> std::io::Result<()> {
    let mut text = format!("HTTP/1.1 {status} -\r\nConnection: close\r\n");
    let length = [("Content-Length", "0".to_owned())];
    let lengths = if headers.iter().any(|(name, _)| *name == "Content-Length") { &[][..] } else { &length[..] };
    for (name, value) in headers.iter().chain(lengths) {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    stream.write_all(format!("{text}\r\n").as_bytes())
}

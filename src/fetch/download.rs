//! The download of one file from the hub: started or resumed, retried where that may help, compared with its digest, and
//! renamed to its final name.

use std::path::Path;
use std::time::Duration;

use super::FetchError;
use super::hub::{Address, Hub, RequestError, ResponseKind};
use super::part::PartialFile;
use super::progress::{Bar, FetchProgress};

/// Attempts in a row without progress after which a download is given up.
const ATTEMPTS: u32 = 5;
/// Wait before the second attempt; it doubles from there.
const FIRST_WAIT: Duration = Duration::from_millis(500);
/// The longest wait a hub may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(120);
/// The digest that a file must have, and its source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Expected {
    /// The manifest pins it.
    Pinned(String),
    /// The first fetch recorded it.
    Recorded(String),
}

impl Expected {
    pub fn sha256(&self) -> &str {
        let (Expected::Pinned(digest) | Expected::Recorded(digest)) = self;
        digest
    }

    fn violated(&self, file: String, found: String) -> FetchError {
        let expected = self.sha256().to_owned();
        let (source_of_expected, cure) = match self {
            Expected::Pinned(_) => ("the manifest pins", "correct the pin, or look at what HF_ENDPOINT serves"),
            Expected::Recorded(_) => (
                "digests.json has from the first fetch",
                "look at what HF_ENDPOINT serves, or delete digests.json and the file to take the new one",
            ),
        };
        FetchError::Digest { file, found, source_of_expected, expected, cure }
    }
}

/// A file that was downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    /// Digest of the file.
    pub sha256: String,
    /// Bytes of the file.
    pub bytes: u64,
    /// Bytes that this fetch transferred for it.
    pub fetched_bytes: u64,
}

/// One file to download.
pub(super) struct Download<'a> {
    pub hub: &'a Hub,
    pub address: Address<'a>,
    pub expected: Option<&'a Expected>,
    pub progress: &'a FetchProgress,
}

impl Download<'_> {
    /// Downloads the file into `folder`, where it appears under its name once it is complete and correct.
    ///
    /// # Errors
    /// [`FetchError`]. A partial file that may still be correct is kept; a wrong one is deleted.
    pub fn save(&self, folder: &Path) -> Result<Received, FetchError> {
        let mut part = PartialFile::open(folder, self.address.file, self.expected.map(Expected::sha256))?;
        if part.bytes() > 0 {
            self.progress.notice(&format!("{}: going on after {} bytes", self.label(), part.bytes()));
        }
        match self.arrive(&mut part) {
            Ok(received) => {
                part.finish()?;
                Ok(received)
            }
            Err(failure) => {
                let wrong = matches!(failure, FetchError::Digest { .. } | FetchError::NotJson { .. });
                if wrong || part.bytes() == 0 {
                    part.discard();
                }
                Err(failure)
            }
        }
    }

    /// Downloads the whole file and checks it.
    fn arrive(&self, part: &mut PartialFile) -> Result<Received, FetchError> {
        let mut fetched_bytes = self.complete(part)?;
        if self.expected.is_some_and(|expected| expected.sha256() != part.sha256()) && part.is_pieced() {
            let why = "the parts do not make the expected file: fetching it from the beginning";
            self.progress.notice(&format!("{}: {why}", self.label()));
            part.restart()?;
            fetched_bytes += self.complete(part)?;
        }
        let (sha256, bytes) = (part.sha256(), part.bytes());
        self.check(part, &sha256)?;
        Ok(Received { sha256, bytes, fetched_bytes })
    }

    /// Compares the file's digest where one is expected; otherwise checks that a `.json` file holds JSON.
    fn check(&self, part: &PartialFile, sha256: &str) -> Result<(), FetchError> {
        match self.expected {
            Some(expected) if expected.sha256() != sha256 => Err(expected.violated(self.label(), sha256.to_owned())),
            None if self.address.file.ends_with(".json") => {
                let parsed = serde_json::from_slice::<serde::de::IgnoredAny>(&part.contents()?);
                let not_json =
                    |error: serde_json::Error| FetchError::NotJson { file: self.label(), reason: error.to_string() };
                parsed.map(drop).map_err(not_json)
            }
            _ => Ok(()),
        }
    }

    /// Sends requests until the file is complete; returns the bytes transferred.
    fn complete(&self, part: &mut PartialFile) -> Result<u64, FetchError> {
        let bar = self.progress.file(&self.label());
        let (mut fetched, mut in_vain, mut furthest) = (0, 0, part.bytes());
        loop {
            let (reason, wait) = match self.attempt(part, &mut fetched, &bar) {
                Ok(()) => return Ok(fetched),
                Err(RequestError::Disk(error)) => return Err(error),
                Err(RequestError::Unreachable(reason)) => return Err(FetchError::Unreachable { reason }),
                Err(RequestError::NotThere(reason)) => return Err(FetchError::NotThere { file: self.label(), reason }),
                Err(RequestError::Lasting(reason)) => return Err(FetchError::Refused { file: self.label(), reason }),
                Err(RequestError::Passing { reason, wait }) => (reason, wait),
            };
            // Bytes that arrive a second time are no progress.
            in_vain = if part.bytes() > furthest { 1 } else { in_vain + 1 };
            furthest = furthest.max(part.bytes());
            let file = self.label();
            if in_vain >= ATTEMPTS {
                return Err(FetchError::Broken { file, attempts: in_vain, reason });
            }
            let wait = wait.unwrap_or(FIRST_WAIT * 2_u32.pow(in_vain - 1));
            if wait > LONGEST_WAIT {
                return Err(FetchError::Busy { file, reason, wait_s: wait.as_secs() });
            }
            let seconds = wait.as_secs_f64();
            self.progress.notice(&format!("{file}: {reason}; trying again in {seconds:.1} s"));
            std::thread::sleep(wait);
        }
    }

    /// Sends one request and keeps the bytes that arrive.
    fn attempt(&self, part: &mut PartialFile, fetched: &mut u64, bar: &Bar) -> Result<(), RequestError> {
        if part.is_whole() {
            return Ok(());
        }
        let mut answer = self.hub.get(self.address, &part.rest())?;
        match answer.kind {
            ResponseKind::Whole if part.bytes() > 0 => {
                let why = "the hub sends it from the beginning: it is another file now, or the hub cannot go on";
                self.progress.notice(&format!("{}: {why}", self.label()));
                part.restart()?;
            }
            ResponseKind::Whole => {}
            ResponseKind::Rest { start } if part.continued_by(start, answer.total, answer.etag.as_deref()) => {}
            ResponseKind::Rest { .. } | ResponseKind::OutOfRange => {
                part.restart()?;
                let reason = "the hub has another file now than the one begun".to_owned();
                return Err(RequestError::Passing { reason, wait: None });
            }
        }
        part.describe(answer.total, answer.etag.take())?;
        bar.begin(part.bytes(), part.total());
        while let Some(bytes) = answer.body.next()? {
            let bytes = bytes.as_ref();
            part.keep(bytes)?;
            *fetched += bytes.len() as u64;
            bar.advance(part.bytes());
        }
        if part.total().is_some_and(|total| total != part.bytes()) {
            let reason = format!("only {} of {} bytes arrived", part.bytes(), part.total().unwrap_or_default());
            return Err(RequestError::Passing { reason, wait: None });
        }
        Ok(())
    }

    /// `openai-community/gpt2 607a30d783df: model.safetensors`
    fn label(&self) -> String {
        let Address { repository, revision, file } = self.address;
        format!("{repository} {}: {file}", short(revision))
    }
}

/// The first digits of a revision or a digest.
pub(super) fn short(hex: &str) -> &str {
    hex.get(..12).unwrap_or(hex)
}

//! `mixprec fetch`: downloads the hub checkpoints of a manifest at their pinned revisions and compares their digests. It is
//! the only part of the program that uses a network.

mod download;
mod error;
mod folder;
mod hub;
mod part;
mod print;
mod progress;
mod request;

pub use error::FetchError;

use crate::manifest::LoadedManifest;
use crate::manifest::schema::ModelEntry;
use crate::model::{ModelSource, VOCABULARY_FILES};
use download::{Download, Expected, Received};
use folder::{CheckpointFolder, Digests};
use hub::{Address, Hub};
use progress::FetchProgress;
use request::{CheckpointRequest, RequestedFile, TOKENIZER_FILE};

/// The outcome for every checkpoint of a manifest.
#[derive(Debug)]
pub struct FetchSummary {
    checkpoints: Vec<(CheckpointRequest, FetchOutcome)>,
    /// Why no hub was asked, if none was.
    no_network: Option<String>,
}

/// The outcome for one checkpoint.
#[derive(Debug)]
enum FetchOutcome {
    /// All files were present and correct already.
    Present { files: usize },
    /// All files are present and correct now; `bytes` were transferred.
    Fetched { files: usize, bytes: u64 },
    /// Files are missing, and there is no hub to ask.
    Absent { missing: Vec<String> },
    /// Not fetched.
    Failed(FetchError),
}

/// Fetches every hub checkpoint of the manifest, one after the other; a failure does not stop the next one. With `offline`
/// it only checks the files that are present.
///
/// # Errors
/// [`FetchError`] for local causes: variables, pins that contradict each other, the disk. Failures of a hub are in the
/// summary.
pub fn fetch(loaded: &LoadedManifest, offline: bool) -> Result<FetchSummary, FetchError> {
    let mut session = FetchSession {
        hub: Hub::from_environment()?,
        progress: FetchProgress::default(),
        no_network: offline.then(|| "no network is used (--offline)".to_owned()),
    };
    let mut checkpoints = Vec::new();
    for request in CheckpointRequest::of(loaded)? {
        let outcome = match session.checkpoint(&request) {
            Err(error) if error.is_local() => return Err(error),
            Err(error) => FetchOutcome::Failed(error),
            Ok(outcome) => outcome,
        };
        checkpoints.push((request, outcome));
    }
    Ok(FetchSummary { checkpoints, no_network: session.no_network })
}

/// A line for every model of this manifest whose source depends on this machine: the source that a run would use, or what it
/// would lack.
pub fn sources_here(loaded: &LoadedManifest) -> Vec<String> {
    let line = |entry: &ModelEntry| {
        let (name, source) = (&entry.name, entry.source.base());
        match (source, source.checkpoint_here(&loaded.base_dir)) {
            (ModelSource::Hub { .. }, Some(_)) | (ModelSource::Checkpoint { .. } | ModelSource::Random { .. }, _) => {
                None
            }
            (_, Some(found)) => Some(format!("{name} is read from {found}")),
            (_, None) if source.stand_in().is_some() => Some(source.stand_in_notice(name)),
            (ModelSource::Hub { repository, .. }, None) => {
                Some(format!("{name}: {repository} has not been fetched, and its rows fail without it"))
            }
            (_, None) => {
                let places = source.places();
                Some(format!("{name}: none of its sources is here, and its rows fail without one: {places}"))
            }
        }
    };
    loaded.manifest.models.iter().filter_map(line).collect()
}

struct FetchSession {
    hub: Hub,
    progress: FetchProgress,
    no_network: Option<String>,
}

/// The state of a checkpoint on disk.
#[derive(Default)]
struct CheckpointState {
    /// Digests of the files that are present and not wrong.
    digests: Digests,
    missing: Vec<MissingFile>,
    /// Files that are present and have neither a pin nor a recorded digest.
    unknown: Vec<String>,
}

/// A file to fetch.
struct MissingFile {
    name: String,
    expected: Option<Expected>,
    /// Digest of the wrong file in its place, if there is one.
    wrong: Option<String>,
    /// Whether the checkpoint is whole without it.
    optional: bool,
}

impl FetchSession {
    /// One checkpoint; one without tokenizer.json with the files of its vocabulary.
    fn checkpoint(&mut self, request: &CheckpointRequest) -> Result<FetchOutcome, FetchError> {
        let recorded = CheckpointFolder::new(&request.folder).digests();
        let is_known = |name: &str| recorded.sha256.contains_key(name) || request.folder.join(name).is_file();
        let vocabulary = VOCABULARY_FILES.into_iter().find(|names| names.iter().all(|name| is_known(name)));
        let instead = vocabulary.filter(|_| !is_known(TOKENIZER_FILE)).and_then(|names| request.with_vocabulary(names));
        if let Some(request) = instead {
            return self.complete(&request);
        }
        let absent = format!("{}: {TOKENIZER_FILE}", request.label());
        let outcome = self.complete(request);
        if !matches!(&outcome, Err(FetchError::NotThere { file, .. }) if *file == absent) {
            return outcome;
        }
        for request in VOCABULARY_FILES.into_iter().filter_map(|names| request.with_vocabulary(names)) {
            match self.complete(&request) {
                Err(FetchError::NotThere { .. }) => {}
                found => return found,
            }
        }
        outcome
    }

    /// All files of a request.
    fn complete(&mut self, request: &CheckpointRequest) -> Result<FetchOutcome, FetchError> {
        let folder = CheckpointFolder::new(&request.folder);
        let mut found = look(&folder, request, self.no_network.is_none())?;
        if found.missing.is_empty() && found.unknown.is_empty() {
            return Ok(found.present());
        }
        if self.no_network.is_some() && !found.missing.is_empty() {
            return Ok(found.absent());
        }
        let label = request.label();
        let busy = || {
            self.progress.notice(&format!("{label}: another `mixprec fetch` is at work on it; waiting for its end"));
        };
        let _lock = folder.lock(busy)?;
        found = look(&folder, request, self.no_network.is_none())?;
        for name in &found.unknown {
            self.progress.notice(&format!("{label}: {name} was there and has no pin: its digest is recorded"));
        }
        let (mut bytes, mut staged, known_absent) = (0, Vec::new(), found.digests.absent.len());
        if !found.missing.is_empty() {
            folder.stage()?;
        }
        for file in &found.missing {
            let received = match self.file(request, &folder, file) {
                Ok(received) => received,
                Err(FetchError::NotThere { .. }) if file.optional => {
                    found.digests.absent.insert(file.name.clone());
                    continue;
                }
                Err(failure) => {
                    folder.tidy();
                    let FetchError::Unreachable { reason } = failure else { return Err(failure) };
                    self.no_network = Some(format!("no connection to {}: {reason}", self.hub.endpoint()));
                    // The checkpoint is whole without the others.
                    if found.missing.iter().all(|file| file.optional) {
                        break;
                    }
                    return Ok(found.absent());
                }
            };
            bytes += received.fetched_bytes;
            found.digests.sha256.insert(file.name.clone(), received.sha256);
            staged.push(file.name.clone());
        }
        if !staged.is_empty() || !found.unknown.is_empty() || found.digests.absent.len() > known_absent {
            folder.publish(&staged, &found.digests)?;
        }
        let files = found.digests.sha256.len();
        Ok(if staged.is_empty() { FetchOutcome::Present { files } } else { FetchOutcome::Fetched { files, bytes } })
    }

    /// Downloads one file into the staging folder, unless it is there already.
    fn file(
        &self,
        request: &CheckpointRequest,
        folder: &CheckpointFolder,
        file: &MissingFile,
    ) -> Result<Received, FetchError> {
        let label = format!("{}: {}", request.label(), file.name);
        if let (Some(wrong), Some(expected)) = (&file.wrong, &file.expected) {
            let sha256 = expected.sha256();
            self.progress.notice(&format!("{label}: is there with sha256 {wrong}, not {sha256}; fetching it again"));
        }
        let fits = |digest: &String| file.expected.as_ref().is_none_or(|expected| expected.sha256() == digest);
        if let Some(sha256) = folder.staged_sha256(&file.name)?.filter(fits) {
            self.progress.notice(&format!("{label}: fetched earlier"));
            return Ok(Received { sha256, bytes: 0, fetched_bytes: 0 });
        }
        let CheckpointRequest { repository, revision, .. } = request;
        let address = Address { repository, revision, file: &file.name };
        let download = Download { hub: &self.hub, address, expected: file.expected.as_ref(), progress: &self.progress };
        let received = download.save(folder.staging())?;
        let origin = match &file.expected {
            Some(Expected::Pinned(_)) => "as pinned",
            Some(Expected::Recorded(_)) => "as at the first fetch",
            None => "recorded: the manifest has no pin for it",
        };
        let size = print::bytes(received.bytes);
        self.progress.notice(&format!("{label}: {size}, sha256 {}, {origin}", received.sha256));
        Ok(received)
    }
}

impl CheckpointState {
    fn present(self) -> FetchOutcome {
        FetchOutcome::Present { files: self.digests.sha256.len() }
    }

    fn absent(self) -> FetchOutcome {
        let missing = self.missing.into_iter().filter(|file| !file.optional);
        FetchOutcome::Absent { missing: missing.map(|file| file.name).collect() }
    }
}

/// Compares the files on disk with their pins and recorded digests. Without `network`, an optional file that is not there is
/// not missed.
fn look(folder: &CheckpointFolder, request: &CheckpointRequest, network: bool) -> Result<CheckpointState, FetchError> {
    let recorded = folder.digests();
    let mut found = CheckpointState::default();
    if !request.files.contains_key(TOKENIZER_FILE) {
        found.digests.absent.insert(TOKENIZER_FILE.to_owned());
    }
    for RequestedFile { name, pin, optional } in request.in_order() {
        let pinned = pin.map(|digest| Expected::Pinned(digest.to_owned()));
        let expected = pinned.or_else(|| recorded.sha256.get(name).cloned().map(Expected::Recorded));
        let name = name.to_owned();
        match (folder.sha256(&name)?, expected) {
            (Some(digest), Some(expected)) if digest != expected.sha256() => {
                let wrong = Some(digest);
                found.missing.push(MissingFile { name, expected: Some(expected), wrong, optional: false });
            }
            (Some(digest), expected) => {
                if expected.is_none() {
                    found.unknown.push(name.clone());
                }
                found.digests.sha256.insert(name, digest);
            }
            (None, None) if optional && recorded.absent.contains(&name) => drop(found.digests.absent.insert(name)),
            (None, None) if optional && !network => {}
            (None, expected) => {
                let optional = optional && expected.is_none();
                found.missing.push(MissingFile { name, expected, wrong: None, optional });
            }
        }
    }
    Ok(found)
}

//! The axes of the product: models, backends, shapes and inputs. Precisions have a file of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::cursor::{Cursor, Fields, NAME_WORDS, Positioned, RealRange, valid_name};
use super::diagnostic::{Position, Report, one_of, quoted};
use super::schema::{InputEntry, ModelEntry};
use crate::engine::{BackendKind, Target};
use crate::input::InputSource;
use crate::model::{Architecture, INJECTED_SUFFIX, Injection, ModelSource};
use crate::model::{DIGESTS_FILE, Head, PART_SUFFIX, WEIGHTS_FILE};

/// Largest batch size and sequence length a manifest may ask for: far beyond any model, small enough that no product
/// of sizes overflows.
pub(super) const MAX_BATCH: usize = 4096;
pub(super) const MAX_SEQUENCE: usize = 131_072;
/// From a magnitude that FP16 can still tell from zero to FP32's largest value.
const MAGNITUDE: RealRange = RealRange {
    contains: |value| (1e-3..=3e38).contains(&value.abs()),
    words: "a magnitude of either sign, from 0.001 to 3e38",
};

/// An axis as far as it could be read.
#[derive(Debug, Clone)]
pub(super) struct DraftAxis<T> {
    /// Values without mistakes.
    pub values: Vec<Positioned<T>>,
    /// The spelling of every value, wrong ones included: a reference to a wrong value is no second mistake.
    pub names: Vec<(String, Position)>,
    /// Whether every value could be read.
    pub whole: bool,
}

impl<T> DraftAxis<T> {
    pub fn missing() -> Self {
        DraftAxis { values: Vec::new(), names: Vec::new(), whole: false }
    }

    /// Adds a value unless its name is on the axis already.
    pub fn push(&mut self, report: &mut Report<'_>, cursor: &Cursor<'_>, name: String, value: Option<T>) {
        if let Some((_, first)) = self.names.iter().find(|(other, _)| *other == name) {
            cursor.reject(report, format!("found {} a second time, first at {first}; keep one", quoted(&name)));
            self.whole = false;
            return;
        }
        self.names.push((name, cursor.node.position));
        match value {
            Some(value) => self.values.push(cursor.locate(value)),
            None => self.whole = false,
        }
    }

    /// Whether a value of this spelling is on the axis.
    pub fn has(&self, name: &str) -> bool {
        self.names.iter().any(|(other, _)| other == name)
    }

    /// The values alone, when all of them could be read.
    pub fn complete(self) -> Option<Vec<T>> {
        self.whole.then(|| self.values.into_iter().map(|one| one.value).collect())
    }
}

/// Reads a list axis; `read` yields a value's name and, if it is valid, the value.
pub(super) fn list_axis<'t, T>(
    cursor: Option<&Cursor<'t>>,
    report: &mut Report<'_>,
    (expected, example): (&str, &str),
    mut read: impl FnMut(&Cursor<'t>, &mut Report<'_>) -> (Option<String>, Option<T>),
) -> DraftAxis<T> {
    let mut axis = DraftAxis::missing();
    let Some(items) = cursor.and_then(|cursor| cursor.items(report, expected, example)) else { return axis };
    axis.whole = true;
    for item in items {
        let (name, value) = read(&item, report);
        match name {
            Some(name) => axis.push(report, &item, name, value),
            None => axis.whole = false,
        }
    }
    axis
}

/// `backends: [reference, cuda]`
pub(super) fn backends(cursor: Option<&Cursor<'_>>, report: &mut Report<'_>) -> DraftAxis<BackendKind> {
    list_axis(cursor, report, ("a list of backends", "[reference]"), |item, report| {
        let backend = backend(item, report);
        (backend.map(|backend| backend.name().to_owned()), backend)
    })
}

/// One backend.
pub(super) fn backend(item: &Cursor<'_>, report: &mut Report<'_>) -> Option<BackendKind> {
    item.choice(report, &BackendKind::ALL.map(|kind| (kind.name(), kind)))
}

/// `targets: [sm80, sm89]`; without the key, engines are built for the device of this machine.
pub(super) fn targets(
    cursor: Option<&Cursor<'_>>,
    report: &mut Report<'_>,
    backends: &DraftAxis<BackendKind>,
) -> DraftAxis<Target> {
    let axis = list_axis(cursor, report, ("a list of targets", "[sm80, sm89]"), |item, report| {
        let target = target(item, report);
        (target.map(|target| target.name().to_owned()), target)
    });
    let Some(cursor) = cursor else { return DraftAxis { whole: true, ..axis } };
    if let Some(other) = backends.values.iter().find(|backend| !backend.value.has_targets()) {
        let message = format!(
            "found targets beside backend `{}`, which does not build ahead of time; give tensorrt a manifest of its own",
            other.value
        );
        cursor.reject(report, message);
    }
    axis
}

/// One target.
pub(super) fn target(item: &Cursor<'_>, report: &mut Report<'_>) -> Option<Target> {
    item.choice(report, &Target::ALL.map(|target| (target.name(), target)))
}

/// `batch_sizes: [1, 8]`
pub(super) fn batch_sizes(cursor: Option<&Cursor<'_>>, report: &mut Report<'_>) -> DraftAxis<usize> {
    sizes(cursor, report, ("a list of batch sizes", "[1, 8]"), MAX_BATCH)
}

/// `sequence_lengths: [32, 128]`
pub(super) fn sequence_lengths(cursor: Option<&Cursor<'_>>, report: &mut Report<'_>) -> DraftAxis<usize> {
    sizes(cursor, report, ("a list of sequence lengths", "[32, 128]"), MAX_SEQUENCE)
}

fn sizes(cursor: Option<&Cursor<'_>>, report: &mut Report<'_>, words: (&str, &str), most: usize) -> DraftAxis<usize> {
    list_axis(cursor, report, words, |item, report| {
        let size = item.whole(report, 1..=most);
        (size.map(|size| size.to_string()), size)
    })
}

fn named_axis<'t, T>(
    cursor: Option<&Cursor<'t>>,
    report: &mut Report<'_>,
    expected: &str,
    mut read: impl FnMut(&str, &Cursor<'t>, &mut Report<'_>) -> Option<T>,
) -> DraftAxis<T> {
    let mut axis = DraftAxis::missing();
    let Some(entries) = cursor.and_then(|cursor| cursor.named_entries(report, expected)) else { return axis };
    axis.whole = true;
    for (key, entry) in entries {
        let mut value = read(&key.text, &entry, report);
        if !valid_name(&key.text) {
            report.push(
                key.position,
                &entry.path,
                format!("found {}, expected {NAME_WORDS}; rename it", quoted(&key.text)),
            );
            value = None;
        }
        axis.push(report, &entry, key.text.clone(), value);
    }
    axis
}

/// `models: {bert: {random: 1, architecture: bert-base}}`
pub(super) fn models(cursor: Option<&Cursor<'_>>, report: &mut Report<'_>) -> DraftAxis<ModelEntry> {
    let expected = "a mapping from names to models, like `bert: {random: 1, architecture: bert-base}`";
    named_axis(cursor, report, expected, |name, entry, report| {
        let (source, head) = model_source(entry, report)?;
        if source.injection().is_some() && !name.ends_with(INJECTED_SUFFIX) {
            let message = format!(
                "found `inject` in a model named {}, expected a name that ends in `{INJECTED_SUFFIX}`, so that every \
                 table says that its weights were changed; write `{name}{INJECTED_SUFFIX}`",
                quoted(name)
            );
            entry.reject(report, message);
        }
        Some(ModelEntry { name: name.to_owned(), source, head })
    })
}

fn model_source(entry: &Cursor<'_>, report: &mut Report<'_>) -> Option<(ModelSource, Head)> {
    let kinds: [(&str, &[&str]); 3] = [
        ("random", &["random", "architecture", "head", "inject"]),
        ("checkpoint", &["checkpoint", "sha256", "head", "inject"]),
        ("hub", &["hub", "revision", "sha256", "files", "fallback", "head", "inject"]),
    ];
    let (kind, fields) = open_kind(entry, report, &kinds)?;
    let head = match fields.optional("head") {
        Some(name) => name.choice(report, &Head::ALL.map(|head| (head.name(), head)))?,
        None => Head::Natural,
    };
    let source = plain_source(kind, &fields, report);
    match fields.optional("inject") {
        None => Some((source?, head)),
        Some(cursor) => {
            let inject = injection(cursor, report)?;
            Some((ModelSource::Injected { source: Box::new(source?), inject }, head))
        }
    }
}

/// `inject: {layer: 2, channel: 447, magnitude: 3000}`. Opening the model checks that it has such a layer and channel.
fn injection(cursor: &Cursor<'_>, report: &mut Report<'_>) -> Option<Injection> {
    let keys = ["layer", "channel", "magnitude"];
    let fields = Fields::open(cursor, report, "a mapping with layer, channel and magnitude", &keys)?;
    let layer = fields.required(report, "layer", "2").and_then(|layer| layer.whole(report, 0..=999));
    let channel = fields.required(report, "channel", "447").and_then(|channel| channel.whole(report, 0..=1 << 20));
    let magnitude = fields.required(report, "magnitude", "3000").and_then(|value| value.real(report, MAGNITUDE));
    Some(Injection { layer: layer?, channel: channel?, magnitude: magnitude? })
}

fn plain_source(kind: &str, fields: &Fields<'_>, report: &mut Report<'_>) -> Option<ModelSource> {
    Some(match kind {
        "random" => {
            let seed = fields.required(report, "random", "1").and_then(|seed| seed.seed(report));
            let architecture = fields.required(report, "architecture", "bert-base");
            let architecture = architecture.and_then(|name| architecture_of(name, report));
            ModelSource::Random { seed: seed?, architecture: architecture? }
        }
        "checkpoint" => {
            let path = fields.required(report, "checkpoint", "../models/minilm");
            let path = path.and_then(|path| path.text(report, "the path of a Hugging Face folder"));
            let sha256 = optional_digest(fields, report);
            ModelSource::Checkpoint { path: PathBuf::from(path?), sha256 }
        }
        _ => {
            let repository = fields.required(report, "hub", "owner/name").and_then(|hub| repository(hub, report));
            let revision = fields.required(report, "revision", "(the 40 digits of a commit)");
            let revision = revision.and_then(|digits| digits.hex(report, 40, "a commit"));
            let sha256 = fields.required(report, "sha256", "(the 64 digits of model.safetensors)");
            let sha256 = sha256.and_then(|digits| digits.hex(report, 64, "the SHA-256 of model.safetensors"));
            let fallback = fields.optional("fallback").and_then(|name| architecture_of(name, report));
            let files = fields.optional("files").map(|files| hub_files(files, report)).unwrap_or_default();
            ModelSource::Hub { repository: repository?, revision: revision?, sha256: sha256?, fallback, files }
        }
    })
}

/// `files: {config.json: (64 digits)}`: digests of a checkpoint's files other than its weights.
fn hub_files(files: &Cursor<'_>, report: &mut Report<'_>) -> BTreeMap<String, String> {
    let mut digests = BTreeMap::new();
    for (key, entry) in files.named_entries(report, "a mapping from file names to digests").unwrap_or_default() {
        let name = &key.text;
        let digest = entry.hex(report, 64, "a SHA-256");
        if name == WEIGHTS_FILE {
            entry.reject(report, format!("found {}, which `sha256` pins already; leave it out", quoted(name)));
        } else if !valid_name(name) || name == DIGESTS_FILE || name.ends_with(PART_SUFFIX) {
            let message = format!("found the file name {}, expected {NAME_WORDS}", quoted(name));
            entry.reject(report, format!("{message}, not `{DIGESTS_FILE}` and without `{PART_SUFFIX}` at its end"));
        }
        digests.extend(digest.map(|digest| (name.clone(), digest)));
    }
    digests
}

fn architecture_of(name: &Cursor<'_>, report: &mut Report<'_>) -> Option<Architecture> {
    name.choice(report, &Architecture::ALL.map(|architecture| (architecture.name(), architecture)))
}

fn repository(hub: &Cursor<'_>, report: &mut Report<'_>) -> Option<String> {
    let expected = "a hub repository, `owner/name`";
    let text = hub.text(report, expected)?;
    match text.split_once('/') {
        Some((owner, name)) if valid_name(owner) && valid_name(name) => Some(text.to_owned()),
        _ => {
            hub.mismatch(report, expected, "leave out the site's address");
            None
        }
    }
}

/// `inputs: {random: {random: 7}, excerpt: {text: data/excerpt.txt}}`
pub(super) fn inputs(cursor: Option<&Cursor<'_>>, report: &mut Report<'_>) -> DraftAxis<InputEntry> {
    let expected = "a mapping from names to inputs, like `random: {random: 7}`";
    named_axis(cursor, report, expected, |name, entry, report| {
        let source = input_source(entry, report)?;
        Some(InputEntry { name: name.to_owned(), source })
    })
}

fn input_source(entry: &Cursor<'_>, report: &mut Report<'_>) -> Option<InputSource> {
    let kinds: [(&str, &[&str]); 3] =
        [("random", &["random"]), ("text", &["text", "sha256"]), ("sst2", &["sst2", "sha256"])];
    let (kind, fields) = open_kind(entry, report, &kinds)?;
    if kind == "random" {
        return random_ids(fields.required(report, "random", "7")?, report);
    }
    let path = fields.required(report, kind, "data/file.txt").and_then(|path| path.text(report, "the path of a file"));
    let sha256 = optional_digest(&fields, report);
    let path = PathBuf::from(path?);
    Some(if kind == "text" { InputSource::Text { path, sha256 } } else { InputSource::Sst2 { path, sha256 } })
}

/// `7`, or `{seed: 7, separators: true}`.
fn random_ids(cursor: &Cursor<'_>, report: &mut Report<'_>) -> Option<InputSource> {
    if cursor.keys().is_empty() {
        return cursor.seed(report).map(|seed| InputSource::Random { seed });
    }
    let fields = Fields::open(cursor, report, "a mapping with seed and separators", &["seed", "separators"])?;
    let seed = fields.required(report, "seed", "7").and_then(|seed| seed.seed(report));
    let separators = fields.optional("separators").map_or(Some(false), |flag| flag.flag(report));
    let (seed, separators) = (seed?, separators?);
    Some(if separators { InputSource::RandomWithSeparators { seed } } else { InputSource::Random { seed } })
}

fn optional_digest(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<String> {
    fields.optional("sha256").and_then(|digits| digits.hex(report, 64, "a SHA-256"))
}

/// Opens a mapping that has exactly one of several keys. That key decides the kind, and the kind decides the other keys.
fn open_kind<'t>(
    entry: &Cursor<'t>,
    report: &mut Report<'_>,
    kinds: &[(&'static str, &[&str])],
) -> Option<(&'static str, Fields<'t>)> {
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    let expected = format!("a mapping with {}", one_of(&names));
    let given = entry.keys();
    let mut present = kinds.iter().filter(|(name, _)| given.contains(name));
    match (present.next(), present.next()) {
        (Some((name, allowed)), None) => Some((name, Fields::open(entry, report, &expected, allowed)?)),
        (Some((first, _)), Some((second, _))) => {
            entry.reject(report, format!("found both `{first}` and `{second}`, expected {}; keep one", one_of(&names)));
            None
        }
        (None, _) => {
            // Without the key of a kind, the keys of all kinds are allowed: only those that no kind has are reported.
            let mut all: Vec<&str> = names.clone();
            all.extend(kinds.iter().flat_map(|(_, allowed)| allowed.iter().copied()));
            all.sort_unstable();
            all.dedup();
            if Fields::open(entry, report, &expected, &all).is_some() {
                entry
                    .reject(report, format!("found none of the keys that say what it is, expected {}", one_of(&names)));
            }
            None
        }
    }
}

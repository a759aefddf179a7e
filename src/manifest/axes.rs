//! The axes of the product: backends, shapes and inputs. Models and precisions have files of their own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::cursor::{Cursor, Fields, NAME_WORDS, Positioned, valid_name};
use super::diagnostic::{Position, Report, one_of, quoted};
use super::schema::InputEntry;
use super::tree::YamlValue;
use crate::engine::{BackendKind, Target};
use crate::input::{ClassName, InputSource};

/// Largest batch size and sequence length a manifest may ask for: far beyond any model, small enough that no product
/// of sizes overflows.
pub(super) const MAX_BATCH: usize = 4096;
pub(super) const MAX_SEQUENCE: usize = 131_072;
/// Largest index of a class: far beyond any head.
const MAX_CLASS: usize = (1 << 20) - 1;
const CLASS: &str = "the name of a class, or its number";

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

/// Reads a mapping axis, whose names the author chooses.
pub(super) fn named_axis<'t, T>(
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

/// `inputs: {random: {random: 7}, excerpt: {text: data/excerpt.txt}}`
pub(super) fn inputs(cursor: Option<&Cursor<'_>>, report: &mut Report<'_>) -> DraftAxis<InputEntry> {
    let expected = "a mapping from names to inputs, like `random: {random: 7}`";
    named_axis(cursor, report, expected, |name, entry, report| {
        let source = input_source(entry, report)?;
        Some(InputEntry { name: name.to_owned(), source })
    })
}

fn input_source(entry: &Cursor<'_>, report: &mut Report<'_>) -> Option<InputSource> {
    let kinds: [(&str, &[&str]); 4] = [
        ("random", &["random"]),
        ("text", &["text", "sha256"]),
        ("sst2", &["sst2", "sha256", "labels"]),
        ("examples", &["examples", "sha256", "labels"]),
    ];
    let (kind, fields) = open_kind(entry, report, &kinds)?;
    if kind == "random" {
        return random_ids(fields.required(report, "random", "7")?, report);
    }
    let path = fields.required(report, kind, "data/file.txt").and_then(|path| path.text(report, "the path of a file"));
    let sha256 = optional_digest(&fields, report);
    let labels = fields.optional("labels").map(|labels| classes(labels, report)).unwrap_or_default();
    let path = PathBuf::from(path?);
    Some(match kind {
        "text" => InputSource::Text { path, sha256 },
        "sst2" => InputSource::Sst2 { path, sha256, labels },
        _ => InputSource::Examples { path, sha256, labels },
    })
}

/// `{0: negative, 1: positive}`, or `{negative: 1, positive: 0}`: a class by name or by index for each label of the file.
fn classes(labels: &Cursor<'_>, report: &mut Report<'_>) -> BTreeMap<String, ClassName> {
    let expected = "a mapping from the file's labels to classes, like `{0: negative, 1: positive}`";
    let entries = labels.named_entries(report, expected).unwrap_or_default();
    let mut class = |entry: &Cursor<'_>| match &entry.node.value {
        YamlValue::Text(_) => Some(ClassName::Name(entry.text(report, CLASS)?.to_owned())),
        YamlValue::Whole(_) => Some(ClassName::Index(entry.whole(report, 0..=MAX_CLASS)?)),
        _ => {
            entry.mismatch(report, CLASS, "");
            None
        }
    };
    entries.iter().filter_map(|(label, entry)| Some((label.text.clone(), class(entry)?))).collect()
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

pub(super) fn optional_digest(fields: &Fields<'_>, report: &mut Report<'_>) -> Option<String> {
    fields.optional("sha256").and_then(|digits| digits.hex(report, 64, "a SHA-256"))
}

/// Opens a mapping that has exactly one of several keys. That key decides the kind, and the kind decides the other keys.
pub(super) fn open_kind<'t, K: AsRef<[&'static str]>>(
    entry: &Cursor<'t>,
    report: &mut Report<'_>,
    kinds: &[(&'static str, K)],
) -> Option<(&'static str, Fields<'t>)> {
    let names: Vec<&str> = kinds.iter().map(|(name, _)| *name).collect();
    let expected = format!("a mapping with {}", one_of(&names));
    let given = entry.keys();
    let mut present = kinds.iter().filter(|(name, _)| given.contains(name));
    match (present.next(), present.next()) {
        (Some((name, allowed)), None) => Some((name, Fields::open(entry, report, &expected, allowed.as_ref())?)),
        (Some((first, _)), Some((second, _))) => {
            entry.reject(report, format!("found both `{first}` and `{second}`, expected {}; keep one", one_of(&names)));
            None
        }
        (None, _) => {
            // Without the key of a kind, the keys of all kinds are allowed: only those that no kind has are reported.
            let mut all: Vec<&str> = names.clone();
            all.extend(kinds.iter().flat_map(|(_, allowed)| allowed.as_ref().iter().copied()));
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

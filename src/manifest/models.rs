//! The models of the product, and where their weights come from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::axes::{DraftAxis, named_axis, open_kind, optional_digest};
use super::cursor::{Cursor, Fields, NAME_WORDS, RealRange, valid_name};
use super::diagnostic::{Report, quoted};
use super::schema::ModelEntry;
use crate::model::{
    Architecture, DIGESTS_FILE, Head, INJECTED_SUFFIX, Injection, ModelSource, PART_SUFFIX, WEIGHTS_FILE,
};

/// From a magnitude that FP16 can still tell from zero to FP32's largest value.
const MAGNITUDE: RealRange = RealRange {
    contains: |value| (1e-3..=3e38).contains(&value.abs()),
    words: "a magnitude of either sign, from 0.001 to 3e38",
};

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

/// The keys of each kind of source that may stand alone or in `first_of`.
const KINDS: [(&str, &[&str]); 3] = [
    ("random", &["random", "architecture"]),
    ("checkpoint", &["checkpoint", "sha256"]),
    ("hub", &["hub", "revision", "sha256", "files"]),
];

/// Keys that a model has once, whichever of its sources is used, and what to write instead of them in a source.
const OF_THE_MODEL: [(&str, &str); 3] = [
    ("head", "write it beside `first_of`"),
    ("inject", "write it beside `first_of`"),
    ("fallback", "write `{random: 0, architecture: ...}` as the last source"),
];

fn model_source(entry: &Cursor<'_>, report: &mut Report<'_>) -> Option<(ModelSource, Head)> {
    let [random, checkpoint, hub] = KINDS.map(|(name, keys)| (name, [keys, &["head", "inject"]].concat()));
    let hub = (hub.0, [hub.1, vec!["fallback"]].concat());
    let several = ("first_of", vec!["first_of", "head", "inject"]);
    let (kind, fields) = open_kind(entry, report, &[random, checkpoint, hub, several])?;
    let head = match fields.optional("head") {
        Some(name) => name.choice(report, &Head::ALL.map(|head| (head.name(), head)))?,
        None => Head::Natural,
    };
    let source = match kind {
        "first_of" => fields.optional("first_of").and_then(|list| first_of(list, report)),
        _ => plain_source(kind, &fields, report),
    };
    match fields.optional("inject") {
        None => Some((source?, head)),
        Some(cursor) => {
            let inject = injection(cursor, report)?;
            Some((ModelSource::Injected { source: Box::new(source?), inject }, head))
        }
    }
}

/// `first_of: [{hub: ...}, {checkpoint: ...}, {random: 0, architecture: bert-base}]`: sources of one model, of which the
/// first that is on the machine is used.
fn first_of(list: &Cursor<'_>, report: &mut Report<'_>) -> Option<ModelSource> {
    let before = report.len();
    let items = list.items(report, "a list of sources in order", "[{checkpoint: ../models/bert}, {random: 1, ...}]")?;
    let mut sources: Vec<ModelSource> = Vec::new();
    for (index, item) in items.iter().enumerate() {
        let kinds = KINDS.map(|(name, keys)| (name, [keys, &OF_THE_MODEL.map(|(key, _)| key)].concat()));
        let Some((kind, fields)) = open_kind(item, report, &kinds) else { continue };
        for (key, cure) in OF_THE_MODEL {
            if let Some(entry) = fields.optional(key) {
                entry.reject(report, format!("found `{key}` in a source of `first_of`; {cure}"));
            }
        }
        let read = plain_source(kind, &fields, report);
        let Some(source) = read else { continue };
        if matches!(source, ModelSource::Random { .. }) && index + 1 < items.len() {
            item.reject(report, "found random weights, which are always there, before other sources; write them last");
        }
        if let Some(first) = sources.iter().position(|other| other.same_place(&source)) {
            item.reject(report, format!("found {source} a second time, first at first_of[{first}]; keep one"));
        }
        sources.push(source);
    }
    if items.len() == 1 {
        list.reject(report, "found one source, expected two or more; write its keys in the place of `first_of`");
    }
    (report.len() == before).then_some(ModelSource::FirstOf { sources })
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

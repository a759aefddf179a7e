//! Identities that outlive a machine and a manifest: hashes of a canonical JSON form.
//!
//! A configuration is what is measured, not how long or where: `{"backend", "format", "input", "model", "policy",
//! "shape", "target"}`, with `format` the version below. A model and an input are their name and source; a pinned digest stands
//! for the path of the file it pins, so that two machines with different folders agree; a model with several sources has the id
//! of the first. In every object keys are
//! sorted and absent values left out, and there is no white space.

use serde::Serialize;
use serde_json::{Value, json};

use super::{Configuration, ConfigurationId, Plan};
use crate::digest::{canonical, sha256};
use crate::input::InputSource;
use crate::json_diff::{Difference, differences};
use crate::manifest::schema::Measurement;
use crate::model::{Head, ModelSource};

/// Version of the canonical form. Raising it gives every configuration a new id.
const FORMAT: u64 = 1;
/// Digits of a configuration id.
const ID_DIGITS: usize = 16;

/// The id of a configuration; its `id` field is ignored.
pub(super) fn id(configuration: &Configuration) -> ConfigurationId {
    let mut digest = sha256(canonical_form(configuration).as_bytes());
    digest.truncate(ID_DIGITS);
    ConfigurationId(digest)
}

fn canonical_form(configuration: &Configuration) -> String {
    let form = json!({
        "format": FORMAT,
        "backend": value(&configuration.backend),
        "model": model(configuration),
        "policy": value(&configuration.policy),
        "shape": value(&configuration.shape),
        "target": value(&configuration.target),
        "input": { "name": configuration.input, "source": input(&configuration.input_source) },
    });
    canonical(&form)
}

/// The head is left out where it is the natural one: ids are older than heads.
fn model(configuration: &Configuration) -> Value {
    let source = source(&configuration.model_source);
    match configuration.head {
        Head::Natural => json!({ "name": configuration.model, "source": source }),
        head => json!({ "name": configuration.model, "source": source, "head": head.name() }),
    }
}

fn source(of: &ModelSource) -> Value {
    match of {
        ModelSource::Checkpoint { path: _, sha256: Some(sha256) } => json!({ "checkpoint": { "sha256": sha256 } }),
        ModelSource::Injected { source: base, inject } => {
            json!({ "injected": { "source": source(base), "inject": value(inject) } })
        }
        // The revision decides what its files hold; their digests only check it.
        ModelSource::Hub { repository, revision, sha256, fallback, files: _ } => json!({
            "hub": { "repository": repository, "revision": revision, "sha256": sha256, "fallback": value(fallback) }
        }),
        ModelSource::FirstOf { sources } => first_of(of, sources),
        other => value(other),
    }
}

/// Several sources hold one model, so the first stands for all of them, whichever is on a machine. A stand-in of seed 0
/// behind a hub is its older form, `fallback`, and has its id.
fn first_of(of: &ModelSource, sources: &[ModelSource]) -> Value {
    let Some(first) = sources.first() else { return value(of) };
    match (first, of.stand_in()) {
        (ModelSource::Hub { repository, revision, sha256, files, .. }, Some((0, architecture))) => {
            source(&ModelSource::Hub {
                repository: repository.clone(),
                revision: revision.clone(),
                sha256: sha256.clone(),
                fallback: Some(architecture),
                files: files.clone(),
            })
        }
        (first, Some((seed, architecture))) => {
            json!({ "first_of": [source(first), value(&ModelSource::Random { seed, architecture })] })
        }
        (first, None) => source(first),
    }
}

fn input(source: &InputSource) -> Value {
    match source {
        InputSource::Text { path: _, sha256: Some(sha256) } => json!({ "text": { "sha256": sha256 } }),
        InputSource::Sst2 { path: _, sha256: Some(sha256), labels } if labels.is_empty() => {
            json!({ "sst2": { "sha256": sha256 } })
        }
        InputSource::Examples { path: _, sha256: Some(sha256), labels } => {
            json!({ "examples": { "sha256": sha256, "labels": value(labels) } })
        }
        InputSource::Sst2 { path: _, sha256: Some(sha256), labels } => {
            json!({ "sst2": { "sha256": sha256, "labels": value(labels) } })
        }
        other => value(other),
    }
}

impl Plan {
    /// SHA-256 of the measurement limits, the comparison settings and the tolerances. Results of two protocols do not
    /// belong in one folder. The timeout is left out: it decides whether there is a row, not what a row says, and a
    /// configuration that ran into it may be tried again with a longer one.
    pub fn protocol_sha256(&self) -> String {
        let measurement = Measurement { timeout_s: 0.0, ..self.measurement };
        let mut form = json!({
            "format": FORMAT,
            "measurement": value(&measurement),
            "numerics": value(&self.numerics),
            "tolerances": value(&self.tolerances),
        });
        // Manifests without the key keep their protocol.
        if let Some(noise_floor) = &self.noise_floor {
            form["noise_floor"] = value(noise_floor);
        }
        sha256(canonical(&form).as_bytes())
    }

    /// Differences between the protocol of this plan, first, and that of another; empty if they are the same.
    pub fn protocol_differences(&self, other: &Plan) -> Vec<Difference> {
        if self.protocol_sha256() == other.protocol_sha256() {
            return Vec::new();
        }
        let rules = |plan: &Plan| {
            json!({
                "measurement": value(&plan.measurement),
                "noise_floor": value(&plan.noise_floor),
                "numerics": value(&plan.numerics),
                "tolerances": value(&plan.tolerances),
            })
        };
        differences(&rules(self), &rules(other))
    }
}

/// JSON of a contract type. They hold only strings, finite numbers and string-keyed maps, which always serialise.
fn value(part: &impl Serialize) -> Value {
    serde_json::to_value(part).unwrap_or(Value::Null)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::engine::{BackendKind, Target};
    use crate::graph::{PrecisionPolicy, Preset, Shape};
    use crate::input::ClassName;
    use crate::model::{Architecture, Injection};

    fn configuration() -> Configuration {
        Configuration {
            id: ConfigurationId(String::new()),
            backend: BackendKind::Reference,
            model: "bert".to_owned(),
            model_source: ModelSource::Random { seed: 1, architecture: Architecture::BertBase },
            head: Head::Natural,
            policy: PrecisionPolicy::preset(Preset::Fp32),
            target: None,
            shape: Shape { batch: 1, sequence: 128 },
            input: "random".to_owned(),
            input_source: InputSource::Random { seed: 7 },
        }
    }

    fn pinned(path: &str, sha256: Option<&str>) -> String {
        let source = ModelSource::Checkpoint { path: PathBuf::from(path), sha256: sha256.map(str::to_owned) };
        id(&Configuration { model_source: source, ..configuration() }).0
    }

    /// Computed by an independent program (Python's json.dumps with sorted keys, and hashlib). Ids are in published
    /// results: a change here orphans them. Raise `FORMAT` only on purpose.
    #[test]
    fn ids_do_not_change() {
        assert_eq!(id(&configuration()).0, "b1d13e853b4d5f10");
        let hybrid = PrecisionPolicy::preset(Preset::Hybrid);
        assert_eq!(id(&Configuration { policy: hybrid, ..configuration() }).0, "f0025c9255c8b43c");
        assert_eq!(id(&Configuration { backend: BackendKind::TensorRt, ..configuration() }).0, "959caf3a56c5c0df");
        assert_eq!(pinned("a", Some("00")), "949a5efb5b62a773");
    }

    #[test]
    fn the_canonical_form_is_sorted_and_compact() {
        let form = canonical_form(&configuration());
        assert!(form.starts_with(
            r#"{"backend":"reference","format":1,"input":{"name":"random","source":{"random":{"seed":7}}},"#
        ));
        assert!(form.ends_with(r#""shape":{"batch":1,"sequence":128}}"#), "{form}");
    }

    #[test]
    fn a_pinned_digest_replaces_the_path() {
        assert_eq!(pinned("a", Some("00")), pinned("elsewhere/b", Some("00")));
        assert_ne!(pinned("a", Some("00")), pinned("a", Some("01")));
        assert_ne!(pinned("a", None), pinned("b", None));
    }

    /// Computed like those of `ids_do_not_change`.
    #[test]
    fn pins_of_a_hubs_other_files_leave_the_id_as_it_is() {
        let of = |fallback: Option<Architecture>, files: &[(&str, &str)]| {
            let files = files.iter().map(|&(name, digest)| (name.to_owned(), digest.to_owned())).collect();
            let (repository, revision, sha256) = ("a/b".to_owned(), "00".to_owned(), "11".to_owned());
            let model_source = ModelSource::Hub { repository, revision, sha256, fallback, files };
            id(&Configuration { model_source, ..configuration() }).0
        };
        assert_eq!(of(Some(Architecture::BertBase), &[]), "2a4d552cbb070072");
        assert_eq!(of(Some(Architecture::BertBase), &[("config.json", "22")]), "2a4d552cbb070072");
        assert_eq!(of(None, &[]), "b007bb6b7a7c7b69");
    }

    /// Whichever source a machine has, the id is the same; and a hub first with a stand-in last has the id of `fallback`.
    #[test]
    fn several_sources_have_the_id_of_the_first() {
        let hub = |fallback| ModelSource::Hub {
            repository: "a/b".to_owned(),
            revision: "00".to_owned(),
            sha256: "11".to_owned(),
            fallback,
            files: std::collections::BTreeMap::new(),
        };
        let folder = ModelSource::Checkpoint { path: PathBuf::from("a"), sha256: Some("00".to_owned()) };
        let random = |seed| ModelSource::Random { seed, architecture: Architecture::BertBase };
        let of = |model_source| id(&Configuration { model_source, ..configuration() }).0;
        let first_of = |sources: &[&ModelSource]| {
            of(ModelSource::FirstOf { sources: sources.iter().map(|&source| source.clone()).collect() })
        };
        assert_eq!(first_of(&[&hub(None), &folder, &random(0)]), "2a4d552cbb070072");
        assert_eq!(first_of(&[&hub(None), &random(0)]), of(hub(Some(Architecture::BertBase))));
        assert_eq!(first_of(&[&hub(None), &folder]), "b007bb6b7a7c7b69");
        assert_eq!(first_of(&[&folder, &hub(None)]), pinned("elsewhere", Some("00")));
        // Computed like those of `ids_do_not_change`.
        assert_eq!(first_of(&[&folder, &random(0)]), "dd57e1e456d2856b");
        assert_eq!(first_of(&[&hub(None), &random(1)]), "ea9a148c02e9e6bf");
    }

    #[test]
    fn every_coordinate_enters_the_id() {
        let base = configuration();
        let mut variants = vec![id(&base).0];
        variants.push(id(&Configuration { model: "other".to_owned(), ..base.clone() }).0);
        variants.push(id(&Configuration { input: "other".to_owned(), ..base.clone() }).0);
        variants.push(id(&Configuration { shape: Shape { batch: 2, sequence: 128 }, ..base.clone() }).0);
        variants.push(id(&Configuration { shape: Shape { batch: 1, sequence: 64 }, ..base.clone() }).0);
        variants.push(id(&Configuration { input_source: InputSource::Random { seed: 8 }, ..base.clone() }).0);
        let separated = InputSource::RandomWithSeparators { seed: 7 };
        variants.push(id(&Configuration { input_source: separated, ..base.clone() }).0);
        for labels in [&[][..], &[("0", 1)]] {
            let labels = labels.iter().map(|&(label, class)| (label.to_owned(), ClassName::Index(class))).collect();
            let examples = InputSource::Examples { path: "a".into(), sha256: Some("00".to_owned()), labels };
            variants.push(id(&Configuration { input_source: examples, ..base.clone() }).0);
        }
        let sst2 = InputSource::Sst2 { path: "a".into(), sha256: Some("00".to_owned()), labels: Default::default() };
        variants.push(id(&Configuration { input_source: sst2, ..base.clone() }).0);
        for magnitude in [300.0, 3000.0] {
            let source = Box::new(base.model_source.clone());
            let inject = Injection { layer: 2, channel: 447, magnitude };
            let model_source = ModelSource::Injected { source, inject };
            variants.push(id(&Configuration { model_source, ..base.clone() }).0);
        }
        variants.push(id(&Configuration { target: Some(Target::Sm80), ..base.clone() }).0);
        let count = variants.len();
        variants.sort();
        variants.dedup();
        assert_eq!(variants.len(), count);
    }
}

//! The experiments that are mutated: a tiny classifier, sentences for it, and manifests of one or two configurations.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

use super::SelftestError;
use crate::digest::sha256;
use crate::manifest::schema::Manifest;
use crate::model::{ModelConfig, build_graph, draw_parameter};
use crate::plan::{Configuration, Plan};
use crate::provenance::Environment;
use crate::record::{EngineMeasurements, Outcome, Record};
use crate::runner::{self, measure_here};
use crate::store::derive_tables;
use crate::store::journal::{Header, Journal, OnDamage};
use crate::store::schema::ResultRow;

/// The tokenizer's vocabulary. The first four words are BERT's markers.
const WORDS: [&str; 14] =
    ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "the", "film", "is", "good", "bad", "dull", "great", "not", "very"];

/// Labelled sentences in the format of SST-2.
pub(super) const SENTENCES: &str = "sentence\tlabel\nthe film is good\t1\nthe film is bad\t0\na great film\t1\n\
                                    a very dull film\t0\nnot bad\t1\nnot very good\t0\n";

/// A BERT of two layers, 16 wide, with two labels: config.json and the tensors of model.safetensors.
pub(super) struct Classifier {
    config: Value,
    /// Shape and values by name.
    tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
}

impl Classifier {
    /// A classifier with fixed random weights.
    pub fn drawn(folder: &Path) -> Result<Self, SelftestError> {
        let config = json!({
            "model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": 16,
            "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 16,
            "vocab_size": WORDS.len(), "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12,
            "initializer_range": 0.3, "id2label": {"0": "negative", "1": "positive"},
        });
        let path = folder.join("drawn.json");
        fs::write(&path, config.to_string())?;
        let graph = build_graph(&ModelConfig::read(&path)?);
        let mut tensors = BTreeMap::new();
        for param in &graph.params {
            let values = draw_parameter(1, param);
            let shape: Vec<usize> = [&[param.dims[0] / param.parts.len()][..], &param.dims[1..]].concat();
            for (part, values) in param.parts.iter().zip(values.chunks(shape.iter().product())) {
                tensors.insert(part.tensor.clone(), (shape.clone(), values.to_vec()));
            }
        }
        Ok(Classifier { config, tensors })
    }

    /// The values of the first tensor whose name has this ending.
    pub fn values(&mut self, ending: &str) -> Result<&mut Vec<f32>, SelftestError> {
        let found = self.tensors.iter_mut().find(|(name, _)| name.ends_with(ending));
        found.map(|(_, (_, values))| values).ok_or_else(|| SelftestError::Unexpected(format!("no tensor `{ending}`")))
    }

    /// Writes the checkpoint to the folder `name` in `folder`. Returns the digest of model.safetensors.
    pub fn write(&self, folder: &Path, name: &str) -> Result<String, SelftestError> {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        let views = self.tensors.iter().map(|(name, (shape, values))| -> Result<_, SelftestError> {
            Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values))?))
        });
        let bytes = safetensors::serialize(views.collect::<Result<Vec<_>, _>>()?, None)?;
        fs::write(folder.join("model.safetensors"), &bytes)?;
        fs::write(folder.join("config.json"), self.config.to_string())?;
        fs::write(folder.join("tokenizer.json"), tokenizer().to_string())?;
        fs::write(folder.join("tokenizer_config.json"), r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#)?;
        Ok(sha256(&bytes))
    }
}

/// A tokenizer of whole words, which adds `[CLS]` and `[SEP]`.
fn tokenizer() -> Value {
    let vocabulary: BTreeMap<&str, usize> = WORDS.iter().copied().zip(0..).collect();
    let special = |id: &str| json!({"id": id, "ids": [vocabulary[id]], "tokens": [id]});
    let marker = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null, "decoder": null,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [marker("[CLS]"), json!({"Sequence": {"id": "A", "type_id": 0}}), marker("[SEP]")],
            "pair": [json!({"Sequence": {"id": "A", "type_id": 0}}), json!({"Sequence": {"id": "B", "type_id": 0}})],
            "special_tokens": {"[CLS]": special("[CLS]"), "[SEP]": special("[SEP]")},
        },
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    })
}

/// The parts of a manifest that vary between mutations, as YAML.
pub(super) struct TestManifest<'a> {
    pub models: &'a str,
    pub inputs: &'a str,
    pub precision: &'a str,
    pub batch_sizes: &'a str,
    pub count: usize,
    /// Further keys. Each line ends in a newline.
    pub more: &'a str,
}

impl Default for TestManifest<'_> {
    fn default() -> Self {
        TestManifest {
            models: "{tiny: {random: 1, architecture: bert-tiny}}",
            inputs: "{random: {random: 7}}",
            precision: "fp32",
            batch_sizes: "[1]",
            count: 1,
            more: "",
        }
    }
}

impl TestManifest<'_> {
    /// The plan of the manifest, which is written to `folder`.
    pub fn plan(&self, folder: &Path) -> Result<Plan, SelftestError> {
        let TestManifest { models, inputs, precision, batch_sizes, count, more } = self;
        let path = folder.join("selftest.yaml");
        let text = format!(
            "schema: 1\nname: selftest\nquestion: Is every injected fault caught?\nmodels: {models}\n\
             backends: [reference]\nprecisions: [{precision}]\nbatch_sizes: {batch_sizes}\nsequence_lengths: [8]\n\
             inputs: {inputs}\ntolerances: {{{precision}: {{relative_l2: 0.05, cosine_min: 0.99}}}}\n\
             measurement: {{warmup: 0, min_samples: 12, max_samples: 12, time_cap_s: 5, timeout_s: 60, threads: 1}}\n\
             {more}expect_configurations: {count}\n"
        );
        fs::write(&path, text)?;
        Ok(Plan::expand(&Manifest::load(&path)?))
    }

    /// The outcome of the plan's first configuration.
    pub fn outcome(&self, folder: &Path) -> Result<Outcome, SelftestError> {
        let plan = self.plan(folder)?;
        Ok(measure_here(&plan, first(&plan)?, &folder.join("reference")))
    }

    /// The measurement of the plan's first configuration.
    pub fn measured(&self, folder: &Path) -> Result<EngineMeasurements, SelftestError> {
        match self.outcome(folder)? {
            Outcome::Ok(measured) => Ok(*measured),
            Outcome::Built(built) => Err(SelftestError::Unexpected(built.reason)),
            Outcome::Failed(failure) => Err(SelftestError::Unexpected(failure.reason)),
        }
    }

    /// The row of this measurement, for the plan's first configuration.
    pub fn row(&self, folder: &Path, measured: EngineMeasurements) -> Result<ResultRow, SelftestError> {
        let plan = self.plan(folder)?;
        let record = record(first(&plan)?, "selftest", Outcome::Ok(Box::new(measured)));
        let rows = crate::store::derive::derive(&plan, &[record]);
        rows.into_iter().next().ok_or_else(|| SelftestError::Unexpected("the plan has no row".to_owned()))
    }

    /// Writes a run's folder, as `mixprec run` does.
    pub fn run(&self, folder: &Path, dir: &Path) -> Result<Plan, SelftestError> {
        let plan = self.plan(folder)?;
        fs::create_dir_all(dir)?;
        let environment = Environment::capture().for_manifest(&plan.manifest_sha256);
        environment.write(dir)?;
        runner::store_plan(&plan, dir)?;
        let mut journal = Journal::open(dir, &Header::of(&plan), OnDamage::Refuse)?.journal;
        for configuration in &plan.configurations {
            let outcome = measure_here(&plan, configuration, &folder.join("reference"));
            journal.append(&record(configuration, &environment.id(), outcome))?;
        }
        derive_tables(dir, &plan)?;
        Ok(plan)
    }
}

fn record(configuration: &Configuration, environment: &str, outcome: Outcome) -> Record {
    let environment = environment.to_owned();
    Record { id: configuration.id.clone(), environment, finished_unix_s: Some(0), wall_s: None, gpu: None, outcome }
}

fn first(plan: &Plan) -> Result<&Configuration, SelftestError> {
    plan.configurations.first().ok_or_else(|| SelftestError::Unexpected("the plan is empty".to_owned()))
}

/// Flips the lowest bit of the byte at `from_end`, counted from the end of a file.
pub(super) fn flip(path: &Path, from_end: usize) -> Result<(), SelftestError> {
    let mut bytes = fs::read(path)?;
    let at = bytes.len().checked_sub(from_end + 1);
    match at.and_then(|at| bytes.get_mut(at)) {
        Some(byte) => *byte ^= 1,
        None => return Err(SelftestError::Unexpected(format!("{} is too short", path.display()))),
    }
    Ok(fs::write(path, bytes)?)
}

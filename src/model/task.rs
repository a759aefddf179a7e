//! What the outputs of a head are, and heads of config.json that are not computed.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::config::{ModelConfig, TaskHead};
use super::{Head, Model, ModelSource};
use crate::graph::{Graph, OutputKind};

/// `problem_type` of config.json: what a classifier was trained for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemType {
    /// Every output is a number.
    Regression,
    /// One class is right.
    SingleLabelClassification,
    /// Several labels may hold, each by itself.
    MultiLabelClassification,
}

/// The function that makes scores of a row of logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ScoreFunction {
    /// Probabilities of alternatives, which sum to 1.
    Softmax,
    /// A probability for each logit by itself.
    Sigmoid,
    /// None: a logit is the answer, a plain number.
    None,
}

impl ProblemType {
    /// That of a value of config.json; `None` where it is absent or null.
    pub(super) fn of(value: Option<&Value>) -> Result<Option<Self>, String> {
        value
            .map(|value| {
                Self::deserialize(value).map_err(|error| format!("problem_type: {error}; correct the key or remove it"))
            })
            .transpose()
    }
}

impl ModelConfig {
    /// What makes scores of the logits: the rule of transformers' `TextClassificationPipeline.postprocess`. Next-token
    /// logits are those of alternatives.
    pub fn score_function(&self) -> ScoreFunction {
        match (self.problem_type, self.head) {
            (Some(ProblemType::Regression), TaskHead::Classifier { .. }) => ScoreFunction::None,
            (Some(ProblemType::MultiLabelClassification), TaskHead::Classifier { .. })
            | (_, TaskHead::Classifier { labels: 1 }) => ScoreFunction::Sigmoid,
            _ => ScoreFunction::Softmax,
        }
    }
}

/// What a model's output is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelOutput {
    /// What it holds.
    pub kind: OutputKind,
    /// Class of config.json whose head is not computed, so that the output is that of the trunk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dropped_head: Option<String>,
}

impl Model {
    /// What the output is.
    pub fn output(&self) -> ModelOutput {
        ModelOutput { kind: self.graph.output_kind, dropped_head: self.config.dropped_head.clone() }
    }
}

/// `BertForMaskedLM: its head is not computed; the output is hidden states`. Code of the folder may be named after a class of
/// transformers, whose head is then computed in its place.
pub fn dropped_head_sentence(class: &str, output: OutputKind) -> String {
    let what = if output == OutputKind::Hidden { "its head is not computed" } else { "its own code is not run" };
    format!("{class}: {what}; the output is {}", output.label())
}

/// The configuration of a checkpoint that is on this machine; `None` where config.json cannot be read, which its rows say.
pub fn config_here(source: &ModelSource, base_dir: &Path, head: Head) -> Option<ModelConfig> {
    let folder = source.checkpoint_here(base_dir)?.folder(base_dir)?;
    super::head::with_head("", ModelConfig::read(&folder.join("config.json")).ok()?, source.head(base_dir, head)).ok()
}

/// The graph of a checkpoint that is on this machine, or of random weights.
pub fn graph_here(source: &ModelSource, base_dir: &Path, head: Head) -> Option<Graph> {
    let random = || match source.base() {
        ModelSource::Random { architecture, .. } => {
            super::head::with_head("", ModelConfig::of(*architecture), head).ok()
        }
        _ => None,
    };
    config_here(source, base_dir, head).or_else(random).map(|config| super::build_graph(&config))
}

/// What a checkpoint that is on this machine puts out, or why its rows fail: a config.json that cannot be read, or a head that its
/// family does not have.
pub fn output_notice(name: &str, source: &ModelSource, base_dir: &Path, head: Head) -> Option<String> {
    let path = source.checkpoint_here(base_dir)?.folder(base_dir)?.join("config.json");
    let config =
        ModelConfig::read(&path).and_then(|config| super::head::with_head(name, config, source.head(base_dir, head)));
    match config.as_ref().map(|config| (config, super::build_graph(config).output_kind)) {
        Ok((ModelConfig { dropped_head: Some(class), .. }, output)) => {
            Some(format!("{} (`head: hidden` silences this)", dropped_head_sentence(class, output)))
        }
        // What everyone expects of a trunk, a classifier and a language model needs no word.
        Ok((_, OutputKind::Hidden | OutputKind::ClassLogits | OutputKind::TokenLogits)) => None,
        Ok((_, output)) => Some(format!("the output is {}", output.label())),
        Err(error) => path.exists().then(|| format!("{error}; its rows fail")),
    }
}

/// The class of config.json whose head is not computed: `unknown`, or where `auto_map` names code, which is never run, its class,
/// which stands for the head whatever `class` says.
pub(super) fn dropped_head(unknown: Option<&str>, class: Option<&str>, auto_map: Option<&Value>) -> Option<String> {
    let entries = auto_map.and_then(Value::as_object).into_iter().flatten();
    let models = entries.filter(|(key, _)| key.starts_with("AutoModel"));
    let custom: Vec<&str> = models.filter_map(|(_, class)| class.as_str()).collect();
    let named = custom.iter().find(|code| class.is_some_and(|name| code.ends_with(&format!(".{name}"))));
    named.or(custom.first()).copied().or(unknown).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::Architecture;

    /// The rule of transformers 5.24.0, `pipelines/text_classification.py`.
    #[test]
    fn problem_type_and_width_decide_the_scores_as_in_transformers() {
        use ProblemType::{MultiLabelClassification, Regression, SingleLabelClassification};
        let of = |problem_type, labels| {
            let head = TaskHead::Classifier { labels };
            ModelConfig { problem_type, head, ..ModelConfig::of(Architecture::BertTiny) }.score_function()
        };
        assert_eq!((of(None, 1), of(None, 2)), (ScoreFunction::Sigmoid, ScoreFunction::Softmax));
        assert_eq!((of(Some(Regression), 1), of(Some(Regression), 3)), (ScoreFunction::None, ScoreFunction::None));
        assert_eq!(of(Some(MultiLabelClassification), 3), ScoreFunction::Sigmoid);
        assert_eq!(of(Some(SingleLabelClassification), 3), ScoreFunction::Softmax);
        assert_eq!(ModelConfig::of(Architecture::Gpt2Tiny).score_function(), ScoreFunction::Softmax);
    }

    #[test]
    fn heads_that_are_not_computed_are_named_and_code_by_its_class() {
        let map = json!({"AutoConfig": "c.Config", "AutoModel": "m.Own", "AutoModelForMaskedLM": "m.OwnLM"});
        let of = |name: Option<&'static str>, map| dropped_head(name.filter(|name| *name != "BertModel"), name, map);
        assert_eq!(of(Some("BertForPreTraining"), None).as_deref(), Some("BertForPreTraining"));
        assert_eq!((of(Some("BertModel"), None), of(None, None)), (None, None));
        assert_eq!(of(Some("OwnLM"), Some(&map)).as_deref(), Some("m.OwnLM"));
        assert_eq!(of(Some("BertModel"), Some(&map)).as_deref(), Some("m.Own"));
    }
}

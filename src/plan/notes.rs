//! What the files of this machine tell about a plan before anything runs, and what is no error.

use super::{Configuration, Plan};
use crate::backend;
use crate::engine::{BackendError, BackendKind};
use crate::input::unlabelled_notice;
use crate::model::{
    ModelConfig, config_here, graph_here, longest_sequence_here, output_notice, quantization_notice, unread_notice,
};

impl Plan {
    /// Lines that begin with a model's name: tensors that no operation reads, a quantization that has no meaning, what comes out
    /// or why nothing does, sequences beyond the model's positions, texts beyond the tokenizer's `model_max_length`, operations
    /// that a backend has no kernel for, classes of the head that no label of an input is, and labels that are no class of it.
    pub fn notes(&self) -> Vec<String> {
        let mut models: Vec<Vec<&Configuration>> = Vec::new();
        for one in &self.configurations {
            match models.iter_mut().find(|model| model[0].model == one.model) {
                Some(model) => model.push(one),
                None => models.push(vec![one]),
            }
        }
        let notes = models.iter().flat_map(|model| {
            let Configuration { model: name, model_source, head, .. } = model[0];
            let config = config_here(model_source, &self.base_dir, *head);
            let notices = [
                unread_notice(model_source, &self.base_dir),
                quantization_notice(model_source, &self.base_dir),
                output_notice(name, model_source, &self.base_dir, *head),
                config.as_ref().and_then(|config| beyond_positions(model, config)),
                self.too_long(model),
            ];
            let unlabelled = config.map(|config| self.unlabelled(model, &config)).unwrap_or_default();
            let notices = notices.into_iter().flatten().chain(self.refusals(model)).chain(unlabelled);
            notices.map(move |notice| format!("{name}: {notice}"))
        });
        notes.collect()
    }

    /// transformers warns of a text that is longer than `model_max_length` and says nothing of ids; so do these lines.
    fn too_long(&self, model: &[&Configuration]) -> Option<String> {
        let texts = model.iter().filter(|one| one.input_source.path().is_some());
        let sequence = texts.map(|one| one.shape.sequence).max()?;
        longest_sequence_here(&model[0].model_source, &self.base_dir)?.exceeded_by(sequence)
    }

    /// Operations that no kernel of a backend computes, so that its rows fail.
    fn refusals(&self, model: &[&Configuration]) -> Vec<String> {
        let Configuration { model_source, head, .. } = model[0];
        let Some(graph) = graph_here(model_source, &self.base_dir, *head) else { return Vec::new() };
        let mut reasons: Vec<String> = Vec::new();
        let mut tried: Vec<(BackendKind, &str)> = Vec::new();
        for one in model {
            let policy = (one.backend, one.policy.name.as_str());
            if tried.contains(&policy) {
                continue;
            }
            tried.push(policy);
            if let Err(BackendError::UnsupportedPolicy { backend, reason, .. }) =
                backend::lowers(one.backend, &graph, &one.policy, one.shape)
            {
                let reason = format!("{backend}: {reason}; its rows there fail");
                if !reasons.contains(&reason) {
                    reasons.push(reason);
                }
            }
        }
        reasons
    }

    /// A line for every labelled input that leaves out classes of the head or has other ones.
    fn unlabelled(&self, model: &[&Configuration], config: &ModelConfig) -> Vec<String> {
        let mut inputs: Vec<&Configuration> = Vec::new();
        for one in model {
            if inputs.iter().all(|other| other.input != one.input) {
                inputs.push(one);
            }
        }
        let notice = |one: &&Configuration| {
            let notice = unlabelled_notice(&one.input_source, &self.base_dir, config)?;
            Some(format!("{}: {notice}", one.input))
        };
        inputs.iter().filter_map(notice).collect()
    }
}

/// Sequences that are longer than the model's positions, so that their rows fail.
fn beyond_positions(model: &[&Configuration], config: &ModelConfig) -> Option<String> {
    let positions = config.dimensions.positions;
    let longest = model.iter().map(|one| one.shape.sequence).max().filter(|&longest| longest > positions)?;
    Some(format!(
        "its {positions} positions hold no sequence of {longest}, whose rows fail; write `sequence_lengths` of {positions} at most"
    ))
}

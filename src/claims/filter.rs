//! Filters of claims.yaml: which rows an expression looks at.

use serde::Deserialize;

use crate::engine::{BackendKind, DeviceKind};
use crate::record::InputKind;

/// Rows whose columns hold one of the given values; an empty list admits all.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Filter {
    /// Backends.
    pub backend: Vec<BackendKind>,
    /// Devices.
    pub device: Vec<DeviceKind>,
    /// Model names.
    pub model: Vec<String>,
    /// Policy names.
    pub precision: Vec<String>,
    /// Batch sizes.
    pub batch_size: Vec<u64>,
    /// Sequence lengths.
    pub sequence_length: Vec<u64>,
    /// Input names.
    pub input: Vec<String>,
    /// Kinds of input.
    pub input_kind: Vec<InputKind>,
    /// Beginnings of input names.
    pub input_prefix: Vec<String>,
    /// SHA-256 of files that an input may be read from. A row whose file is not known, of a table before schema 9 and of a
    /// manifest that pins none, passes by its name: [`Filter::input_prefix`].
    pub input_sha256: Vec<String>,
    /// Beginnings of model names.
    pub model_prefix: Vec<String>,
    /// Fewest parameters of a model.
    pub parameters_at_least: Option<u64>,
    /// The lower end of the accuracy's Clopper-Pearson 95 % interval is above this: the share of the file's largest class,
    /// so that the model is not at chance.
    pub accuracy_above: Option<f64>,
    /// Whether the weights are a checkpoint's. Random ones are not, also where they stand in for a checkpoint.
    pub trained: Option<bool>,
}

impl Filter {
    /// These lists, each replaced by that of `other` where that one is not empty.
    pub fn replaced_by(&self, other: &Filter) -> Filter {
        fn or<T: Clone>(own: &[T], other: &[T]) -> Vec<T> {
            if other.is_empty() { own.to_vec() } else { other.to_vec() }
        }
        Filter {
            backend: or(&self.backend, &other.backend),
            device: or(&self.device, &other.device),
            model: or(&self.model, &other.model),
            precision: or(&self.precision, &other.precision),
            batch_size: or(&self.batch_size, &other.batch_size),
            sequence_length: or(&self.sequence_length, &other.sequence_length),
            input: or(&self.input, &other.input),
            input_kind: or(&self.input_kind, &other.input_kind),
            input_prefix: or(&self.input_prefix, &other.input_prefix),
            input_sha256: or(&self.input_sha256, &other.input_sha256),
            model_prefix: or(&self.model_prefix, &other.model_prefix),
            parameters_at_least: other.parameters_at_least.or(self.parameters_at_least),
            accuracy_above: other.accuracy_above.or(self.accuracy_above),
            trained: other.trained.or(self.trained),
        }
    }
}

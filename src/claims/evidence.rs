//! The rows that answered a claim: their models, inputs and limits.

use crate::analysis::facts::has_random_weights;
use serde::Serialize;

use crate::results::data::distinct;
use crate::store::schema::ResultRow;

/// The models, inputs and limits of the rows behind a verdict.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Evidence {
    /// Models, in plan order.
    pub models: Vec<String>,
    /// The models with random weights.
    pub random_models: Vec<String>,
    /// Inputs.
    pub inputs: Vec<String>,
    /// Inputs that pass for the claim's file by their name: the digest of what they were read from is not recorded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unrecorded_inputs: Vec<String>,
    /// Whether any row's formats are emulated on the CPU.
    pub emulated: bool,
    /// Whether any row's formats are native.
    pub native: bool,
}

impl Evidence {
    /// The models and inputs of rows.
    pub fn of<'a>(rows: impl Iterator<Item = &'a ResultRow>) -> Self {
        rows.fold(Evidence::default(), |mut all, row| {
            all.models.push(row.model.clone());
            all.random_models.extend(has_random_weights(row).then(|| row.model.clone()));
            all.inputs.push(row.input.clone());
            all.emulated |= row.emulated == Some(true);
            all.native |= row.emulated != Some(true);
            all
        })
        .distinct()
    }

    /// The evidence of both.
    pub fn and(mut self, other: &Evidence) -> Self {
        self.models.extend_from_slice(&other.models);
        self.random_models.extend_from_slice(&other.random_models);
        self.inputs.extend_from_slice(&other.inputs);
        self.unrecorded_inputs.extend_from_slice(&other.unrecorded_inputs);
        self.emulated |= other.emulated;
        self.native |= other.native;
        self.distinct()
    }

    fn distinct(self) -> Self {
        Evidence {
            models: distinct(self.models.into_iter()),
            random_models: distinct(self.random_models.into_iter()),
            inputs: distinct(self.inputs.into_iter()),
            unrecorded_inputs: distinct(self.unrecorded_inputs.into_iter()),
            ..self
        }
    }
}

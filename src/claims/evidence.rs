//! Which rows answered a claim: their models, inputs and what limits them.

use crate::analysis::facts::has_random_weights;
use serde::Serialize;

use crate::numbers;
use crate::results::data::distinct;
use crate::store::schema::ResultRow;

/// What the rows behind a verdict are of.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Answered {
    /// Models, in plan order.
    pub models: Vec<String>,
    /// Those of them whose weights are random.
    pub random_models: Vec<String>,
    /// Inputs.
    pub inputs: Vec<String>,
    /// Whether any row's formats are emulated on the CPU.
    pub emulated: bool,
    /// Whether any row's are not.
    pub native: bool,
}

impl Answered {
    /// The models and inputs of rows.
    pub fn by<'a>(rows: impl Iterator<Item = &'a ResultRow>) -> Self {
        rows.fold(Answered::default(), |mut all, row| {
            all.models.push(row.model.clone());
            all.random_models.extend(has_random_weights(row).then(|| row.model.clone()));
            all.inputs.push(row.input.clone());
            all.emulated |= row.emulated == Some(true);
            all.native |= row.emulated != Some(true);
            all
        })
        .distinct()
    }

    /// The rows of both.
    pub fn and(mut self, other: &Answered) -> Self {
        self.models.extend_from_slice(&other.models);
        self.random_models.extend_from_slice(&other.random_models);
        self.inputs.extend_from_slice(&other.inputs);
        self.emulated |= other.emulated;
        self.native |= other.native;
        self.distinct()
    }

    /// What sets the rows apart from a trained model on hardware that has the format: `emulated on the CPU`,
    /// `random weights`.
    pub fn limits(&self) -> Vec<&'static str> {
        self.emulation().into_iter().chain((!self.random_models.is_empty()).then_some("random weights")).collect()
    }

    /// Whether all or some of the rows emulate their formats; `None` where none does.
    pub fn emulation(&self) -> Option<&'static str> {
        match (self.emulated, self.native) {
            (true, false) => Some("emulated on the CPU"),
            (true, true) => Some("partly emulated on the CPU"),
            (false, _) => None,
        }
    }

    /// `Answered by models bert-base, gpt2 (random weights) on input random.`
    pub fn sentence(&self) -> String {
        let all_random = self.random_models.len() == self.models.len();
        let name = |model: &String| match self.random_models.contains(model) {
            true if !all_random => format!("{model} (random weights)"),
            _ => model.clone(),
        };
        let models = self.models.iter().map(name).collect::<Vec<_>>().join(", ");
        format!(
            "Answered by {} {models}{} on {} {}.",
            numbers::noun(self.models.len(), "model"),
            match (all_random, self.models.len()) {
                (true, 1) => " (random weights)",
                (true, _) => " (all with random weights)",
                (false, _) => "",
            },
            numbers::noun(self.inputs.len(), "input"),
            self.inputs.join(", ")
        )
    }

    /// `bert-base, gpt2; input random`; empty for no rows.
    pub fn labels(&self) -> String {
        if self.models.is_empty() {
            return String::new();
        }
        let inputs = numbers::noun(self.inputs.len(), "input");
        format!("{}; {inputs} {}", self.models.join(", "), self.inputs.join(", "))
    }

    fn distinct(self) -> Self {
        Answered {
            models: distinct(self.models.into_iter()),
            random_models: distinct(self.random_models.into_iter()),
            inputs: distinct(self.inputs.into_iter()),
            ..self
        }
    }
}

//! Names that stand for a backend, an output or a precision policy on the command line.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::engine::BackendKind;
use crate::graph::Preset;
use crate::model::Head;

/// The mock backend is an instrument of the tests: it can be planned, not typed.
impl ValueEnum for BackendKind {
    fn value_variants<'a>() -> &'a [Self] {
        &[BackendKind::Reference, BackendKind::OnnxRuntime, BackendKind::Cuda, BackendKind::TensorRt]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Head {
    fn value_variants<'a>() -> &'a [Self] {
        &Head::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Preset {
    fn value_variants<'a>() -> &'a [Self] {
        &Preset::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

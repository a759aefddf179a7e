//! Names that stand for a backend, an output or a precision policy on the command line.

use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::engine::BackendKind;
use crate::graph::Preset;
use crate::model::Head;

/// These values are typed by their names.
macro_rules! typed_by_name {
    ($type:ty: $values:expr) => {
        impl ValueEnum for $type {
            fn value_variants<'a>() -> &'a [Self] {
                $values
            }

            fn to_possible_value(&self) -> Option<PossibleValue> {
                Some(PossibleValue::new(self.name()))
            }
        }
    };
}

// The mock backend is an instrument of the tests: it can be planned, not typed.
typed_by_name!(BackendKind: &[Self::Reference, Self::OnnxRuntime, Self::Cuda, Self::TensorRt]);
typed_by_name!(Head: &Self::ALL);
typed_by_name!(Preset: &Self::ALL);

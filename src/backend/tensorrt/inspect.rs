//! The layers of an engine as its inspector lists them.

use std::collections::BTreeMap;

use serde_json::Value;
use trtx::{CudaEngine, LayerInformationFormat, Runtime};

use super::build::SerialisedEngine;
use super::library::{TensorRtLibrary, execution, unavailable};
use crate::backend::cuda::device::Device;
use crate::engine::BackendError;

/// The inspector's view of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// JSON, as the library wrote it.
    pub json: String,
    /// Layers of the engine: after fusion, so fewer than the network has.
    pub layers: u64,
    /// Layers by the type of their first output, in the library's words; `unknown` if it states none.
    pub layers_by_output: BTreeMap<String, u64>,
}

impl Inspection {
    /// Reads the inspector's JSON: `{"Layers": [{"Name": .., "Outputs": [{"Format/Datatype": ..}]}, ..]}` with detailed
    /// verbosity, `{"Layers": ["name", ..]}` without.
    ///
    /// # Errors
    /// What is wrong with the JSON, as a sentence fragment.
    pub fn read(json: String) -> Result<Inspection, String> {
        let parsed: Value = serde_json::from_str(&json).map_err(|error| format!("the inspector's JSON: {error}"))?;
        let layers = parsed["Layers"].as_array().ok_or("the inspector's JSON has no list `Layers`")?;
        let mut layers_by_output = BTreeMap::new();
        for layer in layers {
            *layers_by_output.entry(output_type(layer)).or_insert(0) += 1;
        }
        let layers = layers.len() as u64;
        Ok(Inspection { json, layers, layers_by_output })
    }
}

/// Loads an engine that this process has built, to list its layers.
///
/// # Errors
/// [`BackendError::Unavailable`] without a device, or if the library refuses it.
pub fn inspect(engine: &SerialisedEngine) -> Result<Inspection, BackendError> {
    let library = TensorRtLibrary::get()?;
    Device::first().map_err(unavailable)?;
    let mut runtime = library.call(|| Runtime::new(library.logger()))?;
    let engine = library.call(|| runtime.deserialize_cuda_engine(engine))?;
    layers_of(library, &engine)
}

/// The inspector's view of a loaded engine.
///
/// # Errors
/// [`BackendError`] with the library's own words.
pub(super) fn layers_of(library: &TensorRtLibrary, engine: &CudaEngine<'static>) -> Result<Inspection, BackendError> {
    let json = library.call(|| engine.create_engine_inspector()?.engine_information(LayerInformationFormat::kJSON))?;
    Inspection::read(json).map_err(execution)
}

/// The type of the first output: the key is `Datatype` or, with the memory format before it, `Format/Datatype`.
fn output_type(layer: &Value) -> String {
    let output = &layer["Outputs"][0];
    let text = ["Datatype", "Format/Datatype"].iter().find_map(|key| output[*key].as_str());
    text.and_then(|text| text.split_whitespace().last()).unwrap_or("unknown").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_counted_by_the_type_of_their_output() {
        let json = r#"{"Layers": [
            {"Name": "a", "Outputs": [{"Name": "x", "Format/Datatype": "Row major linear FP16"}]},
            {"Name": "b", "Outputs": [{"Name": "y", "Datatype": "Half"}]},
            {"Name": "c", "Outputs": [{"Name": "z", "Datatype": "Half"}]},
            "named only"], "Bindings": ["x"]}"#;
        let inspection = Inspection::read(json.to_owned()).unwrap();
        assert_eq!(inspection.layers, 4);
        let counts: Vec<(&str, u64)> = inspection.layers_by_output.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        assert_eq!(counts, [("FP16", 1), ("Half", 2), ("unknown", 1)]);
        assert_eq!(inspection.json, json);
    }

    #[test]
    fn what_is_no_inspection_is_an_error() {
        assert!(Inspection::read("{".to_owned()).is_err_and(|error| error.contains("the inspector's JSON")));
        assert!(Inspection::read("{}".to_owned()).is_err_and(|error| error.contains("no list `Layers`")));
    }
}

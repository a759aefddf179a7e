//! The layers of an engine as its inspector lists them.

use std::collections::BTreeMap;

use serde_json::Value;

use super::audit::{ops_by_name, owner};
use super::binding::Executable;
use super::build::SerialisedEngine;
use super::library::{TensorRtLibrary, execution, unavailable};
use super::memory::{Allocator, Ledger};
use crate::backend::cuda::device::Device;
use crate::engine::BackendError;
use crate::graph::{Format, Graph, PolicyError, PrecisionPolicy};
use crate::onnx::output_name;

/// The inspector's view of an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspection {
    /// JSON, as the library wrote it but for control characters.
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
        // Version 8.6 separates names inside strings by control characters, which JSON does not allow.
        let json: String = json.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }).collect();
        let parsed: Value = serde_json::from_str(&json).map_err(|error| format!("the inspector's JSON: {error}"))?;
        let layers = parsed["Layers"].as_array().ok_or("the inspector's JSON has no list `Layers`")?;
        let mut layers_by_output = BTreeMap::new();
        for layer in layers {
            *layers_by_output.entry(output_type(layer)).or_insert(0) += 1;
        }
        let layers = layers.len() as u64;
        Ok(Inspection { json, layers, layers_by_output })
    }

    /// Where the engine stores the result of an op in another format than the policy requests, a sentence for each op. The
    /// inspector lists what lies in memory between its layers: a fused layer says nothing of its inside.
    ///
    /// # Errors
    /// [`PolicyError`] when the policy does not fit the graph.
    pub fn findings(&self, graph: &Graph, policy: &PrecisionPolicy) -> Result<Vec<String>, PolicyError> {
        let output = output_name(graph.output_kind);
        let roundings = graph.roundings(policy)?;
        let names = ops_by_name(graph);
        let parsed: Value = serde_json::from_str(&self.json).unwrap_or_default();
        let layers = parsed["Layers"].as_array().into_iter().flatten();
        let mut findings = Vec::new();
        for tensor in layers.flat_map(|layer| layer["Outputs"].as_array().into_iter().flatten()) {
            let name = tensor["Name"].as_str().unwrap_or_default();
            let op = match name == output {
                true => graph.ops.iter().position(|op| op.output == graph.output),
                false => {
                    names.get(name).copied().or_else(|| owner(name, &names).filter(|_| name.ends_with("/computed")))
                }
            };
            let (Some(op), Some(found)) = (op, type_of(tensor).and_then(format)) else { continue };
            let asked = roundings[op].store.storage();
            if found != asked {
                findings.push(format!("{} is stored in {found}, the policy says {asked}", graph.ops[op].name));
            }
        }
        Ok(findings)
    }
}

/// Loads an engine that this process has built, to list its layers.
///
/// # Errors
/// [`BackendError::Unavailable`] without a device, or if the library refuses it.
pub fn inspect(engine: &SerialisedEngine) -> Result<Inspection, BackendError> {
    let library = TensorRtLibrary::get()?;
    let device = Device::first().map_err(unavailable)?;
    let allocator = Allocator::new(device.context, Ledger::default());
    let engine = library.call(|| library.binding.load(engine, allocator))?;
    layers_of(library, &*engine)
}

/// The inspector's view of a loaded engine.
///
/// # Errors
/// [`BackendError`] with the library's own words.
pub(super) fn layers_of(library: &TensorRtLibrary, engine: &dyn Executable) -> Result<Inspection, BackendError> {
    let json = library.call(|| engine.layers_json())?;
    Inspection::read(json).map_err(execution)
}

/// The type of the first output.
fn output_type(layer: &Value) -> String {
    type_of(&layer["Outputs"][0]).unwrap_or("unknown").to_owned()
}

/// The words that versions have for types.
const TYPES: [&str; 15] = [
    "FP32", "Float", "FP16", "Half", "BF16", "BFloat16", "Int8", "INT8", "Int32", "INT32", "Int64", "INT64", "Bool",
    "FP8", "UInt8",
];

/// The type of a tensor: the key is `Datatype` or, with the memory format around it, `Format/Datatype`, e.g.
/// `Channel major FP16 format where channel % 8 == 0`.
fn type_of(tensor: &Value) -> Option<&str> {
    let text = ["Datatype", "Format/Datatype"].iter().find_map(|key| tensor[*key].as_str())?;
    let word = |text: &'_ str| TYPES.contains(&text);
    text.split_whitespace().rev().find(|text| word(text)).or_else(|| text.split_whitespace().last())
}

fn format(type_name: &str) -> Option<Format> {
    match type_name {
        "FP32" | "Float" => Some(Format::Fp32),
        "FP16" | "Half" => Some(Format::Fp16),
        "BF16" | "BFloat16" => Some(Format::Bf16),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Preset;
    use crate::model::{Architecture, architecture_graph};

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

    /// In the form of 8.6, and in that of 10.
    #[test]
    fn results_in_another_format_than_the_policys_are_found_in_every_versions_json() {
        let graph = architecture_graph(Architecture::BertTiny);
        let policy = PrecisionPolicy::preset(Preset::Hybrid);
        let json = r#"{"Layers": [
            {"Name": "a", "LayerType": "Myelin", "Metadata": "[ONNX Layer: a]SEPARATOR[ONNX Layer: b]", "Outputs": [{"Name": "layer.0/mlp/fc1",
                "Format/Datatype": "Channel major FP16 format where channel % 8 == 0"}]},
            {"Name": "b", "Outputs": [{"Name": "layer.0/mlp/layer_norm", "Datatype": "Half"}]},
            {"Name": "c", "Outputs": [{"Name": "layer.1/mlp/fc1", "Datatype": "Float"}, {"Name": "reshaped"}]},
            {"Name": "d", "Outputs": [{"Name": "last_hidden_state", "Format/Datatype": "Row major linear FP32"}]}]}"#;
        let json = json.replace("SEPARATOR", "\u{1e}");
        let findings = Inspection::read(json).unwrap().findings(&graph, &policy).unwrap();
        let expected = [
            "layer.0/mlp/layer_norm is stored in fp16, the policy says fp32",
            "layer.1/mlp/fc1 is stored in fp32, the policy says fp16",
        ];
        assert_eq!(findings, expected);
    }

    #[test]
    fn what_is_no_inspection_is_an_error() {
        assert!(Inspection::read("{".to_owned()).is_err_and(|error| error.contains("the inspector's JSON")));
        assert!(Inspection::read("{}".to_owned()).is_err_and(|error| error.contains("no list `Layers`")));
    }
}

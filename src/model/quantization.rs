//! `quantization_config` of config.json: weights that are not plain numbers, and the cases in which transformers reads them as
//! plain ones all the same.

use std::path::Path;

use serde_json::Value;

use super::ModelSource;
use super::keys::{ConfigKeys, quoted};
use crate::files::read_text;

/// The key.
const KEY: &str = "quantization_config";

/// Methods of transformers 5.24 (`quantizers/auto.py`) that a file may name; that of bitsandbytes is told by its switches.
const METHODS: [&str; 27] = [
    "aqlm",
    "auto-round",
    "awq",
    "bitnet",
    "bitsandbytes_4bit",
    "bitsandbytes_8bit",
    "compressed-tensors",
    "eetq",
    "fbgemm_fp8",
    "fouroversix",
    "fp8",
    "fp_quant",
    "gemma",
    "gguf",
    "gptq",
    "higgs",
    "hqq",
    "metal",
    "mxfp4",
    "mxfp8",
    "nvfp4",
    "quanto",
    "quark",
    "sinq",
    "spqr",
    "torchao",
    "vptq",
];

/// What transformers makes of the key.
enum Quantization {
    /// It is absent, null or empty.
    None,
    /// The method has no meaning, so that transformers reads the weights as they are, with a warning.
    Unknown(String),
    /// The weights are in a format of this method, or which one is not said.
    Method(String),
}

impl Quantization {
    /// The rule of `AutoHfQuantizer.supports_quant_method`.
    fn of(keys: &ConfigKeys) -> Quantization {
        let Some(value) = keys.get(KEY).filter(|value| !is_empty(value)) else { return Quantization::None };
        let is_set = |switch: &str| value.get(switch).is_some_and(|on| !is_empty(on));
        let bits = ["load_in_4bit", "load_in_8bit"].into_iter().find(|switch| is_set(switch));
        match (bits, value.get("quant_method").and_then(Value::as_str)) {
            (Some(switch), _) => Quantization::Method(format!("{switch} of bitsandbytes")),
            (None, Some(name)) if METHODS.contains(&name) => Quantization::Method(format!("quant_method `{name}`")),
            (None, Some(name)) => Quantization::Unknown(name.to_owned()),
            (None, None) => Quantization::Method(quoted(value)),
        }
    }
}

/// What Python counts as false.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(flag) => !flag,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(entries) => entries.is_empty(),
    }
}

/// Refuses weights that are not plain.
///
/// # Errors
/// The key with its method and the cure.
pub(super) fn check(keys: &ConfigKeys) -> Result<(), String> {
    match Quantization::of(keys) {
        Quantization::None | Quantization::Unknown(_) => Ok(()),
        Quantization::Method(method) => Err(format!(
            "{KEY}: {method}: the weights are quantized, and only plain ones are computed; save them with \
             `model.dequantize().save_pretrained(folder)`, or remove the key where the tensors are plain already"
        )),
    }
}

/// The notice of a method that transformers passes over, for a checkpoint that is on this machine.
pub fn quantization_notice(source: &ModelSource, base_dir: &Path) -> Option<String> {
    let folder = source.checkpoint_here(base_dir)?.folder(base_dir)?;
    let keys = ConfigKeys::parse(&read_text(&folder.join("config.json")).ok()?).ok()?;
    match Quantization::of(&keys) {
        Quantization::Unknown(method) => Some(format!(
            "{KEY}: quant_method `{method}` names no quantization; the tensors are read as they are, as in transformers"
        )),
        Quantization::None | Quantization::Method(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(value: &str) -> ConfigKeys {
        ConfigKeys::parse(&format!("{{\"quantization_config\": {value}}}")).unwrap()
    }

    /// Of transformers 5.24.0, `AutoHfQuantizer.supports_quant_method`.
    #[test]
    fn weights_that_are_not_plain_are_refused_by_key_and_method() {
        for (value, named) in [
            (r#"{"quant_method": "gptq", "bits": 4}"#, "quant_method `gptq`"),
            (r#"{"quant_method": "awq"}"#, "quant_method `awq`"),
            (r#"{"quant_method": "fp8", "weight_block_size": [128, 128]}"#, "quant_method `fp8`"),
            (r#"{"quant_method": "torchao", "quant_type": {}}"#, "quant_method `torchao`"),
            (r#"{"quant_method": "compressed-tensors"}"#, "quant_method `compressed-tensors`"),
            (r#"{"quant_method": "bitsandbytes", "load_in_8bit": true}"#, "load_in_8bit of bitsandbytes"),
            (r#"{"load_in_4bit": true}"#, "load_in_4bit of bitsandbytes"),
            (r#"{"bits": 4}"#, r#"`{"bits":4}`"#),
            ("\"gptq\"", "`\"gptq\"`"),
        ] {
            let error = check(&keys(value)).unwrap_err();
            assert!(error.starts_with(&format!("quantization_config: {named}: the weights are quantized")), "{error}");
            assert!(error.contains("dequantize()") && error.contains("remove the key"), "{error}");
        }
        for harmless in ["null", "{}", r#"{"quant_method": "bitsandbytes", "load_in_4bit": false}"#] {
            assert_eq!(check(&keys(harmless)), Ok(()), "{harmless}");
        }
    }
}

//! The parts that determine an engine, and their digest, the engine's key.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::digest::{canonical, sha256};
use crate::graph::{OpClass, PrecisionPolicy, ReductionOrder, Rounding};

/// Version of the key and of `entry.json`. Raising it orphans every cached engine.
const FORMAT: u64 = 1;
/// Digits of a key in tables and messages.
const SHORT_DIGITS: usize = 12;

/// Everything that determines the bytes of an engine, and two names for listings.
#[derive(Debug, Clone)]
pub struct KeyParts<'a> {
    /// SHA-256 of the exported graph without its weights: operations, types of the policy, shape.
    pub graph_sha256: &'a str,
    /// Identity of the weights: the checkpoint's SHA-256, or `random seed N`.
    pub weights: &'a str,
    /// The model's name, for listings. It is not part of the key.
    pub model: &'a str,
    /// The precision policy. Its formats are part of the key. Its name is only for listings.
    pub policy: &'a PrecisionPolicy,
    /// Batch size and sequence length, e.g. `1x128`, or their ranges for dynamic shapes.
    pub extent: &'a str,
    /// The GPU that the engine is built for, e.g. `sm80`. An engine for "the GPU of this machine" must name that GPU
    /// here, because machines with different GPUs may share a home folder.
    pub target: &'a str,
    /// Library and version, e.g. `TensorRT-RTX 1.7.1`.
    pub library: &'a str,
    /// Builder options that can change the engine, by name.
    pub options: BTreeMap<String, String>,
}

/// The hashed parts, as stored in `entry.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Identity {
    format: u64,
    graph_sha256: String,
    weights: String,
    policy: PolicyFormats,
    pub(super) extent: String,
    pub(super) target: String,
    pub(super) library: String,
    options: BTreeMap<String, String>,
}

/// A precision policy without its name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFormats {
    classes: BTreeMap<OpClass, Rounding>,
    overrides: BTreeMap<String, Rounding>,
    layer_norm_reduction: ReductionOrder,
}

impl Identity {
    /// SHA-256 of the canonical JSON, 64 digits.
    pub(super) fn digest(&self) -> String {
        sha256(canonical(&json!(self)).as_bytes())
    }
}

/// The address of an engine in the cache. Equal parts give an equal key on every machine.
#[derive(Debug, Clone, PartialEq)]
pub struct EngineKey {
    pub(super) identity: Identity,
    pub(super) model: String,
    pub(super) policy: String,
    digest: String,
}

impl EngineKey {
    /// The key of an engine made of `parts`.
    pub fn new(parts: &KeyParts<'_>) -> Self {
        // There is no `..` here, so that a new field of a policy is not forgotten.
        let PrecisionPolicy { name, classes, overrides, layer_norm_reduction } = parts.policy;
        let identity = Identity {
            format: FORMAT,
            graph_sha256: parts.graph_sha256.to_owned(),
            weights: parts.weights.to_owned(),
            policy: PolicyFormats {
                classes: classes.clone(),
                overrides: overrides.clone(),
                layer_norm_reduction: *layer_norm_reduction,
            },
            extent: parts.extent.to_owned(),
            target: parts.target.to_owned(),
            library: parts.library.to_owned(),
            options: parts.options.clone(),
        };
        EngineKey { digest: identity.digest(), identity, model: parts.model.to_owned(), policy: name.clone() }
    }

    /// SHA-256 of the parts' canonical JSON, 64 hexadecimal digits. It names the entry's folder.
    pub fn digest(&self) -> &str {
        &self.digest
    }
}

/// The first digits of a key's digest, for display.
pub fn short(digest: &str) -> &str {
    digest.get(..SHORT_DIGITS).unwrap_or(digest)
}

/// Whether a file name has the form of a digest. The cache leaves every other file alone.
pub(super) fn is_digest(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Format, Preset};

    fn parts<'a>(policy: &'a PrecisionPolicy, extent: &'a str) -> KeyParts<'a> {
        KeyParts {
            graph_sha256: "00ff",
            weights: "random seed 1",
            model: "bert-tiny",
            policy,
            extent,
            target: "sm80",
            library: "TensorRT-RTX 1.7.1",
            options: BTreeMap::from([("workspace_bytes".to_owned(), "1073741824".to_owned())]),
        }
    }

    /// A key that differs from others by its extent.
    fn key(extent: &str) -> EngineKey {
        EngineKey::new(&parts(&PrecisionPolicy::preset(Preset::Hybrid), extent))
    }

    #[test]
    fn every_part_enters_the_key_and_the_names_do_not() {
        let hybrid = PrecisionPolicy::preset(Preset::Hybrid);
        let base = || parts(&hybrid, "1x128");
        let fp16 = PrecisionPolicy::preset(Preset::Fp16);
        let mut overridden = hybrid.clone();
        overridden.overrides.insert("layer.0/attention/softmax".to_owned(), Rounding::uniform(Format::Fp16));
        let divided = PrecisionPolicy { layer_norm_reduction: ReductionOrder::DivideFirst, ..hybrid.clone() };
        let variants = [
            base(),
            KeyParts { graph_sha256: "00fe", ..base() },
            KeyParts { weights: "random seed 2", ..base() },
            KeyParts { policy: &fp16, ..base() },
            KeyParts { policy: &overridden, ..base() },
            KeyParts { policy: &divided, ..base() },
            KeyParts { extent: "2x128", ..base() },
            KeyParts { target: "sm89", ..base() },
            KeyParts { library: "TensorRT-RTX 1.7.2", ..base() },
            KeyParts { options: BTreeMap::new(), ..base() },
        ];
        let mut digests: Vec<String> = variants.iter().map(|parts| EngineKey::new(parts).digest).collect();
        digests.sort();
        digests.dedup();
        assert_eq!(digests.len(), variants.len());
        let renamed = PrecisionPolicy { name: "mine".to_owned(), ..hybrid.clone() };
        let same = EngineKey::new(&KeyParts { model: "other", policy: &renamed, ..base() });
        assert_eq!(same.digest, EngineKey::new(&base()).digest);
    }

    /// Computed by an independent program (Python's json.dumps with sorted keys, and hashlib). A change here orphans
    /// every cached engine. Raise `FORMAT` only deliberately.
    #[test]
    fn keys_do_not_change() {
        let bare = PrecisionPolicy {
            name: "bare".to_owned(),
            classes: BTreeMap::from([(OpClass::Softmax, Rounding::uniform(Format::Fp32))]),
            overrides: BTreeMap::new(),
            layer_norm_reduction: ReductionOrder::SumThenDivide,
        };
        assert_eq!(
            EngineKey::new(&parts(&bare, "1x128")).digest(),
            "2500b8ba1ae11c69601ab19e1a0e4887712ae2096d0aaea90b28be0ae25baaf4"
        );
    }

    #[test]
    fn digests_are_told_from_other_names() {
        assert!(is_digest(key("1x1").digest()));
        for name in ["", "lock", ".partial-x", &"A".repeat(64), &"a".repeat(63)] {
            assert!(!is_digest(name), "{name}");
        }
        assert_eq!(short(key("1x1").digest()).len(), SHORT_DIGITS);
    }
}

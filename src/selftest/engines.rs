//! Faults in cached engines.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::experiment::flip;
use super::{Mutation, Objection, Variant};
use crate::cache::{EngineCache, EngineKey, KeyParts, Lookup};
use crate::graph::{PrecisionPolicy, Preset};

pub(super) fn mutations() -> Vec<Mutation> {
    vec![Mutation::new("engine cache", "a flipped bit in a cached engine", damaged_engine)]
}

fn damaged_engine(folder: &Path, variant: Variant) -> Objection {
    let cache = EngineCache::open(&folder.join("engines"))?.with_limit(1 << 20);
    let policy = PrecisionPolicy::preset(Preset::Hybrid);
    let key = EngineKey::new(&KeyParts {
        graph_sha256: "00",
        weights: "random seed 1",
        model: "tiny",
        policy: &policy,
        extent: "1x8",
        target: "sm80",
        library: "selftest",
        options: BTreeMap::new(),
    });
    cache.store(&key, b"an engine", &Value::Null)?;
    if variant.is_mutated() {
        flip(&cache.folder().join(key.digest()).join("engine.bin"), 0)?;
    }
    Ok(match cache.lookup::<Value>(&key)? {
        Lookup::Hit(_) => None,
        Lookup::Miss => Some("the engine is gone".to_owned()),
        Lookup::Damaged { reason } => Some(reason),
    })
}

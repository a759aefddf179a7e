//! The engine cache: what comes out of it after files were damaged, mixed up, half-written or written at once, and the
//! commands that look at it.

mod commands;
mod faults;
mod limits;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mixprec::cache::{CachedEngine, EngineCache, EngineKey, KeyParts, Lookup, StoreOutcome};
use mixprec::graph::{PrecisionPolicy, Preset};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Nothing a test stores comes near it.
const LARGE: u64 = 1 << 40;

/// A cache in a folder of its own.
struct Fixture {
    root: TempDir,
    cache: EngineCache,
}

impl Fixture {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache = EngineCache::open(&root.path().join("engines")).unwrap().with_limit(LARGE);
        Fixture { root, cache }
    }

    fn folder(&self) -> &Path {
        self.cache.folder()
    }

    fn file(&self, key: &EngineKey, name: &str) -> PathBuf {
        self.folder().join(key.digest()).join(name)
    }

    /// Stores `engine` and expects it to be kept.
    fn store(&self, key: &EngineKey, engine: &[u8]) {
        assert!(matches!(self.cache.store(key, engine, &metadata()).unwrap(), StoreOutcome::Kept { .. }));
    }

    fn lookup(&self, key: &EngineKey) -> Lookup<CachedEngine<Value>> {
        self.cache.lookup(key).unwrap()
    }

    /// Expects the engine of `key` to be refused for this reason, then to be gone, then to be kept when stored anew.
    fn expect_damage(&self, key: &EngineKey, expected: &str) {
        match self.lookup(key) {
            Lookup::Damaged { reason } => assert!(reason.contains(expected), "`{expected}` is not in: {reason}"),
            other => panic!("{expected}: {other:?}"),
        }
        assert_eq!(self.lookup(key), Lookup::Miss);
        assert_eq!(self.names().iter().filter(|name| name.contains(key.digest())).count(), 0);
        self.store(key, b"built anew");
        assert_eq!(self.lookup(key), hit(b"built anew"));
    }

    /// What is in the folder.
    fn names(&self) -> Vec<String> {
        let entries = std::fs::read_dir(self.folder()).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "lock")
            .collect();
        names.sort();
        names
    }
}

/// A key that differs from others by its extent.
fn key(extent: &str) -> EngineKey {
    let policy = PrecisionPolicy::preset(Preset::Hybrid);
    EngineKey::new(&KeyParts {
        graph_sha256: "00ff",
        weights: "random seed 1",
        model: "bert-tiny",
        policy: &policy,
        extent,
        target: "sm80",
        library: "TensorRT-RTX 1.7.1",
        options: BTreeMap::new(),
    })
}

fn metadata() -> Value {
    json!({ "compile_s": 5.5, "flops_by_format": { "fp16": 12 } })
}

fn hit(engine: &[u8]) -> Lookup<CachedEngine<Value>> {
    Lookup::Hit(CachedEngine { engine: engine.to_vec(), metadata: metadata() })
}

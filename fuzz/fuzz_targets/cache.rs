//! `entry.json` of a cached engine, sealed again after it was tampered with: listed, verified and collected.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mixprec::cache::{EngineCache, GcLimits};
use mixprec::digest::{canonical, sha256};
use mixprec_fuzz::{put, scratch};
use serde_json::{Value, json};

fuzz_target!(|bytes: &[u8]| {
    let sealed = match serde_json::from_slice::<Value>(bytes) {
        Ok(entry) => json!({"sha256": sha256(canonical(&entry).as_bytes()), "entry": entry}).to_string().into_bytes(),
        Err(_) => bytes.to_vec(),
    };
    let key = match serde_json::from_slice::<Value>(bytes) {
        Ok(entry) => sha256(canonical(&entry["key"]).as_bytes()),
        Err(_) => sha256(bytes),
    };
    let outside = put("outside", b"not the cache's");
    put(&format!("cache/{key}/entry.json"), &sealed);
    put(&format!("cache/{key}/engine.bin"), b"engine");
    let cache = EngineCache::open(&scratch().join("cache")).expect("a cache");
    let _ = (cache.entries(), cache.verify());
    let limits = GcLimits { limit_bytes: Some(0), ..GcLimits::default() };
    cache.gc(&limits).expect("a collection");
    assert_eq!(std::fs::read(outside).ok().as_deref(), Some(&b"not the cache's"[..]));
    assert!(!scratch().join("cache").join(key).exists());
});

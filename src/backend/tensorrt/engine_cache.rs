//! An engine's entry in the cache: the engine, the layers that its inspector lists, and the device code compiled for it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io::{self, Write as _};

use super::build::{EngineRequest, SerialisedEngine, build_export};
use super::library::TensorRtLibrary;
use crate::backend::cuda::device::Device;
use crate::cache::{CacheError, CachedEngine, EngineCache, EngineKey, KeyParts, Lookup, StoreOutcome};
use crate::digest::sha256;
use crate::engine::{BackendError, BuildReport};
use crate::onnx::Export;
use crate::terminal::printable_line;

/// Name of the file with the layers that the engine's inspector lists.
const LAYERS_FILE: &str = "layers.json";

/// The cache entry of the engine of one request, for one device.
#[derive(Debug)]
pub(super) struct CacheEntry {
    cache: EngineCache,
    key: EngineKey,
    /// Name of the file of compiled device code, a different one for every GPU and driver.
    code_file: String,
}

/// Digits of a GPU's digest in a file name.
const GPU_DIGITS: usize = 16;

impl CacheEntry {
    /// The engine of `request`, whose graph is `export`: from the cache and verified, or built and stored there. If the cache
    /// fails, a line on standard error says so, and the engine is built without it.
    ///
    /// # Errors
    /// [`BackendError`] of the build.
    pub fn obtain(
        library: &'static TensorRtLibrary,
        device: &Device,
        request: &EngineRequest<'_>,
        export: &Export<'_>,
    ) -> Result<(SerialisedEngine, BuildReport, Option<CacheEntry>), BackendError> {
        let cache_entry = CacheEntry::open(library, device, request, &export.digest()).map_err(note).ok();
        if let Some((engine, report)) = cache_entry.as_ref().and_then(CacheEntry::find) {
            return Ok((engine, report, cache_entry));
        }
        let (engine, report) = build_export(library, request, export)?;
        if let Some(cache_entry) = &cache_entry {
            cache_entry.noted(cache_entry.cache.store(&cache_entry.key, &engine, &report));
        }
        Ok((engine, report, cache_entry))
    }

    fn open(
        library: &TensorRtLibrary,
        device: &Device,
        request: &EngineRequest<'_>,
        graph_sha256: &str,
    ) -> Result<CacheEntry, CacheError> {
        let gpu = device.identity();
        let extent = format!("{}x{}", request.extent.batch(), request.extent.sequence());
        let target = library.binding.target_identity(request.target, &device.describe());
        let key = EngineKey::new(&KeyParts {
            graph_sha256,
            weights: &request.model.weights_identity(),
            model: &request.model.name,
            policy: request.policy,
            extent: &extent,
            target: &target,
            library: &library.version,
            options: identity(library, request),
        });
        let code_file = format!("runtime-{}.bin", &sha256(gpu.as_bytes())[..GPU_DIGITS]);
        Ok(CacheEntry { cache: EngineCache::open(&EngineCache::default_folder())?, key, code_file })
    }

    fn find(&self) -> Option<(SerialisedEngine, BuildReport)> {
        let found = self.usable(self.cache.lookup::<BuildReport>(&self.key))?;
        let CachedEngine { engine, metadata } = found;
        Some((engine.into(), BuildReport { engine_cached: Some(true), ..metadata }))
    }

    /// Device code that an earlier process compiled on the same kind of GPU.
    pub fn code(&self) -> Option<Vec<u8>> {
        self.usable(self.cache.attached(&self.key, &self.code_file))
    }

    /// Stores device code for the next process.
    pub fn keep_code(&self, code: &[u8]) {
        self.noted(self.cache.attach(&self.key, &self.code_file, code));
    }

    /// Stores the layers that the inspector lists.
    pub fn keep_layers(&self, json: &str) {
        self.noted(self.cache.attach(&self.key, LAYERS_FILE, json.as_bytes()));
    }

    /// The result of a lookup, if it was found undamaged.
    fn usable<T>(&self, found: Result<Lookup<T>, CacheError>) -> Option<T> {
        match found.map_err(note).ok()? {
            Lookup::Hit(found) => Some(found),
            Lookup::Miss => None,
            Lookup::Damaged { reason } => {
                note(format_args!("{}, built anew: {reason}", self.cache.folder().join(self.key.digest()).display()));
                None
            }
        }
    }

    fn noted(&self, stored: Result<StoreOutcome, CacheError>) {
        match stored {
            Ok(StoreOutcome::Kept { .. }) => {}
            Ok(StoreOutcome::NotKept { reason }) => note(reason),
            Err(error) => note(error),
        }
    }
}

/// The builder's settings and the digests of its files: an engine of other bytes under the same version is another.
fn identity(library: &TensorRtLibrary, request: &EngineRequest<'_>) -> BTreeMap<String, String> {
    let mut identity = request.settings(library);
    identity.extend(library.digests().clone());
    identity
}

/// Writes a line to standard error; if that is closed, the line is lost.
fn note(reason: impl Display) {
    let _ = writeln!(io::stderr(), "{}", printable_line(&format!("engine cache: {reason}")));
}

//! Device code that TensorRT-RTX compiles when an execution context is created. It is kept for later processes.

use std::rc::Rc;
use std::sync::Arc;

use trtx::{CudaEngine, ExecutionContext, RuntimeCache, RuntimeConfig};

/// An execution context and the objects that must outlive it.
pub(super) struct EngineContext {
    /// Dropped first.
    pub context: ExecutionContext<'static>,
    // `ExecutionContext` drops its own handle to the configuration before itself.
    _config: Rc<RuntimeConfig<'static>>,
    cache: Arc<RuntimeCache>,
    /// Whether device code of an earlier process is used.
    pub precompiled: bool,
}

impl EngineContext {
    /// Creates the context of an engine; `code` is what [`EngineContext::compiled`] returned in an earlier process. The
    /// library compares it with the GPU, the driver and its own version, and ignores it if they differ.
    ///
    /// # Errors
    /// Those of the library.
    pub fn create(engine: &mut CudaEngine<'static>, code: Option<&[u8]>) -> trtx::Result<EngineContext> {
        let mut config = engine.create_runtime_config()?;
        let cache = Arc::new(config.create_runtime_cache()?);
        let precompiled = code.is_some_and(|code| cache.deserialize(code).is_ok());
        config.set_runtime_cache(Arc::clone(&cache))?;
        let config = Rc::new(config);
        let context = engine.create_execution_context_with_config(Rc::clone(&config))?;
        Ok(EngineContext { context, _config: config, cache, precompiled })
    }

    /// The code compiled so far, for the next process on the same kind of GPU.
    ///
    /// # Errors
    /// Those of the library.
    pub fn compiled(&self) -> trtx::Result<Vec<u8>> {
        Ok(self.cache.serialize()?.to_vec())
    }
}

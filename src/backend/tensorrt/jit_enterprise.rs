//! TensorRT for data-centre GPUs compiles device code while it builds, so there is nothing to keep besides the engine.

use trtx::{CudaEngine, ExecutionContext};

/// An execution context.
pub(super) struct EngineContext {
    /// The context.
    pub context: ExecutionContext<'static>,
    /// Whether device code of an earlier process is used: never.
    pub precompiled: bool,
}

impl EngineContext {
    /// Creates the context of an engine.
    ///
    /// # Errors
    /// Those of the library.
    pub fn create(engine: &mut CudaEngine<'static>, _code: Option<&[u8]>) -> trtx::Result<EngineContext> {
        Ok(EngineContext { context: engine.create_execution_context()?, precompiled: false })
    }

    /// No code.
    ///
    /// # Errors
    /// None; the signature is that of TensorRT-RTX.
    pub fn compiled(&self) -> trtx::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

//! TensorRT for data-centre GPUs compiles device code while it builds: there is nothing to keep beside the engine.

use trtx::{CudaEngine, ExecutionContext};

/// An execution context.
pub(super) struct EngineContext {
    /// The context.
    pub context: ExecutionContext<'static>,
    /// Compiled code of an earlier process has been used: never.
    pub precompiled: bool,
}

impl EngineContext {
    /// Creates the context of an engine.
    ///
    /// # Errors
    /// The library's.
    pub fn create(engine: &mut CudaEngine<'static>, _code: Option<&[u8]>) -> trtx::Result<EngineContext> {
        Ok(EngineContext { context: engine.create_execution_context()?, precompiled: false })
    }

    /// Nothing.
    ///
    /// # Errors
    /// None; the signature is the one of TensorRT-RTX.
    pub fn compiled(&self) -> trtx::Result<Option<Vec<u8>>> {
        Ok(None)
    }
}

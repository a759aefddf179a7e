//! How a pass is started.

use cudarc::driver::CudaGraph;

/// How a pass is started.
pub(super) enum Launch {
    /// The graph that was captured.
    Graph(CudaGraph),
    /// Kernel by kernel: not captured yet, or it could not be.
    Eager,
}

impl Launch {
    /// As a row's description has it.
    pub fn describe(&self) -> &'static str {
        match self {
            Launch::Graph(_) => "CUDA graph",
            Launch::Eager => "no CUDA graph",
        }
    }
}

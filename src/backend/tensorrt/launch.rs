//! How a pass is started.

use cudarc::driver::CudaGraph;

/// How a pass is started.
pub(super) enum LaunchMode {
    /// The graph that was captured.
    Graph(CudaGraph),
    /// Kernel by kernel: not captured yet, or it could not be.
    Eager,
}

impl LaunchMode {
    /// As a row's description has it.
    pub fn describe(&self) -> &'static str {
        match self {
            LaunchMode::Graph(_) => "CUDA graph",
            LaunchMode::Eager => "no CUDA graph",
        }
    }
}

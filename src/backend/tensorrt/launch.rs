//! How a forward pass is started.

use cudarc::driver::CudaGraph;

/// How a forward pass is started.
pub(super) enum LaunchMode {
    /// As a captured CUDA graph.
    Graph(CudaGraph),
    /// Kernel by kernel: it was not captured yet, or cannot be.
    Eager,
}

impl LaunchMode {
    /// The words of a row's description.
    pub fn describe(&self) -> &'static str {
        match self {
            LaunchMode::Graph(_) => "CUDA graph",
            LaunchMode::Eager => "no CUDA graph",
        }
    }
}

//! TensorRT: engines built ahead of time from the exported graph, in a strongly typed network that is audited first.

mod ahead;
pub mod audit;
mod compile;
mod cuda_graph;
mod device;
mod execute;
mod inspect;
#[cfg_attr(feature = "tensorrt-enterprise", path = "jit_enterprise.rs")]
mod jit;
mod library;
mod memory;
mod messages;
mod network;
mod progress;
#[cfg_attr(feature = "tensorrt-enterprise", path = "target_enterprise.rs")]
mod target;

pub use ahead::{AheadRequest, SerialisedEngine, build_ahead};
pub use compile::BuildOptions;
pub use inspect::Inspection;
pub use progress::Cancel;

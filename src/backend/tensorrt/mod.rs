//! TensorRT: engines built ahead of time from the exported graph, in a strongly typed network that is audited first.

pub mod audit;
mod backend;
mod build;
mod compile;
mod engine_cache;
mod execute;
mod folder;
mod inspect;
#[cfg_attr(feature = "tensorrt-enterprise", path = "jit_enterprise.rs")]
mod jit;
mod launch;
mod library;
mod memory;
mod messages;
mod network;
mod probe;
mod progress;
#[cfg_attr(feature = "tensorrt-enterprise", path = "target_enterprise.rs")]
mod target;

pub use backend::{TensorRtBackend, backend};
pub use build::{EngineRequest, SerialisedEngine, build_engine};
pub use compile::BuildOptions;
pub use folder::{BuiltEngine, EngineFolder, FolderError};
pub use inspect::{Inspection, inspect};
pub use progress::Cancel;

//! TensorRT and TensorRT-RTX: engines built ahead of time from the exported graph, in a network whose types are audited first.

pub mod audit;
mod backend;
mod binding;
mod build;
mod compile;
mod constraints;
mod engine_cache;
mod execute;
mod folder;
mod inspect;
mod io;
mod launch;
mod library;
mod memory;
mod messages;
mod progress;
mod rtx;
mod shim;
mod timing;
mod version;

pub use backend::{TensorRtBackend, backend};
pub use build::{EngineRequest, SerialisedEngine, build_engine};
pub use compile::BuildOptions;
pub use folder::{BuiltEngine, EngineFolder, FolderError};
pub use inspect::{Inspection, inspect};
pub use progress::Cancel;

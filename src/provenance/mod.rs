//! Provenance of a number: the build, the machine and the settings of its measurement.

pub mod arithmetic;
pub mod build;
pub mod drift;
pub mod environment;
pub mod gpu;
pub mod machine;
pub mod pin_digests;
pub mod variables;

pub use build::BuildInfo;
pub use drift::Drift;
pub use environment::{Environment, EnvironmentError};
pub use gpu::Gpu;
pub use machine::{Cpu, Host};

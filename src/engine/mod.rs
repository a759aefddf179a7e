//! The seam between the runner and the libraries that execute a graph.
//!
//! A backend builds engines. An engine binds inputs, enqueues work and returns its outputs. Neither has a clock: the
//! runner uses its own clock, and times a device through the engine's [`DeviceQueue`].

mod build;
pub(crate) mod checks;
mod error;
mod examination;
mod kind;
mod queue;
mod report;

use std::sync::Arc;

pub use build::{Availability, Build, BuildProgress, BuildReport, BuildRequest, ProgressSink, Target, UnknownTarget};
pub use error::BackendError;
pub use examination::{Examination, LayerNormTally, OpTally, TensorTally};
pub use kind::{BackendKind, DeviceKind};
pub use queue::{DeviceQueue, DeviceTimer};
pub use report::{Ceilings, EngineDescription, Launches, MemoryBreakdown, Output};

use crate::graph::PrecisionPolicy;
use crate::input::Batch;
use crate::model::Model;

/// An executable for one graph, policy and shape.
pub trait Engine {
    /// Copies a batch into the engine. Not timed.
    ///
    /// # Errors
    /// [`BackendError::Inputs`] when the batch does not have the engine's shape.
    fn bind(&mut self, batch: &Batch) -> Result<(), BackendError>;

    /// Starts one forward over the bound batch without waiting for it. This is the timed path.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn enqueue(&mut self) -> Result<(), BackendError>;

    /// Waits for all enqueued work. CPU engines have nothing to wait for.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn synchronize(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    /// The queue that receives the work of [`Engine::enqueue`], so that the runner can time it. `None` on a CPU.
    fn device_queue(&self) -> Option<&dyn DeviceQueue> {
        None
    }

    /// The outputs of the last forward, copied to the host. Not timed.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn outputs(&mut self) -> Result<Output, BackendError>;

    /// Runs one more forward over the bound batch and examines every tensor. [`Engine::outputs`] then returns its
    /// outputs. Where the library does not show its tensors, it executes nothing and returns `None`.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn examine(&mut self) -> Result<Option<Examination>, BackendError> {
        Ok(None)
    }

    /// Time of the first execution minus that of a later one, seconds, where the library compiles device code at run
    /// time. Known after the engine has executed.
    fn first_run_s(&self) -> Option<f64> {
        None
    }

    /// Highest rates of its device, where they have been measured.
    fn ceilings(&self) -> Option<Ceilings> {
        None
    }

    /// The kernels of a forward, where the engine knows them.
    fn launches(&self) -> Option<Launches> {
        None
    }

    /// The memory that it holds.
    fn memory(&self) -> MemoryBreakdown;

    /// Its description.
    fn describe(&self) -> EngineDescription;
}

/// A library that builds engines.
pub trait Backend {
    /// Its kind.
    fn kind(&self) -> BackendKind;

    /// Whether it can build and execute on this machine.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] with the reason and the cure when it can neither build nor execute.
    fn availability(&self) -> Result<Availability, BackendError>;

    /// Reads the model's weights in the policy's formats and keeps them for the next builds, so that loading is timed
    /// separately from building. Without this call, a build loads the weights itself.
    ///
    /// # Errors
    /// Any [`BackendError`].
    fn load(&self, model: &Arc<Model>, policy: &PrecisionPolicy) -> Result<(), BackendError> {
        let _ = (model, policy);
        Ok(())
    }

    /// Builds an engine. This may take minutes and is timed separately from execution. An engine that cannot be
    /// executed on this machine is no error: [`Build::engine`] has the reason.
    ///
    /// # Errors
    /// Any [`BackendError`]; the runner turns it into the row's reason.
    fn build(&self, request: &BuildRequest) -> Result<Build, BackendError>;
}

//! The seam between the runner and the libraries that execute a graph.
//!
//! A backend builds engines; an engine binds inputs, enqueues work and hands out its outputs. Neither owns a clock: the
//! runner reads its own, and times a device through the [`DeviceQueue`] that an engine lends it.

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
pub use report::{Ceilings, EngineDescription, MemoryBreakdown, Output};

use crate::graph::PrecisionPolicy;
use crate::input::Batch;
use crate::model::Model;

/// An executable for one graph, policy and shape.
pub trait Engine {
    /// Copies a batch in. Not timed.
    ///
    /// # Errors
    /// [`BackendError::Inputs`] when the batch is not of the engine's shape.
    fn bind(&mut self, batch: &Batch) -> Result<(), BackendError>;

    /// Starts one forward pass over the bound batch without waiting for it: the timed path.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn enqueue(&mut self) -> Result<(), BackendError>;

    /// Waits for everything enqueued. CPU engines have nothing to wait for.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn synchronize(&mut self) -> Result<(), BackendError> {
        Ok(())
    }

    /// The queue that [`Engine::enqueue`] puts its work on, for the runner to time it there. `None` on a CPU.
    fn device_queue(&self) -> Option<&dyn DeviceQueue> {
        None
    }

    /// The outputs of the last pass, copied to the host. Not timed.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn outputs(&mut self) -> Result<Output, BackendError>;

    /// One more pass over the bound batch, in which every tensor is looked at; [`Engine::outputs`] then has its outputs.
    /// `None` where the library does not show its tensors, and nothing is executed.
    ///
    /// # Errors
    /// [`BackendError::Execution`] with the library's message.
    fn examine(&mut self) -> Result<Option<Examination>, BackendError> {
        Ok(None)
    }

    /// What the first execution took beyond a later one, seconds, where the library compiles device code at run time;
    /// known once it has been executed.
    fn first_run_s(&self) -> Option<f64> {
        None
    }

    /// What its device can do at most, where that has been measured.
    fn ceilings(&self) -> Option<Ceilings> {
        None
    }

    /// What it holds.
    fn memory(&self) -> MemoryBreakdown;

    /// What it is.
    fn describe(&self) -> EngineDescription;
}

/// A library that builds engines.
pub trait Backend {
    /// Which one.
    fn kind(&self) -> BackendKind;

    /// Whether it can build and execute on this machine.
    ///
    /// # Errors
    /// [`BackendError::Unavailable`] with the reason and the cure when it can do neither.
    fn availability(&self) -> Result<Availability, BackendError>;

    /// Reads the model's weights in the policy's formats and keeps them for the engines built next, so that loading is
    /// timed apart from building. Building without it loads on demand.
    ///
    /// # Errors
    /// Any [`BackendError`].
    fn load(&self, model: &Arc<Model>, policy: &PrecisionPolicy) -> Result<(), BackendError> {
        let _ = (model, policy);
        Ok(())
    }

    /// Builds an engine. May take minutes; timed apart from execution. An engine that was built but cannot be executed
    /// on this machine is no error: [`Build::engine`] has the reason.
    ///
    /// # Errors
    /// Any [`BackendError`]; the runner turns it into the row's reason.
    fn build(&self, request: &BuildRequest) -> Result<Build, BackendError>;
}

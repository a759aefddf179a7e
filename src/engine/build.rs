//! What comes out of building an engine: the engine, where it can execute here, and an account of how it was made.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{BackendError, Engine};
use crate::graph::{Format, PrecisionPolicy, Shape};
use crate::model::Model;

/// The GPU generation an engine is built for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// The CUDA device of this machine.
    #[default]
    Current,
    /// Compute capability 8.0 (A100).
    Sm80,
    /// Compute capability 8.6 (RTX 30, A10).
    Sm86,
    /// Compute capability 8.9 (RTX 40, L4, L40).
    Sm89,
    /// Compute capability 12.0 (RTX 50).
    Sm120,
}

impl Target {
    /// Every target.
    pub const ALL: [Target; 5] = [Target::Current, Target::Sm80, Target::Sm86, Target::Sm89, Target::Sm120];

    /// The manifest spelling.
    pub fn name(self) -> &'static str {
        match self {
            Target::Current => "current",
            Target::Sm80 => "sm80",
            Target::Sm86 => "sm86",
            Target::Sm89 => "sm89",
            Target::Sm120 => "sm120",
        }
    }

    /// Major and minor compute capability; `None` for the device of this machine.
    pub fn compute_capability(self) -> Option<(u32, u32)> {
        match self {
            Target::Current => None,
            Target::Sm80 => Some((8, 0)),
            Target::Sm86 => Some((8, 6)),
            Target::Sm89 => Some((8, 9)),
            Target::Sm120 => Some((12, 0)),
        }
    }

    /// Whether its engines are for a device of this compute capability.
    pub fn is_for(self, capability: (u32, u32)) -> bool {
        self.compute_capability().is_none_or(|own| own == capability)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that is no [`Target`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is no target; targets are current, sm80, sm86, sm89 and sm120")]
pub struct UnknownTarget(String);

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        Target::ALL.into_iter().find(|target| target.name() == text).ok_or_else(|| UnknownTarget(text.to_owned()))
    }
}

/// What to build an engine for.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The model: its graph and where its weights are.
    pub model: Arc<Model>,
    /// Precision policy.
    pub policy: PrecisionPolicy,
    /// Batch size and padded sequence length.
    pub shape: Shape,
    /// CPU threads, where the backend uses them.
    pub threads: usize,
    /// The GPU generation to build for, where the backend builds ahead of time.
    pub target: Target,
    /// Who wants to know how far the build has come.
    pub progress: ProgressSink,
}

impl BuildRequest {
    /// A build for this machine that nobody watches.
    pub fn new(model: Arc<Model>, policy: PrecisionPolicy, shape: Shape, threads: usize) -> Self {
        BuildRequest { model, policy, shape, threads, target: Target::default(), progress: ProgressSink::default() }
    }
}

/// What a backend found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    /// The library, its version and its device or path.
    pub found: String,
    /// Why its engines cannot be executed here although they can be built; `None` when they can.
    pub builds_only: Option<String>,
}

impl Availability {
    /// A backend that builds and executes.
    pub fn executes(found: impl Into<String>) -> Self {
        Availability { found: found.into(), builds_only: None }
    }
}

/// How an engine was made. What a backend has no notion of stays `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BuildReport {
    /// Library and version that built it, for builders whose engines may be executed elsewhere.
    pub builder: Option<String>,
    /// The GPU generation it was built for.
    pub target: Option<Target>,
    /// Writing the graph for the library, seconds.
    pub export_s: Option<f64>,
    /// Reading it there, seconds.
    pub parse_s: Option<f64>,
    /// The builder's own time, seconds. Of a cached engine: when it was built.
    pub compile_s: Option<f64>,
    /// Size of the serialised engine, bytes.
    pub engine_bytes: Option<u64>,
    /// Its SHA-256, hexadecimal; of an engine that is never serialised, that of the list of its kernels and algorithms.
    pub engine_sha256: Option<String>,
    /// It came from the engine cache.
    pub engine_cached: Option<bool>,
    /// First execution less a later one, seconds: the device code that the library compiles at run time.
    pub first_run_s: Option<f64>,
    /// Floating-point operations by the format the library's network computes them in, read back from it.
    pub flops_by_format: BTreeMap<Format, u64>,
    /// Layers of the built engine as its inspector lists them.
    pub inspected_layers: Option<u64>,
}

/// The outcome of building.
pub struct Build {
    /// How it was made.
    pub report: BuildReport,
    /// The engine, or why it cannot be executed on this machine.
    pub engine: Result<Box<dyn Engine>, BackendError>,
}

impl Build {
    /// An engine of a backend that has nothing to tell about building.
    pub fn of(engine: impl Engine + 'static) -> Self {
        Build { report: BuildReport::default(), engine: Ok(Box::new(engine)) }
    }
}

/// How far a build has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildProgress {
    /// What the builder is doing, in its words.
    pub phase: String,
    /// Steps done.
    pub done: u64,
    /// Steps in all; 0 when unknown.
    pub total: u64,
}

/// Where a builder reports its progress, from whatever thread it works in.
#[derive(Clone, Default)]
pub struct ProgressSink(Option<Arc<dyn Fn(BuildProgress) + Send + Sync>>);

impl ProgressSink {
    /// Calls `report` for every step.
    pub fn new(report: impl Fn(BuildProgress) + Send + Sync + 'static) -> Self {
        ProgressSink(Some(Arc::new(report)))
    }

    /// Hands one report on; without a listener nothing happens.
    pub fn report(&self, progress: BuildProgress) {
        if let Some(report) = &self.0 {
            report(progress);
        }
    }
}

impl fmt::Debug for ProgressSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "ProgressSink(listener)" } else { "ProgressSink(none)" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_is_for_devices_of_its_target_and_the_current_one_for_whatever_is_here() {
        let takes = |capability| Target::ALL.into_iter().filter(|target| target.is_for(capability)).collect::<Vec<_>>();
        assert_eq!(takes((8, 9)), [Target::Current, Target::Sm89]);
        assert_eq!(takes((9, 0)), [Target::Current]);
    }

    #[test]
    fn targets_are_parsed_by_name_and_others_refused_with_the_list() {
        for target in Target::ALL {
            assert_eq!(target.name().parse(), Ok(target));
        }
        let error = Target::from_str("sm90").map_err(|error| error.to_string());
        assert_eq!(error, Err("`sm90` is no target; targets are current, sm80, sm86, sm89 and sm120".to_owned()));
    }
}

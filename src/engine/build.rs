//! The result of building an engine: the engine, if it can execute here, and a report on the build.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{BackendError, Engine};
use crate::graph::{Format, PrecisionPolicy, Shape};
use crate::model::Model;

/// The GPU generation that an engine is built for.
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

    /// Whether its engines run on a device of this compute capability.
    pub fn is_for(self, capability: (u32, u32)) -> bool {
        self.compute_capability().is_none_or(|own| own == capability)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A word that names no [`Target`].
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is no target; targets are current, sm80, sm86, sm89 and sm120")]
pub struct UnknownTarget(String);

impl FromStr for Target {
    type Err = UnknownTarget;

    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        Target::ALL.into_iter().find(|target| target.name() == text).ok_or_else(|| UnknownTarget(text.to_owned()))
    }
}

/// What to build.
#[derive(Debug, Clone)]
pub struct BuildRequest {
    /// The model, with its graph and the location of its weights.
    pub model: Arc<Model>,
    /// Precision policy.
    pub policy: PrecisionPolicy,
    /// Batch size and padded sequence length.
    pub shape: Shape,
    /// CPU threads, where the backend uses them.
    pub threads: usize,
    /// Whether each of these threads stays on a processor of its own, where the backend can ask for it.
    pub pinned: bool,
    /// The GPU generation to build for, where the backend builds ahead of time.
    pub target: Target,
    /// Whether rows may be shorter than the shape's. An engine for full rows alone needs no attention mask.
    pub padded: bool,
    /// Whether tokens may be of other types than 0.
    pub token_types: bool,
    /// Receiver of the build's progress.
    pub progress: ProgressSink,
}

impl BuildRequest {
    /// A build for this machine and for padded rows, without progress reports.
    pub fn new(model: Arc<Model>, policy: PrecisionPolicy, shape: Shape, threads: usize) -> Self {
        let (target, progress) = Default::default();
        BuildRequest {
            model,
            policy,
            shape,
            threads,
            pinned: false,
            target,
            padded: true,
            token_types: false,
            progress,
        }
    }
}

/// What a backend found on this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Availability {
    /// The library, its version, and its device or path.
    pub found: String,
    /// Why its engines can be built but not executed here; `None` when they can be executed.
    pub builds_only: Option<String>,
}

impl Availability {
    /// The availability of a backend that builds and executes here.
    pub fn executes(found: impl Into<String>) -> Self {
        Availability { found: found.into(), builds_only: None }
    }
}

/// Report on the build of an engine. A value that a backend does not have is `None`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct BuildReport {
    /// Library and version of the builder, where its engines may be executed elsewhere.
    pub builder: Option<String>,
    /// The GPU generation it was built for.
    pub target: Option<Target>,
    /// Time to export the graph for the library, seconds.
    pub export_s: Option<f64>,
    /// Time for the library to parse it, seconds.
    pub parse_s: Option<f64>,
    /// The builder's own time, seconds. For a cached engine, the time of its original build.
    pub compile_s: Option<f64>,
    /// Size of the serialised engine, bytes.
    pub engine_bytes: Option<u64>,
    /// Its hexadecimal SHA-256. For an engine that is never serialised, the SHA-256 of the list of its kernels and
    /// algorithms.
    pub engine_sha256: Option<String>,
    /// Whether it came from the engine cache.
    pub engine_cached: Option<bool>,
    /// Time of the first execution minus that of a later one, seconds. The library compiles device code at run time.
    pub first_run_s: Option<f64>,
    /// Floating-point operations by the format in which the library's network computes them, read back from the
    /// network.
    pub flops_by_format: BTreeMap<Format, u64>,
    /// Further ones, which the builder of a weakly typed network is permitted to compute in FP16 and may compute in FP32.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub permitted_flops: u64,
    /// Number of layers of the built engine, as its inspector lists them.
    pub inspected_layers: Option<u64>,
    /// Where the built engine, as its inspector lists it, stores results in another format than the policy requests.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub engine_findings: Vec<String>,
    /// SHA-256 of the library's files, by their names, where it builds ahead of time.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub library_sha256: BTreeMap<String, String>,
    /// Settings of the builder.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub options: BTreeMap<String, String>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// The result of a build.
pub struct Build {
    /// How it was made.
    pub report: BuildReport,
    /// The engine, or the error why it cannot be executed on this machine.
    pub engine: Result<Box<dyn Engine>, BackendError>,
}

impl Build {
    /// A build without a report.
    pub fn of(engine: impl Engine + 'static) -> Self {
        Build { report: BuildReport::default(), engine: Ok(Box::new(engine)) }
    }
}

/// Progress of a build.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildProgress {
    /// The current phase, in the builder's words.
    pub phase: String,
    /// Steps done.
    pub done: u64,
    /// Total steps; 0 when unknown.
    pub total: u64,
}

/// A sink to which a builder reports its progress, from any thread.
#[derive(Clone, Default)]
pub struct ProgressSink(Option<Arc<dyn Fn(BuildProgress) + Send + Sync>>);

impl ProgressSink {
    /// A sink that calls `report` for every step.
    pub fn new(report: impl Fn(BuildProgress) + Send + Sync + 'static) -> Self {
        ProgressSink(Some(Arc::new(report)))
    }

    /// Passes a report on. Does nothing without a listener.
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

//! From an ONNX model to a serialised engine: parse, audit, build.

use std::collections::BTreeMap;
use std::mem::ManuallyDrop;
use std::time::Instant;

use trtx::host_memory::HostMemory;
use trtx::trtx_sys::nvinfer1::Dims64;
use trtx::{Builder, BuilderConfig, BuilderFlag, MemoryPoolType, OptProfileSelector, ProfilingVerbosity};

use super::audit::{Audit, Expectation, audit};
use super::library::{TensorRtLibrary, execution};
use super::network::{OnnxModel, layers, parse};
use super::progress::{Cancel, Monitor};
use super::target;
use crate::engine::{BackendError, ProgressSink, Target};
use crate::graph::{Format, Graph, PrecisionPolicy, Shape};
use crate::onnx::{ATTENTION_MASK, Extent, INPUT_IDS};

/// The builder's options besides the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuildOptions {
    /// Most device memory that a layer may use for scratch, bytes; `None` means the library's own limit.
    pub workspace_bytes: Option<u64>,
}

impl BuildOptions {
    /// All settings that decide what is built, for the engine's identity.
    pub fn describe(&self, policy: &PrecisionPolicy) -> BTreeMap<String, String> {
        let workspace = self.workspace_bytes.map_or_else(|| "library".to_owned(), |bytes| bytes.to_string());
        [
            ("profiling_verbosity", "detailed".to_owned()),
            ("strongly_typed", "true".to_owned()),
            ("tf32", uses_tf32(policy).to_string()),
            ("workspace_bytes", workspace),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }
}

/// Whether products may be computed in TF32: the builder has one flag for the whole network.
fn uses_tf32(policy: &PrecisionPolicy) -> bool {
    policy.classes.values().chain(policy.overrides.values()).any(|rounding| rounding.compute == Format::Tf32)
}

/// One engine to build.
#[derive(Debug)]
pub(super) struct Job<'a> {
    pub graph: &'a Graph,
    pub policy: &'a PrecisionPolicy,
    pub extent: Extent,
    /// Name of the network's output.
    pub output: &'a str,
    pub target: Target,
    pub options: BuildOptions,
    pub progress: ProgressSink,
    pub cancel: Cancel,
}

/// A serialised engine, with its audit and the durations of its build.
#[derive(Debug)]
pub(super) struct Compiled {
    /// The engine, in the library's memory.
    pub engine: HostMemory<'static>,
    pub audit: Audit,
    pub parse_s: f64,
    pub compile_s: f64,
}

/// Parses, audits and builds. Nothing is built if the audit finds a network other than the one the policy requests. On
/// return, everything that the library holds besides the engine is freed.
///
/// # Errors
/// [`BackendError`] with the audit's finding or the library's own words.
pub(super) fn compile(
    library: &'static TensorRtLibrary,
    source: OnnxModel,
    job: &Job<'_>,
) -> Result<Compiled, BackendError> {
    let mut builder = library.call(|| Builder::new(library.logger()))?;
    let start = Instant::now();
    let mut parser = parse(library, &mut builder, source)?;
    let layers = layers(parser.network())?;
    let parse_s = start.elapsed().as_secs_f64();
    let mut config = library.call(|| configure(&mut builder, job))?;
    let expected = Expectation {
        graph: job.graph,
        policy: job.policy,
        output: job.output,
        shape: job.extent.largest(),
        tf32: config.flag(BuilderFlag::kTF32),
    };
    let audit = audit(&layers, expected).map_err(|error| execution(error.to_string()))?;
    let start = Instant::now();
    let engine = library.call(|| builder.build_serialized_network(parser.network_mut(), &mut config));
    let compile_s = start.elapsed().as_secs_f64();
    match engine {
        Ok(engine) => Ok(Compiled { engine, audit, parse_s, compile_s }),
        Err(_) if job.cancel.is_cancelled() => Err(execution("the build was stopped".to_owned())),
        Err(error) => Err(error),
    }
}

fn configure(builder: &mut Builder<'static>, job: &Job<'_>) -> trtx::Result<BuilderConfig<'static>> {
    let mut config = builder.create_config()?;
    // The flag is on by default, which would compute every FP32 product in TF32.
    match uses_tf32(job.policy) {
        true => config.set_flag(BuilderFlag::kTF32),
        false => config.clear_flag(BuilderFlag::kTF32),
    }
    // With less, the inspector gives names only.
    config.set_profiling_verbosity(ProfilingVerbosity::kDETAILED);
    if let Some(bytes) = job.options.workspace_bytes {
        config.set_memory_pool_limit(MemoryPoolType::kWORKSPACE, usize::try_from(bytes).unwrap_or(usize::MAX));
    }
    target::set(&mut config, job.target)?;
    if let Extent::Dynamic { smallest, largest } = job.extent {
        add_profile(builder, &mut config, smallest, largest)?;
    }
    config.set_progress_monitor(Box::new(Monitor::new(job.progress.clone(), job.cancel.clone())))?;
    Ok(config)
}

/// Adds one profile for the whole range, tuned for its largest shape, whose time matters most.
fn add_profile(
    builder: &mut Builder<'static>,
    config: &mut BuilderConfig<'static>,
    smallest: Shape,
    largest: Shape,
) -> trtx::Result<()> {
    // The builder owns the profile, so the handle must not free it.
    let mut profile = ManuallyDrop::new(builder.creata_optimization_profile()?);
    for input in [INPUT_IDS, ATTENTION_MASK] {
        let bounds = [
            (OptProfileSelector::kMIN, smallest),
            (OptProfileSelector::kOPT, largest),
            (OptProfileSelector::kMAX, largest),
        ];
        for (selector, shape) in bounds {
            let dims = Dims64::new_2d(shape.batch as i64, shape.sequence as i64);
            profile.set_dimensions(input, selector, &dims)?;
        }
    }
    config.add_optimization_profile(&mut profile)?;
    Ok(())
}

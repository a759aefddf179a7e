//! From an ONNX model to a serialised engine: parse, set types, audit, build.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::audit::{Audit, Expectation, audit};
use super::binding::{BuiltNetwork, Constraints, LayerTypes, NetworkSettings, OnnxModel};
use super::constraints::constraints;
use super::library::{TensorRtLibrary, execution};
use super::progress::Cancel;
use super::timing::TimingCache;
use crate::engine::{BackendError, BuildProgress, ProgressSink, Target};
use crate::graph::{Format, Graph, PrecisionPolicy};
use crate::onnx::Extent;

/// The builder's options besides the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BuildOptions {
    /// Most device memory that a layer may use for scratch, bytes; `None` means the library's own limit.
    pub workspace_bytes: Option<u64>,
}

impl BuildOptions {
    /// All settings that decide what is built, for the engine's identity.
    /// `constraints` are those of a library whose networks are weakly typed.
    pub(super) fn describe(
        &self,
        policy: &PrecisionPolicy,
        constraints: Option<Constraints>,
    ) -> BTreeMap<String, String> {
        let workspace = self.workspace_bytes.map_or_else(|| "library".to_owned(), |bytes| bytes.to_string());
        let mut options = BTreeMap::from([
            ("profiling_verbosity", "detailed".to_owned()),
            ("strongly_typed", constraints.is_none().to_string()),
            ("tf32", uses_tf32(policy).to_string()),
            ("workspace_bytes", workspace),
        ]);
        if let Some(constraints) = constraints {
            options.insert("constraints", constraints.name().to_owned());
        }
        options.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }
}

/// Variable that chooses [`Constraints`] by name.
const CONSTRAINTS_VARIABLE: &str = "MIXPREC_TENSORRT_CONSTRAINTS";

impl Constraints {
    const ALL: [Constraints; 3] = [Constraints::Obeyed, Constraints::Preferred, Constraints::Wide];

    fn name(self) -> &'static str {
        match self {
            Constraints::Obeyed => "obey",
            Constraints::Preferred => "prefer",
            Constraints::Wide => "wide",
        }
    }

    /// Those that the variable names; the default where it is not set.
    ///
    /// # Errors
    /// A sentence with the names that there are.
    pub fn chosen() -> Result<Constraints, String> {
        let value = std::env::var_os(CONSTRAINTS_VARIABLE).unwrap_or_default();
        Constraints::named(&value.to_string_lossy())
    }

    fn named(name: &str) -> Result<Constraints, String> {
        let wrong = || {
            let names = Constraints::ALL.map(Constraints::name).join(", ");
            format!("{CONSTRAINTS_VARIABLE} is `{name}`: write one of {names}, or unset it")
        };
        match name {
            "" => Ok(Constraints::default()),
            name => Constraints::ALL.into_iter().find(|one| one.name() == name).ok_or_else(wrong),
        }
    }

    /// Whether a layer of these types is constrained. The builder may compute any other in FP16, as the policy requests.
    fn bind(self, types: LayerTypes) -> bool {
        self != Constraints::Wide || types.compute == Format::Fp32
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

/// Least time between two reports of a build that reports no steps of its own.
const TICK: Duration = Duration::from_secs(1);

/// A serialised engine, with its audit and the durations of its build.
pub(super) struct Compiled {
    /// The engine, in the library's memory.
    pub engine: Box<dyn AsRef<[u8]>>,
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
    let start = Instant::now();
    let mut network = library.call(|| library.binding.parse(source))?;
    let parse_s = start.elapsed().as_secs_f64();
    let timing = TimingCache::of(library);
    let settings = NetworkSettings {
        target: job.target,
        extent: job.extent,
        workspace_bytes: job.options.workspace_bytes,
        tf32: uses_tf32(job.policy),
        constraints: library.constraints,
        fp16: library.is_weakly_typed() && job.policy.formats().contains(&Format::Fp16),
        timing: timing.as_ref().and_then(TimingCache::read),
        progress: job.progress.clone(),
        cancel: job.cancel.clone(),
    };
    let constrained = settings.fp16.then_some(settings.constraints);
    let tf32 = library.call(|| network.configure(settings))?;
    let expected =
        Expectation { graph: job.graph, policy: job.policy, output: job.output, shape: job.extent.largest(), tf32 };
    let layers = library.call(|| {
        let Some(constrained) = constrained else { return network.layers() };
        let types = constraints(&network.layers()?, expected).map_err(|error| error.to_string())?;
        let (bound, free): (Vec<_>, Vec<_>) = types.into_iter().partition(|(_, types)| constrained.bind(*types));
        bound.into_iter().for_each(|(layer, types)| network.constrain(layer, types));
        let mut layers = network.layers()?;
        free.into_iter().for_each(|(layer, types)| layers[layer].permit(types));
        Ok(layers)
    })?;
    let audit = audit(&layers, expected).map_err(|error| execution(error.to_string()))?;
    let start = Instant::now();
    let built = library.call(|| match library.binding.reports_steps() {
        true => network.build(),
        false => ticking(&job.progress, TICK, || network.build()),
    });
    let compile_s = start.elapsed().as_secs_f64();
    match built {
        Ok(BuiltNetwork { engine, timing: timed }) => {
            if let (Some(timing), Some(timed)) = (timing, timed) {
                timing.write(&timed);
            }
            Ok(Compiled { engine, audit, parse_s, compile_s })
        }
        Err(_) if job.cancel.is_cancelled() => Err(execution("the build was stopped".to_owned())),
        Err(error) => Err(error),
    }
}

/// Calls `build` and reports the seconds meanwhile, for a builder that reports no steps.
fn ticking<T>(progress: &ProgressSink, interval: Duration, build: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let (done, ended) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            while ended.recv_timeout(interval) == Err(mpsc::RecvTimeoutError::Timeout) {
                let phase = format!("building for {} s", start.elapsed().as_secs());
                progress.report(BuildProgress { phase, done: 0, total: 0 });
            }
        });
        let built = build();
        drop(done);
        built
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[test]
    fn constraints_are_chosen_by_name_and_a_mistyped_name_is_no_choice() {
        assert_eq!(Constraints::named(""), Ok(Constraints::Wide));
        for one in Constraints::ALL {
            assert_eq!(Constraints::named(one.name()), Ok(one));
        }
        let error = Constraints::named("obeyed").unwrap_err();
        assert!(error.contains("`obeyed`: write one of obey, prefer, wide"), "{error}");
    }

    #[test]
    fn a_builder_that_reports_nothing_is_reported_until_it_is_done() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let steps = Arc::clone(&seen);
        let sink = ProgressSink::new(move |step: BuildProgress| steps.lock().unwrap().push(step.phase));
        let wait = || {
            while seen.lock().unwrap().is_empty() {
                std::thread::yield_now();
            }
            7
        };
        assert_eq!(ticking(&sink, Duration::from_millis(1), wait), 7);
        let reports = seen.lock().unwrap().len();
        std::thread::sleep(Duration::from_millis(5));
        assert_eq!(seen.lock().unwrap().len(), reports, "nothing is reported after its end");
        assert!(seen.lock().unwrap()[0].starts_with("building for "));
    }
}

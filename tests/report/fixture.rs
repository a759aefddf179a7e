//! Hand-made runs: a plan and records with a realistic spread, no measurement of ours.

use std::collections::BTreeMap;
use std::path::Path;

use mixprec::engine::{BackendKind, BuildReport, EngineDescription, MemoryBreakdown};
use mixprec::graph::CostSummary;
use mixprec::graph::{OpClass, PrecisionPolicy, Preset, Shape};
use mixprec::input::InputSource;
use mixprec::manifest::schema::{Measurement, Numerics};
use mixprec::model::Head;
use mixprec::model::{Architecture, ModelSource, WeightsOrigin};
use mixprec::plan::{Axes, Configuration, ConfigurationId, Excluded, Plan};
use mixprec::provenance::{BuildInfo, Cpu, Drift, Environment, Gpu, Host};
use mixprec::record::magnitudes::{MagnitudeKind, Magnitudes};
use mixprec::record::telemetry::Telemetry;
use mixprec::record::{
    BadKind, EngineMeasurements, Failure, FailureKind, FirstBad, ForwardSummary, NumericsSummary, Outcome,
    QualitySummary, Record, StopReason,
};
use mixprec::results::data::Data;
use mixprec::stats::scores::Answers;
use mixprec::store::derive;

/// One axis value per field; `series` pairs backends with presets.
pub struct Shapes<'a> {
    pub name: &'a str,
    pub models: &'a [&'a str],
    pub series: &'a [(BackendKind, Preset)],
    pub batches: &'a [usize],
    pub sequences: &'a [usize],
    pub inputs: &'a [&'a str],
}

/// The run of a laptop: the reference backend, everything but FP32 emulated.
pub const LAPTOP: Shapes = Shapes {
    name: "quick",
    models: &["bert-base", "a_b&c<script>"],
    series: &[
        (BackendKind::Reference, Preset::Fp32),
        (BackendKind::Reference, Preset::Fp16),
        (BackendKind::Reference, Preset::Hybrid),
    ],
    batches: &[1, 2],
    sequences: &[16, 32, 64],
    inputs: &["random"],
};

/// The run of a server with a GPU.
pub const SERVER: Shapes = Shapes {
    name: "paper",
    models: &["bert-base", "gpt2"],
    series: &[
        (BackendKind::Cuda, Preset::Fp32),
        (BackendKind::Cuda, Preset::Fp16),
        (BackendKind::Cuda, Preset::Bf16),
        (BackendKind::Cuda, Preset::Hybrid),
        (BackendKind::OnnxRuntime, Preset::Fp32),
    ],
    batches: &[1, 2, 4, 8, 16, 32],
    sequences: &[32, 64, 128, 256, 512],
    inputs: &["random"],
};

fn source(input: &str) -> InputSource {
    match input {
        "random" => InputSource::Random { seed: 1 },
        "random-separators" => InputSource::RandomWithSeparators { seed: 1 },
        "sst2" => InputSource::Sst2 { path: "dev.tsv".into(), sha256: None, labels: BTreeMap::new() },
        _ => InputSource::Text { path: "wiki.txt".into(), sha256: None },
    }
}

/// The plan of these axes.
pub fn plan(shapes: &Shapes) -> Plan {
    let mut configurations = Vec::new();
    for &model in shapes.models {
        for &(backend, preset) in shapes.series {
            for &sequence in shapes.sequences {
                for &batch in shapes.batches {
                    for &input in shapes.inputs {
                        configurations.push(Configuration {
                            head: Head::Natural,
                            id: ConfigurationId(format!("{:016x}", 0x5eed_0000 + configurations.len())),
                            backend,
                            model: model.to_owned(),
                            model_source: ModelSource::Random { seed: 1, architecture: Architecture::BertBase },
                            policy: PrecisionPolicy::preset(preset),
                            target: None,
                            shape: Shape { batch, sequence },
                            input: input.to_owned(),
                            input_source: source(input),
                        });
                    }
                }
            }
        }
    }
    let excluded = configurations.first().map(|configuration| Excluded {
        configuration: Configuration {
            backend: BackendKind::OnnxRuntime,
            policy: PrecisionPolicy::preset(Preset::Fp16),
            ..configuration.clone()
        },
        reason: "onnxruntime executes fp32 only (50 % of the \"grid\")".to_owned(),
    });
    Plan {
        name: shapes.name.to_owned(),
        question: "Do the claims hold on this machine?".to_owned(),
        manifest_sha256: "0123456789abcdef".repeat(4),
        base_dir: "experiments".into(),
        axes: Axes {
            models: shapes.models.len(),
            targets: 1,
            backends: shapes.series.len(),
            precisions: 3,
            batch_sizes: shapes.batches.len(),
            sequence_lengths: shapes.sequences.len(),
            inputs: shapes.inputs.len(),
        },
        configurations,
        excluded: excluded.into_iter().collect(),
        measurement: Measurement::default(),
        noise_floor: None,
        numerics: Numerics::default(),
        tolerances: BTreeMap::new(),
    }
}

/// Skewed like real latencies: most samples near the median, a tail above. The same on every host.
fn samples(median: f64, n: usize) -> Vec<f64> {
    let spread = |i: usize| ((i * 7919) % 101) as f64 / 101.0;
    (0..n).map(|i| median * (1.0 + 0.02 * (spread(i) - 0.5) + 0.05 * spread(i).powi(12))).collect()
}

pub fn median_ms(configuration: &Configuration) -> f64 {
    let tokens = configuration.shape.tokens() as f64;
    let speed = match (configuration.backend, configuration.policy.as_preset()) {
        (BackendKind::Cuda | BackendKind::TensorRt, Some(Preset::Fp32)) => 0.011,
        (BackendKind::Cuda | BackendKind::TensorRt, _) => 0.0059,
        (BackendKind::OnnxRuntime, _) => 0.25,
        (_, Some(Preset::Fp32)) => 1.1,
        _ => 2.6,
    };
    let on_gpu = matches!(configuration.backend, BackendKind::Cuda | BackendKind::TensorRt);
    let fixed = if on_gpu { 0.9 } else { 4.0 };
    fixed + speed * tokens * (1.0 + configuration.shape.sequence as f64 / 3000.0)
}

/// Whether the silent failure is in a run whose tensors are seen: there it breaks rows of every pass.
fn breaks(configuration: &Configuration) -> bool {
    let fp16 = configuration.policy.as_preset() == Some(Preset::Fp16);
    let reference = configuration.backend == BackendKind::Reference;
    fp16 && reference && configuration.model == "bert-base" && configuration.shape.sequence >= 64
}

/// Two dozen passes: full FP16 overflows in the odd model, and fails silently in the other's longest sequences. `cosine` is
/// the smallest of those that are defined.
fn passes(configuration: &Configuration, cosine: f64) -> ForwardSummary {
    let fp16 = configuration.policy.as_preset() == Some(Preset::Fp16);
    let odd = configuration.model != "bert-base";
    let nan = fp16 && odd && configuration.shape.sequence >= 32;
    let silent = fp16 && !odd && configuration.shape.sequence >= 64;
    let first = |op: &str, layer, kind, magnitude| {
        Some(FirstBad { forward: 2, op: op.to_owned(), layer, kind, magnitude: Some(magnitude) })
    };
    let nan_forwards = match (nan, configuration.input.as_str()) {
        (false, _) => 0,
        (true, "random") => 4,
        (true, _) => 20,
    };
    let broken_forwards = if breaks(configuration) { 24 } else { 0 };
    ForwardSummary {
        forwards: 24,
        nan_forwards,
        compared_rows: Some(24 * 64),
        broken_rows: Some(40 * broken_forwards),
        broken_forwards: Some(broken_forwards),
        failed_forwards: Some(nan_forwards + broken_forwards),
        cosine_min: (!nan).then_some(cosine),
        inf_forwards: 0,
        silent_forwards: (configuration.backend == BackendKind::Reference).then_some(if silent { 24 } else { 0 }),
        silent_rows: (configuration.backend == BackendKind::Reference).then_some(if silent { 96 } else { 0 }),
        layer_norm_rows: (configuration.backend == BackendKind::Reference).then_some(24 * 25 * 64),
        first_bad: match (nan, silent) {
            (true, _) => first("layer.3/mlp/fc2", Some(3), BadKind::Inf, 812.5),
            (_, true) => first("embeddings/layer_norm", None, BadKind::Silent, 259.75),
            _ => None,
        },
        magnitudes: (configuration.policy.as_preset() == Some(Preset::Fp32)
            && configuration.backend == BackendKind::Reference)
            .then(|| magnitudes(odd, configuration.input == "random")),
    }
}

/// Of two layers, from comfortable to beyond FP16. Text has larger deviations than random ids.
fn magnitudes(odd: bool, random: bool) -> Magnitudes {
    let mut all = Magnitudes::default();
    all.raise(None, MagnitudeKind::Output(OpClass::Embedding), 1.25);
    all.raise_deviation("embeddings/layer_norm", 2.0);
    for layer in 0..2 {
        let scale = if odd { 40.0 } else { 1.0 } * (layer + 1) as f64;
        all.raise(Some(layer), MagnitudeKind::Output(OpClass::LayerNorm), 16.0 * scale);
        all.raise(Some(layer), MagnitudeKind::SquareSum, 20_000.0 * scale);
        all.raise(Some(layer), MagnitudeKind::Output(OpClass::Residual), 300.0 * scale);
        for (block, deviation) in [("attention", 10.0), ("mlp", if random { 90.0 } else { 400.0 })] {
            all.raise_deviation(&format!("layer.{layer}/{block}/layer_norm"), deviation * scale);
        }
    }
    all
}

fn numerics(configuration: &Configuration) -> NumericsSummary {
    let elements = configuration.shape.tokens() as u64 * 768;
    let step = configuration.shape.sequence as f64 * 1e-9;
    let agreeing = |cosine: f64, error: f64| NumericsSummary {
        output_elements: elements,
        compared_rows: configuration.shape.tokens() as u64,
        broken_rows: Some(0),
        cosine_min: Some(cosine),
        cosine_mean: Some(1.0 - (1.0 - cosine) / 3.0),
        max_abs: Some(error),
        relative_l2: Some(error / 20.0),
        within_tolerance: Some(true),
        forwards: Some(passes(configuration, cosine)),
        ..NumericsSummary::default()
    };
    match configuration.policy.as_preset() {
        Some(Preset::Fp32) => agreeing(1.0, 0.0),
        Some(Preset::Fp16) if configuration.model != "bert-base" && configuration.shape.sequence >= 32 => {
            NumericsSummary {
                nan_count: elements / if configuration.input == "random" { 40 } else { 8 },
                cosine_min: None,
                cosine_mean: None,
                max_abs: None,
                relative_l2: None,
                within_tolerance: Some(false),
                remark: Some("the output holds NaN".to_owned()),
                ..agreeing(0.0, 0.0)
            }
        }
        Some(Preset::Fp16) if breaks(configuration) => NumericsSummary {
            broken_rows: Some(40 * configuration.shape.batch as u64),
            relative_l2: Some(0.91),
            ..agreeing(0.0782, 8.4)
        },
        Some(Preset::Fp16) => agreeing(0.999_97 - step, 0.021),
        Some(Preset::Bf16) => agreeing(0.999_2 - step, 0.09),
        _ => agreeing(0.999_995 - step, 0.004),
    }
}

fn quality(configuration: &Configuration) -> QualitySummary {
    if configuration.input != "sst2" {
        return QualitySummary::default();
    }
    let answer = |i: u32| (i + 1) % 2;
    // 765 answers are right; hybrid gets one of them wrong.
    let mut rows: Vec<(Option<u32>, u32)> =
        (0..872).map(|i| (Some(answer(i)), if i < 765 { answer(i) } else { 1 - answer(i) })).collect();
    let hybrid = configuration.policy.as_preset() == Some(Preset::Hybrid);
    if hybrid {
        rows[3].0 = Some(1);
    }
    let answers = Answers::Classes { of: 2, positive: 1, rows };
    QualitySummary {
        task_correct: Some(if hybrid { 764 } else { 765 }),
        task_total: Some(872),
        scores: answers.estimates(1),
        answers: Some(answers),
        ..QualitySummary::default()
    }
}

/// A measurement of a configuration.
pub fn measured(configuration: &Configuration) -> EngineMeasurements {
    let half = configuration.policy.as_preset() != Some(Preset::Fp32);
    let gpu = configuration.backend == BackendKind::Cuda;
    let bytes = |full: u64| if half { full / 2 } else { full };
    let activations = configuration.shape.tokens() as u64 * 300_000;
    EngineMeasurements {
        samples_ms: samples(median_ms(configuration), if gpu { 700 } else { 15 }),
        samples_of_processes: Vec::new(),
        device_samples_ms: vec![],
        end_to_end_ms: vec![],
        sustained: None,
        telemetry: Telemetry::default(),
        warmup: 3,
        stop_reason: StopReason::TargetPrecision,
        load_s: 0.8,
        build_s: 0.05,
        ceilings: None,
        memory: MemoryBreakdown {
            weights_bytes: Some(bytes(437_935_104)),
            activations_bytes: Some(bytes(activations / 8)),
            workspace_bytes: Some(4 << 20),
            device_bytes: None,
        },
        build: BuildReport::default(),
        process_peak_bytes: Some(612_000_000 + activations),
        cost: CostSummary {
            flops: configuration.shape.tokens() as u64 * 170_000_000,
            policy_weights_bytes: bytes(437_935_104),
            policy_activations_bytes: bytes(activations),
            parameters: 109_483_776,
            compulsory_bytes: None,
        },
        aa_test: super::study::aa_test(configuration),
        numerics: numerics(configuration),
        quality: quality(configuration),
        engine: EngineDescription {
            library: format!("{} 0.1.0", configuration.backend),
            device: "CPU".to_owned(),
            threads: (!gpu).then_some(2),
            emulated: half && configuration.backend == BackendKind::Reference,
        },
        model_provenance: "random weights, seed 1".to_owned(),
        weights: Some(WeightsOrigin::Random { seed: 1 }.into()),
        materials: None,
        output: None,
        drift: Some(drift(configuration)),
    }
}

/// ONNX Runtime is another one than the pinned; everything else is as it should be.
fn drift(configuration: &Configuration) -> Vec<Drift> {
    if configuration.backend != BackendKind::OnnxRuntime {
        return vec![];
    }
    vec![Drift {
        pin: "libonnxruntime.so.1.32.0".to_owned(),
        found: "sha256 0123456789ab".to_owned(),
        pinned: "1.32.0, sha256 6c1585d1bbf4".to_owned(),
    }]
}

/// A record per configuration, all measured.
pub fn records(plan: &Plan, environment: &str) -> Vec<Record> {
    let record = |configuration: &Configuration| Record {
        id: configuration.id.clone(),
        environment: environment.to_owned(),
        finished_unix_s: Some(1_764_000_000),
        wall_s: Some(if configuration.backend == BackendKind::Cuda { 4.5 } else { 12.0 }),
        gpu: None,
        outcome: Outcome::Ok(Box::new(measured(configuration))),
    };
    plan.configurations.iter().map(record).collect()
}

/// The laptop's records: one crash, one row that is still to come.
pub fn laptop_records(plan: &Plan) -> Vec<Record> {
    let mut records = records(plan, ENVIRONMENT);
    records[7].outcome = Outcome::Failed(Failure {
        kind: FailureKind::Crash,
        reason: "the worker died of signal 11 (SIGSEGV) & left <no> message_".to_owned(),
        files: None,
        libraries: None,
    });
    records.pop();
    records
}

/// Name of the fixtures' environment.
pub const ENVIRONMENT: &str = "feedfacecafebeef";

/// A machine.
pub fn environment(gpus: &[&str]) -> Environment {
    let gpu = |name: &&str| Gpu {
        name: (*name).to_owned(),
        uuid: None,
        compute_capability: Some((8, 0)),
        memory_bytes: Some(80 << 30),
        driver: Some("580.65.06".to_owned()),
        sm_clock_max_mhz: None,
        memory_clock_max_mhz: None,
        power_limit_w: None,
        persistence_mode: None,
        mig_mode: None,
    };
    Environment {
        build: BuildInfo {
            version: "0.1.0".to_owned(),
            commit: Some("0123456789abcdef0123456789abcdef01234567".to_owned()),
            dirty: Some(false),
            rustc: Some("rustc 1.89.0".to_owned()),
            target: Some("x86_64-unknown-linux-gnu".to_owned()),
            target_features: vec!["sse2".to_owned()],
        },
        machine: Host {
            cpu: Cpu {
                model: Some("Example CPU @ 2.0GHz".to_owned()),
                architecture: "x86_64".to_owned(),
                physical_cores: Some(2),
                logical_cpus: Some(4),
                usable_cpus: Some(2),
                features: vec!["avx2".to_owned(), "fma".to_owned()],
                governor: None,
                smt: Some(true),
            },
            memory_bytes: Some(8 << 30),
            memory_limit_bytes: None,
            os: "Example Linux 12".to_owned(),
            kernel: Some("6.1.0".to_owned()),
            libc: Some("glibc 2.36".to_owned()),
            container: None,
            virtual_machine: Some(false),
        },
        gpus: gpus.iter().map(gpu).collect(),
        libraries: vec![],
        variables: BTreeMap::from([("OMP_NUM_THREADS".to_owned(), "2".to_owned())]),
        manifest_sha256: None,
    }
}

/// A run as the report reads it.
pub fn data(plan: Plan, records: &[Record], gpus: &[&str]) -> Data {
    let rows = derive::derive(&plan, records);
    Data { plan, rows, environments: BTreeMap::from([(ENVIRONMENT.to_owned(), environment(gpus))]) }
}

/// The laptop's run.
pub fn laptop() -> Data {
    let plan = plan(&LAPTOP);
    let records = laptop_records(&plan);
    data(plan, &records, &[])
}

/// The server's run, all measured.
pub fn server() -> Data {
    let plan = plan(&SERVER);
    let records = records(&plan, ENVIRONMENT);
    data(plan, &records, &["NVIDIA A100-SXM4-80GB"])
}

/// Writes a run folder as the runner does.
pub fn write(dir: &Path, data: &Data, records: &[Record]) {
    std::fs::write(dir.join("plan.json"), serde_json::to_vec(&data.plan).unwrap()).unwrap();
    mixprec::store::parquet::write_results(dir, &data.rows).unwrap();
    mixprec::store::parquet::write_samples(dir, &derive::samples(&data.plan, records)).unwrap();
    for (id, environment) in &data.environments {
        let path = environment.write(dir).unwrap();
        std::fs::rename(&path, path.with_file_name(format!("{id}.json"))).unwrap();
    }
}

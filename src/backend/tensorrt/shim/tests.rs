//! The binding against a stand-in of the shim (tests/fixtures/tensorrt_shim.c), which fails in every way that TensorRT does.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::super::audit::Audit;
use super::super::binding::OnnxModel;
use super::super::build::EngineRequest;
use super::super::compile::{BuildOptions, Compiled, Job, compile};
use super::super::library::TensorRtLibrary;
use super::super::memory::{Allocator, Ledger, Purpose};
use super::*;
use crate::engine::{BackendError, BuildProgress, MemoryBreakdown, ProgressSink};
use crate::graph::{PrecisionPolicy, Preset, Rounding, Shape};
use crate::model::{Architecture, Head, Model, ModelSource};
use crate::onnx::{Export, Extent};

const SHAPE: Shape = Shape { batch: 2, sequence: 8 };

/// The stand-in with a fault, compiled; `None`, with the reason printed, without a C compiler.
fn stand_in(fault: &str) -> Option<(TempDir, PathBuf)> {
    let folder = tempfile::tempdir().unwrap();
    let (root, path) = (Path::new(env!("CARGO_MANIFEST_DIR")), folder.path().join(SHIM_FILE));
    let mut compiler = Command::new("cc");
    compiler.args(["-std=gnu11", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror"]);
    compiler.arg(format!("-DFAULT=\"{fault}\"")).arg("-I").arg(root.join("src/backend/tensorrt/shim"));
    compiler.arg(root.join("tests/fixtures/tensorrt_shim.c")).arg("-o").arg(&path);
    match compiler.output() {
        Ok(output) if output.status.success() => Some((folder, path)),
        Ok(output) => panic!("{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => {
            crate::skip::skip(format_args!("no C compiler: {error}"));
            None
        }
    }
}

fn loaded(fault: &str) -> Option<Result<&'static TensorRtLibrary, String>> {
    let (_folder, shim) = stand_in(fault)?;
    let builder = PathBuf::from("/opt/tensorrt/lib/libnvinfer.so.8");
    let parser = builder.with_file_name("libnvonnxparser.so.8");
    let how = crate::libraries::How::Loader;
    let installation = Installation { major: 8, builder, parser, plugins: None, how };
    let messages = Messages::default();
    let library = Shim::open(&shim, installation, &messages).map(|shim| TensorRtLibrary::of_shim(shim, messages));
    Some(library.map(|library| &*Box::leak(Box::new(library))))
}

fn model() -> Model {
    let source = ModelSource::Random { seed: 3, architecture: Architecture::BertTiny };
    Model::open("tiny", &source, Path::new("."), Head::Natural).unwrap()
}

/// The layers that a parser makes of an export, as the stand-in reads them.
fn text_of_export(export: &Export<'_>) -> Vec<u8> {
    let line = |output: &crate::onnx::NodeOutput| {
        let layer = match output.operator.as_str() {
            "MatMul" => "MATRIX_MULTIPLY",
            "Softmax" => "SOFTMAX",
            "ReduceMean" => "REDUCE",
            "Gather" => "GATHER",
            "Where" => "SELECT",
            "Reshape" | "Transpose" => "SHUFFLE",
            "Split" | "Slice" => "SLICE",
            _ => "ELEMENTWISE",
        };
        format!("{} {layer} {}\n", output.node, output.tensor)
    };
    let floats = export.node_outputs().iter().filter(|output| output.element == DataType::Fp32);
    floats.map(line).collect::<String>().into_bytes()
}

type Steps = Arc<Mutex<Vec<BuildProgress>>>;

fn build(library: &'static TensorRtLibrary, preset: Preset) -> Result<(Compiled, Steps), BackendError> {
    build_policy(library, &PrecisionPolicy::preset(preset))
}

fn build_policy(
    library: &'static TensorRtLibrary,
    policy: &PrecisionPolicy,
) -> Result<(Compiled, Steps), BackendError> {
    let model = model();
    let request = EngineRequest::new(&model, policy, Extent::Static(SHAPE), Target::Current);
    let export = request.export(library)?;
    let steps = Steps::default();
    let seen = Arc::clone(&steps);
    let job = Job {
        graph: &model.graph,
        policy,
        extent: request.extent,
        output: export.output_name(),
        target: request.target,
        options: BuildOptions::default(),
        progress: ProgressSink::new(move |step| seen.lock().unwrap().push(step)),
        cancel: request.cancel.clone(),
    };
    compile(library, OnnxModel::Bytes(text_of_export(&export)), &job).map(|compiled| (compiled, steps))
}

#[test]
fn a_weakly_typed_network_is_given_the_types_of_its_policy_and_built() {
    let Some(library) = loaded("") else { return };
    let library = library.unwrap();
    assert_eq!(library.version, "TensorRT 8.6.99");
    let counted = |preset| model().graph.cost(&PrecisionPolicy::preset(preset), SHAPE).unwrap().flops;
    for (preset, engine) in [
        (Preset::Fp32, "engine without FP16"),
        (Preset::Tf32, "engine without FP16"),
        (Preset::Fp16, "engine with FP16"),
        (Preset::Hybrid, "engine with FP16, obeyed"),
    ] {
        let (compiled, steps) = build(library, preset).unwrap();
        assert_eq!((*compiled.engine).as_ref(), engine.as_bytes(), "{preset}");
        let Audit { flops_by_format, permitted_flops, .. } = compiled.audit;
        let required: u64 = flops_by_format.values().sum();
        assert_eq!(required + permitted_flops, counted(preset), "{preset}");
        // The builder is required to compute in FP32, and in nothing else.
        assert!(!flops_by_format.contains_key(&Format::Fp16), "{preset}: {flops_by_format:?}");
        assert_eq!(permitted_flops > 0, matches!(preset, Preset::Fp16 | Preset::Hybrid), "{preset}");
        assert_eq!(steps.lock().unwrap()[0], BuildProgress { phase: "kernels".to_owned(), done: 0, total: 2 });
    }
    let error = build(library, Preset::Bf16).err().unwrap();
    let expected = "tensorrt does not execute policy `bf16`: TensorRT 8.6.99 has no BF16";
    assert!(error.to_string().starts_with(expected), "{error}");
}

/// What a search leaves in FP32 is required of the builder layer by layer, and the audit counts it; a type that TensorRT does not
/// take is found.
#[test]
fn a_set_that_a_search_found_is_constrained_layer_by_layer_and_audited() {
    let Some(library) = loaded("") else { return };
    let mut found = PrecisionPolicy::preset(Preset::Fp16);
    found.name = "fp16-searched".to_owned();
    found.overrides.insert("layer.1/mlp/layer_norm".to_owned(), Rounding::uniform(Format::Fp32));
    let (compiled, _) = build_policy(library.unwrap(), &found).unwrap();
    assert_eq!((*compiled.engine).as_ref(), b"engine with FP16, obeyed");
    let graph = model().graph;
    let norm = graph.ops.iter().position(|op| op.name == "layer.1/mlp/layer_norm").unwrap();
    let counted: Vec<u64> = graph.costs(&found, SHAPE).unwrap().iter().map(|cost| cost.flops).collect();
    let Audit { flops_by_format, permitted_flops, .. } = compiled.audit;
    assert_eq!(flops_by_format, [(Format::Fp32, counted[norm])].into(), "the norm is required, and nothing else");
    assert_eq!(permitted_flops, counted.iter().sum::<u64>() - counted[norm]);
    found.overrides.insert("layer.0/attention/softmax".to_owned(), Rounding::uniform(Format::Fp32));
    let error = build_policy(loaded("types").unwrap().unwrap(), &found).err().unwrap().to_string();
    let expected = "precision audit: asked `fp16-searched`, got ";
    assert!(error.contains(expected) && error.contains("(layer.0/attention/softmax)"), "{error}");
}

#[test]
fn a_library_is_told_by_the_digests_of_its_files() {
    let Some((folder, shim)) = stand_in("") else { return };
    let file = |name: &str| folder.path().join(name);
    std::fs::write(file("libnvinfer.so.8"), "builder").unwrap();
    let (builder, parser) = (file("libnvinfer.so.8"), file("libnvonnxparser.so.8"));
    let how = crate::libraries::How::Loader;
    let installation = Installation { major: 8, builder, parser, plugins: None, how };
    let messages = Messages::default();
    let library =
        Shim::open(&shim, installation, &messages).map(|shim| TensorRtLibrary::of_shim(shim, messages)).unwrap();
    let digests: Vec<(&str, &str)> = library.digests().iter().map(|(file, digest)| (&**file, &**digest)).collect();
    let of_shim = crate::digest::sha256_file(&shim).unwrap();
    let of_builder = crate::digest::sha256(b"builder");
    // The parser is gone: nothing is said of it.
    assert_eq!(digests, [(SHIM_FILE, of_shim.as_str()), ("libnvinfer.so.8", of_builder.as_str())]);
    let options = library.options(&BuildOptions::default(), &PrecisionPolicy::preset(Preset::Fp16));
    assert_eq!(options.get("constraints").map(String::as_str), Some("wide"));
}

#[test]
fn every_failure_of_a_build_is_of_its_kind_and_in_the_librarys_words() {
    let failure = |fault| Some(build(loaded(fault)?.unwrap(), Preset::Hybrid).err().unwrap());
    let Some(refused) = failure("build") else { return };
    assert_eq!(refused.to_string(), "tensorrt failed: Could not find any implementation for node fc1");
    let memory = failure("memory").unwrap();
    assert!(matches!(memory, BackendError::OutOfMemory { .. }), "{memory}");
    let device = failure("device").unwrap();
    assert!(matches!(device, BackendError::DeviceLost { .. }), "{device}");
    let parser = failure("parse").unwrap().to_string();
    assert!(parser.contains("UNSUPPORTED_NODE: no importer"), "{parser}");
    let types = failure("types").unwrap().to_string();
    assert!(types.contains("precision audit: asked `hybrid`, got ") && types.contains("softmax"), "{types}");
}

#[test]
fn a_shim_or_a_library_that_does_not_fit_is_refused_with_the_cure() {
    let refusal = |fault| Some(loaded(fault)?.err().unwrap());
    let Some(interface) = refusal("interface") else { return };
    assert!(
        interface.ends_with("has interface 99, this program needs 1; compile it with container/setup.sh --tensorrt")
    );
    let headers = refusal("headers").unwrap();
    assert!(headers.contains("was compiled for TensorRT 10.6.1, and /opt/tensorrt/lib/libnvinfer.so.8 is 8.6.99"));
    let library = refusal("open").unwrap();
    assert!(library.starts_with("TensorRT cannot be loaded: libnvinfer.so.8: cannot open shared object file; install"));
}

#[test]
fn an_engine_is_loaded_bound_and_started_and_one_of_another_version_is_refused() {
    let Some(library) = loaded("") else { return };
    let library = library.unwrap();
    let load =
        |bytes: &[u8]| library.call(|| library.binding.load(bytes, Allocator::pretended(1 << 20, Ledger::default())));
    let refused = load(b"of 10.0").err().unwrap();
    assert!(matches!(refused, BackendError::Unavailable { .. }), "{refused}");
    let mut engine = load(b"engine").unwrap();
    let ids = engine.tensor("input_ids").unwrap();
    assert_eq!((ids.element, ids.elements), (Some(DataType::Int32), 16));
    assert!(engine.tensor("absent").is_err_and(|reason| reason.contains("no input or output `absent`")));
    assert!(engine.layers_json().unwrap().contains("Row major linear FP16"));
    engine.create_context(None).unwrap();
    // SAFETY: the stand-in touches neither the address nor the stream.
    unsafe {
        engine.set_address("input_ids", 0x1000).unwrap();
        assert!(engine.set_address("absent", 0x1000).is_err());
        engine.enqueue(std::ptr::dangling_mut()).unwrap();
        assert!(engine.enqueue(std::ptr::null_mut()).is_err());
    }
}

/// The stand-in asks for 4096 bytes when it is loaded, 512 for its context, and 64 in its first pass.
#[test]
fn what_the_library_allocates_is_entered_by_purpose_and_freed_with_the_engine() {
    let Some(library) = loaded("") else { return };
    let library = library.unwrap();
    let ledger = Ledger::default();
    let load =
        |largest| library.call(|| library.binding.load(b"engine", Allocator::pretended(largest, ledger.clone())));
    assert!(load(4095).is_err());
    assert_eq!(ledger.take_refused(), Some(4096));
    let mut engine = load(4096).unwrap();
    ledger.set_purpose(Purpose::Activations);
    engine.create_context(None).unwrap();
    ledger.set_purpose(Purpose::Workspace);
    for _ in 0..2 {
        // SAFETY: the stand-in touches no stream.
        unsafe { engine.enqueue(std::ptr::dangling_mut()).unwrap() };
    }
    let of = |memory: MemoryBreakdown| [memory.weights_bytes, memory.activations_bytes, memory.workspace_bytes];
    assert_eq!(of(ledger.breakdown()), [Some(4096), Some(512), Some(64)]);
    drop(engine);
    assert_eq!(of(ledger.breakdown()), [Some(0); 3]);
}

/// Types by layer need a device only to be timed; without one, the reason names what builds instead.
#[test]
fn only_this_machines_device_is_a_target() {
    let Some(library) = loaded("") else { return };
    let binding = &library.unwrap().binding;
    assert!(binding.buildable(Target::Current, None).is_err_and(|reason| reason.contains("TensorRT-RTX")));
    assert_eq!(binding.buildable(Target::Current, Some((9, 0))), Ok(()));
    assert_eq!(binding.buildable(Target::Sm80, Some((8, 0))), Ok(()));
    assert!(binding.buildable(Target::Sm89, Some((8, 0))).is_err_and(|reason| reason.contains("8.0, not for sm89")));
    assert_eq!(binding.target_identity(Target::Sm80, "NVIDIA A100"), "NVIDIA A100");
}

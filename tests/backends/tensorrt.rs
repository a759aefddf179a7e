//! TensorRT engines, really built: both models under every policy pass the audit. No GPU is needed. Without the
//! libraries (container/setup.sh --libraries) these tests are skipped, and say so.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use assert_cmd::Command;
use mixprec::backend::tensorrt::{EngineRequest, backend, build_engine};
use mixprec::engine::{BackendError, BuildReport, BuildRequest, Target};
use mixprec::graph::{Format, PrecisionPolicy, Preset, Shape};
use mixprec::model::{Architecture, ModelSource};
use mixprec::model::{Head, Model};
use mixprec::onnx::{DimensionRange, Extent};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fixtures::families::{case, cases};
use crate::fixtures::skip;

/// The policies of the paper's engine.
const POLICIES: [Preset; 4] = [Preset::Fp32, Preset::Fp16, Preset::Bf16, Preset::Hybrid];

/// Whether TensorRT-RTX is there and in use, which alone builds for other GPUs; where it is not, the reason is printed.
fn library_is_here() -> bool {
    match backend().unwrap().availability() {
        Ok(availability) if !availability.found.starts_with("TensorRT-RTX") => {
            skip(format_args!("{}, which builds for this machine's GPU", availability.found));
            false
        }
        Ok(_) => true,
        Err(reason) => {
            skip(reason);
            false
        }
    }
}

fn model(architecture: Architecture) -> Model {
    let source = ModelSource::Random { seed: 1, architecture };
    Model::open(architecture.name(), &source, Path::new("."), Head::Natural).unwrap()
}

fn extent(batch: usize, sequence: usize) -> Extent {
    Extent::Static(Shape { batch, sequence })
}

fn formats(report: &BuildReport) -> BTreeSet<Format> {
    report.flops_by_format.keys().copied().collect()
}

#[test]
fn tiny_models_are_built_under_every_policy_for_two_targets_and_no_two_engines_are_the_same() {
    if !library_is_here() {
        return;
    }
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
        let model = model(architecture);
        let mut digests = BTreeSet::new();
        for (target, preset) in [Target::Sm80, Target::Sm89].iter().flat_map(|t| Preset::ALL.map(|p| (*t, p))) {
            let policy = PrecisionPolicy::preset(preset);
            let request = EngineRequest::new(&model, &policy, extent(2, 16), target);
            let (engine, report) = build_engine(&request).unwrap();
            assert_eq!(report.engine_bytes, Some(engine.len() as u64));
            // The formats that the policy names for the ops of the graph, each of them and no other.
            let asked = model.graph.roundings(&policy).unwrap().into_iter().map(|rounding| rounding.compute).collect();
            assert_eq!(formats(&report), asked, "{preset}");
            let total: u64 = report.flops_by_format.values().sum();
            let counted = model.graph.cost(&policy, Shape { batch: 2, sequence: 16 }).unwrap().flops;
            assert_eq!(total, counted, "every operation is audited");
            digests.insert(report.engine_sha256.unwrap());
        }
        assert_eq!(digests.len(), 10, "policy and target decide the engine");
    }
}

/// One checkpoint of every family and of every function, in three policies; the audit refuses a build in other formats.
#[test]
fn every_family_and_activation_is_built_and_audited() {
    if !library_is_here() {
        return;
    }
    let heads = ["RobertaForSequenceClassification", "CamembertForTokenClassification", "XLMRobertaForMaskedLM"];
    let others = ["DistilBertForSequenceClassification", "ElectraForSequenceClassification", "AlbertForMaskedLM"];
    let decoders = ["OPTForCausalLM", "GPT2-padding", "BertForQuestionAnswering"];
    let named = heads.into_iter().chain(others).chain(decoders).map(case);
    let activations = cases().into_iter().filter(|case| case.config["architectures"][0] == "BertModel");
    for case in named.chain(activations) {
        let model = case.open(Head::Natural);
        for preset in [Preset::Fp32, Preset::Hybrid, Preset::Fp16] {
            let policy = PrecisionPolicy::preset(preset);
            let (_, report) = build_engine(&EngineRequest::new(&model, &policy, extent(2, 8), Target::Sm80)).unwrap();
            let asked = model.graph.roundings(&policy).unwrap().into_iter().map(|rounding| rounding.compute).collect();
            assert_eq!(formats(&report), asked, "{} {preset}", case.name);
        }
    }
}

#[test]
fn an_engine_of_a_range_of_shapes_is_built_with_a_profile() {
    if !library_is_here() {
        return;
    }
    let policy = PrecisionPolicy::preset(Preset::Hybrid);
    let range = Extent::of(DimensionRange { smallest: 1, largest: 8 }, DimensionRange { smallest: 4, largest: 32 });
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
        let model = model(architecture);
        let (_, report) = build_engine(&EngineRequest::new(&model, &policy, range, Target::Sm86)).unwrap();
        // Operations are counted at the largest shape.
        let counted = model.graph.cost(&policy, Shape { batch: 8, sequence: 32 }).unwrap().flops;
        assert_eq!(report.flops_by_format.values().sum::<u64>(), counted);
    }
}

#[test]
fn without_a_device_what_was_built_says_why_it_is_not_executed() {
    if !library_is_here() {
        return;
    }
    let tensorrt = backend().unwrap();
    let Some(reason) = tensorrt.availability().unwrap().builds_only else {
        return skip("this machine has a device that executes");
    };
    let policy = PrecisionPolicy::preset(Preset::Fp16);
    let shape = Shape { batch: 1, sequence: 8 };
    let request = BuildRequest::new(model(Architecture::BertTiny).into(), policy, shape, 1);
    let built = tensorrt.build(&BuildRequest { target: Target::Sm80, ..request.clone() }).unwrap();
    assert_eq!(built.report.target, Some(Target::Sm80));
    let refused = built.engine.err().expect("no engine without a device").to_string();
    assert!(refused.starts_with("tensorrt is not available: "), "{refused}");
    if reason.contains("CUDA") {
        let error = tensorrt.build(&request).err().expect("there is no current device");
        assert!(matches!(error, BackendError::Unavailable { .. }));
        assert!(error.to_string().contains("name a target: sm80, sm86, sm89 or sm120"), "{error}");
    }
}

/// The program, built for two targets and two policies, with what it leaves behind.
#[test]
fn the_command_builds_engines_and_accounts_for_them() {
    if !library_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("engines");
    let arguments = ["build", "--model", "bert-tiny:7", "--precision", "hybrid,bf16", "--batch", "1,2", "--seq", "8"];
    // Repetitions count once.
    let run = |more: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
        let output = command.args(arguments).args(more).arg("-o").arg(&dir).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, stdout, stderr) = run(&["--target", "sm86,sm120,sm86"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    assert_eq!(stdout.matches("precision audit passed: ").count(), 8, "{stdout}");
    let account: Value = serde_json::from_slice(&std::fs::read(dir.join("build.json")).unwrap()).unwrap();
    assert_eq!(account.as_object().unwrap().len(), 8);
    let entry = &account["bert-tiny-bf16-2x8-sm120.engine"];
    let engine = std::fs::read(dir.join("bert-tiny-bf16-2x8-sm120.engine")).unwrap();
    assert_eq!(entry["report"]["engine_sha256"], mixprec::digest::sha256(&engine));
    assert_eq!(entry["weights"], "random seed 7");
    assert_eq!(entry["report"]["target"], "sm120");
    assert!(entry["report"]["builder"].as_str().unwrap().starts_with("TensorRT"));
    assert_eq!(entry["options"]["tf32"], "false");
}

/// Mistakes are found before anything is built, whatever else was asked for.
#[test]
fn what_cannot_be_built_is_bad_input_and_nothing_is_built() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("engines");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
        command.args(["build", "--model", "bert-tiny", "--target", "sm80", "-o"]).arg(&dir);
        let output = command.args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for (arguments, message) in [
        (&["--batch", "1", "--seq", "8,129"][..], "sequence length 129 is beyond the 128 positions `bert-tiny` has"),
        (&["--batch", "1,4294967296", "--seq", "8"], "a dimension of 4294967296 is beyond 2147483647"),
        (&["--batch", "1"], "--seq <N>"),
        (&["--seq", "8"], "--batch <N>"),
        (&["--batch", "1", "--seq", "8", "--workspace-mb", "0"], "0 is not in 1..=1000000"),
    ] {
        let (code, stderr) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {stderr}");
        assert!(stderr.contains(message), "{arguments:?}: {stderr}");
        assert!(!dir.exists(), "{arguments:?}");
    }
}

/// The builder is asked to stop at its next step, and what is not finished is not there.
#[test]
fn an_interrupted_build_stops_and_leaves_nothing_half_written() {
    if !library_is_here() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("engines");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_mixprec"));
    command
        .args(["build", "--model", "bert-base", "--batch", "1,2", "--seq", "32", "--target", "sm80", "-o"])
        .arg(&dir);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Both engines take seconds; signals are caught as soon as the folder has been made.
    while !dir.exists() {
        std::thread::sleep(Duration::from_millis(20));
    }
    std::thread::sleep(Duration::from_millis(500));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{stderr}");
    assert!(stderr.contains("interrupted; what was built before is in "), "{stderr}");
    let left: Vec<_> = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".partial")), "{left:?}");
}

#[test]
fn a_missing_library_is_one_clear_line_with_the_cure() {
    let nowhere = tempfile::tempdir().unwrap();
    let partial = tempfile::tempdir().unwrap();
    for file in ["libnvinfer.so.10", "libnvonnxparser.so.10"] {
        std::fs::write(partial.path().join(file), "").unwrap();
    }
    for (product, variable, folder, message) in [
        ("tensorrt-rtx", "MIXPREC_TENSORRT_LIBRARY_DIR", &nowhere, "MIXPREC_TENSORRT_LIBRARY_DIR leads to "),
        ("tensorrt", "MIXPREC_TENSORRT_DIR", &nowhere, "MIXPREC_TENSORRT_DIR leads to "),
        ("tensorrt", "MIXPREC_TENSORRT_DIR", &partial, "TensorRT 10 is here ("),
        ("other", "MIXPREC_TENSORRT_DIR", &nowhere, "MIXPREC_TENSORRT is `other`: write tensorrt or tensorrt-rtx"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mixprec"));
        command.env("MIXPREC_TENSORRT", product).env(variable, folder.path()).env_remove("MIXPREC_TENSORRT_SHIM");
        command.args(["build", "--model", "bert-tiny", "--batch", "1", "--seq", "8", "--target", "sm80", "-o"]);
        let output = command.arg(nowhere.path().join("engines")).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.contains(&format!("tensorrt is not available: {message}")), "{stderr}");
    }
}

/// What the paper builds, from random weights: the weights' values decide neither types nor time. The bound is the
/// project's own: both hybrid engines in a minute on two cores.
#[test]
fn both_models_are_built_in_four_policies_within_their_time() {
    if !library_is_here() {
        return;
    }
    let mut hybrid = Duration::ZERO;
    for architecture in [Architecture::BertBase, Architecture::Gpt2] {
        let model = model(architecture);
        let mut digests = BTreeSet::new();
        for preset in POLICIES {
            let policy = PrecisionPolicy::preset(preset);
            let request = EngineRequest::new(&model, &policy, extent(1, 128), Target::Sm89);
            let (engine, report) = build_engine(&request).unwrap();
            let seconds: f64 = [report.export_s, report.parse_s, report.compile_s].into_iter().flatten().sum();
            eprintln!("{architecture:?} {preset}: {seconds:.1} s, {:.1} MB", engine.len() as f64 / 1e6);
            if preset == Preset::Hybrid {
                hybrid += Duration::from_secs_f64(seconds);
                let half: u64 = report.flops_by_format[&Format::Fp16];
                let total: u64 = report.flops_by_format.values().sum();
                assert!(half as f64 > 0.99 * total as f64, "the products are nearly all of the work");
            }
            digests.insert(report.engine_sha256);
        }
        assert_eq!(digests.len(), POLICIES.len());
    }
    assert!(hybrid < Duration::from_secs(60), "{hybrid:?}");
}

//! `mixprec build`: engines ahead of time, on this machine or for another.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, value_parser};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::output::{note, show};
use super::{INTERRUPTED, OK, SOME_FAILED};
use crate::backend::tensorrt::{
    BuildOptions, Cancel, EngineFolder, EngineRequest, Inspection, SerialisedEngine, build_engine, inspect,
};
use crate::engine::{BackendError, BuildProgress, BuildReport, ProgressSink, Target};
use crate::graph::{PrecisionPolicy, Preset};
use crate::model::{Head, Model, ModelArgument};
use crate::onnx::{DimensionRange, Extent, check_extent};
use crate::signals::on_signal;

/// More than any GPU has, megabytes.
const LARGEST_WORKSPACE_MB: u64 = 1_000_000;

#[derive(Debug, Args)]
pub(super) struct BuildArgs {
    /// Checkpoint folder, or an architecture for random weights, with a seed as in bert-base:7: bert-base, bert-large,
    /// roberta-base, distilbert-base, electra-small, albert-base, gpt2, gpt2-medium, gpt2-large, gpt2-xl, opt-125m, bert-tiny or
    /// gpt2-tiny.
    #[arg(long)]
    model: ModelArgument,
    /// Precision policies, separated by commas.
    #[arg(long, value_name = "POLICY", value_delimiter = ',', default_value = "hybrid")]
    precision: Vec<Preset>,
    /// Batch sizes, separated by commas. A range like 1..32 (both ends included) is one engine with a dynamic dimension.
    #[arg(long, value_name = "N", value_delimiter = ',', required = true)]
    batch: Vec<DimensionRange>,
    /// Sequence lengths in tokens, or ranges like 32..512, separated by commas.
    #[arg(long, value_name = "N", value_delimiter = ',', required = true)]
    seq: Vec<DimensionRange>,
    /// GPU generations, separated by commas: sm80, sm86, sm89, sm120, or current for this machine's GPU.
    #[arg(long, value_delimiter = ',', default_value = "current")]
    target: Vec<Target>,
    /// Output: that of the checkpoint's class (natural), the last hidden state, the logits of a head, or those of the last
    /// token alone.
    #[arg(long, value_enum, default_value_t = Head::Natural)]
    head: Head,
    /// Most scratch memory a layer may use on the device, megabytes [default: the library's own limit].
    #[arg(long, value_name = "MB", value_parser = value_parser!(u64).range(1..=LARGEST_WORKSPACE_MB))]
    workspace_mb: Option<u64>,
    /// Folder for the engines and for build.json, which describes each of them.
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

/// Builds every combination of what was typed, each once; a failure costs its own engine only.
pub(super) fn execute(args: &BuildArgs) -> Result<u8> {
    let model = Model::open(&args.model.name, &args.model.source, Path::new("."), args.head)?;
    let extents = extents(args);
    extents.iter().try_for_each(|&extent| check_extent(&model, extent))?;
    let folder = EngineFolder::open(&args.out)?;
    let policies = distinct(&args.precision).into_iter().map(PrecisionPolicy::preset).collect::<Vec<_>>();
    let options = BuildOptions { workspace_bytes: args.workspace_mb.map(|megabytes| megabytes * 1_000_000) };
    let cancel = cancelled_by_signals()?;
    let mut code = OK;
    let targets = distinct(&args.target);
    for (&target, policy) in targets.iter().flat_map(|target| policies.iter().map(move |policy| (target, policy))) {
        for &extent in &extents {
            let request =
                EngineRequest { options, cancel: cancel.clone(), ..EngineRequest::new(&model, policy, extent, target) };
            match build(request, &folder) {
                Ok(text) => show(text)?,
                Err(_) if cancel.is_cancelled() => {
                    note(format_args!("interrupted; what was built before is in {}", args.out.display()));
                    return Ok(INTERRUPTED);
                }
                // Neither the library's absence nor a model without weights will be better for the next engine.
                Err(Failed::Engine(label, error)) if is_of_one_engine(&error) => {
                    note(format_args!("{label}: FAILED: {error}"));
                    code = SOME_FAILED;
                }
                Err(Failed::Engine(label, error)) => return Err(*error).context(label),
                Err(Failed::Folder(error)) => return Err(error),
            }
        }
    }
    Ok(code)
}

/// Why an engine is not in the folder.
enum Failed {
    Engine(String, Box<BackendError>),
    Folder(anyhow::Error),
}

fn is_of_one_engine(error: &BackendError) -> bool {
    matches!(error, BackendError::Execution { .. } | BackendError::OutOfMemory { .. })
}

/// The shapes of every batch size and sequence length.
fn extents(args: &BuildArgs) -> Vec<Extent> {
    let all = args.seq.iter().flat_map(|&sequence| args.batch.iter().map(move |&batch| Extent::of(batch, sequence)));
    distinct(&all.collect::<Vec<_>>())
}

/// What was typed, in its order, repetitions left out.
fn distinct<T: Copy + PartialEq>(typed: &[T]) -> Vec<T> {
    let mut distinct = Vec::new();
    for one in typed {
        if !distinct.contains(one) {
            distinct.push(*one);
        }
    }
    distinct
}

/// The first signal stops the builder at its next step, a second one the program.
fn cancelled_by_signals() -> Result<Cancel> {
    let cancel = Cancel::default();
    let handle = cancel.clone();
    on_signal(move || {
        if handle.is_cancelled() {
            std::process::exit(i32::from(INTERRUPTED));
        }
        handle.cancel();
    })
    .context("signals cannot be caught")?;
    Ok(cancel)
}

/// Builds one engine and puts it into the folder; what to say of it.
fn build(request: EngineRequest<'_>, folder: &EngineFolder) -> Result<String, Failed> {
    let label = label(&request);
    let bar = io::stderr().is_terminal().then(|| bar(&label));
    let shown = bar.clone();
    let progress = ProgressSink::new(move |step| {
        if let Some(bar) = &shown {
            advance(bar, &step);
        }
    });
    let request = EngineRequest { progress, ..request };
    let built = build_engine(&request);
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    let (engine, report) = built.map_err(|error| Failed::Engine(label.clone(), Box::new(error)))?;
    let path = folder.add(&request, &engine, &report).map_err(|error| Failed::Folder(error.into()))?;
    let inspected = inspected(&request, &engine, folder).map_err(Failed::Folder)?;
    Ok(format!("{label}\n{}  {}\n{inspected}", summary(&report), path.display()))
}

fn label(request: &EngineRequest<'_>) -> String {
    let (batch, sequence) = (request.extent.batch(), request.extent.sequence());
    let (model, policy, target) = (&request.model.name, &request.policy.name, request.target);
    format!("{model} {policy} {batch}x{sequence} for {target}, {}", request.model.provenance)
}

fn bar(label: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{prefix} {bar:30} {pos}/{len} {elapsed}  {msg}";
    bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_prefix(label.to_owned());
    bar
}

fn advance(bar: &ProgressBar, step: &BuildProgress) {
    bar.set_length(step.total);
    bar.set_position(step.done);
    bar.set_message(step.phase.clone());
}

/// Times, size and the audit's shares, two lines.
fn summary(report: &BuildReport) -> String {
    let seconds = |time: Option<f64>| time.map_or_else(|| "-".to_owned(), |time| format!("{time:.2} s"));
    let mut text = format!(
        "  {}: exported in {}, parsed in {}, built in {}; {:.1} MB\n  precision audit passed: ",
        report.builder.as_deref().unwrap_or("TensorRT"),
        seconds(report.export_s),
        seconds(report.parse_s),
        seconds(report.compile_s),
        report.engine_bytes.unwrap_or(0) as f64 / 1e6
    );
    let total = report.flops_by_format.values().sum::<u64>() + report.permitted_flops;
    let mut shares: Vec<(String, u64)> =
        report.flops_by_format.iter().map(|(format, flops)| (format!("in {format}"), *flops)).collect();
    if report.permitted_flops > 0 {
        let words = "permitted in fp16, where the builder may take fp32";
        shares.push((words.to_owned(), report.permitted_flops));
    }
    shares.sort_by_key(|(_, flops)| std::cmp::Reverse(*flops));
    for (index, (words, flops)) in shares.into_iter().enumerate() {
        let separator = if index == 0 { "" } else { ", " };
        let _ = write!(text, "{separator}{:.2} % of FLOPs {words}", 100.0 * flops as f64 / total.max(1) as f64);
    }
    text + "\n"
}

/// What the engine's inspector says where there is a device that the engine can be loaded on; why not where there is none.
fn inspected(request: &EngineRequest<'_>, engine: &SerialisedEngine, folder: &EngineFolder) -> Result<String> {
    match inspect(engine) {
        Ok(inspection) => {
            let path = folder.add_layers(request, &inspection.json)?;
            let findings = inspection.findings(&request.model.graph, request.policy)?;
            Ok(as_built(&inspection, &findings, &path))
        }
        Err(error) => Ok(format!("  not inspected: {}\n", error.into_reason())),
    }
}

/// The layers of a built engine, and where their results differ from the policy's.
fn as_built(inspection: &Inspection, findings: &[String], path: &Path) -> String {
    let Inspection { layers, layers_by_output, .. } = inspection;
    let counts: Vec<String> = layers_by_output.iter().map(|(name, count)| format!("{count} {name}")).collect();
    let mut text = format!("  {layers} layers as built, by output: {}; {}\n", counts.join(", "), path.display());
    for finding in findings {
        let _ = writeln!(text, "  as built: {finding}");
    }
    if findings.is_empty() {
        text.push_str("  as built: no result that is listed has another format than the policy's\n");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::Format;
    use crate::model::{Architecture, architecture_graph};

    #[test]
    fn permitted_work_is_said_to_be_permitted_and_the_inspectors_findings_are_lines() {
        let (flops_by_format, permitted_flops) = ([(Format::Fp32, 1)].into(), 999);
        let report = BuildReport { flops_by_format, permitted_flops, ..BuildReport::default() };
        let expected = "99.90 % of FLOPs permitted in fp16, where the builder may take fp32, 0.10 % of FLOPs in fp32\n";
        assert!(summary(&report).ends_with(expected), "{}", summary(&report));
        let layers = r#"{"Layers": [{"Name": "a", "Outputs": [{"Name": "last_hidden_state", "Datatype": "Float"}]}]}"#;
        let inspection = Inspection::read(layers.to_owned()).unwrap();
        let graph = architecture_graph(Architecture::BertTiny);
        let text = |preset| {
            let findings = inspection.findings(&graph, &PrecisionPolicy::preset(preset)).unwrap();
            as_built(&inspection, &findings, Path::new("a.layers.json"))
        };
        let counted = "  1 layers as built, by output: 1 Float; a.layers.json\n";
        let found = "  as built: layer.1/mlp/layer_norm is stored in fp32, the policy says fp16\n";
        assert_eq!(text(Preset::Fp16), format!("{counted}{found}"));
        assert!(text(Preset::Fp32).ends_with("no result that is listed has another format than the policy's\n"));
    }

    #[test]
    fn the_summary_has_times_size_and_shares_the_largest_first() {
        let report = BuildReport {
            builder: Some("TensorRT-RTX 1.7.1".to_owned()),
            export_s: Some(0.5),
            parse_s: Some(0.25),
            compile_s: Some(3.0),
            engine_bytes: Some(223_366_628),
            flops_by_format: [(Format::Fp32, 1), (Format::Fp16, 999)].into(),
            ..BuildReport::default()
        };
        assert_eq!(
            summary(&report),
            "  TensorRT-RTX 1.7.1: exported in 0.50 s, parsed in 0.25 s, built in 3.00 s; 223.4 MB\n  precision audit \
             passed: 99.90 % of FLOPs in fp16, 0.10 % of FLOPs in fp32\n"
        );
    }
}

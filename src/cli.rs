//! The command line: what can be typed, and which stage each command calls. Messages for people go to standard error,
//! results to standard output.

mod appendix;
#[cfg_attr(not(feature = "tensorrt"), path = "cli/build_absent.rs")]
mod build;
mod cache;
mod fetch;
mod joined;
mod splice;
mod time;

use std::fmt::Display;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::builder::PossibleValue;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::doctor;
use crate::engine::BackendKind;
use crate::graph::Preset;
use crate::infer::{self, InferRequest, Wanted};
use crate::manifest::{LoadedManifest, schema::Manifest};
use crate::model::{Head, ModelArgument};
use crate::onnx::{self, ExportRequest, Span};
use crate::plan::{Plan, Shard};
use crate::provenance::Environment;
use crate::report::Files;
use crate::results::study::Study;
use crate::runner::{self, RunOptions};
use crate::selftest;
use crate::store::journal::OnDamage;
use crate::{claims, report};

/// Everything went well and every claim that could be judged holds.
const OK: u8 = 0;
/// Some rows failed, or a claim failed.
const SOME_FAILED: u8 = 1;
/// The input is at fault.
pub const BAD_INPUT: u8 = 2;
/// A signal ended the command.
const INTERRUPTED: u8 = 130;

/// Re-measure a mixed-precision transformer inference paper on this machine.
#[derive(Debug, Parser)]
#[command(
    name = "mixprec",
    version,
    after_help = "Exit codes: 0 all well, 1 some rows or claims failed, or a pin differs, 2 bad input, \
                                                   130 interrupted."
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Print every configuration of a manifest, the product that makes the count, and the estimated time.
    Plan {
        /// Manifest, e.g. experiments/quick.yaml.
        manifest: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Download a manifest's checkpoints from their hub, by revision and digest; what is there and right is left alone.
    Fetch(fetch::FetchArgs),
    /// Execute a manifest; configurations that already have a row are skipped.
    Run(RunArgs),
    /// Join the results of several machines or shards into one folder, by configuration.
    Merge(joined::MergeArgs),
    /// Measure one row of a results folder again, here, and compare.
    Rerun(joined::RerunArgs),
    /// Set two runs of one experiment against each other: whether the second repeats the first.
    Compare(joined::CompareArgs),
    /// Publish runs as one folder with checksums and a README: what others render the paper from.
    Artifact(joined::ArtifactArgs),
    /// Render the tables, figures and HTML page of a run.
    Report(ReportArgs),
    /// Judge the paper's claims by a run.
    Verify {
        /// Folder of the run.
        dir: PathBuf,
        /// Print JSON.
        #[arg(long)]
        json: bool,
        /// Claims to judge instead of the built-in experiments/claims.yaml.
        #[arg(long)]
        claims: Option<PathBuf>,
    },
    /// Fill in the reviewer's appendix: claims, experiments, commands, times, disk, memory, hardware.
    Appendix(appendix::AppendixArgs),
    /// Write the generated sections of Markdown pages from an artifact, or check them.
    Splice(splice::SpliceArgs),
    /// Run one text through an engine and print what comes out.
    Infer(InferArgs),
    /// Write a model as ONNX, the precision policy as explicit types and casts.
    Export(ExportArgs),
    /// Build TensorRT engines ahead of time, for this machine's GPU or, without one, for another generation.
    Build(build::BuildArgs),
    /// Say what this machine can run, why it cannot run the rest, and whether what is here is what is pinned.
    Doctor {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Inject known faults and see that each is caught; without a GPU, a network or any file of a run.
    Selftest {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// List, check or delete cached engines.
    #[command(subcommand)]
    Cache(cache::CacheCommand),
    /// Time one engine in blocks, on request (started by experiments/peers.py).
    #[command(hide = true)]
    Time(time::TimeArgs),
    /// Execute configurations for a run (started by `run`).
    #[command(hide = true)]
    Worker,
}

#[derive(Debug, Args)]
struct RunArgs {
    /// Manifest, e.g. experiments/quick.yaml.
    manifest: PathBuf,
    /// Folder of the results; runs/NAME unless said otherwise, or runs/NAME-shard-I-of-N.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Try again what failed before.
    #[arg(long)]
    retry_failed: bool,
    /// Set damaged journal lines aside and measure their configurations again.
    #[arg(long)]
    force: bool,
    /// Run part I of N of the manifest, about as long as every other part, e.g. 2/8; `mixprec merge` joins the parts.
    #[arg(long, value_name = "I/N")]
    shard: Option<Shard>,
    /// Run the configurations of this backend only (may be repeated); the rest stays pending in the folder.
    #[arg(long = "backend", value_name = "BACKEND")]
    backends: Vec<BackendKind>,
}

#[derive(Debug, Args)]
struct ReportArgs {
    /// Folder of the run, of a merge or of an artifact, whose repeats and other experiments are rendered with it.
    dir: PathBuf,
    /// Where to write; DIR/report unless said otherwise.
    #[arg(long)]
    out: Option<PathBuf>,
    /// A second run of the same experiment: how far the two agree becomes part of the report. May be given several
    /// times; those of an artifact come first.
    #[arg(long = "repeat", value_name = "DIR")]
    repeats: Vec<PathBuf>,
    /// Another experiment, whose outputs, task quality and engines stand beside the run's; may be given several times.
    #[arg(long, value_name = "DIR")]
    with: Vec<PathBuf>,
    /// Write only what LaTeX includes: no HTML page, no SVG, no JSON.
    #[arg(long)]
    latex: bool,
}

#[derive(Debug, Args)]
struct InferArgs {
    /// Checkpoint folder: config.json, model.safetensors, tokenizer.json.
    #[arg(long)]
    model: PathBuf,
    /// Backend.
    #[arg(long, default_value = "reference")]
    backend: BackendKind,
    /// Precision policy.
    #[arg(long, default_value = "fp32")]
    precision: Preset,
    /// The text.
    #[arg(long, conflicts_with = "file", required_unless_present = "file")]
    text: Option<String>,
    /// A file that holds the text.
    #[arg(long)]
    file: Option<PathBuf>,
    /// What to print: logits, negative log-likelihood per token, or the last hidden state.
    #[arg(long, default_value = "logits")]
    output: Wanted,
    /// Print JSON with every value.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
struct ExportArgs {
    /// Checkpoint folder, or an architecture for random weights: bert-base, gpt2, bert-tiny, gpt2-tiny, with a seed as in
    /// bert-base:7.
    #[arg(long)]
    model: ModelArgument,
    /// Precision policy.
    #[arg(long, default_value = "fp32")]
    precision: Preset,
    /// Batch size, or a range like 1..32 (both ends included) for a symbolic dimension.
    #[arg(long)]
    batch: Span,
    /// Sequence length in tokens, or a range like 32..512.
    #[arg(long)]
    seq: Span,
    /// What the output is: the model's natural one, its last hidden state, or the logits of the last token alone.
    #[arg(long, value_enum, default_value_t = Head::Natural)]
    head: Head,
    /// File to write. Above 2 GB the weights go to a second file, FILE.data.
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
}

/// The mock backend is an instrument of the tests: it can be planned, not typed.
impl ValueEnum for BackendKind {
    fn value_variants<'a>() -> &'a [Self] {
        &[BackendKind::Reference, BackendKind::OnnxRuntime, BackendKind::Cuda, BackendKind::TensorRt]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Head {
    fn value_variants<'a>() -> &'a [Self] {
        &Head::ALL
    }

    fn to_possible_value(&self) -> Option<clap::builder::PossibleValue> {
        Some(clap::builder::PossibleValue::new(self.name()))
    }
}

impl ValueEnum for Preset {
    fn value_variants<'a>() -> &'a [Self] {
        &Preset::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()))
    }
}

impl Cli {
    /// Carries out the command.
    ///
    /// # Errors
    /// Bad input of any kind, as one message; the caller exits with [`BAD_INPUT`].
    pub fn execute(self) -> Result<ExitCode> {
        let code = match self.command {
            Command::Plan { manifest, json } => plan(&manifest, json)?,
            Command::Fetch(args) => fetch::execute(&args)?,
            Command::Run(args) => run(&args)?,
            Command::Merge(args) => joined::merge(&args)?,
            Command::Rerun(args) => joined::rerun(args)?,
            Command::Compare(args) => joined::compare(&args)?,
            Command::Artifact(args) => joined::artifact(args)?,
            Command::Report(args) => render(args)?,
            Command::Verify { dir, json, claims } => verify(&dir, json, claims.as_deref())?,
            Command::Appendix(args) => appendix::execute(args)?,
            Command::Splice(args) => splice::execute(args)?,
            Command::Infer(args) => infer(args)?,
            Command::Export(args) => export(args)?,
            Command::Build(args) => return build::execute(&args),
            Command::Doctor { json } => diagnose(json)?,
            Command::Selftest { json } => self_test(json)?,
            Command::Cache(command) => cache::execute(&command)?,
            Command::Time(args) => time::execute(args)?,
            Command::Worker => return Ok(runner::worker::main()),
        };
        Ok(ExitCode::from(code))
    }
}

fn load(manifest: &Path) -> Result<(LoadedManifest, Plan)> {
    let loaded = Manifest::load(manifest)?;
    let plan = Plan::expand(&loaded);
    Ok((loaded, plan))
}

fn plan(manifest: &Path, json: bool) -> Result<u8> {
    let (loaded, plan) = load(manifest)?;
    show(if json { plan.to_json()? } else { plan.to_text() })?;
    for line in crate::fetch::unfetched(&loaded) {
        note(format_args!("note: {line}"));
    }
    Ok(OK)
}

fn run(args: &RunArgs) -> Result<u8> {
    let (loaded, plan) = load(&args.manifest)?;
    let name = match args.shard {
        // Shards run at the same time, often on one file system: each needs its own folder.
        Some(shard) => format!("{}-shard-{}-of-{}", plan.name, shard.index(), shard.count()),
        None => plan.name.clone(),
    };
    let dir = args.out.clone().unwrap_or_else(|| Path::new("runs").join(name));
    let options = RunOptions {
        environment: Environment::capture().for_manifest(&loaded.sha256),
        retry_failed: args.retry_failed,
        on_damage: if args.force { OnDamage::SetAside } else { OnDamage::Refuse },
        shard: args.shard,
        backends: args.backends.clone(),
    };
    if let Some(absent) = args.backends.iter().find(|&&kind| plan.configurations.iter().all(|one| one.backend != kind))
    {
        bail!("--backend {absent}: {} has no configuration of it", args.manifest.display());
    }
    let summary = runner::run(&plan, &dir, &options)?;
    note(summary);
    note(format_args!("results: {}; next: mixprec report {}", dir.join("results.parquet").display(), dir.display()));
    Ok(summary.exit_code())
}

fn render(args: ReportArgs) -> Result<u8> {
    let out = args.out.unwrap_or_else(|| args.dir.join("report"));
    let study = Study::read_with(&args.dir, &args.repeats, &args.with)?;
    let wanted = if args.latex { Files::Latex } else { Files::All };
    let summary = report::report_with(&study, &claims::Claims::builtin()?, &out, wanted)?;
    let files = summary.files.len();
    let next = if args.latex { String::new() } else { format!("; open {}", summary.html.display()) };
    show(format_args!("{files} files in {}{next}\n", out.display()))?;
    show(format_args!("claims: {}\n", report::sentences::claims::summary(&summary.verdicts)))?;
    Ok(OK)
}

fn verify(dir: &Path, json: bool, file: Option<&Path>) -> Result<u8> {
    let claims = match file {
        Some(path) => claims::Claims::load(path)?,
        None => claims::Claims::builtin()?,
    };
    let verdicts = claims::verify(dir, &claims)?;
    show(if json { report::sentences::claims::to_json(&verdicts)? } else { report::sentences::claims::to_text(&verdicts) })?;
    Ok(if verdicts.iter().any(claims::Verdict::is_failure) { SOME_FAILED } else { OK })
}

fn infer(args: InferArgs) -> Result<u8> {
    let text = match (args.text, args.file) {
        (Some(text), _) => text,
        (None, Some(path)) => std::fs::read_to_string(&path).with_context(|| format!("--file {}", path.display()))?,
        (None, None) => String::new(),
    };
    let request =
        InferRequest { model: args.model, backend: args.backend, precision: args.precision, text, wanted: args.output };
    let answer = infer::infer(&request)?;
    show(if args.json { answer.to_json()? } else { answer.to_text() })?;
    Ok(OK)
}

fn export(args: ExportArgs) -> Result<u8> {
    let request = ExportRequest {
        model: args.model,
        head: args.head,
        precision: args.precision,
        batch: args.batch,
        sequence: args.seq,
        path: args.out,
    };
    show(onnx::export(&request)?)?;
    Ok(OK)
}

fn diagnose(json: bool) -> Result<u8> {
    let findings = doctor::report();
    show(if json { doctor::json(&findings) } else { doctor::text(&findings) })?;
    Ok(if doctor::has_drift(&findings) { SOME_FAILED } else { OK })
}

fn self_test(json: bool) -> Result<u8> {
    let verdicts = selftest::run(&selftest::mutations())?;
    show(if json { selftest::json(&verdicts) } else { selftest::text(&verdicts) })?;
    Ok(if verdicts.iter().all(selftest::Verdict::is_caught) { OK } else { SOME_FAILED })
}

/// Writes a result to standard output. A reader that has seen enough (`| head`) is no error.
fn show(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    match write!(out, "{text}").and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(error).context("standard output"),
        _ => Ok(()),
    }
}

/// The error and its causes in one line. Many messages quote their cause already; it is not said twice.
pub fn one_line(error: &anyhow::Error) -> String {
    error.chain().skip(1).map(ToString::to_string).fold(error.to_string(), |line, cause| match line.contains(&cause) {
        true => line,
        false => format!("{line}: {cause}"),
    })
}

/// Writes a line for people. A closed or full standard error loses the line and nothing else.
fn note(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

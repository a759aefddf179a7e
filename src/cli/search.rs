//! `mixprec search`: which operations need FP32.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use clap::Args;

use super::output::{note, show};
use super::{OK, SOME_FAILED};
use crate::engine::BackendKind;
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::input::InputSource;
use crate::manifest::schema::{InputEntry, Manifest, ModelEntry, Numerics, Tolerance};
use crate::model::{Head, ModelArgument};
use crate::search::{
    CERTIFICATE_PAGE, Certificate, DEFAULT_TOLERANCE, POLICY_FILE, SearchRequest, SearchStep, SearchTolerance, Trial,
};

#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// Manifest whose models, inputs, precisions, tolerances and limits of broken rows the other arguments name.
    manifest: Option<PathBuf>,
    /// A model of the manifest; without one, a checkpoint folder, or an architecture with a seed as in bert-tiny:7.
    #[arg(long, value_name = "MODEL")]
    model: String,
    /// An input of the manifest; without one, a text file, a .tsv file like SST-2's, a .jsonl file of examples, or random:SEED.
    #[arg(long, value_name = "INPUT")]
    input: String,
    /// Policy to start from: a preset or a policy of the manifest.
    #[arg(long, default_value = "fp16", value_name = "POLICY")]
    start: String,
    /// Limits to keep, of cosine_min, max_broken_rows, max_flips and max_perplexity_ratio; without it those of the
    /// manifest for the policy, otherwise max_broken_rows=0.
    #[arg(long, value_name = "LIMITS")]
    tolerance: Option<SearchTolerance>,
    /// Forwards to search on.
    #[arg(long, default_value_t = 24, value_name = "N")]
    forwards: usize,
    /// Further forwards that judge what was found.
    #[arg(long, default_value_t = 64, value_name = "N")]
    held_out: usize,
    /// Random supersets that check whether failures are monotone.
    #[arg(long, default_value_t = 8, value_name = "N")]
    supersets: usize,
    /// Seed of the random supersets.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Batch size.
    #[arg(long, default_value_t = 1, value_name = "N")]
    batch: usize,
    /// Sequence length in tokens.
    #[arg(long, default_value_t = 128, value_name = "N")]
    seq: usize,
    /// Backend to search on.
    #[arg(long, default_value = "reference")]
    backend: BackendKind,
    /// Second backend, to confirm what was found.
    #[arg(long, value_name = "BACKEND")]
    confirm: Option<BackendKind>,
    /// Folder for policy, certificate and journal; a search that was stopped there goes on.
    #[arg(short, long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn execute(args: SearchArgs) -> Result<u8> {
    let request = request(args)?;
    let begin = Instant::now();
    let mut shown = Shown { begin, evaluated: 0 };
    let certificate = crate::search::search(&request, &mut |step| shown.step(step))?;
    show(summary(&certificate))?;
    let (policy, page) = (request.dir.join(POLICY_FILE), request.dir.join(CERTIFICATE_PAGE));
    note(format_args!("policy: {}; certificate: {}", policy.display(), page.display()));
    Ok(if certificate.is_confirmed() { OK } else { SOME_FAILED })
}

fn request(args: SearchArgs) -> Result<SearchRequest> {
    let loaded = args.manifest.as_deref().map(Manifest::load).transpose()?;
    let (manifest, base_dir) = match &loaded {
        Some(loaded) => (Some(&loaded.manifest), loaded.base_dir.clone()),
        None => (None, PathBuf::from(".")),
    };
    let model = match manifest {
        Some(manifest) => named("--model", &args.model, &manifest.models, |one| &one.name)?.clone(),
        None => folder_or_architecture(&args.model)?,
    };
    let input = match manifest {
        Some(manifest) => named("--input", &args.input, &manifest.inputs, |one| &one.name)?.clone(),
        None => file_or_random(&args.input)?,
    };
    let start = start(&args.start, manifest)?;
    let limits = manifest.and_then(|manifest| manifest.tolerances.get(&start.name));
    let tolerance = args.tolerance.or(limits.and_then(of_manifest)).unwrap_or(DEFAULT_TOLERANCE);
    let name = format!("search-{}-{}-{}", model.name, input.name, start.name);
    Ok(SearchRequest {
        model,
        input,
        base_dir,
        start,
        tolerance,
        settings: manifest.map_or(Numerics::DEFAULT, |manifest| manifest.numerics),
        backend: args.backend,
        confirm: args.confirm,
        shape: Shape { batch: args.batch, sequence: args.seq },
        forwards: args.forwards,
        held_out: args.held_out,
        supersets: args.supersets,
        seed: args.seed,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        dir: args.out.unwrap_or_else(|| Path::new("runs").join(name)),
    })
}

/// The entry of a manifest's section with this name.
fn named<'a, T>(option: &str, name: &str, entries: &'a [T], name_of: impl Fn(&T) -> &str) -> Result<&'a T> {
    entries.iter().find(|entry| name_of(entry) == name).ok_or_else(|| {
        let known: Vec<&str> = entries.iter().map(name_of).collect();
        anyhow!("{option} `{name}` is not in the manifest, which has {}", known.join(", "))
    })
}

fn folder_or_architecture(text: &str) -> Result<ModelEntry> {
    let ModelArgument { name, source } = text.parse()?;
    Ok(ModelEntry { name, source, head: Head::Natural })
}

/// `random:7`, a text, or a file of labelled sentences or examples.
fn file_or_random(text: &str) -> Result<InputEntry> {
    if let Some(seed) = text.strip_prefix("random:") {
        let seed = seed.parse().map_err(|_| anyhow!("--input `{text}`: `{seed}` is no seed; write random:7, say"))?;
        return Ok(InputEntry { name: "random".to_owned(), source: InputSource::Random { seed } });
    }
    let path = PathBuf::from(text);
    let name = path.file_stem().map_or_else(|| "text".to_owned(), |stem| stem.to_string_lossy().into_owned());
    let (sha256, labels) = Default::default();
    let source = match path.extension().and_then(|extension| extension.to_str()) {
        Some("tsv") => InputSource::Sst2 { path, sha256, labels },
        Some("jsonl") => InputSource::Examples { path, sha256, labels },
        _ => InputSource::Text { path, sha256 },
    };
    Ok(InputEntry { name, source })
}

fn start(name: &str, manifest: Option<&Manifest>) -> Result<PrecisionPolicy> {
    let policies = manifest.map_or(&[][..], |manifest| &manifest.precisions);
    if let Some(policy) = policies.iter().find(|policy| policy.name == name) {
        return Ok(policy.clone());
    }
    match Preset::ALL.into_iter().find(|preset| preset.name() == name) {
        Some(preset) => Ok(PrecisionPolicy::preset(preset)),
        None => bail!("--start `{name}` is no preset and no policy of a manifest; presets are {}", {
            Preset::ALL.map(Preset::name).join(", ")
        }),
    }
}

/// The limits of a manifest that a search can keep; `None` where it has none of them.
fn of_manifest(limits: &Tolerance) -> Option<SearchTolerance> {
    let Tolerance { cosine_min, max_broken_rows, .. } = *limits;
    let any = cosine_min.is_some() || max_broken_rows.is_some();
    any.then_some(SearchTolerance { cosine_min, max_broken_rows, ..SearchTolerance::default() })
}

/// Progress as lines on standard error.
struct Shown {
    begin: Instant,
    /// Forwards so far.
    evaluated: usize,
}

impl Shown {
    fn step(&mut self, step: SearchStep) {
        let elapsed = self.begin.elapsed().as_secs_f64();
        match step {
            SearchStep::Reference { done, total } if done == total || io::stderr().is_terminal() => {
                note(format_args!("[{elapsed:.1} s] FP32 references: {done} of {total} files"));
            }
            SearchStep::Reference { .. } => {}
            SearchStep::Tried(Trial { fp32_ops, breakage, forwards, bound }) => {
                self.evaluated += forwards;
                let verdict = breakage.map_or_else(|| "kept".to_owned(), |breakage| format!("broken at {breakage}"));
                let bound =
                    bound.map_or_else(String::new, |bound| format!("; {bound} are enough for the forwards that broke"));
                let evaluated = self.evaluated;
                note(format_args!("[{elapsed:.1} s, {evaluated} forwards] {fp32_ops} in FP32: {verdict}{bound}"));
            }
        }
    }
}

/// What was found, in a few lines.
fn summary(certificate: &Certificate) -> String {
    let held = &certificate.held_out;
    let mut text = format!(
        "{} of {} operations need FP32 for {} on {}\n",
        certificate.operations.len(),
        certificate.subject.candidates,
        certificate.subject.model,
        certificate.subject.input
    );
    for one in &certificate.operations {
        text += &format!("  {}: without it {}\n", one.op, one.without);
    }
    if let Some(share) = held.breaking_share {
        text += &format!(
            "{} of {} held-out forwards break the tolerance ({:.1} to {:.1} %, 95 %)\n",
            held.breaking.len(),
            held.totals.forwards,
            100.0 * share.low,
            100.0 * share.high
        );
    }
    text + &format!(
        "{} of {} random supersets break it; {} sets and {} forwards evaluated\n",
        certificate.monotonicity.violations.len(),
        certificate.monotonicity.supersets,
        certificate.evaluations.sets,
        certificate.evaluations.forwards
    )
}

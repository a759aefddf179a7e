//! `mixprec search`: which operations need FP32.

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, anyhow, bail};
use clap::Args;

use super::output::{note, show};
use super::{INTERRUPTED, OK, SOME_FAILED};
use crate::engine::{BackendKind, Launches};
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::input::InputSource;
use crate::manifest::LoadedManifest;
use crate::manifest::schema::{InputEntry, Manifest, ModelEntry, Numerics, SearchEntry, SearchTolerance, Tolerance};
use crate::model::{Head, ModelArgument};
use crate::record::certificate::{Certificate, PolicyTiming, TimedShape};
use crate::search::{CERTIFICATE_PAGE, DEFAULT_TOLERANCE, POLICY_FILE, SearchRequest, SearchStep, Trial};
use crate::signals::on_signal;

#[derive(Debug, Args)]
pub(super) struct SearchArgs {
    /// Manifest whose models, inputs, precisions, tolerances and limits of broken rows the other arguments name. Alone, its
    /// `searches:` all run.
    #[arg(required_unless_present = "model")]
    manifest: Option<PathBuf>,
    /// A model of the manifest; without one, a checkpoint folder, or an architecture with a seed as in bert-tiny:7.
    #[arg(long, value_name = "MODEL", requires = "input")]
    model: Option<String>,
    /// An input of the manifest; without one, a text file, a .tsv file like SST-2's, a .jsonl file of examples, or random:SEED.
    #[arg(long, value_name = "INPUT", requires = "model")]
    input: Option<String>,
    /// Policy to start from: a preset or a policy of the manifest.
    #[arg(long, default_value = SearchEntry::START, value_name = "POLICY", requires = "model")]
    start: String,
    /// Limits to keep, of cosine_min, max_broken_rows, max_flips and max_perplexity_ratio; without it those of the
    /// manifest for the policy, otherwise max_broken_rows=0.
    #[arg(long, value_name = "LIMITS", requires = "model")]
    tolerance: Option<SearchTolerance>,
    /// Forwards to search on.
    #[arg(long, default_value_t = SearchEntry::FORWARDS, value_name = "N", requires = "model")]
    forwards: usize,
    /// Further forwards that judge what was found.
    #[arg(long, default_value_t = SearchEntry::HELD_OUT, value_name = "N", requires = "model")]
    held_out: usize,
    /// Random supersets that check whether failures are monotone.
    #[arg(long, default_value_t = 8, value_name = "N")]
    supersets: usize,
    /// Seed of the random supersets.
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// Batch size.
    #[arg(long, default_value_t = SearchEntry::SHAPE.batch, value_name = "N", requires = "model")]
    batch: usize,
    /// Sequence length in tokens.
    #[arg(long, default_value_t = SearchEntry::SHAPE.sequence, value_name = "N", requires = "model")]
    seq: usize,
    /// Further shapes at which a GPU times what was found, as in 8x128,32x128.
    #[arg(long, value_name = "SHAPES", value_delimiter = ',', value_parser = shape, requires = "model")]
    time: Vec<Shape>,
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

/// `8x128`
fn shape(text: &str) -> Result<Shape, String> {
    let sizes = text.split_once('x').and_then(|(batch, sequence)| Some((batch.parse().ok()?, sequence.parse().ok()?)));
    match sizes {
        Some((batch, sequence)) if batch > 0 && sequence > 0 => Ok(Shape { batch, sequence }),
        _ => Err(format!("`{text}` is no shape; write batch size and sequence length, as in 8x128")),
    }
}

pub(super) fn execute(args: SearchArgs) -> Result<u8> {
    // The journal holds every forward that ended.
    on_signal(|| {
        note("interrupted: run the same command again to go on");
        std::process::exit(INTERRUPTED.into());
    })?;
    let loaded = args.manifest.as_deref().map(Manifest::load).transpose()?;
    let mut code = OK;
    for request in requests(&args, loaded.as_ref())? {
        let mut shown = Shown { begin: Instant::now(), evaluated: 0 };
        let certificate = crate::search::search(&request, &mut |step| shown.step(step))?;
        show(summary(&certificate))?;
        let (policy, page) = (request.dir.join(POLICY_FILE), request.dir.join(CERTIFICATE_PAGE));
        note(format_args!("policy: {}; certificate: {}", policy.display(), page.display()));
        if !certificate.is_confirmed() {
            code = SOME_FAILED;
        }
    }
    Ok(code)
}

/// The search that the arguments name; otherwise those of the manifest, a folder for each entry and in it one for each tolerance.
fn requests(args: &SearchArgs, loaded: Option<&LoadedManifest>) -> Result<Vec<SearchRequest>> {
    if let (Some(model), Some(input)) = (&args.model, &args.input) {
        let entry = SearchEntry {
            model: model.clone(),
            input: input.clone(),
            start: args.start.clone(),
            shape: Shape { batch: args.batch, sequence: args.seq },
            forwards: args.forwards,
            held_out: args.held_out,
            tolerances: vec![],
            time: args.time.clone(),
        };
        let limits = loaded.and_then(|loaded| loaded.manifest.tolerances.get(&entry.start));
        let tolerance = args.tolerance.or(limits.and_then(of_manifest)).unwrap_or(DEFAULT_TOLERANCE);
        let named = request(args, loaded, &entry, tolerance)?;
        let name = format!("search-{}-{}-{}", named.model.name, named.input.name, named.start.name);
        let dir = args.out.clone().unwrap_or_else(|| Path::new("runs").join(name));
        return Ok(vec![SearchRequest { shared: dir.clone(), dir, ..named }]);
    }
    let searches = loaded.map_or(&[][..], |loaded| &loaded.manifest.searches);
    let name = loaded.map_or("search", |loaded| &loaded.manifest.name);
    if searches.is_empty() {
        bail!(
            "the manifest has no `searches:`; add them, or name one of its models and inputs with --model and --input"
        );
    }
    let dir = args.out.clone().unwrap_or_else(|| Path::new("runs").join(name));
    let each = searches.iter().flat_map(|entry| entry.tolerances.iter().map(move |tolerance| (entry, *tolerance)));
    let each = each.map(|(entry, tolerance)| {
        let shared = dir.join(entry.folder());
        let dir = shared.join(tolerance.to_string());
        Ok(SearchRequest { dir, shared, ..request(args, loaded, entry, tolerance)? })
    });
    each.collect()
}

/// The request of an entry, without its folders.
fn request(
    args: &SearchArgs,
    loaded: Option<&LoadedManifest>,
    entry: &SearchEntry,
    tolerance: SearchTolerance,
) -> Result<SearchRequest> {
    let manifest = loaded.map(|loaded| &loaded.manifest);
    let (model, input) = match manifest {
        Some(manifest) => (
            named("--model", &entry.model, &manifest.models, |one| &one.name)?.clone(),
            named("--input", &entry.input, &manifest.inputs, |one| &one.name)?.clone(),
        ),
        None => (folder_or_architecture(&entry.model)?, file_or_random(&entry.input)?),
    };
    Ok(SearchRequest {
        model,
        input,
        base_dir: loaded.map_or(PathBuf::from("."), |loaded| loaded.base_dir.clone()),
        start: start(&entry.start, manifest)?,
        tolerance,
        settings: manifest.map_or(Numerics::DEFAULT, |manifest| manifest.numerics),
        backend: args.backend,
        confirm: args.confirm,
        shape: entry.shape,
        timed_shapes: entry.time.clone(),
        forwards: entry.forwards,
        held_out: entry.held_out,
        supersets: args.supersets,
        seed: args.seed,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        dir: PathBuf::new(),
        shared: PathBuf::new(),
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
            SearchStep::Timing(Shape { batch, sequence }) => {
                note(format_args!("[{elapsed:.1} s] timing fp16, hybrid and the policy found at {batch}x{sequence}"));
            }
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

/// The times of the policies, a line for each shape.
fn timing(certificate: &Certificate) -> String {
    match &certificate.timing {
        None => String::new(),
        Some(PolicyTiming::NotTimed(reason)) => format!("not timed: {reason}\n"),
        Some(PolicyTiming::Timed(shapes)) => shapes.iter().map(|one| of_shape(one) + "\n").collect(),
    }
}

fn of_shape(TimedShape { shape, policies, failure, .. }: &TimedShape) -> String {
    let Shape { batch, sequence } = shape;
    if let Some(failure) = failure {
        return format!("{batch}x{sequence} not timed: {failure}");
    }
    let policies = policies.iter().map(|one| {
        let kernels = one.launches.map_or_else(String::new, |Launches { kernels, single_operations }| {
            format!(" in {kernels} kernels, {single_operations} of single operations")
        });
        format!("{} {:.4} ms ({:.3}x{kernels})", one.policy, one.median_ms, one.ratio)
    });
    format!("{batch}x{sequence}: {}", policies.collect::<Vec<_>>().join("; "))
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
    text += &timing(certificate);
    text + &format!(
        "{} of {} random supersets break it; {} sets and {} forwards evaluated\n",
        certificate.monotonicity.violations.len(),
        certificate.monotonicity.supersets,
        certificate.evaluations.sets,
        certificate.evaluations.forwards
    )
}

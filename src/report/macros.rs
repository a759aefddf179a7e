//! The numbers the paper's prose quotes, as LaTeX macros. Undefined is `n/a`.

use crate::report::sentences;
use serde::Serialize;

use super::sentences::caveats::{list, prefix};
use super::sentences::claims::WordedVerdict;
use super::sentences::headroom::place_name;
use super::sentences::machine::processors;
use super::sentences::quality;
use super::sentences::speedup::baselines;
use crate::analysis::agreement::Agreement;
use crate::analysis::facts::{engine_library, has_nan, smallest_cosine};
use crate::analysis::headroom::Worst;
use crate::analysis::pairs::Ranged;
use crate::analysis::{headroom, noise};
use crate::claims::headline::{Headline, HeadlineValue};
use crate::claims::verdict::{count, of_paper};
use crate::claims::{Outcome, Verdict};
use crate::engine::{BackendKind, DeviceKind};
use crate::graph::Preset;
use crate::numbers;
use crate::record::magnitudes::MagnitudeKind;
use crate::record::{InputKind, Status};
use crate::results::data::{Data, distinct, total};
use crate::results::study::Study;
use crate::stats::{BOOTSTRAP_MIN_SAMPLES, BOOTSTRAP_RESAMPLES, Percentile};
use crate::store::schema::ResultRow;

/// A macro: letters only, and its text before escaping.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Macro {
    /// `mpConfigurations`
    pub name: String,
    /// Plain text.
    pub value: String,
    /// What it follows from.
    #[serde(skip)]
    pub origin: Origin,
}

/// What a number of the prose follows from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Origin {
    /// The manifest's settings, or the program.
    #[default]
    Plan,
    /// The rows of these configurations, by id.
    Rows(Vec<String>),
    /// The verdicts on all claims.
    Verdicts,
    /// The rows of the run and of its repeats.
    Repeats,
    /// Files that hold no rows, in words.
    Files(&'static str),
}

/// Every macro, in a fixed order: the set does not depend on the results, so prose always compiles. Of several machines
/// prose speaks of the first, as a GPU that measured most: `found` are its headlines.
pub fn macros(study: &Study, found: &[Headline], verdicts: &[Verdict], repeats: &[Agreement]) -> Vec<Macro> {
    let data = &study.main;
    let experiments: Vec<&Data> = std::iter::once(data).chain(&study.others).collect();
    let mut all = Vec::new();
    run(data, &mut all);
    trace(&mut all, 0, &of_rows(data.measured()));
    put(&mut all, "Others", list(study.others.iter().map(|other| other.plan.name.clone())));
    put(&mut all, "OthersSentence", sentences::study::others(study));
    protocol(data, &mut all);
    for one in found {
        headline(one, &mut all);
    }
    repeatability(data, repeats, &mut all);
    let start = all.len();
    for preset in [Preset::Fp16, Preset::Bf16, Preset::Hybrid] {
        policy(&experiments, preset, &mut all);
        passes(&experiments, preset, &mut all);
        by_input(&experiments, preset, &mut all);
    }
    put(&mut all, "SilentRowsSentence", quality::silent_rows(&experiments));
    put(&mut all, "FpSixteenQualitySentence", quality::quality(&experiments, Preset::Fp16));
    put(&mut all, "HybridQualitySentence", quality::quality(&experiments, Preset::Hybrid));
    // What of these looks at fewer rows says so itself.
    trace(&mut all, start, &of_rows(experiments.iter().flat_map(|data| data.measured())));
    headroom(&experiments, &mut all);
    for (name, sentence, files) in [
        ("SearchesSentence", sentences::searches::sentence(&study.searches), "the certificates of `mixprec search`"),
        ("PeersSentence", sentences::peers::sentence(&study.peers), "peers.csv and peers.json of `make peers`"),
    ] {
        let start = all.len();
        put(&mut all, name, sentence);
        trace(&mut all, start, &Origin::Files(files));
    }
    let start = all.len();
    for (name, outcome) in [
        ("ClaimsPass", Outcome::Pass),
        ("ClaimsFail", Outcome::Fail),
        ("ClaimsUndecided", Outcome::Undecided),
        ("ClaimsNotRun", Outcome::NotRun),
        ("ClaimsNoHardware", Outcome::NoHardware),
    ] {
        put(&mut all, name, count(verdicts, outcome).to_string());
    }
    let limited = |verdict: &&Verdict| verdict.outcome == Outcome::Pass && !verdict.evidence().limits().is_empty();
    put(&mut all, "ClaimsPassLimited", of_paper(verdicts).filter(limited).count().to_string());
    put(&mut all, "Claims", of_paper(verdicts).count().to_string());
    trace(&mut all, start, &Origin::Verdicts);
    for verdict in verdicts {
        self::verdict(verdict, &mut all);
    }
    all
}

/// The verdict on a claim or a finding, and under `Second` that on the second reading.
fn verdict(judged: &Verdict, all: &mut Vec<Macro>) {
    let verdict = WordedVerdict::of(judged);
    let origins = judged.readings().map(|reading| Origin::Rows(reading.provenance()));
    let name = if verdict.finding.is_some() { "Finding" } else { "Claim" };
    let name = format!("{name}{}", in_letters(&verdict.id));
    for ((reading, second), origin) in verdict.readings().zip(["", "Second"]).zip(origins) {
        let start = all.len();
        put(all, &format!("{name}{second}Verdict"), reading.outcome.label().to_owned());
        if let Some(value) = reading.paper_value.clone().filter(|_| second.is_empty()) {
            put(all, &format!("{name}Paper"), value);
        }
        put(all, &format!("{name}{second}Here"), reading.measured.clone().unwrap_or_default());
        put(all, &format!("{name}{second}Why"), reading.why.clone());
        trace(all, start, &origin);
    }
}

/// `C10` as `COneZero`: names of macros have letters only.
fn in_letters(id: &str) -> String {
    const DIGITS: [&str; 10] = ["Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine"];
    let letter = |c: char| match c.to_digit(10) {
        Some(digit) => DIGITS[digit as usize].to_owned(),
        None => c.to_string(),
    };
    id.chars().filter(char::is_ascii_alphanumeric).map(letter).collect()
}

/// A quantity of the abstract: how many values, the typical one, the extremes, and the sentence about them.
fn headline(found: &Headline, all: &mut Vec<Macro>) {
    let text = |value: Option<Ranged>| value.map(|value| found.quoted(value)).unwrap_or_default();
    let start = all.len();
    put(all, &format!("{}Count", found.spec.key), numbers::count(found.count() as u64));
    put(all, &format!("{}Typical", found.spec.key), text(found.typical()));
    put(all, &format!("{}Lowest", found.spec.key), text(found.lowest().map(|located| located.value)));
    put(all, &format!("{}Highest", found.spec.key), text(found.highest().map(|located| located.value)));
    put(all, &format!("{}Sentence", found.spec.key), found.sentence());
    let of = |located: Option<&HeadlineValue>| Origin::Rows(located.map(|one| one.rows.clone()).unwrap_or_default());
    trace(&mut all[..start + 3], start + 2, &of(found.lowest()));
    trace(&mut all[..start + 4], start + 3, &of(found.highest()));
    trace(all, start, &Origin::Rows(found.rows()));
}

/// The noise within the run, and between the run and its repeats.
fn repeatability(data: &Data, repeats: &[Agreement], all: &mut Vec<Macro>) {
    let start = all.len();
    put(all, "NoiseSentence", sentences::noise::sentence(data));
    trace(all, start, &of_rows(data.measured().filter(|row| row.aa_ratio.is_some())));
    for (name, backend) in [
        ("Cuda", BackendKind::Cuda),
        ("TensorRt", BackendKind::TensorRt),
        ("OnnxRuntime", BackendKind::OnnxRuntime),
        ("Reference", BackendKind::Reference),
    ] {
        let found = noise::floor(data, backend);
        let floor = found.as_ref().map(|found| numbers::percent(found.floor));
        let start = all.len();
        put(all, &format!("NoiseFloor{name}"), floor.unwrap_or_default());
        trace(all, start, &of_rows(found.iter().flat_map(|found| found.rows.iter().copied())));
    }
    let start = all.len();
    put(all, "RepeatSentence", sentences::agreement::of_repeats(repeats));
    put(all, "RepeatShort", sentences::agreement::shares_of_repeats(repeats));
    trace(all, start, &Origin::Repeats);
}

fn put(all: &mut Vec<Macro>, name: &str, value: String) {
    let value = if value.is_empty() { "n/a".to_owned() } else { value };
    all.push(Macro { name: format!("mp{name}"), value, origin: Origin::Plan });
}

/// Says that the macros from `start` on follow from this.
fn trace(all: &mut [Macro], start: usize, origin: &Origin) {
    all.iter_mut().skip(start).filter(|one| one.origin == Origin::Plan).for_each(|one| one.origin = origin.clone());
}

fn of_rows<'a>(rows: impl IntoIterator<Item = &'a ResultRow>) -> Origin {
    Origin::Rows(distinct(rows.into_iter().map(|row| row.id.clone())))
}

fn run(data: &Data, all: &mut Vec<Macro>) {
    let rows = &data.rows;
    put(all, "PlanName", data.plan.name.clone());
    put(all, "Question", data.plan.question.clone());
    put(all, "ManifestDigest", prefix(&data.plan.manifest_sha256));
    put(all, "Configurations", numbers::count(data.plan.configurations.len() as u64));
    put(all, "Measured", numbers::count(data.count(Status::Ok) as u64));
    put(all, "BuiltOnly", numbers::count(data.count(Status::Built) as u64));
    put(all, "Failed", numbers::count(data.count(Status::Failed) as u64));
    put(all, "Pending", numbers::count(data.count(Status::Pending) as u64));
    put(all, "Excluded", numbers::count(data.plan.excluded.len() as u64));
    put(all, "Samples", numbers::count(total(rows.iter().filter_map(|row| row.samples))));
    let emulated = data.measured().filter(|row| row.emulated == Some(true)).count();
    put(all, "Emulated", numbers::count(emulated as u64));
    put(all, "Models", list(rows.iter().map(|row| row.model.clone())));
    put(all, "WeightsSentence", sentences::study::weights(data).to_owned());
    put(all, "Weights", list(data.measured().filter_map(|row| row.model_provenance.clone())));
    put(all, "Backends", list(rows.iter().map(|row| row.backend.to_string())));
    put(all, "Precisions", list(rows.iter().map(|row| row.precision.clone())));
    put(all, "Inputs", list(rows.iter().map(|row| row.input.clone())));
    put(all, "BatchSizes", sorted(rows.iter().map(|row| row.batch_size)));
    put(all, "SequenceLengths", sorted(rows.iter().map(|row| row.sequence_length)));
    put(all, "Baseline", baselines(data));
    let environments = || data.environments.values();
    put(all, "Processor", processors(environments()));
    // Rows of the baseline are bound to other CPUs than builds and GPU rows may be.
    let of_cpu = data.measured().filter(|row| row.device == DeviceKind::Cpu && row.emulated != Some(true));
    let of_cpu = distinct(of_cpu.filter_map(|row| row.environment.as_deref()));
    put(all, "BaselineProcessor", processors(of_cpu.into_iter().filter_map(|id| data.environments.get(id))));
    let memory = environments().filter_map(|environment| environment.machine.memory_bytes);
    put(all, "Memory", distinct(memory.map(numbers::gibibytes)).join("; "));
    let gpus = data.gpus();
    put(all, "Gpus", if gpus.is_empty() { "none".to_owned() } else { gpus.join("; ") });
    put(all, "Program", distinct(environments().map(|environment| environment.build.summary())).join("; "));
    put(all, "Engines", list(data.rows.iter().filter_map(engine_library)));
    let on_gpu = data.measured().filter(|row| row.device == DeviceKind::Gpu).filter_map(|row| row.wall_s);
    let on_gpu: Vec<f64> = on_gpu.collect();
    let minutes = (!on_gpu.is_empty()).then(|| format!("{} min", numbers::fixed(on_gpu.iter().sum::<f64>() / 60.0, 1)));
    put(all, "GpuTime", minutes.unwrap_or_default());
    let threads = distinct(data.measured().filter_map(|row| row.threads));
    put(all, "Threads", threads.iter().map(u64::to_string).collect::<Vec<_>>().join(", "));
}

fn protocol(data: &Data, all: &mut Vec<Macro>) {
    let limits = &data.plan.measurement;
    put(all, "Warmup", limits.warmup.to_string());
    put(all, "MinSamples", limits.min_samples.to_string());
    put(all, "MaxSamples", numbers::count(limits.max_samples as u64));
    put(all, "TargetPrecision", format!("{} %", trimmed(limits.target_precision * 100.0)));
    put(all, "TimeCap", format!("{} s", trimmed(limits.time_cap_s)));
    put(all, "Timeout", format!("{} s", trimmed(limits.timeout_s)));
    put(all, "CompareSequences", data.plan.numerics.compare_sequences.to_string());
    put(all, "BootstrapResamples", BOOTSTRAP_RESAMPLES.to_string());
    put(all, "BootstrapMinSamples", BOOTSTRAP_MIN_SAMPLES.to_string());
    for (name, percentile) in
        [("Ninety", Percentile::P90), ("NinetyFive", Percentile::P95), ("NinetyNine", Percentile::P99)]
    {
        put(all, &format!("Min{name}"), percentile.min_samples().to_string());
    }
}

fn stem(preset: Preset) -> &'static str {
    match preset {
        Preset::Fp16 => "FpSixteen",
        Preset::Bf16 => "BfSixteen",
        Preset::Hybrid => "Hybrid",
        Preset::Fp32 => "FpThirtyTwo",
        Preset::Tf32 => "TfThirtyTwo",
    }
}

/// Forward passes of a policy and what failed in them, over models as they are and over those with an injected outlier.
fn passes(experiments: &[&Data], preset: Preset, all: &mut Vec<Macro>) {
    for (prefix, injected) in [("", false), ("Injected", true)] {
        let wanted = |row: &&ResultRow| row.precision == preset.name() && row.injection.is_some() == injected;
        let rows: Vec<&ResultRow> = experiments.iter().flat_map(|data| data.measured()).filter(wanted).collect();
        let start = all.len();
        let mut sum = |name: &str, of: fn(&ResultRow) -> Option<u64>| {
            let known: Vec<u64> = rows.iter().filter_map(|row| of(row)).collect();
            let text = if known.is_empty() { String::new() } else { numbers::count(total(known.iter().copied())) };
            put(all, &format!("{prefix}{}{name}", stem(preset)), text);
        };
        sum("Forwards", |row| row.forwards);
        sum("ForwardsWithNan", |row| row.nan_forwards);
        sum("ForwardsWithInf", |row| row.inf_forwards);
        sum("ForwardsSilent", |row| row.silent_forwards);
        // Only where tensors could be looked at: elsewhere nobody knows.
        sum("ForwardsWatched", |row| row.forwards.filter(|_| row.silent_forwards.is_some()));
        let silent = rows.iter().filter(|row| row.silent_forwards.is_some_and(|forwards| forwards > 0));
        let models = list(silent.map(|row| row.model.clone()));
        let models = if models.is_empty() { "none".to_owned() } else { models };
        put(all, &format!("{prefix}{}SilentModels", stem(preset)), models);
        trace(all, start, &of_rows(rows));
    }
}

/// What the outputs of trained models show under a policy, by kind of input: smallest cosine of all passes and of the first,
/// and how many passes failed, and failed silently inside.
fn by_input(experiments: &[&Data], preset: Preset, all: &mut Vec<Macro>) {
    let trained: Vec<&ResultRow> = trained(experiments, preset).filter(|row| row.forwards > Some(1)).collect();
    for (name, kind) in
        [("Text", InputKind::Text), ("Random", InputKind::Random), ("Separators", InputKind::RandomWithSeparators)]
    {
        let rows: Vec<&ResultRow> = trained.iter().copied().filter(|row| row.input_kind == kind).collect();
        let start = all.len();
        let mut smallest = |which: &str, of: fn(&ResultRow) -> Option<f64>| {
            let found = rows.iter().filter_map(|row| of(row)).reduce(f64::min);
            put(all, &format!("{}{name}{which}", stem(preset)), found.map(numbers::short_cosine).unwrap_or_default());
        };
        smallest("Cosine", smallest_cosine);
        smallest("FirstCosine", |row| row.cosine_min);
        let mut count = |which: &str, of: fn(&ResultRow) -> Option<u64>| {
            let known = rows.iter().filter_map(|row| of(row).zip(row.forwards));
            let sum = known.reduce(|(a, b), (more, passes)| (a + more, b + passes));
            let text = sum.map(|(bad, passes)| format!("{} of {}", numbers::count(bad), numbers::count(passes)));
            put(all, &format!("{}{name}{which}", stem(preset)), text.unwrap_or_default());
        };
        count("Failed", |row| row.failed_forwards);
        count("Silent", |row| row.silent_forwards);
        trace(all, start, &of_rows(rows));
    }
}

/// Rows of a policy with a checkpoint's weights as they are.
fn trained<'a>(experiments: &[&'a Data], preset: Preset) -> impl Iterator<Item = &'a ResultRow> {
    let wanted = move |row: &&ResultRow| row.precision == preset.name() && row.injection.is_none();
    let is_trained = |row: &&ResultRow| row.weights().is_some_and(|weights| !weights.is_random());
    experiments.iter().flat_map(|data| data.measured()).filter(wanted).filter(is_trained)
}

/// Where the models as they are come closest to FP16's end.
fn headroom(experiments: &[&Data], all: &mut Vec<Macro>) {
    let injected = |data: &Data, model: &str| data.rows.iter().any(|row| row.model == model && row.injection.is_some());
    let mut found: Vec<headroom::Headroom> = Vec::new();
    for data in experiments {
        found.extend(headroom::of(data).into_iter().filter(|found| !injected(data, found.model)));
    }
    let tightest = found
        .iter()
        .filter_map(|found| found.tightest().map(|(place, worst)| (found, place, worst)))
        .reduce(|a, b| if b.2.bits < a.2.bits { b } else { a });
    let text = |of: &dyn Fn(&headroom::Headroom, MagnitudeKind, Worst) -> String| {
        tightest.map(|(found, place, worst)| of(found, place, worst)).unwrap_or_default()
    };
    let start = all.len();
    put(all, "HeadroomBits", text(&|_, _, worst| numbers::fixed(worst.bits, 1)));
    put(all, "HeadroomMagnitude", text(&|_, _, worst| numbers::magnitude(worst.magnitude)));
    put(all, "HeadroomModel", text(&|found, _, _| found.model.to_owned()));
    put(all, "HeadroomInput", text(&|found, _, _| found.input.to_owned()));
    put(all, "HeadroomOperation", text(&|_, place, _| place_name(place).to_owned()));
    trace(all, start, &of_rows(tightest.iter().flat_map(|(found, ..)| found.rows.iter().copied())));
}

/// The worst numerics of a policy over everything measured of models as they are: an injected outlier is left out. The
/// cosine is that of trained models, over all passes.
fn policy(experiments: &[&Data], preset: Preset, all: &mut Vec<Macro>) {
    let stem = stem(preset);
    let of_policy = |row: &&ResultRow| row.precision == preset.name() && row.injection.is_none();
    let rows: Vec<&ResultRow> = experiments.iter().flat_map(|data| data.measured()).filter(of_policy).collect();
    let with_nan = rows.iter().filter(|row| has_nan(row)).count();
    let start = all.len();
    put(all, &format!("{stem}Rows"), numbers::count(rows.len() as u64));
    put(
        all,
        &format!("{stem}RowsWithNan"),
        if rows.is_empty() { String::new() } else { numbers::count(with_nan as u64) },
    );
    let worst = trained(experiments, preset).filter_map(smallest_cosine).reduce(f64::min);
    put(all, &format!("{stem}CosineMin"), worst.map(numbers::cosine).unwrap_or_default());
    let largest = rows.iter().filter_map(|row| row.max_abs_error).reduce(f64::max);
    put(all, &format!("{stem}MaxAbs"), largest.map(numbers::magnitude).unwrap_or_default());
    trace(all, start, &of_rows(rows));
}

fn sorted(values: impl Iterator<Item = u64>) -> String {
    let mut values = distinct(values);
    values.sort_unstable();
    values.iter().map(u64::to_string).collect::<Vec<_>>().join(", ")
}

fn trimmed(x: f64) -> String {
    let text = numbers::significant(x, 3);
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

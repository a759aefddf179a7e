//! The search for what must stay in FP32: what it finds, what it writes, and what it refuses. An outlier is injected into tiny
//! models, so that the layer norms that read it overflow in FP16.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use mixprec::backend::reference::{ReferenceBackend, oracle_outputs};
use mixprec::engine::{Backend, BackendKind, BuildRequest};
use mixprec::graph::{Format, PrecisionPolicy, Preset, Rounding, Shape};
use mixprec::input::{InputSource, InputStream};
use mixprec::manifest::schema::{InputEntry, Manifest, ModelEntry, Numerics, SearchTolerance};
use mixprec::model::{Architecture, Head, Injection, Model, ModelSource};
use mixprec::record::certificate::PolicyTiming;
use mixprec::search::{SearchError, SearchRequest, search};
use serde_json::Value;
use tempfile::TempDir;

use crate::checkpoint::Checkpoint;
use crate::experiment::{Cells, Experiment, text};
use crate::fixtures::{python, tiny::committed};
use crate::{assert_says, expect};

const SHAPE: Shape = Shape { batch: 2, sequence: 8 };
const COSINE_MIN: f64 = 0.999;
const OUTLIER: Injection = Injection { layer: 0, channel: 5, magnitude: 300.0 };

fn source(architecture: Architecture) -> ModelSource {
    let random = Box::new(ModelSource::Random { seed: 1, architecture });
    ModelSource::Injected { source: random, inject: OUTLIER }
}

fn request(architecture: Architecture, dir: &Path) -> SearchRequest {
    SearchRequest {
        model: ModelEntry { name: "tiny".to_owned(), source: source(architecture), head: Head::Natural },
        input: InputEntry { name: "random".to_owned(), source: InputSource::Random { seed: 7 } },
        base_dir: PathBuf::from("."),
        start: PrecisionPolicy::preset(Preset::Fp16),
        tolerance: SearchTolerance { cosine_min: Some(COSINE_MIN), max_broken_rows: Some(0), ..Default::default() },
        settings: Numerics::DEFAULT,
        backend: BackendKind::Reference,
        confirm: None,
        shape: SHAPE,
        timed_shapes: vec![],
        forwards: 4,
        held_out: 6,
        supersets: 5,
        seed: 1,
        threads: 1,
        dir: dir.to_owned(),
        shared: dir.to_owned(),
    }
}

fn json(dir: &Path) -> Value {
    serde_json::from_str(&fs::read_to_string(dir.join("certificate.json")).unwrap()).unwrap()
}

/// Smallest cosine of a policy's output rows to float64, over these forwards.
fn cosine_min(model: &Arc<Model>, policy: &PrecisionPolicy, forwards: std::ops::Range<usize>) -> f64 {
    let input = InputStream::open(&InputSource::Random { seed: 7 }, Path::new("."), model).unwrap();
    let request = BuildRequest::new(model.clone(), policy.clone(), SHAPE, 1);
    let mut engine = ReferenceBackend::default().build(&request).unwrap().engine.unwrap();
    let cosines = forwards.flat_map(|forward| {
        let batch = input.batch(SHAPE, forward * SHAPE.batch).unwrap();
        engine.bind(&batch).unwrap();
        engine.enqueue().unwrap();
        let output = engine.outputs().unwrap();
        let exact = oracle_outputs(model, &batch, 1).unwrap();
        let rows = output.values.chunks(output.width).zip(exact.chunks(output.width));
        let cosine = |(ours, exact): (&[f32], &[f64])| {
            let sum = |of: fn(f64, f64) -> f64| {
                ours.iter().zip(exact).map(|(&ours, &exact)| of(ours.into(), exact)).sum::<f64>()
            };
            let cosine = sum(|a, b| a * b) / (sum(|a, _| a * a) * sum(|_, b| b * b)).sqrt();
            // A row of zeros, which a silent norm may leave, has no direction.
            if cosine.is_nan() { 0.0 } else { cosine }
        };
        rows.map(cosine).collect::<Vec<_>>()
    });
    cosines.fold(1.0, f64::min)
}

/// Each of both families has norms that read the outlier.
#[test]
fn the_set_suffices_on_every_forward_and_every_member_is_needed_by_float64() {
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
        let dir = tempfile::tempdir().unwrap();
        let found = search(&request(architecture, dir.path()), &mut |_| {}).unwrap();
        let model = Arc::new(Model::open("tiny", &source(architecture), Path::new("."), Head::Natural).unwrap());
        let names: Vec<&str> = found.operations.iter().map(|one| one.op.as_str()).collect();
        assert!(!names.is_empty() && names.iter().all(|name| name.contains("layer_norm")), "{names:?}");
        let first = found.start_breaks.unwrap().forward;
        assert!(cosine_min(&model, &PrecisionPolicy::preset(Preset::Fp16), first..first + 1) < COSINE_MIN);
        let sufficient = cosine_min(&model, &found.policy, 0..10);
        assert!(sufficient >= COSINE_MIN, "{sufficient}");
        let stated = [found.searched.cosine_min, found.held_out.totals.cosine_min].map(Option::unwrap);
        assert!((stated[0].min(stated[1]) - sufficient).abs() < 1e-5, "{stated:?} {sufficient}");
        for one in &found.operations {
            let mut policy = found.policy.clone();
            assert_eq!(policy.overrides.remove(&one.op), Some(Rounding::uniform(Format::Fp32)));
            let forward = one.without.forward;
            let cosine = cosine_min(&model, &policy, forward..forward + 1);
            assert!(cosine < COSINE_MIN, "{} is not needed: {cosine}", one.op);
        }
        assert_eq!((found.held_out.breaking.len(), found.held_out.totals.forwards), (0, 6));
        // 1 - 0.025^(1/6)
        assert!((found.held_out.breaking_share.unwrap().high - 0.459_258).abs() < 1e-6);
        assert_eq!(found.monotonicity.violations, []);
    }
}

/// The journal cut at every twentieth byte is what a kill leaves there.
#[test]
fn a_search_that_was_killed_anywhere_ends_with_the_same_files() {
    let dir = tempfile::tempdir().unwrap();
    let request = request(Architecture::Gpt2Tiny, dir.path());
    let without_times = |dir: &Path| {
        let mut found = json(dir);
        found["evaluations"]["wall_s"] = Value::Null;
        let policy = fs::read_to_string(dir.join("policy.yaml")).unwrap();
        (found, policy)
    };
    search(&request, &mut |_| {}).unwrap();
    let whole = without_times(dir.path());
    let journal = dir.path().join("search.jsonl");
    let bytes = fs::read(&journal).unwrap();
    for cut in [0, 1, 5, 9, 13, 17, 19].map(|part| bytes.len() * part / 20) {
        fs::write(&journal, &bytes[..cut]).unwrap();
        fs::remove_file(dir.path().join("policy.yaml")).unwrap();
        search(&request, &mut |_| {}).unwrap();
        assert_eq!(without_times(dir.path()), whole, "cut at {cut}");
    }
    let again = fs::read(&journal).unwrap();
    search(&request, &mut |_| {}).unwrap();
    assert_eq!(fs::read(&journal).unwrap(), again, "what is known does not run again");
}

/// Mock engines return hashes: no policy of theirs is near the reference, and the search says so instead of a set.
#[test]
fn the_seam_alone_is_used_and_an_engine_that_nothing_repairs_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let request = SearchRequest { backend: BackendKind::Mock, ..request(Architecture::BertTiny, dir.path()) };
    let error = search(&request, &mut |_| {}).unwrap_err();
    assert!(matches!(error, SearchError::Unreachable { .. }), "{error}");
    assert_says(
        &error.to_string(),
        &["every operation in FP32 still breaks", "forward 0: smallest cosine", "--backend"],
    );
    assert!(!dir.path().join("policy.yaml").exists());
    let confirmed = SearchRequest { backend: BackendKind::Reference, confirm: Some(BackendKind::Mock), ..request };
    let found = search(&confirmed, &mut |_| {}).unwrap();
    let confirmation = found.confirmation.as_ref().unwrap();
    assert_eq!((confirmation.breaks.map(|found| found.forward), confirmation.unneeded.len()), (Some(0), 0));
    assert!(!found.is_confirmed());
}

#[test]
fn the_policy_found_runs_in_a_manifest_and_keeps_the_tolerance_that_fp16_breaks() {
    let models =
        "{tiny-injected: {random: 1, architecture: bert-tiny, inject: {layer: 0, channel: 5, magnitude: 300}}}";
    let more = "numerics: {forwards: 10}\ntolerances: {fp16: {cosine_min: 0.999, max_broken_rows: 0}}";
    let cells = Cells { models, precisions: "[fp16]", batch_sizes: "[2]", more, ..Cells::default() };
    let experiment = Experiment::new(&cells);
    let dir = experiment.folder().join("found");
    let common = ["--model", "tiny-injected", "--input", "random", "--batch", "2", "--seq", "8"];
    let sizes = ["--forwards", "4", "--held-out", "6", "--out", text(&dir)];
    let (stdout, stderr) = expect(0, &[&["search", text(&experiment.yaml())], &common[..], &sizes].concat());
    assert!(stdout.contains("layer.0/mlp/layer_norm: without it forward "), "{stdout}");
    assert!(stdout.contains("0 of 6 held-out forwards break the tolerance (0.0 to 45.9 %, 95 %)"), "{stdout}");
    assert!(stderr.contains("0 in FP32: broken at forward 0: NaN and infinities 1024, limit 0"), "{stderr}");
    assert!(stderr.contains("policy.yaml; certificate: "), "{stderr}");
    let page = fs::read_to_string(dir.join("certificate.md")).unwrap();
    assert!(page.contains("layer.0/mlp/layer\\_norm | -0.4"), "{page}");

    let policy = fs::read_to_string(dir.join("policy.yaml")).unwrap();
    let policy: String =
        policy.lines().filter(|line| !line.starts_with('#')).map(|line| format!("\n    {line}")).collect();
    let precisions = format!("\n  - fp16\n  -{policy}");
    let more = "numerics: {forwards: 10}\ntolerances: {fp16: {cosine_min: 0.999}, \
                fp16-searched: {cosine_min: 0.999, max_broken_rows: 0}}";
    experiment.manifest(&Cells { precisions: &precisions, more, count: 2, ..cells });
    let loaded = Manifest::load(&experiment.yaml()).unwrap();
    let found = serde_json::to_value(&loaded.manifest.precisions[1]).unwrap();
    assert_eq!(found, json(&dir)["policy"]);
    experiment.run(1);
    let kept: Vec<_> = experiment.rows().iter().map(|row| (row.within_tolerance, row.broken_rows)).collect();
    assert_eq!(kept[1], (Some(true), Some(0)), "{kept:?}");
    assert_eq!(kept[0].0, Some(false));
}

#[test]
fn the_searches_of_a_manifest_run_by_one_command_and_share_what_they_evaluate() {
    let models =
        "{tiny-injected: {random: 1, architecture: bert-tiny, inject: {layer: 0, channel: 5, magnitude: 300}}}";
    let more = "searches:\n  - {model: tiny-injected, input: random, batch_size: 2, sequence_length: 8, forwards: 3, held_out: 2, \
                tolerances: [{max_broken_rows: 0}, {cosine_min: 0.999}]}";
    let cells = Cells { models, more, ..Cells::default() };
    let experiment = Experiment::new(&cells);
    let dir = experiment.folder().join("searches");
    let (stdout, _) = expect(0, &["search", text(&experiment.yaml()), "--out", text(&dir)]);
    assert_eq!(stdout.matches("need FP32 for tiny-injected on random").count(), 2, "{stdout}");
    let shared = dir.join("tiny-injected-random-fp16-2x8");
    let journal = fs::read(shared.join("search.jsonl")).unwrap();
    let sets: Vec<_> = ["max_broken_rows=0", "cosine_min=0.999"].map(|limit| json(&shared.join(limit))).into();
    assert_eq!(sets[0]["operations"][0]["op"], sets[1]["operations"][0]["op"]);
    let evaluated: u64 = sets.iter().map(|found| found["evaluations"]["forwards"].as_u64().unwrap()).sum();
    let lines = journal.iter().filter(|&&byte| byte == b'\n').count() as u64;
    assert!(
        lines < evaluated,
        "{lines} lines of {evaluated} forwards: the second search knows what the first evaluated"
    );
    expect(0, &["search", text(&experiment.yaml()), "--out", text(&dir)]);
    assert_eq!(fs::read(shared.join("search.jsonl")).unwrap(), journal, "nothing runs again");

    let (run, report) = (experiment.folder().join("run"), experiment.folder().join("report"));
    expect(0, &["run", text(&experiment.yaml()), "--out", text(&run)]);
    expect(0, &["report", text(&run), "--search", text(&dir), "--out", text(&report)]);
    let table = fs::read_to_string(report.join("searches.tex")).unwrap();
    assert!(table.contains("no broken row") && table.contains("cosine at least 0.999"), "{table}");
    let (_, said) = expect(2, &["report", text(&run), "--search", text(&run), "--out", text(&report)]);
    assert_says(&said, &["no certificate.json", "mixprec search"]);
    let (_, said) = expect(2, &["search", text(&experiment.yaml()), "--forwards", "3"]);
    assert!(said.contains("--model"), "{said}");
    experiment.manifest(&Cells { more: "", ..cells });
    let (_, said) = expect(2, &["search", text(&experiment.yaml())]);
    assert_says(&said, &["no `searches:`", "--model and --input"]);
}

/// tests/golden/certificate.py computes every forward itself.
#[test]
fn an_independent_program_confirms_the_certificate_of_a_trained_like_checkpoint() {
    let folder = committed("bert-trunk");
    let dir = tempfile::tempdir().unwrap();
    let checkpoint = ModelSource::Checkpoint { path: folder.clone(), sha256: None };
    let source = ModelSource::Injected { source: Box::new(checkpoint), inject: OUTLIER };
    let model = ModelEntry { name: "trunk".to_owned(), source, head: Head::Natural };
    let found = search(&SearchRequest { model, ..request(Architecture::BertTiny, dir.path()) }, &mut |_| {}).unwrap();
    assert!(!found.operations.is_empty());
    let inject = ["--inject", "0", "5", "300"];
    let check = |dir: &Path| python("golden/certificate.py", &[&[text(&folder), text(dir)], &inject[..]].concat());
    let Some(report) = check(dir.path()) else { return };
    assert_eq!(report.matches("ok: without ").count(), found.operations.len(), "{report}");
    assert!(
        report.contains("ok: the set over 4 searched") && report.contains("ok: the set over 6 held-out"),
        "{report}"
    );
}

#[test]
fn a_start_that_keeps_the_tolerance_needs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let start = PrecisionPolicy::preset(Preset::Hybrid);
    let found = search(&SearchRequest { start, ..request(Architecture::BertTiny, dir.path()) }, &mut |_| {}).unwrap();
    assert_eq!((found.operations.len(), found.start_breaks, found.policy.name.as_str()), (0, None, "hybrid"));
    let policy = fs::read_to_string(dir.path().join("policy.yaml")).unwrap();
    assert_eq!(policy.lines().last(), Some("hybrid"));
    let page = fs::read_to_string(dir.path().join("certificate.md")).unwrap();
    assert!(page.contains("keeps the tolerance as it is: no operation needs FP32"), "{page}");
    assert!(page.contains("Not timed: reference has no device of its own; `--backend cuda`"), "{page}");
    assert!(matches!(&found.timing, Some(PolicyTiming::NotTimed(reason)) if reason.contains("--confirm cuda")));
}

#[test]
fn classifiers_on_sentences_are_searched_by_their_decisions() {
    let folder = Folder::new();
    let checkpoint = Checkpoint::bert().with_value("bert.encoder.layer.0.output.dense.bias", 3, 300.0);
    checkpoint.write(&folder.path("bert"));
    let lines: String = ["the film is great", "a dull plot", "it was not bad", "weak cast and dull story"]
        .iter()
        .flat_map(|sentence| [format!("{sentence}\t1\n"), format!("{sentence} but fine\t0\n")])
        .collect();
    fs::write(folder.path("dev.tsv"), format!("sentence\tlabel\n{lines}")).unwrap();
    let (model, input, out) = (folder.path("bert"), folder.path("dev.tsv"), folder.path("out"));
    let sizes = ["--forwards", "5", "--held-out", "3", "--seq", "16"];
    let names = ["--model", text(&model), "--input", text(&input), "--out", text(&out)];
    let limits = ["--tolerance", "max_flips=0,cosine_min=0.9999"];
    expect(0, &[&["search"], &names[..], &sizes, &limits].concat());
    let found = json(&out);
    assert_eq!(found["operations"][0]["op"], "layer.0/mlp/layer_norm", "{found}");
    assert_eq!((&found["searched"]["flips"], &found["searched"]["compared_rows"]), (&0.into(), &5.into()));
}

struct Folder(TempDir);

impl Folder {
    fn new() -> Self {
        Folder(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[test]
fn what_cannot_be_searched_is_refused_with_the_place_and_the_cure() {
    let folder = Folder::new();
    Checkpoint::bert().write(&folder.path("bert"));
    fs::write(folder.path("story.txt"), "the film is great ".repeat(40)).unwrap();
    let (model, story, out) = (folder.path("bert"), folder.path("story.txt"), folder.path("out"));
    let refusal = |arguments: &[&str]| {
        let common = ["search", "--model", text(&model), "--out", text(&out)];
        expect(2, &[&common[..], arguments].concat()).1
    };
    let random = ["--input", "random:7", "--seq", "8"];
    let with = |more: &[&'static str]| refusal(&[&random[..], more].concat());
    assert_says(&refusal(&["--input", "random:x"]), &["--input `random:x`", "write random:7"]);
    assert_says(&refusal(&["--input", text(&story), "--seq", "16"]), &["`story` has", "rows of 16", "--held-out"]);
    assert_says(&with(&["--start", "fp8"]), &["--start `fp8`", "fp32, tf32, fp16, bf16, hybrid"]);
    assert_says(&with(&["--forwards", "0"]), &["at least one forward", "--forwards"]);
    let shape = with(&["--time", "8x8,8"]);
    assert!(shape.contains("`8` is no shape; write batch size and sequence length, as in 8x128"), "{shape}");
    assert_says(&with(&["--time", "1x4096"]), &["`time` asks for 1x4096", "positions", "take it out"]);
    let long =
        refusal(&["--input", text(&story), "--forwards", "1", "--held-out", "0", "--seq", "8", "--time", "4000x8"]);
    assert_says(&long, &["`time` asks for 4000x8", "`story` has", "rows of 8 tokens", "take it out"]);
    let ratio = with(&["--tolerance", "max_perplexity_ratio=1.1"]);
    assert_says(&ratio, &["`max_perplexity_ratio` limits", "class logits", "--tolerance"]);
    let ratio = ["search", "--model", "gpt2-tiny:1", "--input", "random:7", "--seq", "8", "--out", text(&out)];
    let (_, ratio) = expect(2, &[&ratio[..], &["--tolerance", "max_perplexity_ratio=1.1"]].concat());
    assert_says(&ratio, &["`max_perplexity_ratio` limits", "input `random` is no running text", "--tolerance"]);
    let unknown = with(&["--tolerance", "cosine=0.9"]);
    assert!(unknown.contains("`cosine` is no limit; limits are cosine_min, max_broken_rows"), "{unknown}");
    let experiment = Experiment::new(&Cells::default());
    let named = |model: &str, input: &str| {
        expect(2, &["search", text(&experiment.yaml()), "--model", model, "--input", input]).1
    };
    assert_says(&named("bert", "random"), &["--model `bert` is not in the manifest, which has tiny"]);
    assert_says(&named("tiny", "story"), &["--input `story` is not in the manifest, which has random"]);
}

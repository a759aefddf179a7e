//! A run with a repeat and other experiments beside it; headlines, noise floor, reasons of verdicts.

use std::path::Path;

use mixprec::claims::{Claims, judge_study};
use mixprec::engine::BackendKind;
use mixprec::graph::Preset;
use mixprec::plan::Configuration;
use mixprec::record::AaTest;
use mixprec::report::sentences::claims::WordedVerdict;
use mixprec::report::{Files, report_with};
use mixprec::results::peers::PeerRow;
use mixprec::results::study::Study;

use super::render::{rendered, rendered_with, text};
use super::{fixture, machines};

/// Native engines of one shape against themselves: 20 rounds within 1 % of each other, wider on the CPU.
pub fn aa_test(configuration: &Configuration) -> Option<Result<AaTest, String>> {
    let spread = match configuration.backend {
        BackendKind::Cuda => 0.01,
        BackendKind::OnnxRuntime => 0.04,
        _ => return None,
    };
    if (configuration.shape.batch, configuration.shape.sequence) != (1, 64) {
        return None;
    }
    if configuration.policy.as_preset() == Some(Preset::Bf16) {
        return Some(Err("cuda failed: no memory for a second engine".to_owned()));
    }
    let first_ms = vec![fixture::median_ms(configuration); 20];
    let ratio = |round: usize| 1.0 + spread * (((round * 7919) % 101) as f64 / 101.0 - 0.5);
    let second_ms = first_ms.iter().enumerate().map(|(round, ms)| ms * ratio(round)).collect();
    Some(Ok(AaTest { samples: 10, first_ms, second_ms }))
}

/// The server's run with a repeat that is 1 % slower, one row apart, and the laptop's numerics and a scored experiment.
pub fn study() -> Study {
    let mut repeat = fixture::server();
    for (index, row) in repeat.rows.iter_mut().enumerate() {
        let factor = if index == 7 { 1.2 } else { 1.01 };
        for value in [&mut row.latency_p50_ms, &mut row.latency_p50_low_ms, &mut row.latency_p50_high_ms] {
            *value = value.map(|latency| latency * factor);
        }
    }
    let numerics =
        fixture::plan(&fixture::Shapes { name: "numerics", inputs: &["random", "wikitext"], ..fixture::LAPTOP });
    let downstream = fixture::plan(&fixture::Shapes {
        name: "downstream",
        models: &["bert-base"],
        batches: &[8],
        sequences: &[64],
        inputs: &["sst2"],
        ..fixture::LAPTOP
    });
    let data = |plan: mixprec::plan::Plan| {
        let records = fixture::records(&plan, fixture::ENVIRONMENT);
        fixture::data(plan, &records, &["NVIDIA A100-SXM4-80GB"])
    };
    Study {
        main: fixture::server(),
        repeats: vec![repeat],
        others: vec![data(numerics), data(downstream)],
        searches: vec![],
        peers: ["torch-cudagraph", "tensorrt-fp16"].into_iter().flat_map(peers).collect(),
    }
}

/// A peer of BERT at two shapes: at the second mixprec is slower.
fn peers(name: &str) -> [PeerRow; 2] {
    [((1, 32), 0.4), ((8, 128), 0.18)].map(|(shape, peer_ms)| PeerRow {
        model: "bert-base".to_owned(),
        shape,
        peer: name.to_owned(),
        mixprec_ms: 0.2,
        peer_ms,
        ratio: peer_ms / 0.2,
        interval: (peer_ms / 0.2 - 0.01, peer_ms / 0.2 + 0.01),
        rounds: "6".to_owned(),
        samples: "50".to_owned(),
        mixprec: "cuda 0.1.0 (cuBLASLt 13), hybrid".to_owned(),
        library: "a library".to_owned(),
        gpu: "NVIDIA H200".to_owned(),
        driver: "580".to_owned(),
    })
}

#[test]
fn other_engines_have_a_figure_and_a_sentence_and_nothing_where_none_was_timed() {
    let files = rendered_with(&study());
    let [section, appendix] = ["section", "appendix"].map(|part| text(&files, &format!("{part}-peers.tex")));
    assert!(section.contains("MixprecFigure{figure-peers}") && appendix.contains("MixprecTable{peers}"), "{section}");
    let figure = text(&files, "figure-peers.svg");
    for label in ["torch-cudagraph", "tensorrt-fp16", "1×32", "8×128", "time over mixprec"] {
        assert!(figure.contains(label), "`{label}` is not in {figure}");
    }
    let sentence = "tensorrt{-}fp16 takes from 0.900 to 2.00 times as long (2 shapes)";
    assert!(text(&files, "macros.tex").contains(sentence), "{}", text(&files, "macros.tex"));
    let alone = rendered(&fixture::server());
    assert!(!alone.contains_key("section-peers.tex") && !alone.contains_key("figure-peers.pdf"));
    assert!(text(&alone, "macros.tex").contains("These results hold no comparison with other engines on the GPU."));
}

#[test]
fn the_papers_text_has_short_tables_and_one_figure_of_a_kind() {
    let files = rendered_with(&study());
    let latency = text(&files, "section-latency.tex");
    assert!(latency.contains("MixprecTable{latency-shapes}") && !latency.contains("latency-1-bert"), "{latency}");
    let shapes = text(&files, "latency-shapes.tex");
    // A row for each model and engine, a column for each shape of the grid that stands for it.
    let row = shapes.lines().find(|line| line.starts_with("gpt2 & cuda & hybrid & ")).unwrap();
    assert_eq!(row.matches('&').count(), 8, "{row}");
    let numerics = text(&files, "section-numerics.tex");
    assert_eq!(numerics.matches("MixprecFigure{").count(), 1, "{numerics}");
    assert!(numerics.contains("MixprecFigure{numerics-figure-deviation-1-bert-base}"), "{numerics}");
    assert!(text(&files, "appendix-numerics.tex").contains("MixprecFigure{numerics-figure-headroom}"));
    for (name, _) in files.iter().filter(|(name, _)| name.starts_with("section-")) {
        for table in text(&files, name).split("MixprecTable{").skip(1) {
            let table = text(&files, &format!("{}.tex", table.split('}').next().unwrap()));
            assert!(table.lines().filter(|line| line.ends_with(r" \\")).count() <= 18, "{name}: {table}");
        }
    }
}

/// What the abstract comes to with the committed numbers.
#[test]
fn the_abstract_is_short_and_has_few_numbers() {
    let paper = Path::new(env!("CARGO_MANIFEST_DIR")).join("paper");
    let read = |name: &str| std::fs::read_to_string(paper.join(name)).unwrap();
    let main = read("main.tex");
    let (_, rest) = main.split_once(r"\begin{abstract}").unwrap();
    let mut text = rest.split_once(r"\end{abstract}").unwrap().0.to_owned();
    let macros = read("generated/macros.tex");
    let mut macros: Vec<(&str, &str)> = macros
        .lines()
        .filter_map(|line| line.strip_prefix(r"\newcommand{")?.strip_suffix(r"\xspace}")?.split_once("}{"))
        .collect();
    // No name is replaced within a longer one.
    macros.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in macros {
        text = text.replace(name, &value.replace(r"\ensuremath", ""));
    }
    let text = text.replace(r"\MixprecWherePass{PASS}", "");
    let words: Vec<&str> = text
        .split(|c: char| c.is_whitespace() || "{}~".contains(c))
        .filter(|word| word.chars().any(char::is_alphanumeric) && !word.starts_with('\\'))
        .collect();
    assert!((100..=150).contains(&words.len()), "{} words: {words:?}", words.len());
    let is_number = |word: &&&str| word.starts_with(|c: char| c.is_ascii_digit());
    let numbers: Vec<&&str> = words.iter().filter(is_number).collect();
    assert!(numbers.len() <= 5, "{numbers:?}");
}

#[test]
fn other_experiments_answer_what_the_main_run_cannot() {
    let files = rendered_with(&study());
    let sst2 = text(&files, "section-sst2.tex");
    assert!(sst2.contains("MixprecTable{downstream-quality}") && sst2.contains("Experiment downstream."), "{sst2}");
    assert!(!sst2.contains("MixprecNothing"), "the main run's empty table is gone: {sst2}");
    assert!(text(&files, "section-latency.tex").matches("Experiment").count() == 0, "times are the main run's");
    let wikitext = text(&files, "appendix-wikitext.tex");
    assert!(wikitext.contains("numerics-rates-1-bert-base"), "{wikitext}");
    let deviations = text(&files, "numerics-figure-deviation-1-bert-base.svg");
    for words in ["random", "wikitext", "above 256 every square overflows FP16", "1/attention"] {
        assert!(deviations.contains(words), "{words}: {deviations}");
    }
    let claims = text(&files, "claims.tex");
    let row = |id: &str| {
        claims
            .split(r"\addlinespace")
            .find(|row| row.trim_start_matches("[2pt]").trim().contains(&format!("{id} & ")))
            .unwrap()
    };
    // Within half a point: one sentence of 872 less.
    assert!(row("C7").contains("(Experiment downstream.)"), "{}", row("C7"));
    assert!(row("C8").contains("(Experiment numerics.)"), "{}", row("C8"));
    assert!(!row("C1").contains("Experiment"), "{}", row("C1"));
    let macros = text(&files, "macros.tex");
    assert!(macros.contains(r"\newcommand{\mpOthers}{numerics, downstream\xspace}"), "{macros}");
    assert!(macros.contains(r"\newcommand{\mpClaimCSevenPaper}{no degradation\xspace}"), "{macros}");
}

#[test]
fn a_repeat_and_the_noise_floor_stand_beside_the_ratios() {
    let files = rendered_with(&study());
    let agreement = text(&files, "agreement.tex");
    assert!(agreement.contains(r"299 of 300 rows (99.7\,\%) have a median within 3.0\,\%"), "{agreement}");
    assert!(agreement.contains("all on the GPU & ") && agreement.contains("all on the CPU & "), "{agreement}");
    assert!(agreement.contains("Pins of the repeat, by its own program: "), "{agreement}");
    assert!(text(&files, "agreement-farthest.tex").contains("1.200 "), "the row that is apart leads");
    let macros = text(&files, "macros.tex");
    assert!(macros.contains(r"Half of the medians are within 1.0\,\% of each other"), "{macros}");
    let again = Study { repeats: [study().repeats, vec![fixture::server()]].concat(), ..study() };
    let both = rendered_with(&again);
    assert_eq!(text(&both, "agreement.tex"), agreement);
    assert!(text(&both, "agreement-2.tex").contains(r"300 of 300 rows (100\,\%) have a median"));
    assert!(text(&both, "agreement-farthest-2.tex").contains("1.000 "));
    let macros = text(&both, "macros.tex");
    assert!(
        macros.contains("In the second run, 299 of 300 rows") && macros.contains("In the third run, 300 of 300"),
        "{macros}"
    );
    let short = macros.lines().find(|line| line.contains("mpRepeatShort")).unwrap();
    assert!(short.contains(": in the second run, ") && short.contains("; in the third run, "), "{short}");
    assert_eq!(short.matches(r"\,\%) on the GPU").count(), 2, "{short}");
    let floor = text(&files, "noise-floor.tex");
    let row = |backend: &str| floor.lines().find(|line| line.starts_with(backend)).unwrap().to_owned();
    assert!(row("cuda & 6 & 20") != row("onnxruntime & 2 & 20"), "{floor}");
    assert!(floor.contains("2 tests could not be run: cuda failed: no memory for a second engine."), "{floor}");
    for name in [
        "speedup-1-bert-base-random-cuda.tex",
        "precision-speedup-1-bert-base-random-cuda.tex",
        "headline.tex",
        "cross-gpu.tex",
    ] {
        assert!(text(&files, name).contains("Noise floor: cuda "), "{name}");
    }
    // ONNX Runtime is noisier, and is on one side of the one quotient only.
    let over_fp32 = text(&files, "precision-speedup-1-bert-base-random-cuda.tex");
    let floors = over_fp32.lines().find(|line| line.contains("Noise floor: ")).unwrap();
    assert!(!floors.contains("onnxruntime"), "{floors}");
    let alone = rendered(&fixture::laptop());
    assert!(text(&alone, "appendix-repeatability.tex").contains("No second run was given"));
    assert!(text(&alone, "macros.tex").contains("No second run of this experiment is part of these results."));
}

#[test]
fn headlines_have_extremes_with_their_places_and_the_papers_number() {
    let files = rendered(&fixture::server());
    let table = text(&files, "headline.tex");
    // Hybrid over FP32 is (0.9 + 0.011 n) / (0.9 + 0.0059 n) with n = tokens (1 + sequence / 3000).
    let ratio = |batch: f64, sequence: f64| {
        let n = batch * sequence * (1.0 + sequence / 3000.0);
        (0.9 + 0.011 * n) / (0.9 + 0.0059 * n)
    };
    let row = table.lines().find(|line| line.contains("Hybrid over FP32")).unwrap();
    for (batch, sequence) in [(1.0, 32.0), (32.0, 512.0)] {
        assert!(row.contains(&format!("{:.2}", ratio(batch, sequence))), "{batch}x{sequence}: {row}");
    }
    for place in [r"bert{-}base 1\ensuremath{\times}32", r"gpt2 32\ensuremath{\times}512"] {
        assert!(table.contains(&format!("(cuda hybrid, {place} random)")), "{place}: {table}");
    }
    assert!(table.contains("64.4x") && table.contains(r"63\,\%"), "{table}");
    let macros = text(&files, "macros.tex");
    assert!(macros.contains(r"\newcommand{\mpHybridOverFpCount}{60\xspace}"), "{macros}");
    // 437935104 and an eighth of the activations are halved, the scratch is not.
    let memory = text(&files, "memory-reduction.tex");
    assert!(memory.contains(r"bert{-}base & cuda & hybrid & 30 & 49."), "{memory}");
    assert!(text(&files, "memory.tex").contains("total"));
    let laptop = rendered(&fixture::laptop());
    assert!(text(&laptop, "memory-reduction.tex").contains("hold FP32 copies under every policy"));
    assert!(text(&laptop, "macros.tex").contains("Hybrid over FP32: not in this run"));
}

#[test]
fn every_verdict_has_its_reason() {
    for study in [Study::of(fixture::laptop()), Study::of(fixture::server()), Study::of(machines::two_gpus()), study()]
    {
        for verdict in WordedVerdict::all(&judge_study(&study, &Claims::builtin().unwrap())) {
            assert!(verdict.why.ends_with('.') || verdict.why.ends_with(".)"), "{}: {}", verdict.id, verdict.why);
            assert!(verdict.why.len() > 20, "{}: {}", verdict.id, verdict.why);
        }
    }
    let server = WordedVerdict::all(&judge_study(&Study::of(fixture::server()), &Claims::builtin().unwrap()));
    let why = |id: &str| server.iter().find(|verdict| verdict.id == id).unwrap().why.clone();
    assert!(why("C1").starts_with("Largest of ") && why("C1").contains("which misses ≥ 64.4×"), "{}", why("C1"));
    assert!(why("C2").contains("ms") && why("C2").contains("which meets < 10.00 ms"), "{}", why("C2"));
    assert!(why("C3").ends_with("which misses ≥ 63.0 %."), "{}", why("C3"));
}

#[test]
fn only_what_latex_includes_is_written_where_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let study = Study::of(fixture::server());
    report_with(&study, &Claims::builtin().unwrap(), dir.path(), Files::Latex).unwrap();
    let names: Vec<String> =
        std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert!(names.iter().all(|name| name.ends_with(".tex") || name.ends_with(".pdf")), "{names:?}");
    // Every file that a section includes, and every file that the paper includes whatever was measured, is there.
    let main = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("paper/main.tex")).unwrap();
    let included = main.split(r"\input{\MixprecGenerated/").skip(1).filter_map(|rest| rest.split('}').next());
    let is_asked_for = |name: &str| main.contains(&format!(r"\IfFileExists{{\MixprecGenerated/{name}}}"));
    for name in included.filter(|name| !name.contains('#') && !is_asked_for(name)) {
        assert!(names.contains(&name.to_owned()), "{name}");
    }
    let macros = std::fs::read_to_string(dir.path().join("macros.tex")).unwrap();
    let used =
        main.split(r"\mp").skip(1).map(|rest| rest.chars().take_while(char::is_ascii_alphabetic).collect::<String>());
    for name in used {
        assert!(
            macros.contains(&format!(r"\newcommand{{\mp{name}}}")),
            "mp{name} is in the paper and not in macros.tex"
        );
    }
}

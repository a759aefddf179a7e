//! Second readings of claims, and findings of our own, judged over hand-made runs.

use mixprec::claims::{Claims, Outcome, Verdict, judge, judge_study};
use mixprec::engine::BackendKind::{Cuda, Reference, TensorRt};
use mixprec::graph::Preset::{Fp16, Fp32, Hybrid};
use mixprec::model::WeightsOrigin;
use mixprec::record::magnitudes::Magnitudes;
use mixprec::report::document::document;
use mixprec::report::render::Renderer;
use mixprec::report::sentences::claims::{WordedVerdict, summary, to_json, to_text};
use mixprec::results::data::Data;
use mixprec::results::study::Study;
use mixprec::store::schema::ResultRow;

use super::fixture::{self, Shapes};

const SEPARATED: &str = "random-separators";
const TEXT: &str = "wikitext-2";

/// Every finding.
const ALL: [&str; 6] = ["F1", "F2", "F3", "F4", "F5", "F6"];

/// A trained BERT-base that full FP16 breaks without a NaN wherever there are separators, on GPUs and emulated. Hybrid and
/// layer norms in FP32 repair it.
pub fn silent() -> Data {
    let shapes = Shapes {
        name: "numerics",
        models: &["bert-base"],
        series: &[
            (Reference, Fp32),
            (Reference, Fp16),
            (Reference, Hybrid),
            (Cuda, Fp16),
            (Cuda, Hybrid),
            (TensorRt, Fp16),
            (TensorRt, Hybrid),
        ],
        batches: &[1],
        sequences: &[128],
        inputs: &["random", SEPARATED, TEXT],
    };
    let plan = fixture::plan(&shapes);
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let mut data = fixture::data(plan, &records, &["NVIDIA H200"]);
    let fp16 = data.rows.iter().filter(|row| row.precision == "fp16").cloned();
    let repaired =
        fp16.map(|row| ResultRow { id: format!("{}-norms", row.id), precision: "fp16-norms-fp32".to_owned(), ..row });
    let repaired: Vec<ResultRow> = repaired.collect();
    data.rows.extend(repaired);
    for row in &mut data.rows {
        row.set_weights(&WeightsOrigin::Folder { sha256: "12".repeat(32) }.into());
        let breaks = row.precision == "fp16" && row.input != "random";
        broken(row, if breaks { 24 } else { 0 });
        deviating(row, if row.input == "random" { 60.0 } else { 1061.0 });
    }
    data
}

/// Makes this many of 24 forward passes break a row.
pub fn broken(row: &mut ResultRow, forwards: u64) {
    row.forwards = Some(24);
    (row.broken_forwards, row.failed_forwards) = (Some(forwards), Some(forwards));
    row.broken_rows = Some(u64::from(forwards > 0));
    let cosine = Some(if forwards > 0 { 0.078 } else { 0.999_99 });
    (row.cosine_min, row.forward_cosine_min) = (cosine, cosine);
    // ONNX Runtime and TensorRT show no tensors.
    row.silent_forwards = (row.precision == "fp16").then_some(forwards);
}

/// Sets the largest deviation that enters a layer norm, where FP32 rows of `reference` have one.
fn deviating(row: &mut ResultRow, deviation: f64) {
    let mut magnitudes = Magnitudes::default();
    magnitudes.raise_deviation("layer.0/mlp/layer_norm", 12.5);
    magnitudes.raise_deviation("layer.1/mlp/layer_norm", deviation);
    row.magnitudes = (row.precision == "fp32").then_some(magnitudes);
}

/// As rows of older tables and of no comparison with the reference: they know nothing of broken rows.
fn uncompared(data: Data) -> Data {
    change(data, |_| true, |row| (row.broken_forwards, row.failed_forwards, row.broken_rows) = (None, None, None))
}

fn change(mut data: Data, which: impl Fn(&ResultRow) -> bool, with: impl Fn(&mut ResultRow)) -> Data {
    data.rows.iter_mut().filter(|row| which(row)).for_each(with);
    data
}

fn verdicts(data: &Data) -> Vec<Verdict> {
    judge(data, &Claims::builtin().unwrap())
}

fn of(verdicts: &[Verdict], id: &str) -> WordedVerdict {
    let readings = verdicts.iter().flat_map(Verdict::readings);
    WordedVerdict::of(readings.into_iter().find(|verdict| verdict.claim.id == id).unwrap())
}

fn outcomes<const N: usize>(data: &Data, ids: [&str; N]) -> [Outcome; N] {
    let verdicts = verdicts(data);
    ids.map(|id| of(&verdicts, id).outcome)
}

#[test]
fn a_second_reading_decides_where_the_literal_one_has_nothing_to_count() {
    use Outcome::{Fail, NotRun, Pass, Undecided};
    let data = silent();
    let ids = ["C5", "C5*", "C8", "C8*", "C9", "C9*"];
    assert_eq!(outcomes(&data, ids), [Undecided, Pass, Undecided, Pass, Pass, Pass]);
    let c8 = of(&verdicts(&data), "C8*");
    // None of 24 against 24 of 24: at least 0.858 / 0.142 = 6.02.
    assert_eq!((c8.measured.as_deref(), c8.interval.as_deref()), (Some("∞"), Some("[6.02×, ∞]")));
    assert!(of(&verdicts(&data), "C5*").explanation.contains("6 of 9 have"), "{c8:?}");

    let is_hybrid = |row: &ResultRow| row.precision == "hybrid" && row.input == TEXT;
    let damaged = change(data.clone(), is_hybrid, |row| broken(row, 1));
    assert_eq!(outcomes(&damaged, ids), [Undecided, Fail, Undecided, Pass, Fail, Fail]);
    assert_eq!(of(&verdicts(&damaged), "C9").measured.as_deref(), Some("0 of 72 passes; 0.0780000"), "of any pass");
    let within = change(damaged, is_hybrid, |row| {
        (row.cosine_min, row.forward_cosine_min) = (Some(0.9999), Some(0.9999));
    });
    assert_eq!(outcomes(&within, ids), [Undecided, Fail, Undecided, Pass, Pass, Fail]);
    assert!(!verdicts(&within).iter().any(Verdict::is_failure), "second readings decide no exit code");

    assert_eq!(outcomes(&uncompared(data), ids), [Undecided, NotRun, Undecided, NotRun, Pass, NotRun]);
}

#[test]
fn a_second_reading_is_answered_by_the_experiment_that_can() {
    let claims = Claims::builtin().unwrap();
    let study = Study { others: vec![silent()], ..Study::of(uncompared(fixture::laptop())) };
    let c5 = judge_study(&study, &claims).into_iter().find(|verdict| verdict.claim.id == "C5").unwrap();
    // The laptop's FP16 has NaN, which decides the literal reading; its rows have no count of broken ones.
    assert_eq!((c5.outcome, c5.other_experiment()), (Outcome::Pass, None));
    let second = c5.second.unwrap();
    assert_eq!((second.outcome, second.other_experiment()), (Outcome::Pass, Some("numerics")));
    assert_eq!(of(&judge_study(&study, &claims), "F1").answered_in.as_deref(), Some("numerics"));
}

#[test]
fn findings_are_judged_by_trained_weights_alone() {
    use Outcome::{Fail, NotRun, Pass, Undecided};
    let data = silent();
    assert_eq!(outcomes(&data, ALL), [Pass, Pass, Pass, Pass, Pass, NotRun]);
    let f1 = of(&verdicts(&data), "F1");
    let shown = "passes with a broken row on text, at the fewest: 24 of 24 passes [85.8 %, 100 %]; \
                 passes with NaN or infinity on text: 0 of 72 passes [0 %, 5.0 %]; smallest cosine on text: 0.0780000; \
                 smallest cosine on random ids: ";
    assert!(f1.shown_with_limits().starts_with(shown), "{}", f1.shown_with_limits());
    assert!(f1.explanation.contains("smallest of 3 configurations"), "{}", f1.explanation);

    let random = change(data.clone(), |_| true, |row| row.set_weights(&WeightsOrigin::Random { seed: 0 }.into()));
    let repository = "google-bert/bert-base-uncased".to_owned();
    let stand_in = WeightsOrigin::StandIn { seed: 0, repository, revision: None }.into();
    let standing_in = change(data.clone(), |_| true, |row| row.set_weights(&stand_in));
    for untrained in [random, standing_in] {
        assert_eq!(outcomes(&untrained, ["F1", "F2", "F3", "F5", "C8*", "C9*"]), [NotRun; 6]);
        assert!(of(&verdicts(&untrained), "F1").explanation.contains("No row of this run can answer the finding."));
    }

    let is_text = |row: &ResultRow| row.precision == "fp16" && row.input == TEXT;
    // 14 of 24 may be as few as 36.6 %.
    assert_eq!(outcomes(&change(data.clone(), is_text, |row| broken(row, 14)), ["F1"]), [Undecided]);
    assert_eq!(outcomes(&change(data.clone(), is_text, |row| broken(row, 2)), ["F1"]), [Fail]);
    let loud = change(data.clone(), is_text, |row| row.nan_forwards = Some(1));
    assert_eq!(outcomes(&loud, ["F1"]), [Fail], "a NaN is not silent");
    let whole = change(data, |row| row.precision == "fp16", |row| broken(row, 0));
    assert_eq!(outcomes(&whole, ["F1", "F3"]), [Fail, Undecided], "nothing to repair");
    assert!(!verdicts(&whole).iter().any(Verdict::is_failure), "findings decide no exit code");
}

fn of_policy(policy: &'static str, input: &'static str) -> impl Fn(&ResultRow) -> bool {
    move |row: &ResultRow| row.precision == policy && row.input == input
}

#[test]
fn the_cause_needs_both_inputs_silent_norms_and_deviations() {
    use Outcome::{Fail, NotRun, Pass};
    let data = silent();
    let with = |policy, input, with: fn(&mut ResultRow)| {
        outcomes(&change(data.clone(), of_policy(policy, input), with), ["F2"])
    };
    assert_eq!(with("fp16", "random", |row| broken(row, 24)), [Fail], "random ids alone break it, too");
    assert_eq!(with("fp16", SEPARATED, |row| broken(row, 0)), [Fail], "separators do not break it");
    assert_eq!(with("fp16", TEXT, |row| row.silent_forwards = Some(1)), [Fail], "no layer norm fails");
    assert_eq!(with("fp32", TEXT, |row| deviating(row, 255.0)), [Fail], "nothing overflows");
    assert_eq!(with("fp32", "random", |row| deviating(row, 300.0)), [Fail], "random ids overflow, too");
    let unseen = change(data.clone(), |_| true, |row| row.magnitudes = None);
    assert_eq!(outcomes(&unseen, ["F2", "F1"]), [NotRun, Pass]);
}

#[test]
fn a_repair_holds_on_text_and_on_separators() {
    use Outcome::{Fail, NotRun, Pass};
    for (id, policy) in [("F3", "hybrid"), ("F4", "fp16-norms-fp32")] {
        for input in [TEXT, SEPARATED] {
            let still = change(silent(), of_policy(policy, input), |row| broken(row, 1));
            assert_eq!(outcomes(&still, [id]), [Fail], "{policy} does not repair it on {input}");
        }
        let mut unmeasured = silent();
        unmeasured.rows.retain(|row| row.precision != policy);
        assert_eq!(outcomes(&unmeasured, [id, "F1"]), [NotRun, Pass]);
    }
}

/// The CUDA engine fuses under hybrid and not under fp16: only TensorRT's pairs compare the formats.
#[test]
fn what_hybrid_adds_to_full_fp16_is_judged_in_tensorrt_alone() {
    let data = silent();
    let slower = |backend, factor: f64| {
        let is_hybrid = move |row: &ResultRow| row.backend == backend && row.precision == "hybrid";
        change(data.clone(), is_hybrid, |row| {
            for value in [&mut row.latency_p50_ms, &mut row.latency_p50_low_ms, &mut row.latency_p50_high_ms] {
                *value = value.map(|latency| latency * factor);
            }
        })
    };
    assert_eq!(outcomes(&slower(TensorRt, 1.2), ["F5"]), [Outcome::Pass]);
    assert_eq!(outcomes(&slower(TensorRt, 1.3), ["F5"]), [Outcome::Fail]);
    assert_eq!(outcomes(&slower(Cuda, 1.3), ["F5"]), [Outcome::Pass]);
    let disturbed = change(slower(TensorRt, 1.3), |row| row.backend == TensorRt, |row| row.foreign_processes = Some(2));
    assert_eq!(outcomes(&disturbed, ["F5"]), [Outcome::Undecided]);
    let mut without = data.clone();
    without.rows.retain(|row| row.backend != TensorRt);
    assert_eq!(outcomes(&without, ["F5"]), [Outcome::NotRun]);
    let no_gpu = Data { environments: [(fixture::ENVIRONMENT.to_owned(), fixture::environment(&[]))].into(), ..data };
    assert_eq!(outcomes(&no_gpu, ["F5"]), [Outcome::NoHardware]);
}

#[test]
fn bf16_breaks_something_where_any_pass_has_a_broken_row() {
    let mut data = silent();
    let hybrid = data.rows.iter().filter(|row| row.precision == "hybrid").cloned();
    let bf16: Vec<ResultRow> =
        hybrid.map(|row| ResultRow { id: format!("{}-bf16", row.id), precision: "bf16".to_owned(), ..row }).collect();
    data.rows.extend(bf16);
    assert_eq!(outcomes(&data, ["F6"]), [Outcome::Fail]);
    let data =
        change(data, |row| row.precision == "bf16" && row.backend == Cuda && row.input == TEXT, |row| broken(row, 1));
    let f6 = of(&verdicts(&data), "F6");
    assert_eq!((f6.outcome, f6.measured.as_deref()), (Outcome::Pass, Some("1 of 72 passes")));
}

#[test]
fn both_verdicts_stand_side_by_side_and_findings_behind_the_claims() {
    let data = silent();
    let verdicts = verdicts(&data);
    let text = to_text(&verdicts);
    let row = |id: &str| text.lines().position(|line| line.starts_with(&format!("{id} "))).unwrap();
    assert_eq!((row("C5*"), row("F6")), (row("C5") + 1, row("F1") + 5));
    assert!(text.ends_with(&format!("\n{}\n", summary(&verdicts))), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 120), "{text}");
    let counted = verdicts.iter().filter(|verdict| !verdict.claim.is_finding()).count();
    assert_eq!(counted, 10, "the summary counts the paper's claims");

    let json: serde_json::Value = serde_json::from_str(&to_json(&verdicts).unwrap()).unwrap();
    assert_eq!((&json[4]["outcome"], &json[4]["second"]["outcome"]), (&"UNDECIDED".into(), &"PASS".into()));
    assert_eq!(json[4]["second"]["id"], "C5*");
    assert_eq!((&json[10]["id"], json[10].get("sentence")), (&"F1".into(), None));
    assert!(json[10]["finding"].is_string() && json[0].get("second").is_none());

    let document = document(&Study::of(data), &Claims::builtin().unwrap(), verdicts).unwrap();
    assert_eq!((document.claims.len(), document.findings.len()), (10, 6));
    let html = Renderer::new().unwrap().html(&document).unwrap();
    let place = |what: &str| html.find(what).unwrap_or_else(|| panic!("{what}"));
    assert!(place("<h2 id=\"findings\">") < place("<h2 id=\"claims\">"), "answered findings come first");
    assert!(place("<span class=\"badge open\">UNDECIDED</span> <span class=\"badge pass\"") > 0);
    let macros = Renderer::new().unwrap().tex("macros.tex", &document).unwrap();
    for line in ["{\\mpClaimCFiveSecondVerdict}{PASS", "{\\mpFindingFOneVerdict}{PASS", "{\\mpClaims}{10"] {
        assert!(macros.contains(line), "{line}");
    }
}

#[test]
fn findings_that_no_row_answers_come_last() {
    let claims = Claims::builtin().unwrap();
    let study = Study::of(fixture::laptop());
    let verdicts = judge_study(&study, &claims);
    let html = Renderer::new().unwrap().html(&document(&study, &claims, verdicts).unwrap()).unwrap();
    assert!(html.find("<h2 id=\"claims\">").unwrap() < html.find("<h2 id=\"findings\">").unwrap());
}

#[test]
fn mistakes_in_readings_and_findings_are_named_with_the_cure() {
    let good = include_str!("../../experiments/claims.yaml");
    let refused = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        Claims::parse(&good.replacen(from, to, 1), "c.yaml").unwrap_err().to_string()
    };
    let both = refused("  - id: F1\n", "  - id: F1\n    sentence: \"theirs\"\n");
    assert_eq!(
        both,
        "c.yaml: claim `F1`: it has both `sentence` and `finding`; keep `sentence` for the paper's words, or `finding` for ours"
    );
    let none = refused("    sentence: \"eliminates NaN instability\"\n", "");
    assert_eq!(none, "c.yaml: claim `C5`: it has no words; give the paper's in `sentence`, or ours in `finding`");
    assert!(refused("    paper_value: \"no NaN\"\n", "").ends_with("it has no `paper_value`; give the paper's figure"));
    let valued = refused("  - id: F1\n", "  - id: F1\n    paper_value: \"6x\"\n");
    assert!(valued.ends_with("a finding is not the paper's; remove `paper_value`"), "{valued}");

    let second = good.find("    second:\n").unwrap();
    let checks = second + good[second..].find("      checks:\n").unwrap();
    let end = checks + good[checks..].find("    experiment:").unwrap();
    let with = |checks_of_second: &str| {
        let text = format!("{}{checks_of_second}{}", &good[..checks], &good[end..]);
        Claims::parse(&text, "c.yaml").unwrap_err().to_string()
    };
    let missing = with("");
    assert!(missing.starts_with("c.yaml:") && missing.contains("checks"), "{missing}");
    let empty = with("      checks: []\n");
    let words = "its second reading: it has no checks; a claim without one cannot be judged";
    assert_eq!(empty, format!("c.yaml: claim `C5`: {words}"));
    let typed = refused("trained: true", "trained: maybe");
    assert!(typed.starts_with("c.yaml:"), "{typed}");
}

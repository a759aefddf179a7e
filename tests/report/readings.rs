//! Second readings of claims, and findings of our own, judged over hand-made runs.

use mixprec::claims::{Claims, Outcome, Verdict, judge, judge_study};
use mixprec::engine::BackendKind::{Cuda, Reference};
use mixprec::graph::Preset::{Fp16, Fp32, Hybrid};
use mixprec::model::WeightsOrigin;
use mixprec::report::document::document;
use mixprec::report::render::Renderer;
use mixprec::report::sentences::claims::{WordedVerdict, summary, to_json, to_text};
use mixprec::results::data::Data;
use mixprec::results::study::Study;
use mixprec::store::schema::ResultRow;

use super::fixture::{self, Shapes};

const SEPARATED: &str = "random-separators";
const TEXT: &str = "wikitext-2";

/// A trained BERT-base that full FP16 breaks without a NaN wherever there are separators, on a GPU and emulated. Hybrid and
/// two layer norms in FP32 repair it.
fn silent() -> Data {
    let shapes = Shapes {
        name: "numerics",
        models: &["bert-base"],
        series: &[(Reference, Fp32), (Reference, Fp16), (Reference, Hybrid), (Cuda, Fp16), (Cuda, Hybrid)],
        batches: &[1],
        sequences: &[128],
        inputs: &["random", SEPARATED, TEXT],
    };
    let plan = fixture::plan(&shapes);
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let mut data = fixture::data(plan, &records, &["NVIDIA H200"]);
    let fp16 = data.rows.iter().filter(|row| row.precision == "fp16").cloned();
    let repaired = fp16.map(|row| ResultRow {
        id: format!("{}-two-norms", row.id),
        precision: "fp16-two-norms".to_owned(),
        ..row
    });
    let repaired: Vec<ResultRow> = repaired.collect();
    data.rows.extend(repaired);
    for row in &mut data.rows {
        row.set_weights(&WeightsOrigin::Folder { sha256: "12".repeat(32) }.into());
        let breaks = row.precision == "fp16" && row.input != "random";
        broken(row, if breaks { 24 } else { 0 });
    }
    data
}

/// Makes this many of 24 forward passes break a row.
fn broken(row: &mut ResultRow, forwards: u64) {
    row.forwards = Some(24);
    (row.broken_forwards, row.failed_forwards) = (Some(forwards), Some(forwards));
    row.broken_rows = Some(u64::from(forwards > 0));
    row.forward_cosine_min = Some(if forwards > 0 { 0.078 } else { 0.999_99 });
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
    assert!(of(&verdicts(&data), "C5*").explanation.contains("4 of 6 have"), "{c8:?}");

    let is_hybrid = |row: &ResultRow| row.precision == "hybrid" && row.input == TEXT;
    let damaged = change(data.clone(), is_hybrid, |row| broken(row, 1));
    assert_eq!(outcomes(&damaged, ids), [Undecided, Fail, Undecided, Pass, Pass, Fail]);
    assert!(!verdicts(&damaged).iter().any(Verdict::is_failure), "second readings decide no exit code");

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
    assert_eq!(outcomes(&data, ["F1", "F2", "F3"]), [Pass; 3]);
    let f1 = of(&verdicts(&data), "F1");
    let shown = "100 % [85.8 %, 100 %]; 0 of 2 [0 %, 84.2 %], partly emulated on the CPU";
    assert_eq!(f1.shown_with_limits(), shown);
    assert!(f1.explanation.contains("Smallest of 2 configurations"), "{}", f1.explanation);

    let random = change(data.clone(), |_| true, |row| row.set_weights(&WeightsOrigin::Random { seed: 0 }.into()));
    let repository = "google-bert/bert-base-uncased".to_owned();
    let stand_in = WeightsOrigin::StandIn { seed: 0, repository, revision: None }.into();
    let standing_in = change(data.clone(), |_| true, |row| row.set_weights(&stand_in));
    for untrained in [random, standing_in] {
        assert_eq!(outcomes(&untrained, ["F1", "F2", "F3", "C8*", "C9*"]), [NotRun; 5]);
        assert!(of(&verdicts(&untrained), "F1").explanation.contains("No row of this run can answer the finding."));
    }

    let is_text = |row: &ResultRow| row.precision == "fp16" && row.input == TEXT;
    // 14 of 24 may be as few as 36.6 %.
    assert_eq!(outcomes(&change(data.clone(), is_text, |row| broken(row, 14)), ["F1"]), [Undecided]);
    assert_eq!(outcomes(&change(data.clone(), is_text, |row| broken(row, 2)), ["F1"]), [Fail]);
    let loud = change(data.clone(), is_text, |row| row.nan_forwards = Some(1));
    assert_eq!(outcomes(&loud, ["F1"]), [Fail], "a NaN is not silent");
    let whole = change(data, is_text, |row| broken(row, 0));
    assert_eq!(outcomes(&whole, ["F1", "F3"]), [Fail, Undecided], "nothing to repair");
    assert!(!verdicts(&whole).iter().any(Verdict::is_failure), "findings decide no exit code");
}

#[test]
fn the_cause_needs_both_inputs_and_the_repair() {
    use Outcome::{Fail, NotRun, Pass};
    let data = silent();
    let of_policy = |policy: &'static str, input: &'static str| {
        move |row: &ResultRow| row.precision == policy && row.input == input
    };
    let breaks = |row: &mut ResultRow| broken(row, 24);
    let without = change(data.clone(), of_policy("fp16", "random"), breaks);
    assert_eq!(outcomes(&without, ["F2"]), [Fail], "random ids alone break it, too");
    let unmoved = change(data.clone(), of_policy("fp16", SEPARATED), |row| broken(row, 0));
    assert_eq!(outcomes(&unmoved, ["F2"]), [Fail], "separators do not break it");
    let still = change(data.clone(), of_policy("fp16-two-norms", TEXT), breaks);
    assert_eq!(outcomes(&still, ["F2"]), [Fail], "two norms do not repair it");
    let mut unrepaired = data;
    unrepaired.rows.retain(|row| row.precision != "fp16-two-norms");
    assert_eq!(outcomes(&unrepaired, ["F2", "F1"]), [NotRun, Pass]);
}

#[test]
fn the_repair_is_free_only_on_a_gpu_that_says_so() {
    let data = silent();
    let slower = change(
        data.clone(),
        |row| row.backend == Cuda && row.precision == "hybrid",
        |row| {
            for value in [&mut row.latency_p50_ms, &mut row.latency_p50_low_ms, &mut row.latency_p50_high_ms] {
                *value = value.map(|latency| latency * 1.1);
            }
        },
    );
    assert_eq!(outcomes(&slower, ["F3"]), [Outcome::Fail]);
    let mut emulated = data.clone();
    emulated.rows.retain(|row| row.backend == Reference);
    assert_eq!(outcomes(&emulated, ["F3"]), [Outcome::NotRun], "times of emulated formats answer nothing");
    let no_gpu = Data { environments: [(fixture::ENVIRONMENT.to_owned(), fixture::environment(&[]))].into(), ..data };
    assert_eq!(outcomes(&no_gpu, ["F3"]), [Outcome::NoHardware]);
}

#[test]
fn both_verdicts_stand_side_by_side_and_findings_behind_the_claims() {
    let data = silent();
    let verdicts = verdicts(&data);
    let text = to_text(&verdicts);
    let row = |id: &str| text.lines().position(|line| line.starts_with(&format!("{id} "))).unwrap();
    assert_eq!((row("C5*"), row("F3")), (row("C5") + 1, row("F1") + 2));
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
    assert_eq!((document.claims.len(), document.findings.len()), (10, 3));
    let html = Renderer::new().unwrap().html(&document).unwrap();
    let place = |what: &str| html.find(what).unwrap_or_else(|| panic!("{what}"));
    assert!(place("<h2 id=\"findings\">") < place("<h2 id=\"claims\">"), "answered findings come first");
    assert!(place("<span class=\"badge open\">UNDECIDED</span><span class=\"badge pass\"") > 0);
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

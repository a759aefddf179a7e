//! Claims judged over hand-made runs.

use mixprec::claims::{Claims, Outcome, Verdict, judge};
use mixprec::engine::BackendKind;
use mixprec::graph::Preset;
use mixprec::input::InputSource;
use mixprec::record::Status;
use mixprec::report::document::document;
use mixprec::report::sentences::claims::{WordedVerdict, to_json, to_text};
use mixprec::results::data::{Data, total};
use mixprec::results::study::Study;
use mixprec::store::schema::ResultRow;

use super::fixture::{self, Shapes};

fn verdicts(data: &Data) -> Vec<Verdict> {
    judge(data, &Claims::builtin().unwrap())
}

fn verdict(data: &Data, id: &str) -> WordedVerdict {
    WordedVerdict::all(&verdicts(data)).into_iter().find(|verdict| verdict.id == id).unwrap()
}

fn change(mut data: Data, which: impl Fn(&ResultRow) -> bool, with: impl Fn(&mut ResultRow)) -> Data {
    data.rows.iter_mut().filter(|row| which(row)).for_each(with);
    data
}

fn is(row: &ResultRow, backend: BackendKind, preset: Preset) -> bool {
    row.backend == backend && row.precision == preset.name()
}

#[test]
fn all_ten_claims_of_the_paper_are_there_and_our_findings_follow() {
    let ids: Vec<String> = verdicts(&fixture::laptop()).into_iter().map(|verdict| verdict.claim.id).collect();
    assert_eq!(ids, ["C1", "C2", "C3", "C4", "C5", "C6", "C7", "C8", "C9", "C10", "F1", "F2", "F3", "F4", "F5", "F6"]);
}

#[test]
fn a_laptop_answers_numerics_by_emulation_and_nothing_about_gpus() {
    let data = fixture::laptop();
    for id in ["C1", "C2", "C3", "C6", "C10"] {
        assert_eq!(verdict(&data, id).outcome, Outcome::NoHardware, "{id}");
    }
    let c4 = verdict(&data, "C4");
    // The other model of the fixture is neither BERT-base nor GPT-2.
    assert_eq!((c4.outcome, c4.answered.emulated, c4.rows), (Outcome::Pass, true, 6));
    assert!(
        c4.explanation.contains("Not counted: a_b&c<script> is none of the models in question."),
        "{}",
        c4.explanation
    );
    assert!(c4.explanation.contains("emulated on the CPU"), "{}", c4.explanation);
    assert!(c4.explanation.contains("bert-base (random weights) on input random"), "{}", c4.explanation);
    let c5 = verdict(&data, "C5");
    assert_eq!((c5.outcome, c5.measured.as_deref()), (Outcome::Pass, Some("0 of 264 passes")));
    assert!(c5.explanation.contains("3 of 10 have NaN or infinity"), "{}", c5.explanation);
    assert!(c5.interval.unwrap().starts_with("[0 %, 1.4 %]"));
    for id in ["C7", "C8", "C9"] {
        let open = verdict(&data, id);
        assert_eq!(open.outcome, Outcome::NotRun, "{id}");
        assert!(open.explanation.contains("mixprec run"), "{}", open.explanation);
    }
}

#[test]
fn up_to_means_the_largest_ratio_and_its_interval_decides() {
    let data = fixture::server();
    let c1 = verdict(&data, "C1");
    // The fixture's largest ratio is about 42.
    assert_eq!(c1.outcome, Outcome::Fail);
    assert!(c1.measured.as_deref().unwrap().starts_with("42."), "{:?}", c1.measured);
    assert!(c1.explanation.contains("Largest of 240 pairs: onnxruntime fp32 against cuda"), "{}", c1.explanation);
    let slower = |row: &mut ResultRow, factor: f64| {
        for value in [&mut row.latency_p50_ms, &mut row.latency_p50_low_ms, &mut row.latency_p50_high_ms] {
            *value = value.map(|latency| latency * factor);
        }
    };
    let fast = change(data, |row| row.backend == BackendKind::OnnxRuntime, |row| slower(row, 1.6));
    assert_eq!(verdict(&fast, "C1").outcome, Outcome::Pass);
    let wide = change(
        fast,
        |row| row.backend == BackendKind::OnnxRuntime,
        |row| {
            row.latency_p50_low_ms = row.latency_p50_ms.map(|latency| latency * 0.7);
        },
    );
    assert_eq!(verdict(&wide, "C1").outcome, Outcome::Undecided);
}

#[test]
fn emulated_rows_never_answer_claims_about_time_or_memory() {
    let emulate = |row: &mut ResultRow| row.emulated = Some(true);
    let data = change(fixture::server(), |row| row.backend == BackendKind::Cuda, emulate);
    for id in ["C1", "C2", "C3", "C6"] {
        assert_eq!(verdict(&data, id).outcome, Outcome::NotRun, "{id}");
    }
    assert!(verdict(&data, "C4").answered.emulated);
}

#[test]
fn a_claim_about_one_gpu_is_answered_by_that_gpu_only() {
    let data = fixture::server();
    assert_eq!(verdict(&data, "C6").outcome, Outcome::Fail, "small shapes are bound by the fixed cost");
    let other = Data {
        environments: [(fixture::ENVIRONMENT.to_owned(), fixture::environment(&["NVIDIA H200"]))].into(),
        ..data
    };
    let c6 = verdict(&other, "C6");
    assert_eq!(c6.outcome, Outcome::NoHardware);
    assert!(c6.explanation.contains("`A100`"), "{}", c6.explanation);
    assert_ne!(verdict(&other, "C2").outcome, Outcome::NoHardware);
}

#[test]
fn memory_is_what_engines_hold() {
    let c3 = verdict(&fixture::server(), "C3");
    // Halves at best, so 63 % is missed.
    assert_eq!(c3.outcome, Outcome::Fail);
    assert!(c3.measured.as_deref().unwrap().starts_with("49."), "{:?}", c3.measured);
    let shrink = |row: &mut ResultRow| row.weights_bytes = row.weights_bytes.map(|bytes| bytes / 2);
    let small = change(fixture::server(), |row| is(row, BackendKind::Cuda, Preset::Hybrid), shrink);
    assert_eq!(verdict(&small, "C3").outcome, Outcome::Pass);
}

#[test]
fn nan_never_passes() {
    let break_one = |row: &mut ResultRow| {
        row.nan_count = Some(1);
        row.cosine_min = None;
    };
    let data = fixture::laptop();
    let id = data.rows.iter().find(|row| row.precision == "hybrid").unwrap().id.clone();
    let data = change(data, |row| row.id == id, break_one);
    let (c4, c5) = (verdict(&data, "C4"), verdict(&data, "C5"));
    assert_eq!((c4.outcome, c4.measured.as_deref()), (Outcome::Fail, Some("undefined (NaN or infinity)")));
    assert_eq!((c5.outcome, c5.measured.as_deref()), (Outcome::Fail, Some("1 of 11 configurations")));
}

#[test]
fn what_is_eliminated_must_be_there() {
    let without = |row: &mut ResultRow| {
        for count in [&mut row.nan_count, &mut row.nan_forwards, &mut row.inf_count, &mut row.inf_forwards] {
            *count = count.map(|_| 0);
        }
    };
    let data = change(fixture::laptop(), |_| true, without);
    let c5 = verdict(&data, "C5");
    assert_eq!(c5.outcome, Outcome::Undecided);
    // A NaN in any pass that was examined counts, not only in the one that was compared.
    let elsewhere = change(data.clone(), |row| row.precision == "hybrid", |row| row.nan_forwards = Some(1));
    assert_eq!(verdict(&elsewhere, "C5").outcome, Outcome::Fail);
    let silent = "Its instability is silent: of the same configurations under fp16, 2 of 10 have broken output rows.";
    assert!(c5.explanation.contains(silent), "{}", c5.explanation);
    let mend = |row: &mut ResultRow| (row.broken_rows, row.broken_forwards) = (Some(0), Some(0));
    let c5 = verdict(&change(data.clone(), |_| true, mend), "C5");
    assert_eq!(c5.outcome, Outcome::Undecided);
    assert!(c5.explanation.contains("there is no instability to eliminate"), "{}", c5.explanation);
    let alone = change(data, |row| row.precision == "fp16", |row| row.status = Status::Pending);
    assert_eq!(verdict(&alone, "C5").outcome, Outcome::NotRun);
}

#[test]
fn failed_rows_and_missing_backends_are_said() {
    let fail = |row: &mut ResultRow| {
        row.status = Status::Failed;
        row.reason = Some("out of luck".to_owned());
    };
    let data = change(fixture::laptop(), |row| row.precision == "hybrid", fail);
    let c4 = verdict(&data, "C4");
    assert_eq!(c4.outcome, Outcome::NotRun);
    assert!(c4.explanation.contains("6 matching rows failed: out of luck."), "{}", c4.explanation);
    let c1 = verdict(&data, "C1");
    let here = |kind| mixprec::backend::backend(kind).is_ok();
    assert!(here(BackendKind::OnnxRuntime) && here(BackendKind::Cuda));
    let says_so = c1.explanation.contains("This version of mixprec contains no tensorrt backend");
    assert_eq!(says_so, !here(BackendKind::TensorRt), "{}", c1.explanation);
}

#[test]
fn the_mock_backend_answers_nothing() {
    let data = change(fixture::laptop(), |_| true, |row| row.backend = BackendKind::Mock);
    for id in ["C4", "C5"] {
        assert_eq!(verdict(&data, id).outcome, Outcome::NotRun, "{id}");
    }
}

#[test]
fn accuracy_is_compared_sentence_by_sentence() {
    let shapes =
        Shapes { batches: &[8], sequences: &[64], inputs: &["sst2"], models: &["bert-base"], ..fixture::LAPTOP };
    let plan = fixture::plan(&shapes);
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let data = fixture::data(plan, &records, &[]);
    let c7 = verdict(&data, "C7");
    // One flip in 872 may be up to 0.64 % of sentences, so half a point is not ruled out.
    assert_eq!((c7.outcome, c7.measured.as_deref()), (Outcome::Undecided, Some("−0.11 points")));
    assert!((c7.values[0].low.unwrap() + 0.006_373).abs() < 1e-5, "{c7:?}");
    assert!(c7.explanation.contains("hybrid 87.61 % against fp32 87.73 % on 872 sentences: 1 answer differs"));
    let fp32 = data.rows.iter().find(|row| row.precision == "fp32").unwrap().clone();
    let equal = change(
        data.clone(),
        |row| row.precision == "hybrid",
        |row| {
            row.task_correct = fp32.task_correct;
            row.task_accuracy = fp32.task_accuracy;
            row.task_predictions.clone_from(&fp32.task_predictions);
        },
    );
    let c7 = verdict(&equal, "C7");
    assert_eq!((c7.outcome, c7.interval.as_deref()), (Outcome::Pass, Some("[−0.42 points, 0.42 points]")));
    let worse = change(
        data,
        |row| row.precision == "hybrid",
        |row| {
            row.task_correct = Some(700);
            row.task_accuracy = Some(700.0 / 872.0);
            row.task_predictions = row.task_predictions.as_ref().map(|labels| {
                labels
                    .char_indices()
                    .map(|(i, label)| if i < 65 { if label == '0' { '1' } else { '0' } } else { label })
                    .collect()
            });
        },
    );
    let c7 = verdict(&worse, "C7");
    assert_eq!(c7.outcome, Outcome::Fail, "{c7:?}");
}

/// A scored run on an input of this name.
fn scored(input: &'static str) -> Data {
    let shapes =
        Shapes { batches: &[8], sequences: &[64], inputs: &["sst2"], models: &["bert-base"], ..fixture::LAPTOP };
    let plan = fixture::plan(&shapes);
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let hybrid = |row: &mut ResultRow| row.input = input.to_owned();
    change(fixture::data(plan, &records, &[]), |_| true, hybrid)
}

#[test]
fn the_sentence_on_sst2_is_answered_by_its_file_alone() {
    let digest = |digest: &'static str| move |row: &mut ResultRow| row.input_sha256 = Some(digest.to_owned());
    let dev = "54a9c12c77e402fc14d6a66a506f24d999f596b0176eb777c972cccc2f9cc4b0";
    let known = verdict(&change(scored("any-name"), |_| true, digest(dev)), "C7");
    assert_eq!((known.outcome, known.rows), (Outcome::Undecided, 1));
    assert!(!known.explanation.contains("rests on its name"), "{}", known.explanation);
    let other = verdict(&change(scored("sst2"), |_| true, digest("00")), "C7");
    assert_eq!(other.outcome, Outcome::NotRun);
    assert_eq!(other.why, "Not counted: the file of input sst2 is not the one in question.");
    // Tables before schema 9 have no digest; the manifest may.
    let by_name = verdict(&scored("sst2"), "C7");
    assert_eq!(by_name.outcome, Outcome::Undecided);
    let words = "That sst2 is the file in question rests on its name: no digest of it is recorded.";
    assert!(by_name.explanation.contains(words), "{}", by_name.explanation);
    assert_eq!(verdict(&scored("cola"), "C7").outcome, Outcome::NotRun);
    let pinned = |digest: &str| {
        let mut data = scored("dev");
        for one in &mut data.plan.configurations {
            one.input_source = InputSource::Sst2 {
                path: "dev.tsv".into(),
                sha256: Some(digest.to_owned()),
                labels: Default::default(),
            };
        }
        verdict(&data, "C7").outcome
    };
    assert_eq!((pinned(dev), pinned("00")), (Outcome::Undecided, Outcome::NotRun));
}

#[test]
fn a_model_at_chance_says_nothing_about_degradation() {
    let of = |right: u64| {
        let answers = |row: &mut ResultRow| {
            (row.task_correct, row.task_accuracy) = (Some(right), Some(right as f64 / 872.0));
            row.task_predictions = Some("1".repeat(872));
        };
        verdict(&change(scored("sst2"), |_| true, answers), "C7")
    };
    // R: binom.test(473, 872) is [0.5087, 0.5759]; binom.test(474, 872) is [0.5098, 0.5770]. The larger class is 50.92 %.
    let chance = of(473);
    assert_eq!(chance.outcome, Outcome::NotRun);
    assert!(chance.why.contains("not surely above the 50.9 % of the largest class"), "{}", chance.why);
    assert_eq!(of(474).outcome, Outcome::Pass, "its answers are all the same");
    let unscored = |row: &mut ResultRow| (row.task_correct, row.task_total, row.task_accuracy) = (None, None, None);
    let unscored = verdict(&change(scored("sst2"), |_| true, unscored), "C7");
    assert_eq!(unscored.outcome, Outcome::NotRun);
    assert!(unscored.why.contains("has no value to compare"), "{}", unscored.why);
}

#[test]
fn the_papers_cosine_is_that_of_its_models() {
    let of = |with: &dyn Fn(&mut ResultRow)| verdict(&change(fixture::laptop(), |_| true, with), "C4");
    assert_eq!(of(&|row| row.model = "my-model".to_owned()).outcome, Outcome::NotRun);
    assert_eq!(of(&|row| row.parameters = Some(17_000_000)).outcome, Outcome::NotRun, "a small one of that name");
    assert_eq!(of(&|row| row.model = "gpt2".to_owned()).rows, 11);
    // An output of one number has no cosine.
    let one = of(&|row| (row.cosine_min, row.forward_cosine_min) = (None, None));
    assert_eq!((one.outcome, one.rows), (Outcome::NotRun, 0));
}

#[test]
fn text_is_wikitext_by_its_digest() {
    let plan = fixture::plan(&Shapes { inputs: &["random", "wikitext"], ..fixture::LAPTOP });
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let data = fixture::data(plan, &records, &[]);
    let of = |digest: &'static str| {
        let text = |row: &ResultRow| row.input == "wikitext";
        let data = change(data.clone(), text, |row| row.input_sha256 = Some(digest.to_owned()));
        ["C8", "C9"].map(|id| verdict(&data, id).outcome)
    };
    let raw = "4f3e427e4aff23acff917a8a51aeae21bf12832256e26914c8fc250dcef4103c";
    assert_eq!(of(raw), [Outcome::Undecided, Outcome::Pass]);
    assert_eq!(of("00"), [Outcome::NotRun, Outcome::NotRun]);
}

#[test]
fn nan_rates_of_text_and_random_inputs_are_compared_pairwise() {
    let shapes = Shapes { inputs: &["random", "wikitext"], ..fixture::LAPTOP };
    let plan = fixture::plan(&shapes);
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let data = fixture::data(plan, &records, &[]);
    let c8 = verdict(&data, "C8");
    // 20 of 24 passes against 4 of 24: [0.63, 0.95] over [0.05, 0.37].
    assert_eq!((c8.outcome, c8.measured.as_deref(), c8.rows), (Outcome::Undecided, Some("5.00×"), 12));
    assert!(c8.interval.unwrap().starts_with("[1.67×, 20."));
    assert!(c8.explanation.contains("8 pairs left out, because the ratio is undefined"), "{}", c8.explanation);
    assert_eq!(verdict(&data, "C9").outcome, Outcome::Pass);
    let with = |input: &'static str, nan: u64| {
        let hit = |row: &ResultRow| row.nan_forwards > Some(0) && row.input == input;
        change(data.clone(), hit, |row| row.nan_forwards = Some(nan))
    };
    assert_eq!(verdict(&with("random", 20), "C8").outcome, Outcome::Fail, "the same rate");
    // None of 24 against 24 of 24: at least 0.858 / 0.142 = 6.02.
    let unbounded = with("random", 0);
    let c8 = verdict(&unbounded, "C8");
    assert_eq!((c8.outcome, c8.measured.as_deref()), (Outcome::Undecided, Some("∞")));
    let all = change(unbounded, |row| row.nan_forwards > Some(0), |row| row.nan_forwards = Some(24));
    let c8 = verdict(&all, "C8");
    assert_eq!((c8.outcome, c8.interval.as_deref()), (Outcome::Pass, Some("[6.02×, ∞]")));
    // An injected outlier answers nothing, whatever it did.
    let injected = change(all, |_| true, |row| row.injection = Some("injected outlier".to_owned()));
    for id in ["C5", "C8", "C9"] {
        assert_eq!(verdict(&injected, id).outcome, Outcome::NotRun, "{id}");
    }
    let none = change(data, |_| true, |row| row.nan_forwards = Some(0));
    let c8 = verdict(&none, "C8");
    assert_eq!(c8.outcome, Outcome::Undecided);
    let words = "No NaN under fp16 on text or on random ids: nothing to compare.";
    assert!(c8.explanation.starts_with(words), "{}", c8.explanation);
    assert!(c8.explanation.contains("With none in 24 forward passes, a rate of up to 14.2 % remains possible."));
    let other = change(none, |row| row.input == "wikitext", |row| row.input = "poem".to_owned());
    for id in ["C8", "C9"] {
        assert_eq!(verdict(&other, id).outcome, Outcome::NotRun, "{id}");
    }
}

#[test]
fn random_ids_with_separators_are_no_random_ids_to_a_claim() {
    let judged = |inputs: &[&str]| {
        let plan = fixture::plan(&Shapes { inputs, ..fixture::LAPTOP });
        let records = fixture::records(&plan, fixture::ENVIRONMENT);
        let data = fixture::data(plan, &records, &[]);
        // Counted among random ids, one NaN in 24 would make C8's ratio 20.
        let hit = |row: &ResultRow| row.input == "random-separators" && row.nan_forwards > Some(0);
        let data = change(data, hit, |row| row.nan_forwards = Some(1));
        (verdict(&data, "C8"), verdict(&data, "C9"))
    };
    let with = judged(&["random", "random-separators", "wikitext"]);
    assert_eq!(with.0.rows, 12);
    let facts = |of: WordedVerdict| (of.outcome, of.measured, of.interval, of.explanation);
    let without = judged(&["random", "wikitext"]);
    assert_eq!((facts(with.0), facts(with.1)), (facts(without.0), facts(without.1)));
}

#[test]
fn the_count_waits_for_what_is_still_to_run() {
    let mut data = fixture::server();
    assert_eq!(data.rows.len(), 300);
    assert_eq!(verdict(&data, "C10").outcome, Outcome::Fail);
    let more: Vec<ResultRow> = data.rows.iter().take(80).cloned().collect();
    data.rows.extend(more.into_iter().enumerate().map(|(index, row)| ResultRow { id: format!("more{index}"), ..row }));
    assert_eq!(verdict(&data, "C10").outcome, Outcome::Pass);
    let pending = change(data, |row| row.batch_size == 1, |row| row.status = Status::Pending);
    assert_eq!(verdict(&pending, "C10").outcome, Outcome::Undecided);
}

#[test]
fn text_and_json_name_every_claim() {
    let verdicts = verdicts(&fixture::laptop());
    let text = to_text(&verdicts);
    assert!(text.contains("2 PASS, 3 NOT RUN, 5 N/A-HARDWARE"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 100), "{text}");
    let json: serde_json::Value = serde_json::from_str(&to_json(&verdicts).unwrap()).unwrap();
    assert_eq!(json[3]["outcome"], "PASS");
    assert_eq!(json[3]["values"][0]["expected"], "≥ 0.9998000");
}

#[test]
fn mistakes_in_a_claims_file_are_named_by_place() {
    let good = include_str!("../../experiments/claims.yaml");
    let refused = |from: &str, to: &str| Claims::parse(&good.replacen(from, to, 1), "c.yaml").unwrap_err().to_string();
    let error = refused("of: latency_p50_ms", "of: latency");
    assert!(error.starts_with("c.yaml:") && error.contains("latency_p50_ms"), "{error}");
    let error = refused("    kind: time", "    sort: time");
    assert!(error.starts_with("c.yaml:") && error.contains("sort"), "{error}");
    let error = refused("  - id: C2", "  - id: C1");
    assert_eq!(error, "c.yaml: claim `C1`: its id is empty or taken; give every claim its own");
    let error = refused("{at_least: 64.4, tolerance: {relative: 0.02}}", "{tolerance: {relative: 0.02}}");
    assert!(error.contains("`expect` has no limit"), "{error}");
    let error = refused("{at_least: 64.4,", "{at_least: .nan,");
    assert!(error.contains("finite"), "{error}");
    assert!(refused("schema: 1", "schema: 2").contains("schema 2"));
    assert!(refused("reduce: max", "reduce: max\n            reduce: min").starts_with("c.yaml:"), "duplicate keys");
}

/// Found by fuzzing: rows of a folder from elsewhere may claim any count.
#[test]
fn counts_beyond_any_sum_are_no_crash() {
    let most = |row: &mut ResultRow| {
        (row.output_elements, row.samples, row.nan_count) = (Some(u64::MAX), Some(u64::MAX), Some(u64::MAX));
    };
    let data = change(fixture::laptop(), |row| row.status == Status::Ok, most);
    let found = verdicts(&data);
    assert_eq!(found.len(), 16);
    document(&Study::of(data), &Claims::builtin().unwrap(), found).unwrap();
    assert_eq!(total([u64::MAX, 1].into_iter()), u64::MAX);
}

//! What is rendered: the committed pages, and what stands in which file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mixprec::claims::Claims;
use mixprec::model::{Injection, ModelSource};
use mixprec::record::Status;
use mixprec::record::StopReason;
use mixprec::report::table::TableRow;
use mixprec::report::{Files, ReportError, report, report_with};
use mixprec::results::ResultsError;
use mixprec::results::data::Data;
use mixprec::results::study::Study;
use mixprec::store::journal::{Header, Journal, OnDamage};

use super::committed::{committed, compare};
use super::{fixture, machines, study};

pub fn rendered(data: &Data) -> BTreeMap<String, Vec<u8>> {
    rendered_with(&Study::of(data.clone()))
}

pub fn rendered_with(study: &Study) -> BTreeMap<String, Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let summary = report_with(study, &Claims::builtin().unwrap(), dir.path(), Files::All).unwrap();
    let name = |path: &PathBuf| path.file_name().unwrap().to_str().unwrap().to_owned();
    let files: BTreeMap<String, Vec<u8>> =
        summary.files.iter().map(|path| (name(path), std::fs::read(path).unwrap())).collect();
    assert_eq!(files.len(), summary.files.len(), "two files of one name");
    files
}

pub fn text(files: &BTreeMap<String, Vec<u8>>, name: &str) -> String {
    String::from_utf8(files[name].clone()).unwrap()
}

#[test]
fn the_laptop_report_is_the_committed_one() {
    compare(
        "laptop",
        &committed(rendered(&fixture::laptop()), &["figure-headroom.svg", "figure-deviation-1-bert-base.svg"]),
    );
}

#[test]
fn the_report_of_two_machines_is_the_committed_one() {
    let figures = ["machine-1-figure-latency-batch.svg", "machine-1-figure-speedup.svg"];
    compare("two-gpus", &committed(rendered(&machines::two_gpus()), &figures));
}

#[test]
fn equal_results_give_equal_bytes_figures_included() {
    let (first, second) = (rendered(&fixture::laptop()), rendered(&fixture::laptop()));
    let differing: Vec<&String> = first.keys().filter(|name| first[*name] != second[*name]).collect();
    assert!(differing.is_empty() && first.len() == second.len(), "{differing:?}");
    assert!(first.keys().any(|name| name.ends_with(".pdf")));
}

#[test]
fn figures_embed_the_shipped_font_whatever_the_host_has() {
    let files = rendered(&fixture::laptop());
    let pdf = String::from_utf8_lossy(&files["figure-numerics.pdf"]).into_owned();
    assert!(pdf.contains("LMSans10"), "the PDF names another font");
}

#[test]
fn hostile_names_are_text_everywhere() {
    let files = rendered(&fixture::laptop());
    for (name, bytes) in &files {
        let text = String::from_utf8_lossy(bytes);
        if name.ends_with(".html") || name.ends_with(".svg") {
            assert!(!text.contains("<script"), "{name}");
            assert!(!text.contains("c<s"), "{name}");
        }
        if name.ends_with(".tex") {
            assert!(!text.contains("a_b") && !text.contains("b&c"), "{name}");
        }
    }
    assert!(text(&files, "report.html").contains("a_b&amp;c&lt;script&gt;"));
    assert!(text(&files, "numerics.tex").contains(r"a\_b\&c\textless{}script\textgreater{}"));
    assert!(text(&files, "failures.tex").contains(r"\& left \textless{}no\textgreater{} message\_"));
}

#[test]
fn failed_and_pending_rows_are_dashes_with_reasons() {
    let files = rendered(&fixture::laptop());
    let table = text(&files, "latency-1-bert-base-random-reference.tex");
    assert!(table.contains("Failed: the worker died of signal 11"), "{table}");
    let table = text(&files, "latency-2-a-b-c-script-random-reference.tex");
    assert!(table.contains("Planned, but not run yet."), "{table}");
}

#[test]
fn emulated_rows_enter_no_speed_up_and_say_why() {
    let files = rendered(&fixture::laptop());
    let section = text(&files, "section-speedup.tex");
    assert_eq!(section.matches("MixprecTable").count(), 0, "{section}");
    assert!(section.contains("says nothing about hardware"), "{section}");
    assert!(text(&files, "latency-1-bert-base-random-reference.tex").contains("Formats are emulated by rounding"));
}

#[test]
fn speed_ups_are_quoted_against_onnx_runtime_where_there_is_one() {
    let files = rendered(&fixture::server());
    let section = text(&files, "appendix-speedup.tex");
    assert!(section.contains("ONNX Runtime FP32 on the CPU"), "{section}");
    let table = text(&files, "speedup-1-bert-base-random-cuda.tex");
    // (4 + 0.25 n (1 + 512/3000)) / (0.9 + 0.0059 n (1 + 512/3000)) at n = 32 x 512.
    let row = table.lines().find(|line| line.starts_with("32 & 512")).unwrap();
    assert!(row.contains("42.0"), "{row}");
    assert!(files.contains_key("figure-speedup.pdf"));
}

#[test]
fn an_empty_run_renders_and_says_that_it_is_empty() {
    let plan = fixture::plan(&fixture::LAPTOP);
    let files = rendered(&fixture::data(plan, &[], &[]));
    assert!(text(&files, "memory.tex").contains(r"\emph{No configuration was measured.}"));
    assert!(text(&files, "section-latency.tex").contains("MixprecNothing"));
    assert!(text(&files, "macros.tex").contains(r"\newcommand{\mpHybridCosineMin}{n/a\xspace}"));
    assert!(text(&files, "report.html").contains("No configuration was measured."));
    let nothing = fixture::Shapes { models: &[], ..fixture::LAPTOP };
    assert!(
        text(&rendered(&fixture::data(fixture::plan(&nothing), &[], &[])), "configurations.tex")
            .contains("no configurations")
    );
}

#[test]
fn rates_have_intervals_and_name_where_failures_begin() {
    let files = rendered(&fixture::laptop());
    let table = text(&files, "rates-1-bert-base.tex");
    let row = |beginning: &str| table.lines().find(|line| line.starts_with(beginning)).unwrap().to_owned();
    // R: binom.test(24, 24) is [0.8575, 1], binom.test(0, 24) is [0, 0.1425].
    let fp16 = row(r"reference & fp16 & 1\ensuremath{\times}64");
    assert!(fp16.contains("{[}85.8, 100.0{]}"), "{fp16}");
    let fp32 = row(r"reference & fp32 & 1\ensuremath{\times}64");
    assert!(fp32.contains("{[}0.0, 14.2{]}"), "{fp32}");
    let provenance = text(&files, "provenance.tex");
    assert!(provenance.contains("embeddings/layer\\_norm & outside & silent & 260"), "{provenance}");
    assert!(provenance.contains("layer.3/mlp/fc2 & 3 & infinity & 812"), "{provenance}");
    // 65504 / (20000 · 40 · 2) is -4.6 bits.
    let headroom = text(&files, "headroom-2-a-b-c-script.tex");
    assert!(
        headroom.contains(
            r"sum of squares in layer\_norm & 1.6\ensuremath{\times}10\ensuremath{^{6}} & 1 & \ensuremath{-}4.6"
        ),
        "{headroom}"
    );
    assert!(text(&files, "figure-headroom.svg").contains("overflows"));
    let macros = text(&files, "macros.tex");
    for wanted in [
        r"\newcommand{\mpFpSixteenForwardsSilent}{48\xspace}",
        r"\newcommand{\mpInjectedFpSixteenForwards}{n/a\xspace}",
        r"\newcommand{\mpHeadroomBits}{\ensuremath{-}4.6\xspace}",
    ] {
        assert!(macros.contains(wanted), "{wanted} is not in {macros}");
    }
}

#[test]
fn an_injected_outlier_is_labelled_wherever_its_rows_are() {
    let mut plan = fixture::plan(&fixture::Shapes { models: &["bert-base", "gpt2-injected"], ..fixture::LAPTOP });
    for one in plan.configurations.iter_mut().filter(|one| one.model == "gpt2-injected") {
        let source = Box::new(one.model_source.clone());
        let inject = Injection { layer: 2, channel: 447, magnitude: 3000.0 };
        one.model_source = ModelSource::Injected { source, inject };
    }
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let data = fixture::data(plan, &records, &[]);
    let label = "injected outlier of 3000 in layer 2, channel 447";
    assert!(data.rows.iter().all(|row| row.injection.is_some() == (row.model == "gpt2-injected")));
    let files = rendered(&data);
    assert!(text(&files, "caveats.tex").contains(&format!("gpt2{{-}}injected has an {label}")));
    for (name, model, expected) in [
        ("appendix-wikitext.tex", "gpt2{-}injected", 1),
        ("appendix-numerics.tex", "gpt2{-}injected", 1),
        ("report.html", "gpt2-injected", 2),
    ] {
        let captions = text(&files, name).matches(&format!("{model} ({label})")).count();
        assert_eq!(captions, expected, "{name}: rates and headroom");
    }
    let macros = text(&files, "macros.tex");
    assert!(macros.contains(r"\newcommand{\mpInjectedFpSixteenForwardsWithNan}{16\xspace}"), "{macros}");
    assert!(macros.contains(r"\newcommand{\mpFpSixteenForwardsWithNan}{0\xspace}"), "{macros}");
    assert!(macros.contains(r"\newcommand{\mpHeadroomModel}{bert{-}base\xspace}"), "{macros}");
}

#[test]
fn the_page_is_self_contained() {
    let page = text(&rendered(&fixture::server()), "report.html");
    for outside in ["http://", "https://", "src=", "<link", "@import", "url("] {
        let found = page.matches(outside).count()
            - page.matches("http://www.w3.org/2000/svg").count() * usize::from(outside == "http://");
        assert_eq!(found, 0, "{outside}");
    }
    assert!(page.find("id=\"claims\"").unwrap() < page.find("id=\"latency\"").unwrap());
}

#[test]
fn a_run_folder_is_read_and_a_stray_folder_is_refused() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let error = report(dir.path(), out.path()).unwrap_err();
    assert!(matches!(error, ReportError::Results(ResultsError::NoRun { .. })), "{error}");
    let plan = fixture::plan(&fixture::LAPTOP);
    fixture::write(dir.path(), &fixture::laptop(), &fixture::laptop_records(&plan));
    let summary = report(dir.path(), out.path()).unwrap();
    assert!(summary.html.is_file());
    assert_eq!(summary.verdicts.len(), 16, "ten claims and six findings");
    mixprec::store::parquet::write_results(dir.path(), &fixture::laptop().rows[1..]).unwrap();
    let error = report(dir.path(), out.path()).unwrap_err().to_string();
    assert!(error.contains("does not hold the configurations of plan.json"), "{error}");
    std::fs::remove_file(dir.path().join("results.parquet")).unwrap();
    let error = report(dir.path(), out.path()).unwrap_err().to_string();
    assert!(error.contains("results.parquet: no such table"), "{error}");
}

#[test]
fn rows_come_from_the_journal_whatever_the_table_says() {
    let (dir, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let plan = fixture::plan(&fixture::LAPTOP);
    let records = fixture::laptop_records(&plan);
    // Tables of before the first row.
    let data = fixture::data(plan, &[], &[]);
    fixture::write(dir.path(), &data, &[]);
    let header = Header::of(&data.plan);
    let mut journal = Journal::open(dir.path(), &header, OnDamage::Refuse).unwrap().journal;
    journal.append(&records[0]).unwrap();
    assert_eq!(Data::read(dir.path()).unwrap().count(Status::Ok), 1);
    let table = dir.path().join("results.parquet");
    std::fs::remove_file(&table).unwrap();
    assert_eq!(Data::read(dir.path()).unwrap().count(Status::Ok), 1);
    // Tables that hold more than was measured.
    fixture::write(dir.path(), &fixture::laptop(), &records);
    let error = report(dir.path(), out.path()).unwrap_err().to_string();
    let expected =
        "results.parquet: 000000005eed0001 was changed after it was measured: model_provenance, weights_kind, ";
    assert!(error.contains(expected) && error.contains("do(es) not follow from journal.jsonl"), "{error}");
    std::fs::remove_file(dir.path().join("samples.parquet")).unwrap();
    std::fs::write(&table, b"torn").unwrap();
    assert!(report(dir.path(), out.path()).unwrap_err().to_string().contains("results.parquet"));
    std::fs::remove_file(&table).unwrap();
    std::fs::remove_file(dir.path().join("environments/feedfacecafebeef.json")).unwrap();
    let error = report(dir.path(), out.path()).unwrap_err().to_string();
    assert!(error.contains("feedfacecafebeef.json is missing"), "{error}");
}

/// Of LaTeX every table and the claims, of HTML as many lines as there are tables, and one for the claims.
#[test]
fn every_table_says_whether_its_rows_match_the_pins() {
    let several = "Pins: 24 rows match; 8 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab instead of 1.32.0, \
                   sha256 6c1585d1bbf4.";
    for (data, note) in [
        (fixture::laptop(), "Pins: all 34 rows match."),
        (fixture::server(), "Pins: 240 rows match; 60 rows differ: libonnxruntime.so.1.32.0: sha256 0123456789ab"),
        (machines::two_gpus(), several),
        (fixture::data(fixture::plan(&fixture::LAPTOP), &[], &[]), "Pins: nothing was built or measured."),
    ] {
        let files = rendered(&data);
        let (mut tables, mut noted) = (0, 0);
        for (name, bytes) in files.iter().filter(|(name, _)| name.ends_with(".tex")) {
            let text = String::from_utf8_lossy(bytes);
            // The table of verdicts is short for the long one of claims, which has the line.
            if text.contains("\\begin{tabular}") && name != "verdicts.tex" {
                assert!(text.contains("Pins: "), "{name}: {text}");
                tables += 1;
            }
            noted += usize::from(text.contains("Pins: "));
        }
        assert_eq!(tables, noted, "no other file has the line");
        assert!(text(&files, "claims.tex").contains("Pins: "));
        let page = text(&files, "report.html");
        assert_eq!(page.matches("Pins: ").count(), page.matches("<table").count() + 1);
        assert!(page.contains(note), "{note}");
    }
}

/// Of several machines each table has the line of its own machine's rows.
#[test]
fn differences_are_those_of_the_machine_and_the_environment_has_all_of_them() {
    let mut data = machines::two_gpus();
    let last = data.environments.keys().next_back().unwrap().clone();
    for row in data.rows.iter_mut() {
        let own = row.environment.as_deref() == Some(last.as_str());
        row.pins =
            Some(if own { "a: 1 instead of 2; b: 3 instead of 4; c: 5 instead of 6" } else { "match" }.to_owned());
    }
    data.rows[0].pins = None;
    let files = rendered(&data);
    let note = |name: &str| {
        let text = text(&files, name);
        text.lines().find(|line| line.contains("Pins: ")).unwrap().trim_start_matches("\\item[] ").to_owned()
    };
    let named: Vec<&String> =
        files.keys().filter(|name| name.contains("latency-1-bert-base") && name.ends_with(".tex")).collect();
    assert_eq!(named.len(), 2, "{named:?}");
    assert_eq!(note(named[0]), "Pins: 15 rows match; 1 row measured before pins were compared.");
    assert_eq!(note(named[1]), "Pins: 16 rows differ: a: 1 instead of 2; b: 3 instead of 4; 1 more under Environment.");
    let environment = text(&files, &format!("machine-2-environment-{last}.tex"));
    assert!(environment.contains("a: 1 instead of 2 (16 rows); b: 3 instead of 4 (16 rows); c: 5"), "{environment}");
}

#[test]
fn early_stops_percentiles_and_perplexities_are_told() {
    let mut data = fixture::laptop();
    for row in data.rows.iter_mut().filter(|row| row.status == Status::Ok) {
        row.stop_reason = Some(StopReason::TimeCap);
        (row.nll_tokens, row.nll_mean) = (Some(62), Some(2.0));
        row.perplexity = Some(if row.precision == "fp16" { 7.5 } else { 7.25 });
    }
    let files = rendered(&data);
    let latency = text(&files, "latency-1-bert-base-random-reference.tex");
    assert!(latency.contains("n = 15") && latency.contains("Stopped by the time cap or the sample limit"), "{latency}");
    assert!(latency.contains("No 90th percentile is given"), "{latency}");
    assert!(text(&files, "caveats.tex").contains("34 of 34 rows stopped at the time cap"));
    let perplexity = text(&files, "perplexity.tex");
    assert!(perplexity.contains("& 62 & 2.0000 & 7.5000 & 0.250"), "{perplexity}");
    let server = rendered(&fixture::server());
    assert!(server.keys().any(|name| name.starts_with("latency-p90-")));
    assert!(!text(&server, "latency-1-bert-base-random-cuda-1.tex").contains("No 90th percentile"));
}

/// A person's look at the pages: `MIXPREC_RENDER=FOLDER` keeps the reports of the fixtures.
#[test]
fn reports_can_be_kept_to_be_looked_at() {
    let Some(folder) = std::env::var_os("MIXPREC_RENDER") else { return };
    for (name, data) in
        [("laptop", fixture::laptop()), ("server", fixture::server()), ("two-gpus", machines::two_gpus())]
    {
        let out = Path::new(&folder).join(name);
        report_with(&Study::of(data), &Claims::builtin().unwrap(), &out, Files::All).unwrap();
    }
    report_with(&study::study(), &Claims::builtin().unwrap(), &Path::new(&folder).join("study"), Files::All).unwrap();
}

#[test]
fn further_scores_have_an_interval_and_a_paired_test() {
    let plan = fixture::plan(&fixture::Shapes { inputs: &["sst2"], models: &["bert-base"], ..fixture::LAPTOP });
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let data = fixture::data(plan, &records, &[]);
    let tables = mixprec::report::tables::scores::scores(&data);
    assert_eq!(tables.iter().map(|table| table.slug.as_str()).collect::<Vec<_>>(), ["scores-classes"]);
    let cells = |precision: &str, score: &str| {
        let is_row = |row: &&TableRow| [3, 5].map(|column| row.cells[column].text.as_str()) == [precision, score];
        tables[0].rows.iter().find(is_row).unwrap().cells[6..].to_vec()
    };
    // 383 of 436 answers of class 1 are right, and 437 should have been given; hybrid gives one more, which is wrong.
    let (fp32, hybrid) = (cells("fp32", "F1"), cells("hybrid", "F1"));
    assert_eq!((fp32[0].text.as_str(), hybrid[0].text.as_str()), ("0.8774", "0.8764"), "2·383/873, 2·383/874");
    assert!(fp32[0].detail.as_ref().is_some_and(|detail| detail.starts_with("[0.85")), "{fp32:?}");
    assert_eq!((fp32[1].text.as_str(), fp32[2].text.as_str()), ("–", "–"));
    assert_eq!(
        (hybrid[1].text.as_str(), hybrid[2].text.as_str()),
        ("−0.00100", "1.000"),
        "one sentence is no difference"
    );
    let mut older = data.clone();
    older.rows.iter_mut().for_each(|row| row.task_answers = None);
    assert!(mixprec::report::tables::scores::scores(&older).is_empty());
}

#[test]
fn accuracy_is_compared_sentence_by_sentence() {
    let plan = fixture::plan(&fixture::Shapes { inputs: &["sst2"], ..fixture::LAPTOP });
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let data = fixture::data(plan, &records, &[]);
    let quality = mixprec::report::tables::quality::quality(&data);
    let column = |name: &str| quality.headings.iter().position(|heading| heading.text == name).unwrap();
    let (precision, flips, p_value) = (column("Precision"), column("Flips"), column("McNemar p"));
    for row in &quality.rows {
        let expected = match row.cells[precision].text.as_str() {
            "fp32" => ["–", "–"],
            "fp16" => ["0", "1.000"],
            // One sentence more is wrong.
            _ => ["1", "1.000"],
        };
        assert_eq!([flips, p_value].map(|column| row.cells[column].text.as_str()), expected);
    }
    assert!(quality.notes[0].text.contains("exact McNemar test"));
    let mut moved = data.clone();
    for row in moved.rows.iter_mut().filter(|row| row.precision == "fp16") {
        row.environment = Some("another".to_owned());
    }
    let apart = mixprec::report::tables::quality::quality(&moved);
    for row in &apart.rows {
        let marked = [flips, p_value].map(|column| row.cells[column].mark.is_some());
        assert_eq!(marked, [row.cells[precision].text == "fp16"; 2], "{row:?}");
    }
    assert!(apart.notes[0].text.contains("of another environment"), "{:?}", apart.notes);
    let flips = mixprec::report::tables::quality::flipped_sentences(&data);
    let texts = |row: &TableRow| row.cells[5..].iter().map(|cell| cell.text.clone()).collect::<Vec<_>>();
    assert!(!flips.rows.is_empty() && flips.rows.iter().all(|row| row.cells[3].text != "fp16"), "{flips:?}");
    let all = |column: usize| flips.rows.iter().map(|row| texts(row)[column].clone()).collect::<BTreeSet<_>>();
    assert_eq!((all(0).len(), all(1).len()), (1, 1), "the same sentence, the same change: {flips:?}");
    let answers: Vec<&str> = data.rows.iter().filter_map(|row| row.task_predictions.as_deref()).collect();
    let (number, change) = (all(1).pop_first().unwrap().parse::<usize>().unwrap(), all(0).pop_first().unwrap());
    let given: BTreeSet<char> = answers.iter().map(|all| all.chars().nth(number - 1).unwrap()).collect();
    assert!(given.len() == 2 && given.iter().all(|answer| change.contains(*answer)), "{change} of {given:?}");
}

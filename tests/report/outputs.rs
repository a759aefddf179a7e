//! What a reader sees of outputs: all passes and not the first alone, every input and not the first alone, and before all else
//! where an experiment asks for them.

use mixprec::claims::{Claims, judge_study};
use mixprec::engine::BackendKind::{Cuda, Reference};
use mixprec::graph::Preset::{Fp16, Fp32, Hybrid};
use mixprec::manifest::schema::Tolerance;
use mixprec::report::document::{Document, document};
use mixprec::report::table::Table;
use mixprec::results::data::Data;
use mixprec::results::study::Study;
use mixprec::store::schema::ResultRow;

use super::fixture::{self, Shapes};
use super::readings::{broken, silent};
use super::render::{rendered, text};

fn made_of(data: &Data) -> Document {
    let (study, claims) = (Study::of(data.clone()), Claims::builtin().unwrap());
    let verdicts = judge_study(&study, &claims);
    document(&study, &claims, verdicts).unwrap()
}

fn table(document: &Document, slug: &str) -> Table {
    document.sections.iter().flat_map(|section| &section.tables).find(|table| table.slug == slug).unwrap().clone()
}

/// The cells of the row whose first ones are these, each with its mark.
fn cells(table: &Table, first: &[&str]) -> Vec<String> {
    let starts = |row: &&mixprec::report::table::TableRow| {
        row.cells.iter().map(|cell| cell.text.as_str()).take(first.len()).eq(first.iter().copied())
    };
    let row = table.rows.iter().find(starts).unwrap_or_else(|| panic!("{first:?} in {table:?}"));
    row.cells.iter().map(|cell| format!("{}{}", cell.text, cell.mark.clone().unwrap_or_default())).collect()
}

#[test]
fn an_experiment_about_outputs_shows_them_behind_the_findings() {
    let mut data = silent();
    data.plan.numerics.forwards = Some(24);
    let html = text(&rendered(&data), "report.html");
    let place = |what: &str| html.find(what).unwrap_or_else(|| panic!("{what}"));
    let order = [
        "<h2 id=\"findings\">",
        "<h2 id=\"numerics\">",
        "id=\"table-outputs-policies\"",
        "<figure",
        "<h2 id=\"wikitext\">",
    ];
    let rest = ["<h2 id=\"claims\">", "<h2 id=\"run\">", "<h2 id=\"latency\">"];
    assert!(order.iter().chain(&rest).map(|what| place(what)).is_sorted(), "{html}");
    assert_eq!(html.matches("<h2 id=\"numerics\">").count(), 1);
    data.plan.numerics.forwards = None;
    let html = text(&rendered(&data), "report.html");
    assert!(html.find("<h2 id=\"latency\">") < html.find("<h2 id=\"numerics\">"), "it asks for times");
}

#[test]
fn inputs_stand_side_by_side_with_their_smallest_cosines() {
    let document = made_of(&silent());
    let outputs = table(&document, "outputs");
    let spans: Vec<&str> =
        outputs.spans.iter().map(|span| span.text.as_str()).filter(|text| !text.is_empty()).collect();
    assert_eq!(spans, ["random", "random-separators", "wikitext-2"]);
    let fp16 = cells(&outputs, &["bert-base", "cuda", "fp16"]);
    assert_eq!(fp16[4..], ["0/24", "0.0780000", "24/24†", "0.0780000", "24/24†"]);
    assert_eq!(cells(&outputs, &["bert-base", "cuda", "hybrid"])[8], "0/24");
    let one_input = Shapes { inputs: &["random"], ..fixture::LAPTOP };
    let plan = fixture::plan(&one_input);
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let document = made_of(&fixture::data(plan, &records, &[]));
    assert!(!document.sections.iter().flat_map(|section| &section.tables).any(|table| table.slug == "outputs"));
}

#[test]
fn prose_tells_text_from_random_ids_and_trained_weights_from_others() {
    let value = |data: &Data, name: &str| {
        let found = made_of(data).macros.into_iter().find(|one| one.name == name).unwrap();
        found.value
    };
    let data = silent();
    assert_eq!(value(&data, "mpFpSixteenTextCosine"), "0.07800");
    assert_eq!(value(&data, "mpFpSixteenTextFailed"), "72 of 72");
    assert_eq!(value(&data, "mpFpSixteenRandomFailed"), "0 of 72");
    assert_eq!(value(&data, "mpFpSixteenCosineMin"), "0.0780000");
    let mut untrained = data;
    untrained
        .rows
        .iter_mut()
        .for_each(|row| row.set_weights(&mixprec::model::WeightsOrigin::Random { seed: 0 }.into()));
    for name in ["mpFpSixteenTextCosine", "mpFpSixteenTextFailed", "mpFpSixteenCosineMin"] {
        assert_eq!(value(&untrained, name), "n/a", "{name}");
    }
}

#[test]
fn a_tolerance_is_kept_only_by_every_pass() {
    let mut data = silent();
    let limit = |cosine_min| Tolerance { cosine_min: Some(cosine_min), ..Tolerance::default() };
    data.plan.tolerances = [("hybrid".to_owned(), limit(0.9998))].into();
    data.plan.tolerances.insert("fp16".to_owned(), Tolerance { allow_nonfinite: true, ..Tolerance::default() });
    for row in &mut data.rows {
        (row.within_tolerance, row.cosine_min) = (Some(true), Some(0.999_97));
        if row.precision == "hybrid" && row.input == "wikitext-2" && row.backend == Cuda {
            row.forward_cosine_min = Some(0.9982);
        }
    }
    let numerics = table(&made_of(&data), "numerics");
    let last = |backend: &str, precision: &str| cells(&numerics, &["bert-base", "wikitext-2", backend, precision]);
    assert!(last("cuda", "hybrid").last().unwrap().starts_with("broken 1/1"), "{:?}", last("cuda", "hybrid"));
    assert!(last("cuda", "hybrid").contains(&"0.9982000".to_owned()), "{:?}", last("cuda", "hybrid"));
    assert_eq!(last("reference", "hybrid").last().unwrap(), "kept");
    assert_eq!(last("cuda", "fp16").last().unwrap(), "none set", "nothing limits it, so nothing is kept");
}

#[test]
fn two_of_872_sentences_give_no_rate() {
    let shapes =
        Shapes { batches: &[8], sequences: &[64], inputs: &["sst2"], models: &["bert-base"], ..fixture::LAPTOP };
    let plan = fixture::plan(&shapes);
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let mut data = fixture::data(plan, &records, &[]);
    let compared = |data: &mut Data, rows: u64| {
        for row in &mut data.rows {
            broken(row, 0);
            (row.forward_compared_rows, row.forward_broken_rows, row.nan_count) = (Some(rows), Some(0), Some(0));
        }
        let all = cells(&table(&made_of(data), "numerics"), &["bert-base", "sst2", "reference", "hybrid"]);
        all.iter().any(|cell| *cell == format!("0/{rows}"))
    };
    assert!(!compared(&mut data, 2));
    let numerics = table(&made_of(&data), "numerics");
    assert!(numerics.notes.iter().any(|note| note.text.starts_with("Only 2 of 872 sentences")), "{numerics:?}");
    assert!(compared(&mut data, 872));
}

/// Memory is shown at one input, whose outputs may be whole.
#[test]
fn memory_is_that_of_a_policy_whose_outputs_fail_on_any_input() {
    let shapes = Shapes {
        series: &[(Cuda, Fp32), (Cuda, Fp16), (Cuda, Hybrid), (Reference, Fp32)],
        models: &["bert-base"],
        inputs: &["random", "wikitext"],
        ..fixture::SERVER
    };
    let plan = fixture::plan(&shapes);
    let records = fixture::records(&plan, fixture::ENVIRONMENT);
    let mut data = fixture::data(plan, &records, &["NVIDIA H200"]);
    for row in &mut data.rows {
        broken(row, if row.precision == "fp16" && row.input == "wikitext" { 24 } else { 0 });
    }
    let document = made_of(&data);
    for (slug, marked) in [("memory-reduction", "fp16†"), ("memory", "fp16†")] {
        let table = table(&document, slug);
        assert_eq!(cells(&table, &["bert-base", "cuda", "fp16"])[2], marked, "{slug}");
        assert_eq!(cells(&table, &["bert-base", "cuda", "hybrid"])[2], "hybrid", "{slug}");
    }
}

#[test]
fn one_shape_is_no_curve() {
    let figure = |data: &Data, slug: &str| {
        let document = made_of(data);
        document.sections.iter().flat_map(|section| &section.figures).find(|one| one.slug == slug).unwrap().clone()
    };
    let one = fixture::plan(&Shapes { batches: &[1], sequences: &[128], ..fixture::SERVER });
    let records = fixture::records(&one, fixture::ENVIRONMENT);
    let one = fixture::data(one, &records, &["NVIDIA H200"]);
    for slug in ["figure-latency-batch", "figure-latency-sequence"] {
        assert!(figure(&one, slug).empty.unwrap().starts_with("Only one size was timed"), "{slug}");
        assert_eq!(figure(&fixture::server(), slug).empty, None, "{slug}");
    }
}

/// Columns in which nothing happens make a table too wide for paper.
#[test]
fn rates_of_finite_passes_have_no_columns_of_nan() {
    let headings = |data: &Data| {
        let rates = table(&made_of(data), "rates-1-bert-base");
        assert!(rates.rows.iter().all(|row| row.cells.len() == rates.headings.len()));
        rates.headings.into_iter().map(|heading| heading.text).collect::<Vec<_>>()
    };
    let mut data = silent();
    assert!(!headings(&data).iter().any(|text| ["NaN", "infinity", "any of these"].contains(&text.as_str())));
    assert!(headings(&data).contains(&"broken row".to_owned()));
    data.rows[0].nan_forwards = Some(1);
    assert!(headings(&data).contains(&"NaN".to_owned()) && headings(&data).contains(&"any of these".to_owned()));
}

/// A row of a table that is older than the comparison of all passes.
#[test]
fn older_rows_show_the_cosine_that_they_have() {
    let mut data = silent();
    for row in &mut data.rows {
        let ResultRow { forward_cosine_min, cosine_min, .. } = row;
        (*forward_cosine_min, *cosine_min) = (None, Some(0.999_95));
    }
    let numerics = table(&made_of(&data), "numerics");
    assert!(cells(&numerics, &["bert-base", "random", "cuda", "hybrid"]).contains(&"0.9999500".to_owned()));
}

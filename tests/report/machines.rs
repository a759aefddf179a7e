//! Reports of merged results: machines side by side, and never one divided by another.

use mixprec::claims::headline::headlines;
use mixprec::claims::{Claims, Outcome, Verdict, judge};
use mixprec::engine::BackendKind;
use mixprec::graph::Preset;
use mixprec::record::Status;
use mixprec::report::sentences::claims::{WordedVerdict, to_text};
use mixprec::report::table::Table;
use mixprec::report::tables::cross_gpu::cross_gpu;
use mixprec::results::data::Data;
use mixprec::results::machines::machines;
use mixprec::store::derive;
use mixprec::store::schema::ResultRow;

use super::fixture::{self, Shapes};

const GRID: Shapes = Shapes {
    name: "paper",
    models: &["bert-base"],
    series: &[
        (BackendKind::Cuda, Preset::Fp32),
        (BackendKind::Cuda, Preset::Fp16),
        (BackendKind::Cuda, Preset::Hybrid),
        (BackendKind::OnnxRuntime, Preset::Fp32),
    ],
    batches: &[1, 32],
    sequences: &[64, 512],
    inputs: &["random"],
};

const A100: &str = "aaaaaaaaaaaaaaaa";
const H200: &str = "bbbbbbbbbbbbbbbb";

/// One machine's rows of the grid, its GPU `speed` times as fast as the fixture's and FP16 as hybrid besides `gain`.
fn rows(environment: &str, speed: f64, gain: f64) -> Vec<ResultRow> {
    let plan = fixture::plan(&GRID);
    let mut rows = derive::derive(&plan, &fixture::records(&plan, environment));
    for row in rows.iter_mut().filter(|row| row.backend == BackendKind::Cuda) {
        let factor = if row.precision == "fp32" { speed } else { speed * gain };
        for value in [&mut row.latency_p50_ms, &mut row.latency_p50_low_ms, &mut row.latency_p50_high_ms] {
            *value = value.map(|latency| latency / factor);
        }
    }
    rows
}

/// What a merge leaves: rows in plan order, and of one configuration by environment.
fn merged(parts: &[(&str, &[&str], Vec<ResultRow>)]) -> Data {
    let plan = fixture::plan(&GRID);
    let of = |id: &str| {
        let mut rows: Vec<ResultRow> = parts
            .iter()
            .flat_map(|(_, _, rows)| rows)
            .filter(|row| row.id == id && row.status != Status::Pending)
            .cloned()
            .collect();
        rows.sort_by(|a, b| a.environment.cmp(&b.environment));
        rows
    };
    let rows = plan.configurations.iter().flat_map(|one| of(&one.id.0)).collect();
    let environments = parts.iter().map(|(id, gpus, _)| ((*id).to_owned(), fixture::environment(gpus))).collect();
    Data { plan, rows, environments }
}

/// An A100 and an H200 that is four times as fast.
pub fn two_gpus() -> Data {
    merged(&[(A100, &["NVIDIA A100-SXM4-80GB"], rows(A100, 1.0, 1.0)), (H200, &["NVIDIA H200"], rows(H200, 4.0, 1.1))])
}

fn verdicts(data: &Data) -> Vec<Verdict> {
    judge(data, &Claims::builtin().unwrap())
}

fn verdict(data: &Data, id: &str) -> WordedVerdict {
    WordedVerdict::all(&verdicts(data)).into_iter().find(|verdict| verdict.id == id).unwrap()
}

fn table(data: &Data) -> Table {
    cross_gpu(&machines(data), &verdicts(data))
}

/// The cells of a column in the row of a GPU and a series.
fn cell(table: &Table, gpu: &str, series: &str, column: &str) -> String {
    let column = table.headings.iter().position(|heading| heading.text == column).unwrap();
    let is = |cells: &[mixprec::report::table::TableCell]| cells[0].text.contains(gpu) && cells[2].text == series;
    table.rows.iter().find(|row| is(&row.cells)).unwrap().cells[column].text.clone()
}

#[test]
fn every_gpu_has_its_own_ratios() {
    let data = two_gpus();
    let table = table(&data);
    for (environment, gpu) in [(A100, "A100"), (H200, "H200")] {
        for precision in ["fp16", "hybrid"] {
            let latency = |precision: &str, batch, sequence| {
                let row = data.rows.iter().find(|row| {
                    row.environment.as_deref() == Some(environment)
                        && row.backend == BackendKind::Cuda
                        && (row.precision.as_str(), row.batch_size, row.sequence_length) == (precision, batch, sequence)
                });
                row.unwrap().latency_p50_ms.unwrap()
            };
            let shapes = [(1, 64), (1, 512), (32, 64), (32, 512)];
            let mut ratios = shapes.map(|(b, s)| latency("fp32", b, s) / latency(precision, b, s));
            ratios.sort_by(f64::total_cmp);
            for (column, ratio) in [("Lowest", ratios[0]), ("Median", ratios[1]), ("Highest", ratios[3])] {
                let shown = cell(&table, gpu, &format!("cuda {precision}"), column);
                let shown: f64 = shown.strip_suffix('×').unwrap().parse().unwrap();
                assert!((shown / ratio - 1.0).abs() < 0.006, "{gpu} {precision} {column}: {shown} for {ratio}");
            }
        }
    }
    assert!(table.rows.iter().all(|row| row.cells[4..].iter().all(|cell| cell.detail.is_some())), "intervals");
    assert!(!table.notes.iter().any(|note| note.text.contains("N/A")), "the paper's GPU is there");
}

#[test]
fn ratios_of_disturbed_rows_alone_are_marked_wherever_they_are_quoted() {
    let shared = |wanted: &dyn Fn(&ResultRow) -> bool| {
        let mut rows = rows(H200, 4.0, 1.1);
        for row in rows.iter_mut().filter(|row| row.backend == BackendKind::Cuda && wanted(row)) {
            row.foreign_processes = Some(1);
        }
        merged(&[(H200, &["NVIDIA H200"], rows)])
    };
    let found = |data: &Data| {
        let found = headlines(data, &Claims::builtin().unwrap());
        found.into_iter().find(|found| found.spec.key == "HybridOverFp").unwrap()
    };
    let headline = |data: &Data| found(data).sentence();
    let quoted = |data: &Data| found(data).quoted(found(data).typical().unwrap());
    let marked = |data: &Data| {
        let table = table(data);
        let note = |mark: &String| table.notes.iter().find(|note| note.mark == *mark).unwrap().text.clone();
        table.rows[0].cells[4].mark.as_ref().map(note)
    };
    let data = shared(&|_| false);
    assert_eq!(marked(&data), None);
    assert!(headline(&data).ends_with(")."), "{}", headline(&data));
    let data = shared(&|row| row.batch_size == 1);
    assert!(marked(&data).unwrap().starts_with("2 pairs left out, because other processes"), "{:?}", marked(&data));
    assert!(headline(&data).contains("); 2 pairs left out, because"), "{}", headline(&data));
    let data = shared(&|_| true);
    assert!(marked(&data).unwrap().starts_with("None decides: other processes"), "{:?}", marked(&data));
    assert!(headline(&data).ends_with("so none decides."), "{}", headline(&data));
    assert!(quoted(&data).ends_with("× (disturbed)"), "{}", quoted(&data));
}

#[test]
fn an_absent_gpu_is_not_applicable_in_the_claims_words() {
    let data = merged(&[(H200, &["NVIDIA H200"], rows(H200, 4.0, 1.1))]);
    let table = table(&data);
    let last = &table.rows.last().unwrap().cells;
    assert_eq!((last[0].text.as_str(), last[4].text.as_str()), ("A100 (the paper's)", "N/A-HARDWARE"));
    let words = "Cross-GPU validation on an NVIDIA A100 shows consistent FP16 speedup ratios between 1.84x and 2.00x";
    assert!(table.notes.iter().any(|note| note.text.contains(words)), "{:?}", table.notes);
    assert_eq!(table.rows.len(), 3, "FP16 and hybrid of the one GPU, and the absent one");
    let laptop = table_of_laptop();
    assert!(laptop.rows.is_empty());
    let why = laptop.empty.unwrap();
    assert!(why.contains("lists a GPU") && why.contains("A100: N/A-HARDWARE") && why.contains(words), "{why}");
}

fn table_of_laptop() -> Table {
    table(&fixture::laptop())
}

#[test]
fn claims_are_judged_machine_by_machine() {
    let data = two_gpus();
    let c6 = verdict(&data, "C6");
    let by_machine: Vec<(&str, Outcome)> = c6.machines.iter().map(|one| (one.machine.as_str(), one.outcome)).collect();
    assert_eq!(by_machine, [("NVIDIA A100-SXM4-80GB", Outcome::Fail), ("NVIDIA H200", Outcome::NoHardware)]);
    assert_eq!(c6.outcome, Outcome::Fail);
    assert!(c6.explanation.contains("On NVIDIA H200: N/A-HARDWARE."), "{}", c6.explanation);
    // The H200's engines over the A100 host's CPU would be another number than either machine's own.
    let c1 = verdict(&data, "C1");
    let alone = |environment, gpu: &[&str], speed, gain| {
        verdict(&merged(&[(environment, gpu, rows(environment, speed, gain))]), "C1")
    };
    let own = [alone(A100, &["NVIDIA A100-SXM4-80GB"], 1.0, 1.0), alone(H200, &["NVIDIA H200"], 4.0, 1.1)];
    for (machine, own) in c1.machines.iter().zip(&own) {
        assert_eq!((&machine.measured, machine.outcome), (&own.measured, own.outcome));
    }
    // "Up to": reached on one machine it is reached.
    assert_eq!([own[0].outcome, own[1].outcome, c1.outcome], [Outcome::Fail, Outcome::Pass, Outcome::Pass]);
    assert!(c1.measured.as_deref().unwrap().ends_with("× on NVIDIA H200"), "{:?}", c1.measured);
    assert!(c1.explanation.contains("On NVIDIA A100-SXM4-80GB: FAIL, "), "{}", c1.explanation);
    assert!(to_text(&verdicts(&data)).contains("185× on NVIDIA H200"));
    // One machine's results are judged as ever.
    assert!(own[0].machines.is_empty());
}

#[test]
fn a_claim_that_one_machine_cannot_answer_is_answered_by_the_other() {
    let data = merged(&[(A100, &[], rows(A100, 1.0, 1.0)), (H200, &["NVIDIA H200"], rows(H200, 4.0, 1.1))]);
    let c2 = verdict(&data, "C2");
    let outcomes: Vec<Outcome> = c2.machines.iter().map(|one| one.outcome).collect();
    assert_eq!((c2.outcome, outcomes), (Outcome::Pass, vec![Outcome::Pass, Outcome::NoHardware]), "GPUs come first");
}

#[test]
fn shards_on_twins_are_one_machine_until_they_measure_the_same() {
    let half = |environment: &str, odd: bool| {
        let mut rows = rows(environment, 4.0, 1.1);
        rows.iter_mut().filter(|row| (row.batch_size == 1) == odd).for_each(|row| row.status = Status::Pending);
        rows
    };
    let twins = merged(&[(A100, &["NVIDIA H200"], half(A100, true)), (H200, &["NVIDIA H200"], half(H200, false))]);
    let found = machines(&twins);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].data.count(Status::Ok), twins.plan.configurations.len());
    let shapes = cell(&table(&twins), "H200", "cuda fp16", "Shapes");
    assert_eq!(shapes, "4", "each ratio within its own shard");

    let rivals =
        merged(&[(A100, &["NVIDIA H200"], rows(A100, 4.0, 1.1)), (H200, &["NVIDIA H200"], rows(H200, 4.1, 1.1))]);
    let labels: Vec<String> = machines(&rivals).into_iter().map(|machine| machine.label).collect();
    assert_eq!(labels, ["NVIDIA H200 (environment aaaaaaaa)", "NVIDIA H200 (environment bbbbbbbb)"]);
}

#[test]
fn two_hosts_that_measured_the_same_in_several_sittings_are_two_machines() {
    let sitting = |environment: &str, cpu: bool| {
        let mut rows = rows(environment, 1.0, 1.0);
        rows.retain(|row| (row.backend == BackendKind::OnnxRuntime) == cpu);
        rows
    };
    let names = ["a0000000", "a1000000", "b0000000", "b1000000"];
    let parts = names.map(|name| (name, &["NVIDIA H200"][..], sitting(name, name.contains('1'))));
    let mut data = merged(&parts);
    let hosts = |data: &Data| machines(data).iter().map(|host| host.data.count(Status::Ok)).collect::<Vec<_>>();
    assert_eq!(hosts(&data), [12, 12, 4, 4], "without serial numbers nobody knows");
    for (id, environment) in &mut data.environments {
        environment.gpus[0].uuid = Some(format!("GPU-{}", &id[..1]));
    }
    assert_eq!(hosts(&data), [16, 16]);
    assert_eq!(verdict(&data, "C1").machines.len(), 2);
    assert!(verdict(&data, "C1").machines.iter().all(|one| one.outcome != Outcome::NotRun));
    // The same host twice over.
    data.environments.values_mut().for_each(|environment| environment.gpus[0].uuid = Some("GPU-a".to_owned()));
    assert_eq!(hosts(&data), [12, 12, 4, 4]);
}

#[test]
fn what_a_machine_has_not_run_is_pending_there() {
    let mut some = rows(H200, 4.0, 1.1);
    some.iter_mut().skip(4).for_each(|row| row.status = Status::Pending);
    let data = merged(&[(A100, &["NVIDIA A100-SXM4-80GB"], rows(A100, 1.0, 1.0)), (H200, &["NVIDIA H200"], some)]);
    let found = machines(&data);
    assert_eq!(found.iter().map(|machine| machine.data.count(Status::Ok)).collect::<Vec<_>>(), [16, 4]);
    assert_eq!(found[1].data.count(Status::Pending), 12);
    assert_eq!(found[1].data.rows.len(), data.plan.configurations.len());
}

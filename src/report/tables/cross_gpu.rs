//! FP16 and hybrid over FP32, GPU by GPU: the paper's cross-GPU table.

use crate::analysis::facts::any_fails;
use crate::analysis::pairs::{self, Deciding, Ranged, RowPair};
use crate::claims::findings::Disturbed;
use crate::claims::{Outcome, Verdict};
use crate::engine::DeviceKind;
use crate::graph::Preset;
use crate::numbers;
use crate::report::sentences;
use crate::report::table::{Heading, Note, Notes, Table, TableCell};
use crate::results::data::{self, Data, Group, Series, distinct, timed};
use crate::results::machines::Machine;

const SLUG: &str = "cross-gpu";
const CAPTION: &str = "Speed-up of FP16 and hybrid over FP32 of the same backend, by GPU: the lowest, the median and the \
                       highest ratio over all shapes, each with its interval.";
/// How much of the table's width a series takes: the columns before the ratios.
const LABELS: usize = 4;
const POLICIES: [Preset; 2] = [Preset::Fp16, Preset::Hybrid];

/// A row per GPU, model, input, backend and policy, and one for every GPU that a claim names and no machine has.
pub fn cross_gpu(machines: &[Machine], verdicts: &[Verdict]) -> Table {
    let mut notes = Notes::default();
    let mut table = Table::new(SLUG, CAPTION, headings());
    for machine in machines.iter().filter(|machine| !machine.gpus().is_empty()) {
        let before = table.rows.len();
        for group in machine.data.groups() {
            for series in group.series().iter().filter(|series| is_wanted(series)) {
                if let Some(cells) = cells(machine, &group, series, &mut notes) {
                    table.push(cells);
                }
            }
        }
        if table.rows.len() == before {
            let why = "No shape was timed in FP32 and in FP16 or hybrid on this GPU in one environment, with the same weights.";
            table.push(without_ratios(label(machine), TableCell { mark: Some(notes.mark(why)), ..TableCell::dash() }));
        }
    }
    let absent: Vec<(&str, String)> = verdicts.iter().filter_map(|verdict| absent(machines, verdict)).collect();
    if table.rows.is_empty() {
        let mut why = "No environment of these results lists a GPU.".to_owned();
        for (name, sentence) in absent {
            why = format!("{why} {name}: {sentence}");
        }
        return Table::empty(SLUG, CAPTION, why);
    }
    for (name, sentence) in absent {
        let mark = notes.mark(&sentence);
        table.push(without_ratios(
            format!("{name} (the paper's)"),
            TableCell { mark: Some(mark), ..TableCell::new(Outcome::NoHardware.label()) },
        ));
    }
    table.notes = notes.finish();
    let text = "Both rows of a ratio come from one environment. An interval divides the ends of both medians' 95 % \
                intervals crosswise and covers with at least 90 %. The median of an even number of ratios is the lower \
                of the two middle ones, a measured ratio with an interval.";
    table.notes.insert(0, Note { mark: String::new(), text: text.to_owned() });
    table.notes.extend(machines.iter().filter_map(|machine| floor_note(machine, machines.len() > 1)));
    table.rule_between_groups(1)
}

/// The noise floor of a machine's GPU backends, with its name where there are several.
fn floor_note(machine: &Machine, named: bool) -> Option<Note> {
    let on_gpu = machine.data.rows.iter().map(|row| row.backend).filter(|backend| backend.device() == DeviceKind::Gpu);
    let note = sentences::noise::note(&machine.data, &distinct(on_gpu))?;
    Some(if named { Note { text: format!("{}: {}", machine.label, note.text), ..note } } else { note })
}

fn headings() -> Vec<Heading> {
    let [lowest, median, highest] = ["Lowest", "Median", "Highest"].map(Heading::interval);
    let shapes = Heading::number("Shapes");
    vec![Heading::text("GPU"), Heading::text("Model"), Heading::text("Series"), shapes, lowest, median, highest]
}

/// `NVIDIA H200, driver 580.65.06`
fn label(machine: &Machine) -> String {
    match machine.drivers() {
        drivers if drivers.is_empty() => machine.label.clone(),
        drivers => format!("{}, driver {}", machine.label, drivers.join(" and ")),
    }
}

fn is_wanted(series: &Series) -> bool {
    series.backend.device() == DeviceKind::Gpu && POLICIES.iter().any(|preset| preset.name() == series.precision)
}

fn cells<'a>(machine: &Machine, group: &Group<'a>, series: &Series, notes: &mut Notes) -> Option<Vec<TableCell>> {
    let deciding = deciding(&machine.data, group, series);
    let ratio = |pair: &RowPair<'a>| Some((pair.latency_ratio()?, *pair));
    let mut ratios: Vec<(Ranged, RowPair)> = deciding.pairs.iter().filter_map(ratio).collect();
    ratios.sort_by(|((a, _), _), ((b, _), _)| a.total_cmp(b));
    let (lowest, highest) = (*ratios.first()?, *ratios.last()?);
    // The lower of two middle ones, so that it is a ratio that was measured and has its interval.
    let median = ratios[(ratios.len() - 1) / 2];
    let mark = Disturbed::of_pairs(&deciding).map(|disturbed| notes.mark(&disturbed.footnote()));
    let of_series = group.rows.iter().copied().filter(|row| data::series(row) == *series);
    let mut cells: Vec<TableCell> = vec![
        label(machine).into(),
        group.label().into(),
        TableCell::new(series.label()).failing_if(any_fails(of_series)),
        numbers::count(ratios.len() as u64).into(),
    ];
    cells[LABELS - 1] =
        cells[LABELS - 1].clone().of(ratios.iter().flat_map(|(_, pair)| [pair.numerator, pair.denominator]));
    cells.extend([lowest, median, highest].map(|((ratio, interval), pair)| {
        let (text, detail) = numbers::with_interval(ratio, interval, 3);
        let cell = TableCell { text: format!("{text}×"), detail, mark: mark.clone(), ..TableCell::default() };
        cell.of([pair.numerator, pair.denominator])
    }));
    Some(cells)
}

/// The pairs that decide, over all shapes.
fn deciding<'a>(data: &Data, group: &Group<'a>, wanted: &Series) -> Deciding<'a> {
    let pair = |at| {
        let denominator = group.row(wanted, at).filter(|row| timed(row))?;
        let numerator = pairs::fp32_counterpart(data, group, denominator).filter(|row| timed(row))?;
        Some(RowPair { numerator, denominator })
    };
    Deciding::of(group.shapes().into_iter().filter_map(pair).collect())
}

fn without_ratios(gpu: String, first: TableCell) -> Vec<TableCell> {
    let mut cells = vec![TableCell::new(gpu)];
    cells.resize(LABELS, TableCell::dash());
    cells.push(first);
    cells.resize(headings().len(), TableCell::dash());
    cells
}

/// The GPU that a claim names and none of the machines has, and the claim with why it was not judged.
fn absent<'a>(machines: &[Machine], verdict: &'a Verdict) -> Option<(&'a str, String)> {
    let name = verdict.claim.same_gpu()?;
    let named = |gpu: &String| gpu.to_lowercase().contains(&name.to_lowercase());
    if machines.iter().any(|machine| machine.gpus().iter().any(named)) {
        return None;
    }
    Some((name, sentences::speedup::absent_gpu(name, &verdict.claim)))
}

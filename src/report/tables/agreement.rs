//! Repeats compared with the run.

use crate::analysis::agreement::{Agreement, Limits, Pair, Spread, by_series};
use crate::analysis::facts::{self, any_fails};
use crate::engine::DeviceKind;
use crate::numbers;
use crate::report::sentences::pins;
use crate::report::table::{Heading, Note, Notes, Table, TableCell};
use crate::results::data::{Data, series};
use crate::results::study::run_of_repeat;
use crate::store::schema::ResultRow;

/// How far the medians of repeats are from the run's own: of each by series, then the pairs that differ most.
pub fn agreement(found: &[Agreement], data: &Data) -> Vec<Table> {
    if found.is_empty() {
        let why = "No second run was given (`mixprec report --repeat`).";
        return vec![Table::empty("agreement", caption(0, Limits::default()), why)];
    }
    let of = |(index, found): (usize, &Agreement)| {
        let number = if index == 0 { String::new() } else { format!("-{}", index + 1) };
        let by_series = by_series_table(found, data, &format!("agreement{number}"), caption(index, found.limits));
        let farthest = farthest(found, &format!("agreement-farthest{number}"), &run_of_repeat(index));
        let repeat = Some(index);
        [by_series, farthest].map(|table| Table { repeat, in_appendix: true, ..table })
    };
    found.iter().enumerate().flat_map(of).collect()
}

fn caption(index: usize, limits: Limits) -> String {
    format!(
        "Repeat: medians of the {} run over those of this run, and how many of them differ by at most {}.",
        run_of_repeat(index),
        numbers::percent(limits.tolerance)
    )
}

fn by_series_table(found: &Agreement, data: &Data, slug: &str, caption: String) -> Table {
    let headings = vec![
        Heading::text("Series"),
        Heading::number("Rows"),
        Heading::number("Within"),
        Heading::number("Median ratio"),
        Heading::number("median").under("Distance from 1"),
        Heading::number("95th percentile").under("Distance from 1"),
        Heading::number("largest").under("Distance from 1"),
    ];
    let mut table = Table::new(slug, caption, headings);
    for (label, spread) in by_series(found, data) {
        let rows: Vec<&ResultRow> =
            found.rows_on(None).into_iter().filter(|row| series(row).label() == label).collect();
        let fails = any_fails(found.paired().0.filter(|row| series(row).label() == label));
        table.push_of(spread_cells(TableCell::new(label).failing_if(fails), spread), rows);
    }
    let (gpu, cpu) = (found.on(DeviceKind::Gpu), found.on(DeviceKind::Cpu));
    let throttled = found.by_clocks(Some(true));
    let [kept, unknown] = [Some(false), None].map(|wanted| throttled.and(found.by_clocks(wanted)));
    let each_kind = gpu.is_some() && cpu.is_some();
    let sums = [
        ("on the GPU, throttled in neither run", kept, found.rows_by_clocks(Some(false))),
        ("on the GPU, throttled in one run or in both", throttled, found.rows_by_clocks(Some(true))),
        ("on the GPU, clocks not watched in one run or in both", unknown, found.rows_by_clocks(None)),
        ("all on the GPU", gpu.filter(|_| each_kind), found.rows_on(Some(DeviceKind::Gpu))),
        ("all on the CPU", cpu.filter(|_| each_kind), found.rows_on(Some(DeviceKind::Cpu))),
        ("all", found.spread(|_| true), found.rows_on(None)),
    ];
    let start = table.rows.len();
    for (label, spread, rows) in sums {
        if let Some(spread) = spread {
            table.push_of(spread_cells(label.into(), spread), rows);
        }
    }
    if let Some(first) = table.rows.get_mut(start) {
        first.rule = true;
    }
    let (first, second) = found.paired();
    let sentences = [
        found.sentence(),
        found.unlike_sentence(),
        found.not_repeated_names(),
        found.disturbed_sentence(),
        found.outputs_sentence(),
        found.environment_sentence(),
        format!("Pins of the repeat, by its own program: {}", pins::summary(second)),
    ];
    let sentences = sentences.into_iter().filter(|text| !text.is_empty());
    table.notes = sentences.map(|text| Note { mark: String::new(), text }).collect();
    table.covering(first)
}

fn spread_cells(label: TableCell, spread: Spread) -> Vec<TableCell> {
    let percent = |share: Option<f64>| TableCell::optional(share.map(numbers::percent));
    vec![
        label,
        numbers::count(spread.rows as u64).into(),
        numbers::percent(spread.share()).into(),
        TableCell::optional(spread.ratio.map(|ratio| numbers::fixed(ratio, 4))),
        percent(spread.typical),
        percent(spread.most),
        percent(spread.largest),
    ]
}

/// `The repeat was measured while other processes used the host's CPUs.`
fn disturbed(pair: &Pair) -> Option<String> {
    Some(match pair.disturbances() {
        (None, None) => return None,
        (Some(kind), None) => format!("This run measured it {}.", kind.circumstance()),
        (None, Some(kind)) => format!("The repeat measured it {}.", kind.circumstance()),
        (Some(one), Some(two)) if one == two => format!("Both runs measured it {}.", one.circumstance()),
        (Some(one), Some(two)) => {
            format!("This run measured it {}, the repeat {}.", one.circumstance(), two.circumstance())
        }
    })
}

fn farthest(found: &Agreement, slug: &str, run: &str) -> Table {
    let caption =
        format!("Repeat: the configurations whose medians in the {run} run differ most from those of this run.");
    let headings = vec![
        Heading::sentences("Configuration", 7),
        Heading::number("This run (ms)"),
        Heading::number("Repeat (ms)"),
        Heading::interval("Ratio"),
    ];
    let mut table = Table::new(slug, caption.clone(), headings);
    let mut notes = Notes::default();
    for device in [DeviceKind::Gpu, DeviceKind::Cpu] {
        let start = table.rows.len();
        found.farthest(device).for_each(|pair| table.push_of(farthest_row(pair, &mut notes), [&pair.first]));
        if let Some(first) = table.rows.get_mut(start) {
            first.rule = start > 0;
        }
    }
    if table.rows.is_empty() {
        return Table::empty(slug, caption, "No configuration has a median in both runs.");
    }
    table.notes = notes.finish();
    let text = "The interval divides the ends of both medians' 95 % intervals crosswise; it covers only the spread \
                within each run.";
    table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    table
}

fn farthest_row(pair: &Pair, notes: &mut Notes) -> Vec<TableCell> {
    let Pair { first, second, ratio: (ratio, interval) } = pair;
    let milliseconds = |median: Option<f64>| TableCell::optional(median.map(|ms| numbers::significant(ms, 4)));
    let (text, detail) = numbers::with_interval(*ratio, *interval, 4);
    let clocks = pair.throttled_in().map(|runs| format!("The GPU was throttled {}.", runs.words()));
    let marks: Vec<String> = disturbed(pair).into_iter().chain(clocks).map(|text| notes.mark(&text)).collect();
    let mark = (!marks.is_empty()).then(|| marks.join(","));
    vec![
        TableCell { source: Some(first.id.clone()), ..TableCell::new(facts::configuration_label(first)) },
        milliseconds(first.latency_p50_ms),
        milliseconds(second.latency_p50_ms),
        TableCell { text, detail, mark, ..TableCell::default() },
    ]
}

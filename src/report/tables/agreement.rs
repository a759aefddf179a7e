//! A repeat of the run beside it.

use crate::backend::DeviceKind;
use crate::report::agreement::{Agreement, Limits, Pair, Spread, by_series};
use crate::report::claims::describe;
use crate::report::data::Data;
use crate::report::numbers;
use crate::report::pins;
use crate::report::table::{Heading, Note, Notes, Table, TableCell, TableRow};

/// Pairs that the second table lists.
const LISTED: usize = 10;

/// How far the medians of a repeat are from the run's own: by series, then the pairs that differ most. `found` is `None`
/// where no repeat is given.
pub fn agreement(found: Option<&Agreement>, data: &Data) -> Vec<Table> {
    let limits = found.map_or_else(Limits::default, |found| found.limits);
    let caption = format!(
        "Repeat: medians of a second run over those of this one, and how many are within {} of them.",
        numbers::percent(limits.tolerance)
    );
    let Some(found) = found else {
        return vec![Table::empty("agreement", caption, "No second run was given (`mixprec report --repeat`).")];
    };
    vec![by_series_table(found, data, caption), Table { in_appendix: true, ..farthest(found) }]
}

fn by_series_table(found: &Agreement, data: &Data, caption: String) -> Table {
    let headings = vec![
        Heading::text("Series"),
        Heading::number("Rows"),
        Heading::number("Within"),
        Heading::number("Median ratio"),
        Heading::number("median").under("Distance from 1"),
        Heading::number("95th percentile").under("Distance from 1"),
        Heading::number("largest").under("Distance from 1"),
    ];
    let mut table = Table::new("agreement", caption, headings);
    for (label, pairs) in by_series(found, data) {
        table.rows.extend(spread_row(label, Spread::of(pairs.into_iter(), found.limits)));
    }
    let all = |device, name: &str| spread_row(format!("all on the {name}"), Spread::of(found.on(device), found.limits));
    let mut sums = match (all(DeviceKind::Gpu, "GPU"), all(DeviceKind::Cpu, "CPU")) {
        (Some(gpu), Some(cpu)) => vec![gpu, cpu],
        _ => vec![],
    };
    sums.extend(spread_row("all".to_owned(), Spread::of(found.pairs.iter(), found.limits)));
    table.rows.extend(sums.into_iter().enumerate().map(|(index, row)| TableRow { rule: index == 0, ..row }));
    let second = pins::note(found.pairs.iter().map(|pair| &pair.second));
    let mut sentences = vec![
        found.sentence(),
        found.not_repeated_sentence(data),
        found.disturbed_sentence(),
        found.outputs_sentence(),
        found.environment_sentence(),
        format!("Of the second run. {second}"),
    ];
    sentences.retain(|text| !text.is_empty());
    if !found.unlike.is_empty() {
        sentences.push(format!(
            "{} in one of the two runs only; they count as apart.",
            numbers::plural(found.unlike.len(), "row was measured")
        ));
    }
    table.notes = sentences.into_iter().map(|text| Note { mark: String::new(), text }).collect();
    table.covering(found.pairs.iter().map(|pair| &pair.first))
}

fn spread_row(label: String, spread: Option<Spread>) -> Option<TableRow> {
    let spread = spread?;
    let cells = vec![
        TableCell::new(label),
        numbers::count(spread.rows as u64).into(),
        numbers::percent(spread.within as f64 / spread.rows as f64).into(),
        numbers::fixed(spread.ratio, 4).into(),
        numbers::percent(spread.typical).into(),
        numbers::percent(spread.most).into(),
        numbers::percent(spread.largest).into(),
    ];
    Some(TableRow { cells, rule: false })
}

fn farthest(found: &Agreement) -> Table {
    let caption = "Repeat: the configurations whose medians are farthest apart.";
    let headings = vec![
        Heading::sentences("Configuration", 7),
        Heading::number("This run (ms)"),
        Heading::number("Repeat (ms)"),
        Heading::interval("Ratio"),
    ];
    let mut table = Table::new("agreement-farthest", caption, headings);
    let mut notes = Notes::default();
    for pair @ Pair { first, second, ratio: (ratio, interval) } in found.pairs.iter().take(LISTED) {
        let milliseconds = |median: Option<f64>| TableCell::optional(median.map(|ms| numbers::significant(ms, 4)));
        let (text, detail) = numbers::with_interval(*ratio, *interval, 4);
        let mark = pair.disturbance().map(|kind| notes.mark(&format!("In either run. {}", kind.footnote())));
        table.push(vec![
            TableCell { source: Some(first.id.clone()), ..TableCell::new(describe::configuration(first)) },
            milliseconds(first.latency_p50_ms),
            milliseconds(second.latency_p50_ms),
            TableCell { text, detail, mark, ..TableCell::default() },
        ]);
    }
    if table.rows.is_empty() {
        return Table::empty("agreement-farthest", caption, "No configuration has a median in both runs.");
    }
    table.notes = notes.finish();
    let text = "The interval divides the ends of both medians' 95 % intervals crosswise; it holds the spread within either run.";
    table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    table
}

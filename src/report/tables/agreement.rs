//! A repeat of the run beside it.

use crate::backend::DeviceKind;
use crate::report::agreement::{Agreement, Limits, Pair, Spread, by_series};
use crate::report::claims::describe;
use crate::report::data::Data;
use crate::report::table::{Heading, Note, Notes, Table, TableCell, TableRow};
use crate::report::{numbers, pins};

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
    table.rows.extend(by_series(found, data).into_iter().map(|(label, spread)| spread_row(label, spread)));
    let (gpu, cpu) = (found.on(DeviceKind::Gpu), found.on(DeviceKind::Cpu));
    let held_back = found.by_clocks(true);
    let kept = held_back.and(found.by_clocks(false));
    let each_kind = gpu.is_some() && cpu.is_some();
    let sums = [
        ("on the GPU, its clocks kept in both runs", kept),
        ("on the GPU, its clocks held back in one run or both", held_back),
        ("all on the GPU", gpu.filter(|_| each_kind)),
        ("all on the CPU", cpu.filter(|_| each_kind)),
        ("all", found.spread(|_| true)),
    ];
    let sums = sums.into_iter().filter_map(|(label, spread)| Some((label, spread?)));
    for (index, (label, spread)) in sums.enumerate() {
        table.rows.push(TableRow { rule: index == 0, ..spread_row(label.to_owned(), spread) });
    }
    let (first, second) = found.paired();
    let sentences = [
        found.sentence(),
        found.unlike_sentence(),
        found.not_repeated_names(),
        found.disturbed_sentence(),
        found.outputs_sentence(),
        found.environment_sentence(),
        format!("Of the second run, by the pins of its own program: {}", pins::summary(second)),
    ];
    let sentences = sentences.into_iter().filter(|text| !text.is_empty());
    table.notes = sentences.map(|text| Note { mark: String::new(), text }).collect();
    table.covering(first)
}

fn spread_row(label: String, spread: Spread) -> TableRow {
    let percent = |share: Option<f64>| TableCell::optional(share.map(numbers::percent));
    let cells = vec![
        TableCell::new(label),
        numbers::count(spread.rows as u64).into(),
        numbers::percent(spread.share()).into(),
        TableCell::optional(spread.ratio.map(|ratio| numbers::fixed(ratio, 4))),
        percent(spread.typical),
        percent(spread.most),
        percent(spread.largest),
    ];
    TableRow { cells, rule: false }
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
        let mark = disturbed(pair).map(|text| notes.mark(&text));
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

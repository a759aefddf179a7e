//! Tables for devices: device time, time end to end, sustained throughput, energy, and the state of the GPU.

use super::grid::{Cells, Grid};
use crate::analysis::facts::any_fails;
use crate::analysis::pairs::Ranged;
use crate::numbers;
use crate::report::table::{Heading, Note, Table, TableCell};
use crate::results::data::{Data, distinct, series};
use crate::store::schema::ResultRow;

/// Median device time with its 95 % interval; no table where no row has one.
pub fn device_latency(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "latency-device",
        title: "Median device time with its 95 % interval",
        unit: "ms per forward pass",
        cells: Cells::Detail,
        about_time: true,
    };
    grid.tables_of(data, &|row| row.device_p50_ms.is_some(), &|row, _| match row.device_p50_ms {
        Some(median) => {
            let interval = row.device_p50_low_ms.zip(row.device_p50_high_ms);
            let (text, detail) = numbers::with_interval(median, interval, 4);
            TableCell { text, detail, ..TableCell::default() }
        }
        None => TableCell::dash(),
    })
}

/// Median time from token ids to outputs in host memory; no table where no row has one.
pub fn end_to_end(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "latency-end-to-end",
        title: "Median time end to end, from token ids to outputs in host memory, and the number n of samples",
        unit: "ms per forward pass",
        cells: Cells::Detail,
        about_time: true,
    };
    grid.tables_of(data, &|row| row.end_to_end_p50_ms.is_some(), &|row, _| match row.end_to_end_p50_ms {
        Some(median) => TableCell {
            text: numbers::significant(median, 4),
            detail: row.end_to_end_samples.map(|n| format!("n = {}", numbers::count(n))),
            ..TableCell::default()
        },
        None => TableCell::dash(),
    })
}

/// The floor of the median device time on the same GPU, by the rates of its policy's own format, over that time; no table where
/// no row has it.
pub fn ceiling(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "ceiling",
        title: "Least possible time over the median device time",
        unit: "%; the least time is the longer of two: the operations at the rate of a large product in the policy's \
               own format, and the compulsory bytes at the rate of a large copy; both rates were measured with the row",
        cells: Cells::Number,
        about_time: true,
    };
    let sustained = Grid {
        slug: "ceiling-sustained",
        title: "Least possible time under sustained load over the median device time",
        unit: "%; as above, with the rate of large products that have kept the board busy, so that its power limit sets the clock",
        ..grid
    };
    let percent = |share: Option<f64>| TableCell::optional(share.map(|share| numbers::significant(share * 100.0, 3)));
    let burst = grid.tables_of(data, &|row| row.ceiling_share.is_some(), &|row, _| percent(row.ceiling_share));
    let known = |row: &ResultRow| row.ceiling_sustained_share.is_some();
    let sustained = sustained.tables_of(data, &known, &|row, _| percent(row.ceiling_sustained_share));
    [burst, sustained].concat()
}

/// Throughput of passes back to back; no table where no row has it.
pub fn sustained(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "throughput-sustained",
        title: "Throughput of passes back to back",
        unit: "sequences/s",
        cells: Cells::Number,
        about_time: true,
    };
    grid.tables_of(data, &|row| row.sustained_sequences_per_s.is_some(), &|row, _| {
        TableCell::optional(row.sustained_sequences_per_s.map(|rate| numbers::significant(rate, 4)))
    })
}

/// Energy of the board per forward pass; no table where no row has it.
pub fn energy(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "energy",
        title: "Energy of the whole board per forward pass of the batch, idle power included",
        unit: "mJ",
        cells: Cells::Number,
        about_time: true,
    };
    grid.tables_of(data, &|row| row.energy_per_inference_mj.is_some(), &|row, notes| match (
        row.energy_per_inference_mj,
        &row.energy_remark,
    ) {
        (Some(energy), _) => TableCell::new(numbers::significant(energy, 3)),
        (None, Some(reason)) => {
            TableCell { mark: Some(notes.mark(&format!("Not known: {reason}."))), ..TableCell::dash() }
        }
        (None, None) => TableCell::dash(),
    })
}

/// Longest time that a step of the energy counter is seen late, seconds: the work that is in flight at a reading.
const STEP_S: f64 = 0.010;

/// Energy of the board per sequence, with the interval that the counter's steps leave; no table where no row has one.
pub fn energy_per_sequence(data: &Data) -> Vec<Table> {
    let grid = Grid {
        slug: "energy-sequence",
        title: "Energy of the whole board per sequence, idle power included, with the interval that the steps of its counter \
                leave",
        unit: "J",
        cells: Cells::Detail,
        about_time: true,
    };
    grid.tables_of(data, &|row| row.energy_per_inference_mj.is_some(), &|row, _| match joules(row) {
        Some((energy, interval)) => {
            let (text, detail) = numbers::with_interval(energy, interval, 3);
            TableCell { text, detail, ..TableCell::default() }
        }
        None => TableCell::dash(),
    })
}

/// Joules a sequence. A step of the counter is seen up to [`STEP_S`] late at either end of the window, so the window holds a few
/// passes more or fewer than were counted.
fn joules(row: &ResultRow) -> Option<Ranged> {
    let batch = row.batch_size as f64;
    let energy = row.energy_per_inference_mj? / 1e3 / batch;
    let interval = row.energy_passes.zip(row.sustained_sequences_per_s).and_then(|(passes, rate)| {
        let (passes, late) = (passes as f64, (STEP_S * rate / batch).max(1.0));
        (late < passes).then(|| (energy * passes / (passes + late), energy * passes / (passes - late)))
    });
    Some((energy, interval))
}

/// The GPU's state while each series was measured; `None` where no sensor was read.
pub fn state(data: &Data) -> Option<Table> {
    let caption = "State of the GPU between blocks of samples, over all shapes and inputs of a series.";
    let headings = vec![
        Heading::text("Model"),
        Heading::text("Series"),
        Heading::number("Rows"),
        Heading::number("lowest").under("SM clock (MHz)"),
        Heading::number("median of medians").under("SM clock (MHz)"),
        Heading::number("lowest").under("Memory clock (MHz)"),
        Heading::number("highest").under("Temperature (°C)"),
        Heading::number("mean").under("Power (W)"),
        Heading::number("most").under("Other processes"),
        Heading::sentences("Reasons for lower clocks", 4),
    ];
    let mut table = Table::new("gpu-state", caption, headings);
    let watched: Vec<&ResultRow> = data.measured().filter(|row| row.guard_readings.is_some()).collect();
    for model in distinct(watched.iter().map(|row| row.model.as_str())) {
        let of_model = || watched.iter().copied().filter(|row| row.model == model);
        for wanted in distinct(of_model().map(series)) {
            let rows: Vec<&ResultRow> = of_model().filter(|row| series(row) == wanted).collect();
            let label = TableCell::new(wanted.label()).failing_if(any_fails(rows.iter().copied()));
            let mut cells = vec![model.into(), label, rows.len().to_string().into()];
            cells.extend(state_cells(&rows));
            table.push_of(cells, rows);
        }
    }
    let text = "An empty list of reasons means that the clocks were at their highest; a dash means that the list could \
                not be read.";
    table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    (!table.rows.is_empty()).then(|| table.without_empty_columns().rule_between_groups(1))
}

fn state_cells(rows: &[&ResultRow]) -> Vec<TableCell> {
    let whole = |number: Option<u64>| TableCell::optional(number.map(numbers::count));
    let real = |number: Option<f64>| TableCell::optional(number.map(|number| numbers::fixed(number, 0)));
    let known = |of: fn(&ResultRow) -> Option<f64>| rows.iter().filter_map(|row| of(row)).collect::<Vec<f64>>();
    let powers = known(|row| row.power_mean_w);
    let reasons: Vec<&str> = rows.iter().filter_map(|row| row.throttle_reasons.as_deref()).collect();
    let names = distinct(reasons.iter().flat_map(|reasons| reasons.split(", ")).filter(|name| !name.is_empty()));
    vec![
        whole(rows.iter().filter_map(|row| row.sm_clock_min_mhz).min()),
        real(crate::stats::median(&known(|row| row.sm_clock_median_mhz))),
        whole(rows.iter().filter_map(|row| row.memory_clock_min_mhz).min()),
        whole(rows.iter().filter_map(|row| row.temperature_max_c).max()),
        real((!powers.is_empty()).then(|| powers.iter().sum::<f64>() / powers.len() as f64)),
        whole(rows.iter().filter_map(|row| row.foreign_processes).max()),
        TableCell::optional((!reasons.is_empty()).then(|| names.join(", "))),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn energy_is_that_of_a_sequence_within_the_passes_that_a_late_step_adds_or_takes() {
        // 200 passes of 4 sequences in 2 s: 100 passes/s, so a step is late by at most one pass.
        let row = ResultRow {
            batch_size: 4,
            energy_per_inference_mj: Some(6000.0),
            energy_passes: Some(200),
            sustained_sequences_per_s: Some(400.0),
            ..ResultRow::default()
        };
        let (energy, interval) = joules(&row).unwrap();
        let (low, high) = interval.unwrap();
        assert_eq!(energy, 1.5);
        assert!((low - 300.0 / 201.0).abs() < 1e-12 && (high - 300.0 / 199.0).abs() < 1e-12, "{low} {high}");
        assert_eq!(joules(&ResultRow { energy_passes: Some(1), ..row.clone() }), Some((1.5, None)));
        assert_eq!(joules(&ResultRow { energy_per_inference_mj: None, ..row }), None);
    }
}

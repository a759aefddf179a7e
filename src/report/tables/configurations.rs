//! Planned configurations, their status, and the reasons where there are no numbers.

use std::collections::BTreeMap;

use crate::analysis::facts::any_fails;
use crate::numbers;
use crate::record::FailureKind;
use crate::record::Status;
use crate::report::table::{Heading, Notes, Table, TableCell};
use crate::results::data::{Data, distinct, series};
use crate::store::schema::ResultRow;

/// Configurations per model and series, by status.
pub fn overview(data: &Data) -> Table {
    let caption = "Planned configurations and their status.";
    let any_built = data.count(Status::Built) > 0;
    let mut headings = vec![
        Heading::text("Model"),
        Heading::text("Backend"),
        Heading::text("Precision"),
        Heading::number("Planned"),
        Heading::number("Measured"),
        Heading::number("Failed"),
        Heading::number("Pending"),
    ];
    if any_built {
        headings.insert(5, Heading::number("Built only"));
    }
    let mut table = Table::new("configurations", caption, headings);
    let mut notes = Notes::default();
    for model in distinct(data.rows.iter().map(|row| row.model.as_str())) {
        let of_model = || data.rows.iter().filter(|row| row.model == model);
        for wanted in distinct(of_model().map(series)) {
            let rows: Vec<&ResultRow> = of_model().filter(|row| series(row) == wanted).collect();
            let count = |status: Status| rows.iter().filter(|row| row.status == status).count().to_string();
            let weights = rows.iter().find_map(|row| row.model_provenance.clone());
            let mark = weights.map(|weights| notes.mark(&format!("Weights: {weights}.")));
            let mut cells = vec![
                TableCell { mark, ..TableCell::new(model) },
                TableCell::new(wanted.builder()),
                TableCell::new(&wanted.precision).failing_if(any_fails(rows.iter().copied())),
                TableCell::new(rows.len().to_string()),
                TableCell::new(count(Status::Ok)),
                TableCell::new(count(Status::Failed)),
                TableCell::new(count(Status::Pending)),
            ];
            if any_built {
                cells.insert(5, TableCell::new(count(Status::Built)));
            }
            table.push_of(cells, rows);
        }
    }
    if table.rows.is_empty() {
        return Table::empty("configurations", caption, "The plan has no configurations.");
    }
    table.notes = notes.finish();
    table.rule_between_groups(1)
}

/// Rows without a measurement that were tried, grouped by reason.
pub fn failures(data: &Data) -> Table {
    let caption = "Configurations that failed or were built but not executed, by reason.";
    let mut groups: BTreeMap<(String, String), Vec<&ResultRow>> = BTreeMap::new();
    for row in data.rows.iter().filter(|row| matches!(row.status, Status::Failed | Status::Built)) {
        let kind = match row.status {
            Status::Built => "not executed",
            _ => row.failure_kind.map_or("unknown", FailureKind::label),
        };
        let reason = row.reason.clone().unwrap_or_else(|| "no reason was recorded".to_owned());
        groups.entry((kind.to_owned(), reason)).or_default().push(row);
    }
    if groups.is_empty() {
        return Table::empty("failures", caption, "No configuration failed, and every engine built was executed.");
    }
    let headings = vec![
        Heading::sentences("Series", 3),
        Heading::text("Kind"),
        Heading::number("Rows"),
        Heading::sentences("First", 3),
        Heading::sentences("Reason", 7),
    ];
    let mut table = Table::new("failures", caption, headings);
    for ((kind, reason), rows) in groups {
        let first = rows[0];
        let labels = distinct(rows.iter().map(|row| series(row).label()));
        let cells = vec![
            TableCell::new(labels.join(", ")),
            TableCell::new(kind),
            TableCell::new(rows.len().to_string()),
            TableCell {
                source: Some(first.id.clone()),
                ..TableCell::new(format!(
                    "{} {}×{} {}",
                    first.model, first.batch_size, first.sequence_length, first.input
                ))
            },
            TableCell::new(reason),
        ];
        table.push_of(cells, rows);
    }
    table.covering(data.rows.iter().filter(|row| matches!(row.status, Status::Failed | Status::Built)))
}

/// Cells of the product that the manifest leaves out, by reason.
pub fn excluded(data: &Data) -> Table {
    let caption = "Cells of the manifest's product that it leaves out.";
    let mut reasons: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for cell in &data.plan.excluded {
        let label = format!("{} {}", cell.configuration.backend, cell.configuration.policy.name);
        *reasons.entry(&cell.reason).or_default().entry(label).or_default() += 1;
    }
    if reasons.is_empty() {
        return Table::empty("excluded", caption, "The manifest leaves nothing out.");
    }
    let headings = vec![Heading::number("Cells"), Heading::sentences("Series", 5), Heading::sentences("Reason", 8)];
    let mut table = Table::new("excluded", caption, headings);
    for (reason, labels) in reasons {
        let cells: usize = labels.values().sum();
        let labels: Vec<String> = labels.into_keys().collect();
        table.push(vec![numbers::count(cells as u64).into(), labels.join(", ").into(), reason.into()]);
    }
    table
}

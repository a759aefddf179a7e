//! Tables with a row per shape and a column per backend and precision policy.

use super::EMULATED_NOTE;
use crate::report::data::{Data, Group, Series, distinct, series as series_of, slug};
use crate::report::table::{Heading, Notes, Table, TableCell};
use crate::store::schema::{ResultRow, Status};

/// What a grid shows.
pub struct Grid<'a> {
    /// Start of the file names: `latency`.
    pub slug: &'a str,
    /// Start of the captions: `Median latency`.
    pub title: &'a str,
    /// Unit, in the captions: `ms`.
    pub unit: &'a str,
    /// Whether cells have a detail.
    pub detail: bool,
    /// Whether the values depend on time, so that emulated columns need a warning.
    pub about_time: bool,
}

/// A cell of a measured row; footnotes go to the notes.
pub type CellOf<'c> = &'c dyn Fn(&ResultRow, &mut Notes) -> TableCell;

impl Grid<'_> {
    /// A table per group, or several where its series do not fit side by side.
    pub fn tables(&self, data: &Data, cell: CellOf) -> Vec<Table> {
        let mut tables = Vec::new();
        for group in data.groups() {
            for columns in self.side_by_side(&group.executed_series()) {
                let unit = if self.unit.is_empty() { String::new() } else { format!(" ({})", self.unit) };
                let caption = format!("{}{unit}: {}.", self.title, group.label());
                tables.push(self.grid(
                    Table::new(self.slug_of(&group, &columns), caption, vec![]),
                    &group,
                    &columns,
                    cell,
                ));
            }
        }
        if tables.is_empty() {
            let why = "Nothing was executed here: every engine was built for another machine.";
            tables.push(Table::empty(self.slug, format!("{}.", self.title), why));
        }
        tables
    }

    /// File name of a table of these series.
    pub fn slug_of(&self, group: &Group, columns: &[Series]) -> String {
        let builders = distinct(columns.iter().map(|series| slug(&series.builder())));
        format!("{}-{}-{}", self.slug, group.slug(), builders.join("-"))
    }

    /// Splits series into tables that fit a page; those of one backend stay together.
    pub fn side_by_side(&self, series: &[Series]) -> Vec<Vec<Series>> {
        let limit = if self.detail { 5 } else { 9 };
        let mut tables: Vec<Vec<Series>> = Vec::new();
        for builder in distinct(series.iter().map(Series::builder)) {
            let own = || series.iter().filter(|series| series.builder() == builder).cloned();
            match tables.last_mut() {
                Some(columns) if columns.len() + own().count() <= limit => columns.extend(own()),
                _ => tables.push(own().collect()),
            }
        }
        tables
    }

    /// Fills `table` with a row per shape and a column per series.
    pub fn grid(&self, mut table: Table, group: &Group, columns: &[Series], cell: CellOf) -> Table {
        let mut notes = Notes::default();
        table.headings = vec![Heading::number("Batch"), Heading::number("Sequence")];
        for series in columns {
            let emulated = self.about_time && is_emulated(group, series);
            let marks = if emulated { notes.mark(EMULATED_NOTE) } else { String::new() };
            let heading =
                if self.detail { Heading::interval(&series.precision) } else { Heading::number(&series.precision) };
            table.headings.push(heading.marked(marks).under(&series.builder()));
        }
        let mut table = table.with_spans();
        for (batch, sequence) in group.shapes() {
            let mut cells = vec![TableCell::new(batch.to_string()), TableCell::new(sequence.to_string())];
            for series in columns {
                let row = group.row(series, (batch, sequence));
                let mut made = match row {
                    Some(row) => any_cell(row, cell, &mut notes),
                    None => left_out(&mut notes),
                };
                made.muted = self.about_time && is_emulated(group, series);
                made.source = row.map(|row| row.id.clone());
                cells.push(made);
            }
            table.push(cells);
        }
        table.notes = notes.finish();
        table.rule_between_groups(1)
    }
}

fn any_cell(row: &ResultRow, cell: CellOf, notes: &mut Notes) -> TableCell {
    match row.status {
        Status::Ok => cell(row, notes),
        Status::Failed => {
            let reason = row.reason.as_deref().unwrap_or("no reason was recorded");
            TableCell { mark: Some(notes.mark(&format!("Failed: {reason}"))), ..TableCell::dash() }
        }
        Status::Built => {
            let reason = row.reason.as_deref().unwrap_or("no reason was recorded");
            TableCell { mark: Some(notes.mark(&format!("Built, not executed: {reason}"))), ..TableCell::dash() }
        }
        Status::Pending => TableCell { mark: Some(notes.mark("Planned, but not run so far.")), ..TableCell::dash() },
    }
}

fn left_out(notes: &mut Notes) -> TableCell {
    let mark = notes.mark("Left out by the manifest; the reason is in the table of configurations left out.");
    TableCell { mark: Some(mark), ..TableCell::dash() }
}

/// Whether any measured row of the series is emulated.
fn is_emulated(group: &Group, series: &Series) -> bool {
    let of_series = |row: &&&ResultRow| series_of(row) == *series;
    distinct(group.rows.iter().filter(of_series).map(|row| row.emulated)).contains(&Some(true))
}

//! Tables with a row per shape and a column per precision policy of one backend.

use super::EMULATED_NOTE;
use crate::backend::BackendKind;
use crate::report::data::{Data, Group, Series, distinct};
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
    /// A table per group and backend.
    pub fn tables(&self, data: &Data, cell: CellOf) -> Vec<Table> {
        let groups = data.groups();
        let pairs = groups.iter().flat_map(|group| group.backends().into_iter().map(move |backend| (group, backend)));
        pairs.map(|(group, backend)| self.table(group, backend, cell)).collect()
    }

    fn table(&self, group: &Group, backend: BackendKind, cell: CellOf) -> Table {
        let columns: Vec<Series> = group.series().into_iter().filter(|series| series.backend == backend).collect();
        let slug = format!("{}-{}-{}", self.slug, group.slug(), backend);
        let unit = if self.unit.is_empty() { String::new() } else { format!(" ({})", self.unit) };
        let caption = format!("{}{unit}: {}, backend {backend}.", self.title, group.label());
        self.grid(Table::new(slug, caption, vec![]), group, &columns, cell)
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
            table.headings.push(heading.marked(marks));
        }
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
        Status::Pending => TableCell { mark: Some(notes.mark("Planned, but not run so far.")), ..TableCell::dash() },
    }
}

fn left_out(notes: &mut Notes) -> TableCell {
    let mark = notes.mark("Left out by the manifest; the reason is in the table of configurations left out.");
    TableCell { mark: Some(mark), ..TableCell::dash() }
}

/// Whether any measured row of the series is emulated.
fn is_emulated(group: &Group, series: &Series) -> bool {
    let of_series = |row: &&&ResultRow| row.backend == series.backend && row.precision == series.precision;
    distinct(group.rows.iter().filter(of_series).map(|row| row.emulated)).contains(&Some(true))
}

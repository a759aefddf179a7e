//! Tables with a row per shape and a column per backend and precision policy.

use super::EMULATED_NOTE;
use crate::record::Status;
use crate::report::sentences::tasks;
use crate::report::table::{Heading, Note, Notes, Table, TableCell};
use crate::results::data::{Data, Group, Series, distinct, series as series_of, slug};
use crate::store::schema::ResultRow;

/// What a grid shows.
pub struct Grid<'a> {
    /// Start of the file names: `latency`.
    pub slug: &'a str,
    /// Start of the captions: `Median latency`.
    pub title: &'a str,
    /// Unit, in the captions: `ms`.
    pub unit: &'a str,
    /// What its cells hold.
    pub cells: Cells,
    /// Whether the values depend on time, so that emulated columns need a warning.
    pub about_time: bool,
}

/// What the cells of a grid hold in addition to footnotes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cells {
    /// A number.
    Number,
    /// A number and its interval, or its number of samples.
    Detail,
    /// A number, its interval and its number of samples.
    Details,
}

impl Cells {
    /// Columns of them that fit a page at a size that can be read.
    fn per_page(self) -> usize {
        match self {
            Cells::Number => 9,
            Cells::Detail => 5,
            Cells::Details => 4,
        }
    }
}

/// Series that stand side by side in one table.
#[derive(Debug, PartialEq)]
pub struct Columns {
    /// The series.
    pub series: Vec<Series>,
    /// `, part 1 of 2`, for the caption; empty for the only table.
    pub part: String,
    /// Part of the table's file name.
    slug: String,
}

/// A cell of a measured row; footnotes go to the notes.
pub type CellOf<'c> = &'c dyn Fn(&ResultRow, &mut Notes) -> TableCell;

impl Grid<'_> {
    /// A table per group, or several where its series do not fit side by side; one that says so where nothing was executed.
    pub fn tables(&self, data: &Data, cell: CellOf) -> Vec<Table> {
        let tables = self.tables_of(data, &|_| true, cell);
        if tables.is_empty() {
            let why = "Nothing was executed here: every engine was built for another machine.";
            return vec![Table::empty(self.slug, format!("{}.", self.title), why)];
        }
        tables
    }

    /// The same of series in which some row has what is shown; none where no row has it.
    pub fn tables_of(&self, data: &Data, has: &dyn Fn(&ResultRow) -> bool, cell: CellOf) -> Vec<Table> {
        let mut tables = Vec::new();
        for group in data.groups() {
            let wanted = |series: &Series| group.rows.iter().any(|row| series_of(row) == *series && has(row));
            let series: Vec<Series> = group.executed_series().into_iter().filter(wanted).collect();
            for columns in self.side_by_side(&series) {
                let unit = if self.unit.is_empty() { String::new() } else { format!(" ({})", self.unit) };
                let caption = format!("{}{unit}: {}{}.", self.title, group.label(), columns.part);
                let table = Table::new(self.slug_of(&group, &columns), caption, vec![]);
                tables.push(self.grid(table, &group, &columns.series, cell));
            }
        }
        tables
    }

    /// File name of a table of these series.
    pub fn slug_of(&self, group: &Group, columns: &Columns) -> String {
        format!("{}-{}-{}", self.slug, group.slug(), columns.slug)
    }

    /// Divides series among as few tables as fit a page each, about equally wide.
    pub fn side_by_side(&self, series: &[Series]) -> Vec<Columns> {
        let tables = series.len().div_ceil(self.cells.per_page()).max(1);
        let chunks: Vec<&[Series]> = series.chunks(series.len().div_ceil(tables).max(1)).collect();
        let of = |(index, chunk): (usize, &&[Series])| {
            let builders = distinct(chunk.iter().map(|series| slug(&series.builder()))).join("-");
            let (part, slug) = match chunks.len() {
                1 => (String::new(), builders),
                all => (format!(", part {} of {all}", index + 1), format!("{builders}-{}", index + 1)),
            };
            Columns { series: chunk.to_vec(), part, slug }
        };
        chunks.iter().enumerate().map(of).collect()
    }

    /// Fills `table` with a row per shape and a column per series.
    pub fn grid(&self, mut table: Table, group: &Group, columns: &[Series], cell: CellOf) -> Table {
        let mut notes = Notes::default();
        table.headings = vec![Heading::number("Batch"), Heading::number("Sequence")];
        for series in columns {
            let emulated = self.about_time && is_emulated(group, series);
            let marks = if emulated { notes.mark(EMULATED_NOTE) } else { String::new() };
            let heading = match self.cells {
                Cells::Number => Heading::number(&series.precision),
                Cells::Detail | Cells::Details => Heading::interval(&series.precision),
            };
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
        let text = tasks::outputs(&group.rows);
        table.notes.extend(text.map(|text| Note { mark: String::new(), text }));
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
        Status::Pending => TableCell { mark: Some(notes.mark("Planned, but not run yet.")), ..TableCell::dash() },
    }
}

fn left_out(notes: &mut Notes) -> TableCell {
    let mark = notes.mark("Left out by the manifest; the table of what it leaves out gives the reason.");
    TableCell { mark: Some(mark), ..TableCell::dash() }
}

/// Whether any measured row of the series is emulated.
fn is_emulated(group: &Group, series: &Series) -> bool {
    let of_series = |row: &&&ResultRow| series_of(row) == *series;
    distinct(group.rows.iter().filter(of_series).map(|row| row.emulated)).contains(&Some(true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::BackendKind;

    fn series(backend: BackendKind, precisions: &[&str]) -> Vec<Series> {
        precisions.iter().map(|name| Series { backend, target: None, precision: (*name).to_owned() }).collect()
    }

    #[test]
    fn what_does_not_fit_a_page_is_divided() {
        let policies = ["fp32", "tf32", "fp16", "bf16", "hybrid"];
        let all = [series(BackendKind::Cuda, &policies), series(BackendKind::OnnxRuntime, &policies[..1])].concat();
        let tables = |cells, series: &[Series]| {
            let grid = Grid { slug: "latency", title: "", unit: "", cells, about_time: true };
            let tables = grid.side_by_side(series);
            tables.into_iter().map(|table| (table.slug, table.part, table.series.len())).collect::<Vec<_>>()
        };
        let named = |tables: &[(&str, &str, usize)]| {
            tables.iter().map(|&(slug, part, width)| (slug.to_owned(), part.to_owned(), width)).collect::<Vec<_>>()
        };
        assert_eq!(tables(Cells::Number, &all), named(&[("cuda-onnxruntime", "", 6)]));
        let halves = [("cuda-1", ", part 1 of 2", 3), ("cuda-onnxruntime-2", ", part 2 of 2", 3)];
        assert_eq!(tables(Cells::Detail, &all), named(&halves));
        assert_eq!(tables(Cells::Details, &all[..4]), named(&[("cuda", "", 4)]));
        assert_eq!(tables(Cells::Details, &[&all[..], &all[..]].concat()).len(), 3);
        assert_eq!(tables(Cells::Details, &[]), []);
    }
}

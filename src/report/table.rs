//! A table of already formatted text, the same for LaTeX and HTML. Text is plain: templates escape it.

use std::collections::BTreeSet;

use serde::Serialize;

use crate::results::data::distinct;
use crate::store::schema::ResultRow;

/// The mark of a configuration whose outputs fail. It is no letter, so that it never meets the mark of another footnote.
const FAILS: &str = "†";

/// How a column is set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// Text.
    #[default]
    Left,
    /// Numbers.
    Right,
    /// Sentences, broken into lines.
    Wide,
}

/// A column's head.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Heading {
    /// Text.
    pub text: String,
    /// Footnote marks, joined.
    pub marks: String,
    /// How its cells are set.
    pub align: Align,
    /// Whether a cell may have a detail (an interval) next to its number.
    pub detail: bool,
    /// Width in LaTeX, centimetres; for wide columns.
    pub width_cm: Option<u32>,
    /// What stands above it and its neighbours of the same group.
    pub group: Option<String>,
}

impl Heading {
    /// A column of text.
    pub fn text(text: &str) -> Self {
        Heading { text: text.to_owned(), ..Heading::default() }
    }

    /// A column of numbers.
    pub fn number(text: &str) -> Self {
        Heading { align: Align::Right, ..Heading::text(text) }
    }

    /// A column of numbers with intervals.
    pub fn interval(text: &str) -> Self {
        Heading { detail: true, ..Heading::number(text) }
    }

    /// A column of sentences, so many centimetres wide on paper.
    pub fn sentences(text: &str, width_cm: u32) -> Self {
        Heading { align: Align::Wide, width_cm: Some(width_cm), ..Heading::text(text) }
    }

    /// The same under a heading shared with its neighbours.
    pub fn under(self, group: &str) -> Self {
        Heading { group: Some(group.to_owned()), ..self }
    }

    /// Columns it takes in LaTeX: a detail has its own.
    fn latex_columns(&self) -> usize {
        1 + usize::from(self.detail)
    }

    /// The same with footnote marks.
    pub fn marked(self, marks: String) -> Self {
        Heading { marks, ..self }
    }
}

/// A cell.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TableCell {
    /// Text.
    pub text: String,
    /// The smaller text next to it.
    pub detail: Option<String>,
    /// Footnote mark.
    pub mark: Option<String>,
    /// Set in grey: not comparable with the rest.
    pub muted: bool,
    /// Configuration id, where the cell shows one configuration.
    pub source: Option<String>,
    /// Ids of the configurations that its value is computed from, where they are more than `source`.
    pub rows: Vec<String>,
}

impl TableCell {
    /// A cell of text.
    pub fn new(text: impl Into<String>) -> Self {
        TableCell { text: text.into(), ..TableCell::default() }
    }

    /// An undefined value.
    pub fn dash() -> Self {
        TableCell::new("–")
    }

    /// The same, computed from these rows.
    pub fn of<'a>(self, rows: impl IntoIterator<Item = &'a ResultRow>) -> Self {
        TableCell { rows: ids(rows), ..self }
    }

    /// Ids of the configurations behind it.
    pub fn provenance(&self) -> impl Iterator<Item = &str> {
        let source = self.source.iter().filter(|source| !self.rows.contains(source));
        source.chain(&self.rows).map(String::as_str)
    }

    /// Whether it is [`TableCell::dash`] and no footnote says why.
    fn is_dash(&self) -> bool {
        *self == TableCell::dash()
    }

    /// The same, marked where outputs of what it sums up fail. A cell that names its configuration as its source is
    /// marked where the report is assembled.
    pub fn failing_if(mut self, fails: bool) -> Self {
        if fails {
            self.mark_failing();
        }
        self
    }

    fn mark_failing(&mut self) {
        self.mark = Some(self.mark.take().map_or_else(|| FAILS.to_owned(), |marks| format!("{marks},{FAILS}")));
    }

    fn is_marked_failing(&self) -> bool {
        self.mark.as_ref().is_some_and(|marks| marks.ends_with(FAILS))
    }

    /// The value, or a dash.
    pub fn optional(text: Option<String>) -> Self {
        text.map_or_else(TableCell::dash, TableCell::new)
    }
}

impl<T: Into<String>> From<T> for TableCell {
    fn from(text: T) -> Self {
        TableCell::new(text)
    }
}

/// A row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct TableRow {
    /// As many as there are headings.
    pub cells: Vec<TableCell>,
    /// A thin rule above: a new group begins.
    pub rule: bool,
}

/// A footnote.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Note {
    /// `a`, `b`, …; empty for a general remark.
    pub mark: String,
    /// Sentence.
    pub text: String,
}

/// A run of headings with the same group, or one without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The group; empty for none.
    pub text: String,
    /// Headings it covers.
    pub headings: usize,
    /// First column it covers in LaTeX, from 1.
    pub first: usize,
    /// Last column it covers in LaTeX.
    pub last: usize,
}

/// A table.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Table {
    /// File name without extension; unique in a report.
    pub slug: String,
    /// What it shows.
    pub caption: String,
    /// Row above the headings; empty where no heading is in a group.
    pub spans: Vec<Span>,
    /// Columns.
    pub headings: Vec<Heading>,
    /// Rows.
    pub rows: Vec<TableRow>,
    /// Footnotes.
    pub notes: Vec<Note>,
    /// Whether the versions loaded for the table's rows match the pins; set where the report is assembled, so that no
    /// table lacks it.
    pub pins: Option<String>,
    /// Ids of the configurations that it sums up, where its cells do not name them all.
    #[serde(skip)]
    pub covers: BTreeSet<String>,
    /// The repeat, from 0, whose rows of the same configurations are behind its cells, too.
    #[serde(skip)]
    pub repeat: Option<usize>,
    /// Whether the paper has it in its appendix, as full results, and not in its text.
    pub in_appendix: bool,
    /// Why there are no rows.
    pub empty: Option<String>,
}

impl Table {
    /// A table without rows yet.
    pub fn new(slug: impl Into<String>, caption: impl Into<String>, headings: Vec<Heading>) -> Self {
        let spans = spans(&headings);
        Table { slug: slug.into(), caption: caption.into(), spans, headings, ..Table::default() }
    }

    /// A table that has nothing to show and says why.
    pub fn empty(slug: impl Into<String>, caption: impl Into<String>, why: impl Into<String>) -> Self {
        Table { empty: Some(why.into()), ..Table::new(slug, caption, vec![]) }
    }

    /// The same, of these rows.
    pub fn covering<'a>(self, rows: impl Iterator<Item = &'a ResultRow>) -> Self {
        Table { covers: rows.map(|row| row.id.clone()).collect(), ..self }
    }

    /// The configurations that it is made of, by id, as far as it says.
    pub fn sources(&self) -> BTreeSet<&str> {
        if !self.covers.is_empty() {
            return self.covers.iter().map(String::as_str).collect();
        }
        self.rows.iter().flat_map(|row| &row.cells).filter_map(|cell| cell.source.as_deref()).collect()
    }

    /// Marks the cells whose configuration is one of these, by id; their outputs fail. Adds the footnote of the mark where
    /// the table has it.
    pub fn mark_failing(&mut self, failing: &BTreeSet<&str>, footnote: &str) {
        let mut marked = false;
        for cell in self.rows.iter_mut().flat_map(|row| &mut row.cells) {
            if !cell.is_marked_failing() && cell.source.as_deref().is_some_and(|id| failing.contains(id)) {
                cell.mark_failing();
            }
            marked |= cell.is_marked_failing();
        }
        if marked {
            self.notes.push(Note { mark: FAILS.to_owned(), text: footnote.to_owned() });
        }
    }

    /// Adds a row of cells that are computed from these rows, unless they say from which.
    pub fn push_of<'a>(&mut self, mut cells: Vec<TableCell>, rows: impl IntoIterator<Item = &'a ResultRow>) {
        let all = ids(rows);
        for cell in cells.iter_mut().filter(|cell| cell.rows.is_empty() && !cell.is_dash()) {
            cell.rows.clone_from(&all);
        }
        self.push(cells);
    }

    /// Adds a row.
    pub fn push(&mut self, cells: Vec<TableCell>) {
        self.rows.push(TableRow { cells, rule: false });
    }

    /// Leaves out columns in which every cell is a plain dash.
    pub fn without_empty_columns(mut self) -> Self {
        let is_empty = |column: usize| self.rows.iter().all(|row| row.cells.get(column).is_none_or(TableCell::is_dash));
        let kept: Vec<bool> = (0..self.headings.len()).map(|column| !is_empty(column)).collect();
        let mut keep = kept.iter();
        self.headings.retain(|_| keep.next().copied().unwrap_or(true));
        for row in &mut self.rows {
            let mut keep = kept.iter();
            row.cells.retain(|_| keep.next().copied().unwrap_or(true));
        }
        self.with_spans()
    }

    /// Makes the row above the headings again after they changed.
    pub fn with_spans(self) -> Self {
        Table { spans: spans(&self.headings), ..self }
    }

    /// Puts a rule above every row whose first `columns` cells differ from the row before.
    pub fn rule_between_groups(mut self, columns: usize) -> Self {
        for index in 1..self.rows.len() {
            let (before, rest) = self.rows.split_at_mut(index);
            let key = |row: &TableRow| row.cells.iter().take(columns).map(|cell| cell.text.clone()).collect::<Vec<_>>();
            rest[0].rule = key(&before[index - 1]) != key(&rest[0]);
        }
        self
    }
}

fn ids<'a>(rows: impl IntoIterator<Item = &'a ResultRow>) -> Vec<String> {
    distinct(rows.into_iter().map(|row| row.id.clone()))
}

fn spans(headings: &[Heading]) -> Vec<Span> {
    if headings.iter().all(|heading| heading.group.is_none()) {
        return vec![];
    }
    let mut spans: Vec<Span> = Vec::new();
    let mut column = 1;
    for heading in headings {
        let (first, last) = (column, column + heading.latex_columns() - 1);
        column = last + 1;
        match (&heading.group, spans.last_mut()) {
            (Some(group), Some(span)) if span.text == *group => {
                span.headings += 1;
                span.last = last;
            }
            (group, _) => spans.push(Span { text: group.clone().unwrap_or_default(), headings: 1, first, last }),
        }
    }
    spans
}

/// Footnotes in order of first use; the same sentence keeps its mark.
#[derive(Debug, Default)]
pub struct Notes {
    notes: Vec<String>,
}

impl Notes {
    /// The mark of this sentence.
    pub fn mark(&mut self, text: &str) -> String {
        let index = self.notes.iter().position(|note| note == text).unwrap_or_else(|| {
            self.notes.push(text.to_owned());
            self.notes.len() - 1
        });
        letters(index)
    }

    /// The footnotes.
    pub fn finish(self) -> Vec<Note> {
        self.notes.into_iter().enumerate().map(|(index, text)| Note { mark: letters(index), text }).collect()
    }
}

/// `a` to `z`, then `aa`, `ab`, …
fn letters(index: usize) -> String {
    let last = char::from(b'a' + (index % 26) as u8);
    if index < 26 { last.to_string() } else { format!("{}{last}", letters(index / 26 - 1)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_dashes_are_left_out_and_groups_follow() {
        let headings = vec![
            Heading::text("a"),
            Heading::interval("b").under("g"),
            Heading::number("c").under("g"),
            Heading::number("d").under("g"),
        ];
        let mut table = Table::new("t", "", headings);
        table.push(vec!["x".into(), "1".into(), TableCell::dash(), "2".into()]);
        let span = |text: &str, headings, first, last| Span { text: text.into(), headings, first, last };
        assert_eq!(table.spans, [span("", 1, 1, 1), span("g", 3, 2, 5)]);
        let table = table.without_empty_columns();
        assert_eq!(table.spans, [span("", 1, 1, 1), span("g", 2, 2, 4)]);
        assert_eq!(table.rows[0].cells.len(), 3);
    }

    #[test]
    fn failing_configurations_are_marked_once_beside_other_marks_and_explained() {
        let cell = |source: &str, mark: Option<&str>| TableCell {
            source: Some(source.to_owned()),
            mark: mark.map(str::to_owned),
            ..TableCell::new("1")
        };
        let sum = TableCell::new("sum").failing_if(true);
        let mut table = Table::new("t", "", vec![Heading::text("a"), Heading::text("b"), Heading::text("c")]);
        table.push(vec![cell("1", None), cell("2", Some("a")), sum]);
        table.push(vec![cell("3", None), TableCell::new("2").failing_if(false), TableCell::dash()]);
        let clean = table.rows[1].clone();
        table.mark_failing(&BTreeSet::from(["1", "2", "4"]), "It fails.");
        let marks: Vec<_> = table.rows[0].cells.iter().map(|cell| cell.mark.as_deref()).collect();
        assert_eq!(marks, [Some("†"), Some("a,†"), Some("†")]);
        assert_eq!(table.rows[1], clean);
        assert_eq!(table.notes, [Note { mark: "†".into(), text: "It fails.".into() }]);
        let mut other = Table { rows: vec![clean], notes: vec![], ..table };
        other.mark_failing(&BTreeSet::from(["1"]), "It fails.");
        assert!(other.notes.is_empty(), "no mark, no footnote");
    }

    #[test]
    fn a_sentence_keeps_its_mark() {
        let mut notes = Notes::default();
        assert_eq!((notes.mark("x"), notes.mark("y"), notes.mark("x")), ("a".into(), "b".into(), "a".into()));
        assert_eq!(notes.finish().len(), 2);
        assert_eq!((letters(25), letters(26), letters(52)), ("z".into(), "aa".into(), "ba".into()));
    }
}

//! What a person asks about: the name of a number, or a table and words of a cell.

use crate::report::table::{Align, Table, TableCell};
use crate::store::schema::ResultRow;

/// What is asked about.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Question {
    /// A claim, a macro or a configuration.
    Name(String),
    /// Cells of a table: its file without extension, and words in lower case.
    Cell { table: String, words: Vec<String> },
}

impl Question {
    pub fn parse(text: &str) -> Question {
        let text = text.trim();
        let (file, words) = text.split_once(':').unwrap_or((text, ""));
        match file.trim().strip_suffix(".tex") {
            Some(table) => {
                let words = words.split_whitespace().map(|word| word.to_lowercase().replace('×', "x")).collect();
                Question::Cell { table: table.to_owned(), words }
            }
            None => Question::Name(text.to_owned()),
        }
    }
}

/// A cell and where it stands.
pub(super) struct FoundCell<'a> {
    pub table: &'a Table,
    pub cell: &'a TableCell,
    /// `fp16 of cuda, 8 128`: the heading and the first cells of the line.
    pub place: String,
}

/// Whether a table has this name, or one that begins with it: `speedup` of `speedup-1-bert-base-random-cuda`.
pub(super) fn is_called(table: &Table, name: &str) -> bool {
    table.empty.is_none() && table.slug.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// The cells with numbers that have all the words: in their text, their line's first cells, their heading, or the configurations
/// that they are computed from.
pub(super) fn cells<'a, 'r>(
    table: &'a Table,
    words: &[String],
    row_of: &impl Fn(&str) -> Option<&'r ResultRow>,
) -> Vec<FoundCell<'a>> {
    let mut found = Vec::new();
    let is_text = |column: usize| table.headings.get(column).is_none_or(|heading| heading.align != Align::Right);
    // What names a line: its texts, and the numbers before the first number that rows are behind.
    for line in &table.rows {
        let names: Vec<&str> = line
            .cells
            .iter()
            .enumerate()
            .filter(|(column, cell)| is_text(*column) || cell.provenance().next().is_none())
            .map(|(_, cell)| cell.text.as_str())
            .collect();
        for (column, cell) in line.cells.iter().enumerate().filter(|(column, _)| !is_text(*column)) {
            if cell.provenance().next().is_none() {
                continue;
            }
            let heading = &table.headings[column];
            let group = heading.group.as_deref().unwrap_or_default();
            let mut known: Vec<String> =
                vec![cell.text.to_lowercase(), heading.text.to_lowercase(), group.to_lowercase()];
            known.extend(names.iter().flat_map(|name| name.split_whitespace()).map(str::to_lowercase));
            known.extend(cell.provenance().take(1).filter_map(row_of).flat_map(attributes));
            let known: Vec<String> = known.into_iter().map(|text| text.replace('×', "x")).collect();
            if words.iter().all(|word| known.iter().any(|text| is_word_of(word, text))) {
                let heading =
                    if group.is_empty() { heading.text.clone() } else { format!("{} of {group}", heading.text) };
                found.push(FoundCell { table, cell, place: format!("{heading}, {}", names.join(" ")) });
            }
        }
    }
    found
}

/// A number that is asked about, as it is printed: `8.96×`, `61.9 %`, or without its unit.
pub(super) struct Printed(String);

/// Units that a person may leave out.
const UNITS: [&str; 3] = ["x", "%", "ms"];

impl Printed {
    /// `None` where the text is no number.
    pub fn parse(text: &str) -> Option<Printed> {
        let bare = bare(text);
        bare.starts_with(|c: char| c.is_ascii_digit() || "-∞<>".contains(c)).then_some(Printed(bare))
    }

    /// Whether a text is this number.
    pub fn is(&self, text: &str) -> bool {
        let text = bare(text);
        text == self.0 || UNITS.iter().any(|unit| text.strip_suffix(unit) == Some(&self.0))
    }

    /// Whether a text holds this number.
    pub fn is_in(&self, text: &str) -> bool {
        let bare = bare(text);
        if self.0.contains(' ') {
            // `3 of 146` is a number of two.
            return format!(" {bare} ").contains(&format!(" {} ", self.0));
        }
        let mut words = bare.split(|c: char| c.is_whitespace() || "[](),;:".contains(c));
        words.any(|word| self.is(word.trim_end_matches('.')))
    }
}

/// A text without what print adds: `8.96x` of `8.96×`, `61.9%` of `61.9 %`.
fn bare(text: &str) -> String {
    let kept = text.trim().chars().filter(|c| !['\u{202f}', '\u{a0}', '\u{2009}'].contains(c));
    let plain = kept.map(|c| match c {
        '×' => 'x',
        '−' => '-',
        c => c,
    });
    let plain: String = plain.collect();
    plain.replace(" %", "%").replace(" ms", "ms").to_lowercase()
}

pub(super) fn is_word_of(word: &str, text: &str) -> bool {
    text == word || text.split_whitespace().any(|part| part.trim_matches([',', '.', ':']) == word)
}

/// What a reader may call a row by. The series stands in the heading, for a ratio has two.
fn attributes(row: &ResultRow) -> Vec<String> {
    let shape = format!("{}x{}", row.batch_size, row.sequence_length);
    let target = row.target.map(|target| target.name().to_owned());
    [row.model.clone(), row.input.clone(), shape, row.id.clone()]
        .into_iter()
        .chain(target)
        .map(|text| text.to_lowercase())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::table::Heading;

    #[test]
    fn a_file_with_words_is_a_cell_and_the_rest_is_a_name() {
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let cell = |table: &str, of: &[&str]| Question::Cell { table: table.to_owned(), words: words(of) };
        assert_eq!(Question::parse("speedup.tex: BERT-base 8×128"), cell("speedup", &["bert-base", "8x128"]));
        assert_eq!(Question::parse("speedup.tex"), cell("speedup", &[]));
        assert_eq!(Question::parse(" \\mpMeasured "), Question::Name("\\mpMeasured".into()));
        assert_eq!(Question::parse("C3"), Question::Name("C3".into()));
    }

    #[test]
    fn a_number_is_found_with_and_without_its_unit_and_no_part_of_another_is() {
        let number = |text| Printed::parse(text).unwrap();
        assert!(number("8.96×").is("8.96×") && number("8.96x").is("8.96×") && number("8.96").is("8.96×"));
        assert!(number("61.9%").is("61.9\u{202f}%") && !number("61.9×").is("61.9 %") && !number("1.9").is("61.9 %"));
        let value = "750× [738×, 756×], random weights";
        assert!(number("738×").is_in(value) && number("750").is_in(value) && !number("75").is_in(value));
        assert!(number("-0.0045").is_in("smallest cosine: −0.0045."));
        assert!(
            number("3 of 146").is_in("in bert, 3 of 146 operations") && !number("3 of 14").is_in("13 of 146, 3 of 146")
        );
        assert!(Printed::parse("C3").is_none());
    }

    #[test]
    fn words_choose_the_cell_by_line_heading_and_row() {
        let headings =
            ["Batch", "Sequence"].map(Heading::number).into_iter().chain([Heading::number("fp16").under("cuda")]);
        let mut table = Table::new("speedup-1-bert", "", headings.collect());
        let rows = [8_u64, 16].map(|batch_size| ResultRow {
            id: format!("id{batch_size}"),
            model: "bert".into(),
            batch_size,
            sequence_length: 128,
            ..ResultRow::default()
        });
        for row in &rows {
            let shape = [row.batch_size, row.sequence_length].map(|size| TableCell::new(size.to_string()));
            table.push(shape.into_iter().chain([TableCell::new("2.0×").of([row])]).collect());
        }
        let chosen = |words: &str| -> Vec<String> {
            let Question::Cell { words, .. } = Question::parse(&format!("x.tex: {words}")) else { return vec![] };
            let row_of = |id: &str| rows.iter().find(|row| row.id == id);
            cells(&table, &words, &row_of).into_iter().map(|found| found.cell.rows[0].clone()).collect()
        };
        assert_eq!(chosen("bert 8x128 fp16"), ["id8"]);
        assert_eq!(chosen("cuda 16"), ["id16"]);
        assert_eq!(chosen("bert").len(), 2);
        assert!(chosen("8x12").is_empty() && chosen("fp32").is_empty());
        assert!(is_called(&table, "speedup") && is_called(&table, "speedup-1-bert") && !is_called(&table, "speed"));
    }
}

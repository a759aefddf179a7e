//! Tables for a terminal: rows of text with aligned columns.

use std::array::from_fn;

use crate::terminal::printable_line;

/// The rows, a line each, with two spaces between columns. A column is flush left or, where `flush_right` says so, flush right.
pub fn aligned<const N: usize>(rows: &[[String; N]], flush_right: [bool; N]) -> String {
    let rows: Vec<[String; N]> =
        rows.iter().map(|row| from_fn(|column| printable_line(&row[column]).into_owned())).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; N] = from_fn(width);
    let line = |row: &[String; N]| {
        let cells: [String; N] = from_fn(|column| {
            let (cell, width) = (&row[column], widths[column]);
            if flush_right[column] { format!("{cell:>width$}") } else { format!("{cell:<width$}") }
        });
        cells.join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_stand_right() {
        let rows = [["id", "batch", "input"], ["0123", "1", ""]].map(|row| row.map(str::to_owned));
        assert_eq!(aligned(&rows, [false, true, false]), "id    batch  input\n0123      1\n");
    }
}

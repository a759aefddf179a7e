//! Labelled sentences: `sentence<TAB>label` lines under a header, as GLUE distributes SST-2's `dev.tsv`. A label is a number
//! or a name.

use std::path::Path;

use super::InputError;
use super::examples::{Given, Label, Line, NumberedLine, Right};

/// The lines of a file as examples.
///
/// # Errors
/// [`InputError::Line`] naming the first line with a mistake.
pub(super) fn lines(path: &Path, text: &str) -> Result<Vec<NumberedLine>, InputError> {
    let mistake = |(line, message): (usize, &str)| {
        let message = message.to_owned();
        InputError::Line { path: path.to_owned(), line, message }
    };
    let line = |(number, (sentence, label)): (usize, (&str, &str))| {
        let given = Given::Text { text: sentence.to_owned(), pair: None };
        (number, Line { given, right: Right::Label(Label::Name(label.to_owned())) })
    };
    Ok((2..).zip(sentences(text).map_err(mistake)?).map(line).collect())
}

/// Sentences and labels, or the line with a mistake, from 1, and the mistake.
fn sentences(text: &str) -> Result<Vec<(&str, &str)>, (usize, &'static str)> {
    let mut lines = text.lines();
    if !matches!(lines.next(), None | Some("sentence\tlabel")) {
        return Err((1, "expected the header `sentence<TAB>label`"));
    }
    let mut rows: Vec<(&str, &str)> = Vec::new();
    let is_number = |label: &str| label.parse::<f64>().is_ok();
    for (line, number) in lines.zip(2..) {
        let (sentence, label) = line.rsplit_once('\t').ok_or((number, "expected `sentence<TAB>label`"))?;
        let label = label.trim();
        if label.is_empty() {
            return Err((number, "expected a label after the tab"));
        }
        match rows.first().map(|(_, first)| (is_number(first), is_number(label))) {
            Some((true, false)) => return Err((number, "expected a number after the tab, as on the first line")),
            Some((false, true)) => return Err((number, "expected a name after the tab, as on the first line")),
            _ => {}
        }
        if sentence.trim().is_empty() {
            return Err((number, "the sentence is empty"));
        }
        rows.push((sentence.trim_end(), label));
    }
    if rows.is_empty() { Err((1, "the file holds no sentence")) } else { Ok(rows) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_none_is_named() {
        let of = |body: &str| sentences(&format!("sentence\tlabel\n{body}")).unwrap_err().0;
        assert_eq!((of("good\t1\nbad"), of("good\t1\nbad\t "), of(" \t1")), (3, 3, 2));
        assert_eq!((of("good\t1\nbad\tnegative"), of("good\tpositive\nbad\t0"), of("")), (3, 3, 1));
    }
}

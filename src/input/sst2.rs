//! Labelled sentences: `sentence<TAB>label` lines under a header, as GLUE distributes SST-2's `dev.tsv`. A label is a number
//! or a name.

use std::path::PathBuf;

use super::labels::{FileLabels, LabelledClass};
use super::{InputError, InputRow};
use crate::model::Tokenizer;

/// Tokenised sentences with labels, in file order.
#[derive(Debug)]
pub(super) struct Sentences {
    /// Token ids and, where labels are classes of the model, the class.
    rows: Vec<(Vec<u32>, Option<u32>)>,
    labels: Result<Vec<LabelledClass>, String>,
    /// The token that a truncated sentence must end with.
    end_marker: Option<u32>,
}

impl Sentences {
    /// Tokenises the sentences of a file; `classes` matches its labels with the classes of the model.
    pub fn new(
        path: PathBuf,
        text: &str,
        tokenizer: &Tokenizer,
        classes: &dyn Fn(&FileLabels) -> Result<Vec<LabelledClass>, String>,
    ) -> Result<Self, InputError> {
        let line_error =
            |(line, message): (usize, &str)| InputError::Line { path: path.clone(), line, message: message.to_owned() };
        let lines = lines(text).map_err(line_error)?;
        let labels = classes(&labels_of(&lines));
        let class = |label: &str| {
            let one = labels.as_ref().ok()?.iter().find(|one| one.label.as_deref() == Some(label))?;
            u32::try_from(one.class).ok()
        };
        let row = |(sentence, label): &(&str, &str)| Ok((tokenizer.sentence(sentence)?, class(label)));
        let rows = lines.iter().map(row).collect::<Result<_, InputError>>()?;
        Ok(Sentences { rows, labels, end_marker: tokenizer.markers()?.map(|(_, end)| end) })
    }

    pub fn labels(&self) -> Result<&[LabelledClass], &str> {
        self.labels.as_deref().map_err(String::as_str)
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Sentence `index`, truncated to `sequence` tokens; a truncated sentence keeps its end marker.
    pub fn row(&self, sequence: usize, index: usize) -> InputRow {
        let (ids, label) = &self.rows[index % self.rows.len()];
        let mut cut = ids[..ids.len().min(sequence)].to_vec();
        if let (true, Some(end), Some(last)) = (ids.len() > sequence, self.end_marker, cut.last_mut()) {
            *last = end;
        }
        InputRow { ids: cut, label: *label, next_ids: None }
    }
}

/// The labels of a file's text; `None` where a line has a mistake, which its rows say.
pub(super) fn file_labels(text: &str) -> Option<FileLabels> {
    lines(text).ok().map(|lines| labels_of(&lines))
}

fn labels_of(lines: &[(&str, &str)]) -> FileLabels {
    let mut found = FileLabels::new();
    for (line, (_, label)) in lines.iter().enumerate() {
        found.entry((*label).to_owned()).or_insert(line + 2);
    }
    found
}

/// Sentences and labels, or the line with a mistake, from 1, and the mistake.
fn lines(text: &str) -> Result<Vec<(&str, &str)>, (usize, &'static str)> {
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
    fn a_cut_sentence_keeps_its_end_marker() {
        let rows = vec![(vec![101, 5, 6, 7, 102], Some(1))];
        let mut sentences = Sentences { rows, labels: Ok(vec![]), end_marker: Some(102) };
        assert_eq!(sentences.row(3, 0).ids, [101, 5, 102]);
        sentences.end_marker = None;
        assert_eq!(sentences.row(3, 0).ids, [101, 5, 6], "without markers nothing is put in");
        assert_eq!(sentences.row(8, 1), InputRow { ids: vec![101, 5, 6, 7, 102], label: Some(1), next_ids: None });
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let of = |body: &str| lines(&format!("sentence\tlabel\n{body}")).unwrap_err().0;
        assert_eq!((of("good\t1\nbad"), of("good\t1\nbad\t "), of(" \t1")), (3, 3, 2));
        assert_eq!((of("good\t1\nbad\tnegative"), of("good\tpositive\nbad\t0"), of("")), (3, 3, 1));
    }
}

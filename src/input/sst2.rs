//! SST-2 sentences: `sentence<TAB>label` lines under a header, as GLUE distributes `dev.tsv`.

use std::path::PathBuf;

use super::{InputError, InputRow};
use crate::model::Tokenizer;

/// Tokenised sentences with labels, in file order.
#[derive(Debug)]
pub(super) struct Sentences {
    rows: Vec<(Vec<u32>, u8)>,
    /// The token that a truncated sentence must end with.
    end_marker: Option<u32>,
}

impl Sentences {
    pub fn new(path: PathBuf, text: &str, tokenizer: &Tokenizer) -> Result<Self, InputError> {
        let line_error =
            |line: usize, message: &str| InputError::Line { path: path.clone(), line, message: message.to_owned() };
        let mut rows = Vec::new();
        for (index, line) in text.lines().enumerate() {
            if index == 0 {
                match line {
                    "sentence\tlabel" => continue,
                    _ => return Err(line_error(1, "expected the header `sentence<TAB>label`")),
                }
            }
            let Some((sentence, label)) = line.rsplit_once('\t') else {
                return Err(line_error(index + 1, "expected `sentence<TAB>label`"));
            };
            let label = match label.trim_end() {
                "0" => 0,
                "1" => 1,
                _ => return Err(line_error(index + 1, "expected label 0 or 1 after the tab")),
            };
            if sentence.trim().is_empty() {
                return Err(line_error(index + 1, "the sentence is empty"));
            }
            rows.push((tokenizer.sentence(sentence.trim_end())?, label));
        }
        if rows.is_empty() {
            return Err(line_error(1, "the file holds no sentence"));
        }
        Ok(Sentences { rows, end_marker: tokenizer.markers()?.map(|(_, end)| end) })
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
        InputRow { ids: cut, label: Some(*label), next_ids: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_sentence_keeps_its_end_marker() {
        let mut sentences = Sentences { rows: vec![(vec![101, 5, 6, 7, 102], 1)], end_marker: Some(102) };
        assert_eq!(sentences.row(3, 0).ids, [101, 5, 102]);
        sentences.end_marker = None;
        assert_eq!(sentences.row(3, 0).ids, [101, 5, 6], "without markers nothing is put in");
        assert_eq!(sentences.row(8, 1), InputRow { ids: vec![101, 5, 6, 7, 102], label: Some(1), next_ids: None });
    }
}

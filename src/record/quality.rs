//! How well an engine answers: labelled sentences and running text.

use serde::{Deserialize, Serialize};

use crate::input::LabelledClass;
use crate::stats::scores::{Answers, ScoreEstimate};

/// No prediction, in older journals.
const NO_PREDICTION: u8 = u8::MAX;

/// Task quality of an engine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct QualitySummary {
    /// Labelled sentences answered correctly.
    pub task_correct: Option<u64>,
    /// Labelled sentences.
    pub task_total: Option<u64>,
    /// Answers by example, in file order, and what is right. `None` in older journals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answers: Option<Answers>,
    /// Their scores. Empty in older journals.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scores: Vec<ScoreEstimate>,
    /// Predicted class per sentence in older journals, of heads with at most 255 classes; 255 is none.
    #[serde(default, skip_serializing)]
    pub predictions: Option<Vec<u8>>,
    /// The class that each label of the file is. `None` in older journals, where a label was the number of its class.
    #[serde(default)]
    pub labels: Option<Vec<LabelledClass>>,
    /// Mean negative log-likelihood per token, nats.
    pub nll_mean: Option<f64>,
    /// Tokens it was averaged over.
    pub nll_tokens: Option<u64>,
}

impl QualitySummary {
    /// Predicted class per sentence, in file order, whichever journal it is from.
    pub fn predicted(&self) -> Option<Vec<Option<u32>>> {
        let class = |&class: &u8| (class != NO_PREDICTION).then_some(u32::from(class));
        match &self.answers {
            Some(Answers::Classes { rows, .. }) => Some(rows.iter().map(|(answer, _)| *answer).collect()),
            _ => Some(self.predictions.as_ref()?.iter().map(class).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn predictions_of_older_journals_are_read_and_written_as_the_others() {
        let older: QualitySummary = serde_json::from_str(
            r#"{"task_correct": 1, "task_total": 3, "predictions": [0, 255, 254], "nll_mean": null, "nll_tokens": null}"#,
        )
        .unwrap();
        assert_eq!(older.predicted(), Some(vec![Some(0), None, Some(254)]));
        let answers = Answers::Classes { of: 300, positive: 1, rows: vec![(Some(255), 255), (None, 0)] };
        let newer = QualitySummary { answers: Some(answers), ..QualitySummary::default() };
        let back: QualitySummary = serde_json::from_str(&serde_json::to_string(&newer).unwrap()).unwrap();
        assert_eq!((back.predicted(), &back), (Some(vec![Some(255), None]), &newer));
    }
}

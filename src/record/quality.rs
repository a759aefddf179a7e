//! How well an engine answers: labelled sentences and running text.

use serde::{Deserialize, Serialize};

use crate::input::LabelledClass;

/// No prediction, in older journals.
const NO_PREDICTION: u8 = u8::MAX;

/// Task quality of an engine.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct QualitySummary {
    /// Labelled sentences answered correctly.
    pub task_correct: Option<u64>,
    /// Labelled sentences.
    pub task_total: Option<u64>,
    /// Predicted class per sentence, in file order, for paired tests; `None` where the logits are no numbers.
    #[serde(default)]
    pub answers: Option<Vec<Option<u32>>>,
    /// The same in older journals, of heads with at most 255 classes; 255 is none.
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
        let older = || Some(self.predictions.as_ref()?.iter().map(class).collect());
        self.answers.clone().or_else(older)
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
        let newer = QualitySummary { answers: Some(vec![Some(255), None]), ..QualitySummary::default() };
        let back: QualitySummary = serde_json::from_str(&serde_json::to_string(&newer).unwrap()).unwrap();
        assert_eq!((back.predicted(), &back), (newer.answers.clone(), &newer));
    }
}

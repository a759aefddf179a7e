//! ClassCounts of classes as answered and as right, and the scores that follow from them.

use std::collections::BTreeMap;

use super::{ClassAnswer, is_right};

/// Of one class: how often it was answered rightly, answered, and right.
#[derive(Debug, Clone, Copy, Default)]
struct ClassCounts {
    both: u64,
    answered: u64,
    right: u64,
}

/// ClassCounts by class. An example without an answer counts as a class of its own that is never right.
#[derive(Debug)]
pub(super) struct Confusion {
    classes: BTreeMap<u32, ClassCounts>,
    unanswered: u64,
    all: u64,
}

impl Confusion {
    pub fn of(rows: &[ClassAnswer]) -> Self {
        let mut found = Confusion { classes: BTreeMap::new(), unanswered: 0, all: rows.len() as u64 };
        for one in rows {
            let (answer, right) = one;
            found.classes.entry(*right).or_default().right += 1;
            match answer {
                Some(answer) => found.classes.entry(*answer).or_default().answered += 1,
                None => found.unanswered += 1,
            }
            found.classes.entry(*right).or_default().both += u64::from(is_right(one));
        }
        found
    }

    /// `2 both / (answered + right)`: the harmonic mean of precision and recall. `None` of a class that is nowhere.
    pub fn f1(&self, class: u32) -> Option<f64> {
        let ClassCounts { both, answered, right } = self.classes.get(&class).copied().unwrap_or_default();
        (answered + right > 0).then(|| 2.0 * both as f64 / (answered + right) as f64)
    }

    /// Mean over the classes that are answered or right somewhere.
    pub fn f1_macro(&self) -> Option<f64> {
        let each: Vec<f64> = self.classes.keys().filter_map(|class| self.f1(*class)).collect();
        super::mean(&each)
    }

    /// Correlation of answers and right classes (Gorodkin 2004, equation 8); `None` where one of them does not vary.
    pub fn matthews(&self) -> Option<f64> {
        let all = self.all as f64;
        let sum = |of: &dyn Fn(&ClassCounts) -> f64| self.classes.values().map(of).sum::<f64>();
        let both = sum(&|counts| counts.both as f64);
        let product = sum(&|counts| counts.answered as f64 * counts.right as f64);
        let answered = sum(&|counts| (counts.answered as f64).powi(2)) + (self.unanswered as f64).powi(2);
        let right = sum(&|counts| (counts.right as f64).powi(2));
        let spread = ((all * all - answered) * (all * all - right)).sqrt();
        (spread > 0.0).then(|| (both * all - product) / spread)
    }
}

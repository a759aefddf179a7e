//! Counts of classes as answered and as right, and the scores that follow from them.

use super::{ClassAnswer, is_right};

/// Of one class: how often it was answered rightly, answered, and right.
#[derive(Debug, Clone, Copy, Default)]
struct ClassCounts {
    both: u64,
    answered: u64,
    right: u64,
}

/// Counts by class. An example without an answer counts as one of a class that is never right.
#[derive(Debug, Default)]
pub(super) struct Confusion {
    classes: Vec<ClassCounts>,
    unanswered: u64,
    all: u64,
}

impl Confusion {
    /// Counts one more answer.
    pub fn add(&mut self, one: &ClassAnswer) {
        let (answer, right) = one;
        self.all += 1;
        self.class(*right).right += 1;
        self.class(*right).both += u64::from(is_right(one));
        match answer {
            Some(answer) => self.class(*answer).answered += 1,
            None => self.unanswered += 1,
        }
    }

    fn class(&mut self, class: u32) -> &mut ClassCounts {
        let index = class as usize;
        if index >= self.classes.len() {
            self.classes.resize(index + 1, ClassCounts::default());
        }
        &mut self.classes[index]
    }

    /// Share of right answers.
    pub fn accuracy(&self) -> Option<f64> {
        let both: u64 = self.classes.iter().map(|counts| counts.both).sum();
        (self.all > 0).then(|| both as f64 / self.all as f64)
    }

    /// F1 of a class.
    pub fn f1(&self, class: u32) -> Option<f64> {
        self.classes.get(class as usize).and_then(ClassCounts::f1)
    }

    /// Mean over the classes that are answered or right somewhere.
    pub fn f1_macro(&self) -> Option<f64> {
        let each: Vec<f64> = self.classes.iter().filter_map(ClassCounts::f1).collect();
        super::mean(&each)
    }

    /// Correlation of answers and right classes (Gorodkin 2004, equation 8); `None` where one of them does not vary.
    pub fn matthews(&self) -> Option<f64> {
        let all = self.all as f64;
        let sum = |of: &dyn Fn(&ClassCounts) -> f64| self.classes.iter().map(of).sum::<f64>();
        let both = sum(&|counts| counts.both as f64);
        let product = sum(&|counts| counts.answered as f64 * counts.right as f64);
        let answered = sum(&|counts| (counts.answered as f64).powi(2)) + (self.unanswered as f64).powi(2);
        let right = sum(&|counts| (counts.right as f64).powi(2));
        let spread = ((all * all - answered) * (all * all - right)).sqrt();
        (spread > 0.0).then(|| (both * all - product) / spread)
    }
}

impl ClassCounts {
    /// `2 both / (answered + right)`: the harmonic mean of precision and recall. `None` of a class that is nowhere.
    fn f1(&self) -> Option<f64> {
        let ClassCounts { both, answered, right } = *self;
        (answered + right > 0).then(|| 2.0 * both as f64 / (answered + right) as f64)
    }
}

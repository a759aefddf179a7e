//! Scores of a model's answers, with an interval, and a paired test of two models on the same examples.
//!
//! A score is a function of a list of answers. Its interval is Clopper and Pearson's where examples are right or wrong each by
//! itself, else that of the bootstrap over examples. The paired test is McNemar's exact one in the first case. Else it permutes:
//! which of the two models gave which answer is drawn anew for each example, and p is the share of such draws in which the scores
//! differ at least as much as they do (Noreen 1989; Dror et al. 2018, section 3.2).

mod classes;

use std::collections::BTreeSet;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use serde::{Deserialize, Serialize};

use super::{BOOTSTRAP_MIN_SAMPLES, BOOTSTRAP_RESAMPLES, Interval, clopper_pearson, mcnemar, pearson, spearman};
use classes::Confusion;

/// Draws of the paired test; with the answers as they are it makes 2000.
const PERMUTATIONS: usize = BOOTSTRAP_RESAMPLES - 1;

/// Share of resamples in which a score must be defined for an interval of it.
const DEFINED: f64 = 0.95;

/// Two scores that differ by less are the same but for the order of a sum.
const SAME: f64 = 1e-12;

/// A class as answered, `None` where there is no answer, and the right one.
pub type ClassAnswer = (Option<u32>, u32);

/// What a model answered to every example of a file, in its order, and what is right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answers {
    /// One class each.
    Classes {
        /// Classes of the head.
        of: u32,
        /// The class, of two, that F1 is of; class 1 in older journals.
        #[serde(default = "second", skip_serializing_if = "is_second")]
        positive: u32,
        /// Answer and right class of each example.
        rows: Vec<ClassAnswer>,
    },
    /// Any number of classes each: those answered, `None` where there is no answer, and the right ones.
    ClassSets(Vec<(Option<Vec<u32>>, Vec<u32>)>),
    /// A number each: the answer, `None` where it is none, and the right one.
    Numbers(Vec<(Option<f64>, f64)>),
    /// A class for each scored token of each example.
    TokenClasses(Vec<Vec<ClassAnswer>>),
    /// A span each: whether it is a right one exactly, and its F1 with the nearest right one.
    Spans(Vec<(bool, f64)>),
    /// Negative log-likelihood of each example's tokens, nats, `None` where it is not finite, and their number.
    Likelihoods {
        /// Whether tokens were masked and filled in, rather than predicted one after the other.
        masked: bool,
        /// Sum and number by example.
        rows: Vec<(Option<f64>, u64)>,
    },
}

fn second() -> u32 {
    1
}

fn is_second(class: &u32) -> bool {
    *class == second()
}

/// A score of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Score {
    /// Share of right classes, of examples or of tokens.
    Accuracy,
    /// F1 of the positive class of two.
    F1,
    /// Mean of the F1 of each class that is right or answered somewhere.
    F1Macro,
    /// F1 of all classes of all examples together, where several may hold.
    F1Micro,
    /// Matthews' correlation coefficient, of any number of classes (Gorodkin 2004).
    Matthews,
    /// Share of examples whose classes are exactly the right ones, where several may hold.
    SubsetAccuracy,
    /// Pearson's correlation with the right numbers.
    Pearson,
    /// Spearman's rank correlation with them.
    Spearman,
    /// Share of spans that are a right one.
    ExactMatch,
    /// Mean F1 of a span's words with those of the nearest right one.
    SpanF1,
    /// Exponential of the mean negative log-likelihood of next tokens.
    Perplexity,
    /// The same of tokens that were masked.
    PseudoPerplexity,
}

/// A score with its 95 % interval, undefined for too few examples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ScoreEstimate {
    /// Which.
    pub score: Score,
    /// Its value.
    pub value: f64,
    /// Its interval.
    pub interval: Option<Interval>,
}

impl Score {
    /// Every score.
    pub const ALL: [Score; 12] = [
        Score::Accuracy,
        Score::F1,
        Score::F1Macro,
        Score::F1Micro,
        Score::Matthews,
        Score::SubsetAccuracy,
        Score::Pearson,
        Score::Spearman,
        Score::ExactMatch,
        Score::SpanF1,
        Score::Perplexity,
        Score::PseudoPerplexity,
    ];

    /// Name for readers.
    pub fn label(self) -> &'static str {
        match self {
            Score::Accuracy => "accuracy",
            Score::F1 => "F1",
            Score::F1Macro => "macro F1",
            Score::F1Micro => "micro F1",
            Score::Matthews => "Matthews",
            Score::SubsetAccuracy => "subset accuracy",
            Score::Pearson => "Pearson",
            Score::Spearman => "Spearman",
            Score::ExactMatch => "exact match",
            Score::SpanF1 => "span F1",
            Score::Perplexity => "perplexity",
            Score::PseudoPerplexity => "pseudo-perplexity",
        }
    }
}

/// Answers of one model, or of two on the same examples, of which each is picked from one of them.
struct Sample<'a> {
    of: [&'a Answers; 2],
    picked: &'a [(usize, usize)],
}

impl Answers {
    /// Whether every class is one that a head may have: counts are kept for all up to the largest.
    pub fn is_plausible(&self) -> bool {
        const MOST_CLASSES: u32 = 1 << 16;
        let is_class = |(answer, right): &ClassAnswer| answer.unwrap_or_default().max(*right) < MOST_CLASSES;
        match self {
            Answers::Classes { rows, .. } => rows.iter().all(is_class),
            Answers::TokenClasses(rows) => rows.iter().flatten().all(is_class),
            _ => true,
        }
    }

    /// Number of examples.
    pub fn len(&self) -> usize {
        match self {
            Answers::Classes { rows, .. } => rows.len(),
            Answers::ClassSets(rows) => rows.len(),
            Answers::Numbers(rows) => rows.len(),
            Answers::TokenClasses(rows) => rows.len(),
            Answers::Spans(rows) => rows.len(),
            Answers::Likelihoods { rows, .. } => rows.len(),
        }
    }

    /// Whether there is no example.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The scores that such answers have.
    pub fn scores(&self) -> &'static [Score] {
        match self {
            Answers::Classes { of: 2, .. } => &[Score::Accuracy, Score::F1, Score::F1Macro, Score::Matthews],
            Answers::Classes { .. } => &[Score::Accuracy, Score::F1Macro, Score::Matthews],
            Answers::ClassSets(_) => &[Score::F1Micro, Score::SubsetAccuracy],
            Answers::Numbers(_) => &[Score::Pearson, Score::Spearman],
            Answers::TokenClasses(_) => &[Score::Accuracy, Score::F1Macro],
            Answers::Spans(_) => &[Score::ExactMatch, Score::SpanF1],
            Answers::Likelihoods { masked: false, .. } => &[Score::Perplexity],
            Answers::Likelihoods { masked: true, .. } => &[Score::PseudoPerplexity],
        }
    }

    /// All of them that are defined, with intervals. The same answers and seed give the same intervals.
    pub fn estimates(&self, seed: u64) -> Vec<ScoreEstimate> {
        let estimate = |&score: &Score| {
            let value = self.score(score)?;
            Some(ScoreEstimate { score, value, interval: self.interval(score, seed) })
        };
        self.scores().iter().filter_map(estimate).collect()
    }

    /// A score; `None` where it is undefined: not of such answers, of no example, or of answers that do not vary.
    pub fn score(&self, score: Score) -> Option<f64> {
        let picked: Vec<(usize, usize)> = (0..self.len()).map(|row| (0, row)).collect();
        Sample { of: [self, self], picked: &picked }.score(score)
    }

    /// Its 95 % interval; `None` where the score is undefined, or the bootstrap has too few examples.
    pub fn interval(&self, score: Score, seed: u64) -> Option<Interval> {
        if let Some(right) = self.right(score) {
            let count = right.iter().filter(|right| **right).count();
            return clopper_pearson(count as u64, right.len() as u64);
        }
        let rows = self.len();
        if rows < BOOTSTRAP_MIN_SAMPLES || u32::try_from(rows).is_err() {
            return None;
        }
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut picked = vec![(0, 0); rows];
        let resample = |_| {
            // The high word of a 32 x 32 bit product is uniform to one part in 2³² / rows.
            picked.fill_with(|| (0, ((u64::from(rng.next_u32()) * rows as u64) >> 32) as usize));
            Sample { of: [self, self], picked: &picked }.score(score)
        };
        let mut values: Vec<f64> = (0..BOOTSTRAP_RESAMPLES).filter_map(resample).collect();
        if (values.len() as f64) < DEFINED * BOOTSTRAP_RESAMPLES as f64 {
            return None;
        }
        values.sort_unstable_by(f64::total_cmp);
        let tail = values.len() / 40;
        Some(Interval { low: values[tail], high: values[values.len() - 1 - tail] })
    }

    /// Two-sided p of no difference between two models' scores on the same examples; `None` where a score is undefined or the
    /// examples are not the same.
    pub fn paired_p(&self, other: &Answers, score: Score, seed: u64) -> Option<f64> {
        if !self.are_of_the_same_examples(other) {
            return None;
        }
        if let (Some(first), Some(second)) = (self.right(score), other.right(score)) {
            let alone =
                |of: &[bool], not: &[bool]| of.iter().zip(not).filter(|(of, not)| **of && !**not).count() as u64;
            return mcnemar(alone(&first, &second), alone(&second, &first));
        }
        let rows = self.len();
        let of = [self, other];
        let difference = |swapped: &dyn Fn(usize) -> usize| {
            let pick = |side: usize| (0..rows).map(|row| (side ^ swapped(row), row)).collect::<Vec<_>>();
            let value = |picked: Vec<(usize, usize)>| Sample { of, picked: &picked }.score(score);
            Some((value(pick(1))? - value(pick(0))?).abs())
        };
        let observed = difference(&|_| 0)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let as_large = (0..PERMUTATIONS).filter(|_| {
            let bits: Vec<u64> = (0..rows.div_ceil(64)).map(|_| rng.next_u64()).collect();
            let swapped = |row: usize| (bits[row / 64] >> (row % 64) & 1) as usize;
            // A draw in which a score is undefined does not speak against chance.
            difference(&swapped).is_none_or(|drawn| drawn >= observed - SAME)
        });
        Some((1 + as_large.count()) as f64 / (1 + PERMUTATIONS) as f64)
    }

    fn are_of_the_same_examples(&self, other: &Answers) -> bool {
        let tokens = |rows: &[Vec<ClassAnswer>]| -> Vec<Vec<u32>> {
            rows.iter().map(|row| row.iter().map(|(_, right)| *right).collect()).collect()
        };
        match (self, other) {
            (Answers::Classes { rows: a, .. }, Answers::Classes { rows: b, .. }) => same(a, b),
            (Answers::ClassSets(a), Answers::ClassSets(b)) => same(a, b),
            (Answers::Numbers(a), Answers::Numbers(b)) => same(a, b),
            (Answers::TokenClasses(a), Answers::TokenClasses(b)) => tokens(a) == tokens(b),
            (Answers::Spans(a), Answers::Spans(b)) => a.len() == b.len(),
            (Answers::Likelihoods { masked, rows: a }, Answers::Likelihoods { masked: other, rows: b }) => {
                masked == other && same(a, b)
            }
            _ => false,
        }
    }

    /// Whether each example is right, for a score that is the share of such.
    fn right(&self, score: Score) -> Option<Vec<bool>> {
        match (self, score) {
            (Answers::Classes { rows, .. }, Score::Accuracy) => Some(rows.iter().map(is_right).collect()),
            (Answers::ClassSets(rows), Score::SubsetAccuracy) => Some(
                rows.iter()
                    .map(|(answer, right)| answer.as_ref().is_some_and(|answer| set(answer) == set(right)))
                    .collect(),
            ),
            (Answers::Spans(rows), Score::ExactMatch) => Some(rows.iter().map(|(exact, _)| *exact).collect()),
            _ => None,
        }
    }
}

/// Whether two lists have the same right answers.
fn same<A, R: PartialEq>(a: &[(A, R)], b: &[(A, R)]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|((_, a), (_, b))| a == b)
}

fn is_right((answer, right): &ClassAnswer) -> bool {
    *answer == Some(*right)
}

fn set(classes: &[u32]) -> BTreeSet<u32> {
    classes.iter().copied().collect()
}

fn mean(values: &[f64]) -> Option<f64> {
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

impl Sample<'_> {
    /// What `of` finds in each picked row; `None` where the answers are of another kind.
    fn rows<'a, T>(&'a self, of: impl Fn(&'a Answers, usize) -> Option<T>) -> Option<Vec<T>> {
        self.picked.iter().map(|&(side, row)| of(self.of[side], row)).collect()
    }

    fn score(&self, score: Score) -> Option<f64> {
        match score {
            Score::Accuracy => self.confusion()?.accuracy(),
            Score::F1 => match self.of[0] {
                Answers::Classes { positive, .. } => self.confusion()?.f1(*positive),
                _ => None,
            },
            Score::F1Macro => self.confusion()?.f1_macro(),
            Score::Matthews => self.confusion()?.matthews(),
            Score::F1Micro => self.f1_micro(),
            Score::SubsetAccuracy | Score::ExactMatch => {
                let rights = self.of.map(|of| of.right(score));
                let [Some(first), Some(second)] = rights else { return None };
                let sides = [first, second];
                let right = self.picked.iter().map(|&(side, row)| f64::from(u8::from(sides[side][row])));
                mean(&right.collect::<Vec<_>>())
            }
            Score::Pearson => self.numbers().and_then(|(answers, right)| pearson(&answers, &right)),
            Score::Spearman => self.numbers().and_then(|(answers, right)| spearman(&answers, &right)),
            Score::SpanF1 => mean(&self.rows(|of, row| match of {
                Answers::Spans(rows) => Some(rows[row].1),
                _ => None,
            })?),
            Score::Perplexity | Score::PseudoPerplexity => {
                let rows = self.rows(|of, row| match of {
                    Answers::Likelihoods { rows, .. } => Some((rows[row].0?, rows[row].1)),
                    _ => None,
                })?;
                let (nats, tokens) = rows.iter().fold((0.0, 0), |(nats, tokens), row| (nats + row.0, tokens + row.1));
                (tokens > 0).then(|| (nats / tokens as f64).exp()).filter(|value| value.is_finite())
            }
        }
    }

    /// Counts of the classes of examples or of tokens.
    fn confusion(&self) -> Option<Confusion> {
        let mut found = Confusion::default();
        for &(side, row) in self.picked {
            match self.of[side] {
                Answers::Classes { rows, .. } => found.add(&rows[row]),
                Answers::TokenClasses(rows) => rows[row].iter().for_each(|one| found.add(one)),
                _ => return None,
            }
        }
        Some(found)
    }

    /// Answers and right numbers; `None` where an answer is none.
    fn numbers(&self) -> Option<(Vec<f64>, Vec<f64>)> {
        let rows = self.rows(|of, row| match of {
            Answers::Numbers(rows) => Some((rows[row].0?, rows[row].1)),
            _ => None,
        })?;
        Some(rows.into_iter().unzip())
    }

    fn f1_micro(&self) -> Option<f64> {
        let (mut both, mut answered, mut right) = (0, 0, 0);
        let rows = self.rows(|of, row| match of {
            Answers::ClassSets(rows) => Some(&rows[row]),
            _ => None,
        })?;
        for (answer, truth) in rows {
            let (answer, truth) = (set(answer.as_deref().unwrap_or_default()), set(truth));
            both += answer.intersection(&truth).count();
            answered += answer.len();
            right += truth.len();
        }
        (answered + right > 0).then(|| 2.0 * both as f64 / (answered + right) as f64)
    }
}

#[cfg(test)]
mod tests;

//! Scores against other formulas of the same quantities, intervals and p values against all resamples and all permutations.

use super::*;
use crate::stats::draws::Draws;

const SEED: u64 = 7;

fn near(found: Option<f64>, expected: f64) {
    assert!(found.is_some_and(|found| (found - expected).abs() < 1e-12), "{found:?} {expected}");
}

fn classes(of: u32, rows: &[(u32, u32)]) -> Answers {
    Answers::Classes { of, positive: 1, rows: rows.iter().map(|&(answer, right)| (Some(answer), right)).collect() }
}

/// Drawn answers of `count` examples with `of` classes, two thirds of them right.
fn drawn(draws: &mut Draws, of: u32, count: usize) -> Vec<(u32, u32)> {
    let mut class = || draws.below(of as usize) as u32;
    (0..count).map(|_| (class(), class())).map(|(a, b)| if (a + b) % 3 == 0 { (a, b) } else { (b, b) }).collect()
}

/// Counted by hand.
#[test]
fn scores_of_classes_are_those_of_their_counts() {
    let two = classes(2, &[(1, 1), (0, 1), (1, 1), (0, 0), (1, 0), (0, 0), (0, 0), (1, 1)]);
    near(two.score(Score::Accuracy), 0.75);
    near(two.score(Score::F1), 0.75);
    near(two.score(Score::F1Macro), 0.75);
    near(two.score(Score::Matthews), 0.5);
    let three = classes(3, &[(0, 0), (1, 0), (2, 2), (2, 1), (0, 2), (2, 2), (1, 1)]);
    near(three.score(Score::Accuracy), 4.0 / 7.0);
    near(three.score(Score::F1Macro), (0.5 + 0.5 + 2.0 / 3.0) / 3.0);
    near(three.score(Score::Matthews), (4.0 * 7.0 - 17.0) / (32f64 * 32.0).sqrt());
    assert_eq!(three.score(Score::Pearson), None);
}

/// Precision and recall by class, and the correlation of the indicator vectors of all classes.
#[test]
fn scores_of_drawn_classes_are_those_of_their_definitions() {
    let mut draws = Draws::new(21);
    for of in [2, 3, 5] {
        for count in [4, 17, 60] {
            let rows = drawn(&mut draws, of, count);
            let answers = classes(of, &rows);
            let share = |kept: &dyn Fn(&(u32, u32)) -> bool, among: &dyn Fn(&(u32, u32)) -> bool| {
                let all = rows.iter().filter(|row| among(row)).count();
                (all > 0).then(|| rows.iter().filter(|row| among(row) && kept(row)).count() as f64 / all as f64)
            };
            let f1 = |class: u32| {
                let precision = share(&|row| row.1 == class, &|row| row.0 == class);
                let recall = share(&|row| row.0 == class, &|row| row.1 == class);
                match (precision, recall) {
                    (None, None) => None,
                    (Some(p), Some(r)) if p + r > 0.0 => Some(2.0 * p * r / (p + r)),
                    _ => Some(0.0),
                }
            };
            let each: Vec<f64> = (0..of).filter_map(f1).collect();
            near(answers.score(Score::F1Macro), each.iter().sum::<f64>() / each.len() as f64);
            if let Some(of_one) = f1(1) {
                near(answers.score(Score::F1), of_one);
            }
            let n = count as f64;
            let covariance = |a: &dyn Fn(&(u32, u32)) -> u32, b: &dyn Fn(&(u32, u32)) -> u32| {
                let of_class = |class: u32| {
                    let indicator = |x: u32| f64::from(u8::from(x == class));
                    let mean =
                        |of: &dyn Fn(&(u32, u32)) -> u32| rows.iter().map(|row| indicator(of(row))).sum::<f64>() / n;
                    let (ma, mb) = (mean(a), mean(b));
                    rows.iter().map(|row| (indicator(a(row)) - ma) * (indicator(b(row)) - mb)).sum::<f64>()
                };
                (0..of).map(of_class).sum::<f64>()
            };
            let spread = (covariance(&|r| r.0, &|r| r.0) * covariance(&|r| r.1, &|r| r.1)).sqrt();
            if spread > 1e-9 {
                near(answers.score(Score::Matthews), covariance(&|r| r.0, &|r| r.1) / spread);
            }
        }
    }
}

#[test]
fn an_example_without_an_answer_is_wrong() {
    let rows = vec![(None, 1), (Some(1), 1), (Some(0), 0)];
    let answers = Answers::Classes { of: 2, positive: 1, rows };
    near(answers.score(Score::Accuracy), 2.0 / 3.0);
    near(answers.score(Score::F1), 2.0 / 3.0);
    let sets = Answers::ClassSets(vec![(None, vec![]), (Some(vec![0, 2]), vec![2, 0])]);
    near(sets.score(Score::SubsetAccuracy), 0.5);
    let numbers = Answers::Numbers(vec![(Some(1.0), 1.0), (None, 2.0), (Some(3.0), 3.0)]);
    assert_eq!(numbers.score(Score::Pearson), None, "a correlation needs every answer");
}

#[test]
fn the_other_scores_follow_their_definitions() {
    let sets = vec![
        (Some(vec![0, 1]), vec![0]),
        (Some(vec![]), vec![]),
        (Some(vec![2]), vec![1, 2]),
        (Some(vec![1]), vec![1]),
    ];
    let sets = Answers::ClassSets(sets);
    // Three classes are answered rightly, one is answered wrongly and one is missed.
    near(sets.score(Score::F1Micro), 2.0 * 3.0 / (2.0 * 3.0 + 1.0 + 1.0));
    near(sets.score(Score::SubsetAccuracy), 0.5);
    let tokens = Answers::TokenClasses(vec![vec![(Some(0), 0), (Some(1), 2)], vec![], vec![(Some(2), 2)]]);
    near(tokens.score(Score::Accuracy), 2.0 / 3.0);
    near(tokens.score(Score::F1Macro), (1.0 + 0.0 + 2.0 / 3.0) / 3.0);
    let spans = Answers::Spans(vec![(true, 1.0), (false, 0.5), (false, 0.0), (true, 1.0)]);
    near(spans.score(Score::ExactMatch), 0.5);
    near(spans.score(Score::SpanF1), 0.625);
    let masked = Answers::Likelihoods { masked: true, rows: vec![(Some(2.0), 1), (Some(4.0), 3)] };
    near(masked.score(Score::PseudoPerplexity), 1.5f64.exp());
    assert_eq!(masked.scores(), [Score::PseudoPerplexity]);
    let broken = Answers::Likelihoods { masked: false, rows: vec![(Some(2.0), 1), (None, 3)] };
    assert_eq!(broken.score(Score::Perplexity), None);
}

#[test]
fn what_is_undefined_has_no_value() {
    let none = Answers::Classes { of: 2, positive: 1, rows: vec![] };
    assert!(none.is_empty() && none.estimates(SEED).is_empty());
    let constant = classes(2, &[(1, 1), (1, 0), (1, 1)]);
    assert_eq!(constant.score(Score::Matthews), None, "the answers do not vary");
    let few = Answers::Numbers(vec![(Some(1.0), 1.0), (Some(2.0), 3.0)]);
    assert_eq!((few.score(Score::Pearson), few.interval(Score::Pearson, SEED)), (None, None));
}

/// Of all 4^4 resamples: the ends of the bootstrap's interval leave 2.5 % outside, up to the noise of 2000 draws.
#[test]
fn the_bootstrap_has_the_ends_of_all_resamples() {
    let rows: Vec<(bool, f64)> = [0.1, 0.9, 0.4, 0.65, 0.3, 1.0].map(|f1| (false, f1)).into();
    let (n, answers) = (rows.len(), Answers::Spans(rows.clone()));
    let means: Vec<f64> = (0..n.pow(n as u32))
        .map(|number| {
            let digits = (0..n).scan(number, |rest, _| {
                let digit = *rest % n;
                *rest /= n;
                Some(rows[digit].1)
            });
            digits.sum::<f64>() / n as f64
        })
        .collect();
    let share =
        |kept: &dyn Fn(f64) -> bool| means.iter().filter(|mean| kept(**mean)).count() as f64 / means.len() as f64;
    let slack = 5.0 * (0.025 * 0.975 / 2000f64).sqrt();
    for seed in 0..10 {
        let Interval { low, high } = answers.interval(Score::SpanF1, seed).unwrap();
        for (outside, with_end) in [
            (share(&|mean| mean < low - SAME), share(&|mean| mean <= low + SAME)),
            (share(&|mean| mean > high + SAME), share(&|mean| mean >= high - SAME)),
        ] {
            assert!(outside <= 0.025 + slack && with_end >= 0.025 - slack, "{seed}: {outside} {with_end}");
        }
    }
    assert_eq!(answers.interval(Score::SpanF1, 3), answers.interval(Score::SpanF1, 3));
    let accuracy = classes(2, &[(1, 1), (0, 0), (1, 0)]);
    assert_eq!(accuracy.interval(Score::Accuracy, SEED), clopper_pearson(2, 3));
}

/// Of all 2^n ways to swap: p is their share, up to the noise of 1999 draws.
#[test]
fn the_paired_test_has_the_share_of_all_permutations() {
    let (a, b) = ([0.2, 0.9, 0.4, 0.6, 0.3, 0.7, 0.5, 0.8], [0.5, 0.8, 0.9, 0.7, 0.3, 1.0, 0.9, 0.6]);
    let spans = |of: [f64; 8]| Answers::Spans(of.map(|f1| (false, f1)).into());
    let differences: Vec<f64> = a.iter().zip(b).map(|(a, b)| b - a).collect();
    let of = |signs: u32| -> f64 {
        let signed = differences.iter().enumerate().map(|(row, x)| if signs >> row & 1 == 1 { -x } else { *x });
        signed.sum::<f64>().abs()
    };
    let exact = (0..256).filter(|signs| of(*signs) >= of(0) - SAME).count() as f64 / 256.0;
    let p = spans(a).paired_p(&spans(b), Score::SpanF1, SEED).unwrap();
    assert!((p - exact).abs() < 5.0 * (exact * (1.0 - exact) / 2000.0).sqrt(), "{p} {exact}");
    near(spans(a).paired_p(&spans(a), Score::SpanF1, SEED), 1.0);
}

#[test]
fn the_paired_test_of_right_and_wrong_is_mcnemars() {
    let mut draws = Draws::new(22);
    let first = drawn(&mut draws, 3, 40);
    let second: Vec<(u32, u32)> = first.iter().map(|(a, right)| ((a + draws.below(2) as u32) % 3, *right)).collect();
    let right = |(answer, right): &(u32, u32)| answer == right;
    let both = || first.iter().map(right).zip(second.iter().map(right));
    let alone = both().filter(|(a, b)| *a && !b).count() as u64;
    let other = both().filter(|(a, b)| !a && *b).count() as u64;
    let p = classes(3, &first).paired_p(&classes(3, &second), Score::Accuracy, SEED);
    assert_eq!(p, mcnemar(alone, other));
    let others = classes(3, &[(0, 0)]);
    assert_eq!(classes(3, &first).paired_p(&others, Score::Accuracy, SEED), None, "other examples");
}

#[test]
fn answers_come_back_from_their_text() {
    for answers in [
        Answers::Classes { of: 3, positive: 0, rows: vec![(Some(2), 1), (None, 0)] },
        Answers::ClassSets(vec![(Some(vec![0, 2]), vec![]), (None, vec![1])]),
        Answers::Numbers(vec![(Some(0.1), -1.5), (None, 2.0)]),
        Answers::TokenClasses(vec![vec![(Some(0), 1)], vec![]]),
        Answers::Spans(vec![(true, 1.0)]),
        Answers::Likelihoods { masked: true, rows: vec![(Some(0.3), 2), (None, 1)] },
    ] {
        let text = serde_json::to_string(&answers).unwrap();
        assert_eq!(serde_json::from_str::<Answers>(&text).unwrap(), answers, "{text}");
    }
}

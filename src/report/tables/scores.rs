//! Scores of answers beyond the accuracy of one class: a table for each kind of answer, one line for each score.

use super::quality::{after_configuration_cells, after_configuration_headings};
use super::without_fp32;
use crate::analysis::facts::{answers, not_scored, same_answers_p};
use crate::analysis::pairs;
use crate::numbers;
use crate::report::sentences::{quality::p_value, tasks};
use crate::report::table::{Heading, Note, Notes, Table, TableCell};
use crate::results::data::{Data, Group, series};
use crate::stats::scores::{Answers, Score};
use crate::store::schema::ResultRow;

/// A kind of answer: the slug and the caption of its table, and what the scores are of.
struct AnswerKind {
    slug: &'static str,
    caption: &'static str,
    note: &'static str,
    is: fn(&Answers) -> bool,
}

const KINDS: [AnswerKind; 7] = [
    AnswerKind {
        slug: "scores-classes",
        caption: "One class for each example: F1 and Matthews' correlation.",
        note: "F1 is that of label 1 of two, or of the last of two names by their letters; macro F1 is the mean over the classes that are right or answered somewhere.",
        is: |answers| matches!(answers, Answers::Classes { .. }),
    },
    AnswerKind {
        slug: "scores-class-sets",
        caption: "Any number of classes for each example: micro F1 and the share of exactly right sets.",
        note: "A class is answered where its logit is above 0. Micro F1 counts all classes of all examples together.",
        is: |answers| matches!(answers, Answers::ClassSets(_)),
    },
    AnswerKind {
        slug: "scores-numbers",
        caption: "A number for each example: its correlation with the right one.",
        note: "Pearson's correlation is that of the numbers, Spearman's that of their ranks.",
        is: |answers| matches!(answers, Answers::Numbers(_)),
    },
    AnswerKind {
        slug: "scores-tokens",
        caption: "A class for each token: accuracy and F1.",
        note: "Scored are the first token of each labelled word, or every labelled id; macro F1 is over their classes.",
        is: |answers| matches!(answers, Answers::TokenClasses(_)),
    },
    AnswerKind {
        slug: "scores-spans",
        caption: "Answers to questions within a text: exact match and F1.",
        note: "An answer is the likeliest span of at most 30 tokens. Both scores are SQuAD's: without case, punctuation and articles, \
               against the nearest right answer.",
        is: |answers| matches!(answers, Answers::Spans(_)),
    },
    AnswerKind {
        slug: "scores-masked",
        caption: "Masked tokens filled in: pseudo-perplexity.",
        note: "15 % of the tokens of each row are masked at once, the same ones in every run. Values of different shapes mask \
               different tokens: compare within a shape.",
        is: |answers| matches!(answers, Answers::Likelihoods { masked: true, .. }),
    },
    AnswerKind {
        slug: "scores-next-tokens",
        caption: "Next tokens: perplexity with its interval.",
        note: "Examples are rows of the input: windows of a text, or lines.",
        is: |answers| matches!(answers, Answers::Likelihoods { masked: false, .. }),
    },
];

/// The tables of the kinds of answer that there are.
pub fn scores(data: &Data) -> Vec<Table> {
    KINDS.iter().map(|kind| of_kind(data, kind)).filter(|table| !table.rows.is_empty()).collect()
}

fn of_kind(data: &Data, kind: &AnswerKind) -> Table {
    let headings = after_configuration_headings([
        Heading::text("Score"),
        Heading::interval("Value"),
        Heading::number("minus fp32"),
        Heading::number("p"),
    ]);
    let mut table = Table::new(kind.slug, kind.caption, headings);
    let mut notes = Notes::default();
    for group in data.groups() {
        for row in group.rows.iter() {
            let Some(answers) = answers(row).filter(kind.is) else { continue };
            // The accuracy of classes has a table of its own.
            let own = |score: &&Score| **score != Score::Accuracy || !matches!(answers, Answers::Classes { .. });
            for score in answers.scores().iter().filter(own) {
                let base = pairs::fp32_counterpart(data, &group, row);
                table.push_of(cells((data, &group), row, *score, &mut notes), std::iter::once(*row).chain(base));
            }
        }
    }
    table.notes = notes.finish();
    table.notes.extend(tasks::labels(data).into_iter().filter(|_| !table.rows.is_empty()).map(plain));
    table.notes.push(plain(format!(
        "{} Intervals are 95 %: Clopper–Pearson for shares of examples, else the bootstrap over examples. p is two-sided, of no \
         difference to the same FP32 row on the same examples: McNemar's exact test for shares, else a paired permutation test of \
         2000 draws. It is not corrected for the number of rows.",
        kind.note
    )));
    table.without_empty_columns().rule_between_groups(3)
}

fn plain(text: String) -> Note {
    Note { mark: String::new(), text }
}

fn cells((data, group): (&Data, &Group), row: &ResultRow, score: Score, notes: &mut Notes) -> Vec<TableCell> {
    let is_fp32 = series(row) == series(row).fp32();
    let base = pairs::fp32_counterpart(data, group, row);
    let value = value_cell(row, score, notes);
    let mut against = |of: &dyn Fn(&ResultRow) -> Option<String>| match base {
        Some(base) => TableCell::optional(of(base)),
        None if is_fp32 => TableCell::dash(),
        None => without_fp32(group, row, notes),
    };
    let difference = |base: &ResultRow| Some(numbers::magnitude(row.score(score)?.value - base.score(score)?.value));
    after_configuration_cells(
        row,
        [
            score.label().into(),
            value,
            against(&difference),
            against(&|base| same_answers_p(base, row, score).map(p_value)),
        ],
    )
}

fn value_cell(row: &ResultRow, score: Score, notes: &mut Notes) -> TableCell {
    let Some(found) = row.score(score) else {
        let mark = not_scored(row).map(|reason| notes.mark(&format!("Not scored: {reason}.")));
        return TableCell { mark, ..TableCell::dash() };
    };
    let shown = |value: f64| match score {
        Score::Perplexity | Score::PseudoPerplexity => numbers::significant(value, 5),
        _ => numbers::fixed(value, 4),
    };
    let detail = found.interval.map(|interval| format!("[{}, {}]", shown(interval.low), shown(interval.high)));
    TableCell { text: shown(found.value), detail, ..TableCell::default() }
}

//! What is right in the terms of a model's head: classes for labels, numbers, spans.

use std::collections::BTreeMap;
use std::ops::Range;

use super::NumberedLine;
use super::line::{Given, Label, Line, Right};
use crate::graph::OutputKind;
use crate::input::labels::{ClassName, FileLabels, HeadClasses, LabelledClass, classes_of};
use crate::input::truth::RightSpans;
use crate::model::{Model, ScoreFunction, TaskHead};

/// What a label that is a number means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::input) enum LabelRule {
    /// The class of that number.
    ClassNumber,
    /// 0 and 1 are SST-2's sentiments.
    Sentiment,
}

/// How labels become classes.
#[derive(Debug, Clone, Copy)]
pub(in crate::input) struct Labelling<'a> {
    /// The manifest's `labels`.
    pub declared: &'a BTreeMap<String, ClassName>,
    /// What numbers mean.
    pub rule: LabelRule,
}

/// What is right for a line.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Resolved {
    /// Nothing that this head can be scored by.
    Nothing,
    Class(u32),
    Classes(Vec<u32>),
    Number(f64),
    /// Characters and class of each word.
    Words(Vec<(Range<usize>, Option<u32>)>),
    /// Class of each id.
    Ids(Vec<Option<u32>>),
    NextTokens,
    MaskedTokens,
    Span {
        right: RightSpans,
        /// The text that the answer lies in: 1 of a pair.
        text: usize,
        may_be_none: bool,
    },
}

/// What a head is scored by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    Class,
    Classes,
    Number,
    TokenClasses,
    NextTokens,
    MaskedTokens,
    Span,
}

/// Turns lines of a file into what is right for a head.
pub(super) struct Resolver {
    task: Option<Task>,
    by_label: BTreeMap<String, u32>,
    /// Whether some example has no answer.
    may_be_none: bool,
    /// Class of each label, or why nothing is scored; `None` where there is nothing to score.
    pub labels: Option<Result<Vec<LabelledClass>, String>>,
}

impl Resolver {
    pub fn of(lines: &[NumberedLine], labelling: Labelling<'_>, model: &Model, has_mask: bool) -> Self {
        let first = lines.first().map_or(&Right::Unlabelled, |(_, line)| &line.right);
        let task = task(first, labelling.rule, model, has_mask);
        let labels = match &task {
            Ok(None) => None,
            Ok(Some(task)) => Some(classes(*task, lines, labelling, model).map_err(|reason| with_head(reason, model))),
            Err(reason) => Some(Err(with_head(reason.clone(), model))),
        };
        let classes = labels.iter().flatten().flatten();
        let by_label = classes.filter_map(|one| Some((one.label.clone()?, one.class as u32))).collect();
        let may_be_none = lines.iter().any(|(_, line)| matches!(&line.right, Right::Spans(spans) if spans.is_empty()));
        let task = task.ok().flatten().filter(|_| !matches!(labels, Some(Err(_))));
        Resolver { task, by_label, may_be_none, labels }
    }

    /// What is right for a line.
    ///
    /// # Errors
    /// The mistake and its cure.
    pub fn right(&self, line: &Line) -> Result<Resolved, String> {
        let Some(task) = self.task else { return Ok(Resolved::Nothing) };
        let class = |label: &Label| self.by_label.get(&label.to_string()).copied();
        Ok(match (task, &line.right) {
            (Task::NextTokens, _) => Resolved::NextTokens,
            (Task::MaskedTokens, _) => Resolved::MaskedTokens,
            (Task::Number, Right::Label(Label::Number(number))) => Resolved::Number(*number),
            (Task::Class, Right::Label(label)) => class(label).map_or(Resolved::Nothing, Resolved::Class),
            (Task::Classes, Right::Labels(labels)) => {
                let known: Option<Vec<u32>> = labels.iter().map(|label| class(label.as_ref()?)).collect();
                Resolved::Classes(known.ok_or("`labels` has null; list the labels that hold, [] where none does")?)
            }
            (Task::TokenClasses, Right::Labels(labels)) => {
                let classes: Vec<Option<u32>> = labels.iter().map(|label| class(label.as_ref()?)).collect();
                of_tokens(&line.given, classes)?
            }
            (Task::Span, Right::Spans(spans)) => self.span(&line.given, spans),
            _ => Resolved::Nothing,
        })
    }

    fn span(&self, given: &Given, spans: &[super::line::Span]) -> Resolved {
        let may_be_none = self.may_be_none;
        match given {
            Given::Text { text, pair } => Resolved::Span {
                right: super::answer_texts(spans, pair.as_ref().unwrap_or(text)),
                text: usize::from(pair.is_some()),
                may_be_none,
            },
            Given::Ids { .. } => {
                let range = |span: &super::line::Span| match span {
                    super::line::Span::Range(start, end) => Some((*start, *end)),
                    super::line::Span::Text(_) => None,
                };
                let right = RightSpans::Tokens(spans.iter().filter_map(range).collect());
                Resolved::Span { right, text: 0, may_be_none }
            }
        }
    }
}

/// The classes of words or ids.
fn of_tokens(given: &Given, classes: Vec<Option<u32>>) -> Result<Resolved, String> {
    match given {
        Given::Ids { ids, .. } if ids.len() == classes.len() => Ok(Resolved::Ids(classes)),
        Given::Ids { ids, .. } => Err(format!(
            "{} `labels` for {} `ids`; write one for each, null where it is not scored",
            classes.len(),
            ids.len()
        )),
        Given::Text { text, .. } => {
            let words = words(text);
            if words.len() != classes.len() {
                return Err(format!(
                    "{} `labels` for the {} words of `text`, which are what stands between spaces; write one for each word, null \
                     where it is not scored",
                    classes.len(),
                    words.len()
                ));
            }
            Ok(Resolved::Words(words.into_iter().zip(classes).collect()))
        }
    }
}

/// Characters of each word: what stands between white space.
fn words(text: &str) -> Vec<Range<usize>> {
    let mut words: Vec<Range<usize>> = Vec::new();
    let mut before_is_space = true;
    for (at, c) in text.chars().enumerate() {
        match (c.is_whitespace(), before_is_space, words.last_mut()) {
            (true, ..) => {}
            (false, false, Some(word)) => word.end = at + 1,
            (false, ..) => words.push(at..at + 1),
        }
        before_is_space = c.is_whitespace();
    }
    words
}

/// The reason, and the head that the checkpoint has and config.json does not name.
fn with_head(reason: String, model: &Model) -> String {
    match model.unused_head() {
        Some(words) if !matches!(model.config.head, TaskHead::Classifier { .. }) => format!("{reason}; {words}"),
        _ => reason,
    }
}

/// What the head is scored by; `None` where lines say nothing that it could be scored by and do not claim to.
fn task(right: &Right, rule: LabelRule, model: &Model, has_mask: bool) -> Result<Option<Task>, String> {
    let config = &model.config;
    let outputs = match config.head {
        TaskHead::Classifier { labels } => labels,
        _ => 0,
    };
    match (right, model.graph.output_kind) {
        (Right::Unlabelled, OutputKind::TokenLogits) => Ok(Some(Task::NextTokens)),
        (Right::Unlabelled, OutputKind::MaskedTokenLogits) if has_mask => Ok(Some(Task::MaskedTokens)),
        (Right::Unlabelled, OutputKind::MaskedTokenLogits) => {
            Err("the model fills in masked tokens, and no tokenizer of its folder names a `mask_token`".to_owned())
        }
        (Right::Unlabelled, _) => Ok(None),
        (Right::Label(label), OutputKind::ClassLogits) if outputs == 1 && rule == LabelRule::ClassNumber => match label
        {
            Label::Number(_) => Ok(Some(Task::Number)),
            Label::Name(_) => Err("the head's output is a number, and `label` is a name; write a number".to_owned()),
        },
        (Right::Label(_), _) => Ok(Some(Task::Class)),
        (Right::Labels(_), OutputKind::ClassLogits) => match config.score_function() {
            _ if outputs == 1 => Err("the head's output is one number; write it as `label`".to_owned()),
            ScoreFunction::Sigmoid => Ok(Some(Task::Classes)),
            ScoreFunction::None => {
                Err("the head's outputs are numbers, not classes (problem_type: regression)".to_owned())
            }
            ScoreFunction::Softmax => {
                Err("one class of the head is right, and the lines have `labels`; write `label`".to_owned())
            }
        },
        (Right::Labels(_), OutputKind::TokenClassLogits) => Ok(Some(Task::TokenClasses)),
        (Right::Spans(_), OutputKind::SpanLogits) => Ok(Some(Task::Span)),
        (Right::Labels(_), kind) => Err(format!(
            "the model's output is {}, and the lines have `labels`, which a head of classes is scored by",
            kind.label()
        )),
        (Right::Spans(_), kind) => Err(format!(
            "the model's output is {}, and the lines have `spans`, which a head of starts and ends is scored by",
            kind.label()
        )),
    }
}

/// Every label of the lines, with the first line that has it.
pub(in crate::input) fn labels_of(lines: &[NumberedLine]) -> FileLabels {
    let mut found = FileLabels::new();
    for (number, line) in lines {
        let labels: Vec<&Label> = match &line.right {
            Right::Label(label) => vec![label],
            Right::Labels(labels) => labels.iter().flatten().collect(),
            Right::Unlabelled | Right::Spans(_) => Vec::new(),
        };
        for label in labels {
            found.entry(label.to_string()).or_insert(*number);
        }
    }
    found
}

/// The class of each label of the file.
fn classes(
    task: Task,
    lines: &[NumberedLine],
    Labelling { declared, rule }: Labelling<'_>,
    model: &Model,
) -> Result<Vec<LabelledClass>, String> {
    let head = match task {
        Task::Class => HeadClasses::of(&model.config)?,
        Task::Classes | Task::TokenClasses => HeadClasses::of_several(&model.config)?,
        Task::Number | Task::NextTokens | Task::MaskedTokens | Task::Span => {
            return match declared.is_empty() {
                true => Ok(Vec::new()),
                false => Err("the manifest's `labels` name classes, which the answers are not; remove them".to_owned()),
            };
        }
    };
    let found = labels_of(lines);
    classes_of(&found, declared, &head, rule == LabelRule::Sentiment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_stands_between_spaces() {
        assert_eq!(words("New  York\u{a0}is\té"), [0..3, 5..9, 10..12, 13..14]);
        assert!(words("  ").is_empty());
    }
}

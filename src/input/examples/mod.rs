//! `examples: file.jsonl`: texts, pairs of texts or token ids, with what is right, one JSON object a line. `sst2` is a spelling of
//! it for sentences with a class.

mod line;
mod resolve;

use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) use line::{Given, Label, Line, Right};
pub(super) use resolve::{LabelRule, Labelling, labels_of};
use resolve::{Resolved, Resolver};

use super::labels::LabelledClass;
use super::truth::{RightSpans, SpanTruth, Truth, masked_tokens};
use super::{InputError, InputRow};
use crate::model::{FramedText, Model, TokenPlace, TokenizedText, Tokenizer};

/// A line with its number in the file, from 1.
pub(super) type NumberedLine = (usize, Line);

/// Reads the lines of a file, without a model.
///
/// # Errors
/// [`InputError::Line`] naming the first line with a mistake, and the cure.
pub(super) fn lines(path: &Path, text: &str) -> Result<Vec<NumberedLine>, InputError> {
    let failed = |line: usize, message: String| InputError::Line { path: path.to_owned(), line, message };
    let mut lines: Vec<NumberedLine> = Vec::new();
    for (number, text) in (1..).zip(text.lines()).filter(|(_, text)| !text.trim().is_empty()) {
        let line = Line::parse(text).map_err(|message| failed(number, message))?;
        if let Some((first, other)) = lines.first().filter(|(_, other)| other.keys() != line.keys()) {
            let message = format!(
                "it has {}, line {first} has {}; lines of one file have the same keys: put it into a file of its own",
                line.keys(),
                other.keys()
            );
            return Err(failed(number, message));
        }
        check_spans(&line).map_err(|message| failed(number, message))?;
        lines.push((number, line));
    }
    if lines.is_empty() {
        Err(failed(1, "the file holds no example; write one JSON object a line".to_owned()))
    } else {
        Ok(lines)
    }
}

/// Whether lines have texts, which need a tokenizer.
pub(super) fn have_texts(lines: &[NumberedLine]) -> bool {
    lines.iter().any(|(_, line)| matches!(line.given, Given::Text { .. }))
}

/// Refuses a span that ends behind its text, or that is a text among ids.
fn check_spans(line: &Line) -> Result<(), String> {
    let Right::Spans(spans) = &line.right else { return Ok(()) };
    let (length, unit) = match &line.given {
        Given::Text { text, pair } => (pair.as_ref().unwrap_or(text).chars().count(), "characters"),
        Given::Ids { ids, .. } => (ids.len(), "ids"),
    };
    for span in spans {
        match span {
            line::Span::Range(start, end) if *end > length => {
                return Err(format!(
                    "span [{start}, {end}] ends behind the {length} {unit}; count from 0, the end excluded"
                ));
            }
            line::Span::Text(text) if unit == "ids" => {
                return Err(format!("span {text:?} among `ids`; write [first, behind the last] in tokens"));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The tokens of an example before it is cut.
#[derive(Debug)]
enum Tokens {
    Texts { first: TokenizedText, second: Option<TokenizedText> },
    Ids { ids: Vec<u32>, types: Vec<u32> },
}

/// An example for one model.
#[derive(Debug)]
struct Example {
    tokens: Tokens,
    right: Resolved,
}

/// The examples of a file for one model, in its order.
#[derive(Debug)]
pub(super) struct Examples {
    rows: Vec<Example>,
    tokenizer: Option<Tokenizer>,
    /// Whether the model embeds types.
    has_types: bool,
    /// Whether tokens of some row are of another type than 0.
    pub has_token_types: bool,
    labels: Option<Result<Vec<LabelledClass>, String>>,
}

impl Examples {
    /// Tokenises the lines, and matches what is right with the head of the model.
    ///
    /// # Errors
    /// [`InputError`] where a text cannot be tokenised or a line does not fit the model.
    pub fn new(
        path: PathBuf,
        lines: Vec<NumberedLine>,
        labelling: Labelling<'_>,
        (model, tokenizer): (&Model, Option<Tokenizer>),
    ) -> Result<Self, InputError> {
        let failed = |line: usize, message: String| InputError::Line { path: path.clone(), line, message };
        let has_mask = tokenizer.as_ref().and_then(Tokenizer::mask_token).is_some();
        let resolver = Resolver::of(&lines, labelling, model, has_mask);
        let has_types = model.graph.token_types() > 0;
        let mut examples = Examples { rows: vec![], tokenizer, has_types, has_token_types: false, labels: None };
        for (number, line) in &lines {
            let tokens = tokens(&line.given, model, examples.tokenizer.as_ref()).map_err(|error| match error {
                LineRefusal::Input(error) => error,
                LineRefusal::Line(message) => failed(*number, message),
            })?;
            let right = resolver.right(line).map_err(|message| failed(*number, message))?;
            let example = Example { tokens, right };
            let whole = examples.framed(&example, None)?;
            if whole.ids.is_empty() {
                return Err(failed(*number, "`text` has no token for this model; remove the line".to_owned()));
            }
            examples.has_token_types |= has_types && whole.types.iter().any(|&of| of > 0);
            examples.rows.push(example);
        }
        Ok(Examples { labels: resolver.labels, ..examples })
    }

    /// The class of each label, or why nothing is scored; `None` where there is nothing to score.
    pub fn labels(&self) -> Option<Result<&[LabelledClass], &str>> {
        Some(self.labels.as_ref()?.as_deref().map_err(String::as_str))
    }

    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Example `index`, cut to `sequence` tokens.
    pub fn row(&self, sequence: usize, index: usize) -> Result<InputRow, InputError> {
        let example = &self.rows[index % self.rows.len()];
        let FramedText { ids, types, places } = self.framed(example, Some(sequence))?;
        let types = if self.has_types { types } else { Vec::new() };
        let truth = truth(&example.right, &ids, &places, index % self.rows.len());
        Ok(InputRow { ids, types, truth })
    }

    /// The tokens of a row. An id stands for itself, and one that the tokenizer knows as special for nothing.
    fn framed(&self, example: &Example, longest: Option<usize>) -> Result<FramedText, InputError> {
        match (&example.tokens, &self.tokenizer) {
            (Tokens::Texts { first, second }, Some(tokenizer)) => {
                Ok(tokenizer.framed(first, second.as_ref(), longest)?)
            }
            (Tokens::Ids { ids, types }, _) => {
                let kept = ids.len().min(longest.unwrap_or(usize::MAX));
                let special = |at: &usize| self.tokenizer.as_ref().is_some_and(|known| known.is_special(ids[*at]));
                let place =
                    |at| Some(at).filter(|at| !special(at)).map(|at| TokenPlace { text: 0, start: at, end: at + 1 });
                Ok(FramedText {
                    ids: ids[..kept].to_vec(),
                    types: types.iter().copied().take(kept).collect(),
                    places: (0..kept).map(place).collect(),
                })
            }
            (Tokens::Texts { .. }, None) => Ok(FramedText { ids: vec![], types: vec![], places: vec![] }),
        }
    }
}

enum LineRefusal {
    Input(InputError),
    Line(String),
}

fn tokens(given: &Given, model: &Model, tokenizer: Option<&Tokenizer>) -> Result<Tokens, LineRefusal> {
    let tokenized = |text: &str| match tokenizer {
        Some(tokenizer) => tokenizer.tokenized(text).map_err(|error| LineRefusal::Input(error.into())),
        None => Err(LineRefusal::Line("it is a text, and the model has no tokenizer; write `ids`".to_owned())),
    };
    match given {
        Given::Text { text, pair } => {
            Ok(Tokens::Texts { first: tokenized(text)?, second: pair.as_deref().map(tokenized).transpose()? })
        }
        Given::Ids { ids, types } => {
            let (vocabulary, known) = (model.graph.dimensions.vocabulary, model.graph.token_types());
            if let Some(id) = ids.iter().find(|&&id| id as usize >= vocabulary) {
                return Err(LineRefusal::Line(format!("id {id} is outside the model's vocabulary of {vocabulary}")));
            }
            if let Some(of) = types.iter().find(|&&of| of as usize >= known.max(1)) {
                return Err(LineRefusal::Line(format!("token type {of}, where the model has {known} types")));
            }
            Ok(Tokens::Ids { ids: ids.clone(), types: types.clone() })
        }
    }
}

/// What the row is scored against.
fn truth(right: &Resolved, ids: &[u32], places: &[Option<TokenPlace>], index: usize) -> Option<Truth> {
    match right {
        Resolved::Nothing => None,
        Resolved::Class(class) => Some(Truth::Class(*class)),
        Resolved::Classes(classes) => Some(Truth::Classes(classes.clone())),
        Resolved::Number(number) => Some(Truth::Number(*number)),
        Resolved::Words(words) => Some(Truth::TokenClasses(first_tokens(words, places))),
        Resolved::Ids(classes) => Some(Truth::TokenClasses(classes.iter().copied().take(ids.len()).collect())),
        Resolved::NextTokens => Some(Truth::NextTokens(ids[1..].to_vec())),
        Resolved::MaskedTokens => {
            let text: Vec<usize> = (0..ids.len()).filter(|&at| places[at].is_some()).collect();
            masked_tokens(ids, &text, index)
        }
        Resolved::Span { right, text, may_be_none } => {
            let place = |place: &Option<TokenPlace>| {
                let place = place.filter(|place| place.text == *text)?;
                Some((place.start, place.end))
            };
            let places = places.iter().map(place).collect();
            Some(Truth::Span(SpanTruth { places, right: right.clone(), may_be_none: *may_be_none }))
        }
    }
}

/// The class of each word at its first token; the other tokens are not scored.
fn first_tokens(words: &[(std::ops::Range<usize>, Option<u32>)], places: &[Option<TokenPlace>]) -> Vec<Option<u32>> {
    let mut classes = vec![None; places.len()];
    let mut at = 0;
    for (word, class) in words {
        let touches = |place: &Option<TokenPlace>| {
            place.is_some_and(|place| place.text == 0 && place.start < word.end && place.end > word.start)
        };
        // Of a text that is cut at its beginning the first words are gone, and a token may cover two words.
        if let Some(offset) = places[at..].iter().position(touches) {
            classes[at + offset] = *class;
            at += offset + 1;
        }
    }
    classes
}

/// Right answers of a text as texts.
fn answer_texts(spans: &[line::Span], context: &str) -> RightSpans {
    let context: Arc<[char]> = context.chars().collect();
    let text = |span: &line::Span| match span {
        line::Span::Range(start, end) => context[*start..*end].iter().collect(),
        line::Span::Text(text) => text.clone(),
    };
    RightSpans::Texts { answers: spans.iter().map(text).collect(), context: context.clone() }
}

//! Runs one text through one engine, to see that it works.

mod tokens;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use clap::ValueEnum;
use serde::Serialize;
use thiserror::Error;

use crate::backend::backend;
use crate::engine::{BackendError, BackendKind, BuildRequest, EngineDescription};
use crate::graph::{OutputKind, PrecisionPolicy, Preset};
use crate::input::Batch;
use crate::model::{Head, Model, ModelError, ModelSource, ScoreFunction, Tokenizer, unread_sentence};
use crate::numerics::negative_log_likelihood;
use crate::terminal::printable_line;
pub use tokens::AnswerSpan;
use tokens::{best_span, likeliest_class};

/// Labels shown for an output row that is a distribution over many.
const SHOWN: usize = 5;

/// Spellings of the token that a masked language model fills in.
const MASKS: [&str; 2] = ["[MASK]", "<mask>"];

/// What to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RequestedOutput {
    /// The model's logits.
    Logits,
    /// Negative log-likelihood of every token after the first, nats.
    Nll,
    /// The last hidden state.
    Hidden,
}

/// What to run.
#[derive(Debug, Clone)]
pub enum InferInput {
    /// A text, or a pair of texts.
    Text {
        /// The text.
        text: String,
        /// The second one of a pair.
        pair: Option<String>,
    },
    /// Token ids as they are, special tokens included.
    Ids(Vec<u32>),
}

/// One text for one engine.
#[derive(Debug, Clone)]
pub struct InferRequest {
    /// Checkpoint folder.
    pub model: PathBuf,
    /// Backend.
    pub backend: BackendKind,
    /// Policy.
    pub precision: Preset,
    /// The text or the ids.
    pub input: InferInput,
    /// The head that is asked for; hidden states have none.
    pub head: Head,
    /// What to compute.
    pub output: RequestedOutput,
}

/// Why a text cannot be run.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "fields are the placeholders of the messages")]
pub enum InferError {
    /// The checkpoint.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The engine.
    #[error(transparent)]
    Backend(#[from] BackendError),
    /// The text is empty.
    #[error("the text is empty; give some words with --text, --file or --text-pair")]
    Empty,
    /// No ids.
    #[error("there are no ids; give some with --ids, separated by commas")]
    NoIds,
    /// The text has too few tokens.
    #[error(
        "the text has {tokens} tokens and `--output {output}` needs at least {needed}; give a longer --text or --file"
    )]
    TooShort { tokens: usize, output: &'static str, needed: usize },
    /// The text has more tokens than the model has positions.
    #[error("the text has {tokens} tokens, the model takes at most {positions}; give a shorter text")]
    TooLong { tokens: usize, positions: usize },
    /// The model has no such output.
    #[error("`--output {output}` is not available: {path} {reason}")]
    NoSuchOutput { output: &'static str, path: PathBuf, reason: String },
}

/// The output for one text. Non-finite values are `null` in JSON.
#[derive(Debug, Clone, Serialize)]
pub struct Inference {
    /// The output that was requested.
    #[serde(rename = "wanted")]
    pub output: RequestedOutput,
    /// What the model's output holds.
    pub kind: OutputKind,
    /// Policy name.
    pub precision: &'static str,
    /// The engine.
    pub engine: EngineDescription,
    /// Token ids, special tokens included.
    pub ids: Vec<u32>,
    /// Type of each token; left out where all are of type 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token_types: Option<Vec<u32>>,
    /// The tokens as text.
    pub tokens: Vec<String>,
    /// Elements per row of `values`.
    pub width: usize,
    /// Row-major values: logits, hidden states, or one NLL per token after the first.
    pub values: Vec<f32>,
    /// NaN and infinities among the values.
    pub nonfinite: usize,
    /// For logits: what makes scores of them; `None` of other outputs.
    pub score_function: Option<ScoreFunction>,
    /// For logits with a probability: the likeliest classes or next tokens with theirs.
    pub likeliest: Vec<LabelProbability>,
    /// For class logits of each token: the likeliest class of each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub token_labels: Vec<Option<LabelProbability>>,
    /// For logits of an answer's start and end: the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerSpan>,
    /// For logits that are plain numbers: each with its class.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub numbers: Vec<LabelNumber>,
    /// Mean NLL, nats per token.
    pub nll_mean: Option<f64>,
    /// What is no error: tensors that the model has no use for, a text beyond the tokenizer's limit.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// A class or token with its probability.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelProbability {
    /// Class name or token text.
    pub label: String,
    /// Softmax of the logits, or sigmoid of its own, in f64.
    pub probability: f64,
}

/// A class of a regression head with its output.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LabelNumber {
    /// Class name.
    pub label: String,
    /// The logit as it is.
    pub number: f64,
}

/// Runs the text.
///
/// # Errors
/// [`InferError`], one message that names the place and the cure.
pub fn infer(request: &InferRequest) -> Result<Inference, InferError> {
    let head = if request.output == RequestedOutput::Hidden { Head::Hidden } else { request.head };
    let source = ModelSource::Checkpoint { path: request.model.clone(), sha256: None };
    let model = Arc::new(Model::open("model", &source, std::path::Path::new("."), head)?);
    check_output(request, &model)?;
    let (batch, tokenizer) = batch_of(&request.input, &model)?;
    let ids = &batch.ids;
    let (needed, output) = if request.output == RequestedOutput::Nll { (2, "nll") } else { (1, request.output.name()) };
    if ids.len() < needed {
        return Err(InferError::TooShort { tokens: ids.len(), output, needed });
    }
    let longest = match request.input {
        InferInput::Text { .. } => tokenizer.as_ref().and_then(Tokenizer::longest_sequence),
        InferInput::Ids(_) => None,
    };
    let longest = longest.and_then(|longest| longest.exceeded_by(ids.len()));
    let positions = model.graph.dimensions.positions;
    if ids.len() > positions {
        return Err(InferError::TooLong { tokens: ids.len(), positions });
    }
    model.config.check_ids(ids)?;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let policy = PrecisionPolicy::preset(request.precision);
    let build = BuildRequest {
        token_types: batch.token_types.is_some(),
        ..BuildRequest::new(model.clone(), policy, batch.shape, threads)
    };
    let mut engine = backend(request.backend)?.build(&build)?.engine?;
    engine.bind(&batch)?;
    engine.enqueue()?;
    engine.synchronize()?;
    let output = engine.outputs()?;
    let mut inference = Inference {
        output: request.output,
        kind: model.graph.output_kind,
        precision: request.precision.name(),
        engine: engine.describe(),
        tokens: batch.ids.iter().map(|&id| token(tokenizer.as_ref(), id)).collect(),
        ids: batch.ids,
        token_types: batch.token_types,
        width: output.width,
        nonfinite: output.values.iter().filter(|x| !x.is_finite()).count(),
        values: output.values,
        score_function: (request.output == RequestedOutput::Logits).then(|| model.config.score_function()),
        likeliest: Vec::new(),
        token_labels: Vec::new(),
        answer: None,
        numbers: Vec::new(),
        nll_mean: None,
        notes: unread_sentence(&model.unread).into_iter().chain(longest).collect(),
    };
    match request.output {
        RequestedOutput::Logits => inference.rank(&model, tokenizer.as_ref()),
        RequestedOutput::Nll => inference.score(),
        RequestedOutput::Hidden => {}
    }
    Ok(inference)
}

/// The row, and the tokenizer that its tokens are shown with. Ids need none.
fn batch_of(input: &InferInput, model: &Model) -> Result<(Batch, Option<Tokenizer>), InferError> {
    let (text, pair) = match input {
        InferInput::Ids(ids) if ids.is_empty() => return Err(InferError::NoIds),
        InferInput::Ids(ids) => return Ok((Batch::single(ids.clone()), model.tokenizer().ok())),
        InferInput::Text { text, pair } => (text, pair),
    };
    // Special tokens would turn an empty text into a sentence.
    if [Some(text), pair.as_ref()].into_iter().flatten().any(|text| text.trim().is_empty()) {
        return Err(InferError::Empty);
    }
    let tokenizer = model.tokenizer()?;
    let pair = pair.as_ref().map(|pair| tokenizer.tokenized(pair)).transpose()?;
    let row = tokenizer.framed(&tokenizer.tokenized(text)?, pair.as_ref(), None)?;
    let types = if model.graph.token_types() > 0 { row.types } else { Vec::new() };
    Ok((Batch::single(row.ids).with_token_types(types), Some(tokenizer)))
}

/// A token as text, or `<5>` without a tokenizer.
fn token(tokenizer: Option<&Tokenizer>, id: u32) -> String {
    tokenizer.map_or_else(|| format!("<{id}>"), |tokenizer| tokenizer.token(id))
}

fn check_output(request: &InferRequest, model: &Model) -> Result<(), InferError> {
    let unused = || model.unused_head().map(|words| format!("; {words}")).unwrap_or_default();
    let reason = match (request.output, model.graph.output_kind, &model.config.dropped_head) {
        (RequestedOutput::Logits, OutputKind::Hidden, Some(class)) => {
            format!("is a {class}, whose head is not computed, only hidden states (--output hidden)")
        }
        (RequestedOutput::Logits, OutputKind::Hidden, None) => {
            format!("has no head, only hidden states (--output hidden){}", unused())
        }
        (RequestedOutput::Nll, kind, _) if kind != OutputKind::TokenLogits => {
            format!("is not a language model{}", unused())
        }
        _ => return Ok(()),
    };
    Err(InferError::NoSuchOutput { output: request.output.name(), path: request.model.clone(), reason })
}

impl RequestedOutput {
    fn name(self) -> &'static str {
        match self {
            RequestedOutput::Logits => "logits",
            RequestedOutput::Nll => "nll",
            RequestedOutput::Hidden => "hidden",
        }
    }
}

impl Inference {
    /// Fills in the likeliest entries of a row, or its plain numbers, or what is said of each token; none of a row with a value
    /// that is not finite. The row is the mask's of a masked language model, else the last.
    fn rank(&mut self, model: &Model, tokenizer: Option<&Tokenizer>) {
        let rows: Vec<&[f32]> = self.values.chunks(self.width).collect();
        let masked = || self.tokens.iter().position(|token| MASKS.contains(&token.as_str()));
        let chosen = match self.kind {
            OutputKind::SpanLogits => {
                self.answer = best_span(&self.values);
                return;
            }
            OutputKind::TokenClassLogits => {
                self.token_labels =
                    rows.iter().map(|row| likeliest_class(row, |class| model.config.label(class))).collect();
                return;
            }
            OutputKind::MaskedTokenLogits => masked().unwrap_or(rows.len() - 1),
            _ => rows.len() - 1,
        };
        let row = rows[chosen];
        if row.iter().any(|x| !x.is_finite()) {
            return;
        }
        let label = |index: usize| match self.kind {
            OutputKind::ClassLogits => model.config.label(index),
            _ => token(tokenizer, index as u32),
        };
        let mut order: Vec<usize> = (0..row.len()).collect();
        order.sort_by(|&a, &b| row[b].total_cmp(&row[a]).then(a.cmp(&b)));
        let probability = |index: usize| match self.score_function {
            Some(ScoreFunction::Sigmoid) => 1.0 / (1.0 + (-f64::from(row[index])).exp()),
            _ => (-negative_log_likelihood(row, index as u32)).exp(),
        };
        if self.score_function == Some(ScoreFunction::None) {
            let numbers = row.iter().enumerate();
            self.numbers = numbers.map(|(i, &x)| LabelNumber { label: label(i), number: f64::from(x) }).collect();
            return;
        }
        let shown = order.into_iter().take(SHOWN);
        self.likeliest = shown.map(|i| LabelProbability { label: label(i), probability: probability(i) }).collect();
    }

    /// Replaces next-token logits by the negative log-likelihood of the tokens that follow.
    fn score(&mut self) {
        let rows = self.values.chunks(self.width).zip(&self.ids[1..]);
        let scores: Vec<f64> = rows.map(|(row, &next)| negative_log_likelihood(row, next)).collect();
        self.nll_mean = Some(scores.iter().sum::<f64>() / scores.len() as f64).filter(|mean| mean.is_finite());
        self.values = scores.into_iter().map(|score| score as f32).collect();
        self.nonfinite = self.values.iter().filter(|x| !x.is_finite()).count();
        self.width = 1;
    }

    /// All of it as indented JSON with a final newline.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// A summary as text: tokens, engine, and the likeliest labels, the scores or the norms.
    pub fn to_text(&self) -> String {
        let emulated = if self.engine.emulated { ", emulated" } else { "" };
        let mut text = format!("{} tokens, {} on {}{emulated}\n", self.ids.len(), self.precision, self.engine.library);
        if self.nonfinite > 0 {
            let _ = writeln!(text, "{} of {} output values are NaN or infinite", self.nonfinite, self.values.len());
        }
        match self.output {
            RequestedOutput::Logits => {
                // Classes have names, which say what they are.
                if self.kind != OutputKind::ClassLogits {
                    let _ = writeln!(text, "{}:", self.kind.label());
                }
                for candidate in &self.likeliest {
                    let label = printable_line(&candidate.label);
                    let _ = writeln!(text, "{:>8.4} %  {label}", 100.0 * candidate.probability);
                }
                for (token, class) in self.tokens.iter().zip(&self.token_labels) {
                    let (token, class) = (printable_line(token), class.as_ref());
                    let _ = match class {
                        Some(LabelProbability { label, probability }) => {
                            writeln!(text, "{:>8.4} %  {}  {token}", 100.0 * probability, printable_line(label))
                        }
                        None => writeln!(text, "not finite  {token}"),
                    };
                }
                if let Some(AnswerSpan { start, end }) = self.answer {
                    let answer = self.tokens[start..=end].join(" ");
                    let _ = writeln!(text, "answer: tokens {start} to {end}, {}", printable_line(&answer));
                }
                for LabelNumber { label, number } in &self.numbers {
                    let _ = writeln!(text, "{number:>10.4}  {label}");
                }
            }
            RequestedOutput::Nll => {
                for (token, nll) in self.tokens[1..].iter().zip(&self.values) {
                    let _ = writeln!(text, "{nll:>9.4}  {}", printable_line(token));
                }
                if let Some(mean) = self.nll_mean {
                    let _ = writeln!(text, "mean {mean:.4} nats per token, perplexity {:.2}", mean.exp());
                }
            }
            RequestedOutput::Hidden => {
                for (token, row) in self.tokens.iter().zip(self.values.chunks(self.width)) {
                    let norm = row.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>().sqrt();
                    let _ = writeln!(text, "|h| = {norm:>9.4}  {}", printable_line(token));
                }
            }
        }
        text
    }
}

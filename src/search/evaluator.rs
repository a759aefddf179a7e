//! Forwards of mixed policies on a backend, compared with the FP32 reference. The journal is asked first.

use std::sync::Arc;
use std::time::Instant;

use serde_json::json;

use super::candidates::CandidateOp;
use super::explore::Evaluate;
use super::journal::SearchJournal;
use super::minimise::Places;
use super::tolerance::ForwardOutcome;
use super::{SearchError, SearchRequest};
use crate::backend::{backend, supports};
use crate::digest::{canonical, sha256};
use crate::engine::{Availability, Backend, BackendKind, BuildRequest, Engine, Output};
use crate::graph::{Format, OutputKind, PrecisionPolicy, Rounding};
use crate::input::{Batch, InputStream, Truth};
use crate::manifest::schema::Numerics;
use crate::model::Model;
use crate::numerics::{ForwardReferences, Part, ReferenceSource, compare_forward, negative_log_likelihood};
use crate::provenance::arithmetic;

/// What every evaluation of a search shares.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub request: &'a SearchRequest,
    pub model: &'a Arc<Model>,
    pub input: &'a InputStream,
    /// Least headroom first.
    pub candidates: &'a [CandidateOp],
}

impl Subject<'_> {
    /// The start with these candidates in FP32.
    pub fn policy(&self, fp32: &Places) -> PrecisionPolicy {
        let mut policy = self.request.start.clone();
        let ops = fp32.iter().filter_map(|&place| self.candidates.get(place));
        policy.overrides.extend(ops.map(|one| (one.op.clone(), Rounding::uniform(Format::Fp32))));
        policy
    }
}

/// The backend of this kind and what it found here.
///
/// # Errors
/// [`SearchError`] when it cannot execute the policy, or anything at all, on this machine.
pub(super) fn executing(
    kind: BackendKind,
    policy: &PrecisionPolicy,
) -> Result<(Box<dyn Backend>, Availability), SearchError> {
    supports(kind, policy).map_err(|reason| SearchError::Unsupported { backend: kind, reason })?;
    let backend = backend(kind)?;
    let found = backend.availability()?;
    match found.builds_only {
        Some(reason) => Err(SearchError::Unsupported { backend: kind, reason }),
        None => Ok((backend, found)),
    }
}

/// Evaluates policies on one backend.
pub(super) struct Evaluator<'a> {
    subject: Subject<'a>,
    backend: Box<dyn Backend>,
    library: String,
    references: ForwardReferences<'a>,
    journal: &'a mut SearchJournal<ForwardOutcome>,
    /// Digest of all that decides an outcome besides policy and ids.
    identity: String,
    /// The engine of the last set.
    engine: Option<(Places, Box<dyn Engine>)>,
}

impl<'a> Evaluator<'a> {
    /// An evaluator on the backend of this kind.
    ///
    /// # Errors
    /// As [`executing`].
    pub fn new(
        kind: BackendKind,
        subject: Subject<'a>,
        journal: &'a mut SearchJournal<ForwardOutcome>,
    ) -> Result<Self, SearchError> {
        let Subject { request, model, input, .. } = subject;
        let (backend, Availability { found: library, .. }) = executing(kind, &request.start)?;
        let Numerics { broken_cosine, broken_relative_l2, .. } = request.settings;
        let identity = json!({
            "weights": model.weights_identity(),
            "graph": model.graph.sha256(),
            "backend": kind,
            "library": library,
            "arithmetic": arithmetic::sha256(kind),
            "shape": request.shape,
            "broken": [broken_cosine, broken_relative_l2],
        });
        let identity = sha256(canonical(&identity).as_bytes());
        // Whichever part: each forward has its own.
        let source = ReferenceSource { model, input, sequence: request.shape.sequence, part: Part::Forwards(0) };
        let references = ForwardReferences::new(source, Ok(Box::new(|part| request.reference_path(part))));
        Ok(Evaluator { subject, backend, library, references, journal, identity, engine: None })
    }

    /// The backend's library, its version and its device.
    pub fn library(&self) -> &str {
        &self.library
    }

    fn batch(&self, forward: usize) -> Result<Batch, SearchError> {
        Ok(self.subject.input.batch(self.subject.request.shape, self.first_row(forward))?)
    }

    fn first_row(&self, forward: usize) -> usize {
        forward * self.subject.request.shape.batch
    }

    fn key(&self, policy: &PrecisionPolicy, batch: &Batch) -> Result<String, SearchError> {
        // Two names of one policy have one outcome.
        let policy = serde_json::to_value(PrecisionPolicy { name: String::new(), ..policy.clone() })?;
        let ids = json!([batch.ids, batch.lengths, batch.token_types, next_tokens(batch)]);
        Ok(sha256(canonical(&json!([self.identity, policy, ids])).as_bytes()))
    }

    fn engine(&mut self, fp32: &Places, policy: PrecisionPolicy) -> Result<&mut Box<dyn Engine>, SearchError> {
        let engine = match self.engine.take() {
            Some((built, engine)) if built == *fp32 => engine,
            old => {
                // A device may not hold two engines.
                drop(old);
                let Subject { request, model, input, .. } = self.subject;
                let SearchRequest { shape, threads, .. } = *request;
                let (padded, token_types) = (request.input.source.is_padded(), input.has_token_types);
                let common = BuildRequest::new(model.clone(), policy, shape, threads);
                let request = BuildRequest { padded, token_types, ..common };
                self.backend.build(&request)?.engine?
            }
        };
        Ok(&mut self.engine.insert((fp32.clone(), engine)).1)
    }
}

impl Evaluate for Evaluator<'_> {
    fn forward(&mut self, fp32: &Places, forward: usize) -> Result<ForwardOutcome, SearchError> {
        let (policy, batch) = (self.subject.policy(fp32), self.batch(forward)?);
        let key = self.key(&policy, &batch)?;
        if let Some(known) = self.journal.get(&key) {
            return Ok(known);
        }
        let begin = Instant::now();
        let engine = self.engine(fp32, policy)?;
        engine.bind(&batch)?;
        engine.enqueue()?;
        engine.synchronize()?;
        let output = engine.outputs()?;
        let wall_s = begin.elapsed().as_secs_f64();
        let (start, settings) = (self.first_row(forward), self.subject.request.settings);
        let (counted, unknown) = compare_forward(&output, &batch, &mut self.references, start, settings);
        if let Some(reason) = unknown {
            return Err(SearchError::NoReference { forward, reason });
        }
        let (nll_sum, nll_tokens) = likelihood(&output, &batch);
        let outcome = ForwardOutcome {
            nonfinite: counted.nan_count + counted.inf_count,
            compared_rows: counted.compared_rows,
            cosine_min: counted.cosine_min,
            broken_rows: counted.broken_rows,
            flips: counted.argmax_agreement.map(|share| ((1.0 - share) * counted.compared_rows as f64).round() as u64),
            nll_sum,
            nll_tokens,
            wall_s,
        };
        self.journal.insert(key, outcome)?;
        Ok(outcome)
    }
}

/// The tokens that follow those of each row; none of rows that are no running text.
fn next_tokens(batch: &Batch) -> Vec<&[u32]> {
    let next = batch.truths.iter().map(|truth| match truth {
        Some(Truth::NextTokens(next)) => next.as_slice(),
        _ => &[],
    });
    next.collect()
}

/// Whether a perplexity of these rows is defined.
pub(super) fn has_next_tokens(batch: &Batch) -> bool {
    next_tokens(batch).iter().any(|next| !next.is_empty())
}

/// Sum of the negative log-likelihoods of the tokens that follow, nats, and their number; `None` and 0 of other outputs and of
/// inputs that are no running text. NaN is `None`.
fn likelihood(output: &Output, batch: &Batch) -> (Option<f64>, u64) {
    let next = next_tokens(batch);
    let tokens: usize = next.iter().map(|next| next.len()).sum();
    if tokens == 0 || output.kind != OutputKind::TokenLogits {
        return (None, 0);
    }
    let sequences = output.values.chunks(output.width * batch.shape.sequence).zip(next);
    let rows = sequences.flat_map(|(rows, next)| rows.chunks(output.width).zip(next));
    let sum: f64 = rows.map(|(logits, &next)| negative_log_likelihood(logits, next)).sum();
    (Some(sum).filter(|sum| sum.is_finite()), tokens as u64)
}

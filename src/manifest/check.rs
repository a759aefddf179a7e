//! Checks across sections: combinations that cannot run, exclusions without effect, and the declared count.

use std::collections::BTreeSet;

use super::axes::DraftAxis;
use super::cursor::{Cursor, Positioned};
use super::diagnostic::{Position, Report, suggestion};
use super::grid::{GridPoint, Index, MAX_CELLS, product_indices, product_words};
use super::read::Draft;
use super::schema::{Exclusion, InputEntry, ModelEntry, Numerics};
use crate::backend;
use crate::graph::{Graph, PrecisionPolicy, Rounding};
use crate::input::{ClassName, InputSource};
use crate::model::architecture_graph;
use crate::model::{Architecture, ModelSource};

/// An op that every architecture has.
const EXAMPLE_OP: &str = "layer.1/attention/softmax";

/// Largest total size of paths, overrides and reasons, bytes, when every cell has its own copy. A real manifest needs a few
/// hundred kilobytes; a page of YAML must not exhaust the memory.
const MAX_REPEATED_BYTES: usize = 256 << 20;

/// Only windows of a text can be scored.
pub(super) fn score_windows(
    inputs: &DraftAxis<InputEntry>,
    numerics: Numerics,
    section: Option<&Cursor<'_>>,
    report: &mut Report<'_>,
) {
    let text = inputs.values.iter().any(|input| matches!(input.value.source, InputSource::Text { .. }));
    if let Some(section) = section.filter(|_| numerics.score_windows > 0 && inputs.whole && !text) {
        let message = "found score_windows without an input of kind `text`; add one to `inputs` or write 0";
        report.push(section.node.position, &format!("{}.score_windows", section.path), message);
    }
}

/// Checks the product of the axes. Values that could not be read are left out, so that one mistake causes one message. Returns the
/// number of configurations where nothing else is wrong with them.
pub(super) fn draft(draft: &Draft, report: &mut Report<'_>) -> Option<usize> {
    let exclude = draft.exclude.as_ref()?;
    let sizes = draft.sizes();
    let product = sizes.iter().try_fold(1_usize, |product, size| product.checked_mul(*size));
    let Some(product) = product.filter(|product| *product <= MAX_CELLS) else {
        let words = product_words(sizes);
        let message = format!("found {words}, expected at most {MAX_CELLS} cells; split the manifest");
        report.push(Position::START, "", message);
        return None;
    };
    let mut effect = vec![0_usize; exclude.len()];
    let mut left: Vec<Index> = Vec::new();
    for index in product_indices(sizes) {
        match exclude.iter().position(|exclusion| exclusion.value.matches(&draft.cell(index))) {
            Some(first) => effect[first] += 1,
            None => left.push(index),
        }
    }
    let repeated = repeated_bytes(draft, product, exclude, &effect);
    if repeated > MAX_REPEATED_BYTES {
        let message = format!(
            "found paths, overrides and reasons that come to {} MiB in {product} cells, expected at most {}; shorten them or \
             split the manifest",
            repeated >> 20,
            MAX_REPEATED_BYTES >> 20
        );
        report.push(Position::START, "", message);
        return None;
    }
    let before = report.len();
    lengths(draft, &left, report);
    policies(draft, &left, report);
    tokenizers(draft, &left, report);
    let whole = draft.is_whole();
    if whole {
        idle_exclusions(exclude, &effect, report);
    }
    if !whole || report.len() > before {
        return None;
    }
    if let Some(expect) = &draft.expect {
        count(expect, (product, left.len()), sizes, report);
    }
    Some(left.len())
}

/// Bytes of the data that has no fixed length and is copied into every cell. Each value of an axis is in an equal share of
/// the cells.
fn repeated_bytes(draft: &Draft, product: usize, exclude: &[Positioned<Exclusion>], effect: &[usize]) -> usize {
    fn share<T>(axis: &DraftAxis<T>, product: usize, bytes: impl Fn(&T) -> usize) -> usize {
        let sum = axis.values.iter().map(|value| bytes(&value.value)).fold(0, usize::saturating_add);
        sum.saturating_mul(product / axis.values.len().max(1))
    }
    let model = |entry: &ModelEntry| {
        let path = |source: &ModelSource| match source {
            ModelSource::Checkpoint { path, .. } => path.as_os_str().len(),
            _ => 0,
        };
        entry.source.candidates().iter().map(path).sum()
    };
    let policy = |policy: &PrecisionPolicy| {
        policy.overrides.keys().map(|name| name.len() + size_of::<(String, Rounding)>()).sum::<usize>()
    };
    let input = |entry: &InputEntry| match &entry.source {
        InputSource::Random { .. } | InputSource::RandomWithSeparators { .. } => 0,
        InputSource::Text { path, .. } => path.as_os_str().len(),
        InputSource::Sst2 { path, labels, .. } | InputSource::Examples { path, labels, .. } => {
            let classes = labels.iter().map(|(label, class)| {
                let name = if let ClassName::Name(name) = class { name.len() } else { 0 };
                label.len() + name + size_of::<(String, ClassName)>()
            });
            path.as_os_str().len() + classes.sum::<usize>()
        }
    };
    let reasons = exclude.iter().zip(effect).map(|(one, cells)| one.value.reason.len().saturating_mul(*cells));
    [
        share(&draft.models, product, model),
        share(&draft.precisions, product, policy),
        share(&draft.inputs, product, input),
    ]
    .into_iter()
    .chain(reasons)
    .fold(0, usize::saturating_add)
}

impl Draft {
    fn sizes(&self) -> Index {
        [
            self.models.values.len(),
            self.backends.values.len(),
            self.precisions.values.len(),
            self.targets.values.len().max(1),
            self.sequence_lengths.values.len(),
            self.batch_sizes.values.len(),
            self.inputs.values.len(),
        ]
    }

    fn cell(&self, [model, backend, precision, target, sequence, batch, input]: Index) -> GridPoint<'_> {
        GridPoint {
            model: &self.models.values[model].value.name,
            backend: self.backends.values[backend].value,
            precision: &self.precisions.values[precision].value.name,
            target: self.targets.values.get(target).map(|target| target.value),
            sequence_length: self.sequence_lengths.values[sequence].value,
            batch_size: self.batch_sizes.values[batch].value,
            input: &self.inputs.values[input].value.name,
        }
    }

    fn is_whole(&self) -> bool {
        self.models.whole
            && self.backends.whole
            && self.precisions.whole
            && self.targets.whole
            && self.sequence_lengths.whole
            && self.batch_sizes.whole
            && self.inputs.whole
    }
}

/// Every sequence length must fit the positions of every model that it is combined with, where these are known without
/// reading a checkpoint.
fn lengths(draft: &Draft, left: &[Index], report: &mut Report<'_>) {
    for (s, length) in draft.sequence_lengths.values.iter().enumerate() {
        for (m, model) in draft.models.values.iter().enumerate() {
            let Some((architecture, positions)) = positions(&model.value) else { continue };
            if length.value <= positions || !left.iter().any(|index| index[0] == m && index[4] == s) {
                continue;
            }
            let message = format!(
                "found `{length}`, expected at most {positions}, the positions of model `{name}` ({architecture}); \
                 remove it, or add to exclude: {{models: [{name}], sequence_lengths: [{length}], reason: ...}}",
                length = length.value,
                name = model.value.name,
            );
            report.push(length.position, &length.path, message);
        }
    }
}

fn positions(model: &ModelEntry) -> Option<(&'static str, usize)> {
    model.source.architecture().map(|architecture| (architecture.name(), architecture.positions()))
}

/// An override must name an op that some model has. This is checked only if every graph is known without reading a
/// checkpoint; otherwise building an engine reports it.
pub(super) fn ops(models: &DraftAxis<ModelEntry>, precisions: Option<&Cursor<'_>>, report: &mut Report<'_>) {
    let policies = precisions.map(Cursor::readable_items).unwrap_or_default();
    let sections = policies.iter().flat_map(Cursor::readable_entries).filter(|(key, _)| key.text == "ops");
    let overrides: Vec<_> = sections.flat_map(|(_, ops)| ops.readable_entries()).collect();
    let known: Option<Vec<_>> = models.values.iter().map(|model| model.value.source.architecture()).collect();
    let Some(known) = known.filter(|known| models.whole && !known.is_empty() && !overrides.is_empty()) else { return };
    let known: BTreeSet<Architecture> = known.into_iter().collect();
    let graphs: Vec<Graph> = known.into_iter().map(architecture_graph).collect();
    let names: BTreeSet<&str> = graphs.iter().flat_map(|graph| &graph.ops).map(|op| op.name.as_str()).collect();
    let names: Vec<&str> = names.into_iter().collect();
    for (key, entry) in overrides.iter().filter(|(key, _)| !names.contains(&key.text.as_str())) {
        let message = format!(
            "found the name of an op that no model of this manifest has, expected one like `{EXAMPLE_OP}`{}",
            suggestion(&key.text, &names)
        );
        report.push(key.position, &entry.path, message);
    }
}

/// Every backend must be able to execute every policy that it is combined with.
fn policies(draft: &Draft, left: &[Index], report: &mut Report<'_>) {
    for (p, policy) in draft.precisions.values.iter().enumerate() {
        for (b, backend) in draft.backends.values.iter().enumerate() {
            let Err(reason) = backend::supports(backend.value, &policy.value) else { continue };
            if !left.iter().any(|index| index[1] == b && index[2] == p) {
                continue;
            }
            let message = format!(
                "found `{policy}`, which backend `{backend}` cannot execute: {reason}; \
                 add to exclude: {{backends: [{backend}], precisions: [{policy}], reason: ...}}",
                policy = policy.value.name,
                backend = backend.value,
            );
            report.push(policy.position.to_owned(), &policy.path, message);
        }
    }
}

/// Text and separators need a tokenizer, which random weights do not have. Whether a hub model has one is known after it was fetched.
fn tokenizers(draft: &Draft, left: &[Index], report: &mut Report<'_>) {
    for (i, input) in draft.inputs.values.iter().enumerate() {
        let kind = match input.value.source {
            InputSource::Random { .. } => continue,
            InputSource::RandomWithSeparators { .. } => "an input with separators",
            InputSource::Text { .. } => "an input of kind `text`",
            InputSource::Sst2 { .. } => "an input of kind `sst2`",
            // Whether its lines are ids, which need no tokenizer, is not known here.
            InputSource::Examples { .. } => continue,
        };
        for (m, model) in draft.models.values.iter().enumerate() {
            let drawn = matches!(model.value.source.base(), ModelSource::Random { .. });
            if !drawn || !left.iter().any(|index| index[0] == m && index[6] == i) {
                continue;
            }
            let message = format!(
                "found {kind}, which model `{model}` cannot read: random weights have no tokenizer; \
                 give the model a checkpoint, or add to exclude: {{models: [{model}], inputs: [{input}], reason: ...}}",
                model = model.value.name,
                input = input.value.name,
            );
            report.push(input.position, &input.path, message);
        }
    }
}

fn idle_exclusions(exclude: &[Positioned<Exclusion>], effect: &[usize], report: &mut Report<'_>) {
    for (exclusion, _) in exclude.iter().zip(effect).filter(|(_, cells)| **cells == 0) {
        let message = "found an exclusion that leaves nothing out, because those before it leave out all it names; \
                       remove it";
        report.push(exclusion.position, &exclusion.path, message);
    }
}

fn count(expect: &Positioned<usize>, (product, left): (usize, usize), sizes: Index, report: &mut Report<'_>) {
    let arithmetic = format!("{} = {product}, less {} excluded = {left}", product_words(sizes), product - left);
    if left == 0 {
        let message = format!("expected something to measure, but {arithmetic}; exclude less");
        report.push(expect.position, &expect.path, message);
    } else if left != expect.value {
        let message = format!("found `{}`, but {arithmetic}; write {left} or change the axes", expect.value);
        report.push(expect.position, &expect.path, message);
    }
}

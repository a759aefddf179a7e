//! The document as a whole: every section read, then checked against the others.

use super::axes::{self, DraftAxis};
use super::cursor::{Cursor, Fields, NAME_WORDS, Positioned, valid_name};
use super::diagnostic::Report;
use super::schema::{Exclusion, InputEntry, MANIFEST_VERSION, Manifest, ModelEntry};
use super::tree::{Node, YamlValue};
use super::{check, exclusion, limits, models, noise_floor, precision, searches};
use crate::engine::{BackendKind, Target};
use crate::graph::PrecisionPolicy;

const KEYS: [&str; 17] = [
    "schema",
    "name",
    "question",
    "models",
    "backends",
    "precisions",
    "targets",
    "batch_sizes",
    "sequence_lengths",
    "inputs",
    "measurement",
    "noise_floor",
    "numerics",
    "tolerances",
    "exclude",
    "expect_configurations",
    "searches",
];

/// The axes, the exclusions and the declared count, as far as they could be read.
#[derive(Debug)]
pub(super) struct Draft {
    pub models: DraftAxis<ModelEntry>,
    pub backends: DraftAxis<BackendKind>,
    pub precisions: DraftAxis<PrecisionPolicy>,
    /// Empty if the manifest names none.
    pub targets: DraftAxis<Target>,
    pub batch_sizes: DraftAxis<usize>,
    pub sequence_lengths: DraftAxis<usize>,
    pub inputs: DraftAxis<InputEntry>,
    /// `None` when one of them is wrong: then nothing that depends on them is checked.
    pub exclude: Option<Vec<Positioned<Exclusion>>>,
    pub expect: Option<Positioned<usize>>,
}

/// Reads and checks a manifest; `None` or a report that is not empty means that it is wrong.
pub(super) fn manifest(root: &Node, report: &mut Report<'_>) -> Option<Manifest> {
    let fields = Fields::open(&Cursor::root(root), report, "a mapping that starts with `schema: 1`", &KEYS)?;
    version(&fields, report);
    let name = fields.required(report, "name", "quick").and_then(|cursor| {
        let name = cursor.text(report, NAME_WORDS)?;
        if !valid_name(name) {
            cursor.mismatch(report, NAME_WORDS, "");
        }
        Some(name.to_owned())
    });
    let question = fields.required(report, "question", "\"What does ... cost?\"");
    let question = question.and_then(|cursor| cursor.text(report, "a sentence that says what the experiment asks"));
    let draft = draft(&fields, report);
    let measurement = limits::measurement(fields.optional("measurement"), report);
    let noise_floor =
        fields.optional("noise_floor").and_then(|cursor| noise_floor::noise_floor(cursor, report, &draft));
    let numerics = limits::numerics(fields.optional("numerics"), report);
    let tolerances = limits::tolerances(fields.optional("tolerances"), report, &draft.precisions);
    check::score_windows(&draft.inputs, numerics, fields.optional("numerics"), report);
    check::ops(&draft.models, fields.optional("precisions"), report);
    let searches = fields.optional("searches").map(|cursor| searches::searches(cursor, report, &draft));
    let configurations = check::draft(&draft, report).filter(|&count| count > 0).unwrap_or(36);
    fields.required(report, "expect_configurations", &configurations.to_string());
    Some(Manifest {
        name: name?,
        question: question.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" "))?,
        models: draft.models.complete()?,
        backends: draft.backends.complete()?,
        precisions: draft.precisions.complete()?,
        targets: draft.targets.complete()?,
        batch_sizes: draft.batch_sizes.complete()?,
        sequence_lengths: draft.sequence_lengths.complete()?,
        inputs: draft.inputs.complete()?,
        measurement,
        noise_floor,
        numerics,
        tolerances,
        exclude: draft.exclude?.into_iter().map(|one| one.value).collect(),
        expect_configurations: draft.expect?.value,
        searches: searches.unwrap_or_default(),
    })
}

fn version(fields: &Fields<'_>, report: &mut Report<'_>) {
    let Some(cursor) = fields.required(report, "schema", &MANIFEST_VERSION.to_string()) else { return };
    if cursor.node.value != YamlValue::Whole(i128::from(MANIFEST_VERSION)) {
        let expected = format!("{MANIFEST_VERSION}, the manifest format of this mixprec");
        cursor.mismatch(report, &expected, "");
    }
}

fn draft(fields: &Fields<'_>, report: &mut Report<'_>) -> Draft {
    let models = fields.required(report, "models", "{bert: {random: 1, architecture: bert-base}}");
    let models = models::models(models, report);
    let backends = fields.required(report, "backends", "[reference]");
    let backends = axes::backends(backends, report);
    let precisions = fields.required(report, "precisions", "[fp32, hybrid]");
    let precisions = precision::precisions(precisions, report);
    let targets = axes::targets(fields.optional("targets"), report, &backends);
    let batch_sizes = fields.required(report, "batch_sizes", "[1, 8]");
    let batch_sizes = axes::batch_sizes(batch_sizes, report);
    let sequence_lengths = fields.required(report, "sequence_lengths", "[32, 128]");
    let sequence_lengths = axes::sequence_lengths(sequence_lengths, report);
    let inputs = fields.required(report, "inputs", "{random: {random: 7}}");
    let inputs = axes::inputs(inputs, report);
    let expect = fields.optional("expect_configurations");
    let expect = expect.and_then(|cursor| Some(cursor.locate(cursor.whole(report, 1..=super::grid::MAX_CELLS)?)));
    let mut draft = Draft {
        models,
        backends,
        precisions,
        targets,
        batch_sizes,
        sequence_lengths,
        inputs,
        exclude: Some(Vec::new()),
        expect,
    };
    if let Some(cursor) = fields.optional("exclude") {
        draft.exclude = exclusion::exclusions(cursor, report, &draft);
    }
    draft
}

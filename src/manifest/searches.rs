//! Searches for the operations that need FP32.

use std::fmt;

use super::axes::{self, MAX_BATCH, MAX_SEQUENCE};
use super::cursor::{Cursor, Fields, RealRange};
use super::diagnostic::{Report, quoted};
use super::limits::{COSINE, MAX_BROKEN_ROWS, MAX_SAMPLES, set};
use super::noise_floor::known;
use super::read::Draft;
use super::schema::{SearchEntry, SearchTolerance};
use crate::graph::{Preset, Shape};

const RATIO: RealRange = RealRange { contains: |value| value > 0.0, words: "a finite number above 0" };
const LIMITS: [&str; 4] = ["cosine_min", "max_broken_rows", "max_flips", "max_perplexity_ratio"];

/// `searches: [{model: bert, input: text, tolerances: [{max_broken_rows: 0}, {cosine_min: 0.999}]}]`; keys left out keep the
/// defaults of [`SearchEntry`].
pub(super) fn searches(cursor: &Cursor<'_>, report: &mut Report<'_>, draft: &Draft) -> Vec<SearchEntry> {
    let example = "[{model: bert, input: text, tolerances: [{max_broken_rows: 0}]}]";
    let items = cursor.items(report, "a list of searches", example).unwrap_or_default();
    let mut entries: Vec<SearchEntry> = Vec::new();
    for item in &items {
        let Some(entry) = search(item, report, draft) else { continue };
        let folder = entry.folder();
        if entries.iter().any(|other| other.folder() == folder) {
            item.reject(report, format!("found {} a second time; list its tolerances in one place", quoted(&folder)));
        }
        entries.push(entry);
    }
    entries
}

fn search(item: &Cursor<'_>, report: &mut Report<'_>, draft: &Draft) -> Option<SearchEntry> {
    let shape = ["batch_size", "sequence_length", "forwards", "held_out"];
    let allowed = [&["model", "input", "tolerances", "start", "time"][..], &shape].concat();
    let fields = Fields::open(item, report, "a mapping with model, input and tolerances", &allowed)?;
    let model = fields.required(report, "model", "bert").and_then(|cursor| {
        let name = cursor.text(report, "a model of `models`")?;
        known(cursor, report, &draft.models, (name, "models"))?;
        Some(name.to_owned())
    });
    let input = fields.required(report, "input", "text").and_then(|cursor| {
        let name = cursor.text(report, "an input of `inputs`")?;
        known(cursor, report, &draft.inputs, (name, "inputs"))?;
        Some(name.to_owned())
    });
    let start = match fields.optional("start") {
        None => Some(SearchEntry::START.to_owned()),
        Some(cursor) => cursor.text(report, "a preset or a policy of `precisions`").and_then(|name| {
            if Preset::ALL.iter().all(|preset| preset.name() != name) {
                known(cursor, report, &draft.precisions, (name, "precisions"))?;
            }
            Some(name.to_owned())
        }),
    };
    let (mut shape, mut forwards, mut held_out) = (SearchEntry::SHAPE, SearchEntry::FORWARDS, SearchEntry::HELD_OUT);
    set((&fields, "batch_size"), report, &mut shape.batch, |c, r| c.whole(r, 1..=MAX_BATCH));
    set((&fields, "sequence_length"), report, &mut shape.sequence, |c, r| c.whole(r, 1..=MAX_SEQUENCE));
    set((&fields, "forwards"), report, &mut forwards, |c, r| c.whole(r, 1..=MAX_SAMPLES));
    set((&fields, "held_out"), report, &mut held_out, |c, r| c.whole(r, 0..=MAX_SAMPLES));
    let tolerances = fields.required(report, "tolerances", "[{max_broken_rows: 0}]");
    let tolerances = tolerances.and_then(|cursor| {
        let items = cursor.items(report, "a list of tolerances", "[{max_broken_rows: 0}]")?;
        Some(items.iter().map(|item| tolerance(item, report)).collect())
    });
    let time = match fields.optional("time") {
        None => Some(Vec::new()),
        Some(cursor) => timed_shapes(cursor, report),
    };
    Some(SearchEntry {
        model: model?,
        input: input?,
        start: start?,
        shape,
        forwards,
        held_out,
        tolerances: tolerances?,
        time: time?,
    })
}

/// `time: {batch_sizes: [1, 8], sequence_lengths: [128]}`: the product, by length and then by batch size.
fn timed_shapes(cursor: &Cursor<'_>, report: &mut Report<'_>) -> Option<Vec<Shape>> {
    let fields = Fields::open(cursor, report, "a mapping of shapes", &["batch_sizes", "sequence_lengths"])?;
    let batch_sizes = fields.required(report, "batch_sizes", "[1, 8]");
    let lengths = fields.required(report, "sequence_lengths", "[128]");
    let batches = axes::batch_sizes(Some(batch_sizes?), report).complete();
    let lengths = axes::sequence_lengths(Some(lengths?), report).complete();
    let (batches, lengths) = (batches?, lengths?);
    let of = |sequence: usize| batches.iter().map(move |&batch| Shape { batch, sequence });
    Some(lengths.into_iter().flat_map(of).collect())
}

fn tolerance(item: &Cursor<'_>, report: &mut Report<'_>) -> SearchTolerance {
    let mut limits = SearchTolerance::default();
    let Some(fields) = Fields::open(item, report, "a mapping of limits", &LIMITS) else { return limits };
    if item.keys().is_empty() {
        item.mismatch(report, "at least one limit", "write `max_broken_rows: 0`, say");
    }
    let count = |c: &Cursor<'_>, r: &mut Report<'_>| c.whole(r, 0..=MAX_BROKEN_ROWS).map(|count| Some(count as u64));
    set((&fields, "cosine_min"), report, &mut limits.cosine_min, |c, r| c.real(r, COSINE).map(Some));
    set((&fields, "max_broken_rows"), report, &mut limits.max_broken_rows, count);
    set((&fields, "max_flips"), report, &mut limits.max_flips, count);
    set((&fields, "max_perplexity_ratio"), report, &mut limits.max_perplexity_ratio, |c, r| c.real(r, RATIO).map(Some));
    limits
}

impl SearchEntry {
    /// Name of the folder of its results: `bert-base-wikitext-2-fp16-1x128`.
    pub fn folder(&self) -> String {
        let SearchEntry { model, input, start, shape, .. } = self;
        format!("{model}-{input}-{start}-{}x{}", shape.batch, shape.sequence)
    }
}

impl fmt::Display for SearchTolerance {
    /// `cosine_min=0.999,max_flips=2`, which [`str::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let SearchTolerance { cosine_min, max_broken_rows, max_flips, max_perplexity_ratio } = self;
        let real = |limit: &Option<f64>| limit.map(|limit| limit.to_string());
        let count = |limit: &Option<u64>| limit.map(|limit| limit.to_string());
        let limits = [real(cosine_min), count(max_broken_rows), count(max_flips), real(max_perplexity_ratio)];
        let given = LIMITS.iter().zip(limits).filter_map(|(name, limit)| Some(format!("{name}={}", limit?)));
        f.write_str(&given.collect::<Vec<_>>().join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::schema::Manifest;

    fn read(searches: &str) -> Result<Vec<SearchEntry>, String> {
        let manifest = format!(
            "schema: 1\nname: test\nquestion: What?\nmodels: {{tiny: {{random: 1, architecture: bert-tiny}}}}\n\
             backends: [reference]\nprecisions: [{{name: mine, base: fp16, layer_norm_reduction: divide_first}}]\nbatch_sizes: [1]\nsequence_lengths: [8]\n\
             inputs: {{random: {{random: 7}}}}\nexpect_configurations: 1\nsearches:\n{searches}"
        );
        Manifest::parse(&manifest, "test.yaml").map(|manifest| manifest.searches).map_err(|error| error.to_string())
    }

    #[test]
    fn a_search_has_the_defaults_of_the_command_and_a_folder_named_after_what_it_searches() {
        let entries = read(
            "  - {model: tiny, input: random, tolerances: [{max_broken_rows: 0}, {cosine_min: 0.999, max_flips: 2}]}\n  \
               - {model: tiny, input: random, start: mine, batch_size: 8, sequence_length: 64, forwards: 3, held_out: 0,\n     \
                  tolerances: [{max_perplexity_ratio: 1.01}]}\n",
        )
        .unwrap();
        assert_eq!((entries[0].forwards, entries[0].held_out, entries[0].start.as_str()), (24, 64, "fp16"));
        assert_eq!(entries[0].folder(), "tiny-random-fp16-1x128");
        let texts: Vec<String> = entries[0].tolerances.iter().map(ToString::to_string).collect();
        assert_eq!(texts, ["max_broken_rows=0", "cosine_min=0.999,max_flips=2"]);
        assert_eq!(entries[1].shape, Shape { batch: 8, sequence: 64 });
        assert_eq!((entries[1].forwards, entries[1].held_out), (3, 0));
        assert_eq!(entries[1].tolerances[0].to_string(), "max_perplexity_ratio=1.01");
        assert_eq!(entries[1].time, []);
    }

    #[test]
    fn shapes_to_time_are_a_product_and_bad_ones_are_refused_with_their_place() {
        let with = |time: &str| {
            read(&format!("  - {{model: tiny, input: random, tolerances: [{{max_flips: 0}}], time: {time}}}\n"))
        };
        let entries = with("{batch_sizes: [1, 8], sequence_lengths: [16, 32]}").unwrap();
        let shapes = [(1, 16), (8, 16), (1, 32), (8, 32)].map(|(batch, sequence)| Shape { batch, sequence });
        assert_eq!(entries[0].time, shapes);
        for (time, expected) in [
            ("{batch_sizes: [1]}", "searches[0].time.sequence_lengths: missing"),
            ("[1, 8]", "searches[0].time"),
            ("{batch_sizes: [], sequence_lengths: [8]}", "searches[0].time.batch_sizes"),
            ("{batch_sizes: [1, 1], sequence_lengths: [8]}", "found `1` a second time"),
            ("{batch_sizes: [0], sequence_lengths: [8]}", "searches[0].time.batch_sizes[0]"),
            ("{batch_sizes: [1], sequence_lengths: [8], shapes: 3}", "shapes"),
        ] {
            let said = with(time).unwrap_err();
            assert!(said.contains(expected), "{time}: {said}");
        }
    }

    #[test]
    fn what_names_nothing_of_the_manifest_is_refused_with_its_place() {
        for (entry, expected) in [
            ("{model: bert, input: random, tolerances: [{max_flips: 0}]}", "searches[0].model: found `bert`"),
            ("{model: tiny, input: text, tolerances: [{max_flips: 0}]}", "searches[0].input: found `text`"),
            (
                "{model: tiny, input: random, start: his, tolerances: [{max_flips: 0}]}",
                "searches[0].start: found `his`",
            ),
            ("{model: tiny, input: random, tolerances: [{}]}", "at least one limit"),
            ("{model: tiny, input: random, tolerances: [{cosine: 1}]}", "cosine_min"),
            ("{model: tiny, input: random}", "tolerances"),
        ] {
            let said = read(&format!("  - {entry}\n")).unwrap_err();
            assert!(said.contains(expected), "{said}");
        }
        let one = "  - {model: tiny, input: random, tolerances: [{max_flips: 0}]}\n";
        let twice = read(&one.repeat(2)).unwrap_err();
        assert!(twice.contains("list its tolerances in one place"), "{twice}");
    }
}

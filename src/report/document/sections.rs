//! The sections of one machine's rows: which tables and figures stand under which title.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::Section;
use crate::analysis::facts::fails;
use crate::report::figures::{self, Figure};
use crate::report::sentences::failures;
use crate::report::table::Table;
use crate::report::{ReportError, tables};
use crate::results::data::Data;

/// The section of labelled sentences, named after SST-2 whatever the file is: names of files follow from it.
pub(super) const LABELLED_SLUG: &str = "sst2";
pub(super) const LATENCY_SLUG: &str = "latency";
pub(super) const CROSS_GPU_SLUG: &str = "cross-gpu";
pub(super) const REPEATABILITY_SLUG: &str = "repeatability";
pub(super) const ENVIRONMENT_SLUG: &str = "environment";

/// Titles and introductions of the sections, by slug.
#[derive(Deserialize)]
pub(super) struct SectionTexts(BTreeMap<String, SectionText>);

#[derive(Clone, Default, Deserialize)]
struct SectionText {
    title: String,
    text: String,
}

impl SectionTexts {
    pub fn read() -> Result<Self, ReportError> {
        serde_saphyr::from_str(include_str!("../../../paper/templates/sections.yaml"))
            .map_err(|error| ReportError::Sections(error.to_string()))
    }

    pub fn section(&self, slug: &str, figures: Vec<Figure>, tables: Vec<Table>) -> Section {
        let SectionText { title, text } = self.0.get(slug).cloned().unwrap_or_default();
        Section { slug: slug.to_owned(), title, text, leads: false, figures, tables }
    }
}

/// Full results: for the paper's appendix.
pub(super) fn appendix(tables: Vec<Table>) -> Vec<Table> {
    tables.into_iter().map(|table| Table { in_appendix: true, ..table }).collect()
}

/// The sections of one machine's rows; `headline` makes the table of the first.
pub(super) fn sections(
    texts: &SectionTexts,
    data: &Data,
    headline: &dyn Fn() -> Table,
) -> Result<Vec<Section>, ReportError> {
    let mut sections = vec![
        texts.section("headline", vec![], appendix(vec![headline()])),
        texts.section(
            LATENCY_SLUG,
            figures::latency(data)?,
            [
                tables::latency::at_some_shapes(data),
                appendix([tables::latency::latency(data), tables::latency::details(data)].concat()),
            ]
            .concat(),
        ),
        texts.section("throughput", vec![], appendix(tables::latency::throughput(data))),
        texts.section("speedup", vec![], tables::speedup::over_cpu_baseline(data)),
        texts.section("precision", figures::speedup(data)?, tables::speedup::over_fp32(data)),
        texts.section("memory", figures::memory(data)?, tables::memory::tables(data)),
    ];
    let asks_for_outputs = data.plan.numerics.forwards.is_some();
    let of_outputs = of_outputs(texts, data)?.into_iter();
    sections
        .extend(of_outputs.map(|section| Section { leads: asks_for_outputs && section.shows_something(), ..section }));
    sections.extend([
        texts.section(CROSS_GPU_SLUG, vec![], vec![]),
        texts.section("engines", vec![], appendix(vec![tables::engines::engines(data)])),
        texts.section(REPEATABILITY_SLUG, vec![], appendix(vec![tables::noise::noise_floor(data)])),
    ]);
    sections.extend(of_the_run(texts, data));
    mark_failing(sections.iter_mut().flat_map(|section| &mut section.tables), data);
    Ok(sections)
}

/// Marks the configurations whose outputs fail, in every table that shows one.
pub(super) fn mark_failing<'a>(tables: impl Iterator<Item = &'a mut Table>, data: &Data) {
    let failing = data.measured().filter(|row| fails(row) == Some(true)).map(|row| row.id.as_str()).collect();
    let footnote = failures::footnote(data.plan.numerics);
    tables.for_each(|table| table.mark_failing(&failing, &footnote));
}

/// Sections about outputs: fidelity and task quality.
pub(super) fn of_outputs(texts: &SectionTexts, data: &Data) -> Result<Vec<Section>, ReportError> {
    let mut numerics = tables::outputs::by_input(data);
    let worst = vec![tables::numerics::worst(data), tables::forwards::provenance(data)];
    numerics.extend(appendix([worst, tables::numerics::by_shape(data), tables::headroom::headroom(data)].concat()));
    let mut text = tables::forwards::rates(data);
    text.push(tables::quality::perplexity(data));
    let text = appendix(text);
    let scores = tables::scores::scores(data);
    let mut quality = vec![tables::quality::quality(data)];
    quality.retain(|table| table.empty.is_none() || scores.is_empty());
    quality.extend(Some(tables::quality::flipped_sentences(data)).filter(|table| table.empty.is_none()));
    Ok(vec![
        texts.section("numerics", figures::numerics(data)?, numerics),
        texts.section(LABELLED_SLUG, vec![], [quality, scores].concat()),
        texts.section("wikitext", vec![], text),
    ])
}

/// What ran, and where.
pub(super) fn of_the_run(texts: &SectionTexts, data: &Data) -> [Section; 2] {
    let configurations = appendix(vec![
        tables::configurations::overview(data),
        tables::configurations::failures(data),
        tables::configurations::excluded(data),
    ]);
    let mut environments = appendix(tables::environment::environments(data));
    environments.extend(appendix(tables::device::state(data).into_iter().collect()));
    [texts.section("configurations", vec![], configurations), texts.section(ENVIRONMENT_SLUG, vec![], environments)]
}

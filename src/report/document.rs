//! The report as one value: everything templates print, as text that is formatted already.

mod sections;

use std::collections::BTreeSet;
use std::path::Path;

use serde::Serialize;

use super::entries::{Entry, entries};
use super::figures::Figure;
use super::macros::{Macro, macros};
use super::sentences::claims::{WordedSecond, WordedVerdict, summary};
use super::sentences::{caveats, disturbances, pins, tasks};
use super::table::Table;
use super::{ReportError, figures, tables};
use crate::analysis::agreement;
use crate::analysis::agreement::{Agreement, Limits};
use crate::claims::headline::{Headline, headlines};
use crate::claims::{Claims, Outcome, Verdict};
use crate::record::certificate::Certificate;
use crate::results::data::Data;
use crate::results::machines::{Machine, machines};
use crate::results::peers::PeerRow;
use crate::results::study::{Study, run_of_repeat};
use sections::{
    CROSS_GPU_SLUG, ENVIRONMENT_SLUG, LABELLED_SLUG, LATENCY_SLUG, REPEATABILITY_SLUG, SectionTexts, appendix,
    mark_failing, of_outputs, of_the_run, sections,
};

/// A report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Document {
    /// Manifest name.
    pub name: String,
    /// The manifest's question.
    pub question: String,
    /// What a reader should know first: label and value.
    pub facts: Vec<Fact>,
    /// What limits the numbers.
    pub caveats: Vec<String>,
    /// Claims of the paper, judged.
    pub claims: Vec<ClaimView>,
    /// Findings of our own, judged.
    pub findings: Vec<ClaimView>,
    /// Number of claims by verdict.
    pub claims_summary: String,
    /// Whether the loaded versions match the pins; shown under the claims and every table.
    pub pins: String,
    /// Tables and figures.
    pub sections: Vec<Section>,
    /// Numbers for prose.
    pub macros: Vec<Macro>,
    /// What is known of each configuration that the rest names.
    pub entries: Vec<Entry>,
}

/// A label and its value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Fact {
    /// Label.
    pub label: String,
    /// Value.
    pub value: String,
}

/// A claim as shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClaimView {
    /// The verdict.
    #[serde(flatten)]
    pub verdict: WordedVerdict,
    /// PASS, FAIL, …
    pub label: String,
    /// Value, interval and the mark of emulation, or a dash.
    pub shown: String,
    /// Models and inputs of the rows that answered; empty where none did.
    pub answered_by: String,
    /// `pass`, `fail`, `open`: colour.
    pub tone: String,
    /// Ids of the configurations that its value is computed from.
    pub provenance: Vec<String>,
    /// The second reading, where the claim has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub second: Option<Box<SecondView>>,
}

/// A second reading as shown.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SecondView {
    /// What it counts and the literal reading does not.
    pub counts: String,
    /// The verdict.
    #[serde(flatten)]
    pub view: ClaimView,
}

/// Tables and figures of one subject.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Section {
    /// File name part and anchor.
    pub slug: String,
    /// Title.
    pub title: String,
    /// What it shows and how to read it.
    pub text: String,
    /// Whether it answers what the experiment asks, so that a page shows it before everything else.
    pub leads: bool,
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
}

impl Section {
    fn shows_something(&self) -> bool {
        self.tables.iter().any(|table| table.empty.is_none())
            || self.figures.iter().any(|figure| figure.empty.is_none())
    }

    /// Splits the section into the part for the paper's text and the part for its appendix; what is empty stands at the end.
    pub fn on_paper(&self) -> (Section, Section) {
        let mut tables = self.tables.clone();
        tables.sort_by_key(|table| table.empty.is_some());
        let (last_tables, tables) = tables.into_iter().partition(|table| table.in_appendix);
        let (last_figures, figures) = self.figures.iter().cloned().partition(|figure| figure.in_appendix);
        let own = |figures, tables| Section { figures, tables, ..self.clone() };
        (own(figures, tables), own(last_figures, last_tables))
    }
}

/// Assembles the report.
///
/// # Errors
/// [`ReportError::Figure`], or [`ReportError::Repeat`] when a repeat is not of the main run.
pub fn document(study: &Study, claims: &Claims, verdicts: Vec<Verdict>) -> Result<Document, ReportError> {
    let data = &study.main;
    let texts = SectionTexts::read()?;
    let machines = machines(data);
    let repeats = study.repeats.iter().enumerate().map(|(index, repeat)| repeated(data, &run_of_repeat(index), repeat));
    let repeats = repeats.collect::<Result<Vec<Agreement>, _>>()?;
    let found: Vec<Vec<Headline>> = machines.iter().map(|machine| headlines(&machine.data, claims)).collect();
    let mut sections = match machines.as_slice() {
        [one] => sections(&texts, &one.data, &|| {
            tables::headline::headline(&one.data, &found[0], &verdicts, &|verdict| verdict.outcome)
        })?,
        several => of_machines(&texts, several, &found, &verdicts)?,
    };
    let mut add = |slug: &str, tables: Vec<Table>| {
        if let Some(section) = sections.iter_mut().find(|section| section.slug == slug) {
            section.tables.extend(tables);
        }
    };
    let mut across = appendix(vec![tables::cross_gpu::cross_gpu(&machines, &verdicts)]);
    let mut repeated = tables::agreement::agreement(&repeats, data);
    mark_failing(across.iter_mut().chain(&mut repeated), data);
    add(CROSS_GPU_SLUG, across);
    add(REPEATABILITY_SLUG, repeated);
    for table in sections.iter_mut().flat_map(|section| &mut section.tables).filter(|table| table.pins.is_none()) {
        table.pins = Some(pins::under(table, data));
    }
    if let Some(section) = sections.iter_mut().find(|section| section.slug == ENVIRONMENT_SLUG) {
        add_environments(section, &study.repeats);
    }
    for other in &study.others {
        join(&texts, &mut sections, other)?;
    }
    for section in sections.iter_mut().filter(|section| section.slug == LABELLED_SLUG) {
        section.title = tasks::title(std::iter::once(data).chain(&study.others), &section.title);
    }
    add_searches(&texts, &mut sections, &study.searches)?;
    add_peers(&texts, &mut sections, &study.peers)?;
    sections.iter_mut().for_each(shorten);
    let (findings, of_paper) = verdicts
        .iter()
        .map(|verdict| view(verdict, WordedVerdict::of(verdict)))
        .partition(|view| view.verdict.finding.is_some());
    let pins = pins::note(std::iter::once(data).chain(&study.others).flat_map(|data| &data.rows));
    Ok(Document {
        name: data.plan.name.clone(),
        question: data.plan.question.clone(),
        facts: caveats::facts(data),
        caveats: all_caveats(study),
        claims_summary: summary(&verdicts),
        macros: macros(study, found.first().map(Vec::as_slice).unwrap_or_default(), &verdicts, &repeats),
        pins,
        sections,
        claims: of_paper,
        findings,
        entries: entries(study),
    })
}

/// Adds the section of minimal sets, where there are any, before what follows the outputs.
fn add_searches(
    texts: &SectionTexts,
    sections: &mut Vec<Section>,
    searches: &[Certificate],
) -> Result<(), ReportError> {
    if !searches.is_empty() {
        let figures = vec![figures::minimal_sets(searches)?];
        let sets = [tables::searches::minimal_sets(searches)].into_iter();
        let tables = sets.chain(tables::searches::policy_times(searches)).collect();
        let at = sections.iter().position(|section| section.slug == CROSS_GPU_SLUG).unwrap_or(sections.len());
        sections.insert(at, texts.section("searches", figures, tables));
    }
    Ok(())
}

/// Adds the section of other engines, where any was timed beside mixprec, behind that of latencies.
fn add_peers(texts: &SectionTexts, sections: &mut Vec<Section>, peers: &[PeerRow]) -> Result<(), ReportError> {
    if !peers.is_empty() {
        let at = sections.iter().position(|section| section.slug == LATENCY_SLUG).map_or(0, |latency| latency + 1);
        sections.insert(at, texts.section("peers", vec![figures::peers(peers)?], vec![tables::peers::peers(peers)]));
    }
    Ok(())
}

/// Leaves to the appendix what the paper's text has no room for: long tables, and of figures of one kind all but the first that
/// was drawn.
fn shorten(section: &mut Section) {
    for table in &mut section.tables {
        table.in_appendix |= table.rows.len() > LONGEST_IN_TEXT;
    }
    let mut shown = BTreeSet::new();
    for figure in section.figures.iter_mut().filter(|figure| figure.svg.is_some() && !figure.in_appendix) {
        figure.in_appendix = figures::kind(&figure.slug).is_some_and(|kind| !shown.insert(kind));
    }
}

fn repeated(data: &Data, run: &str, repeat: &Data) -> Result<Agreement, ReportError> {
    let (first, second) = (Path::new("the first run"), format!("the {run} run"));
    agreement::agreement((first, data), (Path::new(&second), repeat), Limits::default())
        .map_err(|error| ReportError::Repeat(Box::new(error)))
}

/// The main run's caveats, then those of other experiments by name.
fn all_caveats(study: &Study) -> Vec<String> {
    let named = study.others.iter().flat_map(|other| {
        let name = &other.plan.name;
        let caveats = caveats::of_outputs(other).into_iter().chain(disturbances::sentences(other, false));
        caveats.map(move |caveat| format!("Experiment {name}: {caveat}"))
    });
    caveats::caveats(&study.main).into_iter().chain(named).collect()
}

/// Most rows of a table in the paper's text.
const LONGEST_IN_TEXT: usize = 16;

/// Adds the environments of repeats, which are numbered from 2; one of the run itself is shown already.
fn add_environments(section: &mut Section, repeats: &[Data]) {
    let own: Vec<String> = section.tables.iter().map(|table| table.slug.clone()).collect();
    for (index, repeat) in repeats.iter().enumerate() {
        for table in tables::environment::environments(repeat) {
            if table.empty.is_some() || own.contains(&table.slug) {
                continue;
            }
            let of_run = format!("The {} run: {}", run_of_repeat(index), table.caption);
            let slug = format!("repeat-{}", table.slug);
            if let Some(known) = section.tables.iter_mut().find(|known| known.slug == slug) {
                known.caption = format!("{} {of_run}", known.caption);
                continue;
            }
            let pins = Some(pins::under(&table, repeat));
            section.tables.push(Table { slug, caption: of_run, pins, in_appendix: true, ..table });
        }
    }
}

/// Adds another experiment's outputs, engines, configurations and machines. Its times do not answer the main run's
/// question and stay in its own report. Where it fills a table that the main run leaves empty, the empty one is
/// removed.
fn join(texts: &SectionTexts, sections: &mut [Section], other: &Data) -> Result<(), ReportError> {
    let name = &other.plan.name;
    let mut own = of_outputs(texts, other)?;
    own.push(texts.section("engines", vec![], appendix(vec![tables::engines::engines(other)])));
    own.extend(of_the_run(texts, other));
    mark_failing(own.iter_mut().flat_map(|section| &mut section.tables), other);
    for theirs in own {
        let Some(section) = sections.iter_mut().find(|section| section.slug == theirs.slug) else { continue };
        let slug = |slug: &str| format!("{}-{slug}", crate::results::data::slug(name));
        let caption = |caption: &str| format!("{caption} Experiment {name}.");
        for table in theirs.tables.into_iter().filter(|table| table.empty.is_none()) {
            section.tables.retain(|known| known.empty.is_none() || !table.slug.starts_with(&known.slug));
            // An environment of the main run is shown already.
            let environment = table.slug.starts_with(ENVIRONMENT_SLUG);
            if !(environment && section.tables.iter().any(|known| known.slug == table.slug)) {
                let (slug, caption) = (slug(&table.slug), caption(&table.caption));
                let pins = Some(pins::under(&table, other));
                section.tables.push(Table { slug, caption, pins, ..table });
            }
        }
        for figure in theirs.figures.into_iter().filter(|figure| figure.empty.is_none()) {
            section.figures.retain(|known| known.empty.is_none() || known.slug != figure.slug);
            section.figures.push(Figure { slug: slug(&figure.slug), caption: caption(&figure.caption), ..figure });
        }
    }
    Ok(())
}

/// The sections of each machine's own rows, one under the other. A table that is equal for all machines appears once.
fn of_machines(
    texts: &SectionTexts,
    machines: &[Machine],
    found: &[Vec<Headline>],
    verdicts: &[Verdict],
) -> Result<Vec<Section>, ReportError> {
    let each = machines.iter().enumerate().map(|(number, machine)| {
        let outcome =
            |verdict: &Verdict| verdict.machines().get(number).map_or(verdict.outcome, |own| own.verdict.outcome);
        sections(texts, &machine.data, &|| {
            tables::headline::headline(&machine.data, &found[number], verdicts, &outcome)
        })
    });
    let each = each.collect::<Result<Vec<_>, _>>()?;
    let mut joined: Vec<Section> = Vec::new();
    for (index, first) in each.first().into_iter().flatten().enumerate() {
        let mut section = Section { figures: vec![], tables: vec![], ..first.clone() };
        if first.slug == ENVIRONMENT_SLUG {
            section.tables = vec![
                tables::machines::machines(machines),
                tables::machines::claims(machines, &WordedVerdict::all(verdicts)),
            ];
        }
        for (number, machine) in machines.iter().enumerate() {
            let own = &each[number][index];
            let place = format!("Machine {}: {}.", number + 1, machine.label);
            let slug = |slug: &str| format!("machine-{}-{slug}", number + 1);
            for figure in &own.figures {
                let caption = format!("{} {place}", figure.caption);
                section.figures.push(Figure { slug: slug(&figure.slug), caption, ..figure.clone() });
            }
            for table in &own.tables {
                if each.iter().all(|other| other[index].tables.contains(table)) {
                    section.tables.extend((number == 0).then(|| table.clone()));
                    continue;
                }
                let caption = format!("{} {place}", table.caption);
                let pins = Some(pins::under(table, &machine.data));
                section.tables.push(Table { slug: slug(&table.slug), caption, pins, ..table.clone() });
            }
        }
        joined.push(section);
    }
    Ok(joined)
}

fn view(judged: &Verdict, mut verdict: WordedVerdict) -> ClaimView {
    let second = verdict.second.take().map(|second| {
        let WordedSecond { counts, verdict } = *second;
        Box::new(SecondView { counts, view: view(judged.second.as_deref().unwrap_or(judged), verdict) })
    });
    let shown = verdict.shown_with_limits();
    let tone = match verdict.outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Undecided | Outcome::NotRun | Outcome::NoHardware => "open",
    };
    // The reason names the experiment where it is another.
    let answered_by = verdict.answered.labels();
    let provenance = judged.provenance();
    ClaimView {
        label: verdict.outcome.label().to_owned(),
        shown,
        answered_by,
        tone: tone.to_owned(),
        provenance,
        verdict,
        second,
    }
}

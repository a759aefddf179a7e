//! The report as one value: everything templates print, as text that is formatted already.

use serde::Serialize;

use super::claims::print::summary;
use super::claims::{Outcome, Verdict};
use super::data::Data;
use super::figures::{self, Figure, FigureError};
use super::machines::{Machine, machines};
use super::macros::{Macro, macros};
use super::table::Table;
use super::{caveats, pins, tables};

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
    /// Claims, judged.
    pub claims: Vec<ClaimView>,
    /// How many of which verdict.
    pub claims_summary: String,
    /// Whether what was loaded was what is pinned: under the claims and every table.
    pub pins: String,
    /// Tables and figures.
    pub sections: Vec<Section>,
    /// Numbers for prose.
    pub macros: Vec<Macro>,
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
    pub verdict: Verdict,
    /// PASS, FAIL, …
    pub label: String,
    /// Value, interval and the mark of emulation, or a dash.
    pub shown: String,
    /// Models and inputs that answered; empty where none did.
    pub answered_by: String,
    /// `pass`, `fail`, `open`: colour.
    pub tone: String,
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
    /// Figures.
    pub figures: Vec<Figure>,
    /// Tables.
    pub tables: Vec<Table>,
}

/// Assembles the report.
///
/// # Errors
/// [`FigureError::Draw`].
pub fn document(data: &Data, verdicts: Vec<Verdict>) -> Result<Document, FigureError> {
    let machines = machines(data);
    let mut sections = match machines.as_slice() {
        [one] => sections(&one.data)?,
        several => of_machines(several, &verdicts)?,
    };
    if let Some(speedup) = sections.iter_mut().find(|section| section.slug == SPEEDUP_SLUG) {
        speedup.tables.push(tables::cross_gpu::cross_gpu(&machines, &verdicts));
    }
    let pins = pins::note(data);
    for table in sections.iter_mut().flat_map(|section| &mut section.tables) {
        table.pins.get_or_insert_with(|| pins.clone());
    }
    Ok(Document {
        name: data.plan.name.clone(),
        question: data.plan.question.clone(),
        facts: caveats::facts(data),
        caveats: caveats::caveats(data),
        claims_summary: summary(&verdicts),
        macros: macros(data, &verdicts),
        pins,
        sections,
        claims: verdicts.into_iter().map(view).collect(),
    })
}

fn sections(data: &Data) -> Result<Vec<Section>, FigureError> {
    let section = |slug: &str, title: &str, text: &str, figures: Vec<Figure>, tables: Vec<Table>| Section {
        slug: slug.to_owned(),
        title: title.to_owned(),
        text: text.to_owned(),
        figures,
        tables,
    };
    let mut speedups = tables::speedup::over_cpu_baseline(data);
    speedups.extend(tables::speedup::over_fp32(data));
    let mut numerics = vec![tables::numerics::worst(data)];
    numerics.extend(tables::numerics::by_shape(data));
    numerics.extend(tables::passes::rates(data));
    numerics.push(tables::passes::provenance(data));
    numerics.extend(tables::headroom::headroom(data));
    let configurations = vec![
        tables::configurations::overview(data),
        tables::configurations::failures(data),
        tables::configurations::excluded(data),
    ];
    let mut environments = tables::environment::environments(data);
    environments.extend(tables::device::state(data));
    Ok(vec![
        section("latency", "Latency", LATENCY, figures::latency(data)?, tables::latency::latency(data)),
        section("throughput", "Throughput", THROUGHPUT, vec![], tables::latency::throughput(data)),
        section(SPEEDUP_SLUG, "Speed-up", SPEEDUP, figures::speedup(data)?, speedups),
        section("memory", "Memory", MEMORY, figures::memory(data)?, vec![tables::memory::memory(data)]),
        section("numerics", "Numerics", NUMERICS, figures::numerics(data)?, numerics),
        section("engines", "Engines", ENGINES, vec![], vec![tables::engines::engines(data)]),
        section(
            "quality",
            "Task quality",
            QUALITY,
            vec![],
            vec![tables::quality::quality(data), tables::quality::perplexity(data)],
        ),
        section("configurations", "Configurations and failures", CONFIGURATIONS, vec![], configurations),
        section(ENVIRONMENT_SLUG, "Environment", ENVIRONMENT, vec![], environments),
    ])
}

/// The sections of each machine's own rows, one under the other. What is the same for all of them stands once.
fn of_machines(machines: &[Machine], verdicts: &[Verdict]) -> Result<Vec<Section>, FigureError> {
    let each = machines.iter().map(|machine| sections(&machine.data)).collect::<Result<Vec<_>, _>>()?;
    let mut joined: Vec<Section> = Vec::new();
    for (index, first) in each.first().into_iter().flatten().enumerate() {
        let mut section = Section { figures: vec![], tables: vec![], ..first.clone() };
        if first.slug == ENVIRONMENT_SLUG {
            section.tables = vec![tables::machines::machines(machines), tables::machines::claims(machines, verdicts)];
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
                let pins = Some(pins::note(&machine.data));
                section.tables.push(Table { slug: slug(&table.slug), caption, pins, ..table.clone() });
            }
        }
        joined.push(section);
    }
    Ok(joined)
}

const SPEEDUP_SLUG: &str = "speedup";
const ENVIRONMENT_SLUG: &str = "environment";

const LATENCY: &str = "Wall time of one forward pass, by one clock around enqueueing the pass and waiting for its end. The \
                       headline is the median with its seeded bootstrap 95 % interval. Where there is a device, its own time \
                       of the same passes follows, between two events around the pass: it leaves out the way back to \
                       the host. Time end to end, with binding and copying, is a series of its own. Grey columns are \
                       emulated.";
const THROUGHPUT: &str = "The same medians as tokens per second. Sequences per second are tokens per second over the \
                          sequence length. What a device sustains with passes enqueued back to back, and the energy they \
                          take, follow where they were measured.";
const SPEEDUP: &str = "Quotients of medians at the same model, shape and input. An interval divides the ends of both medians' \
                       intervals crosswise and covers with at least 90 %. Emulated rows take no part.";
const MEMORY: &str = "Three different things that must not be mixed: the measured peak of the process, the engine's own \
                      account, and sizes computed from the graph.";
const NUMERICS: &str = "Outputs against the reference backend in FP32. Non-finite elements are counted first; a row that holds \
                        one has no cosine, and passes no comparison. Where the manifest asks for several forward passes, \
                        rates follow, with the silent failures that no count of NaN shows, the operation at which each bad \
                        configuration went wrong, and how much room FP16 leaves above the magnitudes of FP32.";
const ENGINES: &str = "Engines that are built ahead of time, for the machine of the run or for another. A policy is audited \
                       before it is built: an engine whose network computes in other types than the policy asks is a failed \
                       row, not a slower one.";
const QUALITY: &str = "Accuracy on labelled sentences and perplexity on text, where the run has such inputs.";
const CONFIGURATIONS: &str = "What the plan holds, what failed and why, and what the manifest leaves out and why.";
const ENVIRONMENT: &str = "Where the rows were measured. Every row of the results names its environment.";

fn view(verdict: Verdict) -> ClaimView {
    let mut shown = verdict.measured.clone().unwrap_or_else(|| "–".to_owned());
    if let Some(interval) = &verdict.interval {
        shown = format!("{shown} {interval}");
    }
    for limit in verdict.answered.limits() {
        shown = format!("{shown}, {limit}");
    }
    let tone = match verdict.outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "fail",
        Outcome::Undecided | Outcome::NotRun | Outcome::NoHardware => "open",
    };
    let answered_by = verdict.answered.labels();
    ClaimView { label: verdict.outcome.label().to_owned(), shown, answered_by, tone: tone.to_owned(), verdict }
}

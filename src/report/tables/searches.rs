//! Minimal sets of operations that need FP32, a row for each model, input and tolerance, and how long the policies take.

use std::collections::BTreeSet;

use crate::engine::Launches;
use crate::graph::Shape;
use crate::numbers;
use crate::provenance::BuildInfo;
use crate::record::certificate::{Certificate, PolicyTiming, TimedPolicy};
use crate::report::sentences::searches::{operations, subject, tolerance};
use crate::report::table::{Heading, Note, Table, TableCell};
use crate::stats::Interval;

const CAPTION: &str = "Operations that need FP32 where all others compute as the policy at the start says: a set that keeps the \
                       tolerance on the forwards searched, and breaks it without any one of its members. How it does on \
                       forwards that it was not searched on.";
const NOTE: &str = "No NaN and no infinity is allowed besides the tolerance. The share of held-out forwards that break it has a 95 % \
                    interval (Clopper–Pearson). Forwards are evaluations of a set on a batch, those held out and random supersets \
                    among them; the time is that of the search's engines.";
const TIME_NOTE: &str = "The time of the policy is that of a forward on a device, over the time of full FP16 (median over rounds in \
                         which they alternate).";
const TIMES_CAPTION: &str = "Policies on a device: full FP16, the hybrid, and what a search left in FP32. Wall time of a forward in \
                             one process, blocks of all policies in turn, and over the time of full FP16; memory of the engine; \
                             energy of the whole board; kernels of a forward, all and of single operations.";
const TIMES_NOTE: &str = "Intervals are a bootstrap over rounds, 95 %. A kernel of a single operation rounds every step; all others are \
                          products and fused kernels.";

/// The table of these certificates.
pub fn minimal_sets(searches: &[Certificate]) -> Table {
    const HELD_OUT: &str = "held-out forwards";
    const SEARCH: &str = "search";
    const TIME: &str = "time";
    let mut headings = vec![
        Heading::text("Model and input"),
        Heading::text("Tolerance"),
        Heading::number("FP32"),
        Heading::number("of"),
        Heading::sentences("Operations in FP32", 5),
        Heading::interval("breaking").under(HELD_OUT),
        Heading::number("smallest cosine").under(HELD_OUT),
        Heading::number("sets").under(SEARCH),
        Heading::number("forwards").under(SEARCH),
        Heading::number("s").under(SEARCH),
    ];
    let timed = searches.iter().any(|one| one.timed_policy().is_some());
    if timed {
        headings.extend([Heading::interval("of fp16").under(TIME), Heading::number("kernels").under(TIME)]);
    }
    let mut table = Table::new("searches", CAPTION, headings);
    for one in searches {
        let times = if timed { times(one) } else { vec![] };
        table.push(cells(one).into_iter().chain(times).collect());
    }
    if timed {
        table.notes.push(Note { mark: String::new(), text: TIME_NOTE.to_owned() });
    }
    table.notes.push(Note { mark: String::new(), text: NOTE.to_owned() });
    table.pins = Some(provenance(searches));
    Table { in_appendix: true, ..table.rule_between_groups(1) }
}

fn cells(found: &Certificate) -> Vec<TableCell> {
    let (held_out, searched) = (&found.held_out, &found.evaluations);
    let names = operations(found);
    let share = held_out.breaking_share.map(|share| {
        let [low, high] = [share.low, share.high].map(numbers::percent);
        format!("[{low}, {high}]")
    });
    let breaking = match held_out.totals.forwards {
        0 => TableCell::dash(),
        all => TableCell { detail: share, ..TableCell::new(format!("{} of {all}", held_out.breaking.len())) },
    };
    vec![
        subject(found).into(),
        tolerance(&found.tolerance).into(),
        numbers::count(found.operations.len() as u64).into(),
        numbers::count(found.subject.candidates as u64).into(),
        TableCell::optional(Some(names).filter(|names| !names.is_empty())),
        breaking,
        TableCell::optional(held_out.totals.cosine_min.map(numbers::cosine)),
        numbers::count(searched.sets as u64).into(),
        numbers::count(searched.forwards as u64).into(),
        numbers::significant(searched.wall_s, 3).into(),
    ]
}

/// How long the policy takes, and in how many kernels.
fn times(found: &Certificate) -> Vec<TableCell> {
    let one = found.timed_policy();
    vec![
        one.map_or_else(TableCell::dash, |one| ranged(one.ratio, one.ratio_interval)),
        TableCell::optional(one.and_then(|one| one.launches).map(|all| all.kernels.to_string())),
    ]
}

fn ranged(value: f64, interval: Option<Interval>) -> TableCell {
    let (text, detail) = numbers::with_interval(value, interval.map(|of| (of.low, of.high)), 4);
    TableCell { detail, ..TableCell::new(text) }
}

/// The times of the policies at every shape, one table; `None` where none were timed.
pub fn policy_times(searches: &[Certificate]) -> Option<Table> {
    const MEMORY: &str = "MiB";
    const KERNELS: &str = "kernels";
    let headings = vec![
        Heading::text("Model and input"),
        Heading::text("Tolerance"),
        Heading::text("Shape"),
        Heading::text("Policy"),
        Heading::interval("ms"),
        Heading::number("of fp16"),
        Heading::number("weights").under(MEMORY),
        Heading::number("activations").under(MEMORY),
        Heading::number("J"),
        Heading::number("all").under(KERNELS),
        Heading::number("single").under(KERNELS),
    ];
    let mut table = Table::new("search-times", TIMES_CAPTION, headings);
    let mut devices = BTreeSet::new();
    for one in searches {
        let Some(PolicyTiming::Timed(shapes)) = &one.timing else { continue };
        for timed in shapes.iter().filter(|timed| timed.failure.is_none()) {
            devices.insert(format!("{} with {}", timed.device.as_deref().unwrap_or("a device"), timed.library));
            timed.policies.iter().for_each(|policy| table.push(time_cells(one, timed.shape, policy)));
        }
    }
    table.notes.push(Note { mark: String::new(), text: TIMES_NOTE.to_owned() });
    table.pins = Some(format!("Timed on {}.", devices.iter().cloned().collect::<Vec<_>>().join(" and ")));
    (!devices.is_empty()).then(|| table.rule_between_groups(1))
}

fn time_cells(of: &Certificate, Shape { batch, sequence }: Shape, one: &TimedPolicy) -> Vec<TableCell> {
    let count = |of: fn(&Launches) -> usize| one.launches.as_ref().map(|all| of(all).to_string());
    // The shape of the search and its backend are in the table of sets.
    vec![
        format!("{}, {}", of.subject.model, of.subject.input).into(),
        tolerance(&of.tolerance).into(),
        format!("{batch}×{sequence}").into(),
        one.policy.clone().into(),
        ranged(one.median_ms, one.median_interval_ms),
        numbers::significant(one.ratio, 4).into(),
        TableCell::optional(one.memory.weights_bytes.map(numbers::mebibytes)),
        TableCell::optional(one.memory.activations_bytes.map(numbers::mebibytes)),
        TableCell::optional(one.energy_j.map(|joules| numbers::significant(joules, 3))),
        TableCell::optional(count(|all| all.kernels)),
        TableCell::optional(count(|all| all.single_operations)),
    ]
}

/// What searched, and where it confirmed what it found.
fn provenance(searches: &[Certificate]) -> String {
    let joined = |all: BTreeSet<String>| all.into_iter().collect::<Vec<_>>().join(" and ");
    let libraries = joined(searches.iter().map(|one| one.subject.library.clone()).collect());
    let builds = joined(searches.iter().filter_map(|one| one.build.as_ref()).map(BuildInfo::summary).collect());
    let by = if builds.is_empty() { String::new() } else { format!(", by {builds}") };
    let confirmed = searches.iter().filter_map(|one| one.confirmation.as_ref().map(|found| (one, found)));
    let confirmed: Vec<String> = confirmed
        .map(|(one, found)| match found.breaks {
            None => format!("{} keeps the tolerance on {}", subject(one), found.backend),
            Some(breakage) => format!("{} breaks it on {} ({breakage})", subject(one), found.backend),
        })
        .collect();
    let confirmed = if confirmed.is_empty() { String::new() } else { format!(" {}.", confirmed.join("; ")) };
    format!("Searched with {libraries}{by}.{confirmed}")
}

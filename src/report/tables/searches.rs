//! Minimal sets of operations that need FP32, a row for each model, input and tolerance.

use std::collections::BTreeSet;

use crate::numbers;
use crate::provenance::BuildInfo;
use crate::record::certificate::Certificate;
use crate::report::sentences::searches::{operations, subject, tolerance};
use crate::report::table::{Heading, Note, Table, TableCell};

const CAPTION: &str = "Operations that need FP32 where all others compute as the policy at the start says: a set that keeps the \
                       tolerance on the forwards searched, and breaks it without any one of its members. How it does on \
                       forwards that it was not searched on.";
const NOTE: &str = "No NaN and no infinity is allowed besides the tolerance. The share of held-out forwards that break it has a 95 % \
                    interval (Clopper–Pearson). Forwards are evaluations of a set on a batch, those held out and random supersets \
                    among them; the time is that of the search's engines.";

/// The table of these certificates.
pub fn minimal_sets(searches: &[Certificate]) -> Table {
    const HELD_OUT: &str = "held-out forwards";
    const SEARCH: &str = "search";
    let headings = vec![
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
    let mut table = Table::new("searches", CAPTION, headings);
    searches.iter().for_each(|one| table.push(cells(one)));
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

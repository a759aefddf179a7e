//! The quantities of the paper's abstract, here and there.

use crate::claims::findings::Disturbed;
use crate::claims::headline::{Headline, HeadlineValue};
use crate::claims::{Outcome, Verdict};
use crate::report::sentences;
use crate::report::table::{Heading, Note, Notes, Table, TableCell};
use crate::results::data::{Data, distinct, timed};

const SLUG: &str = "headline";
const CAPTION: &str = "The paper's speeds, sizes and cosines, measured here: the typical value over all configurations \
                       that have one, the extremes, the paper's value, and the verdict on its claim.";
/// A row per quantity; the sentences are its notes. `outcome` is the outcome of a claim by these results, or by those
/// of one machine.
pub fn headline(data: &Data, found: &[Headline], verdicts: &[Verdict], outcome: &dyn Fn(&Verdict) -> Outcome) -> Table {
    let headings = vec![
        Heading::text("Claim"),
        Heading::sentences("Quantity", 4),
        Heading::interval("Typical"),
        Heading::interval("Lowest"),
        Heading::interval("Highest"),
        Heading::sentences("Paper", 2),
        Heading::text("Verdict"),
    ];
    let mut table = Table::new(SLUG, CAPTION, headings);
    let mut notes = Notes::default();
    let of = |claim: &str| verdicts.iter().find(|verdict| verdict.claim.id == claim);
    for found in found {
        let verdict = found.claim().and_then(of);
        table.push(spread_cells(found, verdict, outcome, &mut notes));
    }
    table.notes = notes.finish();
    let text = "Typical is the geometric mean of ratios, with an interval from all lower and from all upper ends, and \
                the median of other quantities. Intervals of ratios divide the ends of both medians' 95 % intervals \
                crosswise.";
    table.notes.push(Note { mark: String::new(), text: text.to_owned() });
    let timed_backends = distinct(data.rows.iter().filter(|row| timed(row)).map(|row| row.backend));
    table.notes.extend(sentences::noise::note(data, &timed_backends));
    table
}

fn spread_cells(
    found: &Headline,
    verdict: Option<&Verdict>,
    outcome: &dyn Fn(&Verdict) -> Outcome,
    notes: &mut Notes,
) -> Vec<TableCell> {
    let quantity = TableCell { mark: Some(notes.mark(&found.sentence())), ..TableCell::new(&found.spec.quantity) };
    // Of pairs left out the sentence tells.
    let decides_nothing = found.disturbed.filter(|disturbed| *disturbed == Disturbed::All);
    let mark = decides_nothing.map(|disturbed| notes.mark(&disturbed.footnote()));
    let cell = |value| {
        let (text, detail) = found.unit.write(value);
        TableCell { text, detail, mark: mark.clone(), ..TableCell::default() }
    };
    let extreme = |located: Option<&HeadlineValue>| {
        let traced = |located: &HeadlineValue| TableCell { rows: located.rows.clone(), ..cell(located.value) };
        located.map_or_else(TableCell::dash, |located| traced(located).failing_if(located.fails))
    };
    // Its extremes may keep what rows of the other break.
    let elsewhere = verdict.and_then(|verdict| Some((&verdict.claim.id, verdict.other_experiment()?)));
    let judged = elsewhere.map(|(claim, experiment)| {
        notes.mark(&format!("Rows of the experiment {experiment} decide {claim}; none of them is in this table."))
    });
    vec![
        found.claim().unwrap_or_default().into(),
        quantity,
        found.typical().map_or_else(TableCell::dash, |typical| TableCell { rows: found.rows(), ..cell(typical) }),
        extreme(found.lowest()),
        extreme(found.highest()),
        TableCell::optional(verdict.and_then(|verdict| verdict.claim.paper_value.clone())),
        TableCell { mark: judged, ..TableCell::optional(verdict.map(|verdict| outcome(verdict).label().to_owned())) },
    ]
}

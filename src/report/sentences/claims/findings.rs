//! What one check found, in words.

use super::values;
use crate::claims::findings::{
    CheckFinding, Disturbed, Elimination, EventCount, IntervalRule, Observed, PairedAnswers, Reduced, RowName,
};
use crate::claims::schema::{Check, Event, Expression, Filter, Pairing, Quantity, Reduce, Share};
use crate::numbers;
use crate::record::InputKind;
use crate::stats::clopper_pearson;

/// What one check found.
pub(super) struct WordedFinding {
    /// What the value is called; `None` where the claims file has no name for it.
    pub name: Option<String>,
    /// The value.
    pub measured: Option<String>,
    /// Its interval.
    pub interval: Option<String>,
    /// How that was formed; empty where nothing could have one.
    pub method: &'static str,
    /// What was found; empty where nothing was.
    pub explanation: String,
    /// What was left out and why, or what speaks against it.
    pub left_out: Option<String>,
}

impl WordedFinding {
    pub(super) fn of(check: &Check, finding: &CheckFinding) -> Self {
        let explanation = explanation(check, finding);
        let named = check.value.as_ref().filter(|_| !explanation.is_empty());
        WordedFinding {
            name: check.value.clone(),
            measured: measured(check, finding),
            interval: interval(check, finding),
            method: finding.interval_rule.map(method).unwrap_or_default(),
            explanation: named.map(|name| format!("{name}: {explanation}")).unwrap_or(explanation),
            left_out: finding.disturbed.map(Disturbed::words),
        }
    }
}

fn measured(check: &Check, finding: &CheckFinding) -> Option<String> {
    let value = |x| values::value(&check.expression, x);
    match &finding.observed {
        Observed::NotFinite { .. } => Some("undefined (NaN or infinity)".to_owned()),
        Observed::Events(EventCount { passes: Some(passes), .. })
        | Observed::Rows(Some(Reduced::One { passes: Some(passes), .. })) => Some(of_passes(*passes)),
        Observed::Events(events) => {
            Some(format!("{} of {}", events.rows, numbers::plural(finding.rows, "configuration")))
        }
        Observed::Progress { measured, .. } => Some(numbers::count(*measured as u64)),
        Observed::Pairs { reduced: Some(Reduced::Each { lowest, highest, .. }), .. }
        | Observed::Rows(Some(Reduced::Each { lowest, highest, .. })) => {
            Some(format!("{} to {}", value(*lowest), value(*highest)))
        }
        Observed::Nothing | Observed::ZeroPairs { .. } | Observed::Pairs { .. } | Observed::Rows(_) => {
            finding.estimate.map(|estimate| value(estimate.value))
        }
    }
}

/// `24 of 144 passes`
fn of_passes((failing, all): (u64, u64)) -> String {
    format!("{} of {} {}", numbers::count(failing), numbers::count(all), if all == 1 { "pass" } else { "passes" })
}

fn interval(check: &Check, finding: &CheckFinding) -> Option<String> {
    match finding.observed {
        Observed::Progress { measured, pending } => {
            (pending > 0).then(|| format!("[{measured}, {}]", measured + pending))
        }
        _ => finding.estimate?.interval.map(|ends| values::interval(&check.expression, ends)),
    }
}

fn method(rule: IntervalRule) -> &'static str {
    match rule {
        IntervalRule::MedianRatio => {
            "ends of both medians' 95 % bootstrap intervals divided crosswise: covers with at least 90 %"
        }
        IntervalRule::PairedAccuracy => {
            "product of two Clopper-Pearson intervals, of the share of sentences with different answers and of the \
             share of these that favour one side: covers with at least 90 %"
        }
        IntervalRule::RateRatio => {
            "ends of both rates' Clopper-Pearson 95 % intervals per forward pass divided crosswise: covers with at least 90 %"
        }
        IntervalRule::ExactPair => "no interval: both values are exact counts, not samples",
        IntervalRule::Rate => "Clopper-Pearson 95 % interval of the deciding rate per forward pass",
        IntervalRule::Median => "95 % bootstrap interval of the deciding median",
        IntervalRule::ExactRow => "no interval: every compared output was examined, not a sample",
        IntervalRule::Share => {
            "Clopper-Pearson 95 % interval of the share of configurations; the observed share decides"
        }
        IntervalRule::PassShare => {
            "Clopper-Pearson 95 % interval of the share of forward passes, as if those of several backends on one input were \
             independent; the observed share decides"
        }
        IntervalRule::Progress => "from the configurations measured so far to all that can still be measured",
    }
}

fn explanation(check: &Check, finding: &CheckFinding) -> String {
    match (&finding.observed, &check.expression) {
        (Observed::Pairs { reduced, undefined, over_zero }, _) => {
            let found = reduced.as_ref().map(|reduced| reduction(reduced, "pair")).unwrap_or_default();
            joined(&found, &remark(*undefined, *over_zero))
        }
        (
            Observed::ZeroPairs { fewest_forwards },
            Expression::Ratio(pairing) | Expression::Reduction(pairing) | Expression::Difference(pairing),
        ) => nothing_to_compare(pairing, *fewest_forwards),
        (Observed::Rows(Some(reduced)), _) => reduction(reduced, "configuration"),
        (Observed::NotFinite { row, share }, _) => {
            let part = if *share > 0.0 { numbers::percent(*share) } else { "another pass".to_owned() };
            format!("{part} of the output of {} is not finite.", label(row))
        }
        (Observed::Events(events), Expression::Share(share)) => {
            let before = events.elimination.map(|found| elimination(share, found)).unwrap_or_default();
            joined(&happened(share, events, finding.rows), &before)
        }
        (Observed::Progress { measured, pending }, _) => {
            format!("{} measured, {pending} still to run.", numbers::plural(*measured, "configuration"))
        }
        (Observed::Nothing | Observed::ZeroPairs { .. } | Observed::Rows(None) | Observed::Events(_), _) => {
            String::new()
        }
    }
}

/// `largest of 12 pairs: onnxruntime fp32 against cuda hybrid, bert-base 8×128 random.`
fn reduction(reduced: &Reduced, noun: &str) -> String {
    match reduced {
        Reduced::Each { values, holding, .. } => {
            format!("{holding} of {} in the range.", numbers::plural(*values, noun))
        }
        Reduced::One { reduce, values, rows, answers, .. } => {
            let which = match reduce {
                Reduce::Max => "largest",
                Reduce::Min => "smallest",
                Reduce::Median | Reduce::Each => "median",
            };
            let found = format!("{which} of {}: {}.", numbers::plural(*values, noun), configurations(rows));
            joined(&found, &answers.map(|answers| accuracies(&answers, rows)).unwrap_or_default())
        }
    }
}

/// How many pairs have no value.
fn remark(undefined: usize, over_zero: usize) -> String {
    if undefined == 0 {
        return String::new();
    }
    let pairs = numbers::plural(undefined, "pair");
    let which = match over_zero {
        0 => String::new(),
        n => format!("; in {n} of them the denominator is 0 and the numerator is not"),
    };
    format!("{pairs} left out, because the ratio is undefined{which}.")
}

/// `cuda hybrid, bert-base 8×128 random`
pub(super) fn label(row: &RowName) -> String {
    format!("{} {}, {}", row.backend, row.precision, row.site)
}

/// One configuration, or a pair as `onnxruntime fp32 against cuda hybrid, bert-base 8×128 random`.
fn configurations(rows: &[RowName]) -> String {
    match rows {
        [first, second] if first.site == second.site => {
            format!("{} {} against {}", first.backend, first.precision, label(second))
        }
        rows => rows.iter().map(label).collect::<Vec<_>>().join(" against "),
    }
}

/// Both accuracies, the number of sentences and of different answers.
fn accuracies(answers: &PairedAnswers, rows: &[RowName]) -> String {
    let with_precision = |(row, accuracy): (&RowName, &f64)| {
        format!("{} {}", row.precision, values::quantity(Quantity::TaskAccuracy, *accuracy))
    };
    let both: Vec<String> = rows.iter().zip(&answers.accuracies).map(with_precision).collect();
    let flips = match answers.flips {
        Some(1) => "1 answer differs".to_owned(),
        Some(n) => format!("{} answers differ", numbers::count(n as u64)),
        None => "the answers cannot be paired".to_owned(),
    };
    format!("{} on {} sentences: {flips}.", both.join(" against "), answers.sentences)
}

/// Why a ratio whose both sides are 0 in every pair says nothing; `fewest` forward passes were examined on any side.
fn nothing_to_compare(pairing: &Pairing, fewest: Option<u64>) -> String {
    let side = |filter: &Filter| match filter.input_kind.as_slice() {
        [InputKind::Random] => Some("on random ids"),
        [InputKind::RandomWithSeparators] => Some("on random ids with separators"),
        [InputKind::Text] => Some("on text"),
        [InputKind::Sst2] => Some("on sentences"),
        [InputKind::Examples] => Some("on examples"),
        _ => None,
    };
    let where_ = match (side(&pairing.numerator), side(&pairing.denominator)) {
        (Some(first), Some(second)) => format!("{first} or {second}"),
        _ => "on either side".to_owned(),
    };
    let what = match pairing.of {
        Quantity::NanShare | Quantity::NanRate => values::event(Event::Nan),
        Quantity::BrokenRate => values::event(Event::Broken),
        Quantity::FailureRate => values::event(Event::Failed),
        _ => return format!("zero {where_}: nothing to compare."),
    };
    let nothing = format!("no {what} under {} {where_}: nothing to compare.", pairing.numerator.precision.join(" or "));
    let unseen = fewest.filter(|_| pairing.of.is_a_rate()).and_then(|fewest| {
        let bound = numbers::percent(clopper_pearson(0, fewest)?.high);
        Some(format!(
            "With none in {} forward passes, a rate of up to {bound} remains possible.",
            numbers::count(fewest)
        ))
    });
    joined(&nothing, &unseen.unwrap_or_default())
}

/// How many rows have the event, or among how many outputs none was seen.
fn happened(share: &Share, events: &EventCount, rows: usize) -> String {
    let what = values::event(share.event);
    if let Some(first) = &events.first {
        let passes = events.passes.map(|passes| format!("{}, of ", of_passes(passes))).unwrap_or_default();
        return format!("{what} in {passes}{} of {rows} configurations, e.g. {}.", events.rows, label(first));
    }
    let passes = match events.forwards > rows as u64 {
        true => format!(", nor in any of {} forward passes", numbers::count(events.forwards)),
        false => String::new(),
    };
    let elements = numbers::count(events.elements);
    format!("no {what} among {elements} output elements of {}{passes}.", numbers::plural(rows, "configuration"))
}

/// Whether there was anything to eliminate.
fn elimination(share: &Share, found: Elimination) -> String {
    let what = values::event(share.event);
    let counterpart = share.eliminated_from.as_ref();
    let name = counterpart.map(|counterpart| counterpart.filter.precision.join(" or ")).unwrap_or_default();
    match (found.pairs, found.with_event) {
        (0, _) => format!("No {name} row of the same backend, model, shape and input was measured."),
        (all, 0) if found.broken > 0 => format!(
            "This run has no {what} under {name} either. Its instability is silent: of the same configurations under \
             {name}, {} of {all} have {}.",
            found.broken,
            values::event(Event::Broken)
        ),
        (_, 0) => format!("This run has no {what} under {name} either, so there is no instability to eliminate."),
        (all, some) => format!("Of the same configurations under {name}, {some} of {all} have {what}."),
    }
}

fn joined(first: &str, second: &str) -> String {
    [first, second].into_iter().filter(|text| !text.is_empty()).collect::<Vec<_>>().join(" ")
}

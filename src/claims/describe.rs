//! Findings in words.

use super::schema::{Event, Expect, Expression, Filter, Pairing, Quantity, Slack};
use crate::analysis::facts::configuration_label;
use crate::analysis::facts::flips;
use crate::analysis::facts::site_label;
use crate::numbers;
use crate::record::InputKind;
use crate::stats::clopper_pearson;
use crate::store::schema::ResultRow;

/// One configuration, or a pair as `onnxruntime fp32 against cuda hybrid, bert-base 8×128 random`.
pub fn configurations(rows: &[&ResultRow]) -> String {
    match rows {
        [first, second] if site_label(first) == site_label(second) => {
            format!(
                "{} {} against {} {}, {}",
                first.backend,
                first.precision,
                second.backend,
                second.precision,
                site_label(first)
            )
        }
        rows => rows.iter().map(|row| configuration_label(row)).collect::<Vec<_>>().join(" against "),
    }
}

/// A value of an expression with its unit.
pub fn value(expression: &Expression, x: f64) -> String {
    match expression {
        Expression::Ratio(_) if x.is_infinite() => "∞".to_owned(),
        Expression::Ratio(_) => format!("{}×", numbers::significant(x, 3)),
        Expression::Reduction(_) | Expression::Share(_) => numbers::percent(x),
        Expression::Difference(pairing) if pairing.of == Quantity::TaskAccuracy => {
            format!("{} points", numbers::fixed(x * 100.0, 2))
        }
        Expression::Difference(pairing) => quantity(pairing.of, x),
        Expression::Aggregate(aggregate) => quantity(aggregate.of, x),
        Expression::Count(_) => numbers::fixed(x, 0),
    }
}

/// `[low, high]` in the unit of [`value`].
pub fn interval(expression: &Expression, (low, high): (f64, f64)) -> String {
    format!("[{}, {}]", value(expression, low), value(expression, high))
}

/// What an expectation allows: `≥ 64.4× (within 2 %)`.
pub fn expectation(expression: &Expression, expect: &Expect) -> String {
    let limits = [("≥", expect.at_least), (">", expect.more_than), ("≤", expect.at_most), ("<", expect.less_than)];
    let parts: Vec<String> = limits
        .iter()
        .filter_map(|(sign, limit)| limit.map(|limit| format!("{sign} {}", value(expression, limit))))
        .collect();
    let slack = match expect.tolerance {
        None => String::new(),
        Some(Slack::Relative(fraction)) => format!(" (within {})", numbers::percent(fraction)),
        Some(Slack::Absolute(amount)) => format!(" (within {})", distance(expression, amount)),
    };
    format!("{}{slack}", parts.join(" and "))
}

/// A difference of two values of an expression: of shares in points, which a percentage of a percentage is not.
fn distance(expression: &Expression, x: f64) -> String {
    match expression {
        Expression::Reduction(_) | Expression::Share(_) => format!("{} points", numbers::fixed(x * 100.0, 1)),
        _ => value(expression, x),
    }
}

/// Both accuracies, the number of sentences and of different answers.
pub fn accuracies(rows: &[&ResultRow]) -> Option<String> {
    let [first, second] = rows else { return None };
    let percent =
        |row: &ResultRow| Some(format!("{} {}", row.precision, quantity(Quantity::TaskAccuracy, row.task_accuracy?)));
    let flips = match flips(second, first) {
        Some(1) => "1 answer differs".to_owned(),
        Some(n) => format!("{} answers differ", numbers::count(n as u64)),
        None => "the answers cannot be paired".to_owned(),
    };
    Some(format!("{} against {} on {} sentences: {flips}.", percent(first)?, percent(second)?, first.task_total?))
}

/// Why a ratio whose both sides are 0 in every pair says nothing; `fewest` forward passes were examined on any side.
pub fn nothing_to_compare(pairing: &Pairing, fewest: Option<u64>) -> String {
    let side = |filter: &Filter| match filter.input_kind.as_slice() {
        [InputKind::Random] => Some("on random ids"),
        [InputKind::Text] => Some("on text"),
        [InputKind::Sst2] => Some("on sentences"),
        _ => None,
    };
    let where_ = match (side(&pairing.numerator), side(&pairing.denominator)) {
        (Some(first), Some(second)) => format!("{first} or {second}"),
        _ => "on either side".to_owned(),
    };
    match pairing.of {
        Quantity::NanShare | Quantity::NanRate => {
            let nothing =
                format!("no NaN under {} {where_}: nothing to compare.", pairing.numerator.precision.join(" or "));
            let unseen = fewest.filter(|_| pairing.of == Quantity::NanRate).and_then(|fewest| {
                let bound = clopper_pearson(0, fewest)?.high;
                let count = numbers::count(fewest);
                Some(format!(
                    " None in {count} forward passes leaves a rate of up to {} possible.",
                    numbers::percent(bound)
                ))
            });
            nothing + &unseen.unwrap_or_default()
        }
        _ => format!("zero {where_}: nothing to compare."),
    }
}

/// How the interval of a paired value came about.
pub fn pair_method(of: Quantity) -> &'static str {
    match of {
        Quantity::LatencyP50Ms => {
            "ends of both medians' 95 % bootstrap intervals divided crosswise: covers with at least 90 %"
        }
        Quantity::TaskAccuracy => {
            "Clopper-Pearson intervals of the share of sentences with different answers and of how many of them favour \
             either side, multiplied: covers with at least 90 %"
        }
        Quantity::NanRate => {
            "ends of both rates' Clopper-Pearson 95 % intervals per forward pass divided crosswise: covers with at least 90 %"
        }
        _ => "no interval: both values are counts over every output, none was drawn",
    }
}

/// An event.
pub fn event(event: Event) -> &'static str {
    match event {
        Event::Nan => "NaN",
        Event::NonFinite => "NaN or infinity",
    }
}

fn quantity(of: Quantity, x: f64) -> String {
    match of {
        Quantity::LatencyP50Ms | Quantity::EndToEndP50Ms => format!("{} ms", numbers::significant(x, 4)),
        Quantity::EngineMemoryBytes | Quantity::ProcessPeakBytes => {
            format!("{} MiB", numbers::significant(x / f64::from(1 << 20), 4))
        }
        Quantity::CosineMin => numbers::cosine(x),
        Quantity::MaxAbsError | Quantity::RelativeL2Error => numbers::magnitude(x),
        Quantity::NanShare | Quantity::NanRate => numbers::percent(x),
        Quantity::TaskAccuracy => format!("{} %", numbers::fixed(x * 100.0, 2)),
        Quantity::Perplexity => numbers::significant(x, 5),
    }
}

//! Values, intervals and limits of claims with their units.

use crate::claims::schema::{Event, Expect, Expression, Quantity, Slack};
use crate::numbers;

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

/// An event.
pub fn event(event: Event) -> &'static str {
    match event {
        Event::Nan => "NaN",
        Event::NonFinite => "NaN or infinity",
        Event::Broken => "broken output rows",
        Event::Failed => "NaN, infinity or broken output rows",
    }
}

/// A value of a quantity with its unit.
pub fn quantity(of: Quantity, x: f64) -> String {
    match of {
        Quantity::LatencyP50Ms | Quantity::EndToEndP50Ms => format!("{} ms", numbers::significant(x, 4)),
        Quantity::EngineMemoryBytes | Quantity::ProcessPeakBytes => {
            format!("{} MiB", numbers::significant(x / f64::from(1 << 20), 4))
        }
        Quantity::CosineMin | Quantity::ForwardCosineMin | Quantity::SmallestCosine => numbers::cosine(x),
        Quantity::MaxAbsError | Quantity::RelativeL2Error | Quantity::LargestDeviation => numbers::magnitude(x),
        Quantity::NanShare
        | Quantity::NanRate
        | Quantity::BrokenRate
        | Quantity::FailureRate
        | Quantity::SilentRate => numbers::percent(x),
        Quantity::TaskAccuracy => format!("{} %", numbers::fixed(x * 100.0, 2)),
        Quantity::Perplexity => numbers::significant(x, 5),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claims::schema::{Count, Filter, Share};

    #[test]
    fn a_tolerance_of_a_share_is_in_points() {
        let share = Expression::Share(Share { event: Event::Nan, filter: Filter::default(), eliminated_from: None });
        let expect = Expect { at_most: Some(0.05), tolerance: Some(Slack::Absolute(0.01)), ..Expect::default() };
        assert_eq!(expectation(&share, &expect), "≤ 5.0 % (within 1.0 points)");
        assert_eq!(interval(&share, (0.0, 0.5)), "[0 %, 50.0 %]");
        let count = Expression::Count(Count { filter: Filter::default() });
        let expect = Expect { more_than: Some(360.0), less_than: Some(400.0), ..Expect::default() };
        assert_eq!(expectation(&count, &expect), "> 360 and < 400");
    }
}

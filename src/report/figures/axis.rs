//! Scales and round tick values.

use crate::numbers;

/// Maps values to the unit interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scale {
    low: f64,
    high: f64,
    logarithmic: bool,
}

impl Scale {
    /// A linear scale from 0 to a little above the largest value.
    pub fn linear(values: &[f64]) -> Self {
        let high = values.iter().copied().fold(0.0, f64::max);
        Scale { low: 0.0, high: if high > 0.0 { high * 1.08 } else { 1.0 }, logarithmic: false }
    }

    /// A logarithmic scale a little wider than the positive values.
    pub fn logarithmic(values: &[f64]) -> Self {
        let positive = || values.iter().copied().filter(|value| *value > 0.0 && value.is_finite());
        let (low, high) = (positive().fold(f64::INFINITY, f64::min), positive().fold(0.0, f64::max));
        if high <= 0.0 {
            return Scale { low: 1e-8, high: 1.0, logarithmic: true };
        }
        let margin = (high / low).powf(0.06).max(1.25);
        Scale { low: low / margin, high: high * margin, logarithmic: true }
    }

    /// Position of a value, 0 at the low end.
    pub fn position(self, value: f64) -> f64 {
        if self.logarithmic {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        }
    }

    /// Round values inside the scale, with labels.
    pub fn ticks(self) -> Vec<(f64, String)> {
        let values = if self.logarithmic { self.log_ticks() } else { self.linear_ticks() };
        let small = values.iter().any(|value| *value > 0.0 && *value < 1e-2);
        let label = |value: f64| match (small && self.logarithmic, value.abs() >= 1.0 || value == 0.0) {
            (true, _) => power_of_ten(value),
            (false, true) => trimmed(numbers::fixed(value, 2)),
            (false, false) => trimmed(numbers::significant(value, 3)),
        };
        values.into_iter().map(|value| (value, label(value))).collect()
    }

    fn linear_ticks(self) -> Vec<f64> {
        let rough = (self.high - self.low) / 4.0;
        let unit = 10_f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 5.0, 10.0].into_iter().map(|factor| factor * unit).find(|step| *step >= rough);
        let step = step.unwrap_or(unit);
        (0..=8).map(|index| f64::from(index) * step).filter(|value| *value <= self.high).collect()
    }

    /// Powers of ten; with 2 and 5 between them where there are few, every second or third where there are many.
    fn log_ticks(self) -> Vec<f64> {
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let decades = (self.high / self.low).log10();
        let factors: &[f64] = match decades {
            few if few < 0.8 => &[1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0],
            some if some < 2.5 => &[1.0, 2.0, 5.0],
            _ => &[1.0],
        };
        let every = ((decades / 5.0).ceil() as i32).max(1);
        let inside = |value: &f64| (self.low..=self.high).contains(value);
        let exponents = (first..=last).filter(|exponent| exponent.rem_euclid(every) == 0);
        exponents.flat_map(|exponent| factors.iter().map(move |f| f * 10_f64.powi(exponent))).filter(inside).collect()
    }
}

/// `1e-6`: the shipped font has no superscript digits.
fn power_of_ten(value: f64) -> String {
    let text = format!("{value:.1e}");
    text.replace(".0e", "e")
}

fn trimmed(text: String) -> String {
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round() {
        assert_eq!(labels(Scale::linear(&[3.1])), ["0", "1", "2", "3"]);
        assert_eq!(labels(Scale::logarithmic(&[1.2, 90.0])), ["1", "2", "5", "10", "20", "50", "100"]);
        assert_eq!(labels(Scale::logarithmic(&[40.0, 90.0])), ["40", "50", "60", "80", "100"]);
        assert_eq!(labels(Scale::logarithmic(&[3e-7, 2e-3])), ["1e-6", "1e-5", "1e-4", "1e-3"]);
    }

    #[test]
    fn positions_grow_with_values() {
        let scale = Scale::logarithmic(&[1.0, 100.0]);
        assert!(scale.position(1.0) > 0.0 && scale.position(100.0) < 1.0);
        assert!((scale.position(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(Scale::linear(&[]).position(0.0), 0.0);
    }
}

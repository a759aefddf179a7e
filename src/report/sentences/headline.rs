//! The quantities of the abstract in words.

use crate::analysis::pairs::Ranged;
use crate::claims::findings::Disturbed;
use crate::claims::headline::{Headline, Unit};
use crate::numbers;

impl Unit {
    /// A value and its interval.
    pub fn write(self, (value, interval): Ranged) -> (String, Option<String>) {
        match self {
            Unit::Ratio => {
                let (text, interval) = numbers::with_interval(value, interval, 3);
                (format!("{text}×"), interval)
            }
            Unit::Milliseconds => {
                let (text, interval) = numbers::with_interval(value, interval, 3);
                (format!("{text} ms"), interval)
            }
            Unit::Share => (numbers::percent(value), None),
            Unit::Cosine => (numbers::cosine(value), None),
        }
    }

    /// What stands in the middle of many values.
    pub fn typical_name(self) -> &'static str {
        match self {
            Unit::Ratio => "geometric mean",
            Unit::Milliseconds | Unit::Share | Unit::Cosine => "median",
        }
    }
}

impl Headline {
    /// A value of these without its interval, as prose quotes it.
    pub fn quoted(&self, value: Ranged) -> String {
        let (text, _) = self.unit.write(value);
        if self.disturbed == Some(Disturbed::All) { format!("{text} (disturbed)") } else { text }
    }

    /// One sentence: the typical value and the extremes with their configurations, and what disturbed them; or why there is
    /// none.
    pub fn sentence(&self) -> String {
        let (Some(lowest), Some(highest), Some(typical)) = (self.lowest(), self.highest(), self.typical()) else {
            return format!("{}: not in this run, because {}.", self.spec.quantity, self.spec.lacking);
        };
        let with = |value| match self.unit.write(value) {
            (text, Some(interval)) => format!("{text} {interval}"),
            (text, None) => text,
        };
        let disturbed = self.disturbed.map(|found| format!("; {}", found.words())).unwrap_or_default();
        if self.count() == 1 {
            return format!("{} {} ({}){disturbed}.", self.spec.subject, with(lowest.value), lowest.configuration);
        }
        format!(
            "{} {} in the {} over {}, from {} ({}) to {} ({}){disturbed}.",
            self.spec.subject,
            with(typical),
            self.unit.typical_name(),
            numbers::plural(self.count(), "configuration"),
            with(lowest.value),
            lowest.configuration,
            with(highest.value),
            highest.configuration
        )
    }
}

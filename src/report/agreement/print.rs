//! How far two runs agree, as text and JSON.

use std::collections::HashSet;
use std::fmt::Write;

use serde_json::json;

use super::{Agreement, Pair, Spread};
use crate::backend::DeviceKind;
use crate::report::claims::describe;
use crate::report::data::{Data, distinct, series};
use crate::report::numbers;
use crate::store::schema::ResultRow;

/// Pairs that the text lists.
const LISTED: usize = 10;

impl Agreement {
    /// For a terminal: the share, the rows that differ most, what ended differently, and what differs between the machines.
    pub fn to_text(&self) -> String {
        let mut out = self.sentence() + "\n";
        // Writing to a string cannot fail.
        if let Some(spread) = Spread::of(self.pairs.iter(), self.limits) {
            let _ = writeln!(
                out,
                "Distance of the ratio from 1: median {}, 95th percentile {}, largest {}; median ratio {}.",
                numbers::percent(spread.typical),
                numbers::percent(spread.most),
                numbers::percent(spread.largest),
                numbers::fixed(spread.ratio, 4)
            );
        }
        for sentence in [self.device_sentence(), self.disturbed_sentence(), self.outputs_sentence()] {
            if !sentence.is_empty() {
                let _ = writeln!(out, "{sentence}");
            }
        }
        let _ = writeln!(out, "\nFarthest apart (second over first):");
        for pair in self.pairs.iter().take(LISTED) {
            let (ratio, interval) = numbers::with_interval(pair.ratio.0, pair.ratio.1, 4);
            let interval = interval.map(|ends| format!(" {ends}")).unwrap_or_default();
            let disturbed = if pair.disturbance().is_some() { ", disturbed" } else { "" };
            let configuration = describe::configuration(&pair.first);
            let _ = writeln!(out, "  {ratio}{interval}  {configuration} ({}{disturbed})", pair.first.id);
        }
        for unlike in &self.unlike {
            let which = if unlike.first.latency_p50_ms.is_some() { "first" } else { "second" };
            let reason = unlike.first.reason.as_ref().or(unlike.second.reason.as_ref());
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let _ =
                writeln!(out, "  measured in the {which} run only: {}{reason}", describe::configuration(&unlike.first));
        }
        if self.differences.is_empty() {
            out.push_str("\nThe environments do not differ.\n");
            return out;
        }
        out.push_str("\nWhat differs between the environments:\n");
        for found in &self.differences {
            let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".to_owned());
            let _ = writeln!(out, "  {}: {} -> {}", found.property, dash(&found.first), dash(&found.second));
        }
        out
    }

    /// For a program: limits, counts, the spread, and every pair with its ratio, those that differ most first.
    ///
    /// # Errors
    /// None in practice: everything is a text or a finite number.
    pub fn to_json(&self) -> serde_json::Result<String> {
        let pair = |pair: &Pair| {
            json!({
                "id": pair.first.id,
                "configuration": describe::configuration(&pair.first),
                "first_p50_ms": pair.first.latency_p50_ms,
                "second_p50_ms": pair.second.latency_p50_ms,
                "ratio": pair.ratio.0,
                "ratio_low": pair.ratio.1.map(|ends| ends.0),
                "ratio_high": pair.ratio.1.map(|ends| ends.1),
            })
        };
        let document = json!({
            "limits": self.limits,
            "agrees": self.agrees(),
            "rows": self.rows(),
            "within": self.within(),
            "share": self.share(),
            "left_out": self.left_out,
            "spread": Spread::of(self.pairs.iter(), self.limits),
            "with_equal_nonfinite": self.with_equal_nonfinite(),
            "largest_cosine_difference": self.largest_cosine_difference(),
            "pairs": self.pairs.iter().map(pair).collect::<Vec<_>>(),
            "measured_in_one_only": self.unlike.iter().map(|unlike| &unlike.first.id).collect::<Vec<_>>(),
            "differences": self.differences,
        });
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }

    /// `393 of 396 rows (99.2 %) have medians within 3 % of the first run's, which meets 95 %.`
    pub fn sentence(&self) -> String {
        let meets = if self.agrees() { "meets" } else { "misses" };
        format!(
            "{} of {} ({}) have a median within {} of the first run's, which {meets} the {} asked for.",
            numbers::count(self.within() as u64),
            numbers::plural(self.rows(), "row"),
            numbers::percent(self.share()),
            numbers::percent(self.limits.tolerance),
            numbers::percent(self.limits.share)
        )
    }

    /// `On the GPU 351 of 360 rows (97.5 %), on the CPU 15 of 58 rows (25.9 %).` Empty where all are of one kind of device.
    pub fn device_sentence(&self) -> String {
        let of = |device| Spread::of(self.on(device), self.limits);
        let (Some(gpu), Some(cpu)) = (of(DeviceKind::Gpu), of(DeviceKind::Cpu)) else { return String::new() };
        let share = |spread: Spread| {
            let (within, rows) = (numbers::count(spread.within as u64), numbers::plural(spread.rows, "row"));
            format!("{within} of {rows} ({})", numbers::percent(spread.within as f64 / spread.rows as f64))
        };
        format!("On the GPU {}, on the CPU {}.", share(gpu), share(cpu))
    }

    /// How many of the pairs a claim would leave out; empty for none.
    pub fn disturbed_sentence(&self) -> String {
        match self.pairs.iter().filter(|pair| pair.disturbance().is_some()).count() {
            0 => String::new(),
            count => format!(
                "Counted all the same: {} that one of the two runs measured while others used the device or the clock ran wrong.",
                numbers::plural(count, "row")
            ),
        }
    }

    /// What differs between the machines and builds, by name; empty for nothing.
    pub fn environment_sentence(&self) -> String {
        let names = distinct(self.differences.iter().map(|difference| difference.property.as_str()));
        match names.is_empty() {
            true => String::new(),
            false => format!("What differs between their environments: {}.", names.join(", ")),
        }
    }

    /// `Within 3 % by series: cuda fp32 100 % of 72, cuda hybrid 91.7 % of 72.`
    pub fn series_sentence(&self) -> String {
        let each =
            distinct(self.pairs.iter().map(|pair| series(&pair.first).label())).into_iter().filter_map(|label| {
                let spread =
                    Spread::of(self.pairs.iter().filter(|pair| series(&pair.first).label() == label), self.limits)?;
                let share = numbers::percent(spread.within as f64 / spread.rows as f64);
                Some(format!("{label} {share} of {}", numbers::count(spread.rows as u64)))
            });
        let mut each: Vec<String> = each.collect();
        each.sort();
        match each.is_empty() {
            true => String::new(),
            false => format!("Within {} by series: {}.", numbers::percent(self.limits.tolerance), each.join(", ")),
        }
    }

    /// Which rows of the first run, with a median, the second does not have; empty where it has them all.
    pub fn not_repeated_sentence(&self, first: &Data) -> String {
        let compared: HashSet<&str> = self
            .pairs
            .iter()
            .map(|pair| &pair.first)
            .chain(self.unlike.iter().map(|unlike| &unlike.first))
            .map(|row| row.id.as_str())
            .collect();
        let rows: Vec<&ResultRow> = first
            .measured()
            .filter(|row| row.latency_p50_ms.is_some() && !compared.contains(row.id.as_str()))
            .collect();
        let backends = distinct(rows.iter().map(|row| row.backend));
        let each = backends.iter().map(|backend| {
            format!(
                "{} of {backend}",
                numbers::plural(rows.iter().filter(|row| row.backend == *backend).count(), "row")
            )
        });
        match rows.is_empty() {
            true => String::new(),
            false => format!("Not repeated: {}.", each.collect::<Vec<_>>().join(", ")),
        }
    }

    /// What the outputs of both runs have in common.
    pub fn outputs_sentence(&self) -> String {
        let cosine = match self.largest_cosine_difference() {
            Some(0.0) => "; their smallest cosines are equal".to_owned(),
            Some(most) => format!("; their smallest cosines differ by {} at most", numbers::magnitude(most)),
            None => String::new(),
        };
        format!(
            "{} of {} measured twice have as many NaN and infinities{cosine}.",
            numbers::count(self.with_equal_nonfinite() as u64),
            numbers::plural(self.pairs.len(), "row")
        )
    }
}

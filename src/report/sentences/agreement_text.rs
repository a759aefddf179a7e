//! How far two runs agree, as text and JSON.

use crate::analysis::facts;
use std::fmt::Write;

use serde_json::json;

use super::pins;
use crate::analysis::agreement::{Agreement, InRuns, Pair};
use crate::engine::DeviceKind;
use crate::numbers;

impl Agreement {
    /// For a terminal: the share, the rows that differ most, what ended differently, and what differs between the machines.
    pub fn to_text(&self) -> String {
        let mut out = self.sentence() + "\n";
        // Writing to a string cannot fail.
        let (first, second) = self.paired();
        let (first, second) = (pins::summary(first), pins::summary(second));
        let pins = match first == second {
            true => String::new(),
            false => format!("Pins of the first run: {first} Pins of the second run: {second}"),
        };
        let sentences = [
            self.device_sentence(),
            self.clocks_sentence(),
            self.distances_sentence(),
            self.not_repeated_sentence(),
            self.disturbed_sentence(),
            self.outputs_sentence(),
            pins,
        ];
        for sentence in sentences {
            if !sentence.is_empty() {
                let _ = writeln!(out, "{sentence}");
            }
        }
        for (name, device) in [("GPU", DeviceKind::Gpu), ("CPU", DeviceKind::Cpu)] {
            let lines: Vec<String> = self.farthest(device).map(line).collect();
            if !lines.is_empty() {
                let _ = writeln!(out, "\nFarthest apart on the {name} (second over first):\n{}", lines.join("\n"));
            }
        }
        for unlike in &self.unlike {
            let which = if unlike.first.latency_p50_ms.is_some() { "first" } else { "second" };
            let reason = unlike.first.reason.as_ref().or(unlike.second.reason.as_ref());
            let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
            let _ = writeln!(
                out,
                "  measured in the {which} run only: {}{reason}",
                facts::configuration_label(&unlike.first)
            );
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
                "configuration": facts::configuration_label(&pair.first),
                "first_p50_ms": pair.first.latency_p50_ms,
                "second_p50_ms": pair.second.latency_p50_ms,
                "ratio": pair.ratio.0,
                "ratio_low": pair.ratio.1.map(|ends| ends.0),
                "ratio_high": pair.ratio.1.map(|ends| ends.1),
                "device": pair.first.device,
                "throttled_in_first": pair.first.throttled,
                "throttled_in_second": pair.second.throttled,
                "disturbed_in_first": pair.disturbances().0.is_some(),
                "disturbed_in_second": pair.disturbances().1.is_some(),
            })
        };
        let (first, second) = self.paired();
        let document = json!({
            "limits": self.limits,
            "agrees": self.agrees(),
            "rows": self.rows(),
            "within": self.within(),
            "share": self.share(),
            "left_out": self.left_out,
            "not_repeated": self.not_repeated.iter().map(|row| &row.id).collect::<Vec<_>>(),
            "spread": self.spread(|_| true),
            "spread_gpu": self.on(DeviceKind::Gpu),
            "spread_cpu": self.on(DeviceKind::Cpu),
            "spread_clocks_held_back": self.by_clocks(Some(true)),
            "spread_clocks_kept": self.by_clocks(Some(false)),
            "spread_clocks_unknown": self.by_clocks(None),
            "with_equal_nonfinite": self.with_equal_failures(),
            "largest_cosine_difference": self.largest_cosine_difference(),
            "pairs": self.pairs.iter().map(pair).collect::<Vec<_>>(),
            "measured_in_one_only": self.unlike.iter().map(|unlike| &unlike.first.id).collect::<Vec<_>>(),
            "differences": self.differences,
            "pins_first": pins::note(first),
            "pins_second": pins::note(second),
        });
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }
}

/// A pair of the list of the farthest.
fn line(pair: &Pair) -> String {
    let (ratio, interval) = numbers::with_interval(pair.ratio.0, pair.ratio.1, 4);
    let interval = interval.map(|ends| format!(" {ends}")).unwrap_or_default();
    let told =
        |what: &str, runs: Option<InRuns>| runs.map(|runs| format!(", {what} {}", runs.words())).unwrap_or_default();
    let disturbed = told("disturbed", pair.disturbed_in());
    let clocks = told("throttled", pair.throttled_in());
    let configuration = facts::configuration_label(&pair.first);
    format!("  {ratio}{interval}  {configuration} ({}{disturbed}{clocks})", pair.first.id)
}

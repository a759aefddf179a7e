//! A plan for a person (text) and for a program (JSON).

use std::fmt::Write as _;

use serde::Serialize;

use super::{Configuration, DurationEstimate, NOMINAL_THREADS, Plan, SizeSource};
use crate::engine::{BackendKind, Target};
use crate::manifest::product_words;
use crate::text_table::aligned;

/// Version of the JSON that [`Plan::to_json`] writes.
const JSON_VERSION: u64 = 1;

#[derive(Serialize)]
struct PlanJson<'a> {
    schema: u64,
    product: String,
    protocol_sha256: String,
    estimated_total_s: f64,
    estimates: Vec<DurationEstimate>,
    plan: &'a Plan,
}

impl Plan {
    /// The plan as JSON: `{schema, product, protocol_sha256, estimated_total_s, estimates, plan}`, with the estimates
    /// in the order of `plan.configurations`. Durations are in seconds.
    ///
    /// # Errors
    /// None in practice: a plan holds only strings, finite numbers and string-keyed maps.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        let estimates = self.estimates();
        let json = PlanJson {
            schema: JSON_VERSION,
            product: self.product(),
            protocol_sha256: self.protocol_sha256(),
            estimated_total_s: estimates.iter().map(|estimate| estimate.total_s).sum(),
            estimates,
            plan: self,
        };
        Ok(serde_json::to_string_pretty(&json)? + "\n")
    }

    /// The plan for a person: the question, the product that makes the count, a line per configuration, the total.
    pub fn to_text(&self) -> String {
        let estimates = self.estimates();
        let mut text = format!("{}: {}\n\n{}\n", self.name, self.question, self.product());
        for (reason, cells) in self.reasons() {
            let _ = writeln!(text, "  {cells} excluded: {reason}");
        }
        text.push('\n');
        let mut rows = vec![HEADER.map(str::to_owned)];
        rows.extend(self.configurations.iter().zip(&estimates).map(|(one, estimate)| row(one, estimate)));
        text.push_str(&aligned(&rows, FLUSH_RIGHT));
        let total: f64 = estimates.iter().map(|estimate| estimate.total_s).sum();
        let threads = self.measurement.threads.unwrap_or(NOMINAL_THREADS);
        let _ = write!(
            text,
            "\n{} configurations, estimated {} at nominal rates with {threads} CPU threads",
            self.configurations.len(),
            duration(total)
        );
        if estimates.iter().any(|estimate| estimate.size == SizeSource::AssumedBertBase) {
            text.push_str("; ? marks models whose size is unknown here: that of BERT-base is assumed");
        }
        let timed = |one: &Configuration| {
            one.backend == BackendKind::TensorRt && one.target.unwrap_or_default() == Target::Current
        };
        if self.configurations.iter().any(timed) {
            text.push_str("; a build of tensorrt counts as a minute, and takes TensorRT-RTX only seconds");
        }
        text.push('\n');
        text
    }

    /// `2 models x 1 backend x ... = 36, less 4 excluded = 32 configurations`
    fn product(&self) -> String {
        let (cells, excluded) = (self.configurations.len() + self.excluded.len(), self.excluded.len());
        let product = format!("{} = {cells}", product_words(self.axes.sizes()));
        if excluded == 0 {
            format!("{product} configurations")
        } else {
            format!("{product}, less {excluded} excluded = {} configurations", self.configurations.len())
        }
    }

    /// Reasons of exclusions in order of appearance, with the number of cells each leaves out.
    fn reasons(&self) -> Vec<(&str, usize)> {
        let mut reasons: Vec<(&str, usize)> = Vec::new();
        for excluded in &self.excluded {
            match reasons.iter_mut().find(|(reason, _)| *reason == excluded.reason) {
                Some((_, cells)) => *cells += 1,
                None => reasons.push((&excluded.reason, 1)),
            }
        }
        reasons
    }
}

/// Column headings.
const HEADER: [&str; 8] = ["id", "backend", "model", "precision", "batch", "sequence", "input", "estimate"];
/// Whether a column is set flush right: those of numbers.
const FLUSH_RIGHT: [bool; 8] = [false, false, false, false, true, true, false, true];

fn row(configuration: &Configuration, estimate: &DurationEstimate) -> [String; 8] {
    let mark = if estimate.size == SizeSource::AssumedBertBase { "?" } else { "" };
    [
        configuration.id.to_string(),
        configuration.builder(),
        configuration.model.clone(),
        configuration.policy.name.clone(),
        configuration.shape.batch.to_string(),
        configuration.shape.sequence.to_string(),
        configuration.input.clone(),
        format!("{mark}{}", duration(estimate.total_s)),
    ]
}

/// A duration to the precision an estimate deserves.
pub fn duration(seconds: f64) -> String {
    if seconds < 10.0 {
        format!("{seconds:.1} s")
    } else if seconds < 90.0 {
        format!("{seconds:.0} s")
    } else if seconds < 5400.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_rounded() {
        assert_eq!([0.26, 59.6, 89.0, 600.0, 9000.0].map(duration), ["0.3 s", "60 s", "89 s", "10 min", "2.5 h"]);
    }
}

//! A certificate for readers.

use serde_json::{Value, json};
use tera::{Context, Tera};

use crate::numbers;
use crate::record::certificate::{Breakage, Certificate, ForwardTotals, PolicyTiming, TimedPolicy, TimedShape};
use crate::report::escape;
use crate::stats::Interval;

/// The certificate as Markdown.
///
/// # Errors
/// An error of the template, which a test rules out.
pub(super) fn page(certificate: &Certificate, policy_yaml: &str) -> Result<String, tera::Error> {
    const TEMPLATE: &str = include_str!("../../paper/templates/certificate.md.tera");
    let mut engine = Tera::new();
    engine.set_escape_fn(escape::markdown);
    engine.autoescape_on([".md"]);
    engine.add_raw_templates([("certificate.md", TEMPLATE)])?;
    let mut context = Context::from_serialize(certificate)?;
    let text = |breakage: &Breakage| breakage.to_string();
    let without: Vec<String> = certificate.operations.iter().map(|one| text(&one.without)).collect();
    context.insert("without", &without);
    context.insert("start_text", &certificate.start_breaks.as_ref().map(text));
    context.insert("held_out_texts", &certificate.held_out.breaking.iter().map(text).collect::<Vec<_>>());
    let violations = certificate.monotonicity.violations.iter().map(|one| text(&one.breaks));
    context.insert("violation_texts", &violations.collect::<Vec<_>>());
    let confirmation = certificate.confirmation.as_ref().and_then(|found| found.breaks.as_ref()).map(text);
    context.insert("confirmation_text", &confirmation);
    let cosine = |totals: &ForwardTotals| totals.cosine_min.map_or_else(|| "undefined".to_owned(), numbers::cosine);
    context.insert("searched_cosine", &cosine(&certificate.searched));
    context.insert("held_out_cosine", &cosine(&certificate.held_out.totals));
    context.insert("confirmation_cosine", &certificate.confirmation.as_ref().map(|found| cosine(&found.totals)));
    context.insert("policy_yaml", policy_yaml);
    let (shapes, not_timed) = match &certificate.timing {
        Some(PolicyTiming::Timed(shapes)) => (shapes.as_slice(), None),
        Some(PolicyTiming::NotTimed(reason)) => (&[][..], Some(reason)),
        None => (&[][..], None),
    };
    context.insert("timed_shapes", &shapes.iter().map(timed_shape).collect::<Vec<_>>());
    context.insert("not_timed", &not_timed);
    engine.render("certificate.md", &context)
}

/// A shape with numbers as text; an undefined one is a dash.
fn timed_shape(TimedShape { shape, device, library, policies, failure, .. }: &TimedShape) -> Value {
    json!({
        "shape": format!("{} x {}", shape.batch, shape.sequence),
        "device": device,
        "library": library,
        "failure": failure,
        "policies": policies.iter().map(timed_policy).collect::<Vec<_>>(),
    })
}

fn timed_policy(one: &TimedPolicy) -> Value {
    let dash = || "\u{2013}".to_owned();
    let mebibytes = |bytes: Option<u64>| bytes.map_or_else(dash, numbers::mebibytes);
    let ranged = |value, interval: Option<Interval>| {
        let (value, interval) = numbers::with_interval(value, interval.map(|of| (of.low, of.high)), 4);
        interval.map_or(value.clone(), |interval| format!("{value} {interval}"))
    };
    json!({
        "policy": one.policy,
        "median_ms": ranged(one.median_ms, one.median_interval_ms),
        "ratio": ranged(one.ratio, one.ratio_interval),
        "weights_mib": mebibytes(one.memory.weights_bytes),
        "activations_mib": mebibytes(one.memory.activations_bytes),
        "energy_j": one.energy_j.map_or_else(dash, |joules| numbers::significant(joules, 3)),
        "energy_remark": one.energy_remark,
        "kernels": one.launches.map_or_else(dash, |launches| launches.kernels.to_string()),
        "single_operations": one.launches.map_or_else(dash, |launches| launches.single_operations.to_string()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{BackendKind, Launches, MemoryBreakdown};
    use crate::graph::Shape;

    /// A published certificate, from before policies were timed.
    fn published() -> Certificate {
        let folder = "artifacts/h200/search/bert-base-uncased-wikitext-2-fp16-1x128/max_broken_rows=0";
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("certificate.json");
        serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
    }

    fn timed(shape: Shape, policies: Vec<TimedPolicy>, failure: Option<&str>) -> TimedShape {
        TimedShape {
            shape,
            backend: BackendKind::Cuda,
            library: "cuda 0.1.0".to_owned(),
            device: policies.first().map(|_| "NVIDIA H200".to_owned()),
            policies,
            failure: failure.map(str::to_owned),
        }
    }

    #[test]
    fn times_are_a_table_for_each_shape_and_what_is_undefined_is_a_dash() {
        let fp16 = TimedPolicy {
            policy: "fp16".to_owned(),
            rounds_ms: vec![0.4; 20],
            median_ms: 0.4,
            median_interval_ms: Some(Interval { low: 0.399, high: 0.402 }),
            ratio: 1.0,
            ratio_interval: None,
            memory: MemoryBreakdown { weights_bytes: Some(210 << 20), ..MemoryBreakdown::default() },
            energy_j: Some(0.1234),
            energy_remark: None,
            launches: Some(Launches { kernels: 86, single_operations: 1 }),
        };
        let silent = TimedPolicy {
            policy: "hybrid".to_owned(),
            energy_j: None,
            energy_remark: Some("the counter stood still".to_owned()),
            launches: None,
            ..fp16.clone()
        };
        let mut certificate = published();
        // As certificates were before policies were timed.
        certificate.timing = None;
        let old = page(&certificate, "").unwrap();
        assert!(!old.contains("## Time"), "{old}");
        certificate.searched.cosine_min = Some(0.999_999_99);
        let near = page(&certificate, "").unwrap();
        assert!(near.contains("| 0.9999999 |"), "a cosine is never rounded up: {near}");
        certificate.searched = published().searched;
        let shapes = vec![
            timed(Shape { batch: 1, sequence: 128 }, vec![fp16, silent], None),
            timed(Shape { batch: 4096, sequence: 128 }, vec![], Some("out of memory")),
        ];
        certificate.timing = Some(PolicyTiming::Timed(shapes));
        let new = page(&certificate, "").unwrap();
        assert!(new.starts_with(&old), "the rest is the same");
        for line in [
            "1 x 128 tokens on NVIDIA H200 with cuda 0.1.0:",
            "| policy | ms | times the first | weights, MiB | activations, MiB | J | kernels | of single operations |",
            "| fp16 | 0.4000 \\[0.3990, 0.4020\\] | 1.000 | 210.0 | – | 0.123 | 86 | 1 |",
            "| hybrid | 0.4000 \\[0.3990, 0.4020\\] | 1.000 | 210.0 | – | – | – | – |",
            "No energy of hybrid: the counter stood still.",
            "4096 x 128 tokens: not timed, out of memory.",
        ] {
            assert!(new.lines().any(|found| found == line), "`{line}` is not in {new}");
        }
        certificate.timing = Some(PolicyTiming::NotTimed("no GPU".to_owned()));
        assert!(page(&certificate, "").unwrap().ends_with("\n## Time\n\nNot timed: no GPU.\n"));
    }
}

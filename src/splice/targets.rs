//! The CUDA backend's times beside those of the first edition and what was asked of it.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::SpliceError;
use super::forwards::{NONE, cells, cuda_at_shapes, milliseconds, shapes};
use crate::graph::Preset;
use crate::numbers;
use crate::results::data::{Data, distinct};

/// Device medians in ms by model, policy and shape: `bert-base: {hybrid: {1x32: 0.15}}`.
type Targets = BTreeMap<String, BTreeMap<Preset, BTreeMap<String, f64>>>;

const FILE: &str = "src/backend/cuda/targets.yaml";

fn asked() -> Result<Targets, SpliceError> {
    let text = include_str!("../backend/cuda/targets.yaml");
    serde_saphyr::from_str(text).map_err(|error| SpliceError::Targets { file: FILE, message: error.to_string() })
}

/// By model and policy in plan order, a value per shape: the device's medians before, asked and now, and the ratio of now to
/// before. What was not asked is null.
///
/// # Errors
/// [`SpliceError::Targets`], a defect that a test rules out.
pub(super) fn models(before: &Data, now: &Data) -> Result<Vec<Value>, SpliceError> {
    let asked = asked()?;
    let of = |model: &str| {
        let policies = Preset::ALL
            .map(|preset| policy(asked.get(model).and_then(|of| of.get(&preset)), [before, now], model, preset));
        json!({"model": model, "shapes": shapes(), "policies": policies})
    };
    Ok(distinct(now.rows.iter().map(|row| row.model.as_str())).into_iter().map(of).collect())
}

fn policy(asked: Option<&BTreeMap<String, f64>>, [before, now]: [&Data; 2], model: &str, preset: Preset) -> Value {
    let targets: Vec<Option<f64>> = shapes().iter().map(|shape| asked?.get(shape).copied()).collect();
    let medians =
        |data| cuda_at_shapes(data, model, preset).into_iter().map(|row| row?.device_p50_ms).collect::<Vec<_>>();
    let [before, now] = [before, now].map(medians);
    let shown = |values: &[Option<f64>]| cells(values, |ms| Some(milliseconds(ms)));
    let marked = now.iter().zip(&targets).map(|(now, asked)| {
        let reached = matches!((now, asked), (Some(now), Some(asked)) if now <= asked);
        let text = now.map_or_else(|| NONE.to_owned(), milliseconds);
        if reached { format!("**{text}**") } else { text }
    });
    let ratios: Vec<Option<f64>> = now.iter().zip(&before).map(|(now, before)| Some((*now)? / (*before)?)).collect();
    json!({
        "policy": preset.name(),
        "before": shown(&before),
        "asked": asked.map(|_| shown(&targets)),
        "now": marked.collect::<Vec<_>>(),
        "ratio": cells(&ratios, |ratio| Some(numbers::fixed(ratio, 3))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shape or a model that nothing measures would never be shown.
    #[test]
    fn targets_are_of_shapes_that_the_pages_show() {
        let known = shapes();
        for (model, policies) in asked().unwrap() {
            assert!(["bert-base", "gpt2"].contains(&model.as_str()), "{model}");
            for (preset, targets) in policies {
                assert!(targets.values().all(|ms| ms.is_finite() && *ms > 0.0), "{model} {}", preset.name());
                assert!(
                    targets.keys().eq(known.iter().collect::<std::collections::BTreeSet<_>>()),
                    "{model} {}",
                    preset.name()
                );
            }
        }
    }
}

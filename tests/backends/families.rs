//! Every family, head and activation against the float64 outputs of transformers (tests/golden/families.py).

use std::sync::Arc;

use crate::fixtures::families::{FamilyCase, cases};
use crate::fixtures::tiny::of_tokens;
use crate::fixtures::{onnxruntime, outputs, python, widened};
use mixprec::backend::reference::{ReferenceBackend, oracle_outputs};
use mixprec::engine::{Backend, BuildRequest};
use mixprec::graph::{OutputKind, PrecisionPolicy, Preset};
use mixprec::model::{Head, Model};

const THREADS: usize = 2;

/// The largest difference relative to the largest value.
pub fn largest_error(case: &FamilyCase, model: &Model, values: &[f64]) -> f64 {
    let ours = of_tokens(model, &case.batch, values);
    assert_eq!(ours.len(), case.expected.len(), "{}", case.name);
    let largest = case.expected.iter().fold(0f64, |largest, value| largest.max(value.abs()));
    let differences = ours.iter().zip(&case.expected).map(|(ours, theirs)| (ours - theirs).abs() / largest);
    differences.fold(0.0, |worst, difference| if difference <= worst { worst } else { difference })
}

fn check(limit: f64, run: impl Fn(&Arc<Model>, &FamilyCase) -> Vec<f64>) {
    let mut far = Vec::new();
    for case in cases() {
        let model = case.open(Head::Natural);
        let error = largest_error(&case, &model, &run(&model, &case));
        println!("{}: {error:.1e}", case.name);
        if error.is_nan() || error > limit {
            far.push(format!("{}: {error:e}", case.name));
        }
    }
    assert!(far.is_empty(), "{far:#?}");
}

fn fp32(backend: &dyn Backend, model: &Arc<Model>, case: &FamilyCase) -> Vec<f64> {
    under(Preset::Fp32, backend, model, case)
}

fn under(preset: Preset, backend: &dyn Backend, model: &Arc<Model>, case: &FamilyCase) -> Vec<f64> {
    let policy = PrecisionPolicy::preset(preset);
    let request = BuildRequest::new(model.clone(), policy, case.batch.shape, THREADS);
    let mut engine = backend.build(&request).unwrap().engine.unwrap();
    widened(&outputs(engine.as_mut(), &case.batch))
}

/// The error function of the oracle is good to 5e-11, and layers multiply that.
#[test]
fn the_oracle_computes_what_transformers_computes_in_float64() {
    check(1e-9, |model, case| oracle_outputs(model, &case.batch, THREADS).unwrap());
}

#[test]
fn the_reference_backend_computes_every_family_head_and_activation() {
    check(3e-6, |model, case| fp32(&ReferenceBackend::default(), model, case));
}

/// The limits are those of the CUDA engine.
#[test]
fn emulated_policies_compute_every_family_head_and_activation() {
    for (preset, limit) in [(Preset::Tf32, 1e-2), (Preset::Hybrid, 1e-2), (Preset::Fp16, 3e-2), (Preset::Bf16, 1e-1)] {
        check(limit, |model, case| under(preset, &ReferenceBackend::default(), model, case));
    }
}

#[test]
fn onnx_runtime_computes_every_family_head_and_activation() {
    let Some(backend) = onnxruntime() else { return };
    check(3e-6, |model, case| fp32(&backend, model, case));
}

#[test]
fn the_record_is_what_transformers_computes_now() {
    let Some(said) = python("golden/families.py", &["--check"]) else { return };
    assert_eq!(said.trim(), "as recorded");
}

/// What an output is decides how it is scored: only a next-token head may have a perplexity.
#[test]
fn every_head_has_a_kind_of_its_own() {
    for case in cases() {
        let class = case.config["architectures"][0].as_str().unwrap();
        let kind = case.open(Head::Natural).graph.output_kind;
        let expected = match class {
            class if class.ends_with("ForSequenceClassification") => OutputKind::ClassLogits,
            class if class.ends_with("ForTokenClassification") => OutputKind::TokenClassLogits,
            class if class.ends_with("ForQuestionAnswering") => OutputKind::SpanLogits,
            class if class.ends_with("ForMaskedLM") => OutputKind::MaskedTokenLogits,
            class if class.ends_with("LMHeadModel") || class.ends_with("ForCausalLM") => OutputKind::TokenLogits,
            _ => OutputKind::Hidden,
        };
        assert_eq!(kind, expected, "{}", case.name);
    }
}

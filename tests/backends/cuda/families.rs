//! Every family, head and activation on the device, against the float64 outputs of transformers (tests/golden/families.py).

use std::sync::Arc;

use mixprec::backend::reference::oracle_outputs;
use mixprec::engine::{Backend, BuildRequest, Engine};
use mixprec::graph::{PrecisionPolicy, Preset};
use mixprec::input::Batch;
use mixprec::model::{Head, Model};

use super::examination::agreed;
use super::{device, engine, pass};
use crate::families::largest_error;
use crate::fixtures::families::{FamilyCase, case, cases};
use crate::fixtures::tiny::{Tiny, of_tokens};
use crate::fixtures::{relative_error, widened};

/// Checks all cases under a policy: the largest difference relative to the largest value.
fn check(preset: Preset, limit: f64) {
    let Some((_turn, cuda)) = device() else { return };
    let policy = PrecisionPolicy::preset(preset);
    let mut far = Vec::new();
    let mut worst = (0f64, String::new());
    for case in cases() {
        let model = case.open(Head::Natural);
        let values = widened(&pass(engine(cuda.as_ref(), &model, &policy, case.batch.shape).as_mut(), &case.batch));
        let error = largest_error(&case, &model, &values);
        if error > worst.0 {
            worst = (error, case.name.clone());
        }
        if error.is_nan() || error > limit {
            far.push(format!("{}: {error:e}", case.name));
        }
    }
    println!("{preset}: {:.1e} in {}", worst.0, worst.1);
    assert!(far.is_empty(), "{far:#?}");
}

#[test]
fn recorded_families_agree_with_float64_under_fp32() {
    check(Preset::Fp32, 3e-6);
}

#[test]
fn recorded_families_agree_with_float64_under_tf32() {
    check(Preset::Tf32, 1e-2);
}

#[test]
fn recorded_families_agree_with_float64_under_hybrid() {
    check(Preset::Hybrid, 1e-2);
}

#[test]
fn recorded_families_agree_with_float64_under_fp16() {
    check(Preset::Fp16, 3e-2);
}

#[test]
fn recorded_families_agree_with_float64_under_bf16() {
    check(Preset::Bf16, 1e-1);
}

/// The recorded layers are too narrow for the tiles that have the activation in their epilogue.
#[test]
fn activations_of_wide_layers_agree_with_float64() {
    let Some((_turn, cuda)) = device() else { return };
    for recorded in cases().iter().filter(|case| case.config["architectures"][0] == "BertModel") {
        let wide = recorded.widened();
        let model = wide.open(Head::Natural);
        let exact = of_tokens(&model, &wide.batch, &oracle_outputs(&model, &wide.batch, 16).unwrap());
        let mut line = wide.name.clone();
        for (preset, limit) in
            [(Preset::Fp32, 2e-5), (Preset::Hybrid, 1e-2), (Preset::Bf16, 1e-1), (Preset::Fp16, 3e-2)]
        {
            let policy = PrecisionPolicy::preset(preset);
            let values = widened(&pass(engine(cuda.as_ref(), &model, &policy, wide.batch.shape).as_mut(), &wide.batch));
            let error = relative_error(&of_tokens(&model, &wide.batch, &values), &exact);
            line += &format!("  {preset} {error:.1e}");
            assert!(error < limit, "{line}");
        }
        println!("{line}");
    }
}

fn with_types(cuda: &dyn Backend, model: &Arc<Model>, policy: &PrecisionPolicy, batch: &Batch) -> Box<dyn Engine> {
    let request = BuildRequest::new(model.clone(), policy.clone(), batch.shape, 1);
    cuda.build(&BuildRequest { token_types: true, ..request }).unwrap().engine.unwrap()
}

#[test]
fn tokens_of_both_types_agree_with_float64() {
    let Some((_turn, cuda)) = device() else { return };
    for tiny in [Tiny::Trunk, Tiny::Classifier] {
        let (model, pairs) = (tiny.open(Head::Natural), tiny.pairs().unwrap());
        for (preset, limit) in [
            (Preset::Fp32, 2e-5),
            (Preset::Tf32, 1e-2),
            (Preset::Hybrid, 1e-2),
            (Preset::Fp16, 3e-2),
            (Preset::Bf16, 1e-1),
        ] {
            let policy = PrecisionPolicy::preset(preset);
            let mut typed = with_types(cuda.as_ref(), &model, &policy, &pairs.batch);
            let mut run = |batch: &Batch| of_tokens(&model, batch, &widened(&pass(typed.as_mut(), batch)));
            let error = relative_error(&run(&pairs.batch), &pairs.expected);
            println!("{tiny:?} {preset}: {error:.1e}");
            assert!(error < limit, "{tiny:?} {preset}: {error:e}");
            // The same engine computes rows without types as one that has no such input.
            let untyped = Batch { token_types: None, ..pairs.batch.clone() };
            let plain = pass(engine(cuda.as_ref(), &model, &policy, untyped.shape).as_mut(), &untyped);
            assert_eq!(run(&untyped), of_tokens(&model, &untyped, &widened(&plain)), "{tiny:?} {preset}");
            assert!(relative_error(&run(&untyped), &pairs.expected) > 1e-3, "types change the output");
        }
        let mut untyped = engine(cuda.as_ref(), &model, &PrecisionPolicy::preset(Preset::Fp32), pairs.batch.shape);
        assert!(untyped.bind(&pairs.batch).is_err(), "an engine without types took them");
    }
}

/// Relu and pooling by ids, relu and GELU between pooled layers, shared layers, a function of several steps.
#[test]
fn families_are_examined_as_their_emulation() {
    let Some((_turn, cuda)) = device() else { return };
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    for name in [
        "OPTForSequenceClassification",
        "GPT2-padding",
        "DistilBertForSequenceClassification",
        "ElectraForSequenceClassification",
        "AlbertForMaskedLM",
        "Bert-mish",
    ] {
        let FamilyCase { batch, .. } = &case(name);
        agreed(cuda.as_ref(), &case(name).open(Head::Natural), &fp16, batch);
    }
}

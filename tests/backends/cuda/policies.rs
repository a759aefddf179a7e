//! Whole models under every policy.

use std::sync::Arc;

use mixprec::backend::reference::oracle_outputs;
use mixprec::engine::{Backend, BackendError, BuildRequest};
use mixprec::graph::{PrecisionPolicy, Preset, ReductionOrder, Shape};
use mixprec::model::Architecture;
use mixprec::model::{Head, Model};

use super::{batch, device, emulated, engine, pass, random_model};
use crate::fixtures::tiny::of_tokens;
use crate::fixtures::{relative_error, widened};

fn shapes(positions: usize) -> Vec<(Shape, bool)> {
    let shapes = [
        (1, 1),
        (1, 7),
        (3, 31),
        (1, 32),
        (3, 33),
        (8, 64),
        (1, 127),
        (2, 128),
        (3, 200),
        (1, 511),
        (1, 512),
        (1, 1023),
        (1, 1024),
    ];
    let fits = shapes.into_iter().filter(|(_, sequence)| *sequence <= positions);
    fits.map(|(batch, sequence)| (Shape { batch, sequence }, batch > 1)).collect()
}

fn agrees(model: &Arc<Model>, chosen: impl Fn(Shape) -> bool) {
    let Some((_turn, cuda)) = device() else { return };
    // Gates of the design study, section 4: relative L2 of the whole model.
    let gates = [(Preset::Fp32, 2e-5), (Preset::Tf32, 1e-2), (Preset::Hybrid, 1e-2), (Preset::Bf16, 1e-1)];
    for (shape, ragged) in shapes(model.graph.dimensions.positions).into_iter().filter(|(shape, _)| chosen(*shape)) {
        let batch = batch(model, shape, ragged);
        let exact = of_tokens(model, &batch, &oracle_outputs(model, &batch, 16).unwrap());
        let mut line = format!("{}x{}", shape.batch, shape.sequence);
        for (preset, gate) in gates {
            let mut engine = engine(cuda.as_ref(), model, &PrecisionPolicy::preset(preset), shape);
            let ours = of_tokens(model, &batch, &widened(&pass(engine.as_mut(), &batch)));
            let error = relative_error(&ours, &exact);
            line += &format!("  {preset} {error:.1e}");
            assert!(error < gate, "{preset} at {shape:?}: {error:e}");
        }
        let policy = PrecisionPolicy::preset(Preset::Fp16);
        for order in [ReductionOrder::SumThenDivide, ReductionOrder::DivideFirst] {
            let policy = PrecisionPolicy { layer_norm_reduction: order, ..policy.clone() };
            let ours = of_tokens(
                model,
                &batch,
                &widened(&pass(engine(cuda.as_ref(), model, &policy, shape).as_mut(), &batch)),
            );
            let emulation = of_tokens(model, &batch, &widened(&pass(emulated(model, &policy, shape).as_mut(), &batch)));
            let (error, away) = (relative_error(&ours, &exact), relative_error(&ours, &emulation));
            line += &format!("  fp16 {order:?} {error:.1e}, from its emulation {away:.1e}");
            assert!(error < 3e-2 && away < 1e-2, "fp16 at {shape:?}: {error:e}, {away:e}");
        }
        println!("{line}");
    }
}

#[test]
fn tiny_models_agree_with_float64_in_every_policy_and_shape() {
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
        agrees(&random_model(architecture, Head::Natural), |_| true);
    }
}

/// Few enough passes for compute-sanitizer: `tests/sanitizer.sh` runs this test.
#[test]
fn tiny_models_agree_with_float64_in_every_policy_at_two_shapes() {
    for architecture in [Architecture::BertTiny, Architecture::Gpt2Tiny] {
        agrees(&random_model(architecture, Head::Natural), |shape| {
            matches!((shape.batch, shape.sequence), (3, 33) | (1, 127))
        });
    }
}

#[test]
fn logits_of_the_last_token_alone_agree_with_float64() {
    agrees(&random_model(Architecture::Gpt2Tiny, Head::LastToken), |_| true);
    agrees(&random_model(Architecture::Gpt2, Head::LastToken), |shape| {
        matches!((shape.batch, shape.sequence), (3, 33))
    });
}

#[test]
fn bert_base_and_gpt2_agree_with_float64() {
    for architecture in [Architecture::BertBase, Architecture::Gpt2] {
        let odd = |shape: Shape| {
            matches!((shape.batch, shape.sequence), (3, 33) | (1, 127) | (1, 32) | (1, 511) | (1, 1023) | (1, 1024))
        };
        agrees(&random_model(architecture, Head::Natural), odd);
    }
}

#[test]
fn replays_give_the_same_bits_whatever_ran_before() {
    let Some((_turn, cuda)) = device() else { return };
    // Products of few tokens are split, those of many are not.
    replays(cuda.as_ref(), Architecture::BertBase, Shape { batch: 2, sequence: 128 });
    replays(cuda.as_ref(), Architecture::Gpt2, Shape { batch: 2, sequence: 16 });
}

#[test]
fn an_engine_that_does_not_fit_is_refused_and_the_next_one_works() {
    let Some((_turn, cuda)) = device() else { return };
    let model = random_model(Architecture::Gpt2, Head::Natural);
    let policy = PrecisionPolicy::preset(Preset::Fp32);
    // Logits of 4 million tokens are 840 GB.
    let request = BuildRequest::new(model.clone(), policy.clone(), Shape { batch: 4096, sequence: 1024 }, 1);
    match cuda.build(&request) {
        Err(BackendError::OutOfMemory { message, .. }) => assert!(message.contains("MiB"), "{message}"),
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("that fits"),
    }
    let small = batch(&model, Shape { batch: 1, sequence: 8 }, false);
    assert!(pass(engine(cuda.as_ref(), &model, &policy, small.shape).as_mut(), &small).iter().all(|x| x.is_finite()));
}

fn replays(cuda: &dyn Backend, architecture: Architecture, shape: Shape) {
    let model = random_model(architecture, Head::Natural);
    let (first, second) = (batch(&model, shape, false), batch(&model, shape, true));
    for preset in Preset::ALL {
        let policy = PrecisionPolicy::preset(preset);
        let mut engine_a = engine(cuda, &model, &policy, shape);
        let expected = pass(engine_a.as_mut(), &first);
        let before = engine_a.memory();
        for replay in 0..100 {
            if replay % 10 == 0 {
                assert_ne!(pass(engine_a.as_mut(), &second), expected);
                engine_a.bind(&first).unwrap();
            }
            engine_a.enqueue().unwrap();
            engine_a.synchronize().unwrap();
            let same =
                engine_a.outputs().unwrap().values.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{preset}: replay {replay} differs");
        }
        assert_eq!(engine_a.memory(), before, "{preset}: memory was taken after the first pass");
        let parts =
            [before.weights_bytes, before.activations_bytes, before.workspace_bytes].map(|part| part.unwrap() as f64);
        let (told, counted) = (parts.iter().sum::<f64>(), before.device_bytes.unwrap() as f64);
        println!("{preset}: {:.1} MB by the engine's account, {:.1} MB by the driver's", told / 1e6, counted / 1e6);
        assert!((told - counted).abs() < 0.05 * counted, "{preset}: {told} and {counted} bytes");
        let again = pass(engine(cuda, &model, &policy, shape).as_mut(), &first);
        assert!(
            again.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()),
            "{preset}: a second engine differs"
        );
    }
}

//! Every choice for a linear layer with an activation against float64, for the functions that neither BERT nor GPT-2 has too.

use std::sync::PoisonError;

use half::f16;

use super::reference::{activated, number};
use super::{Bench, DEVICE, gpu, model, stages_of};
use crate::backend::cuda::calls::groups;
use crate::backend::cuda::stage::{Epilogue, Linear, Stage};
use crate::graph::{Activation, Preset, Shape};
use crate::model::{Architecture, ModelConfig, build_graph};

fn has_an_activation(stages: &[Stage]) -> bool {
    matches!(stages, [Stage::Linear(Linear { epilogue: Epilogue::Activation(_), .. })])
}

/// Infinities and NaN in the sums of a layer are those of its activation in every choice, so that no tile hides an overflow.
#[test]
fn every_choice_shows_an_overflow() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut model = model(Architecture::BertTiny);
    for activation in Activation::ALL {
        model.graph = build_graph(&ModelConfig { activation, ..model.config.clone() });
        let Some(gpu) = gpu() else { return };
        let bench = Bench::new(gpu, &model, Preset::Hybrid, Shape { batch: 3, sequence: 31 });
        let all = groups(&bench.stages);
        let group = all.into_iter().find(|&group| has_an_activation(stages_of(&bench.stages, group))).unwrap();
        let Stage::Linear(stage) = &bench.stages.stages[group.first] else { unreachable!() };
        // Every third row overflows FP16 in about half of its sums.
        let stride = bench.stages.tensor(stage.x).stride;
        let value = |index: usize| number(3, index) * if index / stride % 3 == 1 { 60000.0 } else { 1.0 };
        bench.put(stage.x, value);
        let x = bench.tensor(stage.x);
        let linear = Linear { epilogue: Epilogue::Store, ..*stage };
        let rounded = |x: f64| f16::from_f64(x).to_f64();
        let defined = |sum: f64| rounded(activated(activation, rounded(sum)));
        let row = |row| bench.reference().linear_row(&linear, &x, &[], row).into_iter().map(defined);
        let expected: Vec<f64> = (0..stage.tokens).flat_map(row).collect();
        let kind = |x: f64| (x.is_nan(), x == f64::INFINITY, x == f64::NEG_INFINITY);
        assert!(expected.iter().any(|&x| !x.is_finite()), "{activation:?}: nothing has overflowed");
        let ran = bench.each_with(
            group,
            || bench.put(stage.x, value),
            |what| {
                let found = bench.tensor(stage.output);
                let differ = found.iter().zip(&expected).filter(|(a, b)| kind(**a) != kind(**b)).count();
                assert!(differ == 0, "{what}: {differ} elements are of another kind");
            },
        );
        println!("{activation:?}: {ran} choices");
        assert!(ran > 1, "cuBLASLt alone");
    }
}

#[test]
fn every_choice_for_every_activation_agrees_with_float64() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut model = model(Architecture::BertTiny);
    for activation in Activation::ALL {
        model.graph = build_graph(&ModelConfig { activation, ..model.config.clone() });
        for preset in [Preset::Hybrid, Preset::Bf16] {
            let Some(gpu) = gpu() else { return };
            let shape = Shape { batch: 3, sequence: 31 };
            let ran = Bench::new(gpu, &model, preset, shape).check_groups(has_an_activation);
            println!("{activation:?} {preset}: {ran} choices");
            assert!(ran > 1, "cuBLASLt alone");
        }
    }
}

//! Every choice for a linear layer with an activation against float64, for the functions that neither BERT nor GPT-2 has too.

use std::sync::PoisonError;

use half::f16;

use super::reference::{activated, number, weight};
use super::{Bench, DEVICE, gpu, model, stages_of};
use crate::backend::cuda::calls::groups;
use crate::backend::cuda::stage::{Epilogue, Linear, Stage};
use crate::graph::{Activation, Preset, Shape};
use crate::model::{Architecture, ModelConfig, build_graph};

fn has_an_activation(stages: &[Stage]) -> bool {
    matches!(stages, [Stage::Linear(Linear { epilogue: Epilogue::Activation(_), .. })])
}

/// The column of a layer whose weights have the largest sum of magnitudes.
fn widest_column(stage: &Linear) -> usize {
    let sum = |column: &usize| -> f64 {
        (0..stage.depth).map(|k| weight(stage.weight, column * stage.depth + k).abs()).sum()
    };
    (0..stage.width).max_by(|a, b| sum(a).total_cmp(&sum(b))).unwrap()
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
        let (stride, column) = (bench.stages.tensor(stage.x).stride, widest_column(stage));
        // Of each three rows, one has finite sums, one has an infinite element, and one has FP16's largest numbers with the signs
        // of a column's weights or with the opposite ones, so that this column's sum, finite in FP32, overflows FP16.
        let value = |index: usize| match (index / stride % 3, index % stride) {
            (1, 0) => f64::INFINITY,
            (2, k) if k < stage.depth => {
                let sign = if (index / stride).is_multiple_of(2) { 65504.0 } else { -65504.0 };
                sign * weight(stage.weight, column * stage.depth + k).signum()
            }
            _ => number(3, index),
        };
        bench.put(stage.x, value);
        let x = bench.tensor(stage.x);
        let linear = Linear { epilogue: Epilogue::Store, ..*stage };
        let rounded = |x: f64| f16::from_f64(x).to_f64();
        let defined = |sum: f64| rounded(activated(activation, rounded(sum)));
        let row = |row| bench.reference().linear_row(&linear, &x, &[], row).into_iter().map(defined);
        let expected: Vec<f64> = (0..stage.tokens).flat_map(row).collect();
        let kind = |x: f64| (x.is_nan(), x == f64::INFINITY, x == f64::NEG_INFINITY);
        for (row, sign) in [(2, 1.0), (5, -1.0)] {
            let sum = bench.reference().linear_row(&linear, &x, &[], row)[column];
            assert!(sum.is_finite() && sum * sign > 65520.0, "row {row} does not overflow FP16 alone: {sum}");
        }
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

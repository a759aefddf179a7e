//! Every choice for a linear layer with an activation against float64, for the functions that neither BERT nor GPT-2 has too.

use std::sync::PoisonError;

use super::{Bench, DEVICE, gpu, model};
use crate::backend::cuda::stage::{Epilogue, Linear, Stage};
use crate::graph::{Activation, Preset, Shape};
use crate::model::{Architecture, ModelConfig, build_graph};

fn has_an_activation(stages: &[Stage]) -> bool {
    matches!(stages, [Stage::Linear(Linear { epilogue: Epilogue::Activation(_), .. })])
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

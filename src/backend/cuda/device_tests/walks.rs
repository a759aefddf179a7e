//! Products launched for few multiprocessors.

use std::sync::PoisonError;

use super::{Bench, DEVICE, gpu, model};
use crate::backend::cuda::stage::Stage;
use crate::graph::{Preset, Shape};
use crate::model::{Architecture, build_graph};

/// A block walks over many tiles, as it does at many tokens: both warpgroups of a ping-pong kernel take their turns, each with bias,
/// activation and residual. `tests/sanitizer.sh` runs this test as well.
#[test]
fn products_whose_blocks_walk_over_many_tiles_agree_with_float64() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut model = model(Architecture::BertBase);
    model.config.dimensions.layers = 1;
    model.graph = build_graph(&model.config);
    for preset in [Preset::Hybrid, Preset::Bf16] {
        let Some(gpu) = gpu() else { return };
        let bench = Bench { multiprocessors: 3, ..Bench::new(gpu, &model, preset, Shape { batch: 4, sequence: 127 }) };
        let ran = bench.check_groups(|stages| matches!(stages, [Stage::Linear(_), ..]));
        println!("{preset}: {ran} choices");
        assert!(ran > 1);
    }
}

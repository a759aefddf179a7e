//! Sizes that neither BERT-base nor GPT-2 has: heads of 80, 96 and 128 elements, and rows whose width is no multiple of 32.

use std::sync::{Arc, PoisonError};

use super::{Bench, DEVICE, gpu, is_attention, model};
use crate::backend::cuda::CudaBackend;
use crate::backend::cuda::stage::{Stage, Stages};
use crate::backend::reference::oracle_outputs;
use crate::engine::{Backend, BuildRequest};
use crate::graph::{Dimensions, PrecisionPolicy, Preset, Shape};
use crate::input::Batch;
use crate::model::{Architecture, Model, build_graph};

/// Head sizes above 64 that the fused kernels have.
pub(super) const WIDER_HEADS: [usize; 3] = [80, 96, 128];

/// A model of random parameters with other sizes: `hidden` is the width of the residual stream.
pub(super) fn of_sizes(architecture: Architecture, hidden: usize, heads: usize) -> Model {
    let mut model = model(architecture);
    let tiny = model.config.dimensions;
    model.config.dimensions = Dimensions { hidden, heads, inner: 128, positions: 512, ..tiny };
    model.graph = build_graph(&model.config);
    model
}

const BOTH: [Architecture; 2] = [Architecture::BertTiny, Architecture::Gpt2Tiny];

fn is_fused_attention(stages: &Stages) -> bool {
    stages.stages.iter().any(|stage| matches!(stage, Stage::Attention(_)))
}

fn check_attention(size: usize, presets: &[Preset], shapes: &[(usize, usize)]) {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    for architecture in BOTH {
        let model = of_sizes(architecture, 2 * size, 2);
        for &preset in presets {
            for &(batch, sequence) in shapes {
                let Some(gpu) = gpu() else { return };
                let bench = Bench::new(gpu, &model, preset, Shape { batch, sequence });
                assert!(is_fused_attention(&bench.stages), "{size} {preset}");
                let ran = bench.check_groups(is_attention);
                println!("{architecture:?} of heads of {size} {preset} {batch}x{sequence}: {ran} choices");
                assert!(ran > 1);
            }
        }
    }
}

const NARROW: [Preset; 2] = [Preset::Hybrid, Preset::Bf16];

const SHAPES: [(usize, usize); 4] = [(1, 1), (3, 33), (2, 127), (1, 511)];

#[test]
fn attention_of_heads_of_80_agrees_with_float64() {
    check_attention(80, &NARROW, &SHAPES);
}

#[test]
fn attention_of_heads_of_96_agrees_with_float64() {
    check_attention(96, &NARROW, &SHAPES);
}

#[test]
fn attention_of_heads_of_128_agrees_with_float64() {
    check_attention(128, &NARROW, &SHAPES);
}

#[test]
fn attention_of_wider_heads_over_fp32_agrees_with_float64() {
    WIDER_HEADS.iter().for_each(|&size| check_attention(size, &[Preset::Fp32, Preset::Tf32], &SHAPES[..3]));
}

/// One sequence of each length up to the longest, every row of each. `tests/sanitizer.sh` runs this test.
#[test]
fn attention_of_wider_heads_agrees_with_float64_at_every_length() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    const LONGEST: usize = 67;
    for (size, architecture) in WIDER_HEADS.into_iter().flat_map(|size| BOTH.map(|architecture| (size, architecture))) {
        let model = of_sizes(architecture, size, 1);
        for preset in [Preset::Hybrid, Preset::Tf32] {
            let Some(gpu) = gpu() else { return };
            let mut bench = Bench::new(gpu, &model, preset, Shape { batch: LONGEST, sequence: LONGEST });
            (bench.lengths, bench.every_row) = ((1..=LONGEST).collect(), true);
            bench.inputs.fill(4 * bench.shape.tokens(), &(1..=LONGEST as i32).collect::<Vec<i32>>()).unwrap();
            let ran = bench.check_groups(is_attention);
            println!("{architecture:?} of heads of {size} {preset}: {ran} choices");
            assert!(ran > 1);
        }
    }
}

fn ends_with_a_norm(stages: &[Stage]) -> bool {
    matches!(stages, [.., Stage::LayerNorm(_)])
}

/// Few, some and many rows, which have kernels of their own.
#[test]
fn layer_norms_of_any_width_agree_with_float64() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    for (hidden, heads) in [(20, 2), (44, 4), (48, 4), (80, 1), (312, 12), (1600, 25), (2560, 32), (4096, 32)] {
        for architecture in BOTH {
            let model = of_sizes(architecture, hidden, heads);
            for preset in [Preset::Hybrid, Preset::Fp32] {
                for (batch, sequence) in [(1, 33), (3, 70), (5, 127)] {
                    // Partial sums of wide rows come from so many products that one shape has to do.
                    let many = hidden > 1000 && preset == Preset::Hybrid;
                    if many && (architecture, batch) != (Architecture::Gpt2Tiny, 3) {
                        continue;
                    }
                    let Some(gpu) = gpu() else { return };
                    let bench = Bench::new(gpu, &model, preset, Shape { batch, sequence });
                    let ran = bench.check_groups(ends_with_a_norm);
                    println!("{architecture:?} {hidden} wide {preset} {batch}x{sequence}: {ran} choices");
                    assert!(ran > 0);
                }
            }
        }
    }
}

/// Embeddings, whose norm is fused as well, and everything after them.
#[test]
fn whole_models_of_other_sizes_agree_with_float64() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    if gpu().is_none() {
        return;
    }
    let shape = Shape { batch: 3, sequence: 33 };
    let ids = (0..shape.tokens()).map(|index| (index * 7919 % 97) as u32).collect();
    let batch = Batch::new(shape, ids, vec![shape.sequence; shape.batch]);
    // Relative L2 of the whole model, as in `tests/backends/cuda`.
    let gates = [
        (Preset::Fp32, 2e-5),
        (Preset::Tf32, 1e-2),
        (Preset::Hybrid, 1e-2),
        (Preset::Fp16, 3e-2),
        (Preset::Bf16, 1e-1),
    ];
    for (architecture, hidden, heads) in [
        (Architecture::BertTiny, 20, 2),
        (Architecture::BertTiny, 312, 12),
        (Architecture::Gpt2Tiny, 44, 4),
        (Architecture::Gpt2Tiny, 160, 2),
    ] {
        let model = Arc::new(of_sizes(architecture, hidden, heads));
        let exact = oracle_outputs(&model, &batch, 8).unwrap();
        for (preset, gate) in gates {
            let request = BuildRequest::new(model.clone(), PrecisionPolicy::preset(preset), shape, 1);
            let mut engine = CudaBackend::default().build(&request).unwrap().engine.unwrap();
            engine.bind(&batch).unwrap();
            engine.enqueue().unwrap();
            let ours = engine.outputs().unwrap().values;
            assert_eq!(ours.len(), exact.len());
            let off = |(x, y): (&f32, &f64)| (f64::from(*x) - y).powi(2);
            let error = ours.iter().zip(&exact).map(off).sum::<f64>() / exact.iter().map(|y| y * y).sum::<f64>();
            let error = error.sqrt();
            println!("{architecture:?} {hidden} wide, heads of {}, {preset}: {error:.1e}", hidden / heads);
            assert!(error < gate, "{hidden} {preset}: {error:e}");
        }
    }
}

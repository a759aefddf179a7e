//! Products whose output no later kernel reads.

use std::cell::RefCell;
use std::sync::PoisonError;

use super::{Bench, DEVICE, gpu, model, stages_of};
use crate::backend::cuda::calls::tests::calls_of;
use crate::backend::cuda::calls::{groups, instances};
use crate::backend::cuda::compile::GpuArchitecture;
use crate::backend::cuda::lower::lower;
use crate::backend::cuda::stage::{Linear, Select, Stage};
use crate::digest::sha256;
use crate::graph::{PrecisionPolicy, Preset, Shape, Token};
use crate::model::{Architecture, architecture_graph, build_graph};

/// By what the stages read, not by a name: only GPT-2's head stores FP32 that is the graph's output.
#[test]
fn kernels_of_an_output_that_no_stage_reads_let_l2_give_it_up_first() {
    let hopper = GpuArchitecture { major: 9, minor: 0 };
    let found = |model, read: bool| {
        let shape = Shape { batch: 1, sequence: 128 };
        let mut stages = lower(&architecture_graph(model), &PrecisionPolicy::preset(Preset::Hybrid), shape).unwrap();
        if read {
            let output = stages.output.unwrap();
            let token = Token::First;
            stages.stages.push(Stage::Select(Select {
                input: output,
                output,
                token,
                batch: 1,
                sequence: 128,
                width: 8,
            }));
        }
        let all = calls_of(&stages, shape, hopper, |_| Vec::new());
        let names: Vec<String> = instances(&all).into_iter().map(|instance| instance.name.clone()).collect();
        ["_f32_last", "_f32"].map(|ending| {
            let stores =
                |name: &&String| name.starts_with("gemm") && name.ends_with(ending) && !name.contains("residual");
            names.iter().filter(stores).count()
        })
    };
    let [last, others] = found(Architecture::Gpt2, false);
    assert!(last > 1 && others == 0, "{last} {others}");
    assert_eq!(found(Architecture::Gpt2, true), [0, last]);
    assert_eq!(found(Architecture::BertBase, false), [0, 0]);
}

/// A hint to L2 changes no bit of GPT-2's head: every choice stores what it stores where a later kernel may read the output.
#[test]
fn logits_that_no_kernel_reads_have_the_bits_of_those_that_one_may_read() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut model = model(Architecture::Gpt2);
    (model.config.dimensions.layers, model.config.dimensions.vocabulary) = (1, 4000);
    model.graph = build_graph(&model.config);
    for (batch, sequence) in [(1, 1), (3, 31), (2, 128), (4, 511)] {
        let Some(gpu) = gpu() else { return };
        let mut bench = Bench::new(gpu, &model, Preset::Hybrid, Shape { batch, sequence });
        let output = bench.stages.output.unwrap();
        let is_head = |stages: &[Stage]| matches!(stages, [Stage::Linear(linear)] if linear.output == output);
        let all = groups(&bench.stages);
        let group = all.into_iter().find(|&group| is_head(stages_of(&bench.stages, group))).unwrap();
        let Stage::Linear(Linear { x, .. }) = bench.stages.stages[group.first] else { unreachable!() };
        let [hinted, plain] = [Some(output), None].map(|graph_output| {
            bench.stages.output = graph_output;
            let digests = RefCell::new(Vec::new());
            bench.each(group, &[x], |_| {
                let mut bytes = vec![0u8; bench.stages.tensor(output).bytes()];
                bench.arena.read(bench.offsets[output.0], &mut bytes).unwrap();
                digests.borrow_mut().push(sha256(&bytes));
            });
            digests.into_inner()
        });
        println!("{batch}x{sequence}: {} choices", hinted.len());
        assert!(hinted.len() > 1, "cuBLASLt alone");
        assert_eq!(hinted, plain, "{batch}x{sequence}");
    }
}

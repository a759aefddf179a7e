//! The kernel of a QKV projection and its attention by clusters of blocks. `qkv.rs` compares it with the pair and with float64.

use std::sync::PoisonError;

use super::forward::{Forward, Values, inputs, loaded};
use super::qkv::{check, first_projection, hopper, read, two_layers};
use super::reference::number;
use super::{DEVICE, put};
use crate::backend::cuda::calls::{Choice, calls, choices};
use crate::backend::cuda::lower::lower;
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::model::Architecture;

/// Replays of the same work.
const REPLAYS: usize = 100;

#[test]
fn a_cluster_agrees_with_the_pair_at_one_sequence() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    check(&two_layers(Architecture::BertBase), Preset::Hybrid, &[32, 128], &[1]);
}

#[test]
fn a_cluster_agrees_with_the_pair_at_every_number_of_slots() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    for architecture in [Architecture::BertBase, Architecture::Gpt2] {
        let model = two_layers(architecture);
        check(&model, Preset::Hybrid, &[1, 7, 31, 32, 33, 63, 64, 65, 100, 127, 128], &[1, 2, 3, 4, 5]);
        check(&model, Preset::Bf16, &[1, 33, 64, 100, 128], &[1, 2, 5]);
    }
}

/// Runs the clusters' tile with the input of sequence `large` scaled until it overflows, over poisoned tensors, `replays` times.
/// Returns the context as it is stored and as numbers.
fn run(forward: &Forward<'_>, large: Option<usize>, replays: usize) -> (Vec<u16>, Vec<f64>) {
    let (placement, (group, linear, attention)) = (forward.placement(), first_projection(&forward.stages));
    let sequence = attention.shape.sequence;
    let of_clusters = |choice: &Choice| matches!(choice, Choice::QkvCluster(_));
    let choice = choices(&placement, group).into_iter().find(of_clusters).unwrap();
    let prepared = forward.gpu.prepare(&calls(&placement, group, Some(choice)).unwrap()).unwrap();
    forward.arena.poison().unwrap();
    let tensor = forward.stages.tensor(linear.x);
    put(&forward.arena, forward.offsets[linear.x.0], tensor.element, tensor.rows * tensor.stride, |index| {
        number(7, index) * if Some(index / tensor.stride / sequence) == large { 60000.0 } else { 1.0 }
    });
    let pass = || {
        forward.gpu.enqueue(&prepared).unwrap();
        forward.gpu.stream.synchronize().unwrap();
        read(forward, attention.context)
    };
    let first = pass();
    for replay in 1..replays {
        assert_eq!(pass().0, first.0, "{:?} {choice:?}: replay {replay} differs from the first", attention.shape);
    }
    first
}

/// Checks every one of the shapes for [`run`]: one sequence that overflows leaves the others as they are.
fn check_overflow(shapes: &[(usize, usize)], replays: usize) {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(gpu) = hopper() else { return };
    let model = two_layers(Architecture::BertBase);
    for &(batch, sequence) in shapes {
        let shape = Shape { batch, sequence };
        let stages = lower(&model.graph, &PrecisionPolicy::preset(Preset::Hybrid), shape).unwrap();
        let (weights, inputs) = (loaded(&gpu, &model, &stages, Values::Ordinary), inputs(&gpu, &model, shape));
        let forward = Forward::new(&gpu, stages, (weights.addresses(), &inputs, shape));
        let (expected, ordinary) = run(&forward, None, replays);
        assert!(ordinary.iter().all(|x| x.is_finite()), "{shape:?}: something was not written");
        let (found, numbers) = run(&forward, Some(1), replays);
        let elements = expected.len() / batch;
        let differs = |row: &usize| found[row * elements..][..elements] != expected[row * elements..][..elements];
        let others: Vec<usize> = (0..batch).filter(|&row| row != 1).filter(differs).collect();
        assert!(others.is_empty(), "{shape:?}: sequences {others:?} differ");
        if batch > 1 {
            assert!(
                numbers[elements..][..elements].iter().any(|x| !x.is_finite()),
                "{shape:?}: nothing has overflowed"
            );
        }
        println!("{shape:?}: {replays} replays");
    }
}

/// `tests/sanitizer.sh` runs this test as well.
#[test]
fn a_sequence_that_overflows_leaves_the_others_of_its_cluster_alone() {
    check_overflow(&[(4, 32), (2, 33), (1, 100)], 1);
}

#[test]
fn replays_of_clusters_are_equal() {
    check_overflow(&[(1, 32), (2, 32), (3, 31), (2, 64), (1, 128)], REPLAYS);
}

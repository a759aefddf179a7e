//! One span of device memory for all intermediate tensors. Two tensors share bytes if they are never needed at once.

use super::stage::{DeviceTensor, Linear, Stage, TensorId, projection_of_attention};

/// Alignment of every tensor, bytes. cuBLASLt assumes it, and bulk copies need it.
const ALIGNMENT: usize = 256;

/// Where every tensor begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ArenaLayout {
    pub offsets: Vec<usize>,
    /// Size of the span, bytes.
    pub bytes: usize,
}

impl ArenaLayout {
    /// The addresses of all tensors in a span at `address`.
    pub fn addresses(&self, address: u64) -> Vec<u64> {
        self.offsets.iter().map(|&offset| address + offset as u64).collect()
    }
}

/// First and last stage that read or write a tensor.
type Lifetime = (usize, usize);

/// Lays out `tensors` for `stages`. The tensors of `kept` live to the end.
///
/// The largest tensor comes first, and each gets the lowest offset that is free for its whole lifetime. This is the
/// "greedy by size" order of Pisarchyk and Lee, arXiv 2001.03288, which is near the optimum for chains of layers.
pub(super) fn lay_out(tensors: &[DeviceTensor], stages: &[Stage], kept: &[TensorId]) -> ArenaLayout {
    let lives = lifetimes(tensors.len(), stages, kept);
    let mut order: Vec<usize> = (0..tensors.len()).filter(|&index| lives[index].is_some()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(tensors[index].bytes()), index));
    let mut offsets = vec![0; tensors.len()];
    let mut placed: Vec<(Lifetime, usize, usize)> = Vec::new();
    let mut total = 0;
    for index in order {
        let Some(life) = lives[index] else { continue };
        let bytes = tensors[index].bytes().next_multiple_of(ALIGNMENT);
        let mut neighbours: Vec<(usize, usize)> = placed
            .iter()
            .filter(|((first, last), ..)| *first <= life.1 && life.0 <= *last)
            .map(|&(_, start, end)| (start, end))
            .collect();
        neighbours.sort_unstable();
        let mut offset = 0;
        for (start, end) in neighbours {
            if start >= offset + bytes {
                break;
            }
            offset = offset.max(end);
        }
        offsets[index] = offset;
        total = total.max(offset + bytes);
        placed.push((life, offset, offset + bytes));
    }
    ArenaLayout { offsets, bytes: total }
}

fn lifetimes(count: usize, stages: &[Stage], kept: &[TensorId]) -> Vec<Option<Lifetime>> {
    let mut lives: Vec<Option<Lifetime>> = vec![None; count];
    let mut needed = |id: TensorId, index: usize| {
        let first = lives[id.0].map_or(index, |(first, _)| first);
        lives[id.0] = Some((first, index));
    };
    for (index, stage) in stages.iter().enumerate() {
        stage.tensors().into_iter().for_each(|id| needed(id, index));
        // Where the depth of a linear layer is split, it is the layer norm after it that reads the addend.
        if let Stage::Linear(Linear { addend: Some(addend), .. }) = stage {
            needed(*addend, (index + 1).min(stages.len() - 1));
        }
        // Where one kernel computes a projection and its attention, it reads the input of the one as it writes the context of the
        // other.
        if let Some((linear, _)) = projection_of_attention(stages, index) {
            needed(linear.x, index + 1);
        }
    }
    for id in kept {
        if let Some((_, last)) = &mut lives[id.0] {
            *last = stages.len();
        }
    }
    lives
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::element::ElementType;
    use crate::backend::cuda::stage::{Elementwise, Function, Outputs};
    use crate::graph::{Activation, Format};

    fn tensor(bytes: usize) -> DeviceTensor {
        DeviceTensor { name: String::new(), element: ElementType::F16, rows: 1, stride: bytes / 2 }
    }

    fn step(input: usize, output: usize) -> Stage {
        Stage::Elementwise(Elementwise {
            function: Function::Activation(Activation::Identity),
            input: TensorId(input),
            update: None,
            outputs: Outputs { main: TensorId(output), copy: None },
            compute: Format::Fp32,
        })
    }

    #[test]
    fn a_chain_of_equal_tensors_needs_two_places() {
        let tensors: Vec<DeviceTensor> = (0..6).map(|_| tensor(1000)).collect();
        let stages: Vec<Stage> = (0..5).map(|index| step(index, index + 1)).collect();
        let layout = lay_out(&tensors, &stages, &[TensorId(5)]);
        assert_eq!(layout.bytes, 2048);
        for index in 0..5 {
            assert_ne!(layout.offsets[index], layout.offsets[index + 1]);
        }
    }

    #[test]
    fn tensors_alive_together_never_overlap() {
        let sizes = [3000, 200, 5000, 700, 256, 2600, 40, 9000];
        let tensors: Vec<DeviceTensor> = sizes.iter().map(|&bytes| tensor(bytes)).collect();
        let pairs = [(0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (0, 6), (5, 7), (6, 1)];
        let stages: Vec<Stage> = pairs.iter().map(|&(a, b)| step(a, b)).collect();
        let layout = lay_out(&tensors, &stages, &[TensorId(7)]);
        let lives = lifetimes(tensors.len(), &stages, &[TensorId(7)]);
        for a in 0..sizes.len() {
            assert!(layout.offsets[a] + sizes[a] <= layout.bytes && layout.offsets[a].is_multiple_of(ALIGNMENT));
            for b in 0..a {
                let (x, y) = (lives[a].unwrap(), lives[b].unwrap());
                let together = x.0 <= y.1 && y.0 <= x.1;
                let apart = layout.offsets[a] + sizes[a] <= layout.offsets[b]
                    || layout.offsets[b] + sizes[b] <= layout.offsets[a];
                assert!(!together || apart, "{a} and {b}");
            }
        }
        assert!(layout.bytes < sizes.iter().sum::<usize>());
    }
}

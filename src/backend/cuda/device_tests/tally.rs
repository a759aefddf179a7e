//! Tallies of tensors with known elements, against counts on the host.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use half::{bf16, f16};

use super::reference::number;
use super::{DEVICE, gpu, put};
use crate::backend::cuda::calls::{Placement, Tally, TallyWords};
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::gpu::GpuRuntime;
use crate::backend::cuda::memory::DeviceMemory;
use crate::backend::cuda::stage::{DeviceTensor, LayerNorm, Norm, OpOutput, Outputs, Stages, TensorId, WeightKey};
use crate::engine::TensorTally;
use crate::graph::{Format, Mask, ParamId, ReductionOrder, Rounding, ValueShape};

const LENGTHS: [usize; 3] = [5, 1, 3];
const SEQUENCE: usize = 5;

/// One tensor on the device, with the element `value(index)` at every index, padding included.
struct TallyBench {
    stages: Stages,
    memory: DeviceMemory,
    lengths: DeviceMemory,
    words: DeviceMemory,
    sequence: usize,
}

impl TallyBench {
    fn new(
        gpu: &GpuRuntime,
        tensor: DeviceTensor,
        value: impl Fn(usize) -> f64 + Sync + Send,
        sequence: usize,
    ) -> Self {
        let context = &gpu.device.context;
        let memory = DeviceMemory::take(context, tensor.bytes(), "a test").unwrap();
        put(&memory, 0, tensor.element, tensor.rows * tensor.stride, value);
        let lengths = DeviceMemory::take(context, 4 * LENGTHS.len(), "a test").unwrap();
        let words = DeviceMemory::take(context, TallyWords::BYTES, "a test").unwrap();
        let stages = Stages { tensors: vec![tensor], ..Stages::default() };
        TallyBench { stages, memory, lengths, words, sequence }
    }

    fn run(&self, gpu: &GpuRuntime, lengths: &[usize], of: impl Fn(&Placement<'_>) -> Tally) -> TallyWords {
        self.lengths.fill(0, &lengths.iter().map(|&length| length as i32).collect::<Vec<i32>>()).unwrap();
        self.words.fill(0, &[TallyWords::EMPTY.0]).unwrap();
        let placement = Placement {
            stages: &self.stages,
            weights: &BTreeMap::new(),
            tensors: &[self.memory.address()],
            ids: 0,
            lengths: self.lengths.address(),
            types: None,
            sequence: self.sequence,
            scratch: 0,
            scratch_bytes: 0,
            architecture: gpu.architecture,
            multiprocessors: gpu.multiprocessors,
        };
        let prepared = gpu.prepare(&[of(&placement).call(self.words.address())]).unwrap();
        gpu.enqueue(&prepared).unwrap();
        gpu.stream.synchronize().unwrap();
        let mut words = [[0; 7]];
        self.words.read(0, &mut words).unwrap();
        TallyWords(words[0])
    }
}

/// Numbers of either sign, some NaN, infinities, and some that are infinite in FP16 alone.
fn mixed(index: usize) -> f64 {
    match index % 97 {
        3 => f64::NAN,
        11 => f64::INFINITY,
        29 | 30 => f64::NEG_INFINITY,
        41 => -1e5,
        _ => 100.0 * number(7, index),
    }
}

fn rounded(element: ElementType, value: f32) -> f32 {
    match element {
        ElementType::F32 => value,
        ElementType::F16 => f16::from_f32(value).to_f32(),
        ElementType::Bf16 => bf16::from_f32(value).to_f32(),
    }
}

/// Whether some operation reads an element.
fn is_read(value: ValueShape, mask: Mask, row: usize, column: usize) -> bool {
    match value {
        ValueShape::Sequences(width) => column < width,
        ValueShape::Tokens(width) => column < width && row % SEQUENCE < LENGTHS[row / SEQUENCE],
        ValueShape::Scores(heads) => {
            let (query, length) = (row % SEQUENCE, LENGTHS[row / SEQUENCE / heads]);
            query < length && column < length && (mask == Mask::Padding || column <= query)
        }
    }
}

#[test]
fn elements_are_counted_by_kind_without_padding_and_masked_scores() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(gpu) = gpu() else { return };
    let (batch, heads) = (LENGTHS.len(), 40);
    let scaled = Some((0.3, Format::Fp16));
    for (value, rows, stride, scale) in [
        (ValueShape::Sequences(33), batch, 40, None),
        (ValueShape::Tokens(700), batch * SEQUENCE, 700, None),
        (ValueShape::Tokens(40), batch * SEQUENCE, 48, None),
        (ValueShape::Scores(heads), batch * heads * SEQUENCE, 8, None),
        (ValueShape::Scores(heads), batch * heads * SEQUENCE, 8, scaled),
    ] {
        for element in [ElementType::F32, ElementType::F16, ElementType::Bf16] {
            for mask in [Mask::Padding, Mask::Causal] {
                let tensor = DeviceTensor { name: "values".to_owned(), element, rows, stride };
                let bench = TallyBench::new(&gpu, tensor, mixed, SEQUENCE);
                let output = OpOutput { stage: 0, tensor: TensorId(0), scale };
                let found = bench.run(&gpu, &LENGTHS, |placement| Tally::of_output(placement, &output, value, mask));
                let mut expected = TensorTally::default();
                for index in (0..rows * stride).filter(|index| is_read(value, mask, index / stride, index % stride)) {
                    let stored = rounded(element, mixed(index) as f32);
                    let fp16 = |x| rounded(ElementType::F16, x);
                    let x = scale.map_or(stored, |(scale, _)| fp16(fp16(stored) * scale as f32));
                    let largest = if x.is_finite() { f64::from(x.abs()) } else { 0.0 };
                    let one = TensorTally { largest, nan: u64::from(x.is_nan()), inf: u64::from(x.is_infinite()) };
                    expected = expected.and(one);
                }
                assert!(expected.nan > 0 && expected.inf > 0 && expected.largest > 20.0, "{expected:?}");
                assert_eq!(found.tensor(), expected, "{value:?} {element:?} {mask:?} {scale:?}");
            }
        }
    }
}

const WIDTH: usize = 64;

/// Rows of zeros but for one or two outliers. The last one is padding.
fn outlier(index: usize) -> f64 {
    match (index / WIDTH, index % WIDTH) {
        (0, 7) => 100.0,
        (1, 7) => 250.0,
        (2, 7) | (7, 7) => -300.0,
        (3, 7 | 60) => 200.0,
        (4, 7) => f64::NAN,
        (5, 7) => f64::INFINITY,
        _ => 0.0,
    }
}

/// A square beyond FP16 silences a row in either order of the reduction, a sum of squares beyond it only where the sum comes
/// first. FP32 silences none.
#[test]
fn a_norms_rows_are_counted_by_what_overflows() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(gpu) = gpu() else { return };
    // The sum of squared deviations of `count` outliers in a row.
    let squares = |count: f64, outlier: f64| count * outlier * outlier * (1.0 - count / WIDTH as f64);
    let fp16 = Rounding::uniform(Format::Fp16);
    for (rounding, order, silent, square_sum) in [
        (fp16, ReductionOrder::SumThenDivide, 2, squares(1.0, 250.0)),
        (fp16, ReductionOrder::DivideFirst, 1, squares(2.0, 200.0)),
        (Rounding::fp32_accumulated(Format::Fp16), ReductionOrder::SumThenDivide, 1, squares(2.0, 200.0)),
        (Rounding::uniform(Format::Fp32), ReductionOrder::SumThenDivide, 0, squares(1.0, 300.0)),
        (Rounding::uniform(Format::Bf16), ReductionOrder::SumThenDivide, 0, squares(1.0, 300.0)),
    ] {
        let vector = WeightKey::new(ParamId(0), Format::Fp16, WIDTH);
        let norm = Norm { gamma: vector, beta: vector, epsilon: 1e-5, order, rounding };
        let outputs = Outputs { main: TensorId(0), copy: None };
        let stage = LayerNorm { input: TensorId(0), norm, outputs };
        for element in [ElementType::F32, ElementType::F16] {
            let tensor = DeviceTensor { name: "rows".to_owned(), element, rows: 8, stride: WIDTH };
            let bench = TallyBench::new(&gpu, tensor, outlier, 8);
            let value = ValueShape::Tokens(WIDTH);
            let words = bench.run(&gpu, &[7], |placement| Tally::of_layer_norm(placement, &stage, value));
            let found = words.layer_norm(WIDTH, norm.epsilon);
            assert_eq!((found.rows, found.silent), (7, silent), "{rounding:?} {order:?}: {found:?}");
            let near = |a: f64, b: f64| (a / b - 1.0).abs() < 0.02;
            assert!(near(found.square_sum, square_sum), "{rounding:?} {order:?}: {found:?}, not {square_sum}");
            assert!(near(found.deviation, 300.0 * (1.0 - 1.0 / WIDTH as f64)), "{rounding:?} {order:?}: {found:?}");
        }
    }
}

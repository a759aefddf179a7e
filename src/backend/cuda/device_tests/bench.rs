//! Benchmarks that decide which steps of the kernels' next round pay (`make bench` on a machine with a GPU). Each prints a
//! table; none asserts a time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::PoisonError;
use std::time::Instant;

use super::{DEVICE, gpu, model};
use crate::backend::cuda::arena::lay_out;
use crate::backend::cuda::calls::{
    Choice, DeviceCall, Placement, ProductChoice, StageGroup, calls, choices, group_key, groups, groups_together,
    with_attention,
};
use crate::backend::cuda::capture::capture;
use crate::backend::cuda::engine::placement;
use crate::backend::cuda::error::failed;
use crate::backend::cuda::gpu::GpuRuntime;
use crate::backend::cuda::lower::{lower, lower_stepwise};
use crate::backend::cuda::memory::DeviceMemory;
use crate::backend::cuda::stage::{Stage, Stages, WeightKey};
use crate::backend::cuda::tune::{Choices, Timing, library_algorithms, tune};
use crate::backend::cuda::weights::DeviceWeights;
use crate::engine::{BackendError, ProgressSink};
use crate::graph::{PrecisionPolicy, Preset, Shape};
use crate::model::{Architecture, Model};
use crate::nvml::nvml;

const SHAPES: [(usize, usize); 6] = [(1, 32), (1, 128), (1, 512), (8, 128), (32, 128), (32, 512)];

/// Timed replays of a pass.
const REPLAYS: usize = 60;

/// How long a product runs for its energy, seconds. The board's counter moves every 100 ms.
const SUSTAINED_S: f64 = 0.6;

/// A forward with its memory on the device.
pub(super) struct Pass {
    gpu: GpuRuntime,
    pub stages: Stages,
    pub weights: DeviceWeights,
    pub arena: DeviceMemory,
    tensors: Vec<u64>,
    inputs: DeviceMemory,
    shape: Shape,
}

impl Pass {
    pub fn new(gpu: GpuRuntime, model: &Model, stages: Stages, shape: Shape) -> Pass {
        let keys: BTreeSet<WeightKey> = stages.stages.iter().flat_map(Stage::weights).collect();
        let weights = DeviceWeights::load(&gpu.device.context, model, &keys).unwrap();
        Pass::with(gpu, weights, stages, shape)
    }

    fn with(gpu: GpuRuntime, weights: DeviceWeights, stages: Stages, shape: Shape) -> Pass {
        let context = &gpu.device.context;
        let layout = lay_out(&stages.tensors, &stages.stages, &[stages.output.unwrap()]);
        let arena = DeviceMemory::take(context, layout.bytes, "tensors").unwrap();
        let inputs = DeviceMemory::take(context, 4 * (shape.tokens() + shape.batch), "inputs").unwrap();
        let ids = (0..shape.tokens()).map(|index| (index * 7919 % 1000) as i32);
        let lengths = (0..shape.batch).map(|_| shape.sequence as i32);
        inputs.fill(0, &ids.chain(lengths).collect::<Vec<i32>>()).unwrap();
        let tensors = layout.addresses(arena.address());
        Pass { gpu, stages, weights, arena, tensors, inputs, shape }
    }

    pub fn placement<'a>(&'a self, weights: &'a BTreeMap<WeightKey, u64>) -> Placement<'a> {
        let but_tensors = placement(&self.gpu, weights, &self.stages, &self.inputs, self.shape);
        Placement { tensors: &self.tensors, ..but_tensors }
    }

    fn choices(&self) -> Choices {
        let placement = self.placement(self.weights.addresses());
        let timing = Timing { arena: &self.arena, progress: &ProgressSink::default() };
        tune(&self.gpu, &placement, &groups(&self.stages), timing).unwrap()
    }

    fn calls(&self, choices: &Choices, weights: &BTreeMap<WeightKey, u64>) -> Vec<DeviceCall> {
        let placement = self.placement(weights);
        let of = |group| calls(&placement, group, choices.get(&group_key(&self.stages, group))).unwrap();
        choices.groups(&self.stages).into_iter().flat_map(of).collect()
    }

    /// Median time of a replay of `calls`, ms.
    pub fn time_ms(&self, calls: &[DeviceCall]) -> Result<f64, BackendError> {
        let prepared = self.gpu.prepare(calls)?;
        self.gpu.enqueue(&prepared)?;
        self.gpu.stream.synchronize().map_err(failed)?;
        let graph = capture(&self.gpu.stream, || self.gpu.enqueue(&prepared), failed)?;
        self.gpu.median_ms(5, REPLAYS, || graph.launch().map_err(failed))
    }

    /// Time of a replay in microseconds and its energy in millijoules, over [`SUSTAINED_S`] after as long a time of the
    /// same load.
    fn sustained(&self, calls: &[DeviceCall]) -> Result<(f64, Option<f64>), BackendError> {
        let prepared = self.gpu.prepare(calls)?;
        self.gpu.enqueue(&prepared)?;
        self.gpu.stream.synchronize().map_err(failed)?;
        let graph = capture(&self.gpu.stream, || self.gpu.enqueue(&prepared), failed)?;
        let run = || -> Result<(f64, usize), BackendError> {
            let (start, mut replays) = (Instant::now(), 0);
            while start.elapsed().as_secs_f64() < SUSTAINED_S {
                for _ in 0..20 {
                    graph.launch().map_err(failed)?;
                }
                self.gpu.stream.synchronize().map_err(failed)?;
                replays += 20;
            }
            Ok((start.elapsed().as_secs_f64(), replays))
        };
        run()?;
        let before = energy_mj();
        let (seconds, replays) = run()?;
        let energy = before.zip(energy_mj()).map(|(before, after)| (after - before) as f64 / replays as f64);
        Ok((seconds * 1e6 / replays as f64, energy))
    }
}

/// The energy counter of the first board, millijoules.
fn energy_mj() -> Option<u64> {
    nvml().ok()?.device_by_index(0).ok()?.total_energy_consumption().ok()
}

fn hybrid(gpu: GpuRuntime, model: &Model, (batch, sequence): (usize, usize)) -> Pass {
    let shape = Shape { batch, sequence };
    let stages = lower(&model.graph, &PrecisionPolicy::preset(Preset::Hybrid), shape).unwrap();
    Pass::new(gpu, model, stages, shape)
}

/// The addresses of the parameters, those of every layer replaced by the first layer's.
fn of_one_layer(pass: &Pass, model: &Model) -> BTreeMap<WeightKey, u64> {
    let name = |key: &WeightKey| model.graph.params[key.param].name.as_str();
    let place = |key: &WeightKey| name(key).strip_prefix("layer.")?.split_once('/').map(|(_, rest)| rest.to_owned());
    let addresses = pass.weights.addresses();
    let first: BTreeMap<_, u64> = addresses
        .iter()
        .filter(|(key, _)| name(key).starts_with("layer.0/"))
        .map(|(key, &address)| ((place(key), key.element, key.rows), address))
        .collect();
    let shared = |(key, &address): (&WeightKey, &u64)| {
        (*key, first.get(&(place(key), key.element, key.rows)).copied().unwrap_or(address))
    };
    addresses.iter().map(shared).collect()
}

/// What it would gain if every weight were in L2 when its product starts: the bound of requesting weights earlier.
#[test]
#[ignore = "a benchmark"]
fn bench_a_pass_whose_layers_share_one_layers_weights() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let model = model(Architecture::BertBase);
    println!("| BERT-base hybrid | own weights, ms | one layer's weights, ms | own again, ms |");
    for shape in &SHAPES[..4] {
        let Some(gpu) = gpu() else { return };
        let pass = hybrid(gpu, &model, *shape);
        let choices = pass.choices();
        let shared = of_one_layer(&pass, &model);
        assert!(shared.values().collect::<BTreeSet<_>>().len() < pass.weights.addresses().len() / 2);
        let own = pass.calls(&choices, pass.weights.addresses());
        let hot = pass.calls(&choices, &shared);
        let times = [&own, &hot, &own].map(|calls| pass.time_ms(calls).unwrap());
        println!("| {}x{} | {:.4} | {:.4} | {:.4} |", shape.0, shape.1, times[0], times[1], times[2]);
    }
}

/// Lets the kernels after attention and layer norms start before these wait for their predecessors.
#[test]
#[ignore = "a benchmark"]
fn bench_attention_and_layer_norms_that_let_their_dependents_start_early() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let model = model(Architecture::BertBase);
    println!("| BERT-base hybrid | after the wait, ms | before the wait, ms |");
    for shape in &SHAPES[..4] {
        let Some(gpu) = gpu() else { return };
        let pass = hybrid(gpu, &model, *shape);
        let calls = pass.calls(&pass.choices(), pass.weights.addresses());
        let before = pass.time_ms(&calls).unwrap();
        let (wait, allow) = ("  wait_for_dependencies();\n", "  allow_dependents();\n");
        let edited = pass.gpu.reload(&calls, |source| {
            let early = source.replace(&format!("{wait}{allow}"), &format!("{allow}{wait}"));
            (early != source && !source.contains("void gemm_")).then_some(early)
        });
        assert!(edited.unwrap() > 0);
        println!("| {}x{} | {before:.4} | {:.4} |", shape.0, shape.1, pass.time_ms(&calls).unwrap());
    }
}

/// The fastest of several choices for the groups of one key, by a few replays over all layers.
pub(super) fn fastest(pass: &Pass, of: &[StageGroup], choices: Vec<Choice>) -> Option<(Choice, Vec<DeviceCall>)> {
    let placement = pass.placement(pass.weights.addresses());
    let timed = choices.into_iter().filter_map(|choice| {
        let calls: Vec<DeviceCall> =
            of.iter().flat_map(|&group| calls(&placement, group, Some(choice)).unwrap()).collect();
        Some((pass.time_ms(&calls).ok()?, choice, calls))
    });
    timed.min_by(|(a, ..), (b, ..)| a.total_cmp(b)).map(|(_, choice, calls)| (choice, calls))
}

/// Time and energy of every product of a layer under sustained load, of the library's best and of this backend's best kernel.
#[test]
#[ignore = "a benchmark"]
fn bench_products_under_sustained_load() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let model = model(Architecture::BertBase);
    println!("| product of BERT-base hybrid, 12 layers | by | us a layer | mJ a layer |");
    for shape in &SHAPES[4..] {
        let Some(gpu) = gpu() else { return };
        let pass = hybrid(gpu, &model, *shape);
        pass.arena.fill_with_small_numbers().unwrap();
        let placement = pass.placement(pass.weights.addresses());
        let mut by_key: BTreeMap<String, Vec<StageGroup>> = BTreeMap::new();
        for group in groups(&pass.stages) {
            if matches!(pass.stages.stages[group.first], Stage::Linear(_)) {
                by_key.entry(group_key(&pass.stages, group)).or_default().push(group);
            }
        }
        for (key, of) in by_key {
            let mut library = library_algorithms(&pass.gpu, &placement, of[0]).unwrap();
            library.push(Choice::Product(ProductChoice::Library(None)));
            let mut own = choices(&placement, of[0]);
            own.retain(|choice| !matches!(choice, Choice::Product(ProductChoice::Library(_))));
            for (name, candidates) in [("cuBLASLt", library), ("own", own)] {
                let Some((choice, calls)) = fastest(&pass, &of, candidates) else { continue };
                let (us, mj) = pass.sustained(&calls).unwrap();
                let layers = of.len() as f64;
                let mj = mj.map_or("-".to_owned(), |mj| format!("{:.2}", mj / layers));
                let choice = if name == "own" { format!("{choice:?}") } else { String::new() };
                println!("| {key} | {name} {choice} | {:.2} | {mj} |", us / layers);
            }
        }
    }
}

/// Fused fp16 and single operations in one process.
#[test]
#[ignore = "a benchmark"]
fn bench_fp16_fused_and_operation_by_operation() {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    let policy = PrecisionPolicy::preset(Preset::Fp16);
    println!("| fp16 | stages, single | ms | stages, fused | ms | attention, us | by |");
    for architecture in [Architecture::BertBase, Architecture::Gpt2] {
        let model = model(architecture);
        for (batch, sequence) in SHAPES {
            let shape = Shape { batch, sequence };
            let mut row = format!("| {architecture:?} {batch}x{sequence} |");
            let (mut attention_us, mut kernel) = (0.0, String::new());
            for lowered in [lower_stepwise(&model.graph, &policy, shape), lower(&model.graph, &policy, shape)] {
                let Some(gpu) = gpu() else { return };
                let pass = Pass::new(gpu, &model, lowered.unwrap(), shape);
                let choices = pass.choices();
                let ms = pass.time_ms(&pass.calls(&choices, pass.weights.addresses())).unwrap();
                row += &format!(" {} | {ms:.4} |", pass.stages.stages.len());
                let placement = pass.placement(pass.weights.addresses());
                let attention = groups(&pass.stages)
                    .into_iter()
                    .filter(|group| matches!(pass.stages.stages[group.first], Stage::Attention(_)));
                let attention: Vec<DeviceCall> = attention
                    .flat_map(|group| {
                        let choice = choices.get(&group_key(&pass.stages, group));
                        kernel = format!("{choice:?}");
                        calls(&placement, group, choice).unwrap()
                    })
                    .collect();
                if !attention.is_empty() {
                    attention_us = pass.time_ms(&attention).unwrap() * 1e3 / attention.len() as f64;
                }
            }
            println!("{row} {attention_us:.2} | {kernel} |");
        }
    }
}

/// The calls of a whole pass and those of its projections and attention alone: as the pair, or by one kernel.
fn with_projections_by(pass: &Pass, choices: &Choices, both: Option<Choice>) -> (Vec<DeviceCall>, Vec<DeviceCall>) {
    let (placement, stages) = (pass.placement(pass.weights.addresses()), &pass.stages);
    let (mut whole, mut alone) = (Vec::new(), Vec::new());
    for group in groups_together(stages, |_| both.is_some()) {
        let attends =
            stages.stages[group.first..][..group.count].iter().any(|stage| matches!(stage, Stage::Attention(_)));
        let choice = if group.count == 2 && attends { both } else { choices.get(&group_key(stages, group)) };
        let calls = calls(&placement, group, choice).unwrap();
        if attends || with_attention(stages, group).is_some() {
            alone.extend(calls.clone());
        }
        whole.extend(calls);
    }
    (whole, alone)
}

#[test]
#[ignore = "a benchmark"]
fn bench_a_projection_with_its_attention_and_the_pair() {
    let shapes = [(1, 32), (1, 128), (8, 32), (8, 128), (32, 32), (32, 128), (128, 32)];
    bench_projections(&shapes, |choice| matches!(choice, Choice::QkvAttention(_)));
}

#[test]
#[ignore = "a benchmark"]
fn bench_a_projection_with_its_attention_by_clusters_and_the_pair() {
    let shapes = [(1, 32), (1, 128), (4, 32), (1, 64), (2, 32), (2, 64)];
    bench_projections(&shapes, |choice| matches!(choice, Choice::QkvCluster(_)));
}

/// One kernel for a projection and its attention against the pair, in one process.
fn bench_projections(shapes: &[(usize, usize)], wanted: fn(&Choice) -> bool) {
    let _turn = DEVICE.lock().unwrap_or_else(PoisonError::into_inner);
    println!("| hybrid | kernel | pair, ms | one, ms | pair again, ms | pair, us a layer | one, us | tuner takes |");
    for architecture in [Architecture::BertBase, Architecture::Gpt2] {
        let model = model(architecture);
        let Some(gpu) = gpu() else { return };
        let mut pass = hybrid(gpu, &model, (1, 32));
        for &(batch, sequence) in shapes {
            let shape = Shape { batch, sequence };
            let stages = lower(&model.graph, &PrecisionPolicy::preset(Preset::Hybrid), shape).unwrap();
            pass = Pass::with(pass.gpu, pass.weights, stages, shape);
            let tuned = pass.choices();
            pass.arena.fill_with_small_numbers().unwrap();
            let (pair, pair_alone) = with_projections_by(&pass, &tuned, None);
            let layers = pair_alone.len() as f64 / 2.0;
            let alone_us = |calls: &[DeviceCall]| pass.time_ms(calls).unwrap() * 1e3 / layers;
            let all = groups(&pass.stages);
            let group = all.into_iter().find_map(|group| with_attention(&pass.stages, group)).unwrap();
            let taken = tuned.get(&group_key(&pass.stages, group));
            for choice in choices(&pass.placement(pass.weights.addresses()), group).into_iter().filter(wanted) {
                let (one, one_alone) = with_projections_by(&pass, &tuned, Some(choice));
                let [before, ms, after] = [&pair, &one, &pair].map(|calls| pass.time_ms(calls).unwrap());
                let (pair_us, one_us) = (alone_us(&pair_alone), alone_us(&one_alone));
                println!(
                    "| {architecture:?} {batch}x{sequence} | {choice:?} | {before:.4} | {ms:.4} | {after:.4} | {pair_us:.2} | \
                     {one_us:.2} | {} |",
                    taken == Some(choice)
                );
            }
        }
    }
}

//! Makes and compiles the calls of every choice, without a device.

use rayon::prelude::*;

use super::super::arena::lay_out;
use super::super::catalogue::{KernelSource, unit};
use super::super::compile::{CompileError, compile};
use super::super::examine::{ForwardTallies, StepwiseForward};
use super::super::lower::{lower, lower_stepwise};
use super::*;
use crate::graph::{Activation, Dimensions, Graph, OpClass, PrecisionPolicy, Preset, ReductionOrder, Rounding, Shape};
use crate::model::Architecture as ModelName;
use crate::model::{ModelConfig, TaskHead, architecture_graph, build_graph};

const SHAPES: [(usize, usize); 7] = [(1, 7), (1, 32), (1, 128), (3, 33), (32, 32), (8, 128), (32, 512)];

fn policies() -> Vec<PrecisionPolicy> {
    let mut policies: Vec<PrecisionPolicy> = Preset::ALL.map(PrecisionPolicy::preset).to_vec();
    let mut other = PrecisionPolicy::preset(Preset::Fp16);
    other.layer_norm_reduction = ReductionOrder::DivideFirst;
    policies.push(other);
    let mut wide_norms = PrecisionPolicy::preset(Preset::Fp16);
    wide_norms.classes.insert(OpClass::LayerNorm, Rounding::uniform(Format::Fp32));
    policies.push(wide_norms);
    policies.push(with_in_fp32(&["layer.2/mlp/layer_norm", "layer.3/mlp/residual"]));
    policies
}

/// Full FP16 but for these operations, as a search leaves it.
pub(in crate::backend::cuda) fn with_in_fp32(ops: &[&str]) -> PrecisionPolicy {
    let mut policy = PrecisionPolicy::preset(Preset::Fp16);
    policy.overrides.extend(ops.iter().map(|&op| (op.to_owned(), Rounding::uniform(Format::Fp32))));
    policy
}

/// All calls of all choices for a model, policy and shape, at invented addresses, and those of an examined forward.
fn all_calls(graph: &Graph, policy: &PrecisionPolicy, shape: Shape, architecture: GpuArchitecture) -> Vec<DeviceCall> {
    let stepwise = lower_stepwise(graph, policy, shape).unwrap();
    let mut all = calls_of(&lower(graph, policy, shape).unwrap(), shape, architecture, |_| Vec::new());
    all.extend(calls_of(&stepwise, shape, architecture, |placement| {
        let Some(forward) = StepwiseForward::new(stepwise.clone()) else { return Vec::new() };
        let (mut calls, ends) = forward.calls(placement).unwrap();
        calls.extend(ForwardTallies::new(placement, graph, &ends).unwrap().calls(1 << 30));
        calls
    }));
    all
}

/// All calls of all choices for stages at invented addresses, and `more`.
pub(in crate::backend::cuda) fn calls_of(
    stages: &Stages,
    shape: Shape,
    architecture: GpuArchitecture,
    more: impl Fn(&Placement<'_>) -> Vec<DeviceCall>,
) -> Vec<DeviceCall> {
    placed(stages, shape, architecture, |placement| {
        let mut all = more(placement);
        for group in groups(stages).into_iter().flat_map(|group| [Some(group), with_attention(stages, group)]).flatten()
        {
            let choices = choices(placement, group).into_iter().map(Some);
            all.extend(std::iter::once(None).chain(choices).flat_map(|one| calls(placement, group, one).unwrap()));
        }
        all
    })
}

/// What `of` makes of stages at invented addresses.
fn placed<T>(stages: &Stages, shape: Shape, architecture: GpuArchitecture, of: impl FnOnce(&Placement<'_>) -> T) -> T {
    let layout = lay_out(&stages.tensors, &stages.stages, &[stages.output.unwrap()]);
    let tensors = layout.addresses(1 << 32);
    let keys = stages.stages.iter().flat_map(|stage| stage.weights());
    let weights: BTreeMap<WeightKey, u64> = keys.map(|key| (key, 1 << 40)).collect();
    let placement = Placement {
        stages,
        weights: &weights,
        tensors: &tensors,
        ids: 1 << 16,
        lengths: 1 << 17,
        types: Some(1 << 18),
        sequence: shape.sequence,
        scratch: 1 << 20,
        scratch_bytes: 32 << 20,
        architecture,
        multiprocessors: 132,
    };
    of(&placement)
}

fn every_instance(architecture: GpuArchitecture) -> BTreeSet<Instance> {
    let mut all = BTreeSet::new();
    for model in [ModelName::BertBase, ModelName::Gpt2] {
        for policy in policies() {
            for (batch, sequence) in SHAPES {
                let calls = all_calls(&architecture_graph(model), &policy, Shape { batch, sequence }, architecture);
                all.extend(instances(&calls).into_iter().cloned());
            }
        }
    }
    all
}

/// Layers of every activation, and the heads and inputs that neither BERT nor GPT-2 has.
fn other_graphs() -> Vec<Graph> {
    let bert = ModelConfig::of(ModelName::BertBase);
    let one = |activation| {
        let mut config = ModelConfig { activation, ..bert.clone() };
        config.dimensions.layers = 1;
        config
    };
    let (head, unpooled_id) = (TaskHead::Classifier { labels: 2 }, Some(0));
    let padded = ModelConfig { head, unpooled_id, ..ModelConfig::of(ModelName::Gpt2Tiny) };
    let opt = ModelConfig::of(ModelName::Opt125m);
    Activation::ALL.map(one).iter().chain([&padded, &opt]).map(build_graph).collect()
}

/// The kernels of [`other_graphs`] at one shape that the published models do not have.
fn other_instances(architecture: GpuArchitecture) -> BTreeSet<Instance> {
    let (shape, known) = (Shape { batch: 1, sequence: 128 }, every_instance(architecture));
    let mut all = BTreeSet::new();
    for graph in other_graphs() {
        for policy in Preset::ALL.map(PrecisionPolicy::preset) {
            let calls = all_calls(&graph, &policy, shape, architecture);
            all.extend(instances(&calls).into_iter().filter(|instance| !known.contains(instance)).cloned());
        }
    }
    // Of the products one function stands for all: the one of the most operations.
    all.retain(|instance| match instance.source {
        KernelSource::ProductMma(_) | KernelSource::ProductWgmma(_) => instance.name.contains("mish"),
        _ => true,
    });
    all
}

/// Models of one layer of the sizes that other published models have: heads of 80, 96 and 128 elements, rows from 20 to 4096.
fn graphs_of_other_sizes() -> Vec<Graph> {
    let of = |name, (hidden, heads)| {
        let mut config = ModelConfig::of(name);
        let of_name = config.dimensions;
        config.dimensions = Dimensions { layers: 1, hidden, heads, inner: hidden, ..of_name };
        build_graph(&config)
    };
    let sizes = [(80, 1), (96, 1), (128, 1), (20, 2), (312, 12), (1600, 25), (2560, 32), (4096, 32)];
    let both = [ModelName::BertTiny, ModelName::Gpt2Tiny];
    sizes.into_iter().flat_map(|size| both.map(|name| of(name, size))).collect()
}

/// The kernels of attention and layer norms of [`graphs_of_other_sizes`]. The products have no size in them.
fn instances_of_other_sizes(architecture: GpuArchitecture) -> BTreeSet<Instance> {
    let mut all = BTreeSet::new();
    for graph in graphs_of_other_sizes() {
        for policy in Preset::ALL.map(PrecisionPolicy::preset) {
            for (batch, sequence) in [(1, 31), (1, 255), (9, 512)] {
                let shape = Shape { batch, sequence };
                let stages = lower(&graph, &policy, shape).unwrap();
                all.extend(instances(&calls_of(&stages, shape, architecture, |_| Vec::new())).into_iter().cloned());
            }
        }
    }
    all.retain(|instance| !matches!(instance.source, KernelSource::ProductMma(_) | KernelSource::ProductWgmma(_)));
    all
}

/// The limits per block of compute capability 8.6, 8.9 and 12.0 and of 9.0 (CUDA programming guide, table of technical
/// specifications).
#[test]
fn default_tiles_fit_the_shared_memory_of_every_gpu_and_all_others_that_of_hopper() {
    let hopper = GpuArchitecture { major: 9, minor: 0 };
    let mut seen = 0;
    for graph in graphs_of_other_sizes() {
        for policy in Preset::ALL.map(PrecisionPolicy::preset) {
            for (batch, sequence) in [(1, 31), (1, 255), (9, 512), (1, 2048)] {
                let shape = Shape { batch, sequence };
                let stages = lower(&graph, &policy, shape).unwrap();
                for architecture in GpuArchitecture::TESTED {
                    let limit_bytes = if architecture == hopper { 227 << 10 } else { 99 << 10 };
                    let all = placed(&stages, shape, architecture, |placement| {
                        let is_attention =
                            |group: &StageGroup| matches!(stages.stages[group.first], Stage::Attention(_));
                        let of_group = |group| {
                            let tuned = if architecture == hopper { choices(placement, group) } else { Vec::new() };
                            let all = std::iter::once(None).chain(tuned.into_iter().map(Some));
                            all.flat_map(|choice| calls(placement, group, choice).unwrap()).collect::<Vec<_>>()
                        };
                        groups(&stages).into_iter().filter(is_attention).flat_map(of_group).collect::<Vec<_>>()
                    });
                    for call in &all {
                        let DeviceCall::Kernel(call) = call else { panic!("not a kernel") };
                        let name = &call.instance.name;
                        assert!(call.shared_bytes <= limit_bytes, "{name}: {} bytes", call.shared_bytes);
                    }
                    seen += all.len();
                }
            }
        }
    }
    assert!(seen > 1000, "{seen}");
}

/// Compiles every kernel that any choice can need. Returns those that spill, or why nothing was compiled.
fn spilling(
    architecture: GpuArchitecture,
    all: impl IntoIterator<Item = Instance>,
) -> Result<Vec<String>, CompileError> {
    let mut by_source: BTreeMap<_, Vec<Instance>> = BTreeMap::new();
    for instance in all {
        by_source.entry(instance.source).or_default().push(instance);
    }
    let mut spilling = Vec::new();
    for (source, instances) in by_source {
        let (cubin, resources) = compile(&unit(source, &instances), architecture)?;
        assert!(!cubin.bytes.is_empty());
        assert_eq!(resources.len(), instances.len(), "{source:?}");
        let spilled = resources.iter().filter(|kernel| kernel.spilled_bytes > 0);
        spilling.extend(spilled.map(|kernel| format!("{architecture:?}: {kernel:?}")));
    }
    Ok(spilling)
}

#[test]
fn every_kernel_compiles_for_every_generation_without_spilling() {
    compile_for(&GpuArchitecture::TESTED, every_instance);
}

#[test]
fn kernels_of_other_families_and_activations_compile_for_every_generation_without_spilling() {
    compile_for(&GpuArchitecture::TESTED, other_instances);
}

fn compile_for(generations: &[GpuArchitecture], all: fn(GpuArchitecture) -> BTreeSet<Instance>) {
    let all: Vec<_> = generations.par_iter().map(|&generation| spilling(generation, all(generation))).collect();
    let mut spilled = Vec::new();
    for result in all {
        match result {
            Ok(found) => spilled.extend(found),
            Err(CompileError::Unavailable(reason)) => {
                crate::skip::skip(reason);
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(spilled.is_empty(), "{spilled:#?}");
}

#[test]
fn one_kernel_for_projection_and_attention_is_offered_where_it_computes_what_the_stages_say() {
    let offered = |model, preset, (batch, sequence), major| {
        let (policy, shape) = (PrecisionPolicy::preset(preset), Shape { batch, sequence });
        let calls = all_calls(&architecture_graph(model), &policy, shape, GpuArchitecture { major, minor: 0 });
        let of = |instance: &&Instance| {
            matches!(instance.source, KernelSource::QkvAttention(_) | KernelSource::QkvCluster(_))
        };
        instances(&calls).into_iter().filter(of).map(|instance| instance.name.clone()).collect::<Vec<_>>()
    };
    use ModelName::{BertBase, BertTiny, Gpt2};
    assert_eq!(
        offered(BertBase, Preset::Hybrid, (1, 32), 9),
        ["qkv_attention_64x64_s6_padding", "qkv_cluster_64x32_s12_padding"]
    );
    assert_eq!(
        offered(BertBase, Preset::Bf16, (1, 128), 9),
        ["qkv_attention_128x128_s4_padding", "qkv_cluster_128x128_s12_padding"]
    );
    let many = ["128x128_s4", "128x64_s4", "64x64_s2", "64x64_s6"].map(|tile| format!("qkv_attention_{tile}_causal"));
    assert_eq!(offered(Gpt2, Preset::Hybrid, (32, 32), 9), many);
    for sequence in [1, 7, 31, 33, 63, 64, 65, 100, 127, 128] {
        for batch in [1, 2, 3, 5, 8, 32, 128] {
            let found = offered(BertBase, Preset::Hybrid, (batch, sequence), 9);
            assert!(
                !found.is_empty() && found.len() <= 4 + usize::from(batch * sequence <= 128),
                "{batch}x{sequence}: {found:?}"
            );
        }
    }
    let none: [String; 0] = [];
    assert_eq!(offered(BertBase, Preset::Hybrid, (1, 129), 9), none, "a sequence that fits no unit");
    assert_eq!(offered(BertTiny, Preset::Hybrid, (1, 32), 9), none, "heads of 32");
    for preset in [Preset::Fp32, Preset::Tf32, Preset::Fp16] {
        assert_eq!(offered(BertBase, preset, (1, 32), 9), none, "{preset}");
    }
    for major in [8, 12] {
        assert_eq!(offered(BertBase, Preset::Hybrid, (1, 32), major), none, "no wgmma");
    }
}

/// For the oldest generation and for Hopper: all five take eight minutes of a processor, and their kernels are those of the oldest.
#[test]
fn kernels_of_other_sizes_compile_for_two_generations_without_spilling() {
    let two = GpuArchitecture::TESTED.into_iter().filter(|one| [(8, 0), (9, 0)].contains(&(one.major, one.minor)));
    compile_for(&two.collect::<Vec<_>>(), instances_of_other_sizes);
}

#[test]
fn sixteen_bit_policies_run_seven_stages_a_layer_and_a_stepwise_forward_one_for_each_operation() {
    let shape = Shape { batch: 1, sequence: 32 };
    let graph = architecture_graph(ModelName::BertBase);
    let stages = |preset| lower(&graph, &PrecisionPolicy::preset(preset), shape).unwrap().stages.len();
    let stepwise = |preset| lower_stepwise(&graph, &PrecisionPolicy::preset(preset), shape).unwrap().stages.len();
    // Embedding with its norm, then per layer: QKV, attention, projection, norm, FC1 with GELU, FC2, norm.
    assert_eq!(stages(Preset::Hybrid), 1 + 12 * 7);
    assert_eq!(stages(Preset::Bf16), 1 + 12 * 7);
    assert_eq!(stages(Preset::Fp16), 2 + 12 * 7);
    // QKV, split, scores, softmax, context, merge, projection, residual, norm, FC1, GELU, FC2, residual, norm.
    assert_eq!(stepwise(Preset::Fp16), 2 + 12 * 14);
    assert_eq!(stepwise(Preset::Hybrid), stages(Preset::Hybrid));
    // QKV, attention, projection, norm, FC1, GELU, FC2, norm.
    assert_eq!(stages(Preset::Fp32), 1 + 12 * 8);
    assert_eq!(stages(Preset::Tf32), 1 + 12 * 8);
}

/// Calls with a split product wherever there is one, as those that a small batch is timed fastest with.
fn split_calls(graph: &Graph, policy: &PrecisionPolicy, shape: Shape) -> Vec<DeviceCall> {
    let stages = lower(graph, policy, shape).unwrap();
    let split = |choice: &Choice| match choice {
        Choice::Product(ProductChoice::Kernel(_, splits)) => *splits,
        _ => 0,
    };
    placed(&stages, shape, GpuArchitecture { major: 9, minor: 0 }, |placement| {
        let of = |group| calls(placement, group, choices(placement, group).into_iter().max_by_key(split)).unwrap();
        groups(&stages).into_iter().flat_map(of).collect()
    })
}

/// A norm in FP32 between FP16 neighbours takes the kernels of one in FP16: its product adds the residual or leaves partial sums
/// to it, it rounds what it writes, and the next residual is added in the epilogue of its product.
#[test]
fn what_a_search_leaves_in_fp32_launches_as_many_kernels_as_fp16() {
    let bert = architecture_graph(ModelName::BertBase);
    let minimal = ["layer.2/mlp/layer_norm", "layer.9/mlp/layer_norm", "layer.10/mlp/layer_norm"];
    let residual = ["layer.9/mlp/residual"];
    let first_and_last = ["embeddings/layer_norm", "layer.5/attention/layer_norm", "layer.11/mlp/layer_norm"];
    let gpt2 = architecture_graph(ModelName::Gpt2);
    let norms = ["layer.0/mlp/layer_norm", "final/layer_norm"];
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    for (graph, ops) in [(&bert, &minimal[..]), (&bert, &residual), (&bert, &first_and_last), (&gpt2, &norms)] {
        let found = with_in_fp32(ops);
        for (batch, sequence) in [(1, 128), (8, 128)] {
            let shape = Shape { batch, sequence };
            let stages = |policy| lower(graph, policy, shape).unwrap();
            assert_eq!(stages(&found).stages.len(), stages(&fp16).stages.len(), "{ops:?}");
            assert_eq!(groups(&stages(&found)), groups(&stages(&fp16)), "{ops:?}");
            let [mixed, narrow] = [&found, &fp16].map(|policy| split_calls(graph, policy, shape));
            // The sum of the embedding tables rounds to FP16 after every step in both.
            assert_eq!(launches(&mixed), launches(&narrow), "{ops:?}");
            assert_eq!(launches(&mixed), Launches { kernels: stages(&fp16).stages.len(), single_operations: 1 });
            let names: Vec<&str> = instances(&mixed).into_iter().map(|instance| instance.name.as_str()).collect();
            assert_eq!(names.iter().any(|name| name.ends_with("_rounded")), ops != residual, "{names:?}");
        }
    }
}

#[test]
fn wider_heads_and_rows_of_any_width_run_the_stages_of_bert() {
    let shape = Shape { batch: 2, sequence: 33 };
    let of = |hidden, heads| {
        let mut config = ModelConfig::of(ModelName::BertTiny);
        let tiny = config.dimensions;
        config.dimensions = Dimensions { hidden, heads, ..tiny };
        build_graph(&config)
    };
    let hopper = GpuArchitecture { major: 9, minor: 0 };
    for preset in Preset::ALL {
        let stages = |hidden, heads| lower(&of(hidden, heads), &PrecisionPolicy::preset(preset), shape).unwrap();
        let as_bert = stages(128, 2).stages.len();
        for (hidden, heads) in [(160, 2), (192, 2), (256, 2), (80, 1)] {
            assert_eq!(stages(hidden, heads).stages.len(), as_bert, "{hidden} wide, {heads} heads, {preset}");
        }
        // Heads of 26 have no fused attention; the norms are fused all the same.
        for (hidden, heads) in [(312, 12), (20, 2), (44, 4)] {
            let stages = stages(hidden, heads);
            let all = calls_of(&stages, shape, hopper, |_| Vec::new());
            let norms = instances(&all).into_iter().filter(|instance| instance.name.contains("layer_norm"));
            let sources: Vec<KernelSource> = norms.map(|instance| instance.source).collect();
            assert!(!sources.is_empty() && !sources.contains(&KernelSource::Stepwise), "{hidden} wide, {preset}");
        }
    }
}

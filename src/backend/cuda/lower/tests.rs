//! Lowers policies and sizes that no experiment has run: `check` must accept all of them.

use std::collections::BTreeSet;

use super::{lower, lower_stepwise};
use crate::backend::cuda::arena::lay_out;
use crate::backend::cuda::calls::tests::{calls_of, with_in_fp32};
use crate::backend::cuda::calls::{StageGroup, groups, groups_together};
use crate::backend::cuda::compile::GpuArchitecture;
use crate::backend::cuda::element::ElementType;
use crate::backend::cuda::stage::{Epilogue, Stage, Stages, TensorId, WeightKey};
use crate::graph::{
    Activation, Format, Gelu, Graph, OpClass, PrecisionPolicy, Preset, ReductionOrder, Rounding, Shape,
};
use crate::model::Architecture as ModelName;
use crate::model::{ModelConfig, ScoreScale, TaskHead, architecture_graph, build_graph};

fn narrow_or_wide() -> [Format; 3] {
    [Format::Fp32, Format::Fp16, Format::Bf16]
}

/// Every preset, and every preset with other formats for one class of operations.
fn policies() -> Vec<PrecisionPolicy> {
    let mut policies: Vec<PrecisionPolicy> = Preset::ALL.map(PrecisionPolicy::preset).to_vec();
    for preset in Preset::ALL {
        for class in OpClass::ALL {
            for (compute, store) in narrow_or_wide().into_iter().flat_map(|c| narrow_or_wide().map(|s| (c, s))) {
                let mut policy = PrecisionPolicy::preset(preset);
                policy.name = format!("{preset} with {class} {compute} stored as {store}");
                policy.classes.insert(class, Rounding { compute, accumulate: Format::Fp32, store });
                policies.push(policy);
            }
        }
        let mut policy = PrecisionPolicy::preset(preset);
        policy.name = format!("{preset} with one softmax in fp16");
        policy.overrides.insert("layer.1/attention/softmax".to_owned(), Rounding::uniform(Format::Fp16));
        policies.push(policy);
    }
    for op in ["layer.0/mlp/layer_norm", "layer.0/mlp/residual", "layer.1/attention/residual", "layer.1/mlp/fc2"] {
        for preset in [Preset::Fp16, Preset::Bf16, Preset::Hybrid] {
            for rounding in [Format::Fp32, Format::Fp16].map(Rounding::uniform) {
                let mut policy = PrecisionPolicy::preset(preset);
                policy.name = format!("{preset} with `{op}` as {rounding:?}");
                policy.overrides.insert(op.to_owned(), rounding);
                policies.push(policy);
            }
        }
    }
    policies
}

fn of_width(name: ModelName, hidden: usize, heads: usize, inner: usize) -> Graph {
    let mut config = ModelConfig::of(name);
    config.dimensions.hidden = hidden;
    config.dimensions.heads = heads;
    config.dimensions.inner = inner;
    build_graph(&config)
}

fn graphs() -> Vec<Graph> {
    let tiny = [ModelName::BertTiny, ModelName::Gpt2Tiny];
    let mut graphs: Vec<Graph> = tiny.map(architecture_graph).to_vec();
    for name in tiny {
        // Odd numbers of heads, MiniLM, TinyBERT's width of 312, widths that are not multiples of 64.
        for (hidden, heads, inner) in [(224, 7, 896), (384, 12, 1536), (312, 12, 1200), (544, 17, 2176), (576, 9, 1200)]
        {
            graphs.push(of_width(name, hidden, heads, inner));
        }
    }
    let two_layers = |name: ModelName| {
        let mut config = ModelConfig::of(name);
        (config.dimensions.layers, config.dimensions.vocabulary) = (2, 1000);
        config
    };
    for (name, head) in [
        (ModelName::RobertaBase, TaskHead::Classifier { labels: 3 }),
        (ModelName::RobertaBase, TaskHead::MaskedLanguageModel),
        (ModelName::ElectraSmall, TaskHead::Classifier { labels: 2 }),
        (ModelName::ElectraSmall, TaskHead::MaskedLanguageModel),
        (ModelName::AlbertBase, TaskHead::Spans),
        (ModelName::DistilbertBase, TaskHead::TokenClassifier { labels: 9 }),
        (ModelName::DistilbertBase, TaskHead::Classifier { labels: 2 }),
        (ModelName::Opt125m, TaskHead::Spans),
    ] {
        graphs.push(build_graph(&ModelConfig { head, ..two_layers(name) }));
    }
    let (head, unpooled_id) = (TaskHead::Classifier { labels: 2 }, Some(0));
    graphs.push(build_graph(&ModelConfig { head, unpooled_id, ..ModelConfig::of(ModelName::Gpt2Tiny) }));
    let score_scale = ScoreScale { by_head_size: false, by_layer: true };
    graphs.push(build_graph(&ModelConfig { tied_head: false, score_scale, ..ModelConfig::of(ModelName::Gpt2Tiny) }));
    graphs
}

/// `lower` itself refuses stages that do not fit each other, so the test passes if `lower` and the calls succeed.
#[test]
fn every_mixture_of_formats_and_every_width_is_lowered_to_stages_that_fit() {
    let (shape, hopper) = (Shape { batch: 3, sequence: 33 }, GpuArchitecture { major: 9, minor: 0 });
    let (policies, graphs) = (policies(), graphs());
    let mut lowered = 0;
    for graph in &graphs {
        for policy in &policies {
            for stages in [lower(graph, policy, shape), lower_stepwise(graph, policy, shape)] {
                match stages {
                    Ok(stages) => {
                        assert!(!calls_of(&stages, shape, hopper, |_| Vec::new()).is_empty());
                        lowered += 1;
                    }
                    Err(error) => panic!("{}: {error}", policy.name),
                }
            }
        }
    }
    assert_eq!(lowered, 2 * graphs.len() * policies.len());
}

/// RoBERTa's trunk is BERT's with other tables: its positions begin at another row of the checkpoint, not of the parameter.
#[test]
fn a_roberta_runs_the_stages_of_a_bert() {
    let sizes = ModelConfig::of(ModelName::BertBase);
    let mut roberta = ModelConfig::of(ModelName::RobertaBase);
    (roberta.dimensions, roberta.token_types, roberta.epsilon) = (sizes.dimensions, sizes.token_types, sizes.epsilon);
    for preset in Preset::ALL {
        let stages = |config: &ModelConfig| {
            let shape = Shape { batch: 2, sequence: 128 };
            lower(&build_graph(config), &PrecisionPolicy::preset(preset), shape).unwrap()
        };
        assert_eq!(format!("{:?}", stages(&roberta)), format!("{:?}", stages(&sizes)), "{preset}");
    }
}

#[test]
fn what_no_kernel_computes_is_refused_with_the_operation() {
    let mut policy = PrecisionPolicy::preset(Preset::Fp32);
    policy.overrides.insert("layer.1/mlp/fc1".to_owned(), Rounding::uniform(Format::Bf16));
    let error = lower(&architecture_graph(ModelName::BertTiny), &policy, Shape { batch: 1, sequence: 8 });
    let message = error.map(|_| ()).unwrap_err().to_string();
    assert!(message.contains("`layer.1/mlp/fc1` has a BF16 accumulator, which no GPU has"), "{message}");
}

/// What is fused does not depend on the function.
#[test]
fn every_activation_is_fused_where_gelu_is() {
    let shape = Shape { batch: 2, sequence: 128 };
    let epilogues = |activation, preset| {
        let graph = build_graph(&ModelConfig { activation, ..ModelConfig::of(ModelName::BertBase) });
        let stages = lower(&graph, &PrecisionPolicy::preset(preset), shape).unwrap().stages;
        let of = |stage: &Stage| match stage {
            Stage::Linear(linear) => Some(linear.epilogue),
            _ => None,
        };
        (stages.iter().filter_map(of).collect::<Vec<_>>(), stages.len())
    };
    for preset in Preset::ALL {
        let (gelu, stages) = epilogues(Activation::Gelu(Gelu::Erf), preset);
        for function in Activation::ALL {
            let expected = gelu.iter().map(|epilogue| match epilogue {
                Epilogue::Activation(_) => Epilogue::Activation(function),
                Epilogue::RoundedActivation(_) => Epilogue::RoundedActivation(function),
                other => *other,
            });
            assert_eq!(epilogues(function, preset), (expected.collect(), stages), "{function:?} {preset}");
        }
    }
}

/// Those of an FP16 model, whatever the format of its layer norms: these are examined on a device.
#[test]
fn every_operation_has_an_output_of_its_own_where_none_are_fused() {
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    let divided = PrecisionPolicy { layer_norm_reduction: ReductionOrder::DivideFirst, ..fp16.clone() };
    let mut wide_norms = fp16.clone();
    wide_norms.classes.insert(OpClass::LayerNorm, Rounding::uniform(Format::Fp32));
    let mut one_wide_norm = fp16.clone();
    let rounding = Rounding::fp32_stored_as(Format::Fp16);
    one_wide_norm.overrides.insert("layer.1/mlp/layer_norm".to_owned(), rounding);
    for name in [ModelName::BertTiny, ModelName::Gpt2Tiny] {
        let graph = architecture_graph(name);
        let examined = |policy: &PrecisionPolicy| {
            let stages = lower_stepwise(&graph, policy, Shape { batch: 2, sequence: 8 }).unwrap();
            stages.ops.iter().all(Option::is_some)
        };
        // One kernel of the timed forward, two of the examined one.
        let first = match name {
            ModelName::Gpt2Tiny => {
                with_in_fp32(&["embeddings/sum", "layer.0/attention/layer_norm", "layer.0/attention/residual"])
            }
            _ => fp16.clone(),
        };
        for policy in [&fp16, &divided, &wide_norms, &one_wide_norm, &first] {
            assert!(examined(policy), "{name:?} {policy:?}");
        }
        for preset in [Preset::Fp32, Preset::Tf32, Preset::Bf16, Preset::Hybrid] {
            assert!(!examined(&PrecisionPolicy::preset(preset)), "{name:?} {preset}");
        }
    }
}

/// Its stream is stored beside the norm. A sum in 16 bits that nothing else reads, as in BERT under `bf16`, is not.
#[test]
fn an_embedding_has_the_first_norm_of_a_pre_norm_model() {
    let first = |name, policy: &PrecisionPolicy| {
        let stages = lower(&architecture_graph(name), policy, Shape { batch: 2, sequence: 8 }).unwrap();
        let Stage::Embedding(embedding) = stages.stages[0].clone() else { panic!("{:?}", stages.stages[0]) };
        let outputs = embedding.outputs;
        let narrow = outputs.copy.is_none().then(|| stages.tensor(outputs.main).element);
        embedding.norm.map(|of_sum| (of_sum.stored, of_sum.sum.map(|sum| stages.tensor(sum).element), narrow))
    };
    let preset = |name, preset| first(name, &PrecisionPolicy::preset(preset));
    let (f32, f16, bf16) = (ElementType::F32, ElementType::F16, ElementType::Bf16);
    for name in [ModelName::Gpt2, ModelName::Opt125m] {
        assert_eq!(preset(name, Preset::Hybrid), Some((f32, Some(f32), Some(f16))));
        assert_eq!(preset(name, Preset::Bf16), Some((bf16, Some(bf16), Some(bf16))));
        assert_eq!(preset(name, Preset::Fp32), Some((f32, Some(f32), Some(f32))));
        assert_eq!(preset(name, Preset::Tf32), Some((f32, Some(f32), Some(f32))));
        assert_eq!(preset(name, Preset::Fp16), None, "a norm that rounds inside");
    }
    assert_eq!(preset(ModelName::BertBase, Preset::Hybrid), Some((f32, None, None)), "two outputs");
    assert_eq!(preset(ModelName::BertBase, Preset::Bf16), Some((bf16, None, Some(bf16))));
    // The residual reads the sum in FP16 and the norm in FP32: two tensors.
    let two_readers = with_in_fp32(&["embeddings/sum", "layer.0/attention/layer_norm"]);
    assert_eq!(first(ModelName::Gpt2, &two_readers), None);
}

#[test]
fn the_stage_that_completes_an_operation_writes_its_tensor() {
    let shape = Shape { batch: 3, sequence: 33 };
    for graph in graphs() {
        let stepwise = policies().into_iter().map(|policy| (lower_stepwise(&graph, &policy, shape).unwrap(), policy));
        let fused = policies().into_iter().map(|policy| (lower(&graph, &policy, shape).unwrap(), policy));
        for (stages, policy) in fused.chain(stepwise) {
            assert_eq!(stages.ops.len(), graph.ops.len());
            let located = graph.ops.iter().zip(&stages.ops).filter_map(|(op, output)| Some((op, (*output)?)));
            let mut last = None;
            for (op, output) in located {
                let (tensor, dims) = (stages.tensor(output.tensor), graph.value(op.output).shape.dims(shape));
                let width = dims.last().copied().unwrap();
                assert!(stages.stages[output.stage].writes().contains(&output.tensor), "{} {}", policy.name, op.name);
                assert_eq!(tensor.rows * width, dims.iter().product::<usize>(), "{} {}", policy.name, op.name);
                assert!(tensor.stride >= width && last < Some(output.stage), "{} {}", policy.name, op.name);
                last = Some(output.stage);
            }
        }
    }
}

/// Each layer norm of the graph becomes a stage or a part of the embedding's stage. Fusion loses none.
#[test]
fn no_layer_norm_is_lost() {
    for graph in graphs() {
        let norms = graph.ops.iter().filter(|op| op.class == OpClass::LayerNorm).count();
        for policy in policies() {
            let stages = lower(&graph, &policy, Shape { batch: 1, sequence: 8 }).unwrap();
            let count = |stage: &Stage| match stage {
                Stage::LayerNorm(_) => 1,
                Stage::Embedding(embedding) => usize::from(embedding.norm.is_some()),
                _ => 0,
            };
            assert_eq!(stages.stages.iter().map(count).sum::<usize>(), norms, "{}", policy.name);
        }
    }
}

/// Fewer tensors and launches, but the same weights: those of an examined forward are loaded already.
#[test]
fn fusing_what_rounds_to_fp16_needs_no_other_weights() {
    for graph in graphs() {
        for policy in policies() {
            let shape = Shape { batch: 1, sequence: 8 };
            let (fused, stepwise) =
                (lower(&graph, &policy, shape).unwrap(), lower_stepwise(&graph, &policy, shape).unwrap());
            let keys = |stages: &Stages| stages.stages.iter().flat_map(Stage::weights).collect::<BTreeSet<_>>();
            assert_eq!(keys(&fused), keys(&stepwise), "{}", policy.name);
            assert!(fused.stages.len() <= stepwise.stages.len(), "{}", policy.name);
        }
    }
}

/// What the calls of a group read and write, one after the other: with a whole depth, or with partial sums that the layer norm
/// adds. A projection and its attention in one group are one call.
fn steps(stages: &Stages, group: StageGroup, split: bool) -> Vec<(Vec<TensorId>, Vec<TensorId>)> {
    match &stages.stages[group.first..group.first + group.count] {
        [Stage::Linear(linear), Stage::Attention(attention)] => vec![(vec![linear.x], vec![attention.context])],
        [Stage::Linear(linear), norm] if split => {
            let residual = vec![linear.addend.unwrap_or(linear.output)];
            let written =
                norm.writes().into_iter().chain((!norm.writes().contains(&linear.output)).then_some(linear.output));
            vec![(vec![linear.x], Vec::new()), (residual, written.collect())]
        }
        each => each.iter().map(|stage| (stage.reads(), stage.writes())).collect(),
    }
}

/// Follows a forward in the memory that an engine has: what a call reads was written whole and not overwritten since, and a
/// call writes over nothing that it reads, but in place.
fn reads_what_was_written(stages: &Stages, groups: Vec<StageGroup>, split: bool, what: &str) {
    let output = stages.output.unwrap();
    let layout = lay_out(&stages.tensors, &stages.stages, &[output]);
    let overlap = |a: TensorId, b: TensorId| {
        let span = |id: TensorId| (layout.offsets[id.0], layout.offsets[id.0] + stages.tensor(id).bytes());
        a != b && span(a).0 < span(b).1 && span(b).0 < span(a).1
    };
    let name = |id: TensorId| &stages.tensor(id).name;
    let mut held: Vec<TensorId> = Vec::new();
    for group in groups {
        for (reads, writes) in steps(stages, group, split) {
            for &read in &reads {
                assert!(held.contains(&read), "{what}: stage {} reads `{}`", group.first, name(read));
            }
            for (index, &written) in writes.iter().enumerate() {
                let others = reads.iter().chain(&writes[..index]);
                let other = others.copied().find(|&other| overlap(other, written));
                assert_eq!(other.map(name), None, "{what}: stage {} writes `{}`", group.first, name(written));
                held.retain(|&other| other != written && !overlap(other, written));
                held.push(written);
            }
        }
    }
    assert!(held.contains(&output), "{what}: the output");
}

#[test]
fn what_a_call_reads_has_been_written_and_not_overwritten_since() {
    let follow = |graph: &Graph, policy: &PrecisionPolicy, shape: Shape| {
        for stages in [lower(graph, policy, shape), lower_stepwise(graph, policy, shape)] {
            let stages = stages.as_ref().unwrap();
            for (groups, split) in
                [(groups(stages), false), (groups(stages), true), (groups_together(stages, |_| true), true)]
            {
                let what = format!("{} {shape:?}, {} groups, split {split}", policy.name, groups.len());
                reads_what_was_written(stages, groups, split, &what);
            }
        }
    };
    for graph in [ModelName::BertBase, ModelName::Gpt2].map(architecture_graph) {
        for preset in Preset::ALL {
            for (batch, sequence) in [(1, 32), (1, 128), (1, 511), (1, 512), (8, 128), (32, 128), (32, 512)] {
                follow(&graph, &PrecisionPolicy::preset(preset), Shape { batch, sequence });
            }
        }
    }
    for graph in graphs() {
        policies().iter().for_each(|policy| follow(&graph, policy, Shape { batch: 3, sequence: 33 }));
    }
}

#[test]
fn the_tied_word_table_is_held_once_wherever_head_and_embedding_read_the_same_format() {
    let graph = architecture_graph(ModelName::Gpt2Tiny);
    for preset in Preset::ALL {
        let stages = lower(&graph, &PrecisionPolicy::preset(preset), Shape { batch: 1, sequence: 8 }).unwrap();
        let word = graph.params.iter().position(|param| param.name == "embeddings/word").unwrap();
        let mut keys: Vec<WeightKey> =
            stages.stages.iter().flat_map(Stage::weights).filter(|key| key.param == word).collect();
        keys.sort_unstable();
        keys.dedup();
        assert_eq!(keys.len(), 1, "{preset}: {keys:?}");
    }
}

/// A kernel is compiled for one 16-bit format, so two formats never meet in it.
#[test]
fn a_mixture_of_16_bit_formats_is_left_to_the_stepwise_kernels() {
    let mut policy = PrecisionPolicy::preset(Preset::Hybrid);
    policy.classes.insert(OpClass::Linear, Rounding::fp32_accumulated(Format::Bf16));
    let stages = lower(&architecture_graph(ModelName::BertTiny), &policy, Shape { batch: 1, sequence: 8 }).unwrap();
    let [Stage::Embedding(embedding), Stage::LayerNorm(norm), ..] = &stages.stages[..] else {
        panic!("{:?}", &stages.stages[..2])
    };
    assert_eq!(embedding.norm, None, "an FP16 table and a BF16 copy");
    assert_eq!(norm.outputs.copy.map(|copy| stages.tensor(copy).element), Some(ElementType::Bf16));
}

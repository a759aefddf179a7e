//! What the exported models compute, against the reference backend on the same padded batch. The evaluator runs every node
//! in its type, so that 16-bit policies are compared rounding by rounding.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use mixprec::backend::reference::{ReferenceBackend, oracle_outputs};
use mixprec::engine::{Backend, BuildRequest};
use mixprec::graph::{Format, OpClass, PrecisionPolicy, Preset, ReductionOrder, Rounding, Shape};
use mixprec::input::InputSource;
use mixprec::input::{Batch, InputStream};
use mixprec::model::{Architecture, ModelSource};
use mixprec::model::{Head, Model};
use mixprec::onnx::{Dialect, Export, Extent, Opset};
use serde_json::json;

use super::{ARCHITECTURES, python, tiny, with_head};
use crate::fixtures::families::{self, FamilyCase};
use crate::fixtures::relative_error;
use crate::fixtures::tiny::{Tiny, of_tokens};

/// Three rows of 16 positions, two of them padded.
fn padded(model: &Model) -> Batch {
    let ids = InputStream::open(&InputSource::Random { seed: 5 }, Path::new("."), model).unwrap();
    let mut batch = ids.batch(Shape { batch: 3, sequence: 16 }, 0).unwrap();
    batch.lengths = vec![16, 9, 1];
    batch
}

/// The exported model's output, with some weights multiplied by a factor.
fn evaluate(export: &Export<'_>, batch: &Batch, factors: &[(&str, f64)]) -> Option<Vec<f64>> {
    let folder = tempfile::tempdir().unwrap();
    let (model, output) = (folder.path().join("model.onnx"), folder.path().join("output"));
    export.write(&model).unwrap();
    let sequence = batch.shape.sequence;
    let rows: Vec<&[u32]> = batch.ids.chunks(sequence).collect();
    let mask = |&length: &usize| (0..sequence).map(|position| u8::from(position < length)).collect::<Vec<_>>();
    let factors: serde_json::Map<_, _> = factors.iter().map(|(name, by)| ((*name).to_owned(), json!(by))).collect();
    let types: Option<Vec<&[u32]>> = batch.token_types.as_ref().map(|types| types.chunks(sequence).collect());
    let job = json!({"types": types, "ids": rows, "mask": batch.lengths.iter().map(mask).collect::<Vec<_>>(), "factors": factors});
    python("run.py", &[model.to_str().unwrap(), &job.to_string(), output.to_str().unwrap()])?;
    let bytes = std::fs::read(output).unwrap();
    Some(bytes.chunks(4).map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap()))).collect())
}

fn emulated(model: &Arc<Model>, policy: &PrecisionPolicy, batch: &Batch) -> Vec<f64> {
    let request = BuildRequest::new(model.clone(), policy.clone(), batch.shape, 2);
    let mut engine = ReferenceBackend::default().build(&request).unwrap().engine.unwrap();
    engine.bind(batch).unwrap();
    engine.enqueue().unwrap();
    engine.outputs().unwrap().values.into_iter().map(f64::from).collect()
}

/// Limits by architecture: what is left are the roundings that `deviations` states and the order of sums. GPT-2's logits
/// come straight out of a 16-bit product, BERT's hidden states out of a layer norm.
#[test]
fn every_policy_computes_what_the_reference_backend_emulates() {
    let fp16 = PrecisionPolicy::preset(Preset::Fp16);
    let divide_first = PrecisionPolicy { layer_norm_reduction: ReductionOrder::DivideFirst, ..fp16 };
    let mut sums_in_fp32 = PrecisionPolicy::preset(Preset::Fp16);
    for class in [OpClass::Softmax, OpClass::LayerNorm] {
        sums_in_fp32.classes.insert(class, Rounding::fp32_accumulated(Format::Fp16));
    }
    let [fp32, hybrid, fp16, bf16] =
        [Preset::Fp32, Preset::Hybrid, Preset::Fp16, Preset::Bf16].map(PrecisionPolicy::preset);
    let limits = [
        (fp32, [5e-7, 2e-6]),
        (hybrid, [5e-5, 1e-3]),
        (fp16, [2e-3, 3e-3]),
        (divide_first, [2e-3, 3e-3]),
        (sums_in_fp32, [2e-3, 3e-3]),
        (bf16, [2e-3, 6e-3]),
    ];
    for (index, architecture) in ARCHITECTURES.into_iter().enumerate() {
        let model = Arc::new(tiny(architecture));
        let batch = padded(&model);
        let exact = oracle_outputs(&model, &batch, 2).unwrap();
        for (policy, limits) in &limits {
            let smallest = Shape { batch: 1, sequence: 4 };
            for extent in [Extent::Static(batch.shape), Extent::Dynamic { smallest, largest: batch.shape }] {
                let export = Export::new(&model, policy, extent).unwrap();
                let Some(theirs) = evaluate(&export, &batch, &[]) else { return };
                let ours = emulated(&model, policy, &batch);
                let (between, own) = (relative_error(&theirs, &ours), relative_error(&ours, &exact));
                println!("{architecture:?} {}: {between:.1e} from the emulation, which is {own:.1e} off", policy.name);
                assert!(between < limits[index], "{architecture:?} {}: {between:e}", policy.name);
            }
        }
    }
}

/// Operations written out for an older runtime compute what the compound ones do. Where a builder sets the types, the file
/// itself is FP32 under every policy.
#[test]
fn older_operator_sets_compute_the_same() {
    let policies = [(Preset::Fp32, [5e-7, 2e-6]), (Preset::Hybrid, [5e-5, 1e-3]), (Preset::Fp16, [2e-3, 3e-3])];
    let in_model = [Opset::V13, Opset::V17].map(|opset| Dialect { opset, ..Dialect::default() });
    for (index, architecture) in ARCHITECTURES.into_iter().enumerate() {
        let model = Arc::new(tiny(architecture));
        let batch = padded(&model);
        let exact = oracle_outputs(&model, &batch, 2).unwrap();
        let smallest = Shape { batch: 1, sequence: 4 };
        for extent in [Extent::Static(batch.shape), Extent::Dynamic { smallest, largest: batch.shape }] {
            for (preset, limits) in policies {
                let policy = PrecisionPolicy::preset(preset);
                let ours = emulated(&model, &policy, &batch);
                for dialect in in_model {
                    let export = Export::in_dialect(&model, &policy, extent, dialect).unwrap();
                    let Some(theirs) = evaluate(&export, &batch, &[]) else { return };
                    let between = relative_error(&theirs, &ours);
                    assert!(between < limits[index], "{architecture:?} {preset} opset {}: {between:e}", dialect.opset);
                }
                let export = Export::in_dialect(&model, &policy, extent, Dialect::WEAKLY_TYPED).unwrap();
                let Some(theirs) = evaluate(&export, &batch, &[]) else { return };
                let error = relative_error(&theirs, &exact);
                // A masked score of -65504 instead of the lowest FP32 number is a probability of 0 as well.
                assert!(error < 3e-6, "{architecture:?} {preset}, types by the builder: {error:e}");
            }
        }
    }
}

/// Without a mask a model reads ids alone, and full rows come out as they do with one.
#[test]
fn full_rows_need_no_mask() {
    let models = ARCHITECTURES.into_iter().map(tiny).chain([with_head(Architecture::Gpt2Tiny, Head::LastToken)]);
    for model in models.map(Arc::new) {
        let mut batch = padded(&model);
        batch.lengths.fill(batch.shape.sequence);
        let exact = oracle_outputs(&model, &batch, 2).unwrap();
        let smallest = Shape { batch: 1, sequence: 4 };
        for extent in [Extent::Static(batch.shape), Extent::Dynamic { smallest, largest: batch.shape }] {
            for masked in [Dialect::default(), Dialect::WEAKLY_TYPED] {
                let dialect = Dialect { attention_mask: false, ..masked };
                let policy = PrecisionPolicy::preset(Preset::Fp32);
                let export = Export::in_dialect(&model, &policy, extent, dialect).unwrap();
                assert!(export.node_outputs().iter().all(|output| !output.node.starts_with("mask/keys")));
                let Some(theirs) = evaluate(&export, &batch, &[]) else { return };
                let error = relative_error(&theirs, &exact);
                assert!(error < 3e-6, "{}, {dialect:?}: {error:e}", model.name);
                let masked = Export::in_dialect(&model, &policy, extent, masked).unwrap();
                assert_ne!(masked.digest(), export.digest(), "an engine of the one is no engine of the other");
            }
        }
    }
}

#[test]
fn an_export_with_types_as_an_input_computes_pairs_as_the_float64_program() {
    for tiny in [Tiny::Trunk, Tiny::Classifier] {
        let (model, pairs) = (tiny.open(Head::Natural), tiny.pairs().unwrap());
        for opset in Opset::ALL {
            let dialect = Dialect { token_types: true, opset, ..Dialect::default() };
            let extent = Extent::Static(pairs.batch.shape);
            let export = Export::in_dialect(&model, &PrecisionPolicy::preset(Preset::Fp32), extent, dialect).unwrap();
            let Some(theirs) = evaluate(&export, &pairs.batch, &[]) else { return };
            let error = relative_error(&of_tokens(&model, &pairs.batch, &theirs), &pairs.expected);
            assert!(error < 3e-6, "{tiny:?} {opset}: {error:e}");
        }
    }
    let gpt2 = Tiny::Gpt2.open(Head::Natural);
    let dialect = Dialect { token_types: true, ..Dialect::default() };
    let extent = Extent::Static(Shape { batch: 1, sequence: 4 });
    let export = Export::in_dialect(&gpt2, &PrecisionPolicy::preset(Preset::Fp32), extent, dialect).unwrap();
    assert_eq!(export.dialect(), Dialect::default(), "a model without types has no such input");
}

/// Evaluated by another program: the exported graph and weights alone say what these numbers are.
#[test]
fn exported_models_compute_the_outputs_of_the_float64_program() {
    for tiny in Tiny::ALL {
        let model = tiny.open(Head::Natural);
        for case in tiny.cases().into_iter().filter(|case| case.name != "seven") {
            for (preset, limit) in [(Preset::Fp32, 5e-6), (Preset::Hybrid, 1e-2)] {
                let policy = PrecisionPolicy::preset(preset);
                let export = Export::new(&model, &policy, Extent::Static(case.batch.shape)).unwrap();
                let Some(theirs) = evaluate(&export, &case.batch, &[]) else { return };
                let error = relative_error(&of_tokens(&model, &case.batch, &theirs), &case.expected);
                println!("{tiny:?} {} {preset}: {error:.1e}", case.name);
                assert!(error < limit, "{tiny:?} {} {preset}: {error:e}", case.name);
            }
        }
    }
}

/// Activations, pooling by id, shared layers and narrow embeddings, written out for a builder that sets the types, and in FP16
/// as the reference backend rounds them. ONNX Runtime runs the rest (`families.rs`).
#[test]
fn every_activation_and_head_is_exported_as_transformers_computes_it() {
    const HEADS: [&str; 4] = ["GPT2-padding", "AlbertForMaskedLM", "ElectraForSequenceClassification", "OPT-untied"];
    // Other names of functions that are tried.
    const ALIASES: [&str; 6] = ["accurate", "fast", "python", "python_tanh", "pytorch_tanh", "swish"];
    let is_alias = |name: &str| ALIASES.iter().any(|alias| name.strip_prefix("gelu_").unwrap_or(name) == *alias);
    let of_interest = |case: &FamilyCase| match case.name.strip_prefix("Bert-") {
        Some(activation) => !is_alias(activation),
        None => HEADS.contains(&case.name.as_str()),
    };
    for case in families::cases().into_iter().filter(of_interest) {
        let model = case.open(Head::Natural);
        let (fp32, fp16) = (PrecisionPolicy::preset(Preset::Fp32), PrecisionPolicy::preset(Preset::Fp16));
        let extent = Extent::Static(case.batch.shape);
        let export = Export::in_dialect(&model, &fp32, extent, Dialect::WEAKLY_TYPED).unwrap();
        let Some(theirs) = evaluate(&export, &case.batch, &[]) else { return };
        let error = relative_error(&of_tokens(&model, &case.batch, &theirs), &case.expected);
        assert!(error < 3e-6, "{}: {error:e}", case.name);
        let Some(theirs) = evaluate(&Export::new(&model, &fp16, extent).unwrap(), &case.batch, &[]) else { return };
        let ours = emulated(&model, &fp16, &case.batch);
        let [theirs, ours] = [theirs, ours].map(|values| of_tokens(&model, &case.batch, &values));
        let between = relative_error(&theirs, &ours);
        println!("{}: {error:.1e} in FP32, {between:.1e} between the two in FP16", case.name);
        assert!(between < 5e-3, "{} in FP16: {between:e}", case.name);
    }
}

/// The last token of a padded row is not the last column.
#[test]
fn the_last_token_alone_has_the_logits_it_has_among_all() {
    let all = Arc::new(tiny(Architecture::Gpt2Tiny));
    let last = Arc::new(with_head(Architecture::Gpt2Tiny, Head::LastToken));
    let batch = padded(&all);
    assert!(batch.lengths.iter().any(|&length| length < batch.shape.sequence));
    for preset in [Preset::Fp32, Preset::Hybrid, Preset::Fp16] {
        let policy = PrecisionPolicy::preset(preset);
        let among_all = emulated(&all, &policy, &batch);
        let width = among_all.len() / batch.shape.tokens();
        let row = |row: usize| batch.shape.sequence * row + batch.lengths[row] - 1;
        let expected: Vec<f64> =
            (0..batch.shape.batch).flat_map(|r| among_all[row(r) * width..][..width].to_vec()).collect();
        let alone = emulated(&last, &policy, &batch);
        assert!(relative_error(&alone, &expected) < 1e-6, "{preset}");
        let export = Export::new(&last, &policy, Extent::Static(batch.shape)).unwrap();
        let Some(theirs) = evaluate(&export, &batch, &[]) else { return };
        let between = relative_error(&theirs, &alone);
        assert!(between < 3e-3, "{preset}: {between:e}");
    }
}

#[test]
fn only_a_language_model_has_a_last_token() {
    let source = ModelSource::Random { seed: 3, architecture: Architecture::BertTiny };
    let error = Model::open("bert", &source, Path::new("."), Head::LastToken).unwrap_err().to_string();
    assert!(error.starts_with("model `bert` is no language model"), "{error}");
}

/// Masked keys have probability 0, not a small one: whatever stands at the padding, the tokens come out the same.
#[test]
fn ids_at_the_padding_change_nothing() {
    for architecture in ARCHITECTURES {
        let model = tiny(architecture);
        let batch = padded(&model);
        let mut other = batch.clone();
        for (row, &length) in other.ids.chunks_mut(batch.shape.sequence).zip(&batch.lengths) {
            row[length..].iter_mut().for_each(|id| *id = (*id + 501) % 1000);
        }
        assert_ne!(batch.ids, other.ids);
        for preset in [Preset::Fp32, Preset::Fp16, Preset::Hybrid] {
            let policy = PrecisionPolicy::preset(preset);
            let export = Export::new(&model, &policy, Extent::Static(batch.shape)).unwrap();
            let (Some(ours), Some(others)) = (evaluate(&export, &batch, &[]), evaluate(&export, &other, &[])) else {
                return;
            };
            assert_ne!(ours, others, "rows of padding are computed too");
            let width = ours.len() / batch.shape.tokens();
            let rows =
                |values: &[f64]| values.chunks(width * batch.shape.sequence).map(<[f64]>::to_vec).collect::<Vec<_>>();
            for ((ours, others), &length) in rows(&ours).iter().zip(rows(&others)).zip(&batch.lengths) {
                assert_eq!(ours[..length * width], others[..length * width], "{architecture:?} {preset}");
            }
        }
    }
}

/// Queries and keys so large that their unscaled product passes 65504. `hybrid` stores scores in FP32, and so must not
/// overflow although ONNX's product is FP16; `fp16` must, since it stores the product before it is scaled.
#[test]
fn hybrid_scores_do_not_overflow_where_the_policy_has_room_for_them() {
    let model = tiny(ARCHITECTURES[0]);
    let batch = padded(&model);
    let factors = [("layer.0/attention/qkv/weight", 500.0)];
    let nonfinite = |preset| {
        let export = Export::new(&model, &PrecisionPolicy::preset(preset), Extent::Static(batch.shape)).unwrap();
        let output = evaluate(&export, &batch, &factors)?;
        Some(output.iter().filter(|x| !x.is_finite()).count())
    };
    let (Some(hybrid), Some(fp16)) = (nonfinite(Preset::Hybrid), nonfinite(Preset::Fp16)) else { return };
    assert_eq!(hybrid, 0);
    assert!(fp16 > 0, "the product must be large enough to overflow for this test to mean anything");
}

/// An export of BERT-base waits for the disk, not for the processor.
#[test]
#[ignore = "writes 440 MB; run with --ignored"]
fn bench_export_of_bert_base() {
    let folder = tempfile::tempdir().unwrap();
    let source = ModelSource::Random { seed: 0, architecture: Architecture::BertBase };
    for preset in [Preset::Fp32, Preset::Hybrid] {
        let start = Instant::now();
        let model = Model::open("bert-base", &source, Path::new("."), Head::Natural).unwrap();
        let extent = Extent::Static(Shape { batch: 1, sequence: 128 });
        let export = Export::new(&model, &PrecisionPolicy::preset(preset), extent).unwrap();
        let lowered_s = start.elapsed().as_secs_f64();
        let written = export.write(&folder.path().join("model.onnx")).unwrap();
        let total_s = start.elapsed().as_secs_f64();
        println!("{preset}: {} bytes in {total_s:.2} s, of which lowering {lowered_s:.3} s", written.bytes);
        assert!(total_s < 3.0, "{preset}: {total_s:.2} s");
    }
}

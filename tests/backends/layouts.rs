//! One model however its checkpoint is laid out: outputs are those of the float64 program, and the digest is that of the files.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use crate::fixtures::relative_error;
use crate::fixtures::tiny::{Tiny, of_tokens};
use crate::fixtures::variants::{Tensor, Variant};
use mixprec::backend::reference::oracle_outputs;
use mixprec::graph::{PrecisionPolicy, Preset, Shape};
use mixprec::model::{Head, Model, ModelError, ModelSource, WeightsOrigin};
use safetensors::tensor::Dtype;

/// What is changed of a checkpoint before it is written.
type Change<'a> = &'a dyn Fn(&mut Variant);
/// What is done to a folder.
type Damage<'a> = &'a dyn Fn(&Path);

fn open(folder: &Path, sha256: Option<&str>) -> Result<Arc<Model>, ModelError> {
    let source = ModelSource::Checkpoint { path: folder.to_owned(), sha256: sha256.map(str::to_owned) };
    Model::open("tiny", &source, Path::new("."), Head::Natural).map(Arc::new)
}

/// Fails unless the folder computes what `tiny` does in float64, to this relative error.
fn assert_computes(tiny: Tiny, folder: &Path, limit: f64, layout: &str) -> Arc<Model> {
    let model = open(folder, None).unwrap_or_else(|error| panic!("{layout}: {error}"));
    for case in tiny.cases() {
        let ours = of_tokens(&model, &case.batch, &oracle_outputs(&model, &case.batch, 2).unwrap());
        let error = relative_error(&ours, &case.expected);
        assert!(error < limit, "{tiny:?} {layout} {}: {error:e}", case.name);
    }
    model
}

fn weights_bytes(model: &Model) -> u64 {
    let shape = Shape { batch: 1, sequence: 8 };
    model.graph.cost(&PrecisionPolicy::preset(Preset::Fp32), shape).unwrap().policy_weights_bytes
}

const WORDS: &str = "transformer.wte.weight";
const HEAD: &str = "lm_head.weight";

#[test]
fn a_language_model_head_is_tied_or_its_own_as_the_file_says() {
    let scratch = tempfile::tempdir().unwrap();
    let write = |name: &str, change: &dyn Fn(&mut Variant)| {
        let mut variant = Variant::of("gpt2");
        change(&mut variant);
        let folder = scratch.path().join(name);
        variant.write(&folder);
        folder
    };
    let copy = |variant: &mut Variant| {
        let table = variant.tensors[WORDS].clone();
        variant.tensors.insert(HEAD.to_owned(), table);
    };
    let named = |variant: &mut Variant| {
        variant.rename(WORDS, HEAD);
        variant.metadata = [("format", "pt"), (WORDS, HEAD)].map(|(a, b)| (a.to_owned(), b.to_owned())).into();
    };
    let one = weights_bytes(&Tiny::Gpt2.open(Head::Natural));
    let table = 96 * 64 * 4;
    let layouts: [(&str, Change<'_>, u64); 5] = [
        ("head alone", &|variant| variant.rename(WORDS, HEAD), one),
        ("head alone, table named in the metadata", &named, one),
        ("both, equal", &copy, one),
        (
            "both, equal in other formats",
            &|variant| {
                let wider = variant.tensors[WORDS].widened();
                variant.tensors.insert(HEAD.to_owned(), wider);
            },
            one,
        ),
        (
            "both, equal, and config.json does not tie them",
            &|variant| {
                copy(variant);
                variant.config["tie_word_embeddings"] = false.into();
            },
            one + table,
        ),
    ];
    for (layout, change, bytes) in layouts {
        let model = assert_computes(Tiny::Gpt2, &write(layout, change), 1e-12, layout);
        assert_eq!((weights_bytes(&model), model.unread.as_slice()), (bytes, [].as_slice()), "{layout}");
    }
    assert_eq!(weights_bytes(&Tiny::UntiedGpt2.open(Head::Natural)), one + table, "both, different");
    let lacking = write("no head", &|variant| variant.config["tie_word_embeddings"] = false.into());
    let error = open(&lacking, None).unwrap_err().to_string();
    assert!(error.contains("tensor `lm_head.weight` is missing"), "{error}");
    let whole = write("head of integers", &|variant| {
        let table = &variant.tensors[WORDS];
        let (shape, bytes) = (table.shape.clone(), vec![0; 8 * table.shape[0] * table.shape[1]]);
        variant.tensors.insert(HEAD.to_owned(), Tensor { dtype: Dtype::I64, shape, bytes });
    });
    let error = open(&whole, None).unwrap_err().to_string();
    assert!(error.contains("tensor `lm_head.weight` has dtype I64"), "{error}");
}

/// 1 / sqrt(32) and its product with a query are rounded to FP32, so that the outputs are nearly those of scaled scores.
#[test]
fn scores_without_a_scale_are_those_of_scaled_queries() {
    let mut variant = Variant::of("gpt2");
    variant.config["scale_attn_weights"] = false.into();
    variant.multiply_queries(|_| 1.0 / 32f32.sqrt());
    let scratch = tempfile::tempdir().unwrap();
    variant.write(scratch.path());
    assert_computes(Tiny::Gpt2, scratch.path(), 1e-5, "without a scale");
}

#[test]
fn shards_are_one_checkpoint_with_one_digest() {
    for (folder, tiny) in [("bert-trunk", Tiny::Trunk), ("bert-classifier", Tiny::Classifier), ("gpt2", Tiny::Gpt2)] {
        let scratch = tempfile::tempdir().unwrap();
        let files = Variant::of(folder).write_shards(scratch.path());
        let model = assert_computes(tiny, scratch.path(), 1e-9, "in three files");
        let WeightsOrigin::Folder { sha256 } = &model.provenance.origin else { panic!("{:?}", model.provenance) };
        // As README.md says: the digest of what sha256sum prints.
        let script = format!("sha256sum {} | sha256sum", files.join(" "));
        let printed = Command::new("sh").args(["-c", &script]).current_dir(scratch.path()).output().unwrap().stdout;
        assert_eq!(sha256, String::from_utf8(printed).unwrap().split(' ').next().unwrap());
        assert!(open(scratch.path(), Some(sha256)).is_ok());
        let error = open(scratch.path(), Some(&"0".repeat(64))).unwrap_err().to_string();
        assert!(error.contains("model.safetensors.index.json: sha256 is "), "{error}");
        // Any byte of any of the files is in the digest.
        for file in files.iter().filter(|name| name.ends_with(".safetensors")) {
            let path = scratch.path().join(file);
            let mut bytes = std::fs::read(&path).unwrap();
            *bytes.last_mut().unwrap() ^= 1;
            std::fs::write(&path, bytes).unwrap();
            assert!(open(scratch.path(), Some(sha256)).is_err(), "{file}");
        }
    }
}

#[test]
fn shards_that_do_not_belong_together_are_refused_by_name() {
    let refusal = |change: &dyn Fn(&Path)| {
        let scratch = tempfile::tempdir().unwrap();
        Variant::of("gpt2").write_shards(scratch.path());
        change(scratch.path());
        open(scratch.path(), None).unwrap_err().to_string()
    };
    let index = |folder: &Path| folder.join("model.safetensors.index.json");
    let replace = |folder: &Path, from: &str, to: &str| {
        let text = std::fs::read_to_string(index(folder)).unwrap();
        assert!(text.contains(from), "{text}");
        std::fs::write(index(folder), text.replace(from, to)).unwrap();
    };
    let second = "model-00002-of-00003.safetensors";
    let cases: [(Damage<'_>, &str); 10] = [
        (
            &|folder| std::fs::remove_file(folder.join(second)).unwrap(),
            "names `model-00002-of-00003.safetensors`, which is not there",
        ),
        (
            &|folder| replace(folder, second, "../secret.safetensors"),
            "names `../secret.safetensors`, which is no name of a file",
        ),
        (&|folder| replace(folder, second, "/etc/hostname"), "names `/etc/hostname`, which is no name of a file"),
        (&|folder| replace(folder, second, ".."), "names `..`, which is no name of a file"),
        (&|folder| replace(folder, second, ""), "names ``, which is no name of a file"),
        (
            &|folder| replace(folder, "\"transformer.wte.weight\"", "\"another\""),
            "puts tensor `another` into `model-0000",
        ),
        (
            &|folder| {
                std::fs::copy(folder.join(second), folder.join("copy.safetensors")).unwrap();
                replace(folder, "\"weight_map\":{", "\"weight_map\":{\"x\":\"copy.safetensors\",");
            },
            "is in `copy.safetensors` and in `model-00002-of-00003.safetensors`",
        ),
        (&|folder| std::fs::write(index(folder), "{}").unwrap(), "it has no weight_map"),
        (&|folder| std::fs::write(index(folder), "<html>").unwrap(), "it is a web page"),
        (&|folder| std::fs::write(folder.join(second), "").unwrap(), "model-00002-of-00003.safetensors: it is empty"),
    ];
    for (change, says) in cases {
        let error = refusal(change);
        assert!(error.contains(says), "{error}\nlacks {says}");
    }
}

#[test]
fn two_models_in_one_file_are_refused_and_what_is_not_read_is_named() {
    let scratch = tempfile::tempdir().unwrap();
    let with = |name: &str, folder: &str, renamed: &dyn Fn(&str) -> Option<String>| {
        let mut variant = Variant::of(folder);
        let copies: Vec<_> =
            variant.tensors.iter().filter_map(|(name, tensor)| Some((renamed(name)?, tensor.clone()))).collect();
        variant.tensors.extend(copies);
        let folder = scratch.path().join(name);
        variant.write(&folder);
        open(&folder, None)
    };
    let plain = |name: &str| Some(name.strip_prefix("bert.").or(name.strip_prefix("transformer."))?.to_owned());
    for (folder, first, second) in [
        ("bert-classifier", "`embeddings.word_embeddings.weight`", "`bert.embeddings.word_embeddings.weight`"),
        ("gpt2", "`wte.weight`", "`transformer.wte.weight`"),
    ] {
        let error = with(&format!("two {folder}"), folder, &plain).unwrap_err().to_string();
        assert!(error.contains(&format!("{first} and {second} are both there")), "{error}");
    }
    let norm = |name: &str| name.contains("LayerNorm.gamma").then(|| name.replace("gamma", "weight"));
    let error = with("old and new names", "bert-trunk", &norm).unwrap_err().to_string();
    assert!(error.contains("LayerNorm.weight`") && error.contains("LayerNorm.gamma`"), "{error}");

    let further = |name: &str| name.contains("h.2.ln").then(|| name.replace("h.2", "h.3"));
    let model = with("a layer more", "gpt2", &further).unwrap();
    assert_eq!(model.unread.len(), 4);
    assert!(model.unread.iter().all(|name| name.starts_with("transformer.h.3.ln_")), "{:?}", model.unread);
    let idle = |name: &str| match name {
        "transformer.ln_f.bias" => Some("transformer.h.0.attn.masked_bias".to_owned()),
        "transformer.ln_f.weight" => Some("transformer.h.0.attn.bias".to_owned()),
        _ => None,
    };
    assert_eq!(with("buffers", "gpt2", &idle).unwrap().unread, [""; 0]);
    let idle = |name: &str| match name {
        "embeddings.LayerNorm.beta" => Some("embeddings.position_ids".to_owned()),
        "embeddings.LayerNorm.gamma" => Some("pooler.dense.bias".to_owned()),
        _ => None,
    };
    assert_eq!(with("a pooler below no head", "bert-trunk", &idle).unwrap().unread, [""; 0]);
}

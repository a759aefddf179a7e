//! Hugging Face folders small enough to write in a test: two layers, 16 wide, two dozen words.

use std::collections::BTreeMap;
use std::path::Path;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};

/// Every word the tokenizers know; the first four are BERT's markers.
pub const WORDS: [&str; 24] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "the", "film", "is", "good", "bad", "great", "dull", "not", "very", "and",
    "but", "story", "plot", "cast", "fine", "weak", "it", "was", "one",
];
pub const HIDDEN: usize = 16;
pub const POSITIONS: usize = 32;
const INNER: usize = 32;
const LAYERS: usize = 2;

/// What a folder is made of.
pub struct Checkpoint {
    pub config: Value,
    /// Shape and values by name.
    pub tensors: BTreeMap<String, (Vec<usize>, Vec<f32>)>,
    pub tokenizer: Option<Value>,
}

impl Checkpoint {
    /// A BERT with two labels.
    pub fn bert() -> Self {
        let config = json!({
            "model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": HIDDEN,
            "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": INNER,
            "max_position_embeddings": POSITIONS, "vocab_size": WORDS.len(), "type_vocab_size": 2,
            "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
            "id2label": {"0": "negative", "1": "positive"},
        });
        let mut checkpoint = Checkpoint { config, tensors: BTreeMap::new(), tokenizer: Some(tokenizer(true)) };
        for (name, rows) in [("word", WORDS.len()), ("position", POSITIONS), ("token_type", 2)] {
            checkpoint.draw(&format!("bert.embeddings.{name}_embeddings.weight"), &[rows, HIDDEN]);
        }
        checkpoint.layer_norm("bert.embeddings.LayerNorm");
        for layer in 0..LAYERS {
            let layer = format!("bert.encoder.layer.{layer}");
            for part in ["self.query", "self.key", "self.value", "output.dense"] {
                checkpoint.linear(&format!("{layer}.attention.{part}"), [HIDDEN, HIDDEN], HIDDEN);
            }
            checkpoint.layer_norm(&format!("{layer}.attention.output.LayerNorm"));
            checkpoint.linear(&format!("{layer}.intermediate.dense"), [INNER, HIDDEN], INNER);
            checkpoint.linear(&format!("{layer}.output.dense"), [HIDDEN, INNER], HIDDEN);
            checkpoint.layer_norm(&format!("{layer}.output.LayerNorm"));
        }
        checkpoint.linear("bert.pooler.dense", [HIDDEN, HIDDEN], HIDDEN);
        checkpoint.linear("classifier", [2, HIDDEN], 2);
        checkpoint
    }

    /// A GPT-2, whose weights are stored `[in, out]`.
    pub fn gpt2() -> Self {
        let config = json!({
            "model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "n_embd": HIDDEN, "n_layer": LAYERS,
            "n_head": 2, "n_inner": INNER, "n_positions": POSITIONS, "vocab_size": WORDS.len(),
            "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "eos_token_id": 0,
        });
        let mut checkpoint = Checkpoint { config, tensors: BTreeMap::new(), tokenizer: Some(tokenizer(false)) };
        checkpoint.draw("wte.weight", &[WORDS.len(), HIDDEN]);
        checkpoint.draw("wpe.weight", &[POSITIONS, HIDDEN]);
        for layer in 0..LAYERS {
            let layer = format!("h.{layer}");
            checkpoint.layer_norm(&format!("{layer}.ln_1"));
            checkpoint.linear(&format!("{layer}.attn.c_attn"), [HIDDEN, 3 * HIDDEN], 3 * HIDDEN);
            checkpoint.linear(&format!("{layer}.attn.c_proj"), [HIDDEN, HIDDEN], HIDDEN);
            checkpoint.layer_norm(&format!("{layer}.ln_2"));
            checkpoint.linear(&format!("{layer}.mlp.c_fc"), [HIDDEN, INNER], INNER);
            checkpoint.linear(&format!("{layer}.mlp.c_proj"), [INNER, HIDDEN], HIDDEN);
        }
        checkpoint.layer_norm("ln_f");
        checkpoint
    }

    /// The same with one value of one tensor changed.
    pub fn with_value(mut self, tensor: &str, index: usize, value: f32) -> Self {
        self.tensors.get_mut(tensor).unwrap().1[index] = value;
        self
    }

    /// Writes the folder; returns the bytes of model.safetensors.
    pub fn write(&self, folder: &Path) -> Vec<u8> {
        std::fs::create_dir_all(folder).unwrap();
        let bytes = self.safetensors();
        std::fs::write(folder.join("model.safetensors"), &bytes).unwrap();
        std::fs::write(folder.join("config.json"), self.config.to_string()).unwrap();
        if let Some(tokenizer) = &self.tokenizer {
            std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
            std::fs::write(folder.join("tokenizer_config.json"), tokenizer_config().to_string()).unwrap();
        }
        bytes
    }

    fn safetensors(&self) -> Vec<u8> {
        let views = self.tensors.iter().map(|(name, (shape, values))| (name, view(shape, values)));
        safetensors::serialize(views, None).unwrap()
    }

    fn linear(&mut self, name: &str, weight: [usize; 2], outputs: usize) {
        self.draw(&format!("{name}.weight"), &weight);
        self.draw(&format!("{name}.bias"), &[outputs]);
    }

    fn layer_norm(&mut self, name: &str) {
        self.draw(&format!("{name}.weight"), &[HIDDEN]);
        self.draw(&format!("{name}.bias"), &[HIDDEN]);
        let gamma = &mut self.tensors.get_mut(&format!("{name}.weight")).unwrap().1;
        gamma.iter_mut().for_each(|value| *value += 1.0);
    }

    /// Normal values: matrices of a size that makes logits differ, vectors smaller. The stream is the tensor's number.
    fn draw(&mut self, name: &str, shape: &[usize]) {
        let mut generator = ChaCha8Rng::seed_from_u64(self.tensors.len() as u64);
        let deviation = if shape.len() > 1 { 0.3 } else { 0.1 };
        let draw = |_| {
            let normal: f32 = StandardNormal.sample(&mut generator);
            deviation * normal
        };
        let values = (0..shape.iter().product()).map(draw).collect();
        self.tensors.insert(name.to_owned(), (shape.to_vec(), values));
    }
}

fn view<'a>(shape: &[usize], values: &'a [f32]) -> TensorView<'a> {
    TensorView::new(Dtype::F32, shape.to_vec(), bytemuck::cast_slice(values)).unwrap()
}

/// The file as it is, with the types of tokens.
pub fn tokenizer_config() -> Value {
    let inputs = ["input_ids", "token_type_ids", "attention_mask"];
    json!({"tokenizer_class": "PreTrainedTokenizerFast", "model_input_names": inputs})
}

/// Whole words; with `[CLS]` and `[SEP]` around a sentence where asked for.
fn tokenizer(markers: bool) -> Value {
    let vocabulary: BTreeMap<&str, usize> = WORDS.iter().copied().zip(0..).collect();
    let typed = |id: &str, of: u32| json!({"SpecialToken": {"id": id, "type_id": of}});
    let marker = |id: &str| typed(id, 0);
    let special = |id: &str| json!({"id": id, "ids": [vocabulary[id]], "tokens": [id]});
    let sequence = |id: &str| json!({"Sequence": {"id": id, "type_id": 0}});
    let template = json!({
        "type": "TemplateProcessing",
        "single": [marker("[CLS]"), sequence("A"), marker("[SEP]")],
        "pair": [marker("[CLS]"), sequence("A"), marker("[SEP]"), {"Sequence": {"id": "B", "type_id": 1}}, typed("[SEP]", 1)],
        "special_tokens": {"[CLS]": special("[CLS]"), "[SEP]": special("[SEP]")},
    });
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": if markers { template } else { Value::Null },
        "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"},
    })
}

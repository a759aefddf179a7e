//! Small checkpoints of both families, all zeros.

use serde_json::{Map, Value, json};

use crate::put;

/// Writes a folder with `config.json` and `model.safetensors`. `sizes` are layers, width, heads, inner width, vocabulary
/// and positions; `extra` is the number of token types or classes, and `bits` choose the head and the form of GELU.
pub fn checkpoint(folder: &str, bert: bool, sizes: [usize; 6], extra: usize, bits: u8) {
    let [layers, hidden, heads, inner, vocabulary, positions] = sizes;
    let act = if bits & 1 == 0 { "gelu" } else { "gelu_new" };
    let bare = bits & 2 == 0;
    let labels: Map<String, Value> = (0..extra).map(|label| (label.to_string(), json!("label"))).collect();
    let config = match bert {
        true => json!({"model_type": "bert", "hidden_size": hidden, "num_hidden_layers": layers,
            "num_attention_heads": heads, "intermediate_size": inner, "max_position_embeddings": positions,
            "vocab_size": vocabulary, "type_vocab_size": extra, "hidden_act": act, "layer_norm_eps": 1e-12,
            "architectures": [if bare { "BertModel" } else { "BertForSequenceClassification" }], "id2label": labels}),
        false => json!({"model_type": "gpt2", "n_embd": hidden, "n_layer": layers, "n_head": heads, "n_inner": inner,
            "n_positions": positions, "vocab_size": vocabulary, "activation_function": act, "layer_norm_epsilon": 1e-5,
            "architectures": [if bare { "GPT2Model" } else { "GPT2LMHeadModel" }]}),
    };
    put(&format!("{folder}/config.json"), config.to_string().as_bytes());
    let tensors = if bert { bert_tensors(sizes, extra, !bare) } else { gpt2_tensors(sizes) };
    let (mut header, mut end) = (Map::new(), 0);
    for (name, shape) in tensors {
        let bytes = 4 * shape.iter().product::<usize>();
        header.insert(name, json!({"dtype": "F32", "shape": shape, "data_offsets": [end, end + bytes]}));
        end += bytes;
    }
    let header = Value::Object(header).to_string();
    let mut file = Vec::from((header.len() as u64).to_le_bytes());
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + end, 0);
    put(&format!("{folder}/model.safetensors"), &file);
}

type Tensors = Vec<(String, Vec<usize>)>;

fn pair(tensors: &mut Tensors, name: &str, shape: &[usize], width: usize) {
    tensors.push((format!("{name}.weight"), shape.to_vec()));
    tensors.push((format!("{name}.bias"), vec![width]));
}

fn bert_tensors([layers, hidden, _, inner, vocabulary, positions]: [usize; 6], extra: usize, head: bool) -> Tensors {
    let mut all: Tensors = [("word", vocabulary), ("position", positions), ("token_type", extra)]
        .map(|(part, rows)| (format!("embeddings.{part}_embeddings.weight"), vec![rows, hidden]))
        .into();
    pair(&mut all, "embeddings.LayerNorm", &[hidden], hidden);
    for layer in (0..layers).map(|index| format!("encoder.layer.{index}")) {
        for part in ["attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense"] {
            pair(&mut all, &format!("{layer}.{part}"), &[hidden, hidden], hidden);
        }
        pair(&mut all, &format!("{layer}.attention.output.LayerNorm"), &[hidden], hidden);
        pair(&mut all, &format!("{layer}.intermediate.dense"), &[inner, hidden], inner);
        pair(&mut all, &format!("{layer}.output.dense"), &[hidden, inner], hidden);
        pair(&mut all, &format!("{layer}.output.LayerNorm"), &[hidden], hidden);
    }
    if head {
        pair(&mut all, "pooler.dense", &[hidden, hidden], hidden);
        pair(&mut all, "classifier", &[extra, hidden], extra);
    }
    all
}

fn gpt2_tensors([layers, hidden, _, inner, vocabulary, positions]: [usize; 6]) -> Tensors {
    let mut all: Tensors =
        vec![("wte.weight".to_owned(), vec![vocabulary, hidden]), ("wpe.weight".to_owned(), vec![positions, hidden])];
    for layer in (0..layers).map(|index| format!("h.{index}")) {
        pair(&mut all, &format!("{layer}.ln_1"), &[hidden], hidden);
        pair(&mut all, &format!("{layer}.attn.c_attn"), &[hidden, 3 * hidden], 3 * hidden);
        pair(&mut all, &format!("{layer}.attn.c_proj"), &[hidden, hidden], hidden);
        pair(&mut all, &format!("{layer}.ln_2"), &[hidden], hidden);
        pair(&mut all, &format!("{layer}.mlp.c_fc"), &[hidden, inner], inner);
        pair(&mut all, &format!("{layer}.mlp.c_proj"), &[inner, hidden], hidden);
    }
    pair(&mut all, "ln_f", &[hidden], hidden);
    all
}

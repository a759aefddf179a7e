#!/usr/bin/env python3
"""Outputs of transformers in float64 for a tiny checkpoint of every family, head and activation, recorded in
`families.safetensors` and `families.json`. Needs transformers (5.24.0 made the record) and PyTorch on the CPU.

usage: families.py [--check]

Nothing is stored of the weights: value `i` of tensor `name` is drawn from the digest of the name (`words` of `draw.py`), so that a
test draws the same ones. `families.json` has for each case its config.json and the shape of each tensor, as `save_pretrained`
writes them, or the earlier case whose tensors it has (`like`). `families.safetensors` has for each case the output `[rows, width]` in F64, without padding, and once for all
families with one vocabulary and padding id the ids `[batch, sequence]` and lengths `[batch]`. Without an option it writes the
record; `--check` compares, exit code 1. Exit code 77: no transformers or no PyTorch.
"""

import json
import pathlib
import sys
import tempfile

try:
    import numpy as np
    import torch
    import transformers
    from safetensors import safe_open
    from safetensors.numpy import load_file, save_file

    from draw import words
except ImportError as error:
    print(error)
    sys.exit(77)

FOLDER = pathlib.Path(__file__).parent
LENGTHS = [9, 4, 1]
HIDDEN, HEADS, INNER, LAYERS, VOCABULARY = 16, 2, 24, 2, 40

SIZES = {"hidden_size": HIDDEN, "num_attention_heads": HEADS, "intermediate_size": INNER, "num_hidden_layers": LAYERS}
SIZES |= {"vocab_size": VOCABULARY, "max_position_embeddings": 16}
LABELS = {"id2label": {0: "bad", 1: "good", 2: "neither"}, "label2id": {"bad": 0, "good": 1, "neither": 2}}

# Configuration by family. A padding id is 1 where the family's is, so that positions begin at 2.
FAMILIES = {
    "Bert": SIZES,
    "Roberta": SIZES | {"type_vocab_size": 1, "layer_norm_eps": 1e-5},
    "XLMRoberta": SIZES | {"type_vocab_size": 1, "pad_token_id": 3},
    "Camembert": SIZES | {"hidden_act": "gelu_new"},
    "DistilBert": {"dim": HIDDEN, "n_heads": HEADS, "hidden_dim": INNER, "n_layers": LAYERS, "vocab_size": VOCABULARY}
    | {"max_position_embeddings": 16},
    "Electra": SIZES | {"embedding_size": 8},
    "Albert": SIZES | {"embedding_size": 8, "num_hidden_groups": 2, "inner_group_num": 2},
    "GPT2": {"n_embd": HIDDEN, "n_head": HEADS, "n_inner": INNER, "n_layer": LAYERS, "vocab_size": VOCABULARY}
    | {"n_positions": 16, "bos_token_id": 0, "eos_token_id": 0},
    "OPT": SIZES | {"ffn_dim": INNER, "word_embed_proj_dim": HIDDEN},
}
ENCODER = ["Model", "ForMaskedLM", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"]
HEADS_OF = {
    "GPT2": ["Model", "LMHeadModel", "ForSequenceClassification", "ForTokenClassification", "ForQuestionAnswering"],
    "OPT": ["Model", "ForCausalLM", "ForSequenceClassification", "ForQuestionAnswering"],
}
ACTIVATIONS = [
    "gelu", "gelu_10", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "gelu_python_tanh", "gelu_accurate",
    "hardswish", "laplace", "leaky_relu", "linear", "mish", "quick_gelu", "relu", "relu2", "relu6", "sigmoid", "silu",
    "sqrtsoftplus", "swish", "tanh",
]  # fmt: skip


# Keys that change no output.
UNREAD = {"transformers_version", "dtype", "use_cache", "bos_token_id", "label2id", "reorder_and_upcast_attn"}
UNREAD |= {"add_cross_attention", "summary_type", "summary_use_proj", "summary_activation"}
UNREAD |= {"summary_proj_to_labels"}


def cases():
    """Name, class and configuration."""
    for family, sizes in FAMILIES.items():
        for head in HEADS_OF.get(family, ENCODER):
            labels = LABELS if head.endswith("Classification") else {}
            yield f"{family}{head}", f"{family}{head}", sizes | labels
    for activation in ACTIVATIONS:
        yield f"Bert-{activation}", "BertModel", SIZES | {"hidden_act": activation}
    for family in ("Bert", "Roberta", "DistilBert", "Electra", "Albert"):
        yield f"{family}-untied", f"{family}ForMaskedLM", FAMILIES[family] | {"tie_word_embeddings": False}
    yield "Bert-decoder", "BertLMHeadModel", SIZES | {"is_decoder": True}
    yield "Roberta-decoder", "RobertaForCausalLM", FAMILIES["Roberta"] | {"is_decoder": True}
    yield "Electra-wide", "ElectraForMaskedLM", SIZES | {"embedding_size": HIDDEN}
    yield "Electra-relu", "ElectraForSequenceClassification", FAMILIES["Electra"] | LABELS | {"hidden_act": "relu"}
    yield "Albert-one-group", "AlbertModel", SIZES | {"embedding_size": 8, "num_hidden_layers": 3}
    yield "GPT2-untied", "GPT2LMHeadModel", FAMILIES["GPT2"] | {"tie_word_embeddings": False}
    yield "GPT2-relu", "GPT2LMHeadModel", FAMILIES["GPT2"] | {"activation_function": "relu"}
    yield "OPT-untied", "OPTForCausalLM", FAMILIES["OPT"] | {"tie_word_embeddings": False}
    # Its classifier passes over the last token, which is padding by its id.
    yield "GPT2-padding", "GPT2ForSequenceClassification", FAMILIES["GPT2"] | LABELS | {"pad_token_id": LAST_ID}


def draw(name, shape):
    """Values of mean 0 and variance 1 times what lets a layer of that width keep the size of its input; gains around 1."""
    z = words(name, int(np.prod(shape)))
    parts = sum((z >> np.uint64(16 * k)) & np.uint64(0xFFFF) for k in range(4))
    bell = (parts.astype(np.float64) - 131070.0) / 37837.0
    if len(shape) > 1:
        # Scores must vary and logits differ.
        values = bell * 0.3
    else:
        values = 0.25 * bell + (1.0 if "norm" in name.lower() or "ln_" in name else 0.0) * name.endswith("weight")
    return values.reshape(shape).astype(np.float32)


def ids(padding):
    """Rows without the padding id, and padded with it."""
    rows = np.full((len(LENGTHS), max(LENGTHS)), padding, np.int32)
    drawn = words("ids", rows.size).reshape(rows.shape) % np.uint64(VOCABULARY - 4) + np.uint64(4)
    for row, length in enumerate(LENGTHS):
        rows[row, :length] = drawn[row, :length]
    return rows


# The last id of the first row.
LAST_ID = int(ids(0)[0, -1])


def run(name, family, config, folder):
    """Configuration and tensors as saved, and the output without padding."""
    model_class = getattr(transformers, family)
    model = model_class(model_class.config_class(**config)).double().eval()
    # The eager attention of OPT has its softmax in FP32.
    model.set_attn_implementation("sdpa")
    model.save_pretrained(folder)
    with safe_open(folder / "model.safetensors", "np") as saved:
        shapes = {tensor: list(saved.get_slice(tensor).get_shape()) for tensor in saved.keys()}
    state = model.state_dict()
    with torch.no_grad():
        for tensor, shape in shapes.items():
            state[tensor].copy_(torch.from_numpy(draw(tensor, shape)))
    padding = model.config.pad_token_id
    batch = ids(0 if padding is None else padding)
    mask = np.arange(batch.shape[1])[None] < np.array(LENGTHS)[:, None]
    rows = range(len(LENGTHS))
    if padding is None and family.endswith("SequenceClassification"):
        # transformers pools the last token of one row alone.
        results = [one(model, batch[row : row + 1, : LENGTHS[row]], None) for row in rows]
        output = np.concatenate(results)
    else:
        output = one(model, batch, mask)
    if output.ndim == 3:
        output = np.concatenate([output[row, : LENGTHS[row]] for row in rows])
    saved = json.loads((folder / "config.json").read_text())
    kept = {key: value for key, value in saved.items() if key not in UNREAD and "drop" not in key}
    return kept, shapes, np.ascontiguousarray(output)


def one(model, batch, mask):
    with torch.no_grad():
        mask = None if mask is None else torch.from_numpy(mask.astype(np.int64))
        result = model(torch.from_numpy(batch.astype(np.int64)), attention_mask=mask)
    if "start_logits" in result:
        return torch.stack([result.start_logits, result.end_logits], -1).numpy()
    return (result.logits if "logits" in result else result.last_hidden_state).numpy()


def record():
    described, tensors = {}, {}
    for padding in (0, 1, 3, LAST_ID):
        tensors[f"ids.{padding}"] = ids(padding)
    tensors["lengths"] = np.array(LENGTHS, np.int32)
    for name, family, config in cases():
        with tempfile.TemporaryDirectory() as folder:
            saved, shapes, output = run(name, family, config, pathlib.Path(folder))
        padding = saved.get("pad_token_id")
        like = next((other for other, case in described.items() if case.get("tensors") == shapes), None)
        layout = {"tensors": shapes} if like is None else {"like": like}
        described[name] = {"padding": padding or 0, "config": saved} | layout
        tensors[name] = output
    return described, tensors


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    described, tensors = record()
    text = "{\n" + ",\n".join(f"{json.dumps(name)}: {json.dumps(case)}" for name, case in described.items()) + "\n}\n"
    if "--check" not in sys.argv:
        (FOLDER / "families.json").write_text(text)
        save_file(tensors, FOLDER / "families.safetensors")
        return
    recorded = load_file(FOLDER / "families.safetensors")
    far = [name for name, values in tensors.items() if not np.allclose(values, recorded.get(name), rtol=1e-9, atol=1e-9)]
    if far or text != (FOLDER / "families.json").read_text():
        sys.exit(f"not as recorded: {far}")
    print("as recorded")


if __name__ == "__main__":
    main()

"""Seeded checkpoints as Hugging Face folders: config.json and the tensors of model.safetensors.

Tensor `name` of model `model` is drawn from SplitMix64 (Steele, Lea and Flood 2014) whose state starts at the first 8 bytes of
SHA-256 of `model/name`, little-endian. Each 64-bit word gives one value: the sum of its four 16-bit parts, shifted and
scaled to mean 0 and variance 1. The sum is an integer, so that nothing depends on a version of numpy.

Values are large on purpose. Sums of embeddings are small, so that the layer norm's epsilon counts; scores vary by more than 1,
so that their scale counts; the GELU's inputs lie around -2, where its two forms differ most in proportion; gammas and betas are
far from 1 and 0. `faults.py` shows that each of these mistakes is seen.
"""

import hashlib

import numpy as np

HIDDEN, HEADS, VOCABULARY, POSITIONS = 64, 2, 96, 72

COMMON_BERT = {
    "model_type": "bert",
    "hidden_size": HIDDEN,
    "num_attention_heads": HEADS,
    "max_position_embeddings": POSITIONS,
    "vocab_size": VOCABULARY,
    "type_vocab_size": 2,
    "hidden_act": "gelu",
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
}

CONFIGS = {
    "trunk": COMMON_BERT
    | {"architectures": ["BertModel"], "num_hidden_layers": 2, "intermediate_size": 160, "layer_norm_eps": 1e-12},
    "classifier": COMMON_BERT
    | {
        "architectures": ["BertForSequenceClassification"],
        "num_hidden_layers": 2,
        "intermediate_size": 128,
        "layer_norm_eps": 1e-12,
        "id2label": {"0": "negative", "1": "positive", "2": "neither"},
    },
    "gpt2": {
        "model_type": "gpt2",
        "architectures": ["GPT2LMHeadModel"],
        "n_embd": HIDDEN,
        "n_layer": 3,
        "n_head": HEADS,
        "n_inner": 128,
        "n_positions": POSITIONS,
        "vocab_size": VOCABULARY,
        "activation_function": "gelu_new",
        "layer_norm_epsilon": 1e-5,
        "eos_token_id": 0,
        "tie_word_embeddings": True,
    },
}

# How the names of a model's tensors differ from those of `modeling_bert.py` and `modeling_gpt2.py`: checkpoints come with and
# without the prefix of the trunk, and Google's still have the layer norms' names of 2018.
PREFIX = {"trunk": "", "classifier": "bert.", "gpt2": "transformer."}
OLD_NAMES = {"trunk"}


def words(label, count):
    """`count` words of SplitMix64 started at the digest of `label`."""
    seed = np.frombuffer(hashlib.sha256(label.encode()).digest()[:8], "<u8")
    z = seed + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def bell(label, shape):
    """Values of mean 0 and variance 1, at most 2 sqrt(3) from 0."""
    z = words(label, int(np.prod(shape)))
    parts = sum((z >> np.uint64(16 * k)) & np.uint64(0xFFFF) for k in range(4))
    return ((parts.astype(np.float64) - 131070.0) * (np.sqrt(3.0) / 65536.0)).reshape(shape)


def ids(label, shape):
    """Uniform ids of the vocabulary."""
    high = words(label, int(np.prod(shape))) >> np.uint64(32)
    return ((high * np.uint64(VOCABULARY)) >> np.uint64(32)).astype(np.int32).reshape(shape)


class Drawing:
    """The tensors of one model, by name: matrices in F16, vectors in F32."""

    def __init__(self, model):
        self.model, self.tensors = model, {}

    def add(self, name, shape, spread, mean=0.0):
        values = mean + spread * bell(f"{self.model}/{name}", shape)
        self.tensors[name] = values.astype(np.float16 if len(shape) == 2 else np.float32)

    def table(self, name, rows, spread):
        """An embedding table; every fourth row is an eighth of the others."""
        factor = np.where(np.arange(rows) % 4 == 3, 0.125, 1.0)[:, None]
        values = spread * factor * bell(f"{self.model}/{name}", (rows, HIDDEN))
        self.tensors[name] = values.astype(np.float16)

    def norm(self, name):
        self.add(f"{name}.weight", (HIDDEN,), 0.3, mean=1.0)
        self.add(f"{name}.bias", (HIDDEN,), 0.3)

    def linear(self, name, rows, columns, spread, bias=0.0):
        self.add(f"{name}.weight", (rows, columns), spread)
        self.add(f"{name}.bias", (columns if self.model == "gpt2" else rows,), 0.3, mean=bias)


def bert(model):
    """BERT's tensors; linear weights are `[out, in]`."""
    config, draw = CONFIGS[model], Drawing(model)
    inner = config["intermediate_size"]
    draw.table("embeddings.word_embeddings.weight", VOCABULARY, 0.04)
    draw.table("embeddings.position_embeddings.weight", POSITIONS, 0.02)
    draw.table("embeddings.token_type_embeddings.weight", 2, 0.01)
    draw.norm("embeddings.LayerNorm")
    for index in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{index}"
        draw.linear(f"{layer}.attention.self.query", HIDDEN, HIDDEN, 0.16)
        draw.linear(f"{layer}.attention.self.key", HIDDEN, HIDDEN, 0.16)
        draw.linear(f"{layer}.attention.self.value", HIDDEN, HIDDEN, 0.14)
        draw.linear(f"{layer}.attention.output.dense", HIDDEN, HIDDEN, 0.14)
        draw.norm(f"{layer}.attention.output.LayerNorm")
        draw.linear(f"{layer}.intermediate.dense", inner, HIDDEN, 0.06, bias=-2.3)
        draw.linear(f"{layer}.output.dense", HIDDEN, inner, 3.0)
        draw.norm(f"{layer}.output.LayerNorm")
    trunk = {}
    for name, values in draw.tensors.items():
        if model in OLD_NAMES:
            name = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        trunk[PREFIX[model] + name] = values
    if model == "trunk":
        return trunk
    head = Drawing(model)
    head.linear("pooler.dense", HIDDEN, HIDDEN, 0.14)
    head.linear("classifier", len(config["id2label"]), HIDDEN, 0.4)
    return trunk | {(PREFIX[model] + k if k.startswith("pooler") else k): v for k, v in head.tensors.items()}


def gpt2():
    """GPT-2's tensors; linear weights are `[in, out]`."""
    config, draw = CONFIGS["gpt2"], Drawing("gpt2")
    inner = config["n_inner"]
    draw.table("wte.weight", VOCABULARY, 0.2)
    draw.table("wpe.weight", POSITIONS, 0.03)
    for index in range(config["n_layer"]):
        layer = f"h.{index}"
        draw.norm(f"{layer}.ln_1")
        draw.linear(f"{layer}.attn.c_attn", HIDDEN, 3 * HIDDEN, 0.16)
        draw.linear(f"{layer}.attn.c_proj", HIDDEN, HIDDEN, 0.14)
        draw.norm(f"{layer}.ln_2")
        draw.linear(f"{layer}.mlp.c_fc", HIDDEN, inner, 0.06, bias=-2.3)
        draw.linear(f"{layer}.mlp.c_proj", inner, HIDDEN, 3.0)
    draw.norm("ln_f")
    return {PREFIX["gpt2"] + name: values for name, values in draw.tensors.items()}


def checkpoint(model):
    """Tensors of a model under the names that its file has."""
    return gpt2() if model == "gpt2" else bert(model)

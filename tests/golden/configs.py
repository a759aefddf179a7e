#!/usr/bin/env python3
"""What transformers reads from variants of config.json, recorded in `configs.json`. Needs transformers (5.24.0 made the
record) and no PyTorch.

usage: configs.py [--check]

A case is a family, the keys that are removed from its whole config.json (`whole`) and those that are set. `read` is what
`from_dict` of the family's class makes of it, under the names that both families share. Without an option it writes the record;
`--check` compares, exit code 1. Exit code 77: no transformers.
"""

import json
import pathlib
import sys

try:
    from transformers import AlbertConfig, BertConfig, CamembertConfig, DistilBertConfig, ElectraConfig, GPT2Config
    from transformers import OPTConfig, RobertaConfig, XLMRobertaConfig, logging
except ImportError as error:
    print(error)
    sys.exit(77)

RECORD = pathlib.Path(__file__).with_name("configs.json")
CLASS = {
    "bert": BertConfig, "gpt2": GPT2Config, "roberta": RobertaConfig, "xlm-roberta": XLMRobertaConfig,
    "camembert": CamembertConfig, "distilbert": DistilBertConfig, "electra": ElectraConfig, "albert": AlbertConfig,
    "opt": OPTConfig,
}

WHOLE = {
    "bert": {
        "architectures": ["BertForSequenceClassification"], "model_type": "bert", "hidden_size": 60,
        "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 128, "max_position_embeddings": 32,
        "vocab_size": 100, "type_vocab_size": 3, "hidden_act": "gelu_new", "layer_norm_eps": 1e-6, "pad_token_id": 4,
        "tie_word_embeddings": True, "is_decoder": False, "id2label": {"0": "bad", "1": "good", "2": "neither"},
    },
    "gpt2": {
        "architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 60, "n_layer": 2, "n_head": 3, "n_inner": 100,
        "n_positions": 32, "vocab_size": 60000, "activation_function": "gelu", "layer_norm_epsilon": 1e-6,
        "eos_token_id": 7, "tie_word_embeddings": True, "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
    },
}

# What the keys of BERT's relatives are, where they are written out.
ENCODER = {
    "hidden_size": 60, "num_hidden_layers": 4, "num_attention_heads": 3, "intermediate_size": 128,
    "max_position_embeddings": 32, "vocab_size": 100, "type_vocab_size": 3, "hidden_act": "relu", "layer_norm_eps": 1e-6,
    "pad_token_id": 4, "tie_word_embeddings": False,
}
WHOLE |= {
    family: ENCODER | {"architectures": [f"{name}Model"], "model_type": family}
    for family, name in [("roberta", "Roberta"), ("xlm-roberta", "XLMRoberta"), ("camembert", "Camembert")]
}
WHOLE |= {
    "distilbert": {
        "architectures": ["DistilBertModel"], "model_type": "distilbert", "dim": 60, "n_layers": 2, "n_heads": 3,
        "hidden_dim": 128, "max_position_embeddings": 32, "vocab_size": 100, "activation": "silu", "pad_token_id": 4,
        "tie_word_embeddings": False, "sinusoidal_pos_embds": True,
    },
    "electra": ENCODER | {"architectures": ["ElectraModel"], "model_type": "electra", "embedding_size": 24},
    "albert": ENCODER | {"architectures": ["AlbertModel"], "model_type": "albert", "embedding_size": 24}
    | {"num_hidden_groups": 2, "inner_group_num": 3},
    "opt": {
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "hidden_size": 60, "num_hidden_layers": 2,
        "num_attention_heads": 3, "ffn_dim": 128, "max_position_embeddings": 32, "vocab_size": 100,
        "activation_function": "gelu", "pad_token_id": 4, "tie_word_embeddings": False, "word_embed_proj_dim": 60,
        "do_layer_norm_before": True, "enable_bias": True, "layer_norm_elementwise_affine": True,
        "_remove_final_layer_norm": False,
    },
}

# Keys whose default does not fit the other sizes.
ALONE = {"albert": {"hidden_size", "num_attention_heads"}, "electra": {"hidden_size"}, "opt": {"hidden_size"}}

NULLS = {
    "bert": ["architectures", "pad_token_id", "id2label"],
    "gpt2": ["architectures", "n_inner", "eos_token_id"],
    "distilbert": ["pad_token_id"],
    "opt": ["word_embed_proj_dim"],
}

MORE = {
    "bert": [
        [[], {"hidden_act": act}] for act in ["gelu", "gelu_python", "gelu_fast", "gelu_pytorch_tanh", "gelu_accurate"]
    ] + [
        [[], {"architectures": []}],
        [["id2label"], {"num_labels": 3}],
        [["id2label"], {"num_labels": 1}],
        [["id2label"], {"label2id": {"a": 0, "b": 1, "c": 2}}],
        [[], {"id2label": None, "num_labels": 5}],
        [[], {"id2label": {"0": 0, "1": 1}}],
        [[], {"id2label": {"1": "second", "0": "first"}}],
        [[], {"id2label": {"0": True, "1": 1.5, "2": None}}],
        [[], {"id2label": {str(i): f"class {i}" for i in reversed(range(12))}}],
        [[], {"num_labels": 3}],
        [[], {"pad_token_id": -1}],
        [[], {"pad_token_id": 99}],
        [[], {"n_embd": 8, "n_layer": 1, "n_head": 1}],
        [[], {"position_embedding_type": "absolute", "torch_dtype": "float16", "dtype": None, "unknown": [None]}],
    ],
    "gpt2": [
        [["n_embd"], {"hidden_size": 24}],
        [["n_layer"], {"num_hidden_layers": 4}],
        [["n_head"], {"num_attention_heads": 5}],
        [["n_positions"], {"max_position_embeddings": 48}],
        [["n_embd", "n_inner"], {"hidden_size": 24}],
        [[], {"hidden_size": 24}],
        [[], {"num_hidden_layers": 4, "num_attention_heads": 5, "max_position_embeddings": 48}],
        [["n_positions"], {"n_ctx": 48}],
        [[], {"eos_token_id": [5, 6]}],
        [[], {"tie_word_embeddings": False}],
        [[], {"scale_attn_weights": False}],
        [[], {"scale_attn_by_inverse_layer_idx": True}],
        [[], {"reorder_and_upcast_attn": True, "use_cache": False, "intermediate_size": 9}],
        [[], {"activation_function": "gelu_python_tanh"}],
    ],
    "distilbert": [
        [["dim"], {"hidden_size": 24}],
        [["n_layers"], {"num_hidden_layers": 4}],
        [["n_heads"], {"num_attention_heads": 5}],
    ],
    "opt": [[[], {"pad_token_id": 1}]],
}


def read(family, keys):
    """What the class reads, under shared names. The width of GPT-2's inner layer is that of `GPT2Block`; a list of ends of a
    text counts by its first, as in generation; a padding row counts from the table's end where it is negative, as in
    `torch.nn.Embedding`."""
    config = CLASS[family].from_dict(json.loads(json.dumps(keys)))
    shared = {
        "layers": config.num_hidden_layers, "hidden": config.hidden_size, "heads": config.num_attention_heads,
        "vocabulary": config.vocab_size, "positions": config.max_position_embeddings, "tied": config.tie_word_embeddings,
    }
    if family in ("electra", "albert"):
        shared["embedding"] = config.embedding_size
    if family == "albert":
        shared |= {"groups": config.num_hidden_groups, "layers_of_group": config.inner_group_num}
    if family in ("distilbert", "opt"):
        return shared | {
            "inner": config.hidden_dim if family == "distilbert" else config.ffn_dim, "token_types": 0,
            "activation": config.activation if family == "distilbert" else config.activation_function,
            "epsilon": 1e-12 if family == "distilbert" else 1e-5, "pad": config.pad_token_id,
        }
    if family != "gpt2":
        pad = config.pad_token_id
        return shared | {
            "inner": config.intermediate_size, "token_types": config.type_vocab_size, "activation": config.hidden_act,
            "epsilon": config.layer_norm_eps, "pad": pad if pad is None or pad >= 0 else pad + config.vocab_size,
            "labels": [config.id2label[i] for i in range(config.num_labels)],
        }
    end = config.eos_token_id
    return shared | {
        "inner": config.n_inner if config.n_inner is not None else 4 * config.n_embd, "token_types": 0,
        "activation": config.activation_function, "epsilon": config.layer_norm_epsilon,
        "pad": end[0] if isinstance(end, list) else end, "scaled": config.scale_attn_weights,
        "scaled_by_layer": config.scale_attn_by_inverse_layer_idx,
    }


def cases():
    for family, whole in WHOLE.items():
        removed = [[[key], {}] for key in whole] + [[[key for key in whole if key not in ("architectures", "model_type")], {}]]
        removed = [case for case in removed if not ALONE.get(family, set()).intersection(case[0][:1])]
        nulls = [[[], {key: None}] for key in NULLS.get(family, [])]
        for remove, add in [[[], {}]] + removed + nulls + MORE.get(family, []):
            keys = {key: value for key, value in whole.items() if key not in remove} | add
            yield {"family": family, "remove": remove, "set": add, "read": read(family, keys)}


def record():
    lines = ",\n".join(json.dumps(case) for case in cases())
    return f'{{"whole": {json.dumps(WHOLE)},\n"cases": [\n{lines}\n]}}\n'


if __name__ == "__main__":
    logging.set_verbosity_error()
    if sys.argv[1:] == ["--check"]:
        same = RECORD.read_text() == record()
        print("as recorded" if same else "differs")
        sys.exit(not same)
    RECORD.write_text(record())

"""The checkpoints that `make parity` draws: every family, every head, and what people vary.

A recipe is a class of transformers with a configuration. `TINY` has what a family's recipes share.
"""

import dataclasses
import fnmatch

TINY = {
    "bert": dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80, max_position_embeddings=64),
    "roberta": dict(hidden_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80, max_position_embeddings=66,
                    type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, layer_norm_eps=1e-5),
    "distilbert": dict(dim=48, n_layers=2, n_heads=3, hidden_dim=80, max_position_embeddings=64),
    "electra": dict(hidden_size=48, embedding_size=48, num_hidden_layers=2, num_attention_heads=3, intermediate_size=80,
                    max_position_embeddings=64),
    "albert": dict(hidden_size=48, embedding_size=32, num_hidden_layers=3, num_attention_heads=3, intermediate_size=80,
                   max_position_embeddings=64, bos_token_id=2, eos_token_id=3),
    "gpt2": dict(n_embd=48, n_layer=2, n_head=3, n_positions=64, bos_token_id=270, eos_token_id=270),
    "opt": dict(hidden_size=48, word_embed_proj_dim=48, num_hidden_layers=2, num_attention_heads=3, ffn_dim=80,
                max_position_embeddings=64),
}  # fmt: skip
TINY["xlm-roberta"] = TINY["camembert"] = TINY["roberta"]
TINY["mpnet"] = TINY["bert"] | dict(max_position_embeddings=66, pad_token_id=1)
PREFIX = {"xlm-roberta": "XLMRoberta"} | {name: name.capitalize() for name in ("bert", "roberta", "camembert", "electra", "albert")}
PREFIX |= {"distilbert": "DistilBert", "gpt2": "GPT2", "opt": "OPT", "mpnet": "MPNet"}

# By its end, the class of a head.
CLASSIFIER, MASKED, TOKENS, ANSWERS = "ForSequenceClassification", "ForMaskedLM", "ForTokenClassification", "ForQuestionAnswering"
HEADS = {"trunk": "Model", "classifier": CLASSIFIER, "masked-lm": MASKED, "tokens": TOKENS, "answers": ANSWERS}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A checkpoint to draw."""

    name: str
    family: str
    architecture: str
    config: dict
    tokenizer: str
    # Of the tensors on disk; `mixed` takes all four by turns.
    dtype: str = "F32"
    # Of `save_pretrained`.
    max_shard_size: str = "1GB"
    # Keys of config.json to change; `None` removes one.
    keys: dict = dataclasses.field(default_factory=dict)
    # New name of a tensor, from the one that save_pretrained gives.
    rename: object = None
    # Tensors besides, by name: shapes.
    extra: dict = dataclasses.field(default_factory=dict)
    # What a message says if the program is right to refuse the checkpoint, or the head alone.
    refused: str = ""
    head_refused: str = ""


def recipe(family, variant, head, /, tokenizer=None, **given):
    fields = {field.name for field in dataclasses.fields(Recipe)}
    besides = {key: given.pop(key) for key in list(given) if key in fields}
    return Recipe(
        f"{family}-{variant}", family, PREFIX[family] + head, TINY[family] | given, tokenizer or family, **besides
    )


def heads(family, **given):
    for variant, head in HEADS.items():
        yield recipe(family, variant, head, **({"num_labels": 3} if head in (CLASSIFIER, TOKENS) else {}), **given)


def bert():
    family, new = "bert", lambda *arguments, **given: recipe("bert", *arguments, **given)
    yield from heads(family)
    yield new("lm", "LMHeadModel", is_decoder=True)
    yield new("decoder", "Model", is_decoder=True)
    yield new("pretraining", "ForPreTraining", head_refused="BertForPreTraining")
    yield new("next-sentence", "ForNextSentencePrediction", head_refused="BertForNextSentencePrediction")
    yield new("choice", "ForMultipleChoice")
    yield new("untied", MASKED, tie_word_embeddings=False)
    for classes in (1, 2, 300):
        yield new(f"classes-{classes}", CLASSIFIER, num_labels=classes)
    yield new("regression", CLASSIFIER, num_labels=2, problem_type="regression")
    yield new("multi-label", CLASSIFIER, num_labels=4, problem_type="multi_label_classification")
    for size, count in ((16, 2), (32, 2), (48, 1), (64, 1), (80, 2), (128, 1)):
        yield new(f"head-size-{size}", "Model", hidden_size=size * count, num_attention_heads=count)
    yield new("widths-odd", CLASSIFIER, hidden_size=35, num_attention_heads=5, intermediate_size=77)
    for types in (1, 4):
        yield new(f"types-{types}", "Model", type_vocab_size=types)
    for act in ("gelu_new", "gelu_fast", "gelu_pytorch_tanh", "gelu_python", "gelu_10", "relu", "silu", "swish", "quick_gelu", "tanh"):
        yield new("act-" + act, MASKED, hidden_act=act)
    yield new("act-mish", "Model", hidden_act="mish")
    yield new("eps", "Model", layer_norm_eps=1e-3)
    yield new("deep", "Model", num_hidden_layers=12)
    for dtype in ("F16", "BF16", "F64", "mixed"):
        yield new("dtype-" + dtype.lower(), CLASSIFIER, dtype=dtype)
    yield new("sharded", CLASSIFIER, max_shard_size="40KB")
    yield new("sharded-mixed", MASKED, max_shard_size="40KB", dtype="mixed")
    yield new("gamma-beta", CLASSIFIER, rename=gamma_beta)
    yield new("without-prefix", "Model")
    yield new("without-pooler", "Model", rename=lambda name: None if "pooler" in name else name)
    yield new("pad-1", "Model", pad_token_id=1)
    yield new("keys-left-out", "Model", keys=dict.fromkeys(["hidden_act", "layer_norm_eps", "type_vocab_size", "position_embedding_type"]),
              layer_norm_eps=1e-12)  # fmt: skip
    yield new("cased", CLASSIFIER, "cased")
    yield new("vocab-txt", CLASSIFIER, "bert-files")
    yield new("cased-vocab-txt", "Model", "cased-files")


def gamma_beta(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def gpt2():
    new = lambda *arguments, **given: recipe("gpt2", *arguments, **given)
    lm = "LMHeadModel"
    yield new("lm", lm)
    yield new("trunk", "Model")
    yield new("untied", lm, tie_word_embeddings=False)
    yield new("tied-but-both", lm, extra={"lm_head.weight": [274, 48]})
    yield new("classifier", CLASSIFIER, num_labels=3, pad_token_id=270)
    yield new("regression", CLASSIFIER, num_labels=1, pad_token_id=270)
    yield new("tokens", TOKENS, num_labels=3)
    yield new("answers", ANSWERS)
    yield new("two-heads", "DoubleHeadsModel", num_labels=1, refused="GPT2DoubleHeadsModel", head_refused="GPT2DoubleHeadsModel")
    for act in ("gelu", "gelu_fast", "gelu_pytorch_tanh", "relu", "silu", "quick_gelu", "tanh"):
        yield new("act-" + act, lm, activation_function=act)
    yield new("inverse-layer", lm, scale_attn_by_inverse_layer_idx=True, n_layer=3)
    # Small heads: without the scale, large scores would turn rounding into differences.
    yield new("unscaled", lm, scale_attn_weights=False, n_head=12)
    yield new("upcast", lm, reorder_and_upcast_attn=True)
    yield new("inner-odd", lm, n_inner=77)
    for size, count in ((16, 1), (25, 3), (64, 1), (80, 2), (128, 1)):
        yield new(f"head-size-{size}", lm, n_embd=size * count, n_head=count)
    yield new("eps", lm, layer_norm_epsilon=1e-3)
    yield new("deep", lm, n_layer=12)
    for dtype in ("F16", "BF16", "F64", "mixed"):
        yield new("dtype-" + dtype.lower(), lm, dtype=dtype)
    yield new("sharded", lm, max_shard_size="40KB")
    yield new("without-prefix", lm, rename=lambda name: name.removeprefix("transformer."))
    yield new("eos-list", lm, keys={"eos_token_id": [270, 3]})
    yield new("vocab-json", lm, "gpt2-files")
    yield new("cross-attention", lm, add_cross_attention=True, is_decoder=True)


def roberta():
    for family in ("roberta", "xlm-roberta", "camembert"):
        yield from heads(family)
    new = lambda *arguments, **given: recipe("roberta", *arguments, **given)
    yield new("lm", "ForCausalLM", is_decoder=True)
    yield new("regression", CLASSIFIER, num_labels=1)
    yield new("untied", MASKED, tie_word_embeddings=False)
    yield new("act-gelu_new", CLASSIFIER, hidden_act="gelu_new")
    yield new("types-2", "Model", type_vocab_size=2)
    yield new("pad-0", "Model", pad_token_id=0, refused="pads the rows of `roberta`")
    yield new("dtype-f16", CLASSIFIER, dtype="F16")
    yield new("sharded", MASKED, max_shard_size="40KB")
    yield new("vocab-json", CLASSIFIER, "roberta-files")


def distilbert():
    yield from heads("distilbert")
    new = lambda *arguments, **given: recipe("distilbert", *arguments, **given)
    yield new("regression", CLASSIFIER, num_labels=1)
    yield new("sinusoidal", "Model", sinusoidal_pos_embds=True)
    yield new("act-relu", CLASSIFIER, activation="relu")
    yield new("untied", MASKED, tie_word_embeddings=False)
    yield new("dtype-bf16", CLASSIFIER, dtype="BF16")
    yield new("vocab-txt", CLASSIFIER, "distilbert-files")


def electra():
    yield from heads("electra")
    new = lambda *arguments, **given: recipe("electra", *arguments, **given)
    yield new("detector", "ForPreTraining", head_refused="ElectraForPreTraining")
    for variant, head in HEADS.items():
        yield new("small-" + variant, head, embedding_size=24)
    yield new("untied", MASKED, embedding_size=24, tie_word_embeddings=False)
    yield new("act-relu", CLASSIFIER, hidden_act="relu")
    yield new("vocab-txt", CLASSIFIER, "electra-files", embedding_size=24)


def albert():
    yield from heads("albert")
    new = lambda *arguments, **given: recipe("albert", *arguments, **given)
    yield new("pretraining", "ForPreTraining", head_refused="AlbertForPreTraining")
    yield new("groups", "Model", num_hidden_groups=2, num_hidden_layers=4)
    yield new("inner-groups", "Model", inner_group_num=2)
    yield new("act-gelu", CLASSIFIER, hidden_act="gelu")
    yield new("same-width", MASKED, embedding_size=48)


def opt():
    new = lambda *arguments, **given: recipe("opt", *arguments, **given)
    yield new("lm", "ForCausalLM")
    yield new("trunk", "Model")
    yield new("classifier", CLASSIFIER, num_labels=3)
    yield new("answers", ANSWERS)
    yield new("untied", "ForCausalLM", tie_word_embeddings=False)
    yield new("act-gelu", "ForCausalLM", activation_function="gelu")
    yield new("head-size-64", "ForCausalLM", hidden_size=128, word_embed_proj_dim=128, num_attention_heads=2)
    yield new("post-norm", "ForCausalLM", do_layer_norm_before=False, word_embed_proj_dim=32, refused="do_layer_norm_before")
    yield new("dtype-f16", "ForCausalLM", dtype="F16")
    yield new("sharded", "ForCausalLM", max_shard_size="40KB")
    yield new("vocab-json", "ForCausalLM", "opt-files")


def mpnet():
    yield recipe("mpnet", "trunk", "Model", "bert", refused="model_type `mpnet`")


def all_recipes(patterns=()):
    families = (bert, gpt2, roberta, distilbert, electra, albert, opt, mpnet)
    found = [one for family in families for one in family()]
    names = [one.name for one in found]
    assert len(names) == len(set(names)), "two recipes have one name"
    return [one for one in found if not patterns or any(fnmatch.fnmatch(one.name, pattern) for pattern in patterns)]

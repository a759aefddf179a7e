"""What transformers makes of a checkpoint folder: token ids, hidden states and logits, in float32 and float64."""

import copy
import inspect
import json
import pathlib
import tempfile

import numpy as np
import torch
import transformers
from transformers import AutoConfig, AutoModel, AutoTokenizer

import drawing
import vocabularies

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
torch.set_num_threads(1)


def layout(recipe):
    """Names and shapes of a recipe's tensors and its config.json, as `save_pretrained` writes them."""
    kind = getattr(transformers, recipe.architecture)
    words = {"vocab_size": vocabularies.size(recipe.tokenizer) + 3}
    model = kind(kind.config_class(**words | recipe.config))
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, max_shard_size=recipe.max_shard_size)
        texts, tensors = {}, {}
        for path in sorted(pathlib.Path(folder).iterdir()):
            if path.suffix == ".safetensors":
                tensors[path.name] = chosen(recipe, drawing.header(path))
            else:
                texts[path.name] = path.read_text()
    tensors[sorted(tensors)[-1]] |= {name: [recipe.dtype, shape] for name, shape in recipe.extra.items()}
    config = json.loads(texts["config.json"]) | recipe.keys
    config = {key: value for key, value in config.items() if key not in recipe.keys or value is not None}
    return drawing.Layout(texts | {"config.json": json.dumps(config, indent=1)}, tensors, recipe.tokenizer)


def chosen(recipe, tensors):
    """The tensors of a file under their new names, in the dtypes of the recipe."""
    found, dtypes = {}, list(drawing.SIZES)
    for index, (name, (_, shape)) in enumerate(tensors.items()):
        new = recipe.rename(name) if recipe.rename else name
        if new is not None:
            found[new] = [dtypes[index % 4] if recipe.dtype == "mixed" else recipe.dtype, shape]
    return found


class Oracle:
    """A folder's model and tokenizer."""

    def __init__(self, folder):
        config = AutoConfig.from_pretrained(folder)
        name = (config.architectures or [""])[0]
        self.architecture = name or "AutoModel"
        kind = getattr(transformers, name, AutoModel)
        self.single = kind.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
        # From the weights as float32 has them: the values that single precision should compute.
        self.double = copy.deepcopy(self.single).double()
        for module in self.double.modules():
            if hasattr(module, "reorder_and_upcast_attn"):
                module.reorder_and_upcast_attn = False  # It upcasts to single precision.
        # Choices come in rows of several texts, which the program does not take.
        self.has_head = self.single.base_model is not self.single and not name.endswith("ForMultipleChoice")
        # RoBERTa's positions begin behind the id of its padding, which has none: it stands in no text.
        begins_late = config.model_type in ("roberta", "xlm-roberta", "camembert")
        self.padding = config.pad_token_id if begins_late else None
        self.positions = config.max_position_embeddings - (self.padding + 1 if begins_late else 0)
        self.vocabulary = config.vocab_size
        self.types = getattr(config, "type_vocab_size", None)
        try:
            self.tokenizer = AutoTokenizer.from_pretrained(folder)
            names = ["bos_token", "mask_token", "eos_token"] + ["pad_token"] * (not begins_late)
            found = (getattr(self.tokenizer, name) for name in names)
            self.special = list(dict.fromkeys(token for token in found if token))
        except Exception:
            self.tokenizer = self.special = None  # Ids are compared alone.

    def takes(self, inputs):
        """Whether they are within the positions and the types of tokens that the model has."""
        types = inputs.get("token_type_ids") or [0]
        return 1 <= len(inputs["input_ids"]) <= self.positions and (self.types is None or max(types) < self.types)

    def encoded(self, text, pair=None):
        """Inputs of the model from its tokenizer."""
        return {name: list(value) for name, value in self.tokenizer(text, pair).items()}

    def outputs(self, inputs):
        """{output: (float64, float32)} of `hidden` and, where there is a head, `logits`; rows are tokens or the sequence."""
        found = {}
        for model in (self.double, self.single):
            known = inspect.signature(model.forward).parameters
            given = {name: torch.tensor([value]) for name, value in inputs.items() if name in known}
            with torch.no_grad():
                hidden = model.base_model(**given).last_hidden_state
                found.setdefault("hidden", []).append(hidden[0].numpy())
                if self.has_head:
                    found.setdefault("logits", []).append(logits(model(**given)))
        return {name: tuple(pair) for name, pair in found.items()}


def logits(answer):
    """The head's output. Of two heads for pretraining it is the language model's; start and end of an answer are columns."""
    if "start_logits" in answer:
        return np.stack([answer.start_logits[0].numpy(), answer.end_logits[0].numpy()], axis=-1)
    found = answer.prediction_logits if "prediction_logits" in answer else answer.logits
    return found[0].numpy()

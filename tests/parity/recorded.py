"""The fixed set that needs no transformers: layouts of checkpoints, and ids and outputs in double precision, recorded once.

The weights follow from the layouts. The first text of a checkpoint has its outputs here, the pair and the ids have theirs where they
are small, and other texts have their token ids alone.
"""

import base64
import dataclasses
import json
import pathlib

import numpy as np

import drawing
import recipes
from cases import Case
from comparison import Comparison, Expected

FILE = pathlib.Path(__file__).with_name("recorded.json")

FIXED = [
    "bert-trunk", "bert-classifier", "bert-masked-lm", "bert-tokens", "bert-answers", "bert-regression", "bert-widths-odd", "bert-act-relu",
    "bert-dtype-mixed", "bert-sharded", "bert-gamma-beta", "bert-cased", "bert-vocab-txt",
    "gpt2-lm", "gpt2-trunk", "gpt2-untied", "gpt2-tied-but-both", "gpt2-classifier", "gpt2-inverse-layer", "gpt2-head-size-25",
    "gpt2-dtype-bf16", "gpt2-vocab-json",
    "roberta-trunk", "roberta-classifier", "roberta-masked-lm", "roberta-vocab-json", "xlm-roberta-classifier", "camembert-tokens",
    "distilbert-classifier", "distilbert-masked-lm", "distilbert-answers",
    "electra-trunk", "electra-small-classifier", "electra-small-masked-lm",
    "albert-classifier", "albert-masked-lm", "albert-groups",
    "opt-lm", "opt-classifier", "opt-vocab-json",
]  # fmt: skip

# Values of an output that is recorded for a text after the first.
FEW = 1000


def record(answered):
    """Writes the file: `answered` gives layout, comparison and the oracle's cases of a recipe."""
    lines = []
    for recipe in recipes.all_recipes(FIXED):
        layout, comparison, expected = answered(recipe)
        assert not comparison.refused, comparison.refused
        cases = [entry(one, index) for index, one in enumerate(expected)]
        whole = {"name": recipe.name, "architecture": recipe.architecture, "layout": dataclasses.asdict(layout), "cases": cases}
        lines.append(json.dumps(whole, separators=(",", ":")))
    FILE.write_text("[\n" + ",\n".join(lines) + "\n]\n")


def entry(one, index):
    is_kept = lambda array: not index or (not one.case.is_plain and array.size <= FEW)
    outputs = {name: packed(arrays[0]) if is_kept(arrays[0]) else None for name, arrays in one.outputs.items()}
    return {"case": dataclasses.asdict(one.case), "ids": one.ids, "outputs": outputs}


def packed(array):
    """Single precision holds a value of double precision to 6e-8 of it, a fiftieth of the limit."""
    return {"shape": list(array.shape), "float32": base64.b64encode(array.astype("<f4").tobytes()).decode()}


def unpacked(entry):
    if entry is None:
        return None
    return [np.frombuffer(base64.b64decode(entry["float32"]), "<f4").astype(np.float64).reshape(entry["shape"])]


def answers(parent, names):
    """(folder, comparison, expected) of the recorded checkpoints, whose folders are written below `parent`."""
    wanted = {recipe.name: recipe for recipe in recipes.all_recipes(names)}
    for one in json.loads(FILE.read_text()):
        if one["name"] in wanted:
            folder = parent / one["name"]
            drawing.Layout(**one["layout"]).write(folder)
            expected = [
                Expected(Case(**case["case"]), case["ids"], {name: unpacked(found) for name, found in case["outputs"].items()})
                for case in one["cases"]
            ]
            yield folder, Comparison(one["name"], one["architecture"], wanted[one["name"]]), expected

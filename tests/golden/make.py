#!/usr/bin/env python3
"""Tiny seeded checkpoints and their outputs in float64, from a program that shares nothing with mixprec.

usage: make.py [--check | --check-sensitivity] [--out FOLDER]

Without an option it writes the checkpoints, `outputs.safetensors` and `pairs.safetensors`. `--check` writes nothing and compares, byte by byte, with
what is there. `--check-sensitivity` runs the forward passes with one mistake after the other (`faults.py`) and fails unless
each moves an output. Needs numpy alone. Exit code 1: a difference, or a mistake that nothing sees. Exit code 77: no numpy.

Tensors of `outputs.safetensors`, by model (trunk, classifier, gpt2) and case: `MODEL.CASE.ids` [batch, sequence] and
`MODEL.CASE.lengths` [batch] in I32; in F64 `.hidden` [tokens, hidden], `.logits` [batch, labels] of the classifier or [tokens,
vocabulary] of the language model (not of `story`), and `.nll` [tokens] against `.next` [tokens]. Tokens are those of all rows,
without padding; `pairs.safetensors` has batches of pairs, with `.types` [batch, sequence] in I32. Padding holds ids like any others: what stands there must not matter.
"""

import argparse
import json
import pathlib
import sys

try:
    import numpy as np
except ImportError as error:
    print(error)
    sys.exit(77)

import draw
import exact
import faults
import text
from models import Bert, Gpt2, negative_log_likelihood

FAMILY = {"trunk": Bert, "classifier": Bert, "gpt2": Gpt2}
FOLDER = {"trunk": "bert-trunk", "classifier": "bert-classifier", "gpt2": "gpt2"}
OUTPUT = {"trunk": "hidden", "classifier": "logits", "gpt2": "logits"}
DTYPE = {"float16": "F16", "float32": "F32", "float64": "F64", "int32": "I32"}

# Tokens by row; a batch is as long as its longest row, unless said otherwise.
CASES = {
    "one": [1],
    "seven": [7],
    "positions": [draw.POSITIONS],
    "padded": [33, 9, 1, 20],
    "all_padded": [5, 1, 3],
}
SEQUENCE = {"all_padded": 12}

# Tokens of the first text by row of a batch of pairs, whose second text is of type 1.
PAIRS = {"lengths": [20, 9, 12], "first": [8, 9, 1]}

# Windows of the text, tokens.
WINDOW = 24


def safetensors(tensors):
    """The bytes of a safetensors file: length of the header, header, tensors in the order given."""
    header, offset = {}, 0
    for name, values in tensors.items():
        end = offset + values.nbytes
        header[name] = {"dtype": DTYPE[values.dtype.name], "shape": list(values.shape), "data_offsets": [offset, end]}
        offset = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    little = (values.astype(values.dtype.newbyteorder("<")).tobytes() for values in tensors.values())
    return len(head).to_bytes(8, "little") + head + b"".join(little)


def cases(model):
    """Ids `[batch, sequence]`, lengths and, of the language model, what follows each token, by case."""
    found = {}
    for case, lengths in CASES.items():
        sequence = SEQUENCE.get(case, max(lengths))
        drawn = draw.ids(f"{model}/{case}", (len(lengths), sequence + 1))
        found[case] = (drawn[:, :-1].copy(), lengths, drawn[:, 1:].copy())
    if model == "classifier":
        rows = [text.wordpiece(sentence) for sentence, _ in text.SENTENCES]
        sequence = max(map(len, rows))
        padded = np.array([row + [0] * (sequence - len(row)) for row in rows], np.int32)
        found["sentences"] = (padded, [len(row) for row in rows], None)
    if model == "gpt2":
        ids = np.array(text.bpe(text.STORY), np.int32)
        count = (len(ids) - 1) // WINDOW
        windows = [ids[: count * WINDOW], ids[1 : count * WINDOW + 1]]
        inputs, following = (window.reshape(count, WINDOW) for window in windows)
        found["story"] = (inputs, [WINDOW] * count, following)
    return found


def tokens(values, lengths):
    """Rows of a batch one after the other, without padding."""
    return np.concatenate([row[:length] for row, length in zip(values, lengths)])


def pairs(model):
    """The tensors of a batch of pairs of texts for `pairs.safetensors`: ids, lengths, types and the output."""
    lengths, first = PAIRS["lengths"], PAIRS["first"]
    ids = draw.ids(f"{model}/pairs", (len(lengths), max(lengths)))
    types = np.array([[int(at >= of) for at in range(max(lengths))] for of in first], np.int32)
    machine = FAMILY[model](draw.CONFIGS[model], draw.checkpoint(model))
    result = run(model, machine, ids, lengths, types)
    given = {"ids": ids, "lengths": np.array(lengths, np.int32), "types": types, OUTPUT[model]: result}
    return {f"{model}.pairs.{name}": values for name, values in given.items()}


def run(model, machine, ids, lengths, *types):
    if model == "trunk":
        return tokens(machine.hidden(ids, lengths, *types), lengths)
    logits = machine.logits(ids, lengths, *types)
    return logits if model == "classifier" else tokens(logits, lengths)


def outputs(model):
    """The tensors of one model for `outputs.safetensors`."""
    machine = FAMILY[model](draw.CONFIGS[model], draw.checkpoint(model))
    tensors = {}
    for case, (ids, lengths, following) in cases(model).items():
        name = f"{model}.{case}"
        result = run(model, machine, ids, lengths)
        tensors |= {f"{name}.ids": ids, f"{name}.lengths": np.array(lengths, np.int32)}
        if case != "story":  # its likelihoods say as much in a hundredth of the bytes
            tensors[f"{name}.{OUTPUT[model]}"] = result
        if model == "gpt2":
            following = tokens(following, lengths)
            tensors |= {f"{name}.next": following, f"{name}.nll": negative_log_likelihood(result, following)}
    return tensors


def files():
    """Everything that is committed, by path: bytes."""
    made, tensors = {}, {}
    for model, folder in FOLDER.items():
        made[f"{folder}/config.json"] = (json.dumps(draw.CONFIGS[model], indent=2) + "\n").encode()
        made[f"{folder}/model.safetensors"] = safetensors(draw.checkpoint(model))
        if model != "trunk":
            made[f"{folder}/tokenizer.json"] = (json.dumps(text.tokenizer(model), indent=1) + "\n").encode()
        tensors |= outputs(model)
    made["sentences.tsv"] = text.sentences_file().encode()
    made["story.txt"] = text.STORY.encode()
    made["outputs.safetensors"] = safetensors(tensors)
    made["pairs.safetensors"] = safetensors(pairs("trunk") | pairs("classifier"))
    return made


def check(folder):
    """Names the files that differ from what would be written."""
    exact.self_test()
    made = files()
    differing = [path for path, data in made.items() if not (folder / path).exists() or (folder / path).read_bytes() != data]
    print(f"{len(made)} files, {sum(map(len, made.values()))} bytes: {len(differing)} differ {' '.join(differing)}".strip())
    return 1 if differing else 0


def check_sensitivity():
    unseen = []
    for model in FOLDER:
        arguments = (draw.CONFIGS[model], draw.checkpoint(model))
        inputs = cases(model)
        one = lambda machine, case: run(model, machine, *inputs[case][:2])
        golden = {case: one(FAMILY[model](*arguments), case) for case in inputs}
        unseen += faults.check(model, (FAMILY[model], arguments), one, golden)
    print(f"not seen: {unseen}" if unseen else "every mistake is seen")
    return 1 if unseen else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare with what is there, byte by byte")
    parser.add_argument("--check-sensitivity", action="store_true", help="show that mistakes move the outputs")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent, help="folder (this one)")
    arguments = parser.parse_args()
    if arguments.check_sensitivity:
        return check_sensitivity()
    if arguments.check:
        return check(arguments.out)
    for path, data in files().items():
        (arguments.out / path).parent.mkdir(parents=True, exist_ok=True)
        (arguments.out / path).write_bytes(data)
    return check(arguments.out)


if __name__ == "__main__":
    sys.exit(main())

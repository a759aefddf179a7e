#!/usr/bin/env python3
"""Pairs of texts as Hugging Face transformers cuts and joins them, written to `pairs.json`.

usage: pairs.py

The folders are those of `folders.json`: a base and other files by name. Each case has the rows of every pair, a single text where the second
is null, at every length: token ids, and token types where transformers gives the model some. A row is null where transformers raises.
Needs transformers 5.24.0.
"""

import json
import pathlib
import tempfile

from transformers import AutoTokenizer, logging

logging.set_verbosity_error()
HERE = pathlib.Path(__file__).parent
PAIRS = [
    ["The good film of Paris", "the bad film [SEP] and more of it"],
    ["Café ÉTÉ naïve é", "模型 film模"],
    ["good", "antidisestablishmentarianism unaffable <|endoftext|> the film"],
    ["the film of paris the film of paris the film of paris", "good"],
    ["The good film of Paris", None],
]
LENGTHS = [None, 5, 7, 8, 13, 16]
CLASS = "tokenizer_class"
CASES = [
    ("bert", {CLASS: "BertTokenizer"}),
    ("bert", {CLASS: "BertTokenizerFast", "do_lower_case": False}),
    ("bert", {CLASS: "DistilBertTokenizer"}),
    ("bert", {CLASS: "ElectraTokenizer", "truncation_side": "left"}),
    ("bert", {CLASS: "BertTokenizer", "model_input_names": ["input_ids", "attention_mask"]}),
    ("bert", {CLASS: "PreTrainedTokenizerFast"}),
    ("bert", {CLASS: "PreTrainedTokenizerFast", "model_input_names": ["input_ids", "token_type_ids"]}),
    ("gpt2", {CLASS: "GPT2Tokenizer"}),
    ("gpt2", {CLASS: "GPT2Tokenizer", "add_prefix_space": True}),
]


def row(tokenizer, pair, length):
    cut = {} if length is None else {"truncation": True, "max_length": length}
    try:
        of = tokenizer(*[text for text in pair if text is not None], **cut)
    except BaseException:
        return None
    return [of["input_ids"], of.get("token_type_ids")]


def main():
    bases = json.loads((HERE / "folders.json").read_text())["bases"]
    cases = []
    for base, config in CASES:
        with tempfile.TemporaryDirectory() as folder:
            (pathlib.Path(folder) / "tokenizer.json").write_text(json.dumps(bases[base]))
            (pathlib.Path(folder) / "tokenizer_config.json").write_text(json.dumps(config))
            tokenizer = AutoTokenizer.from_pretrained(folder)
            rows = [[row(tokenizer, pair, length) for length in LENGTHS] for pair in PAIRS]
        cases.append({"base": base, "tokenizer": {}, "files": {"tokenizer_config.json": json.dumps(config)}, "rows": rows})
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    head = json.dumps({"pairs": PAIRS, "lengths": LENGTHS})[:-1]
    (HERE / "pairs.json").write_text(f'{head}, "cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Folders of every tokenizer class, with tokenizer.json or with the vocabulary files of earlier years, and the ids that Hugging Face
transformers makes of them.

usage: vocabularies.py [--out FILE]

Writes `vocabularies.json`: texts, pairs of texts, the contents of files by a number, and cases. A case has a `model_type`, the numbers of
its files' contents by name, and the ids of each text and pair, `null` where transformers 5.24.0 raises or makes a tokenizer of nothing
but its special tokens. Needs transformers.
"""

import argparse
import base64
import json
import pathlib
import sys
import tempfile
import zlib

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "parity"))
import vocabularies
from cases import TEXTS

PAIRS = [["a good film", "The Paris"], ["</s> film", "[SEP] caf\u00e9"], ["", "the"]]
MORE = ["<s>NOTUSED a </s>NOTUSED", "``a'' \ufb01lm \u0130 \u1e9b\u0323", "x<new>y NEW", "film <mask>", "\ufb01\uff4c\uff4d \u00bd", "\u2581film \u2581", ""]


# sentencepiece's normalization as it compiled it of these rules: \ufb01 is fi, the wide f, i, l and m are the narrow ones, \u00bd is 1/2.
CHARSMAP = zlib.decompress(base64.b64decode(
    "eNoV03mQD2QYB/B3fmjGhNkYOXOUK0zLOqJcyV20cuS+LZutFClHrGtZdpFcHch9rXKUex3rvqM7R5dKchNLB5/fO/OZ5/njef945/0+IWcIIU"
    "+OkJUdCZm5QvQkZ4RIGJ03hAf0KbVDSM0dgrFkJflB0jVpRUIwkpzPhYeIoQD5KUhmfCQUUh/GaChMMYryCMUpSQlKU4rHeJSylKE85XicClSi"
    "IldiIqGyGssTVKUK1YijBtV5kpp4QqjF0zxFXepQn3o8QwOepSGNaURTmtCcZjxHC1ryPC/QitbE04YXaUdbXqI9HelAZzrRlS50pxs96UFvet"
    "GXPvQjgUT6M4CXeYUkXuNVXmcgg3iDNxnMWwxhKG8znGG8wwhGMZLR0U9nLGMYzzgmkEIqE5nMJNJJYypTeJdpvMd0ZjKD2czifebwIR8wl4+Y"
    "zzwW8DGLWMgSFrOMpaxgOatYyWoy+JRPWMsa1rOOz/mMjWxgM5vYypZoNtnGDrazi53sJou97GE/+zjIAQ5ziKMc4TjHOMEXfMlJvuYrvuUbvu"
    "c7TvEDZzjNj5zlZ37iV37hN87xB7/zJ+f5iwtc4mJ0D7jMNa5yg+v8zU1uc4s7ZPMPd/mPf7nH/9H9iY2Ts4REQUsSrvu9TY1z"
))  # fmt: skip


def flags(content, **changed):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True} | changed


def case(kind, model_type, config=None, /, drop=(), **changed):
    """The files of a kind; `config` changes tokenizer_config.json, `None` leaves it out, and further files come with their text."""
    files = {name: text for name, text in vocabularies.files(kind).items() if name not in drop}
    if config is None:
        files.pop("tokenizer_config.json")
    else:
        files["tokenizer_config.json"] = json.dumps(json.loads(files["tokenizer_config.json"]) | config)
    files |= {name.replace("__", "."): text if isinstance(text, str) else json.dumps(text) for name, text in changed.items()}
    return {"model_type": model_type, "files": files | {"config.json": json.dumps({"model_type": model_type})}}


def word_pieces():
    for kind, model_type in (("bert", "bert"), ("distilbert", "distilbert"), ("electra", "electra"), ("cased", "bert")):
        for form in ("", "-files"):
            yield case(kind + form, model_type, {})
            # Settings that the file contradicts and that are not there are refused.
            if (kind, form) != ("cased", ""):
                yield case(kind + form, model_type, None)
    settings = ({"do_lower_case": False}, {"strip_accents": True, "do_lower_case": False}, {"strip_accents": False}, {"tokenize_chinese_chars": False},
                {"cls_token": "[MASK]"}, {"unk_token": "zz"}, {"add_bos_token": True}, {"split_special_tokens": True}, {"mask_token": None})  # fmt: skip
    for config in settings:
        yield case("bert-files", "bert", config)
    vocab = vocabularies.files("bert-files")["vocab.txt"]
    size = vocab.count("\n")
    yield case("bert-files", "bert", None, special_tokens_map__json={"mask_token": flags("[MASK]", lstrip=True)})
    yield case("bert-files", "bert", {}, added_tokens__json={"<new>": size, "NEW": size + 1})
    yield case("bert-files", "bert", {"added_tokens_decoder": {str(size): flags("<new>", normalized=True, special=False)}})
    yield case("bert-files", "bert", {"additional_special_tokens": ["<new>"]})
    for text in (vocab.replace("\n", "\r\n"), vocab.rstrip("\n"), "\ufeff" + vocab, vocab + "the\n", vocab + "\n\nNEW\u3000\n", vocab.replace("[MASK]", "[mask]")):
        yield case("bert-files", "bert", {}, vocab__txt=text)
    # Both: tokenizer.json counts.
    yield case("bert", "bert", {}, vocab__txt="[PAD]\n[UNK]\nthe\n")
    yield case("bert-files", "gpt2", {})
    yield case("bert-files", "bert", {"tokenizer_class": "PreTrainedTokenizerFast"})
    yield case("bert-files", "bert", {}, drop=["vocab.txt"])


def byte_pairs():
    for kind in ("gpt2", "roberta", "opt"):
        for form in ("", "-files"):
            yield case(kind + form, kind, {})
            yield case(kind + form, kind, {"add_prefix_space": True})
            yield case(kind + form, kind, {"add_bos_token": True})
            yield case(kind + form, kind, {"add_bos_token": True, "add_eos_token": True})
            yield case(kind + form, kind, {"additional_special_tokens": ["<new>"], "pad_token": "[PAD]"})
            yield case(kind + form, kind, {}, special_tokens_map__json={"mask_token": flags("<mask>", lstrip=True), "bos_token": flags("<s>", normalized=True)})
    yield case("roberta", "roberta", None)
    yield case("roberta-files", "roberta", None)
    yield case("gpt2-files", "gpt2", None)
    for config in ({"sep_token": None}, {"cls_token": "a", "sep_token": "b"}, {"trim_offsets": False}, {"mask_token": {"__type": "AddedToken"} | flags("<mask>", lstrip=True)}):
        for form in ("", "-files"):
            yield case("roberta" + form, "roberta", config)
    yield case("gpt2-files", "gpt2", {"bos_token": None, "add_bos_token": True})
    for merges in ("h e\nl m\n", "#version: 0.2\nh e\n\nl m\n", "h e\nq zzz\n", "#version: 0.2\r\nh e\r\n", "h e l\n", "#version: 0.2\nh e\n#version x\nl m"):
        yield case("gpt2-files", "gpt2", {}, merges__txt=merges)
    yield case("gpt2-files", "gpt2", {}, vocab__json="[1]")
    yield case("gpt2-files", "gpt2", {}, drop=["merges.txt"])
    yield case("gpt2-files", "gpt2", {}, drop=["vocab.json"])
    yield case("gpt2-files", "bert", {"tokenizer_class": "BertTokenizer"})
    yield case("roberta-files", "bert", {})
    yield case("gpt2", "gpt2", {}, vocab__json="{}", merges__txt="")


def unigrams():
    for kind in ("xlm-roberta", "camembert", "albert"):
        for config in (None, {}, {"add_prefix_space": False}, {"additional_special_tokens": ["<new>"]}, {"extra_special_tokens": []},
                       {"mask_token": "film"}, {"bos_token": "a", "eos_token": "s"}, {"cls_token": "a", "sep_token": "s"}, {"unk_token": "a"},
                       {"bos_token": None}, {"mask_token": {"__type": "AddedToken"} | flags("<mask>", lstrip=True)}):  # fmt: skip
            yield case(kind, kind, config)
        yield case(kind, kind, {}, drop=["tokenizer.json"])
        document = json.loads(vocabularies.files(kind)["tokenizer.json"])
        compiled = {"type": "Precompiled", "precompiled_charsmap": base64.b64encode(CHARSMAP).decode()}
        spaces = {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "\u2581"}
        for normalizer in (compiled, {"type": "Sequence", "normalizers": [compiled, spaces]}, {"type": "Lowercase"}):
            yield case(kind, kind, {}, tokenizer__json=document | {"normalizer": normalizer})
    yield case("albert", "albert", {"do_lower_case": False})
    yield case("albert", "albert", {"keep_accents": True})
    yield case("albert", "albert", {"cls_token": "<nowhere>"})
    yield case("xlm-roberta", "roberta", {})
    yield case("xlm-roberta", "bert", {"tokenizer_class": "PreTrainedTokenizerFast"})
    yield case("bert", "xlm-roberta", {"tokenizer_class": "XLMRobertaTokenizer"})


def record(one, texts):
    from transformers import AutoTokenizer

    with tempfile.TemporaryDirectory() as folder:
        for name, text in one["files"].items():
            pathlib.Path(folder, name).write_bytes(text.encode())
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder)
            if tokenizer.vocab_size <= 6:
                return {"ids": None, "pairs": None}
            encoded = lambda *given: tokenizer(*given)["input_ids"]
            return {"ids": [encoded(text) for text in texts], "pairs": [encoded(*pair) for pair in PAIRS]}
        except Exception as error:
            return {"ids": None, "pairs": None, "error": f"{type(error).__name__}: {error}".splitlines()[0][:120]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=HERE / "vocabularies.json")
    arguments = parser.parse_args()
    texts, contents, lines = TEXTS + MORE, {}, []
    for one in [*word_pieces(), *byte_pairs(), *unigrams()]:
        numbers = {name: contents.setdefault(text, len(contents)) for name, text in one["files"].items()}
        lines.append(json.dumps(one | record(one, texts) | {"files": numbers}, separators=(",", ":")))
    head = json.dumps({"texts": texts, "pairs": PAIRS, "contents": list(contents)}, separators=(",", ":"))
    pathlib.Path(arguments.out).write_text(head[:-1] + ',"cases":[\n' + ",\n".join(lines) + "\n]}\n")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Folders with tokenizer files that agree with each other or not, and the ids that Hugging Face transformers makes of them.

usage: record.py [--random COUNT] [--out FILE]

Writes `folders.json`: base tokenizers, texts, and cases. A case has a base, the parts of its `tokenizer.json` that differ from the
base, other files by name as text, and the ids of each text, `null` where transformers 5.24.0 raises. `--random` draws this many cases
instead of those that are listed here. Needs transformers.
"""

import argparse
import json
import pathlib
import random
import string
import tempfile

TEXTS = [
    "The good film of Paris",
    "the good film of paris [MASK] .",
    "[MASK]the [PAD] film  [SEP] good",
    "Caf\u00e9 \u00c9T\u00c9 na\u00efve e\u0301",
    "\u6a21\u578b film\u6a21",
    " the film",
    "the   film \n good",
    "<new> the<new> film <new>film NEW new",
    "<|endoftext|>the film<|endoftext|>",
    "a\u0000b\u200bc \u00adthe zz\u4e00zz",
    "antidisestablishmentarianism unaffable",
    "",
]

WORDS = "the good film of paris Paris The Good caf\u00e9 cafe ete new NEW un aff able zz \u6a21 \u578b".split()
PIECES = "##s ##ing ##able ##aff \u6a21\u578b ##\u6a21".split()
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
END = "<|endoftext|>"


def flags(content, index=None, **changed):
    token = {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return ({} if index is None else {"id": index}) | token | changed


def wordpiece():
    letters = list(string.ascii_letters + ".<>[]\u00e9\u00c9\u00ef")
    vocab = {token: index for index, token in enumerate(dict.fromkeys(SPECIAL + WORDS + PIECES + letters + ["##" + c for c in letters]))}
    marker = lambda token: {"SpecialToken": {"id": token, "type_id": 0}}
    part = lambda name: {"Sequence": {"id": name, "type_id": 0}}
    ends = {t: {"id": t, "ids": [vocab[t]], "tokens": [t]} for t in ("[CLS]", "[SEP]")}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [flags(token, index) for index, token in enumerate(SPECIAL)],
        "normalizer": {"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing", "single": [marker("[CLS]"), part("A"), marker("[SEP]")],
            "pair": [marker("[CLS]"), part("A"), marker("[SEP]"), part("B"), marker("[SEP]")], "special_tokens": ends,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab},
    }  # fmt: skip


def alphabet():
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in printed]
    return [chr(byte) for byte in printed] + [chr(256 + index) for index in range(len(hidden))]


def byte_level(**changed):
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True} | changed


def bpe():
    merges = [("\u0120", "t"), ("h", "e"), ("\u0120t", "he"), ("f", "i"), ("l", "m"), ("fi", "lm"), ("t", "he"), ("\u0120", "film"), ("\u00c3", "\u00a9")]
    vocab = {token: index for index, token in enumerate(dict.fromkeys(alphabet() + ["".join(pair) for pair in merges] + ["[MASK]", END]))}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [flags(END, vocab[END])], "normalizer": None,
        "pre_tokenizer": byte_level(), "post_processor": byte_level(trim_offsets=False), "decoder": byte_level(),
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                  "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": [list(pair) for pair in merges]},
    }  # fmt: skip


BASES = {"bert": wordpiece(), "gpt2": bpe()}


def begin_with(token, index):
    return {
        "type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": token, "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
        "special_tokens": {token: {"id": token, "ids": [index], "tokens": [token]}},
    }


def case(base, tokenizer=None, config=None, model=None, **files):
    """`model` changes the model of `tokenizer.json`; `config` is tokenizer_config.json; the rest are further files."""
    changed = dict(tokenizer or {})
    if model:
        changed["model"] = BASES[base]["model"] | model
    found = {name.replace("__", "."): content for name, content in files.items()}
    if config is not None:
        found["tokenizer_config.json"] = config
    return {"base": base, "tokenizer": changed, "files": {name: json.dumps(content) for name, content in found.items()}}


def listed():
    cased = {"normalizer": BASES["bert"]["normalizer"] | {"lowercase": False}}
    bert, fast = {"tokenizer_class": "BertTokenizer"}, {"tokenizer_class": "PreTrainedTokenizerFast"}
    gpt2 = {"tokenizer_class": "GPT2Tokenizer"}
    at = lambda base, token: BASES[base]["model"]["vocab"][token]
    mask = {"4": flags("[MASK]", lstrip=True)}
    decoder = lambda base, *tokens: {"added_tokens_decoder": {str(len(BASES[base]["model"]["vocab"]) + i): t for i, t in enumerate(tokens)}}
    new = flags("<new>", special=False, normalized=True)
    word = flags("new", special=False, normalized=True, single_word=True)
    yield case("bert")
    yield case("bert", cased)
    for config in (bert, fast, {"tokenizer_class": "DistilBertTokenizerFast"}, {"tokenizer_class": "RobertaTokenizer"}, {}):
        for lower in ({}, {"do_lower_case": False}, {"do_lower_case": True}):
            yield case("bert", None if lower.get("do_lower_case") is False else cased, config | lower)
    yield case("bert", cased, {"do_lower_case": False, "strip_accents": True})
    yield case("bert", None, {"strip_accents": False})
    yield case("bert", None, {"tokenize_chinese_chars": False})
    yield case("bert", None, fast | {"tokenize_chinese_chars": False, "strip_accents": False})
    yield case("bert", {"normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"}}, bert)
    yield case("bert", {"normalizer": None, "pre_tokenizer": {"type": "WhitespaceSplit"}}, fast)
    yield case("bert", {"post_processor": None}, bert)
    yield case("bert", None, bert, model={"max_input_chars_per_word": 5})
    yield case("bert", None, fast, model={"max_input_chars_per_word": 5})
    yield case("bert", None, bert, model={"unk_token": "[MASK]"})
    yield case("bert", None, bert | {"unk_token": "[MASK]"})
    yield case("bert", None, bert | {"cls_token": "[MASK]", "sep_token": "."})
    yield case("bert", None, bert | {"cls_token": None})
    yield case("bert", None, bert | {"do_lower_case": None})
    yield case("bert", None, bert | {"do_lower_case": "false"})
    yield case("bert", None, bert | {"added_tokens_decoder": mask})
    yield case("bert", None, fast | {"added_tokens_decoder": mask})
    yield case("bert", {"added_tokens": [flags("[UNK]", 1)]}, bert)
    yield case("bert", {"added_tokens": [flags("[UNK]", 1)]}, fast)
    yield case("bert", {"added_tokens": [flags("[UNK]", 1)]}, fast | {"mask_token": "[MASK]"})
    yield case("bert", {"added_tokens": [flags("<new>", 500)]}, bert)
    for config in (bert, fast):
        yield case("bert", None, config | decoder("bert", new, word))
        yield case("bert", None, config | {"additional_special_tokens": ["<new>", "NEW"]})
        yield case("bert", None, config | {"extra_special_tokens": {"new_token": "<new>"}})
        yield case("bert", None, config | {"new_token": "<new>", "a_token": {"__type": "AddedToken", **flags("film", lstrip=True)}})
        yield case("bert", None, config | {"model_specific_special_tokens": {"image_token": "aff", "mask_token": "[PAD]"}})
        yield case("bert", None, config | {"image_token": "par", "model_specific_special_tokens": {"image_token": "aff"}})
        yield case("bert", None, config | {"model_specific_special_tokens": {"image_token": {"__type": "AddedToken", **flags("aff", rstrip=True)}}})
        yield case("bert", None, config, special_tokens_map__json={"mask_token": flags("[MASK]", lstrip=True), "pad_token": "[PAD]"})
        yield case("bert", None, config, added_tokens__json={"<new>": len(BASES["bert"]["model"]["vocab"]), "NEW": at("bert", "NEW")})
        yield case("bert", None, config | decoder("bert", new), special_tokens_map__json={"cls_token": "."}, added_tokens__json={"NEW": 9})
        yield case("bert", None, config | {"split_special_tokens": True})
        yield case("bert", None, config | {"model_max_length": 6})
    yield case("bert", None, bert, special_tokens_map__json={"cls_token": ".", "do_lower_case": False})
    yield case("bert", None, None, config__json={"model_type": "bert", "tokenizer_class": "PreTrainedTokenizerFast"})
    yield case("bert", cased, None, config__json={"model_type": "bert", "tokenizer_class": "PreTrainedTokenizerFast"})
    yield case("gpt2")
    for config in (gpt2, fast, {}):
        for prefix in ({}, {"add_prefix_space": True}, {"add_prefix_space": False}):
            spaced = {"pre_tokenizer": byte_level(add_prefix_space=True)} if prefix.get("add_prefix_space") is False else None
            yield case("gpt2", spaced, config | prefix)
    for config in (gpt2, fast):
        yield case("gpt2", None, config | {"add_bos_token": True})
        yield case("gpt2", {"post_processor": begin_with(END, at("gpt2", END))}, config)
        yield case("gpt2", {"post_processor": None}, config)
        yield case("gpt2", None, config | decoder("gpt2", flags("[PAD]"), new, word) | {"pad_token": "[PAD]"})
        yield case("gpt2", None, config | {"pad_token": "[PAD]", "mask_token": {"__type": "AddedToken", **flags("[MASK]", lstrip=True)}})
        yield case("gpt2", None, config, special_tokens_map__json={"bos_token": flags(END, normalized=True), "pad_token": "[PAD]"})
        yield case("gpt2", {"normalizer": {"type": "Lowercase"}}, config)
        yield case("gpt2", None, config, model={"ignore_merges": True})
        yield case("gpt2", {"added_tokens": [flags(END, at("gpt2", END), rstrip=True), flags("<new>", 900)]}, config)
    yield case("gpt2", {"pre_tokenizer": byte_level(use_regex=False)}, gpt2)
    yield case("gpt2", {"pre_tokenizer": byte_level(use_regex=False)}, fast)
    yield case("gpt2", None, gpt2 | {"add_prefix_space": 1})


def drawn(seed):
    """A case that nobody would write, from a seed."""
    r = random.Random(seed)
    base = r.choice(list(BASES))
    vocab = BASES[base]["model"]["vocab"]
    some = lambda: r.choice([True, False])
    maybe = lambda share=0.3: r.random() < share
    token = lambda: r.choice(["[MASK]", "[PAD]", "[UNK]", "[CLS]", "[SEP]", "<new>", "new", "NEW", "film", "the", ".", END, "zz"])
    added = lambda: flags(token(), single_word=maybe(), lstrip=maybe(), rstrip=maybe(), normalized=some(), special=some())
    spelled = lambda: r.choice([token(), {"__type": "AddedToken", **added()}]) if maybe(0.9) else None
    names = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"]
    tokenizer, files, config, model = {}, {}, {}, {}
    if base == "bert":
        if maybe(0.5):
            tokenizer["normalizer"] = r.choice([None, {"type": "Lowercase"}, BASES["bert"]["normalizer"] | {"lowercase": some(), "strip_accents": r.choice([None, True, False]), "handle_chinese_chars": some()}])
        if maybe():
            tokenizer["pre_tokenizer"] = r.choice([{"type": "WhitespaceSplit"}, {"type": "Whitespace"}, {"type": "BertPreTokenizer"}])
        if maybe():
            model["max_input_chars_per_word"] = r.choice([3, 5, 200])
        for key, values in (("do_lower_case", [True, False]), ("strip_accents", [True, False, None]), ("tokenize_chinese_chars", [True, False])):
            if maybe(0.5):
                config[key] = r.choice(values)
    else:
        if maybe():
            tokenizer["pre_tokenizer"] = byte_level(add_prefix_space=some(), use_regex=some())
        if maybe():
            tokenizer["normalizer"] = r.choice([{"type": "Lowercase"}, {"type": "NFC"}])
        if maybe():
            tokenizer["post_processor"] = r.choice([None, begin_with(END, vocab[END])])
        for key in ("add_prefix_space", "add_bos_token"):
            if maybe(0.5):
                config[key] = some()
        if maybe():
            model["ignore_merges"] = some()
    if maybe(0.4):
        tokens, size = [], len(vocab)
        for one in {t["content"]: t for t in (added() for _ in range(r.randint(0, 5)))}.values():
            tokens.append({"id": vocab.get(one["content"], size)} | one)
            size += one["content"] not in vocab
        tokenizer["added_tokens"] = tokens
    config["tokenizer_class"] = r.choice([{"bert": "BertTokenizer", "gpt2": "GPT2Tokenizer"}[base], "PreTrainedTokenizerFast"]) + r.choice(["", ""])
    if maybe(0.2):
        del config["tokenizer_class"]
    for name in names:
        if maybe(0.15):
            config[name] = spelled()
    if maybe(0.15):
        config["x_token"] = spelled()
    if maybe(0.2):
        config[r.choice(["additional_special_tokens", "extra_special_tokens"])] = [t for t in (spelled() for _ in range(3)) if t]
    if maybe(0.1):
        config["split_special_tokens"] = some()
    if maybe(0.4):
        config["added_tokens_decoder"] = {str(r.choice([vocab.get(t["content"], 0), len(vocab), len(vocab) + 3])): t for t in (added() for _ in range(3))}
    if maybe():
        files["special_tokens_map__json"] = {name: r.choice([token(), added()]) for name in names if maybe(0.3)}
    if maybe(0.2):
        files["added_tokens__json"] = {t: vocab.get(t, len(vocab) + r.randint(0, 3)) for t in (token(), token())}
    return case(base, tokenizer, None if maybe(0.1) else config, model, **files)


def ids(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [tokenizer(text)["input_ids"] for text in TEXTS]


def record(one):
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = BASES[one["base"]] | one["tokenizer"]
        files = {"config.json": json.dumps({"model_type": one["base"]}), "tokenizer.json": json.dumps(tokenizer)} | one["files"]
        for name, content in files.items():
            pathlib.Path(folder, name).write_text(content)
        try:
            return one | {"ids": ids(folder)}
        except Exception as error:
            return one | {"ids": None, "error": f"{type(error).__name__}: {error}".splitlines()[0][:120]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--random", type=int, metavar="COUNT")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "folders.json")
    args = parser.parse_args()
    cases = listed() if args.random is None else map(drawn, range(args.random))
    cases = ",\n".join(json.dumps(record(one)) for one in cases)
    args.out.write_text(f'{{"texts": {json.dumps(TEXTS)},\n"bases": {json.dumps(BASES)},\n"cases": [\n{cases}\n]}}\n')


if __name__ == "__main__":
    main()

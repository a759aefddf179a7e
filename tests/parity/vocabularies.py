"""Tokenizer files of a few hundred tokens, of every kind that the families have, in the form of today or of earlier years.

`files(kind)` gives the files of a folder by name. A kind is a name of `KINDS`; with `-files` behind it the vocabulary comes without
tokenizer.json: as vocab.txt, or as vocab.json and merges.txt.
"""

import json
import string

WORDS = "the a good film of paris Paris The Good caf\u00e9 cafe ete was bad un aff able zz \u6a21 \u578b".split()
PIECES = "##s ##ing ##able ##aff \u6a21\u578b ##\u6a21 ##\u578b".split()
MERGES = [("\u0120", "t"), ("h", "e"), ("\u0120t", "he"), ("f", "i"), ("l", "m"), ("fi", "lm"), ("t", "he"), ("\u0120", "film"),
          ("\u0120", "g"), ("o", "o"), ("\u0120g", "oo"), ("\u0120goo", "d"), ("\u00c3", "\u00a9"), ("\u00e6", "\u00a8")]
MARKERS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SENTENCE = ["<s>", "<pad>", "</s>", "<unk>"]
END = "<|endoftext|>"
LETTERS = list(string.ascii_letters + string.digits + string.punctuation + "\u00e9\u00c9\u00ef")


def wordpieces(markers=MARKERS):
    return numbered(markers + WORDS + PIECES + LETTERS + ["##" + letter for letter in LETTERS])


def byte_pairs(first, last):
    """The byte alphabet and what `MERGES` makes of it, between special tokens."""
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    alphabet = [chr(byte) for byte in printed] + [chr(256 + index) for index in range(256 - len(printed))]
    return numbered(first + alphabet + ["".join(pair) for pair in MERGES] + last)


def numbered(tokens):
    return {token: index for index, token in enumerate(dict.fromkeys(tokens))}


def flags(content, index, **changed):
    return {"id": index, "content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": True} | changed


def template(vocab, first, last, between=None, second=1):
    """Markers around a text, and around two."""
    marker = lambda token, kind=0: {"SpecialToken": {"id": token, "type_id": kind}}
    part = lambda name, kind=0: {"Sequence": {"id": name, "type_id": kind}}
    start, end = [marker(first)] if first else [], [marker(last)] if last else []
    middle = [marker(between)] if between else []
    ends = [marker(last, second)] if last else []
    return {"type": "TemplateProcessing", "single": start + [part("A")] + end,
            "pair": start + [part("A")] + end + middle + [part("B", second)] + ends,
            "special_tokens": {t: {"id": t, "ids": [vocab[t]], "tokens": [t]} for t in dict.fromkeys([first, last]) if t}}


def document(model, added, **parts):
    vocab = model["vocab"]
    at = vocab if isinstance(vocab, dict) else numbered([token for token, _ in vocab])
    whole = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [flags(t, at[t]) for t in added],
             "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    return whole | parts | {"model": model}


def wordpiece(lowercase=True):
    vocab = wordpieces()
    return document(
        {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab},
        MARKERS,
        normalizer={"type": "BertNormalizer", "clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": lowercase},
        pre_tokenizer={"type": "BertPreTokenizer"}, post_processor=template(vocab, "[CLS]", "[SEP]"),
        decoder={"type": "WordPiece", "prefix": "##", "cleanup": True},
    )  # fmt: skip


def byte_level(first, last, added, processor):
    vocab = byte_pairs(first, last)
    split = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
             "fuse_unk": False, "byte_fallback": False, "vocab": vocab, "merges": [list(pair) for pair in MERGES]}
    return document(model, added, pre_tokenizer=split, post_processor=processor(vocab, split), decoder=split)


def roberta():
    processor = lambda vocab, _: {"type": "RobertaProcessing", "sep": ["</s>", vocab["</s>"]], "cls": ["<s>", vocab["<s>"]],
                                  "trim_offsets": True, "add_prefix_space": False}  # fmt: skip
    return byte_level(SENTENCE, ["<mask>"], SENTENCE + ["<mask>"], processor)


def unigram(first, last, processor):
    pieces = ["\u2581" + word for word in WORDS if word.isascii()] + ["s", "ing", "\u2581", "film", "caf"] + LETTERS
    vocab = [[token, 0.0] for token in first]
    vocab += [[piece, -2.0 - 0.01 * index] for index, piece in enumerate(dict.fromkeys(pieces))] + [[token, 0.0] for token in last]
    metaspace = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "always", "split": True}
    at = numbered([token for token, _ in vocab])
    return document({"type": "Unigram", "unk_id": first.index("<unk>"), "vocab": vocab, "byte_fallback": False}, first + last,
                    pre_tokenizer={"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, metaspace]},
                    post_processor=processor(at), decoder=metaspace)  # fmt: skip


def sentence_unigram(first):
    return unigram(first, ["<mask>"], lambda at: template(at, "<s>", "</s>", "</s>", second=0))


KINDS = {
    "bert": (wordpiece, {"tokenizer_class": "BertTokenizer"}),
    "cased": (lambda: wordpiece(False), {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
    "distilbert": (wordpiece, {"tokenizer_class": "DistilBertTokenizer", "do_lower_case": True}),
    "electra": (wordpiece, {"tokenizer_class": "ElectraTokenizer", "do_lower_case": True}),
    "gpt2": (lambda: byte_level([], [END], [END], lambda _, split: split | {"trim_offsets": False}), {"tokenizer_class": "GPT2Tokenizer"}),
    "roberta": (roberta, {"tokenizer_class": "RobertaTokenizer"}),
    "opt": (
        lambda: byte_level(SENTENCE, [], ["<pad>", "</s>"], lambda vocab, _: template(vocab, "</s>", None)),
        {"tokenizer_class": "GPT2Tokenizer", "bos_token": "</s>", "eos_token": "</s>", "unk_token": "</s>", "pad_token": "<pad>",
         "add_bos_token": True, "add_prefix_space": False},
    ),
    "xlm-roberta": (lambda: sentence_unigram(SENTENCE), {"tokenizer_class": "XLMRobertaTokenizer"}),
    "camembert": (
        lambda: sentence_unigram(["<s>NOTUSED", "<pad>", "</s>NOTUSED", "<unk>", "<unk>NOTUSED", "<s>", "</s>"]),
        {"tokenizer_class": "CamembertTokenizer"},
    ),
    "albert": (
        lambda: unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], [], lambda at: template(at, "[CLS]", "[SEP]")),
        {"tokenizer_class": "AlbertTokenizer"},
    ),
}  # fmt: skip


def files(kind):
    """The texts of a folder's tokenizer files, by name."""
    base = kind.removesuffix("-files")
    make, settings = KINDS[base]
    made, found = make(), {"tokenizer_config.json": json.dumps(settings)}
    if base == kind:
        return found | {"tokenizer.json": json.dumps(made)}
    vocab = made["model"]["vocab"]
    if made["model"]["type"] == "WordPiece":
        return found | {"vocab.txt": "".join(token + "\n" for token in vocab)}
    merges = "#version: 0.2\n" + "".join(" ".join(pair) + "\n" for pair in MERGES)
    return found | {"vocab.json": json.dumps(vocab), "merges.txt": merges}


def size(kind):
    vocab = KINDS[kind.removesuffix("-files")][0]()["model"]["vocab"]
    return len(vocab)

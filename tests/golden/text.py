"""Texts, the tokenizers that belong to the tiny checkpoints, and a second opinion on their ids.

The classifier has a WordPiece vocabulary (Wu et al. 2016; longest match first), the language model byte-pair merges (Sennrich
et al. 2016). Both tokenizers are written for lower-case letters, spaces, full stops and commas, and no more.
"""

import re

SENTENCES = [
    ("the film is warm , funny and well acted .", 1),
    ("a dull story told slowly .", 0),
    ("it never works", 0),
    ("good", 1),
    ("an unexpected joy from the first scene to the last , and one of the best things seen this year .", 1),
    ("the actors seem lost , the jokes are old and the ending was telling .", 0),
    ("moving", 1),
    ("bad acting , bad lighting , bad timing and a plot that is not there at all .", 0),
    ("not bad , not good , not much of anything .", 0),
    ("quietly moving and never dull .", 1),
    ("zxq", 0),
    ("see it .", 1),
]

STORY = (
    "the sea was calm and the men on the boat were telling tales of the land. the oldest of them had been to the north, "
    "where the sun stays under the sea for all of the winter and the light is that of the moon and the stars. then the wind "
    "came, and there was no more talk. they took in the sail and turned the boat to the land, and the land was not there.\n"
)

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
WORDS = "the film is warm and well a story it never good an to one of see not bad moving all , .".split()
PIECES = "ing s ed ly er act tell un st light t".split()
LETTERS = "abcdefghijklmnopqrstuvwxyz"

# In order of rank; the mark stands for a space before a word.
SPACE = "\u0120"
MERGES = [
    ("t", "h"), ("th", "e"), (SPACE, "the"), ("a", "n"), ("an", "d"), (SPACE, "and"), ("e", "r"), ("i", "n"), (SPACE, "w"),
    (SPACE, "o"), ("o", "n"), ("l", "l"), ("in", "g"), (SPACE, "s"), (SPACE, "t"), ("e", "n"), ("r", "e"), (SPACE, "l"),
    (SPACE + "l", "and"), ("a", "t"), ("th", "at"), (SPACE, "that"), (SPACE + "o", "f"), ("a", "s"), (SPACE + "w", "as"),
]  # fmt: skip

END = "<|endoftext|>"
NEWLINE = "\u010a"


def wordpiece_vocabulary():
    pieces = [f"##{letter}" for letter in LETTERS] + [f"##{piece}" for piece in PIECES if len(piece) > 1]
    single = [letter for letter in LETTERS if letter not in WORDS and letter not in "zxq"]
    return {token: index for index, token in enumerate(SPECIAL + WORDS + single + pieces)}


def wordpiece(sentence):
    """Ids of a sentence between the markers; a word that no pieces make up is unknown as a whole."""
    vocabulary = wordpiece_vocabulary()
    ids = [vocabulary["[CLS]"]]
    for word in sentence.split():
        pieces, start = [], 0
        while start < len(word):
            prefix = "##" if start else ""
            ends = [end for end in range(len(word), start, -1) if prefix + word[start:end] in vocabulary]
            if not ends:
                pieces = [vocabulary["[UNK]"]]
                break
            pieces.append(vocabulary[prefix + word[start : ends[0]]])
            start = ends[0]
        ids += pieces
    return ids + [vocabulary["[SEP]"]]


def bpe_vocabulary():
    symbols = [END, SPACE, NEWLINE, ".", ","] + list(LETTERS) + ["".join(pair) for pair in MERGES]
    return {token: index for index, token in enumerate(symbols)}


def bpe(text):
    """Ids of a running text: each word, with the space before it, merged pair by pair in order of rank."""
    vocabulary, ids = bpe_vocabulary(), []
    for word in re.findall(r" ?[a-z]+| ?[.,]+|\s+", text):
        symbols = list(word.replace(" ", SPACE).replace("\n", NEWLINE))
        while True:
            ranks = [MERGES.index(pair) for pair in zip(symbols, symbols[1:]) if pair in MERGES]
            if not ranks:
                break
            first, second = MERGES[min(ranks)]
            merged, index = [], 0
            while index < len(symbols):
                if symbols[index : index + 2] == [first, second]:
                    merged.append(first + second)
                    index += 2
                else:
                    merged.append(symbols[index])
                    index += 1
            symbols = merged
        ids += [vocabulary[symbol] for symbol in symbols]
    return ids


def added(token, index):
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    return {"id": index, "content": token} | flags


def tokenizer(model):
    """tokenizer.json of a model that has one."""
    common = {"version": "1.0", "truncation": None, "padding": None}
    if model == "gpt2":
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        return common | {
            "added_tokens": [added(END, 0)],
            "normalizer": None,
            "pre_tokenizer": byte_level,
            "post_processor": None,
            "decoder": byte_level,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": "",
                "end_of_word_suffix": "",
                "fuse_unk": False,
                "vocab": bpe_vocabulary(),
                "merges": [" ".join(pair) for pair in MERGES],
            },
        }
    vocabulary = wordpiece_vocabulary()
    marker = lambda token: {"SpecialToken": {"id": token, "type_id": 0}}
    sequence = lambda name: {"Sequence": {"id": name, "type_id": 0}}
    special = {t: {"id": t, "ids": [vocabulary[t]], "tokens": [t]} for t in ("[CLS]", "[SEP]")}
    return common | {
        "added_tokens": [added(token, index) for index, token in enumerate(SPECIAL)],
        "normalizer": None,
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [marker("[CLS]"), sequence("A"), marker("[SEP]")],
            "pair": [marker("[CLS]"), sequence("A"), marker("[SEP]"), sequence("B"), marker("[SEP]")],
            "special_tokens": special,
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    }


def sentences_file():
    return "sentence\tlabel\n" + "".join(f"{sentence}\t{label}\n" for sentence, label in SENTENCES)

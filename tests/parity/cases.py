"""The texts, pairs of texts and ids that a checkpoint is tried with."""

import dataclasses
import random

TEXTS = [
    "The good film of Paris",
    "a good film",
    "Caf\u00e9 \u00c9T\u00c9 na\u00efve e\u0301",
    "\u6a21\u578b film\u6a21 \U0001f600",
    "the   film \t good",
    "<unk>the [MASK] <mask> film[SEP]",
    "</s>the film<|endoftext|> good",
    "a\u200bc \u00adthe zz\u4e00zz",
    "unaffable cafe's film, was it bad?",
    "THE \u0130stanbul film \uff46\uff49\uff4c\uff4d",
    " leading and trailing ",
    "3.14 @x #y $z %",
]
TEXTS_OF_A_CHECKPOINT = 3


@dataclasses.dataclass
class Case:
    """One input."""

    text: str = ""
    pair: str = None
    ids: list = None

    @property
    def is_plain(self):
        return self.pair is None and self.ids is None

    def __str__(self):
        if self.ids is not None:
            return f"{len(self.ids)} ids"
        return repr(self.text) if self.pair is None else f"{self.text!r} and {self.pair!r}"


def cases_of(name, ids, special):
    """The cases of the checkpoint with this name: texts by its name, its own special tokens, pairs, and some of `ids`. Without a
    tokenizer `special` is None."""
    drawn = random.Random(name)
    if special is not None:
        # The first is short and in every vocabulary.
        yield from (Case(text) for text in TEXTS[:1] + drawn.sample(TEXTS[1:], TEXTS_OF_A_CHECKPOINT - 1))
        yield Case("a " + " film ".join(special))
        yield Case(*drawn.sample(TEXTS[:4], 2))
        yield from (Case(*drawn.sample(TEXTS, 2)), Case("a film", special[-1] + " good"))
    yield Case(ids=drawn.choices(ids, k=drawn.randint(7, 15)))

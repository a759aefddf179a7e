"""Mistakes that a program may make, each by overriding one method: which of them would the outputs notice?

A mistake that no output notices is a test that cannot fail. The limits of the tests in FP32 are two orders of magnitude below
`VISIBLE`.
"""

import numpy as np

from models import Bert, Gpt2, Transformer, gelu_erf, gelu_tanh

# Relative error (L2) that each mistake must cause in at least one case.
VISIBLE = 1e-3


def other_epsilon(self):
    return 1e-5 if Transformer.epsilon(self) == 1e-12 else 1e-12


def swapped_norm_parameters(self, name):
    gamma, beta = Transformer.norm_parameters(self, name)
    return beta, gamma


def interleaved(self, x):
    batch, sequence, hidden = x.shape
    return x.reshape(batch, sequence, hidden // self.heads(), self.heads()).transpose(0, 3, 1, 2)


def swapped_queries_and_keys(self, q, k, v, lengths):
    return Transformer.attend(self, k, q, v, lengths)


def without_norm(suffix):
    def norm(self, name, x):
        return x if name.endswith(suffix) else Transformer.norm(self, name, x)

    return norm


def last_token(self, hidden, lengths):
    return hidden[np.arange(len(lengths)), np.array(lengths) - 1]


def mean_token(self, hidden, lengths):
    return np.stack([row[:length].mean(axis=0) for row, length in zip(hidden, lengths)])


# By what is overridden, of either family.
SHARED = {
    "the other family's epsilon": {"epsilon": other_epsilon},
    "variance divided by width - 1": {"degrees_of_freedom": lambda self, width: width - 1},
    "gamma and beta swapped": {"norm_parameters": swapped_norm_parameters},
    "scores not scaled": {"scale": lambda self, size: 1.0},
    "scores scaled by the hidden size": {"scale": lambda self, size: 1.0 / np.sqrt(size * self.heads())},
    "scores scaled by the head size, not its root": {"scale": lambda self, size: 1.0 / size},
    "queries and keys swapped": {"attend": swapped_queries_and_keys},
    "heads interleaved": {"split": interleaved},
    "positions from 1": {"positions": lambda self, n: np.minimum(np.arange(1, n + 1), self.positions_held() - 1)},
    "every token at position 0": {"positions": lambda self, n: np.zeros(n, int)},
    "no residual": {"residual": lambda self, stream, update: update},
    "layers in reverse": {"layer_order": lambda self, count: range(count - 1, -1, -1)},
    "the last layer left out": {"layer_order": lambda self, count: range(count - 1)},
    "no bias": {"bias": lambda self, name: 0.0},
}

BERT = SHARED | {
    "padding attended to": {"visible": lambda self, n, lengths: np.ones((len(lengths), 1, 1, n), bool)},
    "attention causal": {"causal": True},
    "GELU in its tanh form": {"gelu": lambda self, x: gelu_tanh(x)},
    "the second token type": {"token_type": lambda self, _: self.tensor("embeddings.token_type_embeddings.weight")[1]},
    "no token type": {"token_type": lambda self, _: 0.0},
    "no layer norm of the embeddings": {"norm": without_norm("embeddings.LayerNorm")},
    "square weights not transposed": {
        "linear": lambda self, name, x: Bert.linear(self, name, x)
        if self.tensor(f"{name}.weight").shape[0] != self.tensor(f"{name}.weight").shape[1]
        else x @ self.tensor(f"{name}.weight") + self.bias(name)
    },
}

CLASSIFIER = BERT | {
    "the last token pooled": {"pooled_token": last_token},
    "the mean pooled": {"pooled_token": mean_token},
    "a pooler without tanh": {"pooler_activation": lambda self, x: x},
}

GPT2 = SHARED | {
    "attention to later tokens": {"causal": False},
    "no attention to the token itself": {
        "not_later": lambda self, keys: ((keys[None] < keys[:, None]) | (keys[None] + keys[:, None] == 0))[None, None]
    },
    "GELU in its erf form": {"gelu": lambda self, x: gelu_erf(x)},
    "no last layer norm": {"final_norm": lambda self, x: x},
    "keys, queries, values": {"queries_keys_values": lambda self, x: np.split(x, 3, axis=-1)[::-1]},
    "square weights transposed": {
        "linear": lambda self, name, x: Gpt2.linear(self, name, x)
        if self.tensor(f"{name}.weight").shape[0] != self.tensor(f"{name}.weight").shape[1]
        else x @ self.tensor(f"{name}.weight").T + self.bias(name)
    },
}

BY_MODEL = {"trunk": BERT, "classifier": CLASSIFIER, "gpt2": GPT2}


def relative_error(ours, golden):
    return float(np.sqrt(np.sum((ours - golden) ** 2) / np.sum(golden**2)))


def check(model, machine, run, golden):
    """Runs every mistake over the cases of a model; returns those that no case sees.

    `machine` is its class and arguments, `run(machine, case)` an output, `golden` the right ones by case.
    """
    family, arguments = machine
    unseen = []
    for name, overrides in BY_MODEL[model].items():
        wrong = type("Wrong", (family,), overrides)(*arguments)
        errors = {case: relative_error(run(wrong, case), right) for case, right in golden.items()}
        worst = max(errors, key=errors.get)
        seen = sum(error > VISIBLE for error in errors.values())
        print(f"{model:<11} {name:<45} {errors[worst]:8.1e} in {worst}; seen in {seen} of {len(errors)} cases")
        if not errors[worst] > VISIBLE:
            unseen.append(f"{model}: {name}")
    return unseen

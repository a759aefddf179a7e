"""Forward passes in float64, written from the papers: BERT (Devlin et al. 2018) and GPT-2 (Radford et al. 2019).

Every step that a program may get wrong is a method, so that `faults.py` can get it wrong. Shapes: ids `[batch, sequence]`,
hidden states `[batch, sequence, hidden]`, scores `[batch, heads, sequence, sequence]`.
"""

import math

import numpy as np

import exact

MINUS_INFINITY = -np.inf


class Transformer:
    """What both families share."""

    causal = False

    def __init__(self, config, tensors):
        self.config = config
        self.tensors = {name: values.astype(np.float64) for name, values in tensors.items()}

    def setting(self, *names):
        """A value of the configuration, under the name that its family has for it."""
        return next(self.config[name] for name in names if name in self.config)

    def heads(self):
        return self.setting("num_attention_heads", "n_head")

    def epsilon(self):
        return self.setting("layer_norm_eps", "layer_norm_epsilon")

    def positions_held(self):
        return self.setting("max_position_embeddings", "n_positions")

    def tensor(self, name):
        """A tensor by its present name, with or without the prefix of the trunk."""
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        found = [n for n in (name, "bert." + name, "transformer." + name, old) if n in self.tensors]
        return self.tensors[found[0]]

    def norm_parameters(self, name):
        return self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")

    def degrees_of_freedom(self, width):
        return width

    def norm(self, name, x):
        """`(x - mean) / sqrt(variance + epsilon) * gamma + beta`; the variance divides by the width."""
        gamma, beta = self.norm_parameters(name)
        deviation = x - exact.total(x) / x.shape[-1]
        variance = exact.total(deviation * deviation) / self.degrees_of_freedom(x.shape[-1])
        return deviation / np.sqrt(variance + self.epsilon()) * gamma + beta

    def positions(self, sequence):
        return np.arange(sequence)

    def scale(self, head_size):
        return 1.0 / math.sqrt(head_size)

    def split(self, x):
        """`[batch, sequence, hidden]` to `[batch, heads, sequence, head]`: a head is a run of neighbouring channels."""
        batch, sequence, hidden = x.shape
        return x.reshape(batch, sequence, self.heads(), hidden // self.heads()).transpose(0, 2, 1, 3)

    def join(self, x):
        batch, heads, sequence, size = x.shape
        return x.transpose(0, 2, 1, 3).reshape(batch, sequence, heads * size)

    def visible(self, sequence, lengths):
        """Whether a query (third axis) sees a key (fourth axis)."""
        keys = np.arange(sequence)
        seen = (keys < np.array(lengths)[:, None])[:, None, None, :]
        if self.causal:
            seen = seen & self.not_later(keys)
        return seen

    def not_later(self, keys):
        return (keys[None, :] <= keys[:, None])[None, None]

    def attend(self, q, k, v, lengths):
        """Scaled dot-product attention (Vaswani et al. 2017)."""
        q, k, v = self.split(q), self.split(k), self.split(v)
        scores = exact.matmul(q, k.swapaxes(-1, -2)) * self.scale(q.shape[-1])
        scores = np.where(self.visible(scores.shape[-1], lengths), scores, MINUS_INFINITY)
        return self.join(exact.matmul(exact.softmax(scores), v))

    def residual(self, stream, update):
        return stream + update

    def layer_order(self, count):
        return range(count)


def gelu_erf(x):
    """`x Phi(x)` with the normal distribution function (Hendrycks and Gimpel 2016)."""
    return 0.5 * x * (1.0 + exact.erf(x / math.sqrt(2.0)))


def gelu_tanh(x):
    """Their approximation, which GPT-2 was trained with."""
    return 0.5 * x * (1.0 + exact.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x * x * x)))


class Bert(Transformer):
    """Encoder whose layer norms follow the residual sums."""

    def gelu(self, x):
        return gelu_erf(x)

    def bias(self, name):
        return self.tensor(f"{name}.bias")

    def linear(self, name, x):
        return exact.matmul(x, self.tensor(f"{name}.weight").T) + self.bias(name)

    def token_type(self, types):
        """Rows of the types; that of type 0 where no types are given."""
        return self.tensor("embeddings.token_type_embeddings.weight")[0 if types is None else types]

    def embeddings(self, ids, types):
        word = self.tensor("embeddings.word_embeddings.weight")[ids]
        position = self.tensor("embeddings.position_embeddings.weight")[self.positions(ids.shape[1])]
        return self.norm("embeddings.LayerNorm", word + position + self.token_type(types))

    def attention(self, name, x, lengths):
        q, k, v = (self.linear(f"{name}.attention.self.{part}", x) for part in ("query", "key", "value"))
        return self.linear(f"{name}.attention.output.dense", self.attend(q, k, v, lengths))

    def layer(self, name, x, lengths):
        x = self.norm(f"{name}.attention.output.LayerNorm", self.residual(x, self.attention(name, x, lengths)))
        inner = self.gelu(self.linear(f"{name}.intermediate.dense", x))
        return self.norm(f"{name}.output.LayerNorm", self.residual(x, self.linear(f"{name}.output.dense", inner)))

    def hidden(self, ids, lengths, types=None):
        x = self.embeddings(ids, types)
        for index in self.layer_order(self.config["num_hidden_layers"]):
            x = self.layer(f"encoder.layer.{index}", x, lengths)
        return x

    def pooled_token(self, hidden, lengths):
        return hidden[:, 0]

    def pooler_activation(self, x):
        return exact.tanh(x)

    def logits(self, ids, lengths, types=None):
        """Logits `[batch, labels]` of the pooled first token."""
        first = self.pooled_token(self.hidden(ids, lengths, types), lengths)
        return self.linear("classifier", self.pooler_activation(self.linear("pooler.dense", first)))


class Gpt2(Transformer):
    """Decoder whose layer norms precede attention and MLP, with logits against the word table."""

    causal = True

    def gelu(self, x):
        return gelu_tanh(x)

    def bias(self, name):
        return self.tensor(f"{name}.bias")

    def linear(self, name, x):
        return exact.matmul(x, self.tensor(f"{name}.weight")) + self.bias(name)

    def queries_keys_values(self, packed):
        return np.split(packed, 3, axis=-1)

    def layer(self, name, x, lengths):
        packed = self.linear(f"{name}.attn.c_attn", self.norm(f"{name}.ln_1", x))
        attended = self.attend(*self.queries_keys_values(packed), lengths)
        x = self.residual(x, self.linear(f"{name}.attn.c_proj", attended))
        inner = self.gelu(self.linear(f"{name}.mlp.c_fc", self.norm(f"{name}.ln_2", x)))
        return self.residual(x, self.linear(f"{name}.mlp.c_proj", inner))

    def final_norm(self, x):
        return self.norm("ln_f", x)

    def logits(self, ids, lengths):
        """Logits `[batch, sequence, vocabulary]`."""
        x = self.tensor("wte.weight")[ids] + self.tensor("wpe.weight")[self.positions(ids.shape[1])]
        for index in self.layer_order(self.config["n_layer"]):
            x = self.layer(f"h.{index}", x, lengths)
        return exact.matmul(self.final_norm(x), self.tensor("wte.weight").T)


def negative_log_likelihood(logits, following):
    """`-ln softmax(logits)[next]` in nats, by token."""
    largest = np.max(logits, axis=-1, keepdims=True)
    normaliser = exact.log(exact.total(exact.exp(logits - largest))) + largest
    return (normaliser - np.take_along_axis(logits, following[..., None].astype(np.int64), axis=-1))[..., 0]

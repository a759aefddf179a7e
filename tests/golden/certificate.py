"""Checks the certificate of a search by a forward pass of its own: BERT in emulated formats, in numpy.

    certificate.py MODEL RESULTS [--inject LAYER CHANNEL MAGNITUDE] [--forwards N] [--held-out N]

MODEL is the checkpoint's folder, RESULTS the folder that `mixprec search` wrote. Every number is held in float64 and rounded to
the format that the policy names, after each operation that the policy rounds; products are summed exactly and rounded once. The
reference is the same pass without any rounding. Shares no code with mixprec, and no arithmetic: numpy's own products, sums and
roots, and the conversions of its types. Ends with 1 where a member of the set is not needed, where the set does not suffice, or
where the token ids are not those of the certificate; with 77 where numpy is missing.
"""

import argparse
import hashlib
import json
import math
import struct
import sys
from pathlib import Path

try:
    import numpy as np
except ImportError:
    print("numpy is missing")
    raise SystemExit(77)

TYPES = {"F16": "<f2", "F32": "<f4", "F64": "<f8"}
NEAR = 2e-3  # how far cosines of two emulations of one policy may lie apart, near overflow: they sum in different orders
EXACT = {"compute": "fp64", "accumulate": "fp64", "store": "fp64"}


def to(form, x):
    """The nearest number of the format, ties to even; beyond its range infinity."""
    if form == "fp64":
        return x
    if form == "fp16":
        return x.astype(np.float16).astype(np.float64)
    single = x.astype(np.float32)
    if form == "fp32":
        return single.astype(np.float64)
    drop = {"tf32": 13, "bf16": 16}[form]
    bits = single.view(np.uint32).astype(np.uint64)
    kept = (bits + ((1 << (drop - 1)) - 1) + ((bits >> drop) & 1)) >> drop << drop
    rounded = kept.astype(np.uint32).view(np.float32)
    return np.where(np.isnan(single), single, rounded).astype(np.float64)


def total(form, x):
    """Sum over the last axis, neighbours first, every partial sum on the format's grid."""
    if form in ("fp64", "fp32"):
        return to(form, x.sum(-1, keepdims=True))
    while x.shape[-1] > 1:
        odd = x[..., -1:] if x.shape[-1] % 2 else x[..., :0]
        even = x.shape[-1] - x.shape[-1] % 2
        x = np.concatenate([to(form, x[..., 0:even:2] + x[..., 1:even:2]), odd], -1)
    return x


def tensors(path):
    """The tensors of a safetensors file in float64."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    found = {}
    for name, entry in header.items():
        if name != "__metadata__" and entry["dtype"] in TYPES:
            begin, end = entry["data_offsets"]
            values = np.frombuffer(body[begin:end], TYPES[entry["dtype"]]).reshape(entry["shape"])
            name = name.removeprefix("bert.").replace(".gamma", ".weight").replace(".beta", ".bias")
            found[name] = values.astype(np.float64)
    return found


class Checkpoint:
    """A folder's configuration and tensors, and the tensors rounded to the formats that were asked for."""

    def __init__(self, folder, inject):
        self.config = json.loads((folder / "config.json").read_text())
        if self.config["model_type"] != "bert" or self.config["hidden_act"] != "gelu":
            raise SystemExit("only BERT with the GELU of its paper is checked here")
        self.tensors, self.rounded = tensors(folder / "model.safetensors"), {}
        if inject:
            bias = f"encoder.layer.{int(inject[0])}.output.dense.bias"
            self.tensors[bias] = self.tensors[bias].copy()
            self.tensors[bias][int(inject[1])] += np.float64(np.float32(inject[2]))

    def parameter(self, form, *names):
        """Tensors one below the other, in a format."""
        if (form, names) not in self.rounded:
            self.rounded[form, names] = to(form, np.concatenate([self.tensors[name] for name in names]))
        return self.rounded[form, names]


class Bert:
    """BERT's encoder under a policy, with a classifier where the checkpoint has one."""

    def __init__(self, checkpoint, policy):
        self.config, self.parameter, self.policy = checkpoint.config, checkpoint.parameter, policy
        self.classifies = "classifier.weight" in checkpoint.tensors

    def formats(self, op, kind):
        if self.policy is None:
            return EXACT
        return self.policy["overrides"].get(op) or self.policy["classes"][kind]

    def norm(self, op, tensor, x):
        f = self.formats(op, "layer_norm")
        form, sums = f["compute"], f["accumulate"]
        r = lambda v: to(form, v)
        gamma, beta = (self.parameter(form, f"{tensor}.{part}") for part in ("weight", "bias"))
        x, n = r(x), r(np.float64(x.shape[-1]))
        mean = lambda v: r(total(sums, v) / n)
        if self.policy and self.policy["layer_norm_reduction"] == "divide_first":
            mean = lambda v: r(total(sums, r(v / n)))
        deviation = r(x - mean(x))
        variance = mean(r(deviation * deviation))
        epsilon = np.float64(self.config.get("layer_norm_eps", 1e-12))
        scale = r(1.0 / np.sqrt(r(variance + r(epsilon))))
        return to(f["store"], r(r(r(deviation * scale) * gamma) + beta))

    def linear(self, op, kind, names, x):
        f = self.formats(op, kind)
        weight = self.parameter(f["compute"], *(f"{name}.weight" for name in names))
        bias = self.parameter(f["store"], *(f"{name}.bias" for name in names))
        product = to(f["accumulate"], to(f["compute"], x) @ weight.T)
        return to(f["store"], to(f["accumulate"], product + bias))

    def attention(self, name, tensor, x, length):
        packed = self.linear(
            f"{name}/attention/qkv", "linear", [f"{tensor}.attention.self.{p}" for p in ("query", "key", "value")], x
        )
        count = self.config["num_attention_heads"]
        split = lambda v: v.reshape(v.shape[0], count, -1).transpose(1, 0, 2)
        f = self.formats(f"{name}/attention/scores", "attention_scores")
        q, k, v = (split(part) for part in np.split(packed, 3, axis=-1))
        scores = to(f["accumulate"], to(f["compute"], q) @ to(f["compute"], k[:, :length]).transpose(0, 2, 1))
        scale = 1.0 / math.sqrt(q.shape[-1])
        if f["store"] in ("fp16", "bf16"):
            scores = to(f["store"], scores)
        scores = to(f["store"], scores * scale)
        f = self.formats(f"{name}/attention/softmax", "softmax")
        r = lambda v: to(f["compute"], v)
        scores = r(scores)
        e = r(np.exp(r(scores - scores.max(-1, keepdims=True))))
        probabilities = to(f["store"], r(e / total(f["accumulate"], e)))
        f = self.formats(f"{name}/attention/context", "attention_context")
        context = to(f["accumulate"], to(f["compute"], probabilities) @ to(f["compute"], v[:, :length]))
        context = to(f["store"], context).transpose(1, 0, 2).reshape(x.shape)
        return self.linear(f"{name}/attention/output", "residual_linear", [f"{tensor}.attention.output.dense"], context)

    def gelu(self, op, x):
        f = self.formats(op, "gelu")
        r = lambda v: to(f["compute"], v)
        x = r(x)
        inner = r(x * r(np.float64(math.sqrt(0.5))))
        erf = np.fromiter(map(math.erf, inner.ravel()), np.float64, inner.size).reshape(inner.shape)
        return to(f["store"], r(r(x * 0.5) * r(1.0 + r(erf))))

    def add(self, op, stream, update):
        f = self.formats(op, "residual")
        return to(f["store"], to(f["compute"], to(f["compute"], stream) + to(f["compute"], update)))

    def rows(self, ids, length):
        """The output's rows that are no padding."""
        f = self.formats("embeddings/sum", "embedding")
        table = lambda part: self.parameter(f["compute"], f"embeddings.{part}_embeddings.weight")
        word, types = table("word")[ids], table("token_type")[0]
        positions = table("position")[: len(ids)]
        x = to(f["store"], to(f["accumulate"], to(f["accumulate"], word + types) + positions))
        x = self.norm("embeddings/layer_norm", "embeddings.LayerNorm", x)
        for index in range(self.config["num_hidden_layers"]):
            name, tensor = f"layer.{index}", f"encoder.layer.{index}"
            x = self.add(f"{name}/attention/residual", x, self.attention(name, tensor, x, length))
            x = self.norm(f"{name}/attention/layer_norm", f"{tensor}.attention.output.LayerNorm", x)
            inner = self.linear(f"{name}/mlp/fc1", "linear", [f"{tensor}.intermediate.dense"], x)
            inner = self.gelu(f"{name}/mlp/gelu", inner)
            update = self.linear(f"{name}/mlp/fc2", "residual_linear", [f"{tensor}.output.dense"], inner)
            x = self.add(f"{name}/mlp/residual", x, update)
            x = self.norm(f"{name}/mlp/layer_norm", f"{tensor}.output.LayerNorm", x)
        if not self.classifies:
            return x[:length]
        pooled = self.linear("pooler/dense", "linear", ["pooler.dense"], x[:1])
        f = self.formats("pooler/tanh", "tanh")
        pooled = to(f["store"], to(f["compute"], np.tanh(to(f["compute"], pooled))))
        return self.linear("classifier", "output_linear", ["classifier"], pooled)


class Certificate:
    """A certificate, and the forwards that it is about."""

    def __init__(self, folder, results, inject):
        self.checkpoint = Checkpoint(folder, inject)
        self.found = json.loads((results / "certificate.json").read_text())
        forwards = json.loads((results / "forwards.json").read_text())
        self.ids, self.lengths = forwards["ids"], forwards["lengths"]
        if forwards["token_types"]:
            raise SystemExit("only tokens of type 0 are checked here")
        self.references = {}

    def ids_sha256(self):
        return hashlib.sha256(b"".join(struct.pack("<I", id) for row in self.ids for id in row)).hexdigest()

    def outcome(self, policy, forward):
        """Non-finite values, smallest cosine and broken rows of a forward."""
        batch = self.found["subject"]["shape"]["batch"]
        nonfinite, cosine_min, broken, flips = 0, 1.0, 0, 0
        for row in range(forward * batch, (forward + 1) * batch):
            ids, length = np.array(self.ids[row]), self.lengths[row]
            if row not in self.references:
                self.references[row] = Bert(self.checkpoint, None).rows(ids, length)
            exact = self.references[row]
            ours = Bert(self.checkpoint, policy).rows(ids, length)
            nonfinite += int((~np.isfinite(ours)).sum())
            norms = np.sqrt((ours * ours).sum(-1) * (exact * exact).sum(-1))
            cosine = (ours * exact).sum(-1) / norms
            error = np.sqrt(((ours - exact) ** 2).sum(-1) / (exact * exact).sum(-1))
            low, high = self.found["broken_cosine"], self.found["broken_relative_l2"]
            broken += int(((cosine < low) | (error > high)).sum())
            flips += int((ours.argmax(-1) != exact.argmax(-1)).sum())
            cosine_min = min(cosine_min, float(cosine.min())) if np.isfinite(cosine).all() else math.nan
        return nonfinite, cosine_min, broken, flips

    def breaks(self, policy, forwards):
        """The first forward at which a limit breaks and its outcome, or `None` and the smallest cosine."""
        limits, smallest, rows, flips = self.found["tolerance"], 1.0, 0, 0
        for forward in forwards:
            outcome = self.outcome(policy, forward)
            nonfinite, cosine, broken, flipped = outcome
            rows, flips, smallest = rows + broken, flips + flipped, min(smallest, cosine)
            over = lambda count, limit: limit is not None and count > limit
            low = limits["cosine_min"] is not None and not cosine >= limits["cosine_min"]
            if nonfinite or low or over(rows, limits["max_broken_rows"]) or over(flips, limits["max_flips"]):
                return forward, outcome
        return None, smallest

    def differs(self, policy, forward, stated):
        """Whether a forward breaks the tolerance here and not there, by more than two emulations of one policy differ."""
        at, outcome = self.breaks(policy, [forward])
        limit, cosine = self.found["tolerance"]["cosine_min"], outcome[1] if at is not None else outcome
        return (at is not None) != stated and (limit is None or not abs(cosine - limit) < NEAR)

    def without(self, op):
        policy = self.found["policy"]
        overrides = {name: f for name, f in policy["overrides"].items() if name != op}
        if op in self.found["start"]["overrides"]:
            overrides[op] = self.found["start"]["overrides"][op]
        return policy | {"overrides": overrides}


def check(certificate, forwards, held_out):
    """Prints a line for each statement; how many are wrong."""
    found, wrong = certificate.found, 0
    if certificate.ids_sha256() != found["subject"]["ids_sha256"]:
        print("WRONG: the token ids are not those of the certificate")
        wrong += 1
    if found["start_breaks"]:
        at, outcome = certificate.breaks(found["start"], [found["start_breaks"]["forward"]])
        wrong += at is None
        print(f"{'WRONG' if at is None else 'ok'}: the start on forward {found['start_breaks']['forward']}: {outcome}")
    for one in found["operations"]:
        stated = one["without"]
        order = [stated["forward"]]
        if stated["quantity"] in ("broken_rows", "flips") and stated["limit"] > 0:
            order = found["refuting_forwards"]
        at, outcome = certificate.breaks(certificate.without(one["op"]), order)
        wrong += at is None
        print(f"{'WRONG' if at is None else 'ok'}: without {one['op']}, stated {stated['quantity']} {stated['value']}: {outcome}")
    order = range(min(forwards, found["searched"]["forwards"]))
    at, outcome = certificate.breaks(found["policy"], order)
    wrong += at is not None
    print(f"{'ok' if at is None else 'WRONG'}: the set over {len(order)} searched forwards: {outcome}")
    first, count = (found["held_out"]["totals"][key] for key in ("first", "forwards"))
    order = range(first, first + min(held_out, count))
    stated = {one["forward"] for one in found["held_out"]["breaking"]}
    differing = [at for at in order if certificate.differs(found["policy"], at, at in stated)]
    wrong += len(differing)
    word = f"WRONG on {differing}" if differing else "ok"
    print(f"{word}: the set over {len(order)} held-out forwards, {len(stated & set(order))} of which break the tolerance")
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("results", type=Path)
    parser.add_argument("--inject", nargs=3, type=float, help="layer, channel and magnitude of an injected outlier")
    parser.add_argument("--forwards", type=int, default=1 << 30, help="searched forwards to check, at most")
    parser.add_argument("--held-out", type=int, default=1 << 30, help="held-out forwards to check, at most")
    arguments = parser.parse_args()
    with np.errstate(all="ignore"):
        certificate = Certificate(arguments.model, arguments.results, arguments.inject)
        return 1 if check(certificate, arguments.forwards, arguments.held_out) else 0


if __name__ == "__main__":
    sys.exit(main())

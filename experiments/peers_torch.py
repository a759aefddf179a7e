"""BERT-base and GPT-2 in PyTorch as fast as its own kernels go, with random weights: one packed QKV projection, fused
attention without a mask, vocabulary padded to a multiple of 64. What is computed is what mixprec computes from the same
arguments: token ids in, the last hidden state (BERT) or all logits (GPT-2) out.
"""

import dataclasses
import time

import torch
from torch import nn
from torch.nn import functional

WARMUP = 5


@dataclasses.dataclass(frozen=True)
class Family:
    """Sizes of a model, under the name mixprec has for it."""

    layers: int
    hidden: int
    heads: int
    vocabulary: int
    positions: int
    causal: bool

    @property
    def padded_vocabulary(self):
        return -(-self.vocabulary // 64) * 64


FAMILIES = {
    "bert-base": Family(12, 768, 12, 30522, 512, causal=False),
    "gpt2": Family(12, 768, 12, 50257, 1024, causal=True),
    "bert-tiny": Family(2, 64, 2, 1000, 128, causal=False),
    "gpt2-tiny": Family(2, 64, 2, 1000, 128, causal=True),
}


class Layer(nn.Module):
    """What is in a layer of either model; each puts its layer norms where it has them."""

    def __init__(self, family, epsilon):
        super().__init__()
        width = family.hidden
        self.heads, self.causal = family.heads, family.causal
        self.approximate = "tanh" if family.causal else "none"
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc_1, self.fc_2 = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.norm_1, self.norm_2 = nn.LayerNorm(width, epsilon), nn.LayerNorm(width, epsilon)

    def attention(self, x):
        batch, sequence, width = x.shape
        packed = self.qkv(x).view(batch, sequence, 3, self.heads, width // self.heads)
        query, key, value = packed.permute(2, 0, 3, 1, 4)
        context = functional.scaled_dot_product_attention(query, key, value, is_causal=self.causal)
        return self.output(context.transpose(1, 2).reshape(batch, sequence, width))

    def mlp(self, x):
        return self.fc_2(functional.gelu(self.fc_1(x), approximate=self.approximate))


class Bert(nn.Module):
    """Layer norm after each residual, erf GELU; the last hidden state."""

    def __init__(self, family, epsilon=1e-12):
        super().__init__()
        self.words = nn.Embedding(family.padded_vocabulary, family.hidden)
        self.positions = nn.Embedding(family.positions, family.hidden)
        self.types = nn.Embedding(2, family.hidden)
        self.norm = nn.LayerNorm(family.hidden, epsilon)
        self.layers = nn.ModuleList(Layer(family, epsilon) for _ in range(family.layers))

    def forward(self, ids):
        x = self.norm(self.words(ids) + self.positions.weight[: ids.shape[1]] + self.types.weight[0])
        for layer in self.layers:
            x = layer.norm_1(x + layer.attention(x))
            x = layer.norm_2(x + layer.mlp(x))
        return x


class Gpt2(nn.Module):
    """Layer norm before each branch, tanh GELU, head tied to the word table; the logits of every token."""

    def __init__(self, family, epsilon=1e-5):
        super().__init__()
        self.words = nn.Embedding(family.padded_vocabulary, family.hidden)
        self.positions = nn.Embedding(family.positions, family.hidden)
        self.layers = nn.ModuleList(Layer(family, epsilon) for _ in range(family.layers))
        self.norm = nn.LayerNorm(family.hidden, epsilon)

    def forward(self, ids):
        x = self.words(ids) + self.positions.weight[: ids.shape[1]]
        for layer in self.layers:
            x = x + layer.attention(layer.norm_1(x))
            x = x + layer.mlp(layer.norm_2(x))
        return functional.linear(self.norm(x), self.words.weight)


def drawn(family, device, dtype):
    """A model with random weights, scaled as training starts with them."""
    torch.manual_seed(0)
    with torch.device(device):
        model = (Gpt2 if family.causal else Bert)(family)
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                nn.init.normal_(parameter, std=0.02)
    return model.to(dtype).eval()


def captured(forward):
    """One CUDA graph of the whole forward pass; what replays it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(WARMUP):
            forward()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        forward()
    return graph.replay


def compiled(forward):
    """torch.compile's most thorough mode, which captures CUDA graphs of its own; compiled here, before any sample."""
    torch.compiler.reset()
    function = torch.compile(forward, mode="max-autotune")
    for _ in range(WARMUP):
        function()
    return function


# How a forward pass can be run. The first is the one to beat.
MODES = {"cudagraph": captured, "compile": compiled, "eager": lambda forward: forward}


class Peer:
    """One model at one shape, run in one way and timed in blocks."""

    def __init__(self, model, shape, mode, device):
        # mixprec's name may end with a seed, like gpt2:7; the weights here are always PyTorch's own.
        family = FAMILIES[model.partition(":")[0]]
        # FP16 is what people serve with on a GPU; a CPU has no fast FP16.
        dtype = torch.float16 if device == "cuda" else torch.float32
        self.name = f"torch-{mode}"
        self.device = device
        # Parameters of a module keep their addresses, which spares torch.compile's graphs a copy of every weight.
        forward = drawn(family, device, dtype)
        ids = torch.randint(family.vocabulary, shape, device=device)
        with torch.inference_mode():
            self.run = MODES[mode](lambda: forward(ids))

    @torch.inference_mode()
    def block(self, samples, warmup):
        """Samples in ms: by events on the device around each pass, where there is one, and by the host's clock."""
        for _ in range(warmup):
            self.run()
        if self.device != "cuda":
            return {"device_ms": None, "wall_ms": [self.timed_on_host() for _ in range(samples)]}
        torch.cuda.synchronize()
        taken = [self.timed_on_device() for _ in range(samples)]
        return {"device_ms": [device_ms for device_ms, _ in taken], "wall_ms": [wall_ms for _, wall_ms in taken]}

    def timed_on_host(self):
        start = time.perf_counter()
        self.run()
        return (time.perf_counter() - start) * 1e3

    def timed_on_device(self):
        before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        before.record()
        start = time.perf_counter()
        self.run()
        after.record()
        after.synchronize()
        wall_ms = (time.perf_counter() - start) * 1e3
        return before.elapsed_time(after), wall_ms

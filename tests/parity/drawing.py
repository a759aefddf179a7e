"""Checkpoint folders from their layout: names and shapes of tensors come from transformers, their values from here.

The values of a tensor follow from its name and the seed alone, in a stream that every version of numpy has alike. So a recorded
layout makes the same folder without transformers.
"""

import dataclasses
import hashlib
import json
import math
import pathlib

import numpy as np

import vocabularies

SIZES = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8}
SEED = "parity"


@dataclasses.dataclass
class Layout:
    """What a folder holds."""

    texts: dict  # name of a file -> its text
    tensors: dict  # name of a file -> {name of a tensor: [dtype, shape]}
    tokenizer: str  # a kind of `vocabularies`

    def write(self, folder):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (self.texts | vocabularies.files(self.tokenizer)).items():
            (folder / name).write_text(text)
        for name, tensors in self.tensors.items():
            (folder / name).write_bytes(safetensors({key: (dtype, values(key, shape)) for key, (dtype, shape) in tensors.items()}))


def values(name, shape):
    """A tensor of float64: no bias is zero, no weight of a norm is one, and the size of a product's weights fits their number."""
    digest = hashlib.sha256(f"{SEED} {name}".encode()).digest()
    bits = np.random.PCG64(int.from_bytes(digest[:16], "big")).random_raw(math.prod(shape))
    uniform = (np.asarray(bits) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    drawn = ((2 * uniform - 1) * math.sqrt(3)).reshape(shape)
    if len(shape) < 2:
        is_norm = "norm" in name.lower() or ".ln_" in name
        return 1 + 0.3 * drawn if is_norm and name.endswith(("weight", "gamma")) else 0.3 * drawn
    if any(word in name for word in ("embed", "wte", "wpe")) and "project" not in name and "mapping" not in name:
        return 0.8 * drawn
    # A GPT-2 projection has its inputs in the first place.
    inputs = shape[0] if any(word in name for word in ("c_attn", "c_proj", "c_fc")) else shape[-1]
    return 1.3 / math.sqrt(inputs) * drawn


def encoded(dtype, array):
    if dtype == "BF16":
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32).astype(np.uint64)
        return ((bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) >> np.uint64(16)).astype("<u2").tobytes()
    return np.ascontiguousarray(array, {"F16": "<f2", "F32": "<f4", "F64": "<f8"}[dtype]).tobytes()


def safetensors(tensors):
    """The bytes of a file: length of the header, header, tensors."""
    header, offset, parts = {"__metadata__": {"format": "pt"}}, 0, []
    for name, (dtype, array) in tensors.items():
        end = offset + SIZES[dtype] * array.size
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, end]}
        parts.append(encoded(dtype, array))
        offset = end
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    return len(head).to_bytes(8, "little") + head + b"".join(parts)


def header(path):
    """{name: [dtype, shape]} of a safetensors file."""
    with open(path, "rb") as file:
        found = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    return {name: [entry["dtype"], entry["shape"]] for name, entry in found.items() if name != "__metadata__"}

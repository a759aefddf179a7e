"""`make models` with models of a few numbers: packages, an adapter and a hub's checkpoint made here, and an mvn that copies."""

import io
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import zipfile

try:
    import numpy as np
    from safetensors.numpy import load_file, save_file
except ImportError as error:
    print(f"{error}; container/setup.sh --test installs what it needs")
    sys.exit(77)

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "container/models.py"
sys.path.insert(0, str(SCRIPT.parent))
from wheel import sha256

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "##b"]
HIDDEN, INNER, POSITIONS, LABELS = 4, 6, 5, 2
CONFIG = {"hidden_size": HIDDEN, "intermediate_size": INNER, "max_position_embeddings": POSITIONS, "type_vocab_size": 2,
          "num_hidden_layers": 1}
# TensorFlow's names in the order of a bundle, by hand, with shape and the name that each tensor has in the checkpoint.
BUNDLE = [
    ("bert/embeddings/LayerNorm/beta", (4,), "bert.embeddings.LayerNorm.bias"),
    ("bert/embeddings/LayerNorm/gamma", (4,), "bert.embeddings.LayerNorm.weight"),
    ("bert/embeddings/position_embeddings", (5, 4), "bert.embeddings.position_embeddings.weight"),
    ("bert/embeddings/token_type_embeddings", (2, 4), "bert.embeddings.token_type_embeddings.weight"),
    ("bert/embeddings/word_embeddings", (7, 4), "bert.embeddings.word_embeddings.weight"),
    ("bert/encoder/layer_0/attention/output/LayerNorm/beta", (4,), "bert.encoder.layer.0.attention.output.LayerNorm.bias"),
    ("bert/encoder/layer_0/attention/output/LayerNorm/gamma", (4,), "bert.encoder.layer.0.attention.output.LayerNorm.weight"),
    ("bert/encoder/layer_0/attention/output/dense/bias", (4,), "bert.encoder.layer.0.attention.output.dense.bias"),
    ("bert/encoder/layer_0/attention/output/dense/kernel", (4, 4), "bert.encoder.layer.0.attention.output.dense.weight"),
    ("bert/encoder/layer_0/attention/self/key/bias", (4,), "bert.encoder.layer.0.attention.self.key.bias"),
    ("bert/encoder/layer_0/attention/self/key/kernel", (4, 4), "bert.encoder.layer.0.attention.self.key.weight"),
    ("bert/encoder/layer_0/attention/self/query/bias", (4,), "bert.encoder.layer.0.attention.self.query.bias"),
    ("bert/encoder/layer_0/attention/self/query/kernel", (4, 4), "bert.encoder.layer.0.attention.self.query.weight"),
    ("bert/encoder/layer_0/attention/self/value/bias", (4,), "bert.encoder.layer.0.attention.self.value.bias"),
    ("bert/encoder/layer_0/attention/self/value/kernel", (4, 4), "bert.encoder.layer.0.attention.self.value.weight"),
    ("bert/encoder/layer_0/intermediate/dense/bias", (6,), "bert.encoder.layer.0.intermediate.dense.bias"),
    ("bert/encoder/layer_0/intermediate/dense/kernel", (4, 6), "bert.encoder.layer.0.intermediate.dense.weight"),
    ("bert/encoder/layer_0/output/LayerNorm/beta", (4,), "bert.encoder.layer.0.output.LayerNorm.bias"),
    ("bert/encoder/layer_0/output/LayerNorm/gamma", (4,), "bert.encoder.layer.0.output.LayerNorm.weight"),
    ("bert/encoder/layer_0/output/dense/bias", (4,), "bert.encoder.layer.0.output.dense.bias"),
    ("bert/encoder/layer_0/output/dense/kernel", (6, 4), "bert.encoder.layer.0.output.dense.weight"),
    ("bert/pooler/dense/bias", (4,), "bert.pooler.dense.bias"),
    ("bert/pooler/dense/kernel", (4, 4), "bert.pooler.dense.weight"),
    ("cls/predictions/output_bias", (7,), "cls.predictions.bias"),
    ("cls/predictions/transform/LayerNorm/beta", (4,), "cls.predictions.transform.LayerNorm.bias"),
    ("cls/predictions/transform/LayerNorm/gamma", (4,), "cls.predictions.transform.LayerNorm.weight"),
    ("cls/predictions/transform/dense/bias", (4,), "cls.predictions.transform.dense.bias"),
    ("cls/predictions/transform/dense/kernel", (4, 4), "cls.predictions.transform.dense.weight"),
]
QUERY = "bert.encoder.layer.0.attention.self.query."


def pin(path):
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


class World:
    """A repository with pins of tiny models, and a machine whose PATH has no more than an mvn."""

    def __init__(self, folder):
        self.root = pathlib.Path(folder)
        self.out, self.bin, self.maven = self.root / "runs/models", self.root / "bin", self.root / "m2"
        self.bin.mkdir()
        draw = np.random.default_rng(1)
        self.values = {name: draw.standard_normal(shape).astype("<f4") for name, shape, _ in BUNDLE}
        self.tensors = {new: self.values[old].T if old.endswith("kernel") else self.values[old] for old, _, new in BUNDLE}
        self.adapter = self.root / "adapter.safetensors"
        self.parts = {f"{QUERY}A": draw.standard_normal((8, 4)), f"{QUERY}B": draw.standard_normal((4, 8)),
                      "classifier.weight": draw.standard_normal((2, 4)), "classifier.bias": draw.standard_normal(2)}
        self.parts = {name: value.astype(np.float16) for name, value in self.parts.items()}
        save_file(self.parts, self.adapter)
        self.jar = self.root / "package.jar"
        self.pack()
        real = json.loads((ROOT / "container/models.json").read_text())
        base = {"artifact": "g.h:tiny:1", "member": "inner", "licence": "none", "lower_case": True, "hub": "a/tiny",
                "revision": "0" * 40, "jar": pin(self.jar)}
        adapter = pin(self.adapter) | {"path": self.adapter.name}
        sst2 = {"base": "tiny", "licence": "none", "labels": ["bad", "good"], "adapter": adapter}
        self.pins = {"config": CONFIG, "tokenizer": real["tokenizer"], "models": {"tiny-sst2": sst2, "tiny": base}}
        self.pin_expected()

    def pack(self):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w") as bundle:
            bundle.writestr("assets/vocab.txt", "\n".join(WORDS) + "\n")
            data = b"".join(self.values[name].tobytes() for name, *_ in BUNDLE)
            bundle.writestr("variables/variables.data-00000-of-00001", data)
        with zipfile.ZipFile(self.jar, "w") as jar:
            jar.writestr("inner", inner.getvalue())

    def expected(self):
        """The tensors of both checkpoints, by arithmetic of this test."""
        classifier = {name: value for name, value in self.tensors.items() if not name.startswith("cls.")}
        a, b = (self.parts[QUERY + part].astype(np.float64) for part in "AB")
        classifier[f"{QUERY}weight"] = (classifier[f"{QUERY}weight"].astype(np.float64) + b @ a).astype(np.float32)
        heads = {name: value.astype(np.float32) for name, value in self.parts.items() if name.startswith("classifier")}
        return {"tiny": self.tensors, "tiny-sst2": classifier | heads}

    def pin_expected(self):
        """The digests of what comes out, as a first run without them would print."""
        for name, tensors in self.expected().items():
            scratch = self.root / "expected"
            scratch.mkdir(exist_ok=True)
            ordered = {key: np.ascontiguousarray(value) for key, value in sorted(tensors.items())}
            save_file(ordered, scratch / "model.safetensors", metadata={"format": "pt"})
            self.pins["models"][name]["files"] = {"model.safetensors": pin(scratch / "model.safetensors")}

    def add_mvn(self, last="true"):
        jar = self.maven / "g/h/tiny/1/tiny-1.jar"
        lines = f"#!/bin/sh\necho run >>{self.root}/mvn.log\n/bin/mkdir -p {jar.parent}\n/bin/cp {self.jar} {jar}\n{last}\n"
        (self.bin / "mvn").write_text(lines)
        (self.bin / "mvn").chmod(0o755)
        return jar

    def add_hub(self):
        """The same tensors as a hub has them: early names of the layer norms, and a head that nobody reads."""
        folder = self.root / "runs/hub/a--tiny" / ("0" * 40)
        folder.mkdir(parents=True)
        early = lambda name: name.replace("Norm.weight", "Norm.gamma").replace("Norm.bias", "Norm.beta")
        tensors = {early(name): np.ascontiguousarray(value) for name, value in self.tensors.items()}
        save_file(tensors | {"cls.seq_relationship.bias": np.zeros(2, np.float32)}, folder / "model.safetensors")
        (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": {word: i for i, word in enumerate(WORDS)}}}))
        return folder / "model.safetensors"

    def make(self, *arguments):
        (self.root / "pins.json").write_text(json.dumps(self.pins))
        command = [sys.executable, "-B", SCRIPT, self.out, *arguments, "--root", self.root, "--pins", self.root / "pins.json"]
        command += ["--mixprec", self.root / "mixprec"]
        environment = {"PATH": str(self.bin), "MAVEN_REPOSITORY": str(self.maven)}
        for name in ("PYTHONPATH", "HOME", "LD_LIBRARY_PATH"):
            if name in os.environ:
                environment[name] = os.environ[name]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def left(self):
        return sorted(path.name for path in self.out.iterdir()) if self.out.is_dir() else []


class Models(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.world = World(folder.name)

    def refused(self, words):
        code, said = self.world.make()
        self.assertEqual(code, 1, said)
        self.assertIn(words, said)
        self.assertEqual(said.count("error: "), 1, said)
        self.assertNotIn("Traceback", said)
        self.assertEqual(self.world.left(), [])

    def test_a_package_becomes_both_checkpoints_once(self):
        world = self.world
        world.add_mvn()
        code, said = world.make()
        self.assertEqual(code, 0, said)
        for name, tensors in world.expected().items():
            found = load_file(world.out / name / "model.safetensors")
            self.assertEqual(sorted(found), sorted(tensors))
            for key, value in tensors.items():
                np.testing.assert_array_equal(found[key], value, key)
            self.assertIn(world.pins["models"][name]["files"]["model.safetensors"]["sha256"], said)
        config = json.loads((world.out / "tiny-sst2/config.json").read_text())
        labels = (config["id2label"], config["label2id"])
        self.assertEqual((config["vocab_size"], labels), (7, ({"0": "bad", "1": "good"}, {"bad": 0, "good": 1})))
        tokenizer = json.loads((world.out / "tiny/tokenizer.json").read_text())
        self.assertEqual(tokenizer["model"]["vocab"], {word: index for index, word in enumerate(WORDS)})
        self.assertEqual(tokenizer["post_processor"]["special_tokens"]["[SEP]"]["ids"], [3])
        before = {path: path.stat().st_mtime_ns for path in world.out.rglob("*")}
        code, said = world.make()
        self.assertEqual((code, said.count("nothing to do")), (0, 2), said)
        self.assertEqual({path: path.stat().st_mtime_ns for path in world.out.rglob("*")}, before)
        self.assertEqual((world.root / "mvn.log").read_text(), "run\n")

    def test_a_damaged_checkpoint_is_made_anew_and_the_other_is_left(self):
        self.world.add_mvn()
        self.world.make()
        (self.world.out / "tiny/model.safetensors").write_bytes(b"x")
        code, said = self.world.make()
        self.assertEqual(code, 0, said)
        self.assertIn("model.safetensors is not the pinned file", said)
        self.assertEqual(said.count("nothing to do"), 1, said)
        self.assertEqual(self.world.left(), ["tiny", "tiny-sst2"])

    def test_without_mvn_the_hubs_checkpoint_gives_the_same_bytes(self):
        self.world.add_hub()
        code, said = self.world.make()
        self.assertEqual(code, 0, said)
        self.assertIn("tiny: taking the hub's checkpoint in ", said)
        self.assertEqual(self.world.left(), ["tiny", "tiny-sst2"])

    def test_both_sources_are_compared_tensor_by_tensor(self):
        self.world.add_mvn()
        self.world.make("tiny")
        hub = self.world.add_hub()
        code, said = self.world.make("tiny")
        self.assertEqual(code, 0, said)
        self.assertIn("tiny: 28 tensors, each equal to that of ", said)
        tensors = load_file(hub)
        tensors["bert.pooler.dense.bias"][2] += 1
        save_file(tensors, hub)
        code, said = self.world.make("tiny")
        self.assertEqual(code, 1, said)
        self.assertRegex(said, "error: tiny: 1 tensors of .* are not those of .*: bert.pooler.dense.bias")

    def test_what_is_there_is_not_fetched_again(self):
        self.world.add_mvn()
        self.world.add_hub()
        code, said = self.world.make()
        self.assertEqual((code, (self.world.root / "mvn.log").exists()), (0, False), said)

    def test_a_machine_with_neither_is_told_both_ways(self):
        self.refused("install Maven and Java (Debian: apt-get install maven), or run `mixprec fetch experiments/numerics.yaml`")

    def test_an_mvn_that_fails_is_said(self):
        (self.world.bin / "mvn").write_text("#!/bin/sh\necho 'JAVA_HOME is not defined' >&2\nexit 1\n")
        (self.world.bin / "mvn").chmod(0o755)
        self.refused("mvn could not fetch g.h:tiny:1: see above, and `mvn -version` (it needs Java); `mixprec fetch ")

    def test_another_package_is_refused_by_its_digest(self):
        jar = self.world.add_mvn()
        self.world.jar.write_bytes(self.world.jar.read_bytes() + b"x")
        self.refused(f"{jar}: sha256 {sha256(self.world.jar)} instead of ")

    def test_what_comes_out_otherwise_than_pinned_is_not_kept(self):
        self.world.add_mvn()
        self.world.pins["models"]["tiny"]["files"]["model.safetensors"]["sha256"] = "0" * 64
        self.refused("tiny: model.safetensors came out with sha256 ")

    def test_a_disk_that_is_too_small_is_said_before_anything_is_fetched(self):
        self.world.add_mvn()
        self.world.pins["models"]["tiny"]["files"]["model.safetensors"]["bytes"] = 1 << 60
        self.refused("MB are free, and tiny takes 1152921504607 MB: make room")
        self.assertFalse((self.world.root / "mvn.log").exists())

    def test_another_adapter_is_refused(self):
        self.world.add_mvn()
        self.world.adapter.write_bytes(b"x")
        code, said = self.world.make()
        self.assertEqual((code, self.world.left()), (1, ["tiny"]), said)
        self.assertIn("is not the published adapter: git checkout adapter.safetensors", said)


class Pins(unittest.TestCase):
    def test_manifests_name_the_digests_of_what_is_made(self):
        models = json.loads((ROOT / "container/models.json").read_text())["models"]
        for name, manifests in {"bert-base-uncased": ["numerics", "paper", "tensorrt"], "bert-base-cased": ["numerics"],
                                "bert-base-uncased-sst2": ["downstream"]}.items():
            for manifest in manifests:
                text = (ROOT / f"experiments/{manifest}.yaml").read_text()
                self.assertIn(models[name]["files"]["model.safetensors"]["sha256"], text, manifest)
                if "hub" in models[name]:
                    self.assertIn(f"hub: {models[name]['hub']}\n        revision: {models[name]['revision']}\n", text, manifest)

    def test_the_published_adapter_is_the_pinned_one(self):
        models = json.loads((ROOT / "container/models.json").read_text())["models"]
        adapter = models["bert-base-uncased-sst2"]["adapter"]
        self.assertEqual(pin(ROOT / adapter["path"]), {"bytes": adapter["bytes"], "sha256": adapter["sha256"]})
        folder = (ROOT / adapter["path"]).parent
        for line in (folder / "SHA256SUMS").read_text().splitlines():
            digest, name = line.split()
            self.assertEqual(sha256(folder / name), digest, name)


if __name__ == "__main__":
    unittest.main()

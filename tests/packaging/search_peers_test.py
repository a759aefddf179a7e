"""The comparison of searches, without the tools: which operations nodes are of, the policies, the table. tests/packaging/peers.rs
runs it with the program to talk to in MIXPREC."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "experiments"))

import search_peers


class Operations(unittest.TestCase):
    NODES = [
        "embeddings/sum/word",
        "embeddings/sum",
        "layer.1/attention/qkv",
        "layer.1/attention/qkv/add_bias",
        "mask/tokens",
        "layer.1/attention/softmax/mask",
        "layer.1/attention/softmax",
        "layer.1/mlp/layer_norm",
        "layer.11/mlp/layer_norm/square",
        "layer.11/mlp/layer_norm",
    ]
    KNOWN = [
        "embeddings/sum",
        "layer.1/attention/qkv",
        "layer.1/attention/softmax",
        "layer.1/mlp/layer_norm",
        "layer.11/mlp/layer_norm",
    ]

    def test_a_node_inside_another_is_no_operation_and_neither_is_the_mask(self):
        self.assertEqual(search_peers.whole(self.NODES), self.KNOWN)

    def test_an_operation_stays_in_fp32_where_one_of_its_nodes_does(self):
        nodes = {"layer.1/attention/qkv/add_bias", "layer.11/mlp/layer_norm/square", "mask/tokens", "graph_output_cast"}
        self.assertEqual(search_peers.operations(nodes, self.KNOWN), ["layer.1/attention/qkv", "layer.11/mlp/layer_norm"])

    @unittest.skipUnless("MIXPREC" in os.environ, "MIXPREC does not name the program")
    def test_the_program_knows_the_policies_of_its_manifest(self):
        with tempfile.TemporaryDirectory() as folder:
            folder = pathlib.Path(folder)
            words = ["--model", "m", "--text", "t", "--out", str(folder), "--held-out", "3"]
            arguments = search_peers.parse(words)
            sets = {"mixprec-search": ["layer.1/mlp/layer_norm", "layer.0/mlp/layer_norm"], "auto": []}
            path = search_peers.write_manifest(arguments, "held-out", {"held-out": folder / "text"}, sets)
            self.assertEqual(json.loads(path.read_text())["expect_configurations"], 6)
            done = subprocess.run([os.environ["MIXPREC"], "plan", str(path)], capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("6 configurations", done.stdout)


class Table(unittest.TestCase):
    def test_a_set_without_operations_shows_what_fp16_does(self):
        def row(policy, broken, cosine):
            return {"precision": policy, "status": "ok", "forward_broken_rows": broken, "forward_cosine_min": cosine}

        rows = {
            ("fp16", "reference"): row("fp16", 129, 0.078),
            ("mixprec-search", "reference"): row("mixprec-search", 0, 0.99998),
            ("fp16", "onnxruntime"): {**row("fp16", None, None), "status": "failed"},
        }
        found = {
            "mixprec-search": {"ops": ["a", "b"], "evaluations": 17, "seconds": 60.0, "version": "reference 1"},
            "auto": {"ops": [], "nodes": 0, "as_converted": {"broken_rows": 1, "cosine_min": 0.5}, "version": "auto 2"},
        }
        arguments = search_peers.parse(["--model", "models/bert", "--text", "t"])
        table = search_peers.markdown(found, rows, arguments).splitlines()
        self.assertEqual(table[2], "| mixprec-search | 2 | – | 17 | 60.0 | 0 | 0.999980 | – | – | – | – |")
        self.assertEqual(table[3], "| auto | 0 | 0 | – | – | 129 | 0.078000 | – | – | 1 | 0.500000 |")
        self.assertEqual({line.count("|") for line in table[:4]}, {12})
        self.assertIn("auto 2; reference 1.", table[5])

    def test_a_text_that_is_too_short_for_two_parts_is_refused(self):
        with tempfile.TemporaryDirectory() as folder:
            text = pathlib.Path(folder) / "text"
            text.write_text("a line\n" * 10)
            arguments = search_peers.parse(["--model", "m", "--text", str(text), "--out", folder])
            with self.assertRaises(search_peers.Failed) as failed:
                search_peers.cut(arguments)
            self.assertIn("70 bytes are too few", str(failed.exception))


if __name__ == "__main__":
    unittest.main()

"""The Python side of `make peers`, without PyTorch: ratios, tables, turns, and the child process. tests/packaging/peers.rs
runs it with the program to talk to in MIXPREC."""

import contextlib
import csv
import io
import os
import pathlib
import random
import sys
import tempfile
import unittest
import unittest.mock

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "experiments"))

import peers
import peers_table


def blocks(*milliseconds, device=True):
    return [{"device_ms": [ms] * 3 if device else None, "wall_ms": [ms + 1] * 3} for ms in milliseconds]


FACTS = {
    "mixprec": "cuda 1, hybrid",
    "torch": "2",
    "tensorrt": "TensorRT 8.6.1, CUDA graph",
    "gpu": "A GPU",
    "driver": "580",
    "sm_clock_mhz_min": 1700,
    "sm_clock_mhz_max": 1980,
}
CASE = {"model": "gpt2", "batch": 8, "sequence": 128, "peer": "torch-cudagraph"}


class Ratios(unittest.TestCase):
    def test_a_drift_that_meets_both_leaves_the_ratio_alone(self):
        drift = [1.0, 1.1, 1.3, 1.6, 2.0, 2.5]
        ratio, low, high = peers_table.ratio_interval(drift, [2.5 * ms for ms in drift])
        for value in (ratio, low, high):
            self.assertAlmostEqual(value, 2.5)

    def test_the_interval_holds_the_truth_as_often_as_it_says(self):
        generator = random.Random(5)
        resamples, peers_table.RESAMPLES = peers_table.RESAMPLES, 400
        self.addCleanup(setattr, peers_table, "RESAMPLES", resamples)
        held, runs = 0, 400
        for run in range(runs):
            ours = [generator.lognormvariate(0, 0.05) for _ in range(12)]
            theirs = [1.5 * generator.lognormvariate(0, 0.05) for _ in range(12)]
            _, low, high = peers_table.ratio_interval(ours, theirs, seed=run)
            held += low <= 1.5 <= high
        # The standard error of the share is 1 % here; the bootstrap of a median at n = 12 is known to be near nominal.
        self.assertGreater(held / runs, 0.90)
        self.assertLess(held / runs, 0.99)

    def test_too_few_or_unpaired_rounds_have_no_interval(self):
        for ours, theirs in (([1] * 5, [1] * 5), ([1] * 7, [1] * 6)):
            with self.assertRaises(ValueError):
                peers_table.ratio_interval(ours, theirs)

    def test_like_is_compared_with_like(self):
        ours, theirs = blocks(*[1.0] * 6), blocks(*[2.0] * 6)
        self.assertEqual(peers_table.row(CASE, ours, theirs, FACTS)["ratio"], 2.0)
        row = peers_table.row(CASE, blocks(*[1.0] * 6, device=False), theirs, FACTS)
        self.assertEqual((row["clock"], row["ratio"]), ("wall", 1.5))


class Tables(unittest.TestCase):
    def setUp(self):
        self.rows = [peers_table.row(CASE, blocks(*[0.5] * 6), blocks(*[0.75] * 6), FACTS)]

    def test_the_table_says_how_it_was_measured(self):
        text = peers_table.markdown(self.rows)
        self.assertIn("| gpt2 | 8x128 | torch-cudagraph | 0.5000 | 0.7500 | 1.500 | 1.500 to 1.500 |\n", text)
        for words in (
            "6 alternating rounds of at least 3 samples: device time",
            "mixprec: cuda 1, hybrid. PyTorch 2. TensorRT 8.6.1, CUDA graph.",
            "GPU: A GPU, driver 580, SM clock 1700 to 1980 MHz between blocks.",
        ):
            self.assertIn(words, text)

    def test_without_a_gpu_none_is_named(self):
        facts = {"mixprec": "reference", "torch": "2", "sm_clock_mhz_min": "", "sm_clock_mhz_max": ""}
        row = peers_table.row(CASE, blocks(*[1.0] * 6, device=False), blocks(*[1.0] * 6, device=False), facts)
        text = peers_table.markdown([row])
        self.assertNotIn("GPU", text)
        self.assertIn("wall time of each pass", text)

    def test_every_column_is_written(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "peers.csv"
            peers_table.write_csv(self.rows, path)
            with path.open() as file:
                (line,) = csv.DictReader(file)
        self.assertEqual(tuple(line), peers_table.COLUMNS)
        self.assertEqual(line, {key: str(self.rows[0][key]) for key in peers_table.COLUMNS})


class Turns(unittest.TestCase):
    def test_runners_take_turns_and_the_gpu_is_asked_after_every_round(self):
        asked = []

        class Runner:
            def __init__(self, name):
                self.name = name

            def block(self, samples, warmup):
                asked.append((self.name, samples))
                return len(asked)

        class Gpu:
            def conditions(self):
                return len(asked)

        arguments = peers.parse(["--rounds", "6", "--block", "7"])
        taken, conditions = peers.alternate([Runner("a"), Runner("b")], arguments, Gpu())
        self.assertEqual(asked, [("a", 7), ("b", 7)] * 6)
        self.assertEqual(taken, {"a": [1, 3, 5, 7, 9, 11], "b": [2, 4, 6, 8, 10, 12]})
        self.assertEqual(conditions, [2, 4, 6, 8, 10, 12])

    def test_what_cannot_be_measured_is_refused(self):
        for words, message in (
            (["--shapes", "8by128"], "8by128 is no batch size x sequence length"),
            (["--shapes", "0x128"], "0x128 is no batch size"),
            (["--rounds", "5"], "5 is too little: at least 6"),
            (["--device", "cpu"], "--device cpu has no CUDA graphs"),
            (["--peers", "fastest"], "invalid choice"),
        ):
            said = io.StringIO()
            with contextlib.redirect_stderr(said), self.assertRaises(SystemExit) as ended:
                peers.parse(words)
            self.assertEqual(ended.exception.code, 2)
            self.assertIn(message, said.getvalue())


@unittest.skipUnless("MIXPREC" in os.environ, "MIXPREC does not name the program")
class Child(unittest.TestCase):
    def start(self, model="bert-tiny", sequence=8, backend="reference", program=None):
        return peers.Mixprec(program or os.environ["MIXPREC"], model, (2, sequence), backend, "fp32")

    def test_it_takes_samples_when_asked(self):
        with self.start() as mixprec:
            self.assertTrue(mixprec.description["library"].startswith("reference"))
            for samples in (5, 2):
                block = mixprec.block(samples, warmup=1)
                self.assertEqual(len(block["wall_ms"]), samples)
                self.assertTrue(all(ms > 0 for ms in block["wall_ms"]))
                self.assertIsNone(block["device_ms"])
        self.assertEqual(mixprec.process.returncode, 0)

    def test_tensorrt_is_a_child_of_its_own_and_needs_no_pytorch(self):
        arguments = peers.parse(["--peers", "tensorrt-fp16", "--device", "cpu", "--models", "bert-tiny"])
        arguments.mixprec, arguments.backend = pathlib.Path(os.environ["MIXPREC"]), "reference"
        # No library is of this name, so that the child says the same on every machine.
        with unittest.mock.patch.dict(os.environ, {"MIXPREC_TENSORRT": "neither"}):
            with self.assertRaises(peers.Failed) as failed, tempfile.TemporaryDirectory() as folder:
                arguments.out = pathlib.Path(folder)
                peers.run(arguments)
        self.assertIn("write tensorrt or tensorrt-rtx", str(failed.exception))

    def test_its_reason_is_handed_on_in_one_line(self):
        for arguments, reason in (
            ({"sequence": 4096}, "mixprec ended with exit code 2: inputs do not fit the engine: a batch of 2"),
            ({"model": "nowhere"}, "mixprec ended with exit code 2: nowhere: there is no such folder"),
            ({"program": "/nowhere/mixprec"}, "/nowhere/mixprec: No such file or directory; run make build"),
        ):
            with self.assertRaises(peers.Failed) as failed:
                self.start(**arguments)
            self.assertTrue(str(failed.exception).startswith(reason), failed.exception)
            self.assertEqual(len(str(failed.exception).splitlines()), 1)

    def test_an_engine_that_dies_is_told(self):
        mixprec = self.start()
        mixprec.process.kill()
        mixprec.process.wait()
        with self.assertRaises(peers.Failed) as failed:
            mixprec.block(1, warmup=0)
        self.assertIn("exit code -9: without a message", str(failed.exception))


if __name__ == "__main__":
    unittest.main()

#!/usr/bin/env python3
"""Time mixprec, PyTorch and TensorRT side by side: one block of samples of each in turn, so that clocks, temperature and
whatever else drifts meets all. Writes peers.csv, peers.md and every sample (peers.json) into a folder.

usage: peers.py [--out DIR] [--models M ...] [--shapes BxS ...] [--peers MODE ...] [--rounds N] [--block N]
                [--backend B] [--precision P] [--device cuda|cpu] [--mixprec PROGRAM]

Needs PyTorch (unless only TensorRT is compared with), with --device cuda an NVIDIA GPU, and mixprec built. The peers
tensorrt-fp16 and tensorrt-hybrid are mixprec's backend tensorrt, and need TensorRT with its shim (container/setup.sh
--tensorrt). Nothing else should run on the machine.
"""

import argparse
import contextlib
import itertools
import json
import pathlib
import subprocess
import sys
import tempfile

import peers_table

MODELS = ("bert-base", "gpt2")
SHAPES = ((1, 32), (1, 128), (1, 512), (8, 128), (32, 128), (32, 512))
WARMUP = 10
TORCH = ("cudagraph", "compile", "eager")
# TensorRT under the policies of these names.
TENSORRT = {"tensorrt-fp16": "fp16", "tensorrt-hybrid": "hybrid"}


class Failed(Exception):
    """Why there are no numbers, in one line with the cure."""


class Mixprec:
    """A child process that holds one engine and takes samples on request; see src/timing.rs."""

    def __init__(self, program, model, shape, backend, precision, name="mixprec"):
        self.name = name
        batch, sequence = (str(number) for number in shape)
        command = [str(program), "time", "--model", model, "--backend", backend, "--precision", precision]
        command += ["--batch", batch, "--seq", sequence]
        self.messages = tempfile.TemporaryFile("w+")
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": self.messages}
        try:
            self.process = subprocess.Popen(command, text=True, **pipes)
        except OSError as error:
            self.messages.close()
            raise Failed(f"{program}: {error.strerror}; run make build, or say where it is with --mixprec") from None
        self.description = self.answer()["ready"]

    def block(self, samples, warmup):
        try:
            self.process.stdin.write(json.dumps({"block": samples, "warmup": warmup}) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        return self.answer()

    def answer(self):
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        code = self.process.wait()
        self.messages.seek(0)
        said = self.messages.read().strip().splitlines() or ["without a message"]
        self.close()
        raise Failed(f"mixprec ended with exit code {code}: {said[-1].removeprefix('error: ')}")

    def close(self):
        for stream in (self.process.stdin, self.process.stdout, self.messages):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Gpu:
    """The GPU that all use, CUDA's first, and what nvidia-smi says of it."""

    def __init__(self, torch):
        # nvidia-smi counts GPUs that CUDA_VISIBLE_DEVICES hides; the identifier is the same for both.
        self.id = f"GPU-{torch.cuda.get_device_properties(0).uuid}" if torch else "0"
        name, driver = self.query("name", "driver_version")
        self.facts = {"gpu": torch.cuda.get_device_properties(0).name if torch else name, "driver": driver}

    def query(self, *fields):
        command = ["nvidia-smi", f"--id={self.id}", f"--query-gpu={','.join(fields)}", "--format=csv,noheader,nounits"]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split(", ")
        except (OSError, subprocess.CalledProcessError):
            answer = []
        return answer if len(answer) == len(fields) else ["unknown"] * len(fields)

    def conditions(self):
        clock, temperature = self.query("clocks.sm", "temperature.gpu")
        return {"sm_clock_mhz": number(clock), "temperature_c": number(temperature)}


def number(text):
    return int(text) if text.isdigit() else None


def load_torch(device):
    """PyTorch with what is asked of it."""
    try:
        import torch
    except ImportError as error:
        cure = "pip install torch, or name a Python that has it: make peers PYTHON=..."
        raise Failed(f"no PyTorch ({error}): {cure}") from None
    if device == "cuda" and not torch.cuda.is_available():
        raise Failed("PyTorch sees no NVIDIA GPU: install the driver and a CUDA build of PyTorch, or use --device cpu")
    return torch


def alternate(runners, arguments, gpu):
    """Rounds of one block of every runner in turn; the blocks of each runner, and the GPU's state after every round."""
    blocks = {runner.name: [] for runner in runners}
    conditions = []
    for _ in range(arguments.rounds):
        for runner in runners:
            blocks[runner.name].append(runner.block(arguments.block, WARMUP))
        if gpu:
            conditions.append(gpu.conditions())
    return blocks, conditions


def measure(model, shape, arguments, gpu, torch):
    """One model at one shape: a row per peer, and everything they rest on."""
    with contextlib.ExitStack() as children:

        def child(backend, precision, name):
            return children.enter_context(Mixprec(arguments.mixprec, model, shape, backend, precision, name))

        peers = [child("tensorrt", TENSORRT[mode], mode) for mode in arguments.peers if mode in TENSORRT]
        if torch:
            import peers_torch

            modes = [mode for mode in arguments.peers if mode in TORCH]
            peers += [peers_torch.Peer(model, shape, mode, arguments.device) for mode in modes]
        mixprec = child(arguments.backend, arguments.precision, "mixprec")
        blocks, conditions = alternate([mixprec, *peers], arguments, gpu)
    clocks = [state["sm_clock_mhz"] for state in conditions if state["sm_clock_mhz"] is not None]
    facts = {
        "mixprec": f"{mixprec.description['library']}, {arguments.precision}",
        "torch": torch.__version__ if torch else "",
        "tensorrt": next((peer.description["library"] for peer in peers if peer.name in TENSORRT), ""),
        "sm_clock_mhz_min": min(clocks, default=""),
        "sm_clock_mhz_max": max(clocks, default=""),
        **(gpu.facts if gpu else {}),
    }
    case = {"model": model, "batch": shape[0], "sequence": shape[1]}
    rows = [
        peers_table.row({**case, "peer": peer.name}, blocks["mixprec"], blocks[peer.name], facts) for peer in peers
    ]
    return rows, {**case, "mixprec": mixprec.description, "blocks": blocks, "conditions": conditions}


def run(arguments):
    torch = load_torch(arguments.device) if set(arguments.peers) & set(TORCH) else None
    gpu = Gpu(torch) if arguments.device == "cuda" else None
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows, samples = [], []
    for model, shape in itertools.product(arguments.models, arguments.shapes):
        measured, raw = measure(model, shape, arguments, gpu, torch)
        if gpu and torch:
            torch.cuda.empty_cache()
        rows += measured
        samples.append(raw)
        # After every shape: what has been measured is not lost with what comes.
        peers_table.write_csv(rows, arguments.out / "peers.csv")
        (arguments.out / "peers.md").write_text(peers_table.markdown(rows))
        (arguments.out / "peers.json").write_text(json.dumps(samples))
        for line in measured:
            print(f"{model} {shape[0]}x{shape[1]} {line['peer']}: {line['ratio']:.3f} times mixprec's", flush=True)
    print(f"\n{peers_table.markdown(rows)}\nin {arguments.out}: peers.md, peers.csv, peers.json")


def shape(text):
    batch, _, sequence = text.partition("x")
    if not (batch.isdigit() and sequence.isdigit() and int(batch) and int(sequence)):
        raise argparse.ArgumentTypeError(f"{text} is no batch size x sequence length, e.g. 8x128")
    return int(batch), int(sequence)


def at_least(least):
    def checked(text):
        if not text.isdigit() or int(text) < least:
            raise argparse.ArgumentTypeError(f"{text} is too little: at least {least} are needed")
        return int(text)

    return checked


def parse(words):
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/peers"), help="folder of the results")
    parser.add_argument("--models", nargs="+", default=MODELS, help="architectures, with a seed if you like: gpt2:7")
    parser.add_argument("--shapes", nargs="+", type=shape, default=SHAPES, metavar="BxS")
    parser.add_argument("--peers", nargs="+", default=["cudagraph"], choices=[*TORCH, *TENSORRT])
    parser.add_argument("--rounds", type=at_least(peers_table.MIN_ROUNDS), default=10)
    parser.add_argument("--block", type=at_least(1), default=100, help="samples per block")
    parser.add_argument("--backend", default="cuda")
    parser.add_argument("--precision", default="hybrid")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="where PyTorch computes")
    parser.add_argument("--mixprec", type=pathlib.Path, default=pathlib.Path("target/release/mixprec"))
    arguments = parser.parse_args(words)
    if arguments.device == "cpu" and "cudagraph" in arguments.peers:
        parser.error("--device cpu has no CUDA graphs: use --peers eager, compile or both")
    return arguments


def main():
    try:
        run(parse(sys.argv[1:]))
    except Failed as reason:
        sys.exit(f"error: {reason}")
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

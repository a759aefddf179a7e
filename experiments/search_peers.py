#!/usr/bin/env python3
"""Compare `mixprec search` with tools that choose what stays in FP32: NVIDIA ModelOpt's AutoCast and onnxconverter-common's
auto_mixed_precision. Writes search_peers.md and search_peers.json into a folder.

usage: search_peers.py --model DIR --text FILE [--out DIR] [--seq N] [--forwards N] [--held-out N] [--mixprec PROGRAM]
                       [--peers NAME ...]

The text is cut in two. mixprec searches on windows of the first part, and each tool converts mixprec's FP32 ONNX with the first
window of it. The operations that a tool leaves in FP32 become a policy. All policies then run on windows of the second part, by the
backends reference (formats emulated) and onnxruntime; so does each converted model as the tool wrote it, in ONNX Runtime.

Needs a Python with onnx, onnxruntime, onnxconverter-common, nvidia-modelopt[onnx] and pyarrow; mixprec built, with the ONNX Runtime
that container/setup.sh --libraries fetches. No GPU.
"""

import argparse
import contextlib
import io
import json
import pathlib
import subprocess
import sys
import time
import warnings
from importlib import metadata

# Part of the text to search on, bytes: more than 200 windows of 128 tokens.
SEARCHED_BYTES = 200_000
# A row is broken below this cosine or above this relative error, as in a manifest without these keys.
BROKEN_COSINE, BROKEN_RELATIVE_L2 = 0.99, 0.1
OURS = "mixprec-search"


class Failed(Exception):
    """Why there is no comparison, in one line with the cure."""


def mixprec(program, *words):
    """Runs the program. It ends with 1 where a policy breaks a tolerance, which is a result."""
    try:
        done = subprocess.run([str(program), *map(str, words)], capture_output=True, text=True, check=False)
    except OSError as error:
        raise Failed(f"{program}: {error.strerror}; run make build, or say where it is with --mixprec") from None
    if done.returncode not in (0, 1):
        said = (done.stderr.strip().splitlines() or ["without a message"])[-1].removeprefix("error: ")
        raise Failed(f"mixprec {words[0]} ended with exit code {done.returncode}: {said}")


def feed(window, length):
    """A window of token ids as the inputs of mixprec's ONNX."""
    import numpy as np

    mask = (np.arange(len(window)) < length).astype(np.int64)
    return {"input_ids": np.array([window], np.int64), "attention_mask": mask[None]}


def session(model):
    """A model in ONNX Runtime on the CPU: from inputs to the first output."""
    import onnxruntime

    source = str(model) if isinstance(model, pathlib.Path) else model.SerializeToString()
    loaded = onnxruntime.InferenceSession(source, providers=["CPUExecutionProvider"])
    return lambda inputs: loaded.run(None, inputs)[0]


def compared(ours, exact):
    """Smallest cosine and number of broken rows of an output beside the FP32 one; NaN and infinity are broken rows."""
    import numpy as np

    ours, exact = (x.astype(np.float64).reshape(-1, x.shape[-1]) for x in (ours, exact))
    with np.errstate(invalid="ignore", over="ignore"):
        norm = np.linalg.norm(exact, axis=-1)
        cosine = (ours * exact).sum(-1) / (np.linalg.norm(ours, axis=-1) * norm)
        error = np.linalg.norm(ours - exact, axis=-1) / norm
    broken = ~((cosine >= BROKEN_COSINE) & (error <= BROKEN_RELATIVE_L2))
    return {"cosine_min": float(np.nan_to_num(cosine, nan=-1.0).min()), "broken_rows": int(broken.sum())}


def autocast(path, calibration):
    """ModelOpt's AutoCast, which judges operations by rules on the ranges that it sees."""
    from modelopt.onnx.autocast import convert_to_mixed_precision

    data = None if calibration is None else str(calibration)
    return convert_to_mixed_precision(onnx_path=str(path), low_precision_type="fp16", calibration_data=data), 0


def auto_mixed(path, calibration):
    """auto_mixed_precision, which asks ONNX Runtime whether more operations in FP16 break a row."""
    import numpy as np
    import onnx
    from onnxconverter_common import auto_mixed_precision

    tried = []

    def keeps(exact, ours):
        tried.append(compared(ours[0], exact[0]))
        return tried[-1]["broken_rows"] == 0

    inputs = dict(np.load(calibration))
    return auto_mixed_precision.auto_convert_mixed_precision(onnx.load(str(path)), inputs, keeps), len(tried)


# Name: package, conversion, opset of the ONNX that it gets, and whether it sees the window. Opset 13 writes layer norms out.
PEERS = {
    "autocast": ("nvidia-modelopt", autocast, 20, True),
    "autocast-default": ("nvidia-modelopt", autocast, 20, False),
    "auto-mixed-precision": ("onnxconverter-common", auto_mixed, 20, True),
    "auto-mixed-precision-opset-13": ("onnxconverter-common", auto_mixed, 13, True),
}


def float_nodes(model):
    """Names of the nodes that write FP32, casts aside."""
    import onnx

    typed = onnx.shape_inference.infer_shapes(model).graph
    single = {v.name for v in (*typed.value_info, *typed.output) if v.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    return {node.name for node in typed.node if node.op_type not in ("Cast", "Constant") and single & set(node.output)}


def operations(nodes, known):
    """mixprec's operations of which one of these nodes is a part: a node is its operation's name, with a part behind a slash."""
    return [op for op in known if any(node == op or node.startswith(op + "/") for node in nodes)]


def manifest(arguments, name, inputs, policies):
    """A manifest that measures these policies: operations in FP32 by name, full FP16 otherwise."""
    precisions = ["fp16", "hybrid"]
    for policy, ops in policies.items():
        if ops:
            precisions.append({"name": policy, "base": "fp16", "ops": {op: "fp32" for op in ops}})
    names = [one if isinstance(one, str) else one["name"] for one in precisions]
    return {
        "schema": 1,
        "name": name,
        "question": "Which operations need FP32, and do the sets of several tools suffice on text that none of them saw?",
        "models": {"model": {"checkpoint": str(arguments.model.resolve()), "head": "hidden"}},
        "backends": ["reference", "onnxruntime"],
        "precisions": precisions,
        "batch_sizes": [1],
        "sequence_lengths": [arguments.seq],
        "inputs": {one: {"text": str(path.resolve())} for one, path in inputs.items()},
        "measurement": {"warmup": 0, "min_samples": 1, "max_samples": 1, "time_cap_s": 1, "timeout_s": 3600},
        "numerics": {"compare_sequences": 1, "forwards": arguments.held_out},
        "tolerances": {one: {"allow_nonfinite": True} for one in names},
        "expect_configurations": 2 * len(names) * len(inputs),
    }


def write_manifest(arguments, name, inputs, policies):
    path = arguments.out / f"{name}.yaml"
    path.write_text(json.dumps(manifest(arguments, name, inputs, policies), indent=1) + "\n")
    return path


def cut(arguments):
    """The text in two files, cut at the end of a line: to search on, and held out."""
    text = arguments.text.read_bytes()
    at = text.find(b"\n", SEARCHED_BYTES) + 1
    if at == 0 or len(text) < 2 * SEARCHED_BYTES:
        raise Failed(f"{arguments.text}: {len(text)} bytes are too few for two parts; give at least {2 * SEARCHED_BYTES}")
    parts = {"searched": text[:at], "held-out": text[at:]}
    for name, part in parts.items():
        (arguments.out / f"{name}.txt").write_bytes(part)
    return {name: arguments.out / f"{name}.txt" for name in parts}


def search(arguments, texts):
    """mixprec's own set, with what the certificate says, and its token ids."""
    path = write_manifest(arguments, "search", {"searched": texts["searched"]}, {})
    folder = arguments.out / "search"
    words = ["--model", "model", "--input", "searched", "--seq", arguments.seq, "--out", folder]
    words += ["--forwards", arguments.forwards, "--held-out", 0, "--tolerance", "max_broken_rows=0"]
    mixprec(arguments.mixprec, "search", path, *words)
    certificate = json.loads((folder / "certificate.json").read_text())
    evaluations = certificate["evaluations"]
    found = {"ops": [one["op"] for one in certificate["operations"]], "version": certificate["subject"]["library"]}
    found.update(evaluations=evaluations["sets"], forwards=evaluations["forwards"], seconds=round(evaluations["wall_s"], 1))
    ids = json.loads((folder / "forwards.json").read_text())
    return found, feed(ids["ids"][0], ids["lengths"][0])


def exported(arguments, opset=20):
    """The file of mixprec's FP32 model up to the last hidden state."""
    return arguments.out / f"fp32-opset-{opset}.onnx"


def export(arguments):
    words = ["--model", arguments.model, "--head", "hidden", "--batch", 1, "--seq", arguments.seq]
    for opset in {20, *(PEERS[name][2] for name in arguments.peers)}:
        mixprec(arguments.mixprec, "export", *words, "--opset", opset, "--out", exported(arguments, opset))


def convert(arguments, name, known, window):
    """A tool's model, with the operations that it left in FP32."""
    import numpy as np
    import onnx

    package, tool, opset, sees = PEERS[name]
    path = exported(arguments, opset)
    calibration = arguments.out / "window.npz"
    np.savez(calibration, **window)
    begin = time.monotonic()
    # What the tools print for each tensor is no result.
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model, evaluations = tool(path, calibration if sees else None)
    seconds = time.monotonic() - begin
    onnx.save(model, arguments.out / f"{name}.onnx")
    nodes = float_nodes(model)
    ops = operations(nodes, known)
    found = {"ops": ops, "nodes": len(nodes), "version": f"{package} {metadata.version(package)}"}
    return {**found, "evaluations": evaluations or None, "seconds": round(seconds, 1)}


def known_operations(arguments):
    """Names of all operations of the model, in its order."""
    import onnx

    return whole([node.name for node in onnx.load(str(exported(arguments))).graph.node])


def whole(names):
    """The names that are no part of another: `a/b` is a part of `a` where both are there. The attention mask is no operation."""
    present = {name for name in names if not name.startswith("mask/")}
    return [one for one in names if one in present and not any(one[:at] in present for at, c in enumerate(one) if c == "/")]


def as_converted(arguments, name, windows):
    """A tool's model in ONNX Runtime on the held-out windows."""
    run, exact = session(arguments.out / f"{name}.onnx"), session(exported(arguments))
    found = [compared(run(window), exact(window)) for window in windows]
    return {"cosine_min": min(one["cosine_min"] for one in found), "broken_rows": sum(one["broken_rows"] for one in found)}


def evaluate(arguments, texts, policies):
    """All policies on the held-out text, by both backends: {(policy, backend): columns of the row}."""
    from pyarrow import parquet

    path = write_manifest(arguments, "held-out", {"held-out": texts["held-out"]}, policies)
    mixprec(arguments.mixprec, "run", path, "--out", arguments.out / "run")
    columns = ["precision", "backend", "status", "forwards", "failed_forwards", "forward_broken_rows", "forward_cosine_min"]
    rows = parquet.read_table(arguments.out / "run/results.parquet", columns=columns).to_pylist()
    return {(row["precision"], row["backend"]): row for row in rows}


def held_out_windows(arguments, texts):
    """Token ids of the held-out forwards: what a search on them would run on. It is stopped by its tolerance at once."""
    path = write_manifest(arguments, "windows", {"held-out": texts["held-out"]}, {})
    folder = arguments.out / "windows"
    words = ["--model", "model", "--input", "held-out", "--seq", arguments.seq, "--out", folder, "--supersets", 0]
    words += ["--forwards", arguments.held_out, "--held-out", 0, "--start", "fp32"]
    mixprec(arguments.mixprec, "search", path, *words)
    ids = json.loads((folder / "forwards.json").read_text())
    return [feed(*one) for one in zip(ids["ids"], ids["lengths"])]


def markdown(found, rows, arguments):
    """The table, with how it was measured."""

    def cell(row):
        if not row or row["status"] != "ok":
            return "– | –"
        cosine = row["forward_cosine_min"]
        return f"{row['forward_broken_rows']} | " + ("–" if cosine is None else f"{cosine:.6f}")

    lines = [
        "| set of | FP32 operations | nodes | evaluations | s | broken rows, emulated | smallest cosine | broken rows, ONNX Runtime "
        "| smallest cosine | as converted: broken rows | smallest cosine |",
        "|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for name, one in found.items():
        policy = name if one.get("ops") else one.get("policy", "fp16")
        own = one.get("as_converted")
        converted = f"{own['broken_rows']} | {own['cosine_min']:.6f}" if own else "– | –"
        facts = [len(one["ops"]) if "ops" in one else None, *map(one.get, ("nodes", "evaluations", "seconds"))]
        facts = " | ".join("–" if fact is None else str(fact) for fact in facts)
        cells = " | ".join(cell(rows.get((policy, backend))) for backend in ("reference", "onnxruntime"))
        lines.append(f"| {name} | {facts} | {cells} | {converted} |")
    versions = "; ".join(sorted({one["version"] for one in found.values() if "version" in one}))
    lines += [
        "",
        f"{arguments.model.name}, windows of {arguments.seq} tokens: mixprec searched on {arguments.forwards}, each tool saw one of them, and "
        f"all were judged on {arguments.held_out} windows of text that none saw, by mixprec's policies (emulated and in ONNX Runtime, norms "
        "written out) and as the tool wrote its model (in ONNX Runtime, whose fused norm computes in FP32). A row is broken below a cosine "
        f"of {BROKEN_COSINE} to FP32 or above a relative error of {BROKEN_RELATIVE_L2}. A set without operations is fp16. {versions}.",
    ]
    return "\n".join(lines) + "\n"


def run(arguments):
    arguments.out.mkdir(parents=True, exist_ok=True)
    texts = cut(arguments)
    found = {"fp16": {"policy": "fp16"}, "hybrid": {"policy": "hybrid"}}
    found[OURS], window = search(arguments, texts)
    export(arguments)
    known = known_operations(arguments)
    windows = held_out_windows(arguments, texts)
    for name in arguments.peers:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            found[name] = convert(arguments, name, known, window)
            found[name]["as_converted"] = as_converted(arguments, name, windows)
        except ImportError as error:
            raise Failed(f"{name}: {error}; pip install {PEERS[name][0]}[onnx], or leave it out of --peers") from None
    rows = evaluate(arguments, texts, {name: one["ops"] for name, one in found.items() if "ops" in one})
    document = {"sets": found, "rows": list(rows.values())}
    (arguments.out / "search_peers.json").write_text(json.dumps(document, indent=1) + "\n")
    table = markdown(found, rows, arguments)
    (arguments.out / "search_peers.md").write_text(table)
    print(table)


def parse(words):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True, help="checkpoint folder")
    parser.add_argument("--text", type=pathlib.Path, required=True, help="text file")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("runs/search-peers"))
    parser.add_argument("--seq", type=int, default=128, help="sequence length, tokens")
    parser.add_argument("--forwards", type=int, default=24, help="windows to search on")
    parser.add_argument("--held-out", type=int, default=24, help="windows to judge the sets on")
    parser.add_argument("--mixprec", type=pathlib.Path, default=pathlib.Path("target/release/mixprec"))
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    return parser.parse_args(words)


def main():
    try:
        run(parse(sys.argv[1:]))
    except Failed as reason:
        sys.exit(f"error: {reason}")


if __name__ == "__main__":
    main()

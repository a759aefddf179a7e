#!/usr/bin/env python3
"""Compares mixprec with transformers on tiny checkpoints of every family and head, or on checkpoints of your own.

usage: parity.py [--mixprec FILE] [--models FOLDER] [--keep FOLDER] [--limit ERROR] [NAME ...]
       parity.py --recorded [--mixprec FILE] [NAME ...]
       parity.py --record

Prints a line for each checkpoint: the largest difference to transformers in single precision over the largest value of the output,
for each backend, over hidden states and logits of several texts, pairs of texts and ids; behind it the same to transformers in double
precision, and transformers' own distance between both. Token ids must be equal. NAME is a pattern of names (`bert-*`).

  --models FOLDER  the folders in it with a config.json, in place of the drawn checkpoints
  --keep FOLDER    leaves the drawn checkpoints there
  --limit ERROR    the largest difference that passes; 3e-6 by default
  --record         writes recorded.json anew: the layouts of a fixed set and what transformers makes of them
  --recorded       compares with that file, without transformers and torch

Needs torch and transformers (`container/setup.sh --parity`); `--recorded` needs numpy alone. Exit code 1: a difference, or a refusal that
no recipe expects. Exit code 77: a package is missing.
"""

import argparse
import concurrent.futures
import os
import pathlib
import sys
import tempfile

try:
    import numpy  # noqa: F401
except ImportError as error:
    print(f"{error}; container/setup.sh --parity installs what is needed")
    sys.exit(77)

import recorded
from cases import Case
from comparison import BACKENDS
from program import ROOT, Program

LIMIT = 3e-6


def available(program, folder):
    """The backends that run here; the reason for the others is printed."""
    found = []
    for backend in BACKENDS:
        answer = program.infer(folder, backend, "hidden", Case("a"))
        if answer.refused and backend != "reference":
            print(f"without {backend}: {answer.refused}")
        else:
            found.append(backend)
    return found


def compared(program, answers):
    """Comparisons in their order, while transformers is at the next ones."""
    backends = []

    def compare(folder, comparison, found):
        comparison.compare(program, folder, found, backends)
        return comparison

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = []
        for answer in answers:
            backends = backends or available(program, answer[0])
            waiting.append(pool.submit(compare, *answer))
            while waiting and (waiting[0].done() or len(waiting) > 2 * os.cpu_count()):
                yield waiting.pop(0).result()
        yield from (job.result() for job in waiting)


def report(comparisons, limit, is_fixed):
    """Prints the lines as they come and the sums; the exit code."""
    counts = {}
    for comparison in comparisons:
        state, line = comparison.judge(limit)
        counts[state] = counts.get(state, 0) + 1
        print(line, flush=True)
    if not counts:
        print("no checkpoint has such a name")
        return 1
    print(", ".join(f"{count} {state}" for state, count in sorted(counts.items())) + f"; limit {limit:g}")
    return int("wrong" in counts or (is_fixed and "refused" in counts))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--mixprec", default=ROOT / "target/release/mixprec")
    parser.add_argument("--models")
    parser.add_argument("--keep")
    parser.add_argument("--limit", type=float, default=LIMIT)
    parser.add_argument("--record", action="store_true")
    parser.add_argument("--recorded", action="store_true")
    arguments = parser.parse_args()
    if not arguments.recorded:
        try:
            import live
        except ImportError as error:
            print(f"{error}; container/setup.sh --parity installs what is needed")
            return 77
    with tempfile.TemporaryDirectory() as scratch:
        parent = pathlib.Path(arguments.keep or scratch).resolve()
        if arguments.record:
            recorded.record(live.recordable(parent))
            return 0
        if arguments.recorded:
            answers = recorded.answers(parent, arguments.names)
        else:
            models, names = arguments.models, arguments.names
            answers = live.answers(live.given(names, models) if models else live.drawn(names, parent))
        return report(compared(Program(arguments.mixprec), answers), arguments.limit, not arguments.models)


if __name__ == "__main__":
    sys.exit(main())

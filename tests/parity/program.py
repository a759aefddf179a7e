"""Runs `mixprec infer` on a checkpoint folder."""

import dataclasses
import json
import pathlib
import subprocess

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]


@dataclasses.dataclass
class Answer:
    """Ids and values, or why there are none."""

    ids: list = None
    values: np.ndarray = None
    refused: str = ""


class Program:
    """A binary of mixprec."""

    def __init__(self, path):
        self.path = str(pathlib.Path(path).resolve())
        help_text = self.call("infer", "--help").stdout
        # Arguments that this binary lacks are not tried.
        self.takes_pairs, self.takes_ids = "--text-pair" in help_text, "--ids" in help_text

    def takes(self, case):
        return (case.pair is None or self.takes_pairs) and (case.ids is None or self.takes_ids)

    def call(self, *arguments):
        return subprocess.run([self.path, *arguments], capture_output=True, text=True, cwd=ROOT)

    def infer(self, folder, backend, output, case):
        command = ["infer", "--json", "--model", str(folder), "--backend", backend, "--output", output]
        if case.ids is not None:
            command += ["--ids", ",".join(map(str, case.ids))]
        else:
            command.append("--text=" + case.text)
            command += [] if case.pair is None else ["--text-pair=" + case.pair]
        done = self.call(*command)
        if done.returncode != 0:
            lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")] or done.stderr.splitlines() or ["?"]
            return Answer(refused=lines[0].removeprefix("error: ").replace(f"{folder}/", ""))
        answer = json.loads(done.stdout)
        values = [float("nan") if value is None else value for value in answer["values"]]
        return Answer(answer["ids"], np.array(values).reshape(-1, answer["width"]))

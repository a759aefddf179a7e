"""One checkpoint: what the program makes of it beside what transformers makes of it, and the line that says so."""

import dataclasses

import numpy as np

BACKENDS = ["reference", "onnxruntime"]


@dataclasses.dataclass
class Expected:
    """A case with its ids and {output: arrays}, in float64 and, where it is known, in float32; `None` where only ids are known."""

    case: object
    ids: list
    outputs: dict


class Comparison:
    """Largest differences over the largest value of an output, all cases together."""

    def __init__(self, name, architecture="", recipe=None):
        self.name, self.architecture, self.recipe = name, architecture, recipe
        self.errors = {}  # backend -> largest difference to each array
        self.own, self.runs = 0.0, 0
        self.faults, self.refused, self.head_refused = [], "", ""

    def compare(self, program, folder, expected, backends):
        """Runs the program on the cases that it can take."""
        largest = {}
        for one in expected:
            for output, arrays in one.outputs.items():
                if arrays is not None:
                    largest[output] = max(largest.get(output, 0.0), float(np.abs(arrays[0]).max()))
        cases = [one for one in expected if program.takes(one.case)]
        for index, one in enumerate(cases):
            for backend in backends:
                # Texts behind the first differ in their ids: one backend tells.
                if index and one.case.is_plain and backend != backends[0]:
                    continue
                for output in list(one.outputs) if not index else [self.natural(one.outputs)]:
                    self.run(program, folder, one, backend, output, largest)

    def natural(self, outputs):
        return list(outputs)[0 if self.head_refused else -1]

    def run(self, program, folder, one, backend, output, largest):
        if self.refused or (output == "logits" and self.head_refused):
            return
        answer = program.infer(folder, backend, output, one.case)
        if answer.refused:
            is_head = output == "logits" and ("head is not computed" in answer.refused or "has no head" in answer.refused)
            if is_head:
                self.head_refused = answer.refused
            else:
                self.refused = f"{answer.refused} [{backend}, {one.case}]"
            return
        self.runs += 1
        arrays = one.outputs[output]
        if answer.ids != one.ids:
            self.faults.append(f"ids of {one.case}: {answer.ids}, not {one.ids}")
        elif arrays is not None and answer.values.size != arrays[0].size:
            self.faults.append(f"{output} of {backend}: {answer.values.shape}, not {arrays[0].shape}")
        elif arrays is not None:
            self.measure(backend, answer.values, arrays, largest[output])

    def measure(self, backend, values, arrays, largest):
        values, arrays = values.reshape(arrays[0].shape), [np.asarray(array, np.float64) for array in arrays]
        worst = [float(np.abs(values - array).max()) / largest for array in arrays]
        worst = [error if np.isfinite(error) else float("inf") for error in worst]
        self.errors[backend] = [max(pair) for pair in zip(self.errors.get(backend, worst), worst)]
        self.own = max(self.own, float(np.abs(arrays[0] - arrays[-1]).max()) / largest)

    def judge(self, limit):
        """The state and the line."""
        figures = [f"{name} {' / '.join(f'{error:.1e}' for error in self.errors[name])}" for name in BACKENDS if name in self.errors]
        own = f"  (transformers {self.own:.1e})" if self.own else ""
        line = f"{self.name:<28} {self.architecture:<33} {'  '.join(figures)}{own}  {self.runs} runs"
        faults = list(dict.fromkeys(self.faults))
        if any(error > limit for errors in self.errors.values() for error in errors):
            faults.append("difference over the limit")
        if faults:
            return "wrong", line + "".join(f"\n    wrong: {fault}" for fault in faults)
        reason = self.refused or self.head_refused
        if not reason:
            return ("equal", line) if self.errors else ("not compared", line)
        words = (self.recipe.refused if self.refused else self.recipe.head_refused) if self.recipe else ""
        state = "refused as expected" if words and words in reason else "refused"
        return state, f"{line}{'' if self.refused else ', hidden states only'}\n    {state}: {reason}"

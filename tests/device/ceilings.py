#!/usr/bin/env python3
"""Rate, clock and power of a large product under sustained load, with PyTorch: FP16, BF16 and FP8 E4M3, FP32 sums.

    python3 tests/device/ceilings.py [SECONDS]

A burst of 10 ms after a pause is beside it: a pass that takes milliseconds and is repeated runs at the sustained clock.
"""

import subprocess
import sys
import threading
import time

import torch

SIDE = 8192
FLOPS = 2 * SIDE**3


def product(name):
    """A function that enqueues one product of random numbers."""
    a = torch.randn(SIDE, SIDE, device="cuda")
    b = torch.randn(SIDE, SIDE, device="cuda")
    if name == "fp8":
        one = torch.ones((), device="cuda")
        a, b = a.to(torch.float8_e4m3fn), b.to(torch.float8_e4m3fn).t()
        return lambda: torch._scaled_mm(a, b, scale_a=one, scale_b=one, out_dtype=torch.float16)
    kind = {"fp16": torch.float16, "bf16": torch.bfloat16}[name]
    a, b = a.to(kind), b.to(kind)
    return lambda: torch.mm(a, b.t())


class Board:
    """Clock and power of the first board, read while something runs."""

    def __enter__(self):
        self.samples, self.running = [], True
        self.thread = threading.Thread(target=self.read)
        self.thread.start()
        return self

    def read(self):
        query = ["nvidia-smi", "-i", "0", "--query-gpu=clocks.sm,power.draw", "--format=csv,noheader,nounits"]
        while self.running:
            clock, power = subprocess.run(query, capture_output=True, text=True, check=True).stdout.split(",")
            self.samples.append((float(clock), float(power)))

    def __exit__(self, *_):
        self.running = False
        self.thread.join()

    def median(self, index):
        values = sorted(sample[index] for sample in self.samples)
        return values[len(values) // 2]


def timed(run, count):
    """Time of one of `count` runs between events, seconds."""
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        run()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1e3 / count


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.5
    print("| product | burst, TFLOP/s | sustained, TFLOP/s | SM clock, MHz | power, W |")
    for name in ["fp16", "bf16", "fp8"]:
        run = product(name)
        run()
        torch.cuda.synchronize()
        time.sleep(0.5)
        burst_s = min(timed(run, 5) for _ in range(3))
        count = max(1, int(seconds / burst_s))
        timed(run, count // 2)
        with Board() as board:
            sustained_s = timed(run, count)
        rates = [FLOPS / value / 1e12 for value in (burst_s, sustained_s)]
        print(f"| {name} | {rates[0]:.0f} | {rates[1]:.0f} | {board.median(0):.0f} | {board.median(1):.0f} |", flush=True)


main()

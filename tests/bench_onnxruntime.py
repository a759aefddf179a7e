"""Times ONNX Runtime in blocks, on demand: for every line on standard input, runs the line's number of passes and prints
their times in milliseconds on one line. usage: bench_onnxruntime.py MODEL.onnx BATCH SEQUENCE VOCABULARY THREADS"""
import sys
import time

import numpy as np
import onnxruntime as ort

path, batch, sequence, vocabulary, threads = sys.argv[1], *map(int, sys.argv[2:])
options = ort.SessionOptions()
options.intra_op_num_threads = threads
session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
ids = np.random.default_rng(0).integers(0, vocabulary, (batch, sequence), dtype=np.int32)
for _ in range(3):
    session.run(None, {"input_ids": ids})
print(f"ready {ort.__version__}", flush=True)
for line in sys.stdin:
    times = []
    for _ in range(int(line)):
        start = time.perf_counter()
        session.run(None, {"input_ids": ids})
        times.append((time.perf_counter() - start) * 1e3)
    print(" ".join(f"{t:.4f}" for t in times), flush=True)

"""Runs an exported model node by node, each in its type, with the evaluator of the onnx package; no runtime optimises.

Usage: run.py MODEL JOB OUTPUT. JOB is JSON: ids, mask and types as nested lists, and factors by initializer name. OUTPUT gets
the result as little-endian FP32. Exit code 77: a module is missing, and the last line says which.
"""

import json
import sys

try:
    import ml_dtypes
    import numpy as np
    import onnx
    from onnx import numpy_helper
    from onnx.reference import ReferenceEvaluator
    from onnx.reference.op_run import OpRun
except ImportError as error:
    print(error)
    sys.exit(77)


class MatMul(OpRun):
    """Products of 16-bit operands accumulated in FP32, as the policies of these tests say."""

    op_domain = ""

    def _run(self, x, y):
        wide = np.float32 if x.dtype in (np.float16, ml_dtypes.bfloat16) else x.dtype
        return (np.matmul(x.astype(wide), y.astype(wide)).astype(x.dtype),)


path, job, output = sys.argv[1:]
job = json.loads(job)
model = onnx.load(path)
for tensor in model.graph.initializer:
    if tensor.name in job["factors"]:
        values = numpy_helper.to_array(tensor)
        scaled = (values * job["factors"][tensor.name]).astype(values.dtype)
        tensor.CopyFrom(numpy_helper.from_array(scaled, tensor.name))
types = {
    value.name: onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type) for value in model.graph.input
}
inputs = {"input_ids": job["ids"], "attention_mask": job["mask"], "token_type_ids": job.get("types")}
feeds = {name: np.array(inputs[name], types[name]) for name in types}
with np.errstate(all="ignore"):
    result = ReferenceEvaluator(model, new_ops=[MatMul]).run(None, feeds)[0]
np.asarray(result).astype(np.float32).tofile(output)

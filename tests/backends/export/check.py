"""Checks exported models with ONNX's own tools; prints one JSON line per file: element type by tensor, node names.

Exit code 77: a module is missing, and the last line says which.
"""

import json
import sys

try:
    import onnx
    from onnx.external_data_helper import uses_external_data
except ImportError as error:
    print(error)
    sys.exit(77)

for path in sys.argv[1:]:
    declared = onnx.load(path, load_external_data=False)
    external = [tensor for tensor in declared.graph.initializer if uses_external_data(tensor)]
    onnx.checker.check_model(path, full_check=True)
    model = onnx.load(path)
    inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True).graph
    types = {value.name: value.type.tensor_type for value in [*inferred.value_info, *inferred.output]}
    print(json.dumps({
        "nodes": [node.name for node in model.graph.node],
        "elements": {name: value.elem_type for name, value in types.items()},
        "output": [d.dim_param or d.dim_value for d in types[model.graph.output[0].name].shape.dim],
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "initializer_bytes": sum(len(tensor.raw_data) for tensor in model.graph.initializer),
        "offsets": [int(e.value) for t in external for e in t.external_data if e.key == "offset"],
    }))

"""Makes fraud.onnx, the model of README.md's own table: score = (amount - mean) / 64. Needs the Python package `onnx`.

    python tests/models/make.py
"""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

weights = numpy_helper.from_array(np.array([[1 / 64], [-1 / 64]], np.float32), "weights")
graph = h.make_graph(
    [h.make_node("MatMul", ["features", "weights"], ["score"])],
    "fraud",
    [h.make_tensor_value_info("features", T.FLOAT, ["n", 2])],
    [h.make_tensor_value_info("score", T.FLOAT, ["n", 1])],
    [weights],
)
model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9, producer_name="larder-tests")
onnx.checker.check_model(model)
onnx.save(model, Path(__file__).parent / "fraud.onnx")
